"""Anything that embed() takes, as a stream of records in the order given."""

import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, BaseCoordinateFrame, ConvertError, SkyCoord
from astropy.io import fits
from astropy.table import Row, Table

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.errors import AstroclipError, InputError, PluginError
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.sources.base import fetch_all, get_source
from astroclip_astro.surveys.files import claimed_by, claims, get_survey, recognised

__all__ = ["is_single", "one_record", "records"]

#: What any model is asked about first: objects of these kinds are told apart by their type alone.
_BUILTIN = ("spectrum", "image")
_TABLE_COLUMNS = ("spectrum", "image", "cutout", "path", "filename", "file")

#: The archive of coordinates that come without the name of a survey.
_DEFAULT_SOURCE = "legacysurvey"


class _UnknownTypeError(TypeError):
    """An object of a type that cannot be embedded."""


def is_single(obj, modalities=_BUILTIN):
    """Whether an input is one object rather than a collection that may hold one.

    Parameters
    ----------
    obj : object
        Anything that `astroclip_astro.embed` takes.
    modalities : iterable of str
        Those that the model embeds.

    Returns
    -------
    bool
        True for a spectrum with 1-D flux, a cutout, one coordinate, or a path (whose file may still
        turn out to hold several objects).
    """
    if isinstance(obj, (str, os.PathLike)):
        return True
    if isinstance(obj, (SkyCoord, BaseCoordinateFrame)):
        return obj.isscalar
    modality = _modality_of(obj, modalities)
    if modality is not None:
        return get_modality(modality).is_single(obj)
    return isinstance(obj, Row)


def records(obj, *, preprocessing, survey=None, object_id=""):
    """Turn any input into records.

    Parameters
    ----------
    obj : object
        Anything that `astroclip_astro.embed` takes; iterables are consumed lazily.
    preprocessing : dict
        That of the model, by modality.
    survey : str, optional
        Registered name of the survey that the objects come from.
    object_id : str, optional
        Name for objects that carry none of their own.

    Yields
    ------
    Record
        One per object, in order; a `FailedRecord` for an object that cannot be used.

    Raises
    ------
    TypeError
        If `obj` is of a type that cannot be embedded; an element of it is a `FailedRecord`.
    InputError
        If `obj` is a table that is of no use as a whole.
    """
    try:
        for record in _records(obj, preprocessing, survey, object_id):
            name = record.object_id
            # A name that no file format could hold would be refused only after all the work.
            printable = name if name.isprintable() else name.encode("unicode_escape").decode()
            yield record if name == printable else replace(record, object_id=printable)
    except InputError as error:
        if isinstance(obj, Table):  # its rows are not one object that could be left out
            raise
        yield FailedRecord(
            object_id=error.object_id or object_id,
            survey=survey or "",
            quality=error.quality,
            reason=str(error).removeprefix(f"{error.object_id}: "),
        )


def one_record(obj, *, preprocessing, survey=None):
    """Turn any input that holds one object into its record.

    Parameters
    ----------
    obj, preprocessing, survey : object, dict, str
        As for `records`.

    Returns
    -------
    Record

    Raises
    ------
    InputError
        If there is not exactly one object, or it cannot be used.
    TypeError
        If `obj` is of a type that cannot be embedded.
    """
    found = list(islice(records(obj, preprocessing=preprocessing, survey=survey), 2))
    if len(found) != 1:
        raise InputError(
            f"a {type(obj).__name__} of {'several objects' if found else 'no object'}: expected "
            "one spectrum or one cutout; pass them one by one"
        )
    (record,) = found
    if isinstance(record, FailedRecord):
        raise InputError(record.reason, object_id=record.object_id, quality=record.quality)
    return record


