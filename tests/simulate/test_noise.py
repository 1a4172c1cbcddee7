"""Noise of spectra: photon statistics, night-sky lines, sky residuals, real DESI blank sky."""

import numpy as np
import pytest
from astropy.io import fits

from astroclip_astro.simulate.noise import (
    LSF_SIGMA,
    Exposure,
    draw_exposure,
    observed_flux,
    sky_in_fibre,
    spectrum_sigma,
)
from astroclip_astro.simulate.population import SAMPLES
from astroclip_astro.simulate.spectra import wavelength_grid

WAVELENGTH = wavelength_grid()
DARK = Exposure(time=1000.0, sky_brightness=1.0)


def test_long_exposures_are_sky_limited():
    flux = np.ones(7781)
    long, longer = (spectrum_sigma(flux, Exposure(time=t, sky_brightness=1.0)) for t in (1e6, 4e6))
    np.testing.assert_allclose(long / longer, 2, rtol=0.01)


def test_bright_sources_are_limited_by_their_own_photons():
    faint, bright = (spectrum_sigma(np.full(7781, f), DARK) for f in (1e5, 4e5))
    np.testing.assert_allclose(bright / faint, 2, rtol=0.01)


def test_negative_flux_does_not_lower_the_noise():
    np.testing.assert_array_equal(
        spectrum_sigma(np.full(7781, -5.0), DARK), spectrum_sigma(np.zeros(7781), DARK)
    )


@pytest.mark.parametrize("line", [5578.9, 6302.0, 8887.0])  # [O I], [O I], OH; vacuum
def test_night_sky_lines_stand_out(line):
    sigma = spectrum_sigma(np.zeros(7781), DARK)
    on = sigma[np.abs(WAVELENGTH - line) < 2].max()
    around = np.median(sigma[np.abs(WAVELENGTH - line) < 60])
    assert on > 2 * around


def test_exposures_span_their_ranges():
    rng = np.random.default_rng(0)
    drawn = {name: [draw_exposure(rng, name) for _ in range(1000)] for name in SAMPLES}
    time = {name: np.array([e.time for e in exposures]) for name, exposures in drawn.items()}
    for name, (shortest, longest) in {
        "nearby": (200, 2000),
        "sdss-main": (200, 2000),
        "bgs": (500, 4000),
        "faint": (1500, 12_000),
        "lrg": (2000, 12_000),
    }.items():
        assert shortest <= time[name].min() < 1.05 * shortest
        assert 0.95 * longest < time[name].max() <= longest
        assert np.median(time[name]) == pytest.approx(np.sqrt(shortest * longest), rel=0.1)
    sky = {name: np.array([e.sky_brightness for e in drawn[name]]) for name in SAMPLES}
    assert all(values.min() >= 0.8 for values in sky.values())
    # Bright galaxies are observed under the Moon, faint ones are not.
    assert min(sky[name].max() for name in ("nearby", "sdss-main", "bgs")) > 3
    assert max(sky[name].max() for name in ("faint", "lrg")) <= 2


def expected_sky(wavelength, continuum, line=0.0):
    """Dark sky in a fibre of 1.5 arcsec at the centre of a line, 1e-17 erg s-1 cm-2 Å-1."""
    pixel = np.abs(WAVELENGTH - wavelength).argmin()
    offset = (WAVELENGTH[pixel] - wavelength) / LSF_SIGMA
    peak = line * np.exp(-0.5 * offset**2) / (LSF_SIGMA * np.sqrt(2 * np.pi))
    return pixel, np.pi / 4 * 1.5**2 * (continuum + peak)


def test_dark_sky_in_a_fibre():
    sky = sky_in_fibre()
    assert sky.shape == WAVELENGTH.shape
    for pixel, expected in (expected_sky(5500, 1.25), expected_sky(5578.9, 1.25, line=224)):
        assert sky[pixel] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("sky_brightness", [1.0, 4.0])
def test_sky_residual_is_a_share_of_the_sky(sky_brightness):
    nothing = np.zeros((800, 7781), np.float32)
    bright = np.full(800, sky_brightness)
    residual = observed_flux(nothing, nothing, bright, np.random.default_rng(0))
    for pixel, sky in (expected_sky(5500, 1.25), expected_sky(5578.9, 1.25, line=224)):
        assert np.std(residual[:, pixel]) / (sky * sky_brightness) == pytest.approx(0.01, rel=0.35)
        assert np.mean(residual[:, pixel]) == pytest.approx(0, abs=1.5e-3 * sky * sky_brightness)


def test_sky_residual_is_correlated_over_some_20_angstrom():
    nothing = np.zeros((500, 7781), np.float32)
    residual = observed_flux(nothing, nothing, np.ones(500), np.random.default_rng(0))
    correlation = [np.corrcoef(residual[:, 1000], residual[:, 1000 + lag])[0, 1] for lag in (4, 80)]
    assert correlation[0] > 0.8
    assert abs(correlation[1]) < 0.2


def test_sky_residual_matters_in_lines_only():
    blue = (WAVELENGTH > 4000) & (WAVELENGTH < 5500)  # no bright line there
    oi = np.abs(WAVELENGTH - 5578.9) < 1
    sigma = spectrum_sigma(np.zeros(7781), DARK)
    flux = observed_flux(
        np.zeros((300, 7781)), np.tile(sigma, (300, 1)), np.ones(300), np.random.default_rng(0)
    )
    assert np.std((flux / sigma)[:, blue]) == pytest.approx(1, abs=0.01)
    assert np.std((flux / sigma)[:, oi]) > 1.1


def test_observed_flux_is_unbiased_and_reproducible():
    flux, sigma = np.linspace(0, 9, 7781)[None], np.full((1, 7781), 0.5)
    first, same, other = (
        observed_flux(flux, sigma, [1.0], np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).mean() > 0.99
    assert np.mean(first - flux) == pytest.approx(0, abs=5 * 0.5 / np.sqrt(7781))


def test_level_and_shape_are_those_of_real_blank_sky(shared_dir):
    path = shared_dir / "data" / "desi_native" / "coadd-5-169-thru20210419.fits"
    if not path.exists():
        pytest.skip("needs a DESI coadd of blank sky")
    model = spectrum_sigma(np.zeros(7781), Exposure(time=1309.0, sky_brightness=1.0))
    ratios = []
    with fits.open(path) as hdus:
        for arm in "BRZ":
            wavelength, ivar = hdus[f"{arm}_WAVELENGTH"].data, hdus[f"{arm}_IVAR"].data
            good = ivar > 0
            sigma = np.ma.median(np.ma.array(np.where(good, ivar, 1) ** -0.5, mask=~good), axis=0)
            for low in range(3700, 9700, 300):
                real = (wavelength > low) & (wavelength < low + 300)
                ours = (low < WAVELENGTH) & (low + 300 > WAVELENGTH)
                if real.sum() > 300:
                    ratios.append(np.ma.median(sigma[real]) / np.median(model[ours]))
    ratios = np.array(ratios)
    assert len(ratios) > 15
    assert np.median(ratios) == pytest.approx(1, abs=0.25)
    assert (ratios > 0.6).all()
    assert (ratios < 1.7).all()
