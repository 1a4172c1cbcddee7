"""What an image states about itself in its ``meta`` or FITS headers."""

from collections import ChainMap
from collections.abc import Mapping

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import NDData

from astroclip_astro.errors import InputError

__all__ = ["band_names", "flux_unit", "image_meta", "sky_position", "stated", "zeropoints"]

#: Spellings of BUNIT that `astropy.units` does not know.
_SPELLINGS = {
    "nanomaggies": u.nmgy,
    "maggies": u.mgy,
    "counts": u.ct,
    "electrons": u.electron,
}


def image_meta(image):
    """Collect what an image states about itself.

    Parameters
    ----------
    image : astropy.nddata.NDData or astropy.io.fits.HDUList

    Returns
    -------
    mapping
        ``meta``, or the cards of all headers, of which the first that has a card counts.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astroclip_astro.adapters.meta import image_meta
    >>> image_meta(fits.HDUList(fits.PrimaryHDU(header=fits.Header({"OBJECT": "M 51"}))))["OBJECT"]
    'M 51'
    """
    if isinstance(image, NDData):
        return image.meta
    return ChainMap(*(dict(hdu.header) for hdu in image))


def stated(meta, key):
    """Value of a key that may be in lower case (``meta``) or in upper case (a FITS header).

    Parameters
    ----------
    meta : mapping
        Of an Astropy object, or a FITS header.
    key : str
        Lower-case name.

    Returns
    -------
    object or None
        None where it is masked, too.

    Examples
    --------
    >>> from astroclip_astro.adapters.meta import stated
    >>> stated({"RA": 150.1}, "ra")
    150.1
    """
    for name in (key, key.upper()):
        value = meta.get(name)
        if value is not None and not np.any(getattr(value, "mask", False)):
            return getattr(value, "unmasked", value)
    return None


def band_names(meta):
    """Names of the bands that a header or ``meta`` states.

    Parameters
    ----------
    meta : mapping
        With cards BAND0, BAND1, …, or else ``bands``: a sequence of names, or one text in which
        they are separated by commas or spaces, or else are single letters.

    Returns
    -------
    tuple of str
        Empty if nothing is stated.

    Examples
    --------
    >>> from astroclip_astro.adapters.meta import band_names
    >>> band_names({"BANDS": "griz"}), band_names({"bands": ["g", "W1"]})
    (('g', 'r', 'i', 'z'), ('g', 'W1'))
    """
    cards = []
    while (name := meta.get(f"BAND{len(cards)}")) is not None:
        cards.append(str(name).strip())
    if cards:
        return tuple(cards)
    bands = stated(meta, "bands")
    if bands is None:
        return ()
    if isinstance(bands, str):
        words = bands.replace(",", " ").split()
        return tuple(words) if len(words) > 1 else tuple(words[0]) if words else ()
    return tuple(str(band) for band in bands)


def sky_position(meta):
    """Coordinates that a header or ``meta`` states for the target.

    Parameters
    ----------
    meta : mapping
        With ``ra`` and ``dec``: degrees, quantities, or sexagesimal text (hours and degrees).

    Returns
    -------
    astropy.coordinates.SkyCoord or None
        ICRS; None if nothing finite is stated, or it is masked.

    Raises
    ------
    InputError
        If they cannot be read as coordinates.

    Examples
    --------
    >>> from astroclip_astro.adapters.meta import sky_position
    >>> sky_position({"RA": "10:00:00", "DEC": "+02:00:00"}).to_string("hmsdms")
    '10h00m00s +02d00m00s'
    """
    ra, dec = stated(meta, "ra"), stated(meta, "dec")
    if ra is None or dec is None:
        return None
    hours = isinstance(ra, str) and len(ra.replace(":", " ").split()) > 1
    try:
        position = SkyCoord(ra, dec, unit=(u.hourangle if hours else u.deg, u.deg))
        finite = bool(np.isfinite(position.ra) and np.isfinite(position.dec))
    except (ValueError, TypeError, u.UnitsError) as error:
        raise InputError(
            f"ra {ra!r}, dec {dec!r}: expected one ICRS position in degrees"
        ) from error
    return position if finite else None


def flux_unit(unit):
    """Read the unit that an object or a file states.

    Parameters
    ----------
    unit : astropy.units.UnitBase or str or None
        As given; an empty text is no unit.

    Returns
    -------
    astropy.units.UnitBase or None

    Raises
    ------
    InputError
        If the text is no unit.

    Examples
    --------
    >>> from astroclip_astro.adapters.meta import flux_unit
    >>> flux_unit("nanomaggies")
    Unit("nmgy")
    """
    if not isinstance(unit, str):
        return unit
    unit = unit.strip()
    if not unit:
        return None
    try:
        return _SPELLINGS.get(unit.lower()) or u.Unit(unit)
    except ValueError:
        raise InputError(
            f"unit {unit!r} is not known to astropy.units: expected e.g. 'nanomaggy', 'nJy' or "
            "'adu' with a zeropoint"
        ) from None


def zeropoints(stated, bands):
    """AB magnitude of one count in each band.

    Parameters
    ----------
    stated : float or astropy.units.Quantity or sequence or mapping or None
        One for all bands, one per band in the order of `bands`, or by name of the band; numbers
        are AB magnitudes.
    bands : sequence of str
        The bands.

    Returns
    -------
    dict
        AB magnitude (float) of each band; empty if nothing is stated.

    Raises
    ------
    InputError
        If there is neither one zeropoint nor one per band, or they are no AB magnitudes.

    Examples
    --------
    >>> from astroclip_astro.adapters.meta import zeropoints
    >>> zeropoints(27.0, ("g", "r"))
    {'g': 27.0, 'r': 27.0}
    """
    if stated is None:
        return {}
    try:
        if isinstance(stated, Mapping):
            stated = [stated[band] for band in bands]
        if isinstance(stated, u.Quantity) and stated.unit in (u.mag, u.ABmag):
            stated = stated.value
        values = np.broadcast_to(np.asarray(stated, float), len(bands))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"zeropoint {stated!r}: expected the AB magnitude of one count, as one number or one "
            f"for each of the bands {', '.join(bands)}"
        ) from error
    if not np.isfinite(values).all():
        raise InputError(f"zeropoint {stated!r}: expected finite AB magnitudes")
    return dict(zip(bands, values.tolist(), strict=True))
