"""One file of a cutout, which holds one band, and finding the files of the others."""

import re
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits

from astroclip_astro.adapters.meta import flux_unit
from astroclip_astro.adapters.planes import header_wcs
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality

__all__ = [
    "BANDS",
    "ZEROPOINT",
    "BandImage",
    "is_cutout",
    "read_band",
    "same_grid",
    "sibling_files",
]

#: Bands from blue to red.
BANDS = ("g", "r", "i", "z", "y")

#: AB magnitude of one count in all coadds.
ZEROPOINT = 27.0

#: Mask planes where a coadd holds no measurement of the sky (Bosch et al. 2018, PASJ 70, S5). Under
#: CLIPPED, REJECTED, SENSOR_EDGE and INEXACT_PSF fewer visits were added up; INTRP comes with what
#: was interpolated over: SAT, BAD or CR.
_BAD = ("BAD", "CR", "EDGE", "NO_DATA", "UNMASKEDNAN")

#: Mask planes that tell something of the object.
_TOLD = ("SAT", "BRIGHT_OBJECT")

_FILTER = re.compile(r"(?:HSC-)?([GRIZY])2?", re.IGNORECASE)
_NAME = re.compile(
    r"(?P<before>.*)HSC-(?P<band>[GRIZY])2?-(?P<after>.+?)(?:-\d{6}-\d{6})?(?P<end>\.fits(?:\.gz)?)",
    re.IGNORECASE,
)


def sibling_files(path):
    """Find the files of one object's bands, given one of them.

    Their names are the same but for the filter and for the date and time that the service adds to
    files downloaded one by one, ``cutout-HSC-G-9325-pdr2_wide-201204-201802.fits``. As other
    objects may have such names too, only files on the same pixels count.

    Parameters
    ----------
    path : path-like
        File of one band.

    Returns
    -------
    dict of pathlib.Path
        By band, from blue to red: g, r and z, and i and y where they are there.

    Raises
    ------
    InputError
        If the name is not of that form, a band has two files, or g, r or z has none.

    Examples
    --------
    >>> from astroclip_hsc.files import sibling_files
    >>> sibling_files("cutout-HSC-R-9813-pdr2_wide.fits")  # doctest: +SKIP
    {'g': PosixPath('cutout-HSC-G-9813-pdr2_wide.fits'), 'r': ...}
    """
    path = Path(path)
    named = _NAME.fullmatch(path.name)
    if not named:
        raise InputError(
            "the files of the other bands are found by their names: expected one such as "
            "cutout-HSC-R-9813-pdr2_wide.fits; HSC.combine takes files of any names",
            object_id=str(path),
        )
    grid, band = _grid_and_band(path)
    found = {band: path}
    elsewhere = {}
    for other in sorted(path.parent.iterdir()):
        name = _NAME.fullmatch(other.name)
        if other == path or not name or not _same_name(name, named):
            continue
        other_grid, other_band = _grid_and_band(other)
        if not same_grid(grid, other_grid):
            elsewhere[other_band] = other
        elif other_band in found:
            raise InputError(
                f"{found[other_band].name} and {other.name} are both {other_band} of it: expected "
                "one file per band; move one away",
                object_id=str(path),
            )
        else:
            found[other_band] = other
    if missing := [one for one in "grz" if one not in found]:
        one = missing[0]
        reason = (
            f"{elsewhere[one].name} is not on the same pixels"
            if one in elsewhere
            else f"no {named['before']}HSC-{one.upper()}-{named['after']}*{named['end']} beside it"
        )
        raise InputError(
            f"band {', '.join(missing)} is missing: {reason}; ask the cutout service for g, r and "
            "z of the same place and size, and keep the files in one folder",
            object_id=str(path),
            quality=Quality.MISSING_BAND,
        )
    return {band: found[band] for band in BANDS if band in found}


def _same_name(name, other):
    return all(name[part].lower() == other[part].lower() for part in ("before", "after", "end"))


@dataclass(frozen=True, kw_only=True, eq=False)
class BandImage:
    """What one file holds.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    band : str
        One of `BANDS`.
    grid : tuple
        Shape (rows, columns) and celestial WCS of its pixels.
    image : numpy.ndarray
        Shape (row, column), float64.
    bad : numpy.ndarray
        Same shape, bool: masked.
    planes : dict of numpy.ndarray
        Same shape, bool: SAT and BRIGHT_OBJECT.
    variance : numpy.ndarray or None
        Same shape, in the square of `unit`.
    unit : astropy.units.UnitBase
        Of the image: counts, if the file says nothing.
    zeropoint : float
        AB magnitude of one count.
    """

    path: Path
    band: str
    grid: tuple
    image: np.ndarray
    bad: np.ndarray
    planes: dict
    variance: np.ndarray | None
    unit: u.UnitBase
    zeropoint: float


