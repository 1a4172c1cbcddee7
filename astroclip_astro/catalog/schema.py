"""What a catalog's rows are, in Arrow's terms: one object, its columns, a vector per modality."""

import json
from functools import cached_property

import pyarrow as pa
import xarray as xr
from astropy import units as u
from astropy.table import Table

from astroclip_astro.embedding_schema import COLUMNS, PROVENANCE, compared
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.quality import Quality

__all__ = [
    "HEALPIX",
    "OBJECT",
    "OF_VECTORS",
    "CatalogSchema",
    "described",
    "has_vector",
    "several",
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
        rows = several(embeddings)
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
                    schema.columns[name] = described(name, columns[name], taken)
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
        keys = [*compared(given, self.provenance), "normalization"]
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


def several(embeddings):
    """Embeddings with dims ("object", "feature"), also of a single object.

    Parameters
    ----------
    embeddings : xarray.DataArray
        As `astroclip_astro.embed` returns it.

    Returns
    -------
    xarray.DataArray

    Raises
    ------
    InputError
        If it is something else.
    """
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


def described(name, column, taken=()):
    """What the schema says of a further column.

    Parameters
    ----------
    name : str
        Its name.
    column : astropy.table.Column, astropy.units.Quantity or numpy.ndarray
        Its values.
    taken : collection of str
        Names that it must not have.

    Returns
    -------
    dict of str
        Its Arrow ``type``, ``unit`` and ``description``.

    Raises
    ------
    InputError
        If its name is taken or no identifier, or it holds no numbers, truths or text.
    """
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
