"""Anything that embed() takes, as a stream of records in the order given."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import NDData
from astropy.table import Table
from specutils import Spectrum, SpectrumCollection, SpectrumList

from astroclip_astro.adapters.image import image_batch, image_records
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.adapters.spectrum import spectrum_batch, spectrum_records
from astroclip_astro.errors import InputError
from astroclip_astro.surveys.files import claims, get_survey, identify, read

__all__ = ["BATCHES", "is_single", "records"]

#: By modality, what makes a batch of records.
BATCHES = {"spectrum": spectrum_batch, "image": image_batch}

_SPECTRA = (Spectrum, SpectrumCollection, SpectrumList)
# A bare array has no unit and no bands: it is passed on to be refused with the reason.
_IMAGES = (fits.HDUList, NDData, np.ndarray)
_TABLE_COLUMNS = ("spectrum", "image", "cutout", "path", "filename", "file")


class _UnknownTypeError(TypeError):
    """An object of a type that cannot be embedded."""


def is_single(obj):
    """Whether an input is one object rather than a collection that may hold one.

    Parameters
    ----------
    obj : object
        Anything that `astroclip_astro.embed` takes.

    Returns
    -------
    bool
        True for a spectrum with 1-D flux, a cutout, one coordinate, or a path (whose file may still
        turn out to hold several objects).
    """
    if isinstance(obj, Spectrum):
        return obj.flux.ndim == 1
    if isinstance(obj, SkyCoord):
        return obj.isscalar
    return isinstance(obj, (str, os.PathLike)) or _is_image(obj)


def records(obj, *, preprocessing, survey=None, object_id=""):
    """Turn any input into records.

    Parameters
    ----------
    obj : object
        Anything that `astroclip_astro.embed` takes; iterables are consumed lazily.
    preprocessing : dict
        `ImagePreprocessing` of the model under ``"image"``, where the model takes images.
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
    """
    try:
        for record in _records(obj, preprocessing, survey, object_id):
            name = record.object_id
            # A name that no file format could hold would be refused only after all the work.
            printable = name if name.isprintable() else name.encode("unicode_escape").decode()
            yield record if name == printable else replace(record, object_id=printable)
    except InputError as error:
        yield FailedRecord(
            object_id=error.object_id or object_id,
            survey=survey or "",
            quality=error.quality,
            reason=str(error).removeprefix(f"{error.object_id}: "),
        )


def _is_image(obj):
    """Whether it is an image, and not a list of objects in an array or a column."""
    listed = isinstance(obj, np.ndarray) and obj.dtype.hasobject and obj.ndim == 1
    return isinstance(obj, _IMAGES) and not listed


def _records(obj, preprocessing, survey, object_id):
    if isinstance(obj, _SPECTRA):
        yield from spectrum_records(
            obj,
            survey=_survey_of("spectrum", survey),
            survey_name=survey or "",
            object_id=object_id,
        )
    elif _is_image(obj):
        if "image" not in preprocessing:
            raise InputError("this model takes no images", object_id=object_id)
        if survey is None and isinstance(obj, fits.HDUList):
            found = claims(Path(obj.filename() or object_id), obj)
            if len(found) > 1:
                raise InputError(
                    f"claimed by {' and '.join(found)}; pass survey=", object_id=object_id
                )
            survey = found[0] if found else None
        yield from image_records(
            obj,
            preprocessing=preprocessing["image"],
            survey=_survey_of("image", survey),
            survey_name=survey or "",
            object_id=object_id,
        )
    elif isinstance(obj, (str, os.PathLike)):
        path = Path(obj)
        name = survey or identify(path)
        for item in read(path, name):
            yield from records(item, preprocessing=preprocessing, survey=name, object_id=path.name)
    elif isinstance(obj, SkyCoord):
        raise InputError(
            "coordinates need a source of cutouts, and none is registered: install a plugin that "
            "registers one, or pass the cutout itself",
            object_id=object_id or obj.to_string("hmsdms"),
        )
    elif isinstance(obj, Table):
        yield from _table_records(obj, preprocessing, survey)
    elif isinstance(obj, Iterable) and not isinstance(obj, (bytes, dict)):
        for i, item in enumerate(obj):
            name = f"{object_id}[{i}]"
            try:
                yield from records(item, preprocessing=preprocessing, survey=survey, object_id=name)
            except _UnknownTypeError as error:  # one of many: its row says so
                yield FailedRecord(object_id=name, survey=survey or "", reason=str(error))
    else:
        raise _UnknownTypeError(
            f"cannot embed {type(obj).__module__}.{type(obj).__qualname__}: expected a "
            "specutils Spectrum, SpectrumList or SpectrumCollection, an HDUList, CCDData or "
            "NDData cutout, a path, a Table with one of the columns "
            f"{', '.join(_TABLE_COLUMNS)}, or an iterable of these"
        )


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
    if len(columns) != 1:
        raise InputError(
            f"a table needs exactly one of the columns {', '.join(_TABLE_COLUMNS)}; it has "
            f"{', '.join(table.colnames)}"
        )
    for i, row in enumerate(table):
        known = {
            name: float(u.Quantity(row[name], unit).value)
            for name, unit in (("ra", u.deg), ("dec", u.deg), ("redshift", u.one))
            if name in table.colnames and not np.ma.is_masked(row[name])
        }
        if "object_id" in table.colnames and not np.ma.is_masked(row["object_id"]):
            known["object_id"] = str(row["object_id"])
        name = known.get("object_id", f"[{i}]")
        try:
            found = list(
                records(
                    row[columns[0]],
                    preprocessing=preprocessing,
                    survey=survey,
                    object_id=name,
                )
            )
            reason = f"its row holds {len(found)} objects, expected one"
        except _UnknownTypeError as error:
            found, reason = [], str(error)
        if len(found) == 1:
            yield replace(found[0], **known)
        else:
            yield FailedRecord(**known | {"object_id": name}, survey=survey or "", reason=reason)
