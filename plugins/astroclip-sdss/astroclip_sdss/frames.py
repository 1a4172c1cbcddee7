"""SDSS corrected frames, and cutting an object out of them."""

import os

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.nddata.utils import NoOverlapError
from astropy.stats import mad_std

from astroclip_astro.adapters.meta import flux_unit
from astroclip_astro.adapters.planes import header_wcs
from astroclip_astro.errors import InputError

__all__ = ["BANDS", "FRAME_SHAPE", "PIXEL_SCALE", "cut_frames", "frame_band"]

BANDS = ("u", "g", "r", "i", "z")

#: Arcsec per pixel.
PIXEL_SCALE = 0.396

#: Rows and columns of a frame (data model of "frame", SDSS DR17).
FRAME_SHAPE = (1489, 2048)

#: Arcsec on a side of a cutout: the 40" that models take, turned by any angle.
_SIDE = 60.0

#: What a cutout keeps of the header of its frame.
_KEPT = ("RUN", "RERUN", "CAMCOL", "FRAME", "DATE-OBS")


def cut_frames(frames, coordinate):
    """Cut one object out of the frames of several bands.

    Parameters
    ----------
    frames : iterable of astropy.io.fits.HDUList or path-like
        Frames ``frame-<band>-<run>-<camcol>-<field>.fits``, also as ``.bz2``, one per band, in any
        order; or images cut from them that kept FILTER, BUNIT and the WCS.
    coordinate : astropy.coordinates.SkyCoord
        Where the object is.

    Returns
    -------
    astropy.io.fits.HDUList
        What `astroclip_astro.embed` takes, and reads again when it is written to a file: RA and DEC
        in the first header, then per band, from u to z, an image of 60 arcsec on a side around
        them, less where the frame ends, on its frame's pixels with its WCS, and with the noise of
        the frame's sky as SKYSIG. The pixels of different bands do not coincide.

    Raises
    ------
    InputError
        If one is no frame or is truncated, two are of one band, or the object is not on one.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_sdss.frames import cut_frames
    >>> frames = [f"frame-{band}-003699-4-0100.fits.bz2" for band in "grz"]
    >>> cutout = cut_frames(frames, SkyCoord("13h35m24s 13d24m40s"))  # doctest: +SKIP
    >>> cutout.writeto("ngc5227.fits")  # doctest: +SKIP
    """
    if not coordinate.isscalar:
        raise InputError(f"coordinates of shape {coordinate.shape}: expected one object's")
    target = coordinate.icrs
    cuts = {}
    for frame in frames:
        if isinstance(frame, fits.HDUList):
            name, cut = _cut(frame, target, frame.filename() or "frame")
        else:
            name, cut = _cut_file(frame, target)
        if name in cuts:
            raise InputError(f"two frames are of band {name}: expected one per band")
        cuts[name] = cut
    if not cuts:
        raise InputError("no frame: expected one per band")
    primary = fits.PrimaryHDU()
    primary.header["SURVEY"] = ("SDSS", "cutout of corrected frames")
    primary.header["RA"] = (target.ra.deg, "[deg] of the object, ICRS")
    primary.header["DEC"] = (target.dec.deg, "[deg] of the object, ICRS")
    return fits.HDUList([primary, *(cuts[band] for band in BANDS if band in cuts)])


def frame_band(header, *, object_id=""):
    """Band of a frame, whose header must be that of a calibrated image.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the image.
    object_id : str, optional
        Name for errors.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If there is no image, or it is not of an SDSS band or not in nanomaggies.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astroclip_sdss.frames import frame_band
    >>> frame_band(fits.Header({"NAXIS": 2, "FILTER": "r", "BUNIT": "nanomaggies"}))
    'r'
    """
    band = str(header.get("FILTER", "")).strip()
    if header.get("NAXIS") != 2 or band not in BANDS:
        raise InputError(
            f"FILTER {band!r}, {header.get('NAXIS')} axes: expected an SDSS corrected frame "
            f"(frame-*.fits), an image with FILTER {', '.join(BANDS)} in its first HDU",
            object_id=object_id,
        )
    bunit = str(header.get("BUNIT", "")).strip()
    if flux_unit(bunit) != u.nmgy:
        raise InputError(
            f"BUNIT {bunit!r}: expected 'nanomaggies', the unit of corrected frames since DR8; "
            "the fpC files of older releases are not calibrated",
            object_id=object_id,
        )
    return band


def _cut_file(path, target):
    path = os.fspath(path)
    try:
        with fits.open(path) as hdulist:
            return _cut(hdulist, target, path)
    except (OSError, EOFError) as error:  # EOFError: truncated bzip2
        raise InputError(f"not a readable FITS file: {error}", object_id=path) from error


def _cut(hdulist, target, name):
    header = hdulist[0].header
    band = frame_band(header, object_id=name)
    wcs = header_wcs(header)
    if wcs is None:
        raise InputError("no celestial WCS: expected that of the frame", object_id=name)
    try:
        data = np.asarray(hdulist[0].data, np.float32)
    except (TypeError, ValueError, OSError, EOFError) as error:
        raise InputError(
            f"its data cannot be read, it may be truncated: {error}", object_id=name
        ) from error
    x, y = wcs.world_to_pixel(target)
    rows, columns = data.shape
    if not (-0.5 <= x < columns - 0.5 and -0.5 <= y < rows - 0.5):
        raise InputError(
            f"{target.to_string('hmsdms')} is not on this {band} frame, but at column {x:.0f}, row "
            f"{y:.0f} of {columns} × {rows} pixels: expected a frame of the field that it is in",
            object_id=name,
        )
    try:
        cut = Cutout2D(data, target, _SIDE * u.arcsec, wcs, mode="trim")
    except (NoOverlapError, ValueError) as error:
        raise InputError(f"cannot be cut: {error}", object_id=name) from error
    kept = cut.wcs.to_header()
    kept["FILTER"] = band
    kept["BUNIT"] = "nanomaggy"
    # Of the frame: a galaxy may fill its cutout.
    kept["SKYSIG"] = (float(mad_std(data, ignore_nan=True)), "noise of the sky per pixel")
    for key in _KEPT:
        if key in header:
            kept[key] = (header[key], header.comments[key])
    return band, fits.ImageHDU(cut.data.copy(), kept, name=band)
