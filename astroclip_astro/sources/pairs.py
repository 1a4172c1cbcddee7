"""Pairs: the spectrum and the image of one place, from two archives."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, Table

from astroclip_astro.adapters.meta import sky_position, stated
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.sky import angle
from astroclip_astro.sources.base import Source, fetch_all, get_source

__all__ = ["match"]


def match(image_source, spectrum_source, coordinates, *, radius=1 * u.arcsec):
    """Fetch the spectrum and the image at each of many places.

    Both archives are asked at once, each for a few objects at a time.

    Parameters
    ----------
    image_source, spectrum_source : str or Source
        Registered names, e.g. ``"legacysurvey"`` and ``"sparcl"``, or instances.
    coordinates : astropy.coordinates.SkyCoord
        The places, shape () or (n,), in any frame that transforms to ICRS.
    radius : astropy.units.Quantity or str
        How far from its place a spectrum may be. A source of spectra looks no further than its own
        radius, 1 arcsec by default; for more, pass an instance such as ``SPARCLSource(radius)``.

    Returns
    -------
    astropy.table.Table
        One row per place, in the order given, none left out. Columns ``ra`` and ``dec`` of the
        place (deg, ICRS), NaN where it is masked; ``separation`` of the spectrum from it (arcsec),
        NaN without one; ``object_id`` and ``redshift`` of the spectrum, "" and NaN without one;
        ``spectrum`` and ``image``, what the sources give, or None; ``reason``, "" for a pair,
        otherwise what is missing and why.

    Raises
    ------
    InputError
        If the coordinates or the radius are none, if a source gives something else than it is
        taken for, or if the source of spectra looks less far than `radius`.
    PluginError
        If no source of a name is registered.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.simulate import MockSurvey
    >>> from astroclip_astro.sources import Source, match
    >>> mocks = MockSurvey.bundled()
    >>> class Images(Source):
    ...     modality = "image"
    ...     def fetch(self, coordinate):
    ...         return mocks.cutout(0)
    >>> class Spectra(Source):
    ...     modality = "spectrum"
    ...     def fetch(self, coordinate):
    ...         return mocks.spectrum(0)
    >>> there = mocks.spectrum(0).meta
    >>> places = SkyCoord([there["ra"], 10], [there["dec"], -20], unit="deg")
    >>> table = match(Images(), Spectra(), places)
    >>> print(table["reason"][1])
    no spectrum: the nearest one is 209861 arcsec away, further than 1 arcsec
    >>> pairs = table[table["reason"] == ""]
    >>> len(pairs), pairs["spectrum"][0].shape, pairs["image"][0].shape
    (1, (7781,), (3, 152, 152))
    """
    images, spectra = _source(image_source, "image"), _source(spectrum_source, "spectrum")
    radius = angle(radius)
    reach = getattr(spectra, "radius", None)
    if reach is not None and angle(reach) < radius:
        raise InputError(
            f"{type(spectra).__name__} looks no further than {angle(reach).arcsec:g} arcsec, and "
            f"radius is {radius.arcsec:g} arcsec: pass an instance with that radius"
        )
    places = _places(coordinates)
    rows = [
        _row(place, spectrum, image, radius)
        for place, spectrum, image in zip(
            places, fetch_all(spectra, places), fetch_all(images, places), strict=True
        )
    ]
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    table = Table(
        [
            _objects(name, columns[name])
            if kind is object
            else Column(columns[name], name, dtype=kind, unit=unit)
            for name, (kind, unit) in _COLUMNS.items()
        ]
    )
    table.meta |= {
        "image_source": type(images).__name__,
        "spectrum_source": type(spectra).__name__,
        "radius": f"{radius.arcsec:g} arcsec",
    }
    return table


_COLUMNS = {
    "ra": (float, u.deg),
    "dec": (float, u.deg),
    "separation": (float, u.arcsec),
    "object_id": (str, None),
    "redshift": (float, None),
    "spectrum": (object, None),
    "image": (object, None),
    "reason": (str, None),
}


def _source(source, modality):
    if isinstance(source, str):
        source = get_source(source)
    if not isinstance(source, Source):
        raise InputError(
            f"{source!r} is no source of one {modality} each: expected a registered name or an "
            "instance of a Source"
        )
    given = getattr(source, "modality", modality)
    if given != modality:
        raise InputError(
            f"{type(source).__name__} gives one {given} each, expected a source of one {modality} "
            "each: match(image_source, spectrum_source, coordinates)"
        )
    return source


def _places(coordinates):
    if not isinstance(coordinates, SkyCoord) or coordinates.ndim > 1:
        raise InputError(
            f"coordinates are a {type(coordinates).__name__}: expected a SkyCoord of shape () or "
            "(n,)"
        )
    return coordinates.icrs.reshape(-1)


def _row(place, spectrum, image, radius):
    """One row: what there is, and what is missing."""
    known = not np.any(getattr(place, "mask", False))
    if not known:
        # Whatever the sources say: what lies under a mask is no place.
        spectrum = image = InputError("the position is masked: select those that are known")
    row = {
        "ra": float(place.ra.deg) if known else np.nan,
        "dec": float(place.dec.deg) if known else np.nan,
        "separation": np.nan,
        "object_id": "",
        "redshift": np.nan,
        "spectrum": None,
        "image": None,
    }
    missing = []
    try:
        meta = getattr(_given(spectrum), "meta", {})
        name = stated(meta, "object_id")
        row |= {
            "separation": _separation(place, meta, radius),
            "object_id": "" if name is None else str(name),
            "redshift": _redshift(meta),
            "spectrum": spectrum,
        }
    except AstroclipError as error:
        missing.append(f"no spectrum: {error}")
    try:
        row["image"] = _given(image)
    except AstroclipError as error:
        missing.append(f"no image: {error}")
    return {**row, "reason": "; ".join(missing)}


def _given(fetched):
    """What a source gave for a place; its error is raised."""
    if isinstance(fetched, AstroclipError):
        raise fetched
    if fetched is None:
        raise InputError("the source gave nothing")
    return fetched


def _redshift(meta):
    """Redshift of a spectrum, NaN where it is not known; an error if it is no number."""
    redshift = stated(meta, "redshift")
    try:
        return np.nan if redshift is None else u.Quantity(redshift, u.one).value.item()
    except (TypeError, ValueError) as error:
        raise InputError(f"the source gives {redshift!r} as its redshift, no number") from error


def _separation(place, meta, radius):
    """Distance of a spectrum in arcsec; an error if it is too far away, or not known to be near."""
    found = sky_position(meta)
    if found is None:
        raise InputError("the source does not say where its spectrum was taken")
    apart = place.separation(found)
    if not apart <= radius:
        raise InputError(
            f"the nearest one is {apart.arcsec:.6g} arcsec away, further than {radius.arcsec:g} "
            "arcsec"
        )
    return float(apart.arcsec)


def _objects(name, values):
    """Make a column of any objects: numpy would look for sequences in them."""
    column = Column(np.empty(len(values), object), name, format=_kind)
    for i, value in enumerate(values):
        column[i] = value
    return column


def _kind(value):
    """How an object looks in a printed table."""
    return "--" if value is None else type(value).__name__
