"""The planes of an image, one per band, as an Astropy object or a FITS file states them."""

import warnings
from collections import ChainMap
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import NDData, VarianceUncertainty
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_area, wcs_to_celestial_frame

from astroclip_astro.adapters.meta import (
    band_names,
    flux_unit,
    image_meta,
    sky_position,
    stated,
    zeropoints,
)
from astroclip_astro.adapters.photometric import nanomaggies_per_unit
from astroclip_astro.errors import InputError

__all__ = ["REFUSED_RGB", "Plane", "header_wcs", "read_planes", "tangent_wcs"]

#: Why pictures are no input for a model of calibrated fluxes.
REFUSED_RGB = (
    "8-bit image: a JPEG or PNG is stretched, clipped and rounded, and its fluxes are lost, while "
    "this model was trained on calibrated fluxes. Give the FITS cutout instead, or "
    "survey='legacysurvey-rgb', which undoes the colours of the Legacy Surveys' viewer roughly"
)

#: Nanomaggies that no pixel has; float32, which the models use, ends at 3e38.
_ABSURD = 1e30


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """One band of an image, on its own pixels.

    Parameters
    ----------
    flux : numpy.ndarray
        Shape (row, column), float64, nanomaggies per pixel; anything where `bad`.
    bad : numpy.ndarray
        Same shape, bool: masked, not finite, or without weight.
    variance : numpy.ndarray or None
        Same shape, of `flux`, where the image has an uncertainty.
    wcs : astropy.wcs.WCS
        Celestial, two axes. Planes of one cube share one object.
    on_sky : bool
        Whether `wcs` is the image's own, rather than made from a pixel scale.
    """

    flux: np.ndarray
    bad: np.ndarray
    variance: np.ndarray | None
    wcs: WCS
    on_sky: bool = True


def header_wcs(header, hdulist=None):
    """WCS of a FITS header, without the warnings about spellings that astropy repairs.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of an image.
    hdulist : astropy.io.fits.HDUList, optional
        Its file, where look-up tables of the WCS may be.

    Returns
    -------
    astropy.wcs.WCS or None
        None without celestial axes.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astroclip_astro.adapters.planes import header_wcs
    >>> header_wcs(fits.Header()) is None
    True
    """
    axes = header.get("NAXIS", 0)
    unusual = any(key in header for key in ("A_ORDER", "B_ORDER", f"CTYPE{axes + 1}"))
    if unusual or header.get("WCSAXES", 0) > axes:
        with warnings.catch_warnings():  # astropy warns of more than of what it repairs
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header, fobj=hdulist)
    else:
        wcs = _QuietWCS(header, fobj=hdulist)
    return wcs if wcs.has_celestial else None


class _QuietWCS(WCS):
    """A WCS without SIP distortions, which is repaired as any other, but without a warning.

    Images are read in a thread of their own, and filters of warnings belong to all threads up to
    Python 3.13: those that the caller sets meanwhile could be lost, or stay for good.
    """

    def fix(self, translate_units="", naxis=None):
        self.wcs.fix(translate_units, naxis)


