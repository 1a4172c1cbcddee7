"""Noise of spectra: photon statistics, night-sky lines, and real DESI blank sky."""

import numpy as np
import pytest
from astropy.io import fits

from astroclip_astro.simulate.noise import Exposure, draw_exposure, spectrum_sigma
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


def test_exposures_span_the_range():
    rng = np.random.default_rng(0)
    times = np.array([draw_exposure(rng).time for _ in range(1000)])
    assert times.min() < 350
    assert times.max() > 9000


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
