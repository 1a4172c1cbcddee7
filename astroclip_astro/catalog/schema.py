"""What a row of a catalog is, in Arrow's terms: one object, its columns, a vector per modality."""

import json
from functools import cached_property

import numpy as np
import pyarrow as pa
import xarray as xr
from astropy import units as u
from astropy.table import QTable, Table

from astroclip_astro.catalog.sky import healpix_29
from astroclip_astro.embedding_schema import COLUMNS, PROVENANCE
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.quality import Quality

__all__ = [
    "HEALPIX",
    "OBJECT",
    "OF_VECTORS",
    "CatalogSchema",
    "has_vector",
    "rows_of",
    "table_of",
]

#: The column that rows are found by on the sky; the name is that of HATS.
HEALPIX = "_healpix_29"
#: Columns that every object has.
OBJECT = ("object_id", "ra", "dec", "redshift", "survey")
#: What is kept of each vector, as ``<modality>_<name>``.
OF_VECTORS = ("coverage", "snr", "quality")

_FORMAT = "astroclip_astro-catalog-1"
_KEY = b"astroclip_astro"
# Columns that tables of results have besides.
_OF_RESULTS = ("query", "query_id", "score", "separation", "other", "other_id")
# Columns that Lance makes itself.
_OF_LANCE = (
    "_rowid",
    "_rowaddr",
    "_rowoffset",
    "_row_created_at_version",
    "_row_last_updated_at_version",
    "_distance",
    "_score",
)
_LARGEST = float(np.finfo(np.float16).max)
_TYPES = {
    "?": pa.bool_(),
    "U": pa.string(),
    "S": pa.string(),
    "e": pa.float32(),  # conditions know no float16, and no integers beyond int64
    "L": pa.int64(),
    "Q": pa.int64(),
}
_NUMBERS = "bBhHiIlLqQefd"  # as numpy.dtype.char


class CatalogSchema:
    """Columns, units and provenance of a catalog.

    Parameters
    ----------
    about : dict
        ``provenance`` (dict of str, the attributes of the embeddings), ``modalities`` (list of
        str), ``features`` (int) and ``columns``: for each further column its Arrow ``type``,
        ``unit`` and ``description``, text.

    Examples
    --------
    >>> from astroclip_astro.catalog.schema import CatalogSchema
    >>> about = {"provenance": {"model": "toy"}, "modalities": ["image"], "features": 2,
    ...          "columns": {"mass": {"type": "double", "unit": "solMass", "description": ""}}}
    >>> CatalogSchema(about).names
    ['object_id', 'ra', 'dec', 'redshift', 'survey', 'mass', 'image_coverage', 'image_snr',
     'image_quality']
    """

    def __init__(self, about):
        self.provenance = about["provenance"]
        self.modalities = list(about["modalities"])
        self.features = int(about["features"])
        self.columns = dict(about["columns"])

    @classmethod
    def of(cls, embeddings, columns=None, *, modalities=None):
        """The schema that embeddings and further columns ask for.

        Parameters
        ----------
        embeddings : xarray.DataArray
            Of at least one object.
        columns : astropy.table.Table, optional
            Further columns; ``object_id`` is no further one.
        modalities : sequence of str, optional
            By default those of the embeddings.

        Returns
        -------
        CatalogSchema

        Raises
        ------
        InputError
            If a column has a name that is taken or no identifier, or holds no numbers, truths or
            text.
        ProvenanceError
            If the embeddings do not say what made them.
        """
        rows = _rows(embeddings)
        missing = [name for name in PROVENANCE if name not in rows.attrs]
        if missing:
            raise ProvenanceError(
                f"embeddings without {', '.join(missing)}: an operation dropped their attributes. "
                "Keep them (xarray.set_options(keep_attrs=True)), or copy them from the original"
            )
        if modalities is None:
            modalities = sorted(set(rows.coords["modality"].values[rows.astroclip.valid.values]))
        if not modalities:
            raise InputError("none of the objects has a vector: expected some to make a catalog of")
        for name in modalities:
            if not name.isidentifier() or name in {*OBJECT, *_OF_RESULTS, *_OF_LANCE, HEALPIX}:
                raise InputError(
                    f"modality {str(name)!r}: expected letters, digits and '_', and no name taken"
                )
        schema = cls(
            {
                "provenance": dict(rows.attrs),
                "modalities": modalities,
                "features": rows.sizes["feature"],
                "columns": {},
            }
        )
        if columns is not None:
            taken = {*schema.names, *modalities, HEALPIX, *_OF_RESULTS, *_OF_LANCE}
            for name in _checked(columns).colnames:
                if name != "object_id":
                    schema.columns[name] = _described(name, columns[name], taken)
            del schema.names  # as it was before
        return schema

    @cached_property
    def names(self):
        """All columns but those that hold vectors (list of str)."""
        return [
            *OBJECT,
            *self.columns,
            *(f"{modality}_{name}" for modality in self.modalities for name in OF_VECTORS),
        ]

    @cached_property
    def units(self):
        """Units of the columns that have one (dict of astropy.units.UnitBase)."""
        units = {name: COLUMNS[name][1] for name in OBJECT}
        units |= {name: about["unit"] for name, about in self.columns.items()}
        return {name: u.Unit(unit) for name, unit in units.items() if unit}

    @cached_property
    def descriptions(self):
        """Descriptions of the columns that have one (dict of str)."""
        found = {name: COLUMNS[name][2] for name in OBJECT}
        found |= {name: about["description"] for name, about in self.columns.items()}
        for modality in self.modalities:
            for name in OF_VECTORS:
                found[f"{modality}_{name}"] = f"{modality}: {COLUMNS[name][2]}"
        return {name: text for name, text in found.items() if text}

    @cached_property
    def kinds(self):
        """Kind of each column, as `predicate` takes them (dict of str)."""
        tests = {
            "text": pa.types.is_string,
            "truth": pa.types.is_boolean,
            "integer": pa.types.is_integer,
            "number": pa.types.is_floating,
        }
        return {
            field.name: next(kind for kind, test in tests.items() if test(field.type))
            for field in self.arrow
            if field.name in self.names
        }

    @cached_property
    def arrow(self):
        """The same for Arrow (pyarrow.Schema), with everything in its metadata."""
        fields = [pa.field(HEALPIX, pa.int64())]
        fields += [
            pa.field(name, pa.string() if COLUMNS[name][0] is str else pa.float64())
            for name in OBJECT
        ]
        fields += [
            pa.field(name, pa.type_for_alias(about["type"])) for name, about in self.columns.items()
        ]
        for modality in self.modalities:
            fields += [
                pa.field(f"{modality}_{name}", pa.int64() if name == "quality" else pa.float64())
                for name in OF_VECTORS
            ]
            fields.append(pa.field(modality, pa.list_(pa.float16(), self.features)))
        about = {
            "format": _FORMAT,
            "provenance": self.provenance,
            "modalities": self.modalities,
            "features": self.features,
            "columns": self.columns,
        }
        return pa.schema(fields, metadata={_KEY: json.dumps(about).encode()})

    @classmethod
    def from_arrow(cls, schema):
        """Read it back.

        Parameters
        ----------
        schema : pyarrow.Schema
            Of a catalog.

        Returns
        -------
        CatalogSchema

        Raises
        ------
        InputError
            If it is of something else.
        """
        about = json.loads((schema.metadata or {}).get(_KEY, b"{}"))
        if about.get("format") != _FORMAT:
            raise InputError(f"no embedding catalog of the format {_FORMAT}")
        return cls(about)

    def check(self, embeddings):
        """Refuse embeddings that another model, weights or preprocessing made.

        Parameters
        ----------
        embeddings : xarray.DataArray
            To be stored, or to be searched with.

        Raises
        ------
        ProvenanceError
            If they cannot be compared with those of the catalog; the message names both.
        """
        given = embeddings.attrs
        keys = [*PROVENANCE, "normalization"]
        differing = [key for key in keys if given.get(key) != self.provenance.get(key)]
        mine = {key: self.provenance.get(key, "not stated") for key in differing}
        others = {key: given.get(key, "not stated") for key in differing}
        if embeddings.sizes["feature"] != self.features:
            mine["features"], others["features"] = self.features, embeddings.sizes["feature"]
        if mine:
            pairs = "; ".join(f"{key} {others[key]!r}, not {mine[key]!r}" for key in mine)
            raise ProvenanceError(
                f"these embeddings are of another space than the catalog's: {pairs}. Embed with "
                f"the catalog's model, {self.provenance['model']!r}"
            )


