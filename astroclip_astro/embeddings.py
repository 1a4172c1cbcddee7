"""Embeddings as xarray: the schema, the ``.astroclip`` accessor, and files of them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import xarray as xr
from astropy import units as u
from astropy.table import QTable, Table

from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.quality import Quality

__all__ = ["EmbeddingAccessor", "check_output", "from_table", "make_embeddings", "open_embeddings"]

# Coordinates of the objects: type, unit, description, UCD (https://www.ivoa.net/documents/UCD1+).
_COLUMNS = {
    "object_id": (str, None, "identifier", "meta.id;meta.main"),
    "ra": (np.float64, "deg", "ICRS right ascension", "pos.eq.ra;meta.main"),
    "dec": (np.float64, "deg", "ICRS declination", "pos.eq.dec;meta.main"),
    "modality": (str, None, "what was embedded: spectrum or image", "meta.code"),
    "survey": (str, None, "registered survey, empty if none was named", "meta.id"),
    "redshift": (np.float64, None, "redshift as the input states it", "src.redshift"),
    "coverage": (np.float64, None, "fraction of the model's input filled by real data", ""),
    "snr": (np.float64, None, "median signal-to-noise ratio per pixel", "stat.snr"),
    "quality": (np.int64, None, "bits of astroclip_astro.Quality; 0 is clean", "meta.code.qual"),
}

#: Attributes that have to agree for vectors to be comparable.
PROVENANCE = ("model", "weights_sha256", "preprocessing")

_SUFFIXES = (".parquet", ".nc", ".zarr", ".fits", ".vot")
# Where a file keeps dims and attributes, as JSON; short enough for a FITS keyword.
_KEY = "embed"


def make_embeddings(vectors, columns, attrs):
    """Put vectors and what is known of their objects into one array.

    Parameters
    ----------
    vectors : array_like
        Shape (object, feature), converted to float32. Rows of NaN have to have
        ``Quality.NOT_EMBEDDED`` set.
    columns : dict of array_like
        Coordinates, one value per object: ``object_id``, ``ra``, ``dec`` (deg), ``modality``,
        ``survey``, ``redshift``, ``coverage``, ``snr``, ``quality``.
    attrs : dict of str
        Provenance: ``model``, ``weights_sha256``, ``preprocessing``, ``versions``, ``date``.

    Returns
    -------
    xarray.DataArray
        Dims ("object", "feature"), float32.

    Raises
    ------
    ValueError
        If columns are missing, unknown or of another length, an attribute is no text, or a row
        is not finite without saying so (or says so without being).

    Examples
    --------
    >>> from astroclip_astro.embeddings import make_embeddings
    >>> one = make_embeddings(
    ...     [[0.6, 0.8]],
    ...     {"object_id": ["a"], "ra": [150.0], "dec": [2.0], "modality": ["image"],
    ...      "survey": [""], "redshift": [0.1], "coverage": [1.0], "snr": [9.0], "quality": [0]},
    ...     {"model": "toy", "weights_sha256": "", "preprocessing": ""})
    >>> one.dims, one.shape, one.ra.attrs["units"]
    (('object', 'feature'), (1, 2), 'deg')
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"vectors of shape {vectors.shape}: expected (object, feature)")
    if columns.keys() != _COLUMNS.keys():
        odd = sorted(columns.keys() ^ _COLUMNS.keys())
        raise ValueError(f"columns that are missing or unknown: {', '.join(map(str, odd))}")
    odd = [name for name, value in attrs.items() if not isinstance(value, str)]
    if odd:
        raise ValueError(f"attributes that are no text: {', '.join(odd)}")
    coordinates = {}
    for name, (kind, unit, description, _) in _COLUMNS.items():
        values = np.asarray(columns[name]).astype(kind)
        if values.shape != (len(vectors),):
            raise ValueError(f"{name} has shape {values.shape}, expected ({len(vectors)},)")
        about = {"long_name": description} | ({"units": unit} if unit else {})
        if name == "quality":
            flags = list(Quality)
            about["flag_masks"] = np.array([int(flag) for flag in flags])
            about["flag_meanings"] = " ".join(flag.name for flag in flags)
        coordinates[name] = ("object", values, about)
    finite = np.isfinite(vectors).all(1)
    embedded = (coordinates["quality"][1] & Quality.NOT_EMBEDDED) == 0
    if (finite != embedded).any():
        row = int(np.flatnonzero(finite != embedded)[0])
        raise ValueError(
            f"{coordinates['object_id'][1][row] or f'row {row}'}: its vector is "
            f"{'' if finite[row] else 'not '}finite, but its quality says otherwise"
        )
    return xr.DataArray(
        vectors, dims=("object", "feature"), coords=coordinates, attrs=attrs, name="embedding"
    )


