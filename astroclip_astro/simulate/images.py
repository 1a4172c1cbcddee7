"""Noiseless g, r, z cutouts of simulated galaxies as the Legacy Surveys would see them.

A galaxy is a de Vaucouleurs bulge, an exponential disc and, if it forms stars, knots along spiral
arms, drawn by GalSim (Rowe et al. 2015, Astronomy and Computing 10, 121) through a Moffat PSF.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc

from astroclip_astro.simulate.population import arcsec_per_kpc
from astroclip_astro.simulate.spectra import require

__all__ = [
    "IMAGE_SIZE",
    "PIXEL_SCALE",
    "ObservingConditions",
    "draw_conditions",
    "draw_image",
    "fibre_fraction",
    "half_light_angle",
    "pixel_sigma",
]

__doctest_requires__ = {"draw_image": ["galsim", "speclite"]}

PIXEL_SCALE = 0.262  # arcsec, of DECam and of the Legacy Survey cutouts
IMAGE_SIZE = 152

# Median seeing (FWHM, arcsec) and 5-sigma point-source depth (AB) of DECaLS in g, r, z: Dey et al.
# (2019, AJ 157, 168), Table 4 and section 7. The scatters are round numbers of the same order as
# the differences across their footprint.
SEEING, SEEING_SCATTER = np.array([1.29, 1.18, 1.11]), 0.10
DEPTH, DEPTH_SCATTER = np.array([24.7, 23.9, 23.0]), 0.30
MOFFAT_BETA = 3.0

# Magnitudes by which a component exceeds the disc in g and z, relative to r. Bulges are redder by
# 0.15 in g - r and 0.1 in r - z, knots bluer by 0.3 and 0.25: choices, not fits.
BULGE_COLOUR = np.array([0.15, 0.0, -0.10])
KNOT_COLOUR = np.array([-0.30, 0.0, 0.25])

MAX_HALF_LIGHT = 12.0  # arcsec; larger galaxies would not fit in the cutout
MIN_HALF_LIGHT = 0.15

FIBRE_DIAMETER = 1.5  # arcsec on the sky, DESI (Abareshi et al. 2022, AJ 164, 207)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservingConditions:
    """Seeing and depth of one cutout.

    Parameters
    ----------
    seeing : numpy.ndarray
        PSF FWHM in g, r, z, shape (3,), arcsec.
    depth : numpy.ndarray
        5-sigma point-source depth in g, r, z, shape (3,), AB mag.
    """

    seeing: np.ndarray
    depth: np.ndarray


def draw_conditions(rng):
    """Draw seeing and depth around the medians of the Legacy Surveys.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    ObservingConditions

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.images import draw_conditions
    >>> draw_conditions(np.random.default_rng(0)).seeing.shape
    (3,)
    """
    seeing = SEEING * np.exp(SEEING_SCATTER * rng.standard_normal(3))
    return ObservingConditions(
        seeing=np.clip(seeing, 0.8, 2.2),
        depth=DEPTH + DEPTH_SCATTER * rng.standard_normal(3),
    )


def pixel_sigma(conditions):
    """Noise of one pixel that gives the stated point-source depth, the sky dominating.

    The optimal variance of a point source's flux is the pixel's times the PSF's effective area
    (King 1983, PASP 95, 163), 1 / integral of PSF^2 = pi alpha^2 (2 beta - 1) / (beta - 1)^2
    for a Moffat profile.

    Parameters
    ----------
    conditions : ObservingConditions

    Returns
    -------
    numpy.ndarray
        Shape (3,), nanomaggies.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.images import ObservingConditions, pixel_sigma
    >>> dey = ObservingConditions(seeing=np.array([1.3, 1.2, 1.1]), depth=np.full(3, 24.0))
    >>> pixel_sigma(dey).round(4)
    array([0.0052, 0.0056, 0.0062])
    """
    alpha = conditions.seeing / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1)) / PIXEL_SCALE
    area = np.pi * alpha**2 * (2 * MOFFAT_BETA - 1) / (MOFFAT_BETA - 1) ** 2
    return 10 ** (0.4 * (22.5 - conditions.depth)) / 5 / np.sqrt(area)


def half_light_angle(galaxy):
    """Half-light radius of a galaxy on the sky, along its major axis in the r band.

    Parameters
    ----------
    galaxy : `~astroclip_astro.simulate.population.Galaxy`

    Returns
    -------
    float
        arcsec, limited to 0.15 - 12.
    """
    angle = galaxy.r_half * arcsec_per_kpc(galaxy.redshift)
    return float(np.clip(angle, MIN_HALF_LIGHT, MAX_HALF_LIGHT))


def draw_image(galaxy, nanomaggies, conditions, rng):
    """Draw the noiseless cutout of a galaxy in g, r and z.

    Parameters
    ----------
    galaxy : `~astroclip_astro.simulate.population.Galaxy`
    nanomaggies : array_like
        Total flux in g, r, z, shape (3,).
    conditions : ObservingConditions
        The depth is not used.
    rng : numpy.random.Generator
        Places the knots.

    Returns
    -------
    numpy.ndarray
        Shape (3, 152, 152), float32, nanomaggies per pixel; rows run north, columns run west, the
        galaxy is centred on the middle of the array.

    Raises
    ------
    ImportError
        If GalSim is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate import images, population
    >>> rng = np.random.default_rng(1)
    >>> galaxy = population.draw_galaxy(rng, limit=17.77)
    >>> conditions = images.draw_conditions(rng)
    >>> images.draw_image(galaxy, [10, 20, 30], conditions, rng).shape
    (3, 152, 152)
    """
    galsim = require("galsim")
    components, fractions = _components(galsim, galaxy, rng)
    colours = {"bulge": BULGE_COLOUR, "disc": np.zeros(3), "knots": KNOT_COLOUR}
    weights = np.array([fractions[name] * 10 ** (-0.4 * colours[name]) for name in components])
    weights *= np.asarray(nanomaggies) / weights.sum(axis=0)

    image = np.empty((3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    for band, fwhm in enumerate(conditions.seeing):
        light = galsim.Sum(
            [c.withFlux(w) for c, w in zip(components.values(), weights[:, band], strict=True)]
        )
        seen = galsim.Convolve(light, galsim.Moffat(beta=MOFFAT_BETA, fwhm=float(fwhm)))
        stamp = seen.drawImage(
            nx=IMAGE_SIZE, ny=IMAGE_SIZE, scale=PIXEL_SCALE, dtype=np.float32, method="auto"
        )
        image[band] = stamp.array
    return image


def fibre_fraction(plane, total):
    """Fraction of a galaxy's light that falls into a DESI fibre on its centre.

    Parameters
    ----------
    plane : numpy.ndarray
        PSF-convolved image in one band, shape (152, 152).
    total : float
        Total flux in that band, in the image's unit.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.images import fibre_fraction
    >>> round(fibre_fraction(np.ones((152, 152)), total=152.0**2), 5)
    0.00111
    """
    return float((plane * _fibre_aperture()).sum() / total)


@lru_cache
def _fibre_aperture(oversampling=16):
    """Share of each pixel inside the fibre, shape (152, 152)."""
    sub = (np.arange(IMAGE_SIZE * oversampling) + 0.5) / oversampling - IMAGE_SIZE / 2
    near = np.abs(sub) < 8  # pixels; the fibre's radius is 2.9
    coordinate = sub[near] * PIXEL_SCALE
    inside = np.hypot(coordinate[:, None], coordinate) < FIBRE_DIAMETER / 2
    n = coordinate.size // oversampling
    share = inside.reshape(n, oversampling, n, oversampling).mean(axis=(1, 3))
    margin = (IMAGE_SIZE - n) // 2
    return np.pad(share, margin)


def _components(galsim, galaxy, rng):
    """Unit-flux light profiles by name, and each one's share of the r-band light."""
    r_half = half_light_angle(galaxy)
    disc_radius = r_half / _half_light_of_composite(galaxy.bulge_to_total, galaxy.bulge_size)
    angle = (90 + galaxy.position_angle) * galsim.degrees
    disc_light = 1 - galaxy.bulge_to_total
    components = {
        # GalSim's half-light radius is that of the circularised profile; shears keep area.
        "bulge": galsim.DeVaucouleurs(
            half_light_radius=galaxy.bulge_size * disc_radius * np.sqrt(galaxy.bulge_axis_ratio)
        ).shear(q=galaxy.bulge_axis_ratio, beta=angle),
        "disc": galsim.Exponential(
            half_light_radius=disc_radius * np.sqrt(galaxy.disc_axis_ratio)
        ).shear(q=galaxy.disc_axis_ratio, beta=angle),
    }
    fractions = {
        "bulge": galaxy.bulge_to_total,
        "disc": disc_light * (1 - galaxy.knot_fraction),
    }
    if galaxy.n_knots:
        components["knots"] = _spiral_knots(galsim, galaxy, disc_radius, rng)
        fractions["knots"] = disc_light * galaxy.knot_fraction
    return components, fractions


