"""Planes of an image brought onto the pixel grid of a model, conserving flux."""

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
    """Bring planes that share one WCS onto a grid.

    An image whose pixels coincide with those of the grid up to a common shift (same scale, any
    flip or quarter turn) is cut without interpolation at the nearest whole pixel: its values are
    kept exactly, and the target is off the centre by half a pixel at most. Any other image is
    interpolated with cubic splines by `reproject.reproject_interp`, at points not farther apart
    than about a pixel of the image and averaged in each pixel of the grid, and multiplied by the
    ratio of the pixel areas, which conserves flux.

    Parameters
    ----------
    planes : sequence of Plane
        All with the same WCS and shape.
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
    rows, columns = np.indices(grid.array_shape, dtype=float)
    x, y = pixel_to_pixel(grid, wcs, columns, rows)
    observed = (np.abs(x - (shape[1] - 1) / 2) < shape[1] / 2) & (
        np.abs(y - (shape[0] - 1) / 2) < shape[0] / 2
    )
    if not observed.any():
        nothing = Cutout(
            flux=np.zeros(observed.shape),
            good=observed,
            observed=observed,
            variance=None,
            non_finite=False,
            pixel_scale=np.nan,
        )
        return [nothing] * len(planes)

    # Pixels of the image per pixel of the grid.
    area = np.abs(
        np.gradient(x, axis=1) * np.gradient(y, axis=0)
        - np.gradient(x, axis=0) * np.gradient(y, axis=1)
    )
    scale = 1 / np.sqrt(np.median(area))
    first = [int(v[observed].min() + 0.5) for v in (y, x)]
    last = [int(v[observed].max() + 0.5) for v in (y, x)]
    inside = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
    start = [max(0, a - _MARGIN) for a in first]
    part = tuple(slice(a, b + 1 + _MARGIN) for a, b in zip(start, last, strict=True))
    sample = _whole_pixels(x - start[1], y - start[0], area)
    if sample is None:
        sample = _interpolation(wcs[part], grid, finer=max(1, round(1 / scale)))
    else:
        area = np.ones_like(area)

    cuts = []
    for plane in planes:
        flux, bad = plane.flux[part], plane.bad[part]
        sampled = area * sample(fill_holes(flux, bad), "bicubic")
        good = observed
        if bad.any():
            good = observed & (sample(bad.astype(float), "nearest-neighbor") < 0.5)
        variance = None
        if plane.variance is not None:
            # The noise of a mean falls with the number of pixels in it; splitting a pixel does not
            # make its parts independent.
            used = np.where(bad, 0, plane.variance[part])
            variance = sample(used, "nearest-neighbor") * area * np.minimum(area, 1)
            variance[~good] = np.nan
        cuts.append(
            Cutout(
                flux=np.where(observed, sampled, 0),
                good=good,
                observed=observed,
                variance=variance,
                non_finite=not np.isfinite(plane.flux[inside]).all(),
                pixel_scale=scale,
            )
        )
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


def _whole_pixels(x, y, area):
    """Sampler without interpolation, or None if the grid does not fall on whole pixels."""
    if abs(np.median(area) - 1) > _LATTICE_TOLERANCE:
        return None
    whole = []
    for v in (y, x):
        # Halfway between two pixels, rounding noise must not choose: it is always the lower.
        shift = v[0, 0] - np.ceil(v[0, 0] - 0.5 - 1e-3)
        index = np.rint(v - shift)
        if not np.abs(v - shift - index).max() < _LATTICE_TOLERANCE:
            return None
        whole.append(index.astype(int))

    def sample(array, _order):
        return array[tuple(np.clip(i, 0, n - 1) for i, n in zip(whole, array.shape, strict=True))]

    return sample


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
