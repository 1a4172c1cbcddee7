"""Files of embeddings: a writer and a reader per format, each giving back exactly what went in."""

import json
from itertools import chain

import numpy as np
import xarray as xr
from astropy.table import Table

from astroclip_astro.errors import InputError
from astroclip_astro.output import check_suffix, check_target, replacing
from astroclip_astro.table_files import (
    NOTES,
    check_text,
    fits_hdu,
    voparquet,
    votable,
    write_ecsv,
)

__all__ = ["check_output", "read_table", "write_parts", "write_rows"]


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
    path = check_target(path, _FORMATS, overwrite=overwrite)
    _check_installed(path)
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
        check_text(name, rows.coords[name].values)
    about = json.dumps({"dims": list(dims), "attrs": rows.attrs})
    with replacing(path) as aside:
        _FORMATS[path.suffix][0](rows, about, aside)


def write_parts(empty, parts, path):
    """Write embeddings that come in parts to a Parquet file, as a whole or not at all.

    It takes the memory of one part.

    Parameters
    ----------
    empty : xarray.DataArray
        Embeddings of no object, with the attributes of the whole.
    parts : iterable of xarray.DataArray
        Embeddings of the same model, as files have held them before.
    path : pathlib.Path
        As `check_output` returned it; what is there is replaced.
    """
    about = json.dumps({"dims": list(empty.dims), "attrs": empty.attrs})
    with replacing(path) as aside:
        _write_parquet_parts(chain([empty], parts), about, aside)


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
    path = check_suffix(path, _FORMATS)
    _check_installed(path)
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


def _check_installed(path):
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
    return bare.to_dataset().assign_attrs(rows.attrs | {NOTES: about})


def _table_of_dataset(dataset):
    columns = {name: values.values for name, values in dataset.variables.items()}
    # By way of objects, since numpy does not cast zarr's variable-length text to its own.
    columns |= {n: v.astype(object) for n, v in columns.items() if v.dtype.kind not in "fi"}
    return Table(columns), dataset.attrs[NOTES]


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
    _write_parquet_parts(iter([rows]), about, path)


def _write_parquet_parts(parts, about, path):
    from pyarrow import parquet

    first = next(parts)
    table = _arrow(first)
    schema = table.schema.with_metadata(voparquet(first.astroclip.to_table(), about))
    with parquet.ParquetWriter(path, schema) as writer:
        for one in chain([table], map(_arrow, parts)):
            writer.write_table(one.cast(schema))


def _arrow(rows):
    import pyarrow as pa

    columns = {name: values.values for name, values in rows.coords.items()}
    flat = pa.array(rows.values.reshape(-1), pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, rows.sizes["feature"])
    return pa.table(columns)


def _read_parquet(path):
    from pyarrow import parquet

    stored = parquet.read_table(path)
    about = stored.schema.metadata[NOTES.encode()]
    columns = {n: stored[n].to_numpy() for n in stored.column_names if n != "embedding"}
    vectors = stored["embedding"].combine_chunks()
    flat = vectors.values.to_numpy(zero_copy_only=False)
    columns["embedding"] = flat.reshape(-1, vectors.type.list_size)
    return Table(columns), about


def _write_fits(rows, about, path):
    hdu = fits_hdu(rows.astroclip.to_table(), about)
    hdu.name = "EMBEDDINGS"
    hdu.writeto(path)


def _read_fits(path):
    table = Table.read(path, format="fits", mask_invalid=False)
    return table, table.meta[NOTES.upper()]


def _write_votable(rows, about, path):
    # Binary is ten times quicker than text, half as large, and keeps white space.
    votable(rows.astroclip.to_table(), about).to_xml(str(path), tabledata_format="binary2")


def _read_votable(path):
    from astropy.io.votable import parse

    votable = parse(str(path))
    (about,) = (info.value for info in votable.infos if info.name == NOTES)
    return votable.get_first_table().to_table(use_names_over_ids=True), about


def _write_ecsv(rows, about, path):
    write_ecsv(rows.astroclip.to_table(), path, about, shape=list(rows.shape))


def _read_ecsv(path):
    table = Table.read(path, format="ascii.ecsv")
    n, width = table.meta["shape"]
    if len(table) != n:  # of all formats, only this one can be cut off and still be read
        raise ValueError(f"it has {len(table)} rows of {n}")
    if not n:
        table["embedding"] = np.empty((0, width), np.float32)
    return table, table.meta[NOTES]


_FORMATS = {
    ".parquet": (_write_parquet, _read_parquet),
    ".nc": (_write_netcdf, _read_netcdf),
    ".zarr": (_write_zarr, _read_zarr),
    ".fits": (_write_fits, _read_fits),
    ".vot": (_write_votable, _read_votable),
    ".ecsv": (_write_ecsv, _read_ecsv),
}
