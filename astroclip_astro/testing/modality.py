"""Checks of modalities: objects become records, and records become batches."""

import copy
from dataclasses import is_dataclass

import numpy as np
import torch
from astropy import units as u
from astropy.nddata import CCDData, NDData
from astropy.table import Table
from specutils import Spectrum

from astroclip_astro.adapters.records import Batch, FailedRecord, Record
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.testing.check import NotApplicable, check, require
from astroclip_astro.testing.plugin import factory_loads

__all__ = ["CHECKS"]

_COLUMNS = ("coverage", "snr", "quality", "object_id", "ra", "dec", "survey", "redshift")


@check(
    fix="Subclass astroclip_astro.adapters.modality.Modality, with a constructor that needs no "
    "arguments, and set preprocessing to a frozen dataclass whose fields all have defaults."
)
def is_a_modality(subject):
    """The factory makes a Modality with a preprocessing that is a frozen dataclass."""
    from astroclip_astro.adapters.modality import Modality

    modality = subject.needs(factory_loads)()
    require(isinstance(modality, Modality), f"it makes {modality!r}, expected a Modality")
    cls = getattr(modality, "preprocessing", None)
    frozen = isinstance(cls, type) and is_dataclass(cls) and cls.__dataclass_params__.frozen
    require(frozen, f"its preprocessing is {cls!r}, expected a frozen dataclass")
    cls()
    return modality


@check(
    fix="Let accepts look at the type of the object (and, for tables, at the names of columns) and "
    "return a bool; it is asked about everything that is embedded, and never raises."
)
def accepts_only_its_own(subject):
    """Its example is accepted, and nothing that is of no kind or of another one."""
    modality = subject.needs(is_a_modality)
    image = CCDData(np.zeros((3, 4, 4)), unit="nmgy")
    others = {
        None: None,
        "a text": "a text",
        "7": 7,
        "an object": object(),
        "an empty table": Table(),
    }
    if subject.entry.name != "image":
        others["an image"] = image
    for name, obj in others.items():
        answer = modality.accepts(obj)
        require(isinstance(answer, bool), f"accepts returned {answer!r} for {name}")
        require(not answer, f"it accepts {name}")
    if subject.example is not None:
        answer = modality.accepts(subject.example)
        require(isinstance(answer, bool), f"accepts returned {answer!r} for the example")
        require(answer, f"it does not accept the example, a {type(subject.example).__name__}")
        single = modality.is_single(subject.example)
        require(isinstance(single, bool), f"is_single returned {single!r} for the example")


@check(
    fix="Yield one Record for each galaxy in the order of the object; set the class attribute "
    "modality of your Record to the entry's name; use object_id where an object has no name."
)
def makes_records_in_order(subject):
    """The example gives records of this modality, named and ordered alike every time."""
    found = _records(subject, _example(subject))
    require(found, "there is no record")
    good = [record for record in found if not isinstance(record, FailedRecord)]
    require(good, f"there are failed records only: {getattr(found[0], 'reason', '')}")
    for record in good:
        kind = getattr(record, "modality", "")
        wanted = subject.entry.name
        require(kind == wanted, f"{type(record).__name__} has modality {kind!r}, not {wanted!r}")
        require(isinstance(record.object_id, str), f"object_id is {record.object_id!r}")
    names = [record.object_id for record in found]
    require(all(names), "a record has no object_id, though one was given for those without")
    require(len(set(names)) == len(names), f"several records have the same object_id: {names[:5]}")
    again = [record.object_id for record in _records(subject, _example(subject))]
    require(again == names, f"at the second time the records are {again[:5]}, not {names[:5]}")
    return found


@check(
    fix="Yield FailedRecord(object_id=…, survey=…, reason=…) in the place of a galaxy that cannot "
    "be used, or raise InputError if the whole object is of no use; never pass NaN on."
)
def fails_softly(subject):
    """Where nothing but NaN is left, there are failed records in the same order, not errors."""
    names = [record.object_id for record in subject.needs(makes_records_in_order)]
    spoiled = _spoiled(copy.deepcopy(subject.example))
    try:
        found = _records(subject, spoiled)
    except InputError:
        return
    got = [record.object_id for record in found]
    require(got == names, f"the records of {names[:5]} became those of {got[:5]}")
    usable = [record for record in found if not isinstance(record, FailedRecord)]
    if usable:
        modality, preprocessing = _modality(subject)
        batch = modality.batch(usable, preprocessing, "cpu")
        lost = (batch.quality & int(Quality.NOT_EMBEDDED)) != 0
        require(lost.all(), f"{usable[0].object_id} is NaN and is embedded all the same")


