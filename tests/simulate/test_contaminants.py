"""Stars against black bodies, quasars against the lines of their composite."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
import speclite.filters
from astropy.modeling.models import BlackBody

from astroclip_astro.simulate.contaminants import (
    Contaminant,
    contaminant_spectrum,
    draw_contaminant,
)
from astroclip_astro.simulate.spectra import wavelength_grid

WAVELENGTH = wavelength_grid()
STAR = Contaminant(kind="star", redshift=0.0, magnitude=18.0, shape=6000.0, strength=1.0)
QUASAR = Contaminant(kind="qso", redshift=0.5, magnitude=18.0, shape=-1.56, strength=1.0)


def magnitudes(contaminant, ebv=0.0):
    return 22.5 - 2.5 * np.log10(contaminant_spectrum(contaminant, ebv).nanomaggies)


@pytest.mark.parametrize("kind", ["star", "qso"])
def test_drawn_values(kind):
    rng = np.random.default_rng(0)
    drawn = [draw_contaminant(rng, kind) for _ in range(500)]
    assert {c.kind for c in drawn} == {kind}
    assert all(15 <= c.magnitude <= 20.5 and c.strength > 0 for c in drawn)
    redshift = np.array([c.redshift for c in drawn])
    if kind == "star":
        assert np.std(redshift) * 299_792 == pytest.approx(60, rel=0.15)  # km/s
        assert all(3300 <= c.shape <= 9500 for c in drawn)
    else:
        assert 0.1 <= redshift.min() < 0.2
        assert 2.9 < redshift.max() <= 3.0
        assert np.mean([c.shape for c in drawn]) == pytest.approx(-1.56, abs=0.04)


def test_a_star_without_lines_is_a_black_body():
    decam = speclite.filters.load_filters("decam2014-g", "decam2014-r", "decam2014-z")
    wavelength = np.arange(3000.0, 11_200.0, 1.0) * u.AA
    for temperature in (3500.0, 6000.0, 9000.0):
        star = replace(STAR, shape=temperature, strength=0.0)
        body = BlackBody(temperature * u.K)(wavelength) * u.sr
        body = body.to(u.erg / u.s / u.cm**2 / u.AA, u.spectral_density(wavelength))
        expected = np.array(list(decam.get_ab_magnitudes(body, wavelength)[0].values()))
        np.testing.assert_allclose(
            np.diff(magnitudes(star)), np.diff(expected), atol=0.005
        )  # colours
        assert magnitudes(star)[1] == pytest.approx(18.0, abs=1e-6)


def test_hotter_stars_are_bluer():
    g, r, z = np.transpose(
        [magnitudes(replace(STAR, shape=t)) for t in (3400, 4000, 5000, 6000, 7500, 9400)]
    )
    assert (np.diff(g - r) < 0).all()
    assert (np.diff(r - z) < 0).all()


def depth(contaminant, line, width):
    """How deep a line is below the same object without lines."""
    near = np.abs(WAVELENGTH - line * (1 + contaminant.redshift)) < width
    ratio = np.divide(
        contaminant_spectrum(contaminant).flux,
        contaminant_spectrum(replace(contaminant, strength=0.0)).flux,
    )
    return 1 - (ratio / np.median(ratio))[near].min()


def test_lines_of_stars_tell_their_temperature():
    hot, solar, cool = (replace(STAR, shape=t) for t in (9400.0, 5500.0, 3400.0))
    h_beta, ca_k, tio = (4862.7, 6), (3934.8, 6), (7120.0, 20)
    assert depth(hot, *h_beta) > 0.4 > 0.1 > depth(cool, *h_beta)
    assert depth(solar, *ca_k) > 0.4 > 0.2 > depth(hot, *ca_k)
    assert depth(cool, *tio) > 0.3 > 0.05 > depth(solar, *tio)


def test_spectral_lines_of_a_star_move_with_its_velocity():
    moving = replace(STAR, shape=9400.0, redshift=1e-3)
    near = np.abs(WAVELENGTH - 6564.6) < 30
    flux = contaminant_spectrum(moving).flux
    absorbed = np.interp(WAVELENGTH[near], WAVELENGTH[near][[0, -1]], flux[near][[0, -1]])
    absorbed -= flux[near]
    centre = (WAVELENGTH[near] * absorbed).sum() / absorbed.sum()
    assert centre == pytest.approx(6564.6 * 1.001, abs=0.3)


# Vacuum wavelength and equivalent width, Å, of Vanden Berk et al. (2001), Table 2.
@pytest.mark.parametrize(
    ("line", "width", "redshift"),
    [
        ("Ly alpha", 92.91, 2.5),
        ("C IV", 23.78, 2.0),
        ("Mg II", 32.28, 0.5),
        ("Mg II", 32.28, 1.9),
        ("H alpha", 194.52, 0.3),
    ],
)
def test_quasar_lines_are_at_their_redshift(line, width, redshift):
    rest = {"Ly alpha": 1216.25, "C IV": 1546.15, "Mg II": 2800.26, "H alpha": 6564.93}[line]
    quasar = replace(QUASAR, redshift=redshift)
    flux = contaminant_spectrum(quasar).flux
    continuum = contaminant_spectrum(replace(quasar, strength=0.0)).flux
    ratio = flux / continuum
    near = np.abs(WAVELENGTH - rest * (1 + redshift)) < 160 * (1 + redshift)
    ratio = ratio / np.percentile(ratio[near], 5)  # both are scaled to one r magnitude
    peak = WAVELENGTH[near][ratio[near].argmax()]
    assert peak == pytest.approx(rest * (1 + redshift), abs=2)
    found = ((ratio[near] - 1) * 0.8).sum() / (1 + redshift)
    assert found == pytest.approx(width, rel=0.1)


def test_the_continuum_of_a_quasar_is_its_power_law():
    flux = contaminant_spectrum(replace(QUASAR, strength=0.0)).flux
    slope, _ = np.polyfit(np.log(WAVELENGTH), np.log(flux), 1)
    assert slope == pytest.approx(-1.56, abs=1e-3)


@pytest.mark.parametrize("contaminant", [STAR, QUASAR], ids=["star", "qso"])
def test_magnitude_is_as_observed_and_colours_are_reddened(contaminant):
    clear, dusty = magnitudes(contaminant), magnitudes(contaminant, ebv=0.2)
    assert dusty[1] == pytest.approx(18.0, abs=1e-6)
    assert dusty[0] - clear[0] == pytest.approx(0.2 * (3.65 - 2.44), abs=0.03)


def test_contaminants_have_no_physics_of_galaxies():
    model = contaminant_spectrum(STAR)
    assert np.isnan([model.age, model.log_z, model.log_ssfr]).all()
    assert np.isfinite(model.flux).all()
    assert (model.flux > 0).all()