@xr.register_dataarray_accessor("astroclip")
class EmbeddingAccessor:
    """What embeddings can do, as ``embeddings.astroclip``.

    Parameters
    ----------
    array : xarray.DataArray
        As `astroclip_astro.embed` returns it, of one object or several.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.simulate import MockSurvey
    >>> survey = MockSurvey.bundled()
    >>> vectors = aa.embed([survey.spectrum(0), survey.cutout(0)])
    >>> vectors.astroclip.valid.values
    array([ True,  True])
    >>> vectors.astroclip.to_table().colnames[:3]
    ['object_id', 'ra', 'dec']
    """

    def __init__(self, array):
        self._array = array

    def _rows(self):
        """Two-dimensional, whatever the caller has."""
        array = self._array
        if "feature" not in array.dims or any(name not in array.coords for name in _COLUMNS):
            raise InputError(
                f"an array with dims {array.dims} is no embedding: expected what embed() returns, "
                "with dims ('object', 'feature') or ('feature',) and its coordinates"
            )
        if "object" in array.dims:
            return array
        values = {
            name: ("object", [array.coords[name].values[()]], array.coords[name].attrs)
            for name in _COLUMNS
        }
        return array.expand_dims("object").assign_coords(values)

    @property
    def provenance(self):
        """What made the vectors: model, weights_sha256 and preprocessing (dict of str)."""
        return {name: self._array.attrs.get(name, "") for name in PROVENANCE}

    @property
    def valid(self):
        """Which objects have a vector (xarray.DataArray of bool)."""
        return (self._array.coords["quality"] & int(Quality.NOT_EMBEDDED)) == 0

    @property
    def flags(self):
        """Names of the quality bits that are set: a list of str per object, or for one object."""
        quality = self._array.coords["quality"].values
        names = [Quality(int(bits)).names for bits in np.atleast_1d(quality)]
        return names if quality.ndim else names[0]

    def check_same_space(self, other):
        """Refuse embeddings that another model, weights or preprocessing made.

        Parameters
        ----------
        other : xarray.DataArray
            Other embeddings.

        Raises
        ------
        ProvenanceError
            If they cannot be compared; the message names both.
        """
        mine, others = self.provenance, other.astroclip.provenance
        differing = [name for name in PROVENANCE if mine[name] != others[name]]
        if differing:
            pairs = "; ".join(f"{name} {mine[name]!r} and {others[name]!r}" for name in differing)
            raise ProvenanceError(
                f"these embeddings are of different spaces: {pairs}. Embed both with one model"
            )

    def similarity(self, other=None):
        """Cosine similarity of every object with every other.

        Parameters
        ----------
        other : xarray.DataArray, optional
            Embeddings to compare with; by default these themselves.

        Returns
        -------
        xarray.DataArray
            Dims ("object", "other"), float32, with coordinates ``object_id`` and ``other_id``; NaN
            where one of the two has no vector.

        Raises
        ------
        ProvenanceError
            If `other` is of another model, weights or preprocessing.
        """
        if other is not None:
            self.check_same_space(other)
        mine = self._rows()
        others = mine if other is None else other.astroclip._rows()
        a, b = (_normalised(rows.values) for rows in (mine, others))
        return xr.DataArray(
            a @ b.T,
            dims=("object", "other"),
            coords={
                "object_id": ("object", mine.coords["object_id"].values),
                "other_id": ("other", others.coords["object_id"].values),
            },
            name="cosine",
        )

    def to_table(self):
        """All of it as a table.

        Returns
        -------
        astropy.table.QTable
            One row per object: the coordinates with their units, and ``embedding``, float32 of
            shape (object, feature). The attributes are in ``meta``.
        """
        rows = self._rows()
        table = QTable(meta=dict(rows.attrs))
        for name, (_, unit, description, _) in _COLUMNS.items():
            values = np.array(rows.coords[name].values)
            table[name] = values * u.Unit(unit) if unit else values
            table[name].info.description = description
        table["embedding"] = np.array(rows.values)
        table["embedding"].info.description = "vector"
        return table

    def save(self, path, *, overwrite=False):
        """Write the embeddings to a file, as a whole or not at all.

        Parameters
        ----------
        path : path-like
            The suffix decides the format: ``.parquet``, ``.nc`` (netCDF-4), ``.zarr``, ``.fits``,
            or ``.vot`` (VOTable). `open_embeddings` reads each of them back.
        overwrite : bool
            Replace what is there.

        Raises
        ------
        InputError
            If the suffix is unknown or the folder does not exist.
        FileExistsError
            If there is something already and `overwrite` is not set.
        """
        path = check_output(path, overwrite=overwrite)
        rows = self._rows()
        kept = dict(rows.attrs) | {"dims": " ".join(self._array.dims)}
        aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        try:
            _WRITERS[path.suffix](rows, kept, aside)
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(aside, path)
        finally:
            if aside.is_dir():
                shutil.rmtree(aside)
            else:
                aside.unlink(missing_ok=True)


