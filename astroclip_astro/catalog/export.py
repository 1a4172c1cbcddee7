"""Catalogs for other programs: files that TOPCAT, Aladin and Astropy read."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.table import Column, MaskedColumn, Table

from astroclip_astro.catalog.engines.exact import vectors_of
from astroclip_astro.catalog.schema import HEALPIX, OF_VECTORS
from astroclip_astro.embedding_schema import COLUMNS
from astroclip_astro.errors import InputError
from astroclip_astro.output import check_target, replacing
from astroclip_astro.table_files import SUFFIXES, write_tables

__all__ = ["check_export", "write_table"]

# What numbers become that some format does not know: unsigned ones, and bytes, which are unsigned
# in FITS and signed elsewhere.
_WIDER = {"int8": np.int16, "uint8": np.int16, "uint16": np.int32, "uint32": np.int64}


def check_export(path, *, overwrite=False):
    """Check that a catalog can be written to a file.

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
        If the suffix is unknown, the folder does not exist, or the path is a folder.
    FileExistsError
        If there is something already and `overwrite` is not set.

    Examples
    --------
    >>> from astroclip_astro.catalog.export import check_export
    >>> check_export("galaxies.fits").suffix
    '.fits'
    """
    path = check_target(path, SUFFIXES, overwrite=overwrite)
    if path.is_dir():
        raise InputError("it is a folder: choose another name", object_id=str(path))
    return path


def write_table(path, selection):
    """Write objects with their vectors to a file, as a whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        As `check_export` returned it; what is there is replaced.
    selection : Selection
        Which objects.

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    InputError
        If text has control characters.

    Notes
    -----
    A column for each modality, of its name, holds vectors of float32, NaN where there is none.
    Numbers that are unknown are NaN or masked, text that is unknown is empty. What the catalog
    says of itself is kept as JSON: ``EMBED`` in the header of FITS, ``embed`` elsewhere.

    FITS and Parquet are written in parts, whatever the size of the catalog. VOTable and ECSV are
    made in memory, and take several times that of the table.
    """
    schema = selection.store.schema
    notes = {"attrs": schema.provenance, "modalities": schema.modalities}
    widths, unknown, rows = _survey(schema, selection)
    with replacing(path) as aside:
        tables = _tables(schema, selection, unknown)
        write_tables(tables, aside, notes, rows=rows, widths=widths)
    return rows


def _survey(schema, selection):
    """Bytes of the text of each column, which columns have unknown values, and number of rows."""
    kinds = schema.kinds
    widths = {name: 1 for name, kind in kinds.items() if kind == "text"}
    names = [f.name for f in schema.arrow if f.name in kinds and not pa.types.is_floating(f.type)]
    unknown, rows = set(), 0
    for _, batch in selection.batches(names):
        rows += len(batch)
        for name in names:
            column = batch[name]
            if name in widths:
                longest = pc.max(pc.binary_length(column)).as_py()
                widths[name] = max(widths[name], longest or 0)
            elif column.null_count:
                unknown.add(name)
    return widths, unknown, rows


def _tables(schema, selection, unknown):
    """The rows as tables, of which the first one is empty."""
    names = [name for name in schema.arrow.names if name != HEALPIX]
    fields = [schema.arrow.field(name) for name in names]
    empty = pa.RecordBatch.from_pylist([], pa.schema(fields))
    yield _table(schema, empty, unknown)
    for _, batch in selection.batches(names):
        yield _table(schema, batch, unknown)


def _table(schema, batch, unknown):
    """Rows as a table, masked where columns have unknown values."""
    table, units, ucds = Table(), schema.units, _ucds(schema)
    vectors = {name: f"{name}: vector that the model gives" for name in schema.modalities}
    descriptions = schema.descriptions | vectors
    for name in batch.schema.names:
        stored = batch[name]
        if name in schema.modalities:
            values = _whole(stored, schema.features)
        elif pa.types.is_string(stored.type):
            values = np.array(stored.fill_null("").to_pylist(), str)
        elif pa.types.is_floating(stored.type):
            values = stored.to_numpy(zero_copy_only=False)
        else:
            values = stored.fill_null(False if pa.types.is_boolean(stored.type) else 0)
            values = values.to_numpy(zero_copy_only=False)
        kind = _WIDER.get(str(stored.type), values.dtype)
        if name in unknown:
            mask = stored.is_null().to_numpy(zero_copy_only=False)
            table[name] = MaskedColumn(values.astype(kind), mask=mask)
        else:
            table[name] = Column(values.astype(kind))
        table[name].unit = units.get(name)
        table[name].description = descriptions.get(name)
        table[name].meta = {"ucd": ucds[name]} if name in ucds else {}
    return table


def _whole(stored, features):
    """Vectors as float32, NaN where there is none."""
    vectors = np.full((len(stored), features), np.nan, np.float32)
    there = stored.is_valid().to_numpy(zero_copy_only=False)
    if there.any():
        vectors[there] = vectors_of(stored.drop_null())
    return vectors


def _ucds(schema):
    """UCDs of the columns that have one (dict of str)."""
    found = {name: COLUMNS[name][3] for name in schema.names if name in COLUMNS}
    for modality in schema.modalities:
        found |= {f"{modality}_{name}": COLUMNS[name][3] for name in OF_VECTORS}
        found[modality] = "stat.value"
    return found