def has_vector(modality):
    """A filter for rows that have a vector, which reads no vectors.

    Parameters
    ----------
    modality : str
        Of which modality.

    Returns
    -------
    str
        A condition in the dialect of DataFusion.

    Examples
    --------
    >>> from astroclip_astro.catalog.schema import has_vector
    >>> has_vector("image")
    '(`image_quality` % 256 < 128)'
    """
    # The quality is null where nothing was to be embedded; the engine has no operator for bits.
    bit = int(Quality.NOT_EMBEDDED)
    return f"(`{modality}_quality` % {2 * bit} < {bit})"


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
    rows = _rows(embeddings)
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


def _rows(embeddings):
    """Embeddings of several objects."""
    if not isinstance(embeddings, xr.DataArray):
        raise InputError(
            f"embeddings are a {type(embeddings).__name__}: expected what embed() returns"
        )
    return embeddings.astroclip.rows()


def _checked(columns):
    """Further columns, if they are in a table."""
    if not isinstance(columns, Table):
        raise InputError(f"columns are a {type(columns).__name__}: expected an astropy Table")
    return columns


def _described(name, column, taken):
    """Type, unit and description of a further column."""
    if name in taken:
        raise InputError(f"column {name!r}: the name is taken; give it another")
    if not name.isidentifier():
        raise InputError(f"column {name!r}: expected a name of letters, digits and '_'")
    if column.shape[1:]:
        raise InputError(f"column {name!r} of shape {column.shape}: expected one value per object")
    dtype = getattr(column, "dtype", None)
    if dtype is None or dtype.char not in {*_NUMBERS, *_TYPES}:
        held = type(column).__name__ if dtype is None else dtype
        raise InputError(f"column {name!r} holds {held}: expected numbers, truths or text")
    kind = _TYPES.get(dtype.char) or pa.from_numpy_dtype(dtype.newbyteorder("="))
    unit = ""
    if dtype.char in _NUMBERS and column.info.unit is not None:
        unit = u.Unit(column.info.unit).to_string()
        try:
            known = u.Unit(unit) == column.info.unit  # text has six digits of a scale
        except ValueError:
            known = False
        if not known:
            raise InputError(f"column {name!r} is in {unit!r}: expected a unit that can be told so")
    return {"type": str(kind), "unit": unit, "description": column.info.description or ""}


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
        given = _described(name, column, ())
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
