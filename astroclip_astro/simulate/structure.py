"""Spiral arms, knots and bars of simulated discs, and what else is in their field, as pixel maps.

These are painted before the PSF: arms and bars sample a smooth density at pixel centres, knots and
stars are points shared among four pixels.
"""

from functools import lru_cache

import numpy as np

__all__ = ["arms_map", "bar_map", "field_map", "knots_map"]

# Galaxies and high-latitude stars per square degree brighter than some r magnitude, and how the
# numbers rise with magnitude. Galaxies: 10^(0.4 m) through 1,200 per square degree at r < 19
# (Blanton et al. 2005, AJ 129, 2562, and Driver et al. 2022, MNRAS 513, 439, rounded). Stars: some
# 2,000 per square degree at r < 20 far from the plane (Juric et al. 2008, ApJ 673, 864, rounded).
FIELD_LIMITS = (16.0, 23.0)
GALAXY_COUNT, GALAXY_SLOPE = (1200.0, 19.0), 0.40
STAR_COUNT, STAR_SLOPE = (2000.0, 20.0), 0.12

ARM_SHARPNESS = 2.0  # power of the azimuthal profile: a choice
NEAREST_NEIGHBOUR = 2.5  # arcsec; nearer ones would be deblended into the target


@lru_cache
def _pixels(size, scale):
    offset = (np.arange(size) - (size - 1) / 2) * scale
    return np.meshgrid(offset, offset)


def _plane_of(galaxy, size, scale):
    """Radius (arcsec) and azimuth of each pixel in the plane of the disc, major axis at 0."""
    x, y = _pixels(size, scale)
    angle = np.radians(90 + galaxy.position_angle)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) / galaxy.disc_axis_ratio
    return np.hypot(along, across), np.arctan2(across, along)


def _phase(radius, scale_length, galaxy, start):
    """Azimuth at which an arm crosses a radius: a logarithmic spiral."""
    return np.log(radius / scale_length + 1e-3) / np.tan(np.radians(galaxy.arm_pitch)) + start


def _normalised(density):
    return density / density.sum()


def arms_map(galaxy, scale_length, start, size, scale):
    """Light of the spiral arms: the disc's profile, gathered along logarithmic spirals.

    Parameters
    ----------
    galaxy : `~astroclip_astro.simulate.population.Galaxy`
        With `n_arms` above 0.
    scale_length : float
        Of the exponential disc, arcsec.
    start : float
        Azimuth of the first arm at one scale length, radians.
    size : int
        Pixels along a side.
    scale : float
        Arcsec per pixel.

    Returns
    -------
    numpy.ndarray
        Shape (size, size), float64, of sum 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.population import draw_galaxy
    >>> from astroclip_astro.simulate.structure import arms_map
    >>> galaxy = draw_galaxy(np.random.default_rng(2), "bgs")
    >>> galaxy.n_arms, arms_map(galaxy, 2.0, 0.0, size=152, scale=0.262).sum().round(6)
    (3, np.float64(1.0))
    """
    radius, azimuth = _plane_of(galaxy, size, scale)
    wave = np.cos(galaxy.n_arms * (azimuth - _phase(radius, scale_length, galaxy, start)))
    # Arms begin outside the bulge, at half a scale length.
    inner = 1 - np.exp(-((radius / (0.6 * scale_length)) ** 4))
    profile = np.exp(-radius / scale_length) * inner
    return _normalised(profile * ((1 + wave) / 2) ** ARM_SHARPNESS + 1e-12)


def bar_map(galaxy, scale_length, start, size, scale):
    """Light of the bar: an elongated Gaussian in the disc's plane from which the arms start.

    Parameters
    ----------
    galaxy : `~astroclip_astro.simulate.population.Galaxy`
    scale_length, start : float
        As for `arms_map`.
    size : int
        Pixels along a side.
    scale : float
        Arcsec per pixel.

    Returns
    -------
    numpy.ndarray
        Shape (size, size), float64, of sum 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.population import draw_galaxy
    >>> from astroclip_astro.simulate.structure import bar_map
    >>> galaxy = draw_galaxy(np.random.default_rng(2), "bgs")
    >>> bar_map(galaxy, 2.0, 0.0, size=152, scale=0.262).sum().round(6)
    np.float64(1.0)
    """
    radius, azimuth = _plane_of(galaxy, size, scale)
    turn = azimuth - _phase(0.8 * scale_length, scale_length, galaxy, start)
    length, width = 0.45 * scale_length, 0.15 * scale_length
    return _normalised(
        np.exp(
            -0.5 * ((radius * np.cos(turn) / length) ** 2 + (radius * np.sin(turn) / width) ** 2)
        )
        + 1e-12
    )