def _normalised(vectors):
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A vector of zeros has no direction: its similarities are NaN, as those of a missing one.
    return np.divide(vectors, norm, out=np.full_like(vectors, np.nan), where=norm > 0)


def check_output(path, *, overwrite=False):
    """Check that embeddings can be written to a path, before the work of making them.

    Parameters
    ----------
    path : path-like
        Where to write.
    overwrite : bool
        Whether it may exist.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        If the suffix is unknown, a package is missing for it, or the folder does not exist.
    FileExistsError
        If there is something already and `overwrite` is not set.

    Examples
    --------
    >>> from astroclip_astro.embeddings import check_output
    >>> check_output("vectors.parquet").suffix
    '.parquet'
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise InputError(
            f"unknown suffix {path.suffix!r}: expected one of {', '.join(_SUFFIXES)}",
            object_id=str(path),
        )
    if path.suffix == ".zarr":
        _require_zarr()
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", object_id=str(path))
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name, or allow to overwrite it")
    return path


def open_embeddings(path):
    """Read embeddings that ``.astroclip.save`` wrote.

    Parameters
    ----------
    path : path-like
        A file (or zarr folder) of any of the formats.

    Returns
    -------
    xarray.DataArray
        Identical to what was saved.

    Raises
    ------
    InputError
        If it is missing, damaged, or holds something else.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", object_id=str(path))
    if path.suffix not in _SUFFIXES:
        raise InputError(
            f"unknown suffix {path.suffix!r}: expected one of {', '.join(_SUFFIXES)}",
            object_id=str(path),
        )
    try:
        table = _READERS[path.suffix](path)
        dims = table.meta.pop("dims")
        embeddings = from_table(table)
    except Exception as error:  # each format has its own ways to be damaged
        raise InputError(
            f"no embeddings file, or a damaged one ({type(error).__name__}: {error})",
            object_id=str(path),
        ) from error
    return embeddings if "object" in dims.split() else embeddings.isel(object=0)


def from_table(table):
    """Turn a table of `to_table` back into an array.

    Parameters
    ----------
    table : astropy.table.Table
        With the columns of `make_embeddings` and ``embedding``; coordinates in any angular unit.

    Returns
    -------
    xarray.DataArray
        Dims ("object", "feature").

    Raises
    ------
    ValueError
        If a column is missing.
    """
    missing = [name for name in (*_COLUMNS, "embedding") if name not in table.colnames]
    if missing:
        raise ValueError(f"columns that are missing: {', '.join(missing)}")
    columns = {}
    for name, (kind, unit, *_) in _COLUMNS.items():
        column = table[name]
        if unit and getattr(column, "unit", None) is not None:
            column = u.Quantity(column).to_value(unit)
        values = np.ma.getdata(column)
        if kind is str and values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        columns[name] = values
    vectors = np.ma.getdata(table["embedding"])
    vectors = np.reshape(vectors, (len(table), -1)) if len(table) else vectors
    return make_embeddings(vectors, columns, dict(table.meta))


