"""Planes of an image brought onto the pixel grid of a model, conserving flux."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.nddata import block_reduce
from astropy.wcs.utils import pixel_to_pixel
from reproject import reproject_interp
from scipy.ndimage import gaussian_filter

__all__ = ["Cutout", "cut_out", "fill_holes"]

#: Pixels of an image kept around the part that the grid covers, for splines and filled holes.
_MARGIN = 16

#: How far, in pixels, the grid may be from whole pixels of the image and still count as on them.
_LATTICE_TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutout:
    """One plane on the grid.

    Parameters
    ----------
    flux : numpy.ndarray
        Nanomaggies per pixel of the grid, shape (row, column), float64, finite; 0 outside the
        image.
    good : numpy.ndarray
        Same shape, bool: filled by real, unmasked data.
    observed : numpy.ndarray
        Same shape, bool: inside the image, masked or not.
    variance : numpy.ndarray or None
        Same shape, of `flux`, neglecting the correlation between pixels; NaN where not `good`.
    non_finite : bool
        Whether a pixel of the image inside the grid was not finite.
    pixel_scale : float
        Side of a pixel of the image in units of a pixel of the grid.
    """

    flux: np.ndarray
    good: np.ndarray
    observed: np.ndarray
    variance: np.ndarray | None
    non_finite: bool
    pixel_scale: float


def cut_out(planes, grid):
    """Bring the planes of an image onto a grid.

    If the pixels of the first plane coincide with those of the grid up to a common shift (same
    scale, any flip or quarter turn), the grid gives way by half a pixel at most: a target in the
    middle of a pixel comes to pixel ``size // 2`` of the grid. Planes whose pixels it then meets
    are cut without interpolation: their values are kept exactly. All others are interpolated with
    cubic splines by `reproject.reproject_interp`, at points not farther apart than about a pixel
    of the image and averaged in each pixel of the grid, and multiplied by the ratio of the pixel
    areas, which conserves flux.

    Parameters
    ----------
    planes : sequence of Plane
        At least one.
    grid : astropy.wcs.WCS
        Two celestial axes, with its ``array_shape`` set.

    Returns
    -------
    list of Cutout
        One per plane.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.adapters.cutout import cut_out
    >>> from astroclip_astro.adapters.planes import Plane, tangent_wcs
    >>> target = SkyCoord("150d 2d")
    >>> plane = Plane(flux=np.ones((64, 64)), bad=np.zeros((64, 64), bool), variance=None,
    ...               wcs=tangent_wcs(target, 0.5, (64, 64)))
    >>> cut, = cut_out([plane], tangent_wcs(target, 0.25, (32, 32)))
    >>> float(cut.flux.sum())  # 16 × 16 of the 64 × 64 pixels
    256.0
    """
    wcs, shape = planes[0].wcs, planes[0].flux.shape
    grid, positions = _give_way(grid, _positions(grid, wcs))
    placements = {(id(wcs), shape): _place(positions, wcs, shape, grid)}
    cuts = []
    for plane in planes:
        wcs, shape = plane.wcs, plane.flux.shape
        if (id(wcs), shape) not in placements:
            placements[id(wcs), shape] = _place(_positions(grid, wcs), wcs, shape, grid)
        cuts.append(_cut(plane, placements[id(wcs), shape]))
    return cuts


def fill_holes(flux, bad):
    """Replace bad pixels by what surrounds them.

    Parameters
    ----------
    flux : numpy.ndarray
        Shape (row, column), float64.
    bad : numpy.ndarray
        Same shape, bool.

    Returns
    -------
    numpy.ndarray
        Same shape, finite. A bad pixel takes the mean of the good ones around it, weighted by a
        Gaussian of one pixel; where these are too few, more than about two pixels inside a hole,
        it takes 0, the level of the sky.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.adapters.cutout import fill_holes
    >>> flux = np.ones((5, 5))
    >>> flux[2, 2] = np.nan
    >>> float(fill_holes(flux, np.isnan(flux))[2, 2])
    1.0
    """
    if not bad.any():
        return flux
    weight = gaussian_filter((~bad).astype(float), 1, mode="constant")
    total = gaussian_filter(np.where(bad, 0, flux), 1, mode="constant")
    near = weight > 0.05
    return np.where(bad, np.where(near, total / np.where(near, weight, 1), 0), flux)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Placement:
    """Where a grid lies on an image.

    `area` is in pixels of the image per pixel of the grid; `inside` are the rows and columns that
    the grid covers, `part` those with a margin; ``sample(array, order)`` brings an array that
    belongs to `part` onto the grid.
    """

    observed: np.ndarray
    area: np.ndarray = None
    inside: tuple = None
    part: tuple = None
    sample: Callable = None


def _cut(plane, place):
    observed = place.observed
    if not observed.any():
        return Cutout(
            flux=np.zeros(observed.shape),
            good=observed,
            observed=observed,
            variance=None,
            non_finite=False,
            pixel_scale=np.nan,
        )
    flux, bad = plane.flux[place.part], plane.bad[place.part]
    sampled = place.area * place.sample(fill_holes(flux, bad), "bicubic")
    good = observed
    if bad.any():
        good = observed & (place.sample(bad.astype(float), "nearest-neighbor") < 0.5)
    variance = None
    if plane.variance is not None:
        # The noise of a mean falls with the number of pixels in it; splitting a pixel does not
        # make its parts independent.
        variance = np.where(bad, 0, plane.variance[place.part])
        variance = place.sample(variance, "nearest-neighbor")
        variance = np.where(good, variance * place.area * np.minimum(place.area, 1), np.nan)
    return Cutout(
        flux=np.where(observed, sampled, 0),
        good=good,
        observed=observed,
        variance=variance,
        non_finite=not np.isfinite(plane.flux[place.inside]).all(),
        pixel_scale=1 / np.sqrt(np.median(place.area[observed])),
    )


def _positions(grid, wcs):
    """Columns and rows of an image at the pixels of a grid, and the matrix of their gradients."""
    rows, columns = np.indices(grid.array_shape, dtype=float)
    x, y = pixel_to_pixel(grid, wcs, columns, rows)
    jacobian = np.array([np.gradient(v, axis=axis) for v in (x, y) for axis in (1, 0)])
    return x, y, jacobian.reshape(2, 2, *x.shape)


def _give_way(grid, positions):
    """Move a grid by half a pixel at most if it meets the pixels of an image then."""
    x, y, jacobian = positions
    turn = np.rint(jacobian[:, :, 0, 0])
    if not np.array_equal(np.abs(turn @ turn.T), np.eye(2)):
        return grid, positions
    # Columns and rows of the grid from its first pixel to the nearest of the image. If two are as
    # near, rounding noise must not choose: the centre is then put on pixel size // 2 of the grid.
    corner = np.array([x[0, 0], y[0, 0]])
    off = turn.T @ (np.rint(corner) - corner)
    off -= np.floor(off + 0.5 + 1e-3)
    dx, dy = turn @ off
    if _whole_pixels(x + dx, y + dy) is None:
        return grid, positions
    moved = grid.deepcopy()
    moved.wcs.crpix = grid.wcs.crpix - off
    return moved, (x + dx, y + dy, jacobian)


def _place(positions, wcs, shape, grid):
    x, y, jacobian = positions
    area = np.abs(jacobian[0, 0] * jacobian[1, 1] - jacobian[0, 1] * jacobian[1, 0])
    rows, columns = shape
    observed = np.isfinite(area)
    observed &= (x > -0.5) & (x < columns - 0.5) & (y > -0.5) & (y < rows - 0.5)
    if not observed.any():
        return _Placement(observed=observed)
    first = [int(v[observed].min() + 0.5) for v in (y, x)]
    last = [int(v[observed].max() + 0.5) for v in (y, x)]
    start = [max(0, a - _MARGIN) for a in first]
    part = tuple(slice(a, b + 1 + _MARGIN) for a, b in zip(start, last, strict=True))
    if whole := _whole_pixels(x, y):
        area = np.ones(observed.shape)
        index = tuple(np.clip(i - a, 0, b - a) for i, a, b in zip(whole, start, last, strict=True))

        def sample(array, _order):
            return array[index]

    else:
        finer = max(1, round(float(np.sqrt(np.median(area[observed])))))
        sample = _interpolation(wcs[part], grid, finer)
    return _Placement(
        observed=observed,
        area=area,
        inside=tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True)),
        part=part,
        sample=sample,
    )


def _whole_pixels(x, y):
    """Rows and columns of the pixels that the grid meets, or None if it meets none, or skips."""
    whole = []
    for v in (y, x):
        index = np.rint(v)
        steps = np.abs(np.diff(index[:2, :2])).max(), np.abs(np.diff(index[:2, :2], axis=0)).max()
        if not np.abs(v - index).max() < _LATTICE_TOLERANCE or max(steps) > 1:
            return None
        whole.append(index.astype(int))
    return tuple(whole)


def _interpolation(wcs, grid, finer):
    """Sampler that averages finer × finer interpolated values in each pixel of the grid."""
    shape = [n * finer for n in grid.array_shape]
    finer_grid = grid.deepcopy()
    finer_grid.wcs.crpix = (grid.wcs.crpix - 0.5) * finer + 0.5
    finer_grid.wcs.cdelt = grid.wcs.cdelt / finer

    def sample(array, order):
        values = reproject_interp(
            (array, wcs),
            finer_grid,
            shape_out=shape,
            order=order,
            roundtrip_coords=False,
            return_footprint=False,
        )
        inside = np.isfinite(values)
        number = block_reduce(inside.astype(float), finer)
        return block_reduce(np.where(inside, values, 0), finer) / np.maximum(number, 1)

    return sample
