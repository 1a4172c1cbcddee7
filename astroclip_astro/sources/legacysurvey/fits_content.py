"""FITS files as they come over the network: whole, or not at all."""

import io

from astropy.io import fits
from astroquery.exceptions import EmptyResponseError, InvalidQueryError

from .download import PassingError, excerpt

__all__ = ["check_whole", "open_fits", "pixel_scales"]


def open_fits(content):
    """Open a FITS file that was downloaded.

    Parameters
    ----------
    content : bytes
        What came.

    Returns
    -------
    astropy.io.fits.HDUList
        In memory; every HDU is there in full.

    Raises
    ------
    astroquery.exceptions.InvalidQueryError
        If it is the viewer's way to say that it has no such layer.
    astroquery.exceptions.EmptyResponseError
        If it is its way to say that it has nothing there.
    PassingError
        If it is anything else than a whole FITS file.
    """
    if not content.startswith(b"SIMPLE  ="):
        said = content[:100].strip().lower()
        if said.startswith(b"no such layer"):
            raise InvalidQueryError("the server has no such layer")
        if said.startswith(b"no overlap"):
            raise EmptyResponseError("the layer has no image there")
        raise PassingError(f"no FITS file but {excerpt(content)}")
    try:
        check_whole(content)
    except ValueError as error:
        raise PassingError(str(error)) from error
    return fits.open(io.BytesIO(content))


def check_whole(content):
    """Check that a FITS file ends where its last HDU does.

    Astropy only warns of a file that is too short, or leaves its last HDU out.

    Parameters
    ----------
    content : bytes
        The file. One that was cut exactly behind an HDU is as good as whole.

    Raises
    ------
    ValueError
        If it is not whole.
    """
    stream, end = io.BytesIO(content), 0
    try:
        while end < len(content):
            stream.seek(end)
            header = fits.Header.fromfile(stream)
            end = stream.tell() + header.data_size_padded
    except (OSError, ValueError) as error:
        raise ValueError(f"a damaged FITS file ({error})") from error
    if end != len(content):
        raise ValueError(f"a truncated FITS file, {len(content)} of {end} bytes")


def pixel_scales(header):
    """Arcsec per pixel along the axes of an image with a CD matrix or CDELT.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Header of the image.

    Returns
    -------
    x, y : float
        Arcsec per pixel, both positive.
    """
    return tuple(
        3600 * abs(header.get(f"CD{i}_{i}", header.get(f"CDELT{i}", float("nan")))) for i in (1, 2)
    )