def is_cutout(hdulist):
    """Whether a file is a cutout of an HSC coadd.

    Parameters
    ----------
    hdulist : astropy.io.fits.HDUList
        The open file; only headers are read.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astroclip_hsc.files import is_cutout
    >>> primary = fits.PrimaryHDU(header=fits.Header({"FILTER": "HSC-R2"}))
    >>> is_cutout(fits.HDUList([primary, fits.ImageHDU(np.zeros((5, 5)))]))
    True
    """
    if len(hdulist) < 2 or not hdulist[1].is_image or hdulist[1].header["NAXIS"] != 2:
        return False
    header = hdulist[0].header
    name = str(header.get("FILTER", "")).strip()
    # Newer coadds may name the filter alone; FLUXMAG0 is the pipeline's own.
    return bool(_FILTER.fullmatch(name)) and (
        name.upper().startswith("HSC-") or "FLUXMAG0" in header
    )


def _open(path):
    try:
        hdulist = fits.open(path)
    except OSError as error:
        raise InputError(f"not a readable FITS file: {error}", object_id=str(path)) from error
    if not is_cutout(hdulist):
        hdulist.close()
        raise InputError(
            "no cutout of an HSC coadd: expected FILTER 'HSC-G' or the like in the first header "
            "and an image in HDU 1",
            object_id=str(path),
        )
    return hdulist


def _describe(hdulist, path):
    """Pixel grid, as shape and WCS, and band of an open file."""
    header = hdulist[1].header
    wcs = header_wcs(header)
    if wcs is None:
        raise InputError(
            "HDU 1 has no celestial WCS: expected that of the coadd", object_id=str(path)
        )
    band = _FILTER.fullmatch(hdulist[0].header["FILTER"].strip())[1].lower()
    return ((header["NAXIS2"], header["NAXIS1"]), wcs.celestial), band


def _grid_and_band(path):
    with _open(path) as hdulist:
        return _describe(hdulist, path)


def same_grid(grid, other):
    """Whether two grids have the same shape, and the same pixels to a tenth of one.

    Parameters
    ----------
    grid, other : tuple
        Shape and WCS, as of `BandImage`.

    Returns
    -------
    bool
    """
    (shape, wcs), (other_shape, other_wcs) = grid, other
    if shape != other_shape:
        return False
    corners = np.array([(0, 0), (shape[1] - 1, 0), (0, shape[0] - 1)])
    there = wcs.wcs_world2pix(other_wcs.wcs_pix2world(corners, 0), 0)
    return bool(np.abs(there - corners).max() < 0.1)


def read_band(path):
    """Read the file of one band.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    BandImage

    Raises
    ------
    InputError
        If it is no cutout of a coadd, or its data, WCS or zeropoint cannot be used.
    """
    with _open(path) as hdulist:
        grid, band = _describe(hdulist, path)
        parts = {
            str(hdu.header.get("EXTTYPE") or kind).strip().upper(): hdu
            for kind, hdu in zip(("IMAGE", "MASK", "VARIANCE"), hdulist[1:4], strict=False)
        }
        if "IMAGE" not in parts:
            raise InputError(
                f"HDUs of EXTTYPE {', '.join(parts)}: expected IMAGE", object_id=str(path)
            )
        image = _data(parts, "IMAGE", path, np.float64)
        bits = _data(parts, "MASK", path, np.int64)
        variance = _data(parts, "VARIANCE", path, np.float64)
        numbers = parts["MASK"].header if "MASK" in parts else {}
        planes = {
            name: (bits & (1 << numbers[f"MP_{name}"])) != 0
            if f"MP_{name}" in numbers
            else np.zeros(image.shape, bool)
            for name in (*_BAD, *_TOLD)
        }
        fluxmag0 = hdulist[0].header.get("FLUXMAG0")
        if fluxmag0 is not None and not fluxmag0 > 0:
            raise InputError(
                f"FLUXMAG0 is {fluxmag0}: expected the counts of magnitude 0", object_id=str(path)
            )
        bunit = str(parts["IMAGE"].header.get("BUNIT", "")).strip()
        return BandImage(
            path=path,
            band=band,
            grid=grid,
            image=image,
            bad=np.any([planes[name] for name in _BAD], axis=0),
            planes={name: planes[name] for name in _TOLD},
            variance=variance,
            unit=u.adu if bunit.lower() in ("", "adu") else flux_unit(bunit),
            zeropoint=ZEROPOINT if fluxmag0 is None else 2.5 * np.log10(fluxmag0),
        )


def _data(parts, name, path, dtype):
    """Array of one HDU of a file, None if there is no such HDU."""
    if name not in parts:
        return None
    shape = (parts["IMAGE"].header["NAXIS2"], parts["IMAGE"].header["NAXIS1"])
    try:
        array = np.asarray(parts[name].data, dtype)
    except (TypeError, ValueError, OSError) as error:
        raise InputError(
            f"{name} cannot be read, the file may be truncated: {error}", object_id=str(path)
        ) from error
    if array.shape != shape:
        raise InputError(
            f"{name} of shape {array.shape} for an image of shape {shape}", object_id=str(path)
        )
    return array