def tangent_wcs(centre, pixel_scale, shape):
    """Tangent-plane WCS with north up and east left.

    Parameters
    ----------
    centre : astropy.coordinates.SkyCoord
        ICRS position of the middle of the image: between the two central pixels of an even side.
    pixel_scale : float
        Arcsec per pixel.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    astropy.wcs.WCS

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.adapters.planes import tangent_wcs
    >>> tangent_wcs(SkyCoord("150d 2d"), 0.262, (152, 152)).wcs.crpix
    array([76.5, 76.5])
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = centre.ra.deg, centre.dec.deg
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    wcs.wcs.cdelt = -pixel_scale / 3600, pixel_scale / 3600
    wcs.wcs.radesys = "ICRS"
    wcs.array_shape = shape
    return wcs


def read_planes(image, *, bands, survey=None):
    """Read the wanted bands of an image in nanomaggies per pixel.

    Parameters
    ----------
    image : astropy.nddata.NDData or astropy.io.fits.HDUList
        As `astroclip_astro.adapters.image.image_records` takes them.
    bands : sequence of str
        The wanted bands.
    survey : Survey, optional
        Says what the image leaves open: bands, zeropoint, pixel scale.

    Returns
    -------
    dict of Plane
        By band; wanted bands that the image does not have are absent.

    Raises
    ------
    InputError
        If shape, bands, unit or geometry are missing or cannot be used.
    """
    if isinstance(image, NDData):
        return _nddata_planes(image, bands, survey)
    meta = image_meta(image)
    planes = {}
    for hdu in image:
        if not (hdu.is_image and hdu.header["NAXIS"] in (2, 3)):
            continue
        names = _hdu_bands(hdu, survey)
        if not set(names) & set(bands):
            continue
        own = ChainMap(dict(hdu.header), meta)
        unit = flux_unit(own.get("BUNIT"))
        cube = NDData(hdu.data, wcs=header_wcs(hdu.header, image), unit=unit, meta=own)
        for band, plane in _nddata_planes(cube, bands, survey, names).items():
            if band in planes:
                raise InputError(f"two image HDUs hold band {band}: expected one")
            planes[band] = plane
    if not planes:
        raise InputError(
            f"no image HDU holds any of the bands {', '.join(bands)}: expected a cube (band, row, "
            "column) with BANDS in its header, or one image per band, named by BAND, FILTER or "
            "EXTNAME"
        )
    return planes


def _hdu_bands(hdu, survey):
    """Names of the bands in an image HDU, empty if it holds something else."""
    if hdu.header.get("NAXIS3", 1) > 1:
        return band_names(hdu.header) or tuple(getattr(survey, "bands", ()))
    for key in ("BAND", "FILTER"):
        # 'r DECam SDSS c0002 6415.0 1480.0': the first word is the band.
        if name := str(hdu.header.get(key, "")).split():
            return (name[0],)
    if names := band_names(hdu.header):
        return names
    # EXTNAME is in capitals by custom; bands of a single letter are lower case.
    return (hdu.name.lower() if len(hdu.name) == 1 else hdu.name,)


def _nddata_planes(image, bands, survey, names=()):
    """Planes of one NDData; `names` are those of its bands if they are known already."""
    names = names or band_names(image.meta) or tuple(getattr(survey, "bands", ()))
    data = _cube(image.data, names)
    mask = np.zeros(data.shape, bool) if image.mask is None else _same_shape(image.mask, data)
    variance = None if image.uncertainty is None else _variance(image, data)
    wcs = _celestial(image.wcs) or _from_pixel_scale(image, survey)
    area = proj_plane_pixel_area(wcs) * u.deg**2
    zeropoint = stated(image.meta, "zeropoint")
    if zeropoint is None:
        zeropoint = getattr(survey, "zeropoint", None)
    zeropoint = zeropoints(zeropoint, names)
    planes = {}
    for i, band in enumerate(names):
        if band not in bands:
            continue
        factor = nanomaggies_per_unit(image.unit, zeropoint=zeropoint.get(band), pixel_area=area)
        flux = data[i].astype(np.float64) * factor
        bad = mask[i].astype(bool) | ~(np.abs(flux) < _ABSURD)
        var = None
        if variance is not None:
            var = variance[i] * factor**2
            bad |= ~(np.isfinite(var) & (var > 0))
        planes[band] = Plane(
            flux=flux, bad=bad, variance=var, wcs=wcs, on_sky=image.wcs is not None
        )
    return planes


def _cube(data, names):
    """Give data as (band, row, column), of real numbers."""
    data = np.asarray(data)
    if data.dtype == np.uint8:
        raise InputError(REFUSED_RGB)
    if data.dtype.kind not in "iuf" or data.ndim not in (2, 3):
        raise InputError(
            f"image of shape {data.shape} and type {data.dtype}: expected real numbers of shape "
            "(band, row, column), or (row, column) for one band"
        )
    cube = data.reshape((-1, *data.shape[-2:]))
    if not names:
        raise InputError(
            "the bands are not stated: expected meta['bands'] (or BANDS in the FITS header), one "
            "name per plane, e.g. ('g', 'r', 'z')"
        )
    if len(names) != len(cube) or len(set(names)) != len(names):
        raise InputError(
            f"bands {names} of an image of shape {data.shape}: expected one band per plane in the "
            "order (band, row, column); np.moveaxis(image, -1, 0) if the bands are last"
        )
    return cube


def _same_shape(array, data):
    try:
        return np.broadcast_to(np.asarray(array), data.shape)
    except ValueError:
        raise InputError(
            f"mask or uncertainty of shape {np.shape(array)} for an image of shape {data.shape}"
        ) from None


def _variance(image, data):
    """Variance of an image in the square of its unit."""
    try:
        with np.errstate(divide="ignore"):  # an inverse variance of 0 is a pixel without weight
            variance = image.uncertainty.represent_as(VarianceUncertainty)
    except TypeError:
        raise InputError(
            f"uncertainty of type {type(image.uncertainty).__name__}: expected StdDevUncertainty, "
            "VarianceUncertainty or InverseVariance"
        ) from None
    array = _same_shape(variance.array, data).astype(np.float64)
    if variance.unit is None or image.unit is None:
        return array
    return array * variance.unit.to(image.unit**2)


def _celestial(wcs):
    """Two-dimensional celestial part of a WCS, or None."""
    wcs = getattr(wcs, "low_level_wcs", wcs)
    if wcs is None:
        return None
    if not isinstance(wcs, WCS) or not wcs.has_celestial:
        raise InputError(
            f"WCS of type {type(wcs).__name__} without celestial axes that astropy.wcs knows: "
            "expected an astropy.wcs.WCS with right ascension and declination"
        )
    if not {wcs.wcs.lng, wcs.wcs.lat} <= {0, 1}:
        raise InputError(
            f"celestial axes are FITS axes {wcs.wcs.lng + 1} and {wcs.wcs.lat + 1}: expected 1 and "
            "2, an array of shape (band, row, column)"
        )
    wcs = wcs.celestial
    try:
        wcs_to_celestial_frame(wcs)
    except ValueError as error:
        raise InputError("the WCS is in a celestial frame that astropy does not know") from error
    return wcs


def _from_pixel_scale(image, survey):
    """WCS of an image that has none: north up, centred on the stated position if there is one."""
    scale = stated(image.meta, "pixel_scale")
    scale = getattr(survey, "pixel_scale", None) if scale is None else scale
    if scale is None:
        raise InputError(
            "no WCS and no pixel scale: expected a WCS, or meta['pixel_scale'] in arcsec of an "
            "image with north up and east left"
        )
    try:
        scale = float(u.Quantity(scale, u.arcsec).value)
    except (TypeError, u.UnitsError) as error:
        raise InputError(f"pixel scale {scale!r}: expected one number of arcsec") from error
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"pixel scale {scale!r}: expected a positive number of arcsec")
    centre = sky_position(image.meta) or SkyCoord(0 * u.deg, 0 * u.deg)
    return tangent_wcs(centre, scale, image.data.shape[-2:])
