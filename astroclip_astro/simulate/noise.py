"""Noise of simulated spectra: sky, read noise and the object's own photons through DESI.

A compact model, close to the noise of real DESI coadds rather than a simulation of the instrument.
Flux is counted in photons of the object and of the sky in one fibre, plus a read noise.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy import constants
from astropy import units as u

from astroclip_astro.simulate.images import FIBRE_DIAMETER
from astroclip_astro.simulate.spectra import LSF_SIGMA, WAVELENGTH_STEP, wavelength_grid

__all__ = ["Exposure", "draw_exposure", "observed_flux", "sky_in_fibre", "spectrum_sigma"]

# Exposure time (s) and median and range of the sky over a dark one, by sample: bright galaxies are
# observed under the Moon, faint ones in dark time until they are deep enough (Schlafly et al. 2023,
# AJ 166, 259). The ranges are choices.
MOON, NO_MOON = (1.4, 0.8, 5.0), (1.1, 0.8, 2.0)
EXPOSURES = {
    "nearby": ((200.0, 2000.0), MOON),
    "sdss-main": ((200.0, 2000.0), MOON),
    "bgs": ((500.0, 4000.0), MOON),
    "faint": ((1500.0, 12_000.0), NO_MOON),
    "lrg": ((2000.0, 12_000.0), NO_MOON),
}

# Sky subtraction leaves about one per cent of the sky (Guy et al. 2023, AJ 165, 144), correlated
# over some 20 Å.
SKY_RESIDUAL, SKY_RESIDUAL_SCATTER, SKY_RESIDUAL_PIXELS = 0.01, 0.5, 25

COLLECTING_AREA = 8.66e4  # cm2, the unobscured part of the Mayall's mirror seen by DESI

# Electrons^2 per 0.8 Å pixel: some five detector pixels across the fibre's image, 3 e- each.
READ_VARIANCE = 50.0

# Atmosphere, fibre acceptance, spectrograph and detector together: Å, fraction. Read off the noise
# of blank-sky fibres in public DESI early data (1300 s of exposure), given the sky below.
THROUGHPUT = np.array(
    [
        (3600, 0.010), (3700, 0.017), (3800, 0.024), (4000, 0.036), (4300, 0.048), (4600, 0.057),
        (4800, 0.072), (5000, 0.082), (5400, 0.093), (5750, 0.098), (6000, 0.107), (6300, 0.124),
        (6600, 0.137), (7000, 0.156), (7400, 0.165), (7580, 0.175), (7620, 0.140), (7680, 0.200),
        (8000, 0.255), (8300, 0.305), (8550, 0.360), (9000, 0.370), (9250, 0.405), (9350, 0.300),
        (9500, 0.260), (9850, 0.230),
    ]
)  # fmt: skip

# Dark-sky continuum at good sites: Å, 1e-17 erg s-1 cm-2 Å-1 arcsec-2 (Hanuschik 2003, A&A 407,
# 1157, rounded).
SKY_CONTINUUM = np.array(
    [
        (3600, 1.00), (4000, 0.90), (4500, 0.90), (5000, 1.00), (5500, 1.25), (6000, 1.25),
        (6500, 1.20), (7000, 1.20), (8000, 1.30), (9000, 1.50), (9850, 1.60),
    ]
)  # fmt: skip

# The ninety brightest night-sky lines at DESI's resolution: vacuum Å, 1e-17 erg s-1 cm-2 arcsec-2.
# Measured on the night-sky line spectrum that DESI's pipeline ships (desispec, data/spec-sky.dat).
SKY_LINES = (
    (5578.9, 224), (5656.6, 25), (5891.6, 21), (6302.0, 208), (6365.5, 72), (6865.8, 16),
    (7241.9, 16), (7247.0, 19), (7278.4, 34), (7318.3, 27), (7342.9, 32), (7371.4, 25),
    (7403.9, 15), (7526.1, 19), (7714.6, 25), (7719.1, 26), (7752.8, 45), (7762.1, 16),
    (7796.3, 33), (7810.6, 14), (7823.7, 42), (7855.6, 40), (7862.8, 16), (7872.9, 19),
    (7892.0, 20), (7915.9, 54), (7923.3, 22), (7966.8, 42), (7982.0, 15), (7995.5, 44),
    (8028.0, 29), (8284.0, 16), (8290.9, 32), (8301.2, 35), (8346.9, 94), (8355.2, 32),
    (8384.7, 22), (8401.5, 71), (8417.6, 28), (8432.5, 81), (8454.6, 24), (8467.7, 54),
    (8507.2, 27), (8652.3, 15), (8658.0, 20), (8662.7, 21), (8667.5, 21), (8672.7, 17),
    (8761.3, 17), (8763.8, 43), (8770.2, 63), (8778.8, 25), (8780.7, 58), (8793.6, 23),
    (8829.5, 154), (8838.9, 55), (8870.0, 34), (8888.3, 114), (8905.6, 47), (8922.1, 121),
    (8945.9, 40), (8960.6, 88), (8990.9, 25), (9003.8, 43), (9052.0, 16), (9309.8, 71),
    (9315.8, 96), (9326.2, 100), (9340.4, 32), (9378.5, 234), (9389.4, 30), (9404.7, 21),
    (9422.3, 52), (9442.3, 160), (9461.1, 69), (9479.5, 158), (9505.4, 56), (9522.0, 106),
    (9555.2, 43), (9570.0, 62), (9610.3, 24), (9623.5, 21), (9671.3, 20), (9684.8, 30),
    (9702.0, 55), (9714.4, 23), (9722.5, 75), (9740.8, 26), (9793.8, 179), (9802.4, 50),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How long a spectrum was exposed and how bright the sky was.

    Parameters
    ----------
    time : float
        Exposure time, seconds.
    sky_brightness : float
        Sky flux over that of a dark night.
    """

    time: float
    sky_brightness: float


