"""Spectral axes of any kind to contiguous bins in vacuum wavelength."""

import numpy as np
from astropy import units as u
from scipy.ndimage import percentile_filter
from specutils.utils.wcs_utils import air_to_vac

from astroclip_astro.errors import InputError

__all__ = ["vacuum_bins"]

# A spacing this many times wider than the usual one around it is a gap, not a wide pixel. Two
# neighbouring pixels left out make 3; spacings of log-linear grids change by far less.
_GAP = 2.5


def vacuum_bins(axis, medium="vacuum"):
    """Bins of a spectral axis, as contiguous intervals of vacuum wavelength.

    Parameters
    ----------
    axis : specutils.SpectralAxis
        In any unit of wavelength, frequency, energy or wavenumber, increasing or decreasing, made
        from bin centres or edges.
    medium : {"vacuum", "air"}
        What its wavelengths are. Air wavelengths are converted by equation 8 of Morton (2000,
        ApJS 130, 403), the IAU standard, inverted by iteration.

    Returns
    -------
    edges : numpy.ndarray
        Shape (n_bins + 1,), float64, Å, increasing.
    index : numpy.ndarray
        Shape (n_bins,), int: the pixel of the axis in each bin, -1 for a gap between pixels.

    Raises
    ------
    InputError
        If the axis is no wavelength (velocities, pixels), not finite and positive, has a single
        pixel, or cannot be in air.

    Notes
    -----
    Edges lie midway between centres, in the axis's own unit. Where centres are spaced more than
    2.5 times wider than the upper quartile of the 11 spacings around, as where bad pixels were
    left out, the spectrum has a gap, and the pixels beside it keep their usual width.

    Examples
    --------
    >>> import astropy.units as u, numpy as np
    >>> from specutils import SpectralAxis
    >>> from astroclip_astro.adapters.wavelength import vacuum_bins
    >>> axis = SpectralAxis(np.r_[500:550:10, 600:650:10] * u.nm)
    >>> edges, index = vacuum_bins(axis)
    >>> index, edges[4:8]
    (array([ 0,  1,  2,  3,  4, -1,  5,  6,  7,  8,  9]), array([5350., 5450., 5950., 6050.]))
    """
    unit = axis.unit
    if unit.is_equivalent(u.km / u.s):
        raise InputError(
            f"the spectral axis is a velocity ({unit}): its zero point is one line in one frame, "
            "so the observed wavelengths depend on a rest value and a velocity convention. Give "
            "them, e.g. by spectrum.with_spectral_axis_unit(u.AA, velocity_convention=…, "
            "rest_value=…)"
        )
    if not unit.is_equivalent(u.AA, u.spectral()):
        raise InputError(
            f"the spectral axis is in {unit}: expected a unit of wavelength, frequency, energy or "
            "wavenumber"
        )
    if len(axis) < 2:
        raise InputError("the spectrum has one pixel: expected at least 2")
    centres, given = np.float64(axis.value), np.float64(axis.bin_edges.value)
    index = np.arange(len(centres))
    if centres[0] > centres[-1]:
        centres, given, index = centres[::-1], given[::-1], index[::-1]
    if not (np.isfinite(given).all() and given[0] > 0 and (np.diff(given) > 0).all()):
        raise InputError(
            f"the spectral axis, {axis[0]} to {axis[-1]}, has bin edges that are not finite, "
            "positive and sorted"
        )
    midway = (centres[1:] + centres[:-1]) / 2
    if np.allclose(given[1:-1], midway, rtol=0, atol=1e-6 * np.diff(centres).min()):
        edges, pixel = _edges_between(centres)
    else:
        edges, pixel = given, np.arange(len(centres))  # stated by whoever made the axis
    index = np.where(pixel >= 0, index[pixel], -1)
    edges = u.Quantity(edges, unit).to_value(u.AA, u.spectral())
    if edges[0] > edges[-1]:
        edges, index = edges[::-1], index[::-1]
    if medium == "air":
        if not unit.is_equivalent(u.AA):
            raise InputError(f"air wavelengths are declared, but the spectral axis is in {unit}")
        if edges[0] < 2000:
            raise InputError(
                f"air wavelengths are declared, but the axis begins at {edges[0]:.1f} Å: below "
                "2000 Å wavelengths are in vacuum"
            )
        edges = air_to_vac(edges * u.AA, scheme="iteration", method="Morton2000").value
    return np.ascontiguousarray(edges), index


def _edges_between(centres):
    """Bin edges midway between increasing centres, and the pixel in each bin (-1 for a gap)."""
    spacing = np.diff(centres)
    if spacing.max() <= _GAP * spacing.min():  # as on most grids, where no filter is needed
        half = spacing / 2
        edges = np.concatenate(
            [centres[:1] - half[:1], centres[:-1] + half, centres[-1:] + half[-1:]]
        )
        return edges, np.arange(len(centres))
    # The upper quartile, since wide and narrow spacings may alternate where orders were merged.
    usual = percentile_filter(spacing, 75, size=11, mode="mirror")
    gap = np.flatnonzero(spacing > _GAP * usual)
    width = spacing.copy()
    width[gap] = usual[gap]
    edges = np.concatenate([centres[:1], centres[:-1], centres[-1:]])
    edges[0] -= width[0] / 2
    edges[1:-1] += width / 2
    edges[-1] += width[-1] / 2
    edges = np.insert(edges, gap + 2, centres[gap + 1] - width[gap] / 2)
    return edges, np.insert(np.arange(len(centres)), gap + 1, -1)
