"""Noiseless g, r, z cutouts of simulated galaxies as the Legacy Surveys would see them.

A galaxy is a de Vaucouleurs bulge and an exponential disc, drawn by GalSim (Rowe et al. 2015,
Astronomy and Computing 10, 121) through a Moffat PSF, and the arms, bars, knots and neighbours of
`structure`, convolved with the same PSF.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.signal import fftconvolve
from scipy.special import gammainc

from astroclip_astro.simulate.population import arcsec_per_kpc
from astroclip_astro.simulate.spectra import require
from astroclip_astro.simulate.structure import arms_map, bar_map, field_map, knots_map

__all__ = [
    "IMAGE_SIZE",
    "PIXEL_SCALE",
    "ObservingConditions",
    "draw_conditions",
    "draw_image",
    "draw_point",
    "fibre_fractions",
    "point_fractions",
    "half_light_angle",
    "pixel_sigma",
]

__doctest_requires__ = {("draw_image", "draw_point"): ["galsim"]}

PIXEL_SCALE = 0.262  # arcsec, of DECam and of the Legacy Survey cutouts
IMAGE_SIZE = 152

# Median seeing (FWHM, arcsec) and 5-sigma point-source depth (AB) of DECaLS in g, r, z: Dey et al.
# (2019, AJ 157, 168), Table 4 and section 7. The scatters are round numbers of the same order as
# the differences across their footprint.
SEEING, SEEING_SCATTER = np.array([1.29, 1.18, 1.11]), 0.10
DEPTH, DEPTH_SCATTER = np.array([24.7, 23.9, 23.0]), 0.30
MOFFAT_BETA = 3.0

# Magnitudes by which a component exceeds the disc in g and z, relative to r. Bulges are redder by
# 0.15 in g - r and 0.1 in r - z, knots bluer by 0.3 and 0.25, arms half as much, bars like bulges:
# choices, not fits.
BULGE_COLOUR = np.array([0.15, 0.0, -0.10])
KNOT_COLOUR = np.array([-0.30, 0.0, 0.25])
COLOUR = {
    "bulge": BULGE_COLOUR,
    "disc": np.zeros(3),
    "arms": KNOT_COLOUR / 2,
    "bar": BULGE_COLOUR,
    "knots": KNOT_COLOUR,
}

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
    alpha = _moffat_scale(conditions.seeing) / PIXEL_SCALE
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


def draw_image(galaxy, nanomaggies, conditions, rng, *, finer=1):
    """Draw the noiseless cutout of a galaxy and its surroundings in g, r and z.

    Parameters
    ----------
    galaxy : `~astroclip_astro.simulate.population.Galaxy`
    nanomaggies : array_like
        Total flux of the galaxy in g, r, z, shape (3,).
    conditions : ObservingConditions
        The depth is not used.
    rng : numpy.random.Generator
        Places the arms, the knots and the neighbours.
    finer : int
        Pixels along each side of one of 0.262 arcsec. With a power of two the same things are drawn
        at the same places.

    Returns
    -------
    image : numpy.ndarray
        The galaxy alone, shape (3, 152 finer, 152 finer), float32, nanomaggies per pixel; rows run
        north, columns run west, the galaxy is centred on the middle of the array.
    surroundings : numpy.ndarray
        Its neighbours alone, likewise.
    n_neighbours : int
        How many there are.

    Raises
    ------
    ImportError
        If GalSim is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate import images, population
    >>> rng = np.random.default_rng(1)
    >>> galaxy = population.draw_galaxy(rng, "sdss-main")
    >>> conditions = images.draw_conditions(rng)
    >>> image, _, _ = images.draw_image(galaxy, [10, 20, 30], conditions, rng)
    >>> image.shape
    (3, 152, 152)
    """
    galsim = require("galsim")
    size, scale = IMAGE_SIZE * finer, PIXEL_SCALE / finer
    smooth, maps, fractions = _components(galsim, galaxy, rng, size, scale)
    weights = {name: share * 10 ** (-0.4 * COLOUR[name]) for name, share in fractions.items()}
    unit = np.asarray(nanomaggies) / sum(weights.values())
    image = np.empty((3, size, size), dtype=np.float32)
    surroundings = np.empty_like(image)
    neighbours, n = field_map(rng, size, scale)
    for band, fwhm in enumerate(conditions.seeing):
        moffat = _moffat(galsim, fwhm)
        kernel = _kernel(moffat, finer)
        seen = galsim.Convolve(
            galsim.Sum([c.withFlux(weights[k][band] * unit[band]) for k, c in smooth.items()]),
            moffat,
            gsparams=_accuracy(galsim),
        )
        image[band] = _draw(seen, finer)
        if maps:
            painted = sum(weights[name][band] * unit[band] * m for name, m in maps.items())
            image[band] += fftconvolve(painted, kernel, mode="same")
        surroundings[band] = fftconvolve(neighbours[band], kernel, mode="same")
    return image, surroundings, n


def draw_point(nanomaggies, conditions, rng, *, finer=1):
    """Draw the noiseless cutout of a star or a quasar and its surroundings in g, r and z.

    Parameters
    ----------
    nanomaggies : array_like
        Total flux in g, r, z, shape (3,).
    conditions : ObservingConditions
        The depth is not used.
    rng : numpy.random.Generator
        Places the neighbours.
    finer : int
        As for `draw_image`.

    Returns
    -------
    image, surroundings : numpy.ndarray
        The point and its neighbours, each as for `draw_image`.
    n_neighbours : int
        How many there are.

    Raises
    ------
    ImportError
        If GalSim is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate import images
    >>> rng = np.random.default_rng(1)
    >>> image, _, _ = images.draw_point([10, 20, 30], images.draw_conditions(rng), rng)
    >>> image.sum((1, 2)).round(0)
    array([10., 20., 30.], dtype=float32)
    """
    galsim = require("galsim")
    moffats = [_moffat(galsim, fwhm) for fwhm in conditions.seeing]
    image = np.stack(
        [_draw(m.withFlux(f), finer) for m, f in zip(moffats, nanomaggies, strict=True)]
    )
    neighbours, n = field_map(rng, IMAGE_SIZE * finer, PIXEL_SCALE / finer)
    surroundings = [
        fftconvolve(plane, _kernel(m, finer), mode="same")
        for plane, m in zip(neighbours, moffats, strict=True)
    ]
    return image, np.stack(surroundings).astype(np.float32), n


@lru_cache
def _accuracy(galsim):
    # A de Vaucouleurs profile has endless wings: at GalSim's default accuracy its transform takes
    # most of the time of a mock; at this one the image changes by less than 1 per cent.
    return galsim.GSParams(folding_threshold=0.02, maxk_threshold=5e-3)


def _moffat(galsim, fwhm):
    return galsim.Moffat(beta=MOFFAT_BETA, fwhm=float(fwhm), gsparams=_accuracy(galsim))


def _kernel(moffat, finer):
    """PSF on pixels, of sum 1."""
    size = 44 * finer + 1
    kernel = moffat.drawImage(nx=size, ny=size, scale=PIXEL_SCALE / finer, method="no_pixel").array
    return kernel / kernel.sum()


def _draw(profile, finer):
    size, scale = IMAGE_SIZE * finer, PIXEL_SCALE / finer
    return profile.drawImage(nx=size, ny=size, scale=scale, dtype=np.float32, method="auto").array


def fibre_fractions(image, totals):
    """Fraction of a galaxy's light in each band that falls into a DESI fibre on its centre.

    Parameters
    ----------
    image : numpy.ndarray
        PSF-convolved image, shape (3, 152, 152).
    totals : array_like
        Total flux in each band, shape (3,), in the image's unit.

    Returns
    -------
    numpy.ndarray
        Shape (3,).

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.images import fibre_fractions
    >>> fibre_fractions(np.ones((3, 152, 152)), np.full(3, 152.0**2)).round(5)
    array([0.00111, 0.00111, 0.00111])
    """
    return (image * _fibre_aperture()).sum((1, 2)) / np.asarray(totals)


def point_fractions(conditions):
    """Fraction of a point source's light in each band that falls into a DESI fibre on it.

    The growth curve of a Moffat profile, 1 - (1 + (r / alpha)^2)^(1 - beta) (Trujillo et al. 2001,
    MNRAS 328, 977).

    Parameters
    ----------
    conditions : ObservingConditions
        The depth is not used.

    Returns
    -------
    numpy.ndarray
        Shape (3,).

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.images import ObservingConditions, point_fractions
    >>> dey = ObservingConditions(seeing=np.array([1.3, 1.2, 1.1]), depth=np.full(3, 24.0))
    >>> point_fractions(dey).round(3)
    array([0.448, 0.494, 0.546])
    """
    radii = FIBRE_DIAMETER / 2 / _moffat_scale(conditions.seeing)
    return 1 - (1 + radii**2) ** (1 - MOFFAT_BETA)


def _moffat_scale(fwhm):
    """Scale radius alpha of a Moffat profile, in the unit of its FWHM."""
    return fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))


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


def _components(galsim, galaxy, rng, size, scale):
    """Smooth profiles and pixel maps by name, of unit flux, and each one's share of the r light."""
    r_half = half_light_angle(galaxy)
    disc_radius = r_half / _half_light_of_composite(galaxy.bulge_to_total, galaxy.bulge_size)
    scale_length = disc_radius / 1.678
    angle = (90 + galaxy.position_angle) * galsim.degrees
    disc_light = 1 - galaxy.bulge_to_total
    parameters = _accuracy(galsim)
    smooth = {
        # GalSim's half-light radius is that of the circularised profile; shears keep area.
        "bulge": galsim.DeVaucouleurs(
            half_light_radius=galaxy.bulge_size * disc_radius * np.sqrt(galaxy.bulge_axis_ratio),
            gsparams=parameters,
        ).shear(q=galaxy.bulge_axis_ratio, beta=angle),
        "disc": galsim.Exponential(
            half_light_radius=disc_radius * np.sqrt(galaxy.disc_axis_ratio), gsparams=parameters
        ).shear(q=galaxy.disc_axis_ratio, beta=angle),
    }
    shares = {
        "arms": galaxy.arm_fraction if galaxy.n_arms else 0.0,
        "bar": galaxy.bar_fraction,
        "knots": galaxy.knot_fraction if galaxy.n_knots else 0.0,
    }
    start = rng.uniform(0, 2 * np.pi)
    where = (galaxy, scale_length, start, size, scale)
    maps = {}
    if shares["arms"]:
        maps["arms"] = arms_map(*where)
    if shares["bar"]:
        maps["bar"] = bar_map(*where)
    if shares["knots"]:
        maps["knots"] = knots_map(*where, rng)
    fractions = {name: disc_light * shares[name] for name in maps}
    fractions["bulge"] = galaxy.bulge_to_total
    fractions["disc"] = disc_light - sum(disc_light * shares[name] for name in maps)
    return smooth, maps, fractions


def _half_light_of_composite(bulge_to_total, bulge_size):
    """Half-light radius of bulge plus disc in units of the disc's, along the major axis."""

    # Growth curves of Sersic profiles, n = 4 and n = 1 (Graham & Driver 2005, PASA 22, 118).
    def missing(radius):
        bulge = gammainc(8, 7.669 * (radius / bulge_size) ** 0.25)
        disc = gammainc(2, 1.678 * radius)
        return bulge_to_total * bulge + (1 - bulge_to_total) * disc - 0.5

    # It lies between the radii of the two; their constants are rounded.
    return brentq(missing, 0.9 * min(bulge_size, 1), 1.1 * max(bulge_size, 1))