def _spiral_knots(galsim, galaxy, disc_radius, rng):
    """Point-like knots spread as the disc's light, along two to four logarithmic arms."""
    n = galaxy.n_knots
    scale = disc_radius / 1.678  # exponential scale length
    radius = np.minimum(rng.gamma(2.0, scale, n), 4.5 * scale)
    arms = rng.integers(2, 5)
    pitch = np.radians(rng.uniform(10, 30))
    # The arms widen the distribution of phases rather than fix it, so that discs are flocculent.
    phase = np.log(radius / scale + 1e-3) / np.tan(pitch)
    phase += 2 * np.pi / arms * rng.integers(0, arms, n) + 0.35 * rng.standard_normal(n)
    phase += rng.uniform(0, 2 * np.pi)
    along, across = radius * np.cos(phase), radius * np.sin(phase) * galaxy.disc_axis_ratio
    angle = np.radians(90 + galaxy.position_angle)
    x = along * np.cos(angle) - across * np.sin(angle)
    y = along * np.sin(angle) + across * np.cos(angle)
    flux = np.exp(0.8 * rng.standard_normal(n))
    flux /= flux.sum()
    return galsim.Sum(
        [galsim.DeltaFunction(flux=f).shift(dx, dy) for f, dx, dy in zip(flux, x, y, strict=True)]
    )


def _half_light_of_composite(bulge_to_total, bulge_size):
    """Half-light radius of bulge plus disc in units of the disc's, along the major axis."""

    # Growth curves of Sersic profiles, n = 4 and n = 1 (Graham & Driver 2005, PASA 22, 118).
    def missing(radius):
        bulge = gammainc(8, 7.669 * (radius / bulge_size) ** 0.25)
        disc = gammainc(2, 1.678 * radius)
        return bulge_to_total * bulge + (1 - bulge_to_total) * disc - 0.5

    return brentq(missing, 0.01, 2.0)
