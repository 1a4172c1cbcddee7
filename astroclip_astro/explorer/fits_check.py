"""Whether a FITS file from a stranger is what it says, told from its headers alone."""

import math
import re
import string
import warnings

from astropy.io import fits

from astroclip_astro.errors import InputError

__all__ = ["check_fits"]

_PRINTABLE = (string.ascii_letters + string.digits + string.punctuation + " ").encode()
_MOST_HDUS = 200
_CARD, _BLOCK = 80, 2880
_KNOWN = (fits.PrimaryHDU, fits.ImageHDU, fits.BinTableHDU, fits.TableHDU)


def check_fits(path, largest):
    """Refuse a FITS file that is damaged, or whose data would become much larger than it is.

    No data are read, and nothing is decompressed.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    largest : int
        How many bytes an array may take, also one that is compressed in the file.

    Raises
    ------
    InputError
        If headers are damaged or hold anything but printable ASCII, if there are more than 200
        HDUs or ones of unusual kinds, if the file is shorter or longer than the headers say, if
        columns are wider than their table, or if something would be larger than `largest`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astropy.io import fits
    >>> from astroclip_astro.explorer.fits_check import check_fits
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "cutout.fits")
    ...     fits.PrimaryHDU([1, 2, 3]).writeto(path)
    ...     check_fits(path, largest=10)
    Traceback (most recent call last):
        ...
    astroclip_astro.errors.InputError: cutout.fits: HDU 0 is an array of 24 bytes: expected 10 at
    most
    """
    try:
        # Astropy reads here as it will when the data are wanted: what it takes for a header now
        # is what it takes for one then.
        content = path.read_bytes()
        if len(content) % _BLOCK:
            raise InputError(
                f"truncated or damaged: {len(content)} bytes are no blocks of {_BLOCK}"
            )
        _check_counts(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Astropy would leave a file open that it cannot read.
            with (
                path.open("rb") as file,
                fits.open(file, disable_image_compression=True) as hdulist,
            ):
                _check(hdulist, content, largest)
    except InputError as error:
        raise InputError(str(error), object_id=path.name) from None
    except Exception as error:
        raise InputError(
            f"its headers cannot be read ({type(error).__name__}: {error}): expected a FITS file",
            object_id=path.name,
        ) from error


def _check_counts(content):
    """Refuse what astropy would count to as it opens the file; 999 is the most by the standard."""
    for found in re.finditer(rb"(NAXIS|TFIELDS) *= *\+?\d{4,}", content):
        if found.start() % _CARD == 0:
            raise InputError(f"{found[1].decode()} is over 999: expected a spectrum or a cutout")


def _check(hdulist, content, largest):
    end = unpacked = 0
    for number, hdu in enumerate(hdulist):
        where = f"HDU {number}"
        if number == _MOST_HDUS:
            raise InputError(f"more than {_MOST_HDUS} HDUs: expected one spectrum or cutout")
        if type(hdu) not in _KNOWN:  # not random groups, which are a kind of PrimaryHDU
            raise InputError(f"{where} is neither an image nor a table: expected those only")
        info = hdu.fileinfo()
        if content[info["hdrLoc"] : info["datLoc"]].translate(None, _PRINTABLE):
            raise InputError(f"the header of {where} holds something that is not printable ASCII")
        axes = _axes(hdu.header, "NAXIS", where)
        _limit(_bytes(hdu.header, "BITPIX", axes, where), largest, where)
        if min(hdu.header.get("PCOUNT", 0), hdu.header.get("GCOUNT", 1) - 1) < 0:
            raise InputError(f"{where} has a negative PCOUNT or no GCOUNT")
        if info["datLoc"] + hdu.size > len(content):
            raise InputError(
                f"truncated or damaged: {where} should end at byte {info['datLoc'] + hdu.size}, "
                f"and the file at {len(content)}"
            )
        if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)):
            _check_columns(hdu, axes, where)
        if "ZNAXIS" in hdu.header:
            unpacked += _unpacked(hdu.header, where)
            _limit(unpacked, largest, f"{where}, decompressed with those before it,")
        end = info["datLoc"] + info["datSpan"]
    if len(content) > end:
        raise InputError(
            f"truncated or damaged: after HDU {len(hdulist) - 1}, which ends at byte {end}, comes "
            "something that is no HDU"
        )


def _check_columns(hdu, axes, where):
    if len(axes) != 2 or hdu.columns.dtype.itemsize > axes[0]:
        raise InputError(f"the columns of {where} are wider than its rows")


def _unpacked(header, where):
    """Size of what a tiled image is decompressed to, or of its tile if that is larger."""
    axes = _axes(header, "ZNAXIS", where)
    tile = [header.get(f"ZTILE{n}", 1) for n in range(1, len(axes) + 1)]
    return max(_bytes(header, "ZBITPIX", shape, where) for shape in (axes, tile))


def _axes(header, name, where):
    """Lengths of the axes, whole numbers."""
    axes = [header[f"{name}{n}"] for n in range(1, header[name] + 1)]
    if not all(type(length) is int and length >= 0 for length in axes):
        raise InputError(f"{where} has axes of {axes}: expected whole numbers")
    return axes


def _bytes(header, bitpix, axes, where):
    """Size of an array; an axis of no length must not hide others that are very long."""
    if header[bitpix] not in (8, 16, 32, 64, -32, -64):
        raise InputError(f"{where} has {bitpix} {header[bitpix]}")
    return abs(header[bitpix]) // 8 * math.prod(max(length, 1) for length in axes)


def _limit(size, largest, what):
    if size > largest:
        raise InputError(f"{what} is an array of {size} bytes: expected {largest} at most")
