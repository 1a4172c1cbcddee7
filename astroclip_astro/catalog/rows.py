"""From embeddings and tables to the rows of a catalog, and from rows to tables."""

import numpy as np
import pyarrow as pa
from astropy import units as u
from astropy.table import QTable

from astroclip_astro.catalog.schema import HEALPIX, OF_VECTORS, described, several
from astroclip_astro.catalog.sky import healpix_29
from astroclip_astro.errors import InputError

__all__ = ["rows_of", "table_of"]

_LARGEST = float(np.finfo(np.float16).max)


def rows_of(schema, embeddings, columns=None):
    """Put embeddings and further columns into rows, one an object.

    Parameters
    ----------
    schema : CatalogSchema
        Of the catalog.
    embeddings : xarray.DataArray
        Of any of its modalities; what has no vector is kept without, if its modality is known.
    columns : astropy.table.Table, optional
        With ``object_id`` and the further columns of the catalog, in any order; values that are
        masked or NaN, and objects that it has not, are unknown.

    Returns
    -------
    pyarrow.Table
        With the schema, in the order of the sky.

    Raises
    ------
    InputError
        If an object has no identifier, two vectors of one modality or an impossible position,
        columns are missing or of other types, or float16 cannot hold a vector.
    ProvenanceError
        If the embeddings are of another model.
    """
    rows = several(embeddings)
    schema.check(rows)
    modality = rows.coords["modality"].values
    strange = set(modality) - {*schema.modalities, ""}
    if strange:
        raise InputError(
            f"embeddings of {', '.join(sorted(strange))}: the catalog holds "
            f"{' and '.join(schema.modalities)}"
        )
    rows = rows[modality != ""]
    modality = rows.coords["modality"].values
    given = rows.coords["object_id"].values
    if (given == "").any():
        raise InputError(
            "it has no object_id, which catalogs know objects by",
            object_id=f"row {np.flatnonzero(given == '')[0]}",
        )
    ids, where = np.unique(given, return_inverse=True)
    found = {"object_id": pa.array(ids.tolist(), pa.string())}
    for name in ("ra", "dec", "redshift"):
        found[name] = np.full(len(ids), np.nan)
    survey = np.full(len(ids), "", dtype=object)
    for one in schema.modalities:
        mine = np.flatnonzero(modality == one)
        at = where[mine]
        twice = np.flatnonzero(np.bincount(at, minlength=len(ids)) > 1)
        if twice.size:
            raise InputError(f"it has several vectors of {one}", object_id=ids[twice[0]])
        for name in ("ra", "dec", "redshift"):
            values = rows.coords[name].values[mine]
            found[name][at] = np.where(np.isnan(found[name][at]), values, found[name][at])
        names = rows.coords["survey"].values[mine].astype(object)
        # An object that was seen by two surveys is of both.
        survey[at] = [
            new if old in ("", new) or new == "" else f"{old} {new}"
            for old, new in zip(survey[at], names, strict=True)
        ]
        for name in OF_VECTORS:
            values = np.full(len(ids), np.nan)
            values[at] = rows.coords[name].values[mine]
            found[f"{one}_{name}"] = _numbers(values, integer=name == "quality")
        valid = rows.astroclip.valid.values[mine]
        found[one] = _vectors(rows.values[mine][valid], at[valid], ids, schema.features)
    odd = np.flatnonzero(np.isinf(found["ra"]) | (np.abs(found["dec"]) > 90))
    if odd.size:
        ra, dec = found["ra"][odd[0]], found["dec"][odd[0]]
        raise InputError(
            f"it is at ra {ra}, dec {dec} deg: expected a position on the sky",
            object_id=ids[odd[0]],
        )
    cells = healpix_29(found["ra"], found["dec"])
    found[HEALPIX] = pa.array(cells.data, mask=np.ma.getmaskarray(cells))
    for name in ("ra", "dec", "redshift"):
        found[name] = _numbers(found[name])
    found["survey"] = pa.array(survey.tolist(), pa.string())
    found |= _further(schema, columns, ids)
    table = pa.table({field.name: found[field.name] for field in schema.arrow}, schema.arrow)
    return table.sort_by(HEALPIX)


def table_of(schema, stored, first=None):
    """Rows as a table with units.

    Parameters
    ----------
    schema : CatalogSchema
        Of the catalog.
    stored : pyarrow.Table
        Some of its columns, none of them vectors.
    first : dict, optional
        Columns to come first; None where one of the catalog's is to be among them.

    Returns
    -------
    astropy.table.QTable
        What is unknown is NaN, or masked where it is no floating-point number. The provenance is in
        ``meta``.
    """
    units, descriptions = schema.units, schema.descriptions
    columns = dict(first or {})
    for name in stored.column_names:
        columns[name] = _column(stored[name], units.get(name))
    # Made at once, as adding columns one by one takes longer than many a search.
    table = QTable(columns, copy=False, meta=dict(schema.provenance))
    for name in stored.column_names:
        if name in descriptions:
            table[name].info.description = descriptions[name]
    return table


def _column(stored, unit):
    """Values of one Arrow column for a table."""
    unknown = stored.is_null().to_numpy() if stored.null_count else None
    if pa.types.is_string(stored.type):
        values = np.array(stored.fill_null("").to_pylist(), str)
    elif pa.types.is_floating(stored.type):
        values, unknown = stored.to_numpy(), None
    else:
        values = stored.fill_null(False if pa.types.is_boolean(stored.type) else 0).to_numpy()
        if unit is not None and unknown is not None:  # quantities are floating-point numbers
            values, unknown = np.where(unknown, np.nan, values), None
    if unknown is not None:
        values = np.ma.array(values, mask=unknown)
    return values if unit is None else values * unit