def knots_map(galaxy, scale_length, start, size, scale, rng):
    """Light of the star-forming knots, along the arms where there are any.

    Parameters
    ----------
    galaxy : `~astroclip_astro.simulate.population.Galaxy`
        With `n_knots` above 0.
    scale_length, start : float
        As for `arms_map`.
    size : int
        Pixels along a side.
    scale : float
        Arcsec per pixel.
    rng : numpy.random.Generator
        Places the knots.

    Returns
    -------
    numpy.ndarray
        Shape (size, size), float64, of sum 1 but for what falls outside.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.population import draw_galaxy
    >>> from astroclip_astro.simulate.structure import knots_map
    >>> galaxy = draw_galaxy(np.random.default_rng(2), "bgs")
    >>> knots_map(galaxy, 2.0, 0.0, 152, 0.262, np.random.default_rng(0)).sum().round(6)
    np.float64(1.0)
    """
    n = galaxy.n_knots
    radius = np.minimum(rng.gamma(2.0, scale_length, n), 4.5 * scale_length)
    azimuth = rng.uniform(0, 2 * np.pi, n)
    if galaxy.n_arms:
        # The arms widen the distribution of phases rather than fix it.
        azimuth = _phase(radius, scale_length, galaxy, start) + 0.25 * rng.standard_normal(n)
        azimuth += 2 * np.pi / galaxy.n_arms * rng.integers(0, galaxy.n_arms, n)
    along = radius * np.cos(azimuth)
    across = radius * np.sin(azimuth) * galaxy.disc_axis_ratio
    angle = np.radians(90 + galaxy.position_angle)
    x = along * np.cos(angle) - across * np.sin(angle)
    y = along * np.sin(angle) + across * np.cos(angle)
    flux = np.exp(0.8 * rng.standard_normal(n))
    return _points(x, y, flux / flux.sum(), size, scale)


def field_map(rng, size, scale):
    """Other galaxies and stars that happen to be in the cutout.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Pixels along a side.
    scale : float
        Arcsec per pixel.

    Returns
    -------
    flux : numpy.ndarray
        Shape (3, size, size), float64, nanomaggies in g, r, z before the PSF.
    n : int
        How many.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.structure import field_map
    >>> flux, n = field_map(np.random.default_rng(0), size=152, scale=0.262)
    >>> flux.shape, n
    ((3, 152, 152), 4)
    """
    area = (size * scale / 3600) ** 2
    bright, faint = FIELD_LIMITS
    flux = np.zeros((3, size, size))
    x, y = _pixels(size, scale)
    total = 0
    for star, (count, at), slope in (
        (False, GALAXY_COUNT, GALAXY_SLOPE),
        (True, STAR_COUNT, STAR_SLOPE),
    ):
        steps = 10 ** (slope * (np.array([bright, faint]) - at)) * count
        n = rng.poisson(area * (steps[1] - steps[0]))
        magnitude = at + np.log10(rng.uniform(*steps, n) / count) / slope
        for r in magnitude:
            here = rng.uniform(-0.5, 0.5, 2) * size * scale
            if np.hypot(*here) < NEAREST_NEIGHBOUR:
                continue
            total += 1
            # The colours of galaxies and of stars follow one another, with some scatter.
            g_r = rng.normal(0.8, 0.3)
            colour = np.array([g_r, 0.0, -(0.12 + 0.5 * g_r + 0.1 * rng.standard_normal())])
            nanomaggies = 10 ** (-0.4 * (r + colour - 22.5))
            if star:
                density = _points(here[:1], here[1:], np.ones(1), size, scale)
            else:
                # Half-light radii of faint galaxies: 0.6 arcsec at r = 22, larger if brighter.
                half = 0.6 * 10 ** (0.10 * (22 - r) + 0.15 * rng.standard_normal())
                q, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
                dx, dy = x - here[0], y - here[1]
                along = dx * np.cos(angle) + dy * np.sin(angle)
                across = (dy * np.cos(angle) - dx * np.sin(angle)) / q
                density = np.exp(-1.678 * np.hypot(along, across) / max(half, 0.6 * scale))
                density *= (1.678 * scale / max(half, 0.6 * scale)) ** 2 / (2 * np.pi * q)
            flux += nanomaggies[:, None, None] * density
    return flux, total


def _points(x, y, flux, size, scale):
    """Points of the given flux at offsets (arcsec), each shared by the four nearest pixels."""
    column, row = (np.asarray(v) / scale + (size - 1) / 2 for v in (x, y))
    left, low = np.floor(column).astype(int), np.floor(row).astype(int)
    painted = np.zeros((size, size))
    for dc, wc in ((0, 1 - (column - left)), (1, column - left)):
        for dr, wr in ((0, 1 - (row - low)), (1, row - low)):
            c, r = left + dc, low + dr
            inside = (c >= 0) & (c < size) & (r >= 0) & (r < size)
            np.add.at(painted, (r[inside], c[inside]), (flux * wc * wr)[inside])
    return painted