def _records(obj, preprocessing, survey, object_id):
    modality = _modality_of(obj, preprocessing, survey)
    if modality is not None:
        if modality not in (*_BUILTIN, *preprocessing):
            raise InputError(
                f"this model embeds {' and '.join(preprocessing)}, not {modality}",
                object_id=object_id,
            )
        if survey is None and isinstance(obj, fits.HDUList):
            found = claims(Path(obj.filename() or object_id), obj)
            if len(found) > 1:
                raise InputError(f"{claimed_by(found)}; pass survey=", object_id=object_id)
            survey = found[0] if found else None
        yield from get_modality(modality).records(
            obj,
            preprocessing=preprocessing.get(modality),
            survey=_survey_of(modality, survey),
            survey_name=survey or "",
            object_id=object_id,
        )
    elif isinstance(obj, (str, os.PathLike)):
        path = Path(obj)
        for name, item in recognised(path, survey):
            yield from records(item, preprocessing=preprocessing, survey=name, object_id=path.name)
    elif isinstance(obj, (SkyCoord, BaseCoordinateFrame)):
        yield from _table_records(_sky_table(SkyCoord(obj)), preprocessing, survey)
    elif isinstance(obj, Row):
        table = obj.table[obj.index : obj.index + 1]
        yield from _table_records(table, preprocessing, survey)
    elif isinstance(obj, Table):
        yield from _table_records(obj, preprocessing, survey)
    elif isinstance(obj, Iterable) and not isinstance(obj, (bytes, dict)):
        for i, item in enumerate(obj):
            name = f"{object_id}[{i}]"
            try:
                yield from records(item, preprocessing=preprocessing, survey=survey, object_id=name)
            except (_UnknownTypeError, InputError) as error:  # one of many: its row says so
                yield FailedRecord(object_id=name, survey=survey or "", reason=str(error))
    else:
        raise _UnknownTypeError(
            f"cannot embed {type(obj).__module__}.{type(obj).__qualname__}: expected a "
            "specutils Spectrum, SpectrumList or SpectrumCollection, an HDUList, CCDData or "
            "NDData cutout, a SkyCoord, a path, a Table with ra and dec or one of the columns "
            f"{', '.join(_TABLE_COLUMNS)}, or an iterable of these"
        )


def _modality_of(obj, modalities, survey=None):
    """Name of the modality of an object in memory, or None; a survey tells it where several do."""
    names = [*_BUILTIN, *(name for name in modalities if name not in _BUILTIN)]
    if isinstance(obj, Table) and set(_TABLE_COLUMNS) & set(obj.colnames):
        return None  # a table of objects, whatever else is known of them
    if survey and survey in get_manager().entries("survey"):
        told = get_manager().get("survey", survey).modality
        names = [told, *(name for name in names if name != told)]
    return next((name for name in names if get_modality(name).accepts(obj)), None)


def _survey_of(modality, name):
    """The survey of that name, or None; one of another modality is an error."""
    if not name:
        return None
    survey = get_survey(name)
    if survey.modality != modality:
        raise InputError(
            f"survey {name!r} is of {survey.modality} data, and this was given as {modality} data; "
            "open files of spectra are to be given by their path"
        )
    return survey


def _table_records(table, preprocessing, survey):
    """One object per row; id, position and redshift columns override what the object says."""
    columns = [name for name in _TABLE_COLUMNS if name in table.colnames]
    on_sky = not columns and {"ra", "dec"} <= set(table.colnames)
    if on_sky:
        _refuse_further(table, preprocessing)
        source = _source(preprocessing, survey)
        items, survey = _fetched(source, table), source.survey or None
    elif len(columns) == 1:
        items = (row[columns[0]] for row in table)
    else:
        _refuse_further(table, preprocessing)
        raise InputError(
            f"a table needs exactly one of the columns {', '.join(_TABLE_COLUMNS)}, or ra and dec; "
            f"it has {', '.join(table.colnames)}"
        )
    numbers = {
        name: _numbers(table, name, unit)
        for name, unit in (("ra", u.deg), ("dec", u.deg), ("redshift", u.one))
        if name in table.colnames
    }
    for i, item in enumerate(items):
        known = {n: float(values[i]) for n, values in numbers.items() if np.isfinite(values[i])}
        if "object_id" in table.colnames and not np.ma.is_masked(table["object_id"][i]):
            known["object_id"] = str(table["object_id"][i])
        elif on_sky and {"ra", "dec"} <= known.keys():
            known["object_id"] = _sky_name(known["ra"], known["dec"])
        name = known.get("object_id", f"[{i}]")
        try:
            if isinstance(item, Exception):
                raise item
            found = list(records(item, preprocessing=preprocessing, survey=survey, object_id=name))
            reason = f"its row holds {len(found)} objects, expected one"
        except (_UnknownTypeError, AstroclipError) as error:
            found, reason = [], str(error)
        if len(found) == 1:
            yield replace(found[0], **known)
        else:
            yield FailedRecord(**known | {"object_id": name}, survey=survey or "", reason=reason)


