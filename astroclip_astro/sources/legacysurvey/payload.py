"""What users ask for, as the parameters of the viewer's cutout service."""

import re

import astropy.units as u
import numpy as np
from astroquery.exceptions import InvalidQueryError
from astroquery.utils.commons import parse_coordinates

from . import conf

__all__ = ["MAX_SIZE", "NATIVE_PIXSCALE", "parse_positions", "to_payload"]

#: The viewer sends no more pixels along an axis, and does not say so.
MAX_SIZE = 3000

#: Arcsec per pixel of the surveys' coadds.
NATIVE_PIXSCALE = 0.262

_LAYER = re.compile(r"[a-z0-9]+([-_.+][a-z0-9]+)*", re.IGNORECASE)


def parse_positions(coordinates):
    """Positions in the forms that astroquery takes, one or many, as ICRS.

    Parameters
    ----------
    coordinates : str, coordinates, or sequence of these
        Astropy coordinates of any shape, or text that `astroquery.utils.commons.parse_coordinates`
        understands.

    Returns
    -------
    positions : list of astropy.coordinates.SkyCoord
        One by one, in the order given.
    scalar : bool
        Whether it was a single one.
    """
    if isinstance(coordinates, (list, tuple)):
        return [position for c in coordinates for position in parse_positions(c)[0]], False
    parsed = parse_coordinates(coordinates, return_frame="icrs")
    if np.any(getattr(parsed, "mask", False)):
        raise InvalidQueryError("coordinates are masked: select those that are known")
    if not (np.all(np.isfinite(parsed.ra)) and np.all(np.isfinite(parsed.dec))):
        raise InvalidQueryError("coordinates are not finite: select those that are known")
    return list(parsed.reshape(-1)), parsed.isscalar


def to_payload(position, *, layer, bands, size, pixscale, invvar, maskbits):
    """Parameters of one request.

    Parameters
    ----------
    position : astropy.coordinates.SkyCoord
        One, ICRS.
    layer : str or None
        Layer of the viewer; None for that of the configuration.
    bands : str or sequence of str
        One letter each.
    size : int or astropy.units.Quantity
        Pixels, or an angle.
    pixscale : float or astropy.units.Quantity
        Arcsec per pixel.
    invvar, maskbits : bool
        What shall come along.

    Returns
    -------
    dict
    """
    layer = conf.layer if layer is None else layer
    if not isinstance(layer, str) or not _LAYER.fullmatch(layer):
        raise InvalidQueryError(f"layer {layer!r}: expected a name like 'ls-dr9' or 'ls-dr10'")
    pixscale = _arcsec_per_pixel(pixscale)
    # The last digits of seven are 0.4 mas.
    return {
        "ra": round(float(position.ra.deg), 7) % 360,
        "dec": round(float(position.dec.deg), 7),
        "layer": layer,
        "pixscale": pixscale,
        "bands": _bands(bands),
        "size": _pixels(size, pixscale),
        **({"invvar": 1} if invvar else {}),
        **({"maskbits": 1} if maskbits else {}),
    }


def _bands(bands):
    try:
        names = "".join(bands)
        single = all(len(band) == 1 for band in bands)
    except TypeError:
        names, single = "", False
    if not (single and names.isascii() and names.isalnum() and len(set(names)) == len(names)):
        raise InvalidQueryError(
            f"bands {bands!r}: expected letters of different bands, e.g. 'grz' or ['g', 'r', 'z']"
        )
    return names


def _arcsec_per_pixel(pixscale):
    message = f"pixscale {pixscale!r}: expected arcsec per pixel, e.g. 0.262 or 0.262 * u.arcsec"
    try:
        quantity = u.Quantity(pixscale, getattr(pixscale, "unit", u.arcsec), dtype=float)
        if quantity.unit.is_equivalent(u.arcsec / u.pix):
            quantity = quantity * u.pix
        value = float(quantity.to_value(u.arcsec))
    except (TypeError, ValueError, u.UnitsError) as error:
        raise InvalidQueryError(message) from error
    if not (np.isfinite(value) and value > 0):
        raise InvalidQueryError(message)
    return round(value, 9)


def _pixels(size, pixscale):
    message = f"size {size!r}: expected a whole number of pixels, or an angle"
    try:
        if hasattr(size, "unit"):
            scale = u.pixel_scale(pixscale * u.arcsec / u.pix)
            pixels = round(float(size.to_value(u.pix, scale)))
        else:
            pixels = int(size)
            if pixels != size or isinstance(size, (bool, str)):
                raise ValueError(message)
    except (TypeError, ValueError, OverflowError, u.UnitsError) as error:
        raise InvalidQueryError(message) from error
    if not 1 <= pixels <= MAX_SIZE:
        raise InvalidQueryError(
            f"size of {pixels} pixels: expected 1 to {MAX_SIZE}, all that the viewer sends "
            "(it would cut the image without saying so); take a larger pixscale or several images"
        )
    return pixels
