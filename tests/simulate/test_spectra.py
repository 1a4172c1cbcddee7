"""Model spectra against bagpipes itself, laboratory wavelengths, analytic histories, dust laws."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.modeling.models import BlackBody

from astroclip_astro.simulate.population import COSMOLOGY
from astroclip_astro.simulate.spectra import (
    load_bagpipes,
    model_spectrum,
    observe_model,
    wavelength_grid,
)

# Vacuum wavelengths, Å (NIST Atomic Spectra Database; SDSS table of galaxy lines).
H_ALPHA, OIII, CA_K = 6564.61, 5008.24, 3934.78

WAVELENGTH = wavelength_grid()


def line_centre(flux, expected, half_width=12.0):
    """Flux-weighted wavelength of a line above or below a straight continuum."""
    near = np.abs(WAVELENGTH - expected) < half_width
    x, y = WAVELENGTH[near], flux[near]
    y = y - np.interp(x, x[[0, -1]], y[[0, -1]])
    return (x * y).sum() / y.sum()


@pytest.mark.parametrize("redshift", [0.006, 0.2, 0.45])
@pytest.mark.parametrize("line", [H_ALPHA, OIII])
def test_emission_lines_are_at_vacuum_wavelengths(galaxy, line, redshift):
    flux = model_spectrum(replace(galaxy, redshift=redshift, gas_metallicity=0.1)).flux
    expected = line * (1 + redshift)
    assert line_centre(flux, expected) == pytest.approx(expected, abs=0.1)


def test_stellar_absorption_is_at_vacuum_wavelengths(galaxy):
    old = replace(galaxy, start_age=10.0, tau=0.5, stellar_dispersion=60.0)
    flux = model_spectrum(old).flux
    expected = CA_K * 1.1
    # Air would be 1.2 Å off; the feature's own blends shift it by a few tenths.
    assert line_centre(flux, expected, half_width=8) == pytest.approx(expected, abs=0.6)


def test_continuum_agrees_with_bagpipes_own_spectrum(galaxy):
    bagpipes = load_bagpipes()
    old = replace(galaxy, start_age=9.0, tau=0.7, episode_fraction=1e-7, redshift=0.3)
    ours = model_spectrum(old)
    components = {
        "redshift": 0.3,
        "delayed": {"age": 9.0, "tau": 0.7, "massformed": 10.0, "metallicity": 0.8},
    }
    theirs = bagpipes.model_galaxy(components, spec_wavs=WAVELENGTH)
    scale = 1e17 * 10 ** (10.0 - theirs.sfh.stellar_mass)
    expected = theirs.spectrum[:, 1] * scale
    for low in range(4000, 9500, 500):
        window = (low < WAVELENGTH) & (low + 300 > WAVELENGTH)
        assert ours.flux[window].mean() == pytest.approx(expected[window].mean(), rel=0.01)
    assert ours.age == pytest.approx(theirs.sfh.mass_weighted_age, rel=1e-3)


def test_line_flux_does_not_depend_on_line_width(galaxy):
    def h_alpha(dispersion):
        flux = model_spectrum(replace(galaxy, gas_dispersion=dispersion)).flux
        without = model_spectrum(
            replace(galaxy, gas_dispersion=dispersion, ionising_fraction=1e-9)
        ).flux
        window = np.abs(WAVELENGTH - H_ALPHA * 1.1) < 60
        return (flux - without)[window].sum()

    assert h_alpha(200.0) == pytest.approx(h_alpha(40.0), rel=1e-3)


def test_flux_is_linear_in_mass_and_falls_with_distance(galaxy):
    light = model_spectrum(galaxy)
    heavy = model_spectrum(replace(galaxy, log_mass=11.0))
    np.testing.assert_allclose(heavy.flux, 10 * light.flux, rtol=1e-9)
    np.testing.assert_allclose(heavy.nanomaggies, 10 * light.nanomaggies, rtol=1e-9)

    near, far = (
        model_spectrum(replace(galaxy, redshift=z, ionising_fraction=1e-9)) for z in (0.1, 0.2)
    )
    at_5500 = [
        np.interp(5500 * (1 + z), WAVELENGTH, m.flux) * (1 + z)
        for z, m in ((0.1, near), (0.2, far))
    ]
    ratio = (COSMOLOGY.luminosity_distance(0.2) / COSMOLOGY.luminosity_distance(0.1)).value ** 2
    assert at_5500[0] / at_5500[1] == pytest.approx(ratio, rel=0.01)


def test_dust_dims_blue_more_and_balmer_lines_most(galaxy):
    clear, dusty = (model_spectrum(replace(galaxy, a_v=a_v)) for a_v in (0.0, 0.8))
    dimming = -2.5 * np.log10(dusty.nanomaggies / clear.nanomaggies)
    assert dimming[0] > dimming[1] > dimming[2] > 0

    def decrement(model):
        lines = []
        for line in (H_ALPHA, 4862.68):
            near = np.abs(WAVELENGTH - line * 1.1) < 6
            edge = np.abs(np.abs(WAVELENGTH - line * 1.1) - 8) < 2
            lines.append((model.flux[near] - np.median(model.flux[edge])).sum())
        return lines[0] / lines[1]

    # Case B gives 2.86 (Osterbrock & Ferland 2006); absorption under Hβ raises what is seen.
    assert 2.7 < decrement(clear) < 4.0
    assert decrement(dusty) > 1.5 * decrement(clear)


def test_nuclear_emission_has_the_equivalent_width_asked_for(galaxy):
    old = replace(galaxy, start_age=10.0, tau=0.5)
    plain = model_spectrum(old).flux
    active = model_spectrum(replace(old, nuclear_lines="liner", nuclear_width=3.0)).flux
    extra = active - plain
    # Hα and the two [N II] lines: 1 + (3.6 + 1.2) / 3.1 times Hα.
    window = np.abs(WAVELENGTH - H_ALPHA * 1.1) < 60
    under_the_line = np.interp(H_ALPHA * 1.1, WAVELENGTH, plain)
    width = extra[window].sum() * 0.8 / under_the_line / 1.1
    assert width == pytest.approx(3.0 * (1 + 4.8 / 3.1), rel=0.05)


def test_specific_star_formation_rate_of_a_delayed_history(galaxy):
    # Independent integral of t exp(-t/tau) over the history and over its last 100 Myr.
    t = np.linspace(0, 8.0, 200_001)
    rate = t * np.exp(-t / 4.0)
    formed = np.trapezoid(rate, t)
    recent = np.trapezoid(rate[t > 7.9], t[t > 7.9]) / 0.1 / formed  # per Gyr and formed mass
    surviving = 0.54  # some 46 per cent of the mass formed this way has been returned
    model = model_spectrum(galaxy)
    assert model.log_ssfr == pytest.approx(np.log10(recent / surviving) - 9, abs=0.05)
    assert model.age == pytest.approx(8.0 - np.trapezoid(rate * t, t) / formed, rel=0.01)
    assert model.log_z == pytest.approx(np.log10(0.8), abs=0.01)


def test_milky_way_reddening_of_the_spectrum_is_that_of_dust_extinction(galaxy):
    from dust_extinction.parameter_averages import F99

    law = 3.1 * F99(Rv=3.1)(WAVELENGTH * u.AA)  # A(wavelength) over E(B-V)
    for ebv in (0.03, 0.3):
        clear, dusty = (model_spectrum(galaxy, e).flux for e in (0.0, ebv))
        # Lines included: their light is dimmed as the continuum under them is.
        np.testing.assert_allclose(dusty / clear, 10 ** (-0.4 * ebv * law), rtol=2e-3)


def test_milky_way_extinction_in_the_bands():
    wavelength = np.arange(3300.0, 11_100.0, 2.0)
    star = BlackBody(7000 * u.K, scale=1 * u.erg / u.s / u.cm**2 / u.AA / u.sr)(wavelength * u.AA)
    clear, dusty = (observe_model(wavelength, star.value, e).nanomaggies for e in (0.0, 0.05))
    coefficients = -2.5 * np.log10(dusty / clear) / 0.05
    # The law of Fitzpatrick through DECam's g, r, z on a model star of 7000 K, as DESI computes
    # them (desiutil.dust); a black body has no Balmer break.
    np.testing.assert_allclose(coefficients, [3.678, 2.459, 1.376], rtol=0.02)
    # The coefficients of the Legacy Surveys refer to the map of Schlegel et al. (1998), whose
    # E(B-V) is 1 / 0.86 of the true one (Schlafly & Finkbeiner 2011, ApJ 737, 103).
    np.testing.assert_allclose(0.86 * coefficients, [3.214, 2.165, 1.211], rtol=0.04)


def test_missing_package_says_how_to_install_it(monkeypatch):
    import sys

    from astroclip_astro.simulate.spectra import require

    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(ImportError, match=r"pip install astroclip_astro\[simulate\]"):
        require("galsim")