def _further(schema, columns, ids):
    """Arrow arrays of the further columns, in the order of the identifiers."""
    if not schema.columns:
        if columns is not None and set(columns.colnames) - {"object_id"}:
            raise InputError("the catalog has no further columns, and these have some")
        return {}
    if columns is None or "object_id" not in columns.colnames:
        raise InputError(
            f"the catalog has the further columns {', '.join(schema.columns)}: expected a table "
            "with these and object_id"
        )
    odd = (set(columns.colnames) ^ {"object_id", *schema.columns}) or None
    if odd:
        raise InputError(
            f"columns that are missing, or not the catalog's: {', '.join(sorted(odd))}"
        )
    theirs = columns["object_id"]
    if np.ma.getmaskarray(theirs).any() or theirs.dtype.kind not in "USiuO":
        raise InputError("object_id of the columns: expected text or integers, and none masked")
    theirs = np.char.strip(_as_text(np.asarray(theirs)))
    order = np.argsort(theirs, kind="stable")
    if len(theirs) and (theirs[order][1:] == theirs[order][:-1]).any():
        twice = theirs[order][1:][theirs[order][1:] == theirs[order][:-1]][0]
        raise InputError("it is in the table of columns twice", object_id=twice)
    if not len(theirs):
        raise InputError("the table of columns has no rows")
    at = np.searchsorted(theirs, ids, sorter=order).clip(max=len(theirs) - 1)
    there = theirs[order[at]] == ids
    found = {}
    for name, about in schema.columns.items():
        column, kind = columns[name], pa.type_for_alias(about["type"])
        given = described(name, column)
        if given["type"] != about["type"]:
            raise InputError(f"column {name!r} holds {column.dtype}: the catalog's is {kind}")
        unknown = np.ma.getmaskarray(column)
        values = np.asarray(getattr(column, "unmasked", np.ma.getdata(column)))
        if given["unit"] != about["unit"]:
            values = np.where(unknown, values.dtype.type(0), values)
            values = _converted(name, values, given["unit"], about["unit"])
        if values.dtype.kind == "f":
            unknown = unknown | np.isnan(values)
            values = values + values.dtype.type(0)  # to conditions, -0.0 is another number
        if values.dtype.kind == "u" and (values[~unknown] > np.iinfo(np.int64).max).any():
            raise InputError(f"column {name!r} reaches {values.max()}: expected less than 2**63")
        if pa.types.is_string(kind):
            values = _as_text(values).astype(object)
        else:
            values = values.astype(kind.to_pandas_dtype())
        # One more, for the objects that are not in the table.
        padded = pa.concat_arrays([pa.array(values, kind, mask=unknown), pa.nulls(1, kind)])
        found[name] = padded.take(pa.array(np.where(there, order[at], len(theirs))))
    return found


def _as_text(values):
    """Text, from text, bytes in UTF-8, or integers."""
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values.astype(str)


def _converted(name, values, given, wanted):
    """Values in the unit of the catalog; whole numbers as long as they stay whole."""
    try:
        with np.errstate(all="ignore"):  # the logarithm of zero is infinite, of less, unknown
            found = u.Quantity(values * u.Unit(given), subok=True).to_value(u.Unit(wanted))
    except u.UnitsError as error:
        given, wanted = (unit or "no unit" for unit in (given, wanted))
        raise InputError(f"column {name!r} is in {given}: the catalog's is in {wanted}") from error
    if values.dtype.kind == "f":
        return found.astype(values.dtype)
    with np.errstate(invalid="ignore"):  # what is too large becomes another number
        whole = np.rint(found).astype(values.dtype)
    if not np.allclose(whole, found, 1e-12, 0):
        raise InputError(f"column {name!r} in {given} gives no {values.dtype} in {wanted}")
    return whole


def _numbers(values, *, integer=False):
    """Numbers of which NaN is unknown: in comparisons, Arrow takes NaN for the largest of all."""
    unknown = np.isnan(values)
    if integer:
        values = np.where(unknown, 0, values).astype(np.int64)
    return pa.array(values + 0, mask=unknown)  # to conditions, -0.0 is another number


def _vectors(vectors, at, ids, features):
    """Vectors of the objects `at` as float16, null for all others."""
    largest = np.abs(vectors).max(1, initial=0)
    bad = np.flatnonzero((largest > _LARGEST) | (largest == 0))
    if bad.size:
        raise InputError(
            f"its vector reaches {largest[bad[0]]:.3g}: expected more than 0, and at most "
            f"{_LARGEST:.0f}, what float16 can hold",
            object_id=ids[at[bad[0]]],
        )
    whole = np.zeros((len(ids), features), np.float16)
    whole[at] = vectors
    lost = (np.abs(whole[at] - vectors).max(1, initial=0)) > largest * 2.0**-10
    if lost.any():
        raise InputError(
            "its vector is too small for float16: scale all embeddings",
            object_id=ids[at[np.flatnonzero(lost)[0]]],
        )
    mask = np.ones(len(ids), bool)
    mask[at] = False
    return pa.FixedSizeListArray.from_arrays(
        pa.array(whole.reshape(-1)), features, mask=pa.array(mask)
    )