def draw_exposure(rng, sample):
    """Draw an exposure as DESI's programmes would give to an object of a sample.

    Parameters
    ----------
    rng : numpy.random.Generator
    sample : str
        One of `~astroclip_astro.simulate.population.SAMPLES`.

    Returns
    -------
    Exposure
        Its time is even in the logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.noise import draw_exposure
    >>> 500 <= draw_exposure(np.random.default_rng(0), "bgs").time <= 4000
    True
    """
    times, (median, darkest, brightest) = EXPOSURES[sample]
    sky = median * np.exp(0.4 * rng.standard_normal())
    return Exposure(
        time=float(np.exp(rng.uniform(*np.log(times)))),
        sky_brightness=float(np.clip(sky, darkest, brightest)),
    )


def observed_flux(flux, sigma, sky_brightness, rng):
    """Observe noiseless spectra: photon and read noise, and what the sky subtraction leaves.

    Parameters
    ----------
    flux, sigma : array_like
        Noiseless flux and its noise, shape (n, 7781), 1e-17 erg s-1 cm-2 Å-1.
    sky_brightness : array_like
        Sky over a dark one, shape (n,).
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Shape (n, 7781), float32.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.noise import observed_flux
    >>> rng = np.random.default_rng(0)
    >>> observed_flux(np.zeros((2, 7781)), np.ones((2, 7781)), [1.0, 2.0], rng).shape
    (2, 7781)
    """
    sky = _response()[1].astype(np.float32)
    flux = np.asarray(flux, np.float32)
    n, pixels = flux.shape
    coarse = rng.standard_normal((n, pixels // SKY_RESIDUAL_PIXELS + 2), dtype=np.float32)
    at = np.arange(pixels, dtype=np.float32) / SKY_RESIDUAL_PIXELS
    left = at.astype(int)
    weight = at - left.astype(np.float32)
    residual = coarse[:, left] * (1 - weight) + coarse[:, left + 1] * weight
    share = SKY_RESIDUAL * np.exp(SKY_RESIDUAL_SCATTER * rng.standard_normal(n))
    residual *= (share * np.asarray(sky_brightness)).astype(np.float32)[:, None] * sky
    return (
        flux
        + residual
        + np.asarray(sigma, np.float32) * rng.standard_normal(flux.shape, dtype=np.float32)
    )


def spectrum_sigma(flux, exposure):
    """Compute the standard deviation of each pixel of an observed spectrum.

    Parameters
    ----------
    flux : array_like
        Noiseless flux in the fibre on the survey's grid, shape (7781,), 1e-17 erg s-1 cm-2 Å-1.
    exposure : Exposure

    Returns
    -------
    numpy.ndarray
        Shape (7781,), float64, in the unit of `flux`, positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.noise import Exposure, spectrum_sigma
    >>> dark = Exposure(time=1000.0, sky_brightness=1.0)
    >>> sigma = spectrum_sigma(np.zeros(7781), dark)
    >>> bool(sigma[0] > sigma[4000] > 0)
    True
    """
    electrons, sky = _response()
    counts = electrons * exposure.time
    photons = counts * (np.maximum(flux, 0) + exposure.sky_brightness * sky)
    return np.sqrt(photons + READ_VARIANCE) / counts


def sky_in_fibre():
    """Flux of a dark sky in one fibre.

    Returns
    -------
    numpy.ndarray
        Shape (7781,), float64, 1e-17 erg s-1 cm-2 Å-1.

    Examples
    --------
    >>> from astroclip_astro.simulate.noise import sky_in_fibre
    >>> sky_in_fibre().shape
    (7781,)
    """
    return _response()[1]


@lru_cache
def _response():
    """Electrons per second per unit flux, and the dark sky's flux in one fibre, shape (7781,)."""
    wavelength = wavelength_grid()
    photon_energy = (constants.h * constants.c).to_value(u.erg * u.AA) / wavelength
    throughput = np.interp(wavelength, *THROUGHPUT.T)
    electrons = 1e-17 * COLLECTING_AREA * WAVELENGTH_STEP / photon_energy * throughput
    sky = np.interp(wavelength, *SKY_CONTINUUM.T)
    for centre, intensity in SKY_LINES:
        profile = np.exp(-0.5 * ((wavelength - centre) / LSF_SIGMA) ** 2)
        sky += intensity * profile / (LSF_SIGMA * np.sqrt(2 * np.pi))
    return electrons, sky * np.pi / 4 * FIBRE_DIAMETER**2
