"""Files of embeddings: a writer and a reader per format, each giving back exactly what went in."""

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.table import Table

from astroclip_astro.errors import InputError

__all__ = ["check_output", "read_table", "write_rows"]

# Where each file keeps dims and attributes, as JSON. FITS and VOTable have no place for long or
# structured metadata of their own, and a FITS keyword has at most eight characters.
_KEY = "embed"

# What some file format cannot hold in text: control characters, line separators, lone surrogates.
_UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


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
        If the suffix is unknown, a package is missing for it, the folder does not exist, or the
        path is a folder where a file is expected, or a folder that is no zarr store.
    FileExistsError
        If there is something already and `overwrite` is not set.

    Examples
    --------
    >>> from astroclip_astro.embeddings import check_output
    >>> check_output("vectors.parquet").suffix
    '.parquet'
    """
    path = Path(path)
    _check_suffix(path)
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", object_id=str(path))
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name, or allow to overwrite it")
    # To overwrite a folder is to delete all that is in it.
    replaceable = (path / ".zgroup").is_file() if path.suffix == ".zarr" else path.is_file()
    if path.exists() and not replaceable:
        what = "folder" if path.is_dir() else "file"
        raise InputError(
            f"will not overwrite a {what} that holds no embeddings: choose another name",
            object_id=str(path),
        )
    return path


def write_rows(rows, dims, path):
    """Write embeddings to a file, as a whole or not at all.

    Parameters
    ----------
    rows : xarray.DataArray
        Embeddings as `make_embeddings` returns them.
    dims : tuple of str
        The dims to give back on opening.
    path : pathlib.Path
        As `check_output` returned it; what is there is replaced.

    Raises
    ------
    InputError
        If text has control characters.
    """
    for name in _texts(rows):
        bad = next(
            (str(text) for text in rows.coords[name].values if _UNSTORABLE.search(text)), None
        )
        if bad is not None:
            raise InputError(f"{name} {bad!r} has a character that files cannot hold: replace it")
    about = json.dumps({"dims": list(dims), "attrs": rows.attrs})
    aside, old = (path.with_name(f".{path.stem}.{os.getpid()}{s}{path.suffix}") for s in ("", "o"))
    try:
        _FORMATS[path.suffix][0](rows, about, aside)
        try:
            if path.is_dir():  # only files can be replaced in one go
                os.replace(path, old)
            os.replace(aside, path)
        except BaseException:
            if old.is_dir():
                os.replace(old, path)
            raise
        if old.is_dir():
            shutil.rmtree(old)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)


def read_table(path):
    """Read what `write_rows` wrote.

    Parameters
    ----------
    path : path-like
        A file, or a zarr folder.

    Returns
    -------
    table : astropy.table.Table
        The coordinates and ``embedding`` as columns, the attributes as ``meta``.
    dims : tuple of str
        Dims of the embeddings.

    Raises
    ------
    InputError
        If it is missing, damaged, or holds something else.

    Examples
    --------
    >>> from astroclip_astro.embedding_files import read_table
    >>> read_table("missing.fits")
    Traceback (most recent call last):
        ...
    astroclip_astro.errors.InputError: missing.fits: no such file
    """
    path = Path(path)
    _check_suffix(path)
    if not path.exists():
        raise InputError("no such file", object_id=str(path))
    try:
        table, about = _FORMATS[path.suffix][1](path)
        about = json.loads(about)
        table.meta = about["attrs"]
        return table, tuple(about["dims"])
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # each format has its own ways to be damaged
        raise InputError(
            f"no embeddings file, or a damaged one ({type(error).__name__}: {error})",
            object_id=str(path),
        ) from error


def _check_suffix(path):
    if path.suffix not in _FORMATS:
        raise InputError(
            f"unknown suffix {path.suffix!r}: expected one of {', '.join(_FORMATS)}",
            object_id=str(path),
        )
    if path.suffix == ".zarr":
        try:
            import zarr  # noqa: F401
        except ImportError as error:
            raise InputError(
                "zarr is missing: pip install 'astroclip_astro[zarr]'", object_id=str(path)
            ) from error


def _texts(rows):
    """Names of the coordinates that are text."""
    return [name for name, values in rows.coords.items() if values.dtype.kind == "U"]


def _dataset(rows, about):
    """A copy with what netCDF and zarr can hold."""
    # Text as Python objects becomes variable-length strings, in any script.
    text = {name: rows.coords[name].astype(object) for name in _texts(rows)}
    # The attributes become the file's, since on a variable some (units, scale_factor, dtype …) are
    # instructions that change its numbers.
    bare = rows.assign_coords(text)
    bare.attrs = {}
    return bare.to_dataset().assign_attrs(rows.attrs | {_KEY: about})


def _table_of_dataset(dataset):
    columns = {name: values.values for name, values in dataset.variables.items()}
    # By way of objects, since numpy does not cast zarr's variable-length text to its own.
    columns |= {n: v.astype(object) for n, v in columns.items() if v.dtype.kind not in "fi"}
    return Table(columns), dataset.attrs[_KEY]


def _write_netcdf(rows, about, path):
    _dataset(rows, about).to_netcdf(path, engine="h5netcdf")


def _read_netcdf(path):
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return _table_of_dataset(dataset)


def _write_zarr(rows, about, path):
    # Version 2, since version 3 has no specification of text yet.
    _dataset(rows, about).to_zarr(path, mode="w", zarr_format=2, consolidated=True)


def _read_zarr(path):
    with xr.open_zarr(path, zarr_format=2, chunks=None) as dataset:
        return _table_of_dataset(dataset)


def _write_parquet(rows, about, path):
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: values.values for name, values in rows.coords.items()}
    flat = pa.array(rows.values.reshape(-1), pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, rows.sizes["feature"])
    # Parquet has no units or descriptions. They go along as a VOTable without data, which is what
    # TOPCAT and Astropy look for: https://www.ivoa.net/documents/Notes/voparquet
    fields = io.BytesIO()
    _votable(rows, about, data=False).to_xml(fields)
    metadata = {
        _KEY: about,
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": fields.getvalue(),
    }
    parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


def _read_parquet(path):
    from pyarrow import parquet

    stored = parquet.read_table(path)
    about = stored.schema.metadata[_KEY.encode()]
    columns = {n: stored[n].to_numpy() for n in stored.column_names if n != "embedding"}
    vectors = stored["embedding"].combine_chunks()
    flat = vectors.values.to_numpy(zero_copy_only=False)
    columns["embedding"] = flat.reshape(-1, vectors.type.list_size)
    return Table(columns), about


def _write_fits(rows, about, path):
    described = rows.astroclip.to_table()
    table = Table(described, meta={_KEY: about})
    for name in _texts(rows):  # FITS has ASCII only, of which UTF-8 is a superset
        encoded = np.char.encode(described[name], "utf-8")
        table[name] = encoded.astype(f"S{max(1, encoded.dtype.itemsize)}")
    hdu = fits.table_to_hdu(table)
    hdu.name = "EMBEDDINGS"
    for number, column in enumerate(described.itercols(), start=1):
        # Not in the standard, but conventions that TOPCAT and others know.
        hdu.header[f"TCOMM{number}"] = column.info.description
        hdu.header[f"TUCD{number}"] = column.info.meta["ucd"]
    hdu.writeto(path)


def _read_fits(path):
    table = Table.read(path, format="fits", mask_invalid=False)
    return table, table.meta[_KEY.upper()]


def _votable(rows, about, *, data=True):
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    table = Table(rows.astroclip.to_table())
    table.meta = {}
    for name in _texts(rows):
        # Astropy cuts text off at the column's width in UTF-16, in which some characters are two.
        width = max([len(text.encode("utf-16-be")) // 2 for text in table[name]], default=0)
        # At least two, since to TOPCAT one is a character and no text.
        table[name] = table[name].astype(f"U{max(2, width)}")
    votable = from_table(table if data else table[:0])
    votable.infos.append(Info(name=_KEY, value=about))
    return votable


def _write_votable(rows, about, path):
    # Binary is ten times quicker than text, half as large, and keeps white space.
    _votable(rows, about).to_xml(str(path), tabledata_format="binary2")


def _read_votable(path):
    from astropy.io.votable import parse

    votable = parse(str(path))
    (about,) = (info.value for info in votable.infos if info.name == _KEY)
    return votable.get_first_table().to_table(use_names_over_ids=True), about


def _write_ecsv(rows, about, path):
    table = Table(rows.astroclip.to_table())
    # First a number, since a row that begins with "#" would be read as a comment.
    table = table["quality", *[name for name in table.colnames if name != "quality"]]
    table.meta = {_KEY: about, "shape": list(rows.shape)}
    if not len(table):  # Astropy does not read back a column of vectors without rows
        del table["embedding"]
    table.write(path, format="ascii.ecsv")


def _read_ecsv(path):
    table = Table.read(path, format="ascii.ecsv")
    n, width = table.meta["shape"]
    if len(table) != n:  # of all formats, only this one can be cut off and still be read
        raise ValueError(f"it has {len(table)} rows of {n}")
    if not n:
        table["embedding"] = np.empty((0, width), np.float32)
    return table, table.meta[_KEY]


_FORMATS = {
    ".parquet": (_write_parquet, _read_parquet),
    ".nc": (_write_netcdf, _read_netcdf),
    ".zarr": (_write_zarr, _read_zarr),
    ".fits": (_write_fits, _read_fits),
    ".vot": (_write_votable, _read_votable),
    ".ecsv": (_write_ecsv, _read_ecsv),
}