def _require_zarr():
    try:
        import zarr  # noqa: F401
    except ImportError as error:
        raise InputError("zarr is missing: pip install 'astroclip_astro[zarr]'") from error


def _dataset(rows, kept):
    """A copy with attributes that netCDF and zarr can hold."""
    # Text as Python objects becomes variable-length strings, in any script.
    text = {name: rows.coords[name].astype(object) for name, c in _COLUMNS.items() if c[0] is str}
    return rows.assign_coords(text).assign_attrs({_KEY: json.dumps(kept)}).to_dataset()


def _table_of_dataset(dataset):
    array = dataset["embedding"].load()
    table = Table(meta=json.loads(array.attrs[_KEY]))
    for name in _COLUMNS:
        # By way of objects, since numpy does not cast zarr's variable-length text to its own.
        table[name] = array.coords[name].values.astype(object).astype(_COLUMNS[name][0])
    table["embedding"] = array.values
    return table


def _write_netcdf(rows, kept, path):
    _dataset(rows, kept).to_netcdf(path, engine="h5netcdf")


def _read_netcdf(path):
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return _table_of_dataset(dataset)


def _write_zarr(rows, kept, path):
    _dataset(rows, kept).to_zarr(path, mode="w", zarr_format=2, consolidated=True)


def _read_zarr(path):
    _require_zarr()
    with xr.open_zarr(path, zarr_format=2, chunks=None) as dataset:
        return _table_of_dataset(dataset)


def _write_parquet(rows, kept, path):
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: rows.coords[name].values for name in _COLUMNS}
    flat = pa.array(rows.values.reshape(-1), pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, rows.sizes["feature"])
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(kept)})
    parquet.write_table(table, path)


def _read_parquet(path):
    from pyarrow import parquet

    stored = parquet.read_table(path)
    table = Table(meta=json.loads(stored.schema.metadata[_KEY.encode()]))
    for name, (kind, *_) in _COLUMNS.items():
        table[name] = np.asarray(stored[name].to_pylist(), kind)
    vectors = stored["embedding"].combine_chunks()
    width = vectors.type.list_size
    table["embedding"] = vectors.values.to_numpy(zero_copy_only=False).reshape(-1, width)
    return table


def _write_fits(rows, kept, path):
    table = rows.astroclip.to_table()
    for name, (kind, *_) in _COLUMNS.items():
        if kind is str:  # FITS has ASCII only; UTF-8 is its superset
            encoded = np.char.encode(table[name], "utf-8")
            table[name] = encoded.astype(f"S{max(1, encoded.dtype.itemsize)}")
    table.meta = {_KEY: json.dumps(kept)}
    table.write(path, format="fits")


def _read_fits(path):
    table = Table.read(path, format="fits", mask_invalid=False)
    table.meta = json.loads(table.meta[_KEY.upper()])
    return table


def _write_votable(rows, kept, path):
    from astropy.io.votable import from_table as votable_of
    from astropy.io.votable.tree import Info

    table = rows.astroclip.to_table()
    table.meta = {}
    votable = votable_of(Table(table))
    for field in votable.get_first_table().fields:
        if field.name in _COLUMNS:
            field.ucd = _COLUMNS[field.name][3] or None
    votable.infos.append(Info(name=_KEY, value=json.dumps(kept)))
    votable.to_xml(str(path))


def _read_votable(path):
    from astropy.io.votable import parse

    votable = parse(str(path))
    table = votable.get_first_table().to_table(use_names_over_ids=True)
    (kept,) = (info.value for info in votable.infos if info.name == _KEY)
    table.meta = json.loads(kept)
    return table


_WRITERS = {
    ".parquet": _write_parquet,
    ".nc": _write_netcdf,
    ".zarr": _write_zarr,
    ".fits": _write_fits,
    ".vot": _write_votable,
}
_READERS = {
    ".parquet": _read_parquet,
    ".nc": _read_netcdf,
    ".zarr": _read_zarr,
    ".fits": _read_fits,
    ".vot": _read_votable,
}
