"""Cutouts of the viewer, compared to what was asked."""

from functools import partial

import numpy as np
import requests
from astroquery.exceptions import EmptyResponseError, InvalidQueryError, RemoteServiceError

from . import conf
from .fits_content import open_fits, pixel_scales

__all__ = ["Viewer", "full_url", "parse_cutout", "planes_shape"]

#: Degrees; positions are sent with 1e-7.
_TOLERANCE = 1e-6

#: The viewer's answer to both is 500.
_NO_OVERLAP = "no overlap of the layer with the place, or the server is in trouble"


class Viewer:
    """The route by the viewer's cutout service, the usual one.

    Parameters
    ----------
    read : callable
        ``read(url, params, parse, cache, server_error=)`` gives what `parse` makes of an answer.
    """

    def __init__(self, read):
        self._read = read

    def fetch(self, payload, cache):
        """Fetch a cutout.

        Parameters
        ----------
        payload : dict
            What is asked.
        cache : bool
            Whether it is kept.

        Returns
        -------
        astropy.io.fits.HDUList
        """
        parse = partial(parse_cutout, payload=payload)
        return self._read(self._url(), payload, parse, cache, server_error=_NO_OVERLAP)

    def urls(self, payload, cache):
        """URL of a cutout.

        Parameters
        ----------
        payload : dict
            What is asked.
        cache : bool
            Not used.

        Returns
        -------
        list of str
        """
        return [full_url(self._url(), payload)]

    @staticmethod
    def _url():
        return f"{conf.server}/cutout.fits"


def full_url(url, params):
    """URL with its query.

    Parameters
    ----------
    url : str
        Without.
    params : dict
        The query.

    Returns
    -------
    str
    """
    return requests.Request("GET", url, params=params).prepare().url


def parse_cutout(content, payload):
    """Open a cutout of the viewer if it is the one that was asked for.

    Parameters
    ----------
    content : bytes
        What came.
    payload : dict
        What was asked.

    Returns
    -------
    astropy.io.fits.HDUList

    Raises
    ------
    astroquery.exceptions.InvalidQueryError
        If the layer has not the bands, inverse variances or mask bits.
    astroquery.exceptions.EmptyResponseError
        If the layer has nothing there.
    astroquery.exceptions.RemoteServiceError
        If it is another image; `PassingError` if it is damaged.
    """
    hdulist = open_fits(content)
    header = hdulist[0].header
    layer, bands = payload["layer"], payload["bands"]
    if header.get("OVERLAP", True) is False or not header["NAXIS"]:
        raise EmptyResponseError(f"layer {layer} has no image there")
    sent = str(header.get("BANDS", "")).strip()
    if sent != bands:
        raise InvalidQueryError(
            f"asked for bands {bands}, got {sent or 'no BANDS'}: layer {layer} does not have all "
            "of them, for which the viewer sends its default ones"
        )
    images = {str(hdu.header.get("IMAGETYP", "")).strip().lower(): hdu for hdu in hdulist[1:]}
    expected = {"image": (hdulist[0], planes_shape(payload))}
    if "invvar" in payload:
        expected["invvar"] = (images.get("invvar"), planes_shape(payload))
    if "maskbits" in payload:
        expected["maskbits"] = (images.get("maskbits"), (payload["size"], payload["size"]))
    for kind, (hdu, shape) in expected.items():
        if hdu is None:
            raise InvalidQueryError(f"layer {layer} has no {kind}: ask without it")
        if hdu.shape != shape:
            raise RemoteServiceError(
                f"asked for {kind} of shape {shape}, got {hdu.shape}: the server limits the size"
            )
    _check_wcs(header, payload)
    return hdulist


def planes_shape(payload):
    """Shape of an image of several bands: a single one has no axis of its own.

    Parameters
    ----------
    payload : dict
        What was asked.

    Returns
    -------
    tuple of int
    """
    number, size = len(payload["bands"]), payload["size"]
    return (size, size) if number == 1 else (number, size, size)


def _check_wcs(header, payload):
    ra, dec = (header.get(f"CRVAL{i}", np.nan) for i in (1, 2))
    offset = np.hypot(
        ((ra - payload["ra"] + 180) % 360 - 180) * np.cos(np.radians(payload["dec"])),
        dec - payload["dec"],
    )
    scales = pixel_scales(header)
    centre = (payload["size"] + 1) / 2
    middle = [header.get(f"CRPIX{i}", np.nan) for i in (1, 2)]
    if not (
        offset < _TOLERANCE
        and np.allclose(scales, payload["pixscale"], rtol=1e-4)
        and np.allclose(middle, centre, atol=0.01, rtol=0)
    ):
        raise RemoteServiceError(
            f"asked for {payload['pixscale']} arcsec per pixel around ({payload['ra']}, "
            f"{payload['dec']}) at pixel {centre}, got {scales[0]:.4f} around ({ra}, {dec}) at "
            f"{middle}"
        )
