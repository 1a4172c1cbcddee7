"""Stars and quasars that a galaxy survey meets: rough spectra, enough to tell them from galaxies.

A star is a black body with the strongest lines and bands of its temperature; a quasar is a power
law with the broad lines of the composite of Vanden Berk et al. (2001, AJ 122, 549, Tables 2 and 5).
Both are points in the image. They have a redshift but none of a galaxy's properties.
"""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.modeling.models import BlackBody

from astroclip_astro.simulate.spectra import ModelSpectrum, observe_model

__all__ = ["CONTAMINANT_SHARE", "Contaminant", "draw_contaminant", "contaminant_spectrum"]

__doctest_requires__ = {"contaminant_spectrum": ["dust_extinction", "speclite"]}

CONTAMINANT_SHARE = {"star": 0.015, "qso": 0.015}
MAGNITUDE_RANGE = (15.0, 20.5)  # r, AB

STAR_TEMPERATURE = (3300.0, 9500.0)  # K
QSO_REDSHIFT = (0.1, 3.0)
QSO_SLOPE, QSO_SLOPE_SCATTER = -1.56, 0.2  # of f_lambda

# Rest wavelength (vacuum Å), equivalent width (Å), Gaussian sigma (Å), Vanden Berk et al., Table 2.
QSO_LINES = np.array(
    [
        (1216.25, 92.91, 19.46),
        (1546.15, 23.78, 14.33),
        (1905.97, 21.19, 23.58),
        (2800.26, 32.28, 34.95),
        (4102.73, 5.05, 18.62),
        (4346.42, 12.62, 20.32),
        (4853.13, 46.21, 40.44),
        (4960.36, 3.50, 3.85),
        (5008.22, 13.23, 6.04),
        (6564.93, 194.52, 47.39),
    ]
)

# Absorption of stars: vacuum Å, Gaussian sigma (Å), temperature (K) of largest strength, width of
# that maximum (dex), central depth there. Qualitative, after the spectral sequence (Gray & Corbally
# 2009, Stellar Spectral Classification).
STAR_LINES = np.array(
    [
        (6564.6, 8.0, 9500, 0.11, 0.5),
        (4862.7, 8.0, 9500, 0.11, 0.6),
        (4341.7, 8.0, 9500, 0.11, 0.6),
        (4102.9, 8.0, 9500, 0.11, 0.6),
        (3971.2, 8.0, 9500, 0.11, 0.6),
        (3934.8, 6.0, 5000, 0.15, 0.7),
        (3969.6, 6.0, 5000, 0.15, 0.7),
        (4305.0, 10.0, 5300, 0.08, 0.4),
        (5175.0, 12.0, 4500, 0.10, 0.4),
        (5893.0, 4.0, 4000, 0.12, 0.5),
        (8500.4, 3.0, 5000, 0.20, 0.4),
        (8544.4, 3.0, 5000, 0.20, 0.5),
        (8664.5, 3.0, 5000, 0.20, 0.5),
        (6200.0, 60.0, 3300, 0.07, 0.5),
        (7120.0, 60.0, 3300, 0.07, 0.6),
        (7700.0, 80.0, 3300, 0.07, 0.5),
        (5050.0, 80.0, 3300, 0.07, 0.4),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Contaminant:
    """A star or a quasar.

    Parameters
    ----------
    kind : {"star", "qso"}
        What it is.
    redshift : float
        Radial velocity over that of light, or cosmological redshift.
    magnitude : float
        r, AB.
    shape : float
        Temperature (K) of a star, spectral slope of a quasar.
    strength : float
        Factor on the lines.
    """

    kind: str
    redshift: float
    magnitude: float
    shape: float
    strength: float


def draw_contaminant(rng, kind):
    """Draw a star or a quasar.

    Parameters
    ----------
    rng : numpy.random.Generator
    kind : {"star", "qso"}

    Returns
    -------
    Contaminant

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.contaminants import draw_contaminant
    >>> draw_contaminant(np.random.default_rng(0), "qso").redshift > 0.1
    True
    """
    if kind == "star":
        redshift = 2e-4 * rng.standard_normal()  # 60 km/s
        shape = np.exp(rng.uniform(*np.log(STAR_TEMPERATURE)))
    else:
        redshift = rng.uniform(*QSO_REDSHIFT)
        shape = QSO_SLOPE + QSO_SLOPE_SCATTER * rng.standard_normal()
    return Contaminant(
        kind=kind,
        redshift=float(redshift),
        magnitude=float(rng.uniform(*MAGNITUDE_RANGE)),
        shape=float(shape),
        strength=float(10 ** (0.15 * rng.standard_normal())),
    )


def contaminant_spectrum(contaminant, ebv=0.0):
    """Compute the spectrum and the g, r, z fluxes of a star or quasar.

    Parameters
    ----------
    contaminant : Contaminant
    ebv : float
        Milky Way reddening E(B-V), mag.

    Returns
    -------
    ModelSpectrum
        Its age, metallicity and star-formation rate are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.contaminants import contaminant_spectrum, draw_contaminant
    >>> star = draw_contaminant(np.random.default_rng(0), "star")
    >>> model = contaminant_spectrum(star)
    >>> bool(abs(22.5 - 2.5 * np.log10(model.nanomaggies[1]) - star.magnitude) < 1e-6)
    True
    """
    wavelength = np.arange(3300.0, 11_100.0, 0.8)
    rest = wavelength / (1 + contaminant.redshift)
    if contaminant.kind == "star":
        body = BlackBody(contaminant.shape * u.K, scale=1.0 * u.erg / u.s / u.cm**2 / u.AA / u.sr)
        flux = body(rest * u.AA).value
        for centre, sigma, temperature, spread, depth in STAR_LINES:
            away = np.log10(contaminant.shape / temperature) / spread
            strength = min(depth * contaminant.strength * np.exp(-0.5 * away**2), 0.95)
            flux *= 1 - strength * np.exp(-0.5 * ((rest - centre) / sigma) ** 2)
    else:
        continuum = rest**contaminant.shape
        flux = continuum.copy()
        for centre, width, sigma in QSO_LINES:
            profile = np.exp(-0.5 * ((rest - centre) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
            flux += contaminant.strength * width * continuum * profile
        # The forest takes the more of the light blueward of Lyman alpha the higher the redshift.
        flux[rest < 1216] *= 0.75
    flux /= flux.mean()
    model = observe_model(wavelength, flux, ebv)
    scale = 10 ** (0.4 * (22.5 - contaminant.magnitude)) / model.nanomaggies[1]
    return ModelSpectrum(
        flux=model.flux * scale,
        nanomaggies=model.nanomaggies * scale,
        age=np.nan,
        log_z=np.nan,
        log_ssfr=np.nan,
    )