def _refuse_further(table, preprocessing):
    """Refuse data of a modality that the model does not embed, rather than take them for places."""
    manager = get_manager()
    for name in manager.entries("modality"):
        if name not in (*_BUILTIN, *preprocessing) and manager.ask(
            "modality", name, lambda name: get_modality(name).accepts(table), name
        ):
            raise InputError(
                f"this table is of {name} data, and this model embeds {' and '.join(preprocessing)}"
                ": take a model that embeds it (list_models()), or only its columns ra and dec"
            )


def _numbers(table, name, unit):
    """Numbers of a column in a unit, which they are taken to be in without one; NaN if masked."""
    column = table[name]
    try:
        values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), float), np.nan)
        values = (values * (getattr(column, "unit", None) or unit)).to_value(unit)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"column {name} holds {column.dtype} in {getattr(column, 'unit', None) or 'no unit'}: "
            f"expected one number per row, in {unit or 'no unit'} or what converts to it"
        ) from error
    if values.ndim != 1:
        raise InputError(f"column {name} is of shape {values.shape}: expected one number per row")
    return values


def _sky_table(coordinates):
    """Coordinates as a table."""
    try:
        places = coordinates.reshape(-1).icrs
    except (AttributeError, ValueError, ConvertError) as error:
        raise InputError(
            f"coordinates in {coordinates.frame.name} do not transform to ICRS ({error}): expected "
            "a frame that does, with its time and place"
        ) from error
    return Table({"ra": places.ra.deg, "dec": places.dec.deg})


def _sky_name(ra, dec):
    """The name of a place that the IAU recommends: truncated, not rounded."""
    # 0.01 s and 0.1"; what is short of the next step by rounding noise alone has reached it.
    hours = Angle(np.floor(ra * 24_000 + 1e-4) / 24_000, u.deg)
    degrees = Angle(np.floor(abs(dec) * 36_000 + 1e-4) / 36_000, u.deg)
    east = hours.to_string(u.hourangle, sep="", precision=2, pad=True)
    north = degrees.to_string(u.deg, sep="", precision=1, pad=True)
    return f"J{east}{'-' if dec < 0 else '+'}{north}"


def _source(preprocessing, survey):
    """The archive that has objects of a survey, or by default those that the model embeds."""
    entries = get_manager().entries("source")
    usable = {name for name, entry in entries.items() if entry.modality in preprocessing}
    if survey is None and _DEFAULT_SOURCE in usable:
        return get_source(_DEFAULT_SOURCE)
    known = {}
    for name in sorted(usable):
        try:
            known[name] = get_source(name)
        except PluginError as error:  # one broken plugin must not take the others down
            get_manager().record_failure("source", name, error)
    found = [name for name in known if survey in (None, name, known[name].survey)]
    if len(found) == 1:
        return known[found[0]]
    wanted = f" of survey {survey!r}" if survey else ""
    raise InputError(
        f"coordinates need one archive{wanted} that has {' or '.join(preprocessing)} data; "
        f"{'there are ' + ', '.join(found) if found else 'none is registered'}: pass survey= with "
        f"one of {', '.join(sorted(known)) or 'those of a plugin'}, or pass the objects themselves"
    )


def _fetched(source, table):
    """What an archive has at the positions of the rows, or the errors, in order."""
    ra, dec = (_numbers(table, name, u.deg) for name in ("ra", "dec"))
    known = np.isfinite(ra) & (np.abs(dec) <= 90)
    fetched = fetch_all(source, SkyCoord(ra[known], dec[known], unit="deg"))
    for i, there in enumerate(known):
        reason = f"it has no position to fetch it from: ra {ra[i]:g}, dec {dec[i]:g} deg"
        yield next(fetched) if there else InputError(reason)