@check(
    fix="Return a Batch with a row for each record, in order: flux float32 and finite, zero where "
    "the record has failed, with Quality.NOT_EMBEDDED set; Batch.columns(records) makes the rest."
)
def makes_batches(subject):
    """Records become a batch: one finite float32 row each, zeros for those that failed."""
    modality, preprocessing = _modality(subject)
    records = [*subject.needs(makes_records_in_order)]
    records.insert(1, FailedRecord(object_id="failed", reason="for the check"))
    batch = modality.batch(records, preprocessing, "cpu")
    require(isinstance(batch, Batch), f"batch returned {batch!r}, expected a Batch")
    _require_rows(batch.flux, len(records), "flux")
    for name in _COLUMNS:
        shape = np.shape(getattr(batch, name))
        require(shape == (len(records),), f"{name} has shape {shape} for {len(records)} records")
    names = [record.object_id for record in records]
    require(list(batch.object_id) == names, f"the rows are {list(batch.object_id)}, not {names}")
    lost = (np.asarray(batch.quality, np.int64) & int(Quality.NOT_EMBEDDED)) != 0
    failed = np.array([isinstance(record, FailedRecord) for record in records])
    require(lost[failed].all(), "a failed record's row lacks NOT_EMBEDDED")
    require(not lost.all(), "every row has NOT_EMBEDDED")
    require(not batch.flux[torch.from_numpy(lost)].any(), "a row with NOT_EMBEDDED is not zero")
    return batch


@check(fix="Return a float tensor with a row for each row of flux, on the device of flux.")
def makes_model_input(subject):
    """What the encoder sees is finite, with a row for each row of the batch."""
    modality, preprocessing = _modality(subject)
    flux = subject.needs(makes_batches).flux
    _require_rows(modality.model_input(flux, preprocessing), len(flux), "model_input")


def _modality(subject):
    modality = subject.needs(is_a_modality)
    return modality, modality.preprocessing()


def _example(subject):
    if subject.example is None:
        raise NotApplicable("no example: give parametrize_with_checks(…, example=…) an object")
    return subject.example


def _records(subject, obj):
    modality, preprocessing = _modality(subject)
    found = list(modality.records(obj, preprocessing=preprocessing, object_id="example"))
    strange = [record for record in found if not isinstance(record, Record)]
    require(not strange, f"it yields {strange[:1]}, expected a Record")
    return found


def _spoiled(obj):
    """The same with NaN for every number."""
    if isinstance(obj, Table):
        for name in obj.colnames:
            if obj[name].dtype.kind == "f":
                obj[name][:] = np.nan * (obj[name].unit or u.one)
        return obj
    if isinstance(obj, Spectrum):
        flux = np.full(obj.flux.shape, np.nan) * obj.flux.unit
        return Spectrum(flux=flux, spectral_axis=obj.spectral_axis, meta=obj.meta)
    if isinstance(obj, NDData) and isinstance(obj.data, np.ndarray):
        data = np.full(np.shape(obj.data), np.nan)
        return type(obj)(data, unit=obj.unit, meta=obj.meta, wcs=obj.wcs)
    if isinstance(obj, np.ndarray) and obj.dtype.kind == "f":
        return obj * np.nan
    raise NotApplicable(f"it is not known how to spoil a {type(obj).__name__}")


def _require_rows(tensor, rows, name):
    require(isinstance(tensor, torch.Tensor), f"{name} is {type(tensor).__name__}, not a tensor")
    require(tensor.dtype == torch.float32, f"{name} is {tensor.dtype}, expected torch.float32")
    require(len(tensor) == rows, f"{name} has {len(tensor)} rows for {rows} records")
    require(bool(torch.isfinite(tensor).all()), f"{name} is not finite everywhere")


CHECKS = (
    is_a_modality,
    accepts_only_its_own,
    makes_records_in_order,
    fails_softly,
    makes_batches,
    makes_model_input,
)
