"""Between the embedding catalogs of this package and HATS: writing one and reading it back."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.catalog.hats.layout import (
    PROPERTIES,
    ROW_GROUP,
    finish,
    opened,
    partition,
    partition_file,
    require_lsdb,
    schema_of,
)
from astroclip_astro.catalog.schema import HEALPIX
from astroclip_astro.catalog.selection import Selection
from astroclip_astro.catalog.store import Store
from astroclip_astro.errors import CatalogError, InputError
from astroclip_astro.output import replacing

__all__ = ["read_hats", "write_hats", "write_selection"]

__doctest_requires__ = {"*": ["lsdb"]}

_MOST = 100_000  # rows of a partition: with two vectors of 512 numbers each, 200 MB
_FINEST = 29  # order of the pixels that even objects at one place are not divided beyond


def write_hats(catalog, path, *, where=None, cone=None, region=None, overwrite=False):
    """Write a catalog for LSDB and whatever else reads HATS, as a whole or not at all.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        What to write: all columns, and the vectors as they are stored, in float16.
    path : path-like
        Folder to make.
    where, cone, region : optional
        Which objects, as for `EmbeddingCatalog.search`.
    overwrite : bool
        Replace a HATS catalog that is there.

    Returns
    -------
    int
        How many objects were written.

    Raises
    ------
    InputError
        If LSDB is missing, a condition makes no sense, no object fulfils it, or an object has no
        position: HATS knows objects by where they are.
    FileExistsError
        If there is something and `overwrite` is not set, or it is no HATS catalog.
    CatalogError
        If the folder cannot be made.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.catalog import EmbeddingCatalog
    >>> from astroclip_astro.catalog.hats import read_hats, write_hats
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> embeddings = aa.embed([mocks.spectrum(i) for i in range(8)])
    >>> with TemporaryDirectory() as folder:  # doctest: +IGNORE_WARNINGS
    ...     catalog = EmbeddingCatalog.create(Path(folder, "mocks"), embeddings)
    ...     written = write_hats(catalog, Path(folder, "mocks-hats"))
    ...     again = read_hats(Path(folder, "mocks-hats"), Path(folder, "again"))
    ...     written, len(again), again.modalities
    (8, 8, ['spectrum'])
    """
    store = Store(catalog.path)
    selection = Selection(store, where=where, cone=cone, region=region)
    return write_selection(path, selection, overwrite=overwrite)


def write_selection(path, selection, *, overwrite=False):
    """Write rows of a catalog as a HATS catalog, as a whole or not at all.

    Parameters
    ----------
    path : path-like
        Folder to make.
    selection : Selection
        Which rows.
    overwrite : bool
        Replace a HATS catalog that is there.

    Returns
    -------
    int
        How many.

    Raises
    ------
    InputError, FileExistsError, CatalogError
        As for `write_hats`.
    """
    require_lsdb()
    path = Path(path)
    if not path.parent.is_dir():
        raise CatalogError(f"{path.parent} is no folder to make a catalog in")
    if path.exists() and not (overwrite and (path / PROPERTIES).is_file()):
        raise FileExistsError(
            f"{path} exists"
            + (" and is no HATS catalog" if overwrite else ": allow to overwrite it")
        )
    rowids, cells = _in_order(selection)
    rows, schema, pixels = selection.store.dataset, selection.store.schema, []
    with replacing(path) as aside:
        aside.mkdir()
        for pixel, low, high in _divided(cells):
            pixels.append(pixel)
            with partition(aside, pixel, schema) as writer:
                for start in range(low, high, ROW_GROUP):
                    some = rowids[start : min(start + ROW_GROUP, high)].tolist()
                    writer.write_table(rows._take_rows(some, columns=schema.arrow.names))
        finish(aside, path.name, schema, pixels)
    return len(rowids)


def read_hats(hats_path, path):
    """Make a catalog of what `write_hats` or `embed_hats` wrote, as a whole or not at all.

    Parameters
    ----------
    hats_path : path-like
        Folder of the HATS catalog; also one that LSDB made of such, with all of its columns.
    path : path-like
        Folder to make.

    Returns
    -------
    EmbeddingCatalog

    Raises
    ------
    InputError
        If LSDB is missing, a column is missing, or an object is there twice.
    FileExistsError
        If there is something already.
    CatalogError
        If there is no HATS catalog of embeddings, it is damaged, the folder cannot be made, or the
        disk is full.
    """
    schema = schema_of(opened(hats_path))
    arrow = schema.arrow
    found = opened(hats_path, [name for name in arrow.names if name != HEALPIX])
    files = [partition_file(hats_path, one) for one in found.get_ordered_healpix_pixels()]
    try:
        rows = dataset.dataset(files, format="parquet")
        ids = rows.to_table(columns=["object_id"])["object_id"]
        twice = pc.value_counts(ids).filter(pc.greater(pc.value_counts(ids).field("counts"), 1))
        if len(twice):
            raise InputError(
                "it is in the HATS catalog twice", object_id=twice[0]["values"].as_py()
            )
        batches = rows.to_batches(columns=arrow.names, batch_size=ROW_GROUP)
        stream = pa.RecordBatchReader.from_batches(arrow, (one.cast(arrow) for one in batches))
        return EmbeddingCatalog(Store.create(path, stream))
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, FileExistsError):
            raise
        raise CatalogError(f"{hats_path} cannot be read: {str(error).splitlines()[0]}") from error


def _in_order(selection):
    """Row ids and cells on the sky of what is selected, in the order of the cells."""
    rowids, cells = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for ids, batch in selection.batches(["object_id", HEALPIX]):
        if batch[HEALPIX].null_count:
            lost = batch["object_id"].filter(batch[HEALPIX].is_null())
            raise InputError(
                "it has no position, and HATS knows objects by where they are: leave such objects "
                "out, where='ra IS NOT NULL AND dec IS NOT NULL'",
                object_id=lost[0].as_py(),
            )
        rowids.append(ids)
        cells.append(batch[HEALPIX].to_numpy())
    rowids, cells = np.concatenate(rowids), np.concatenate(cells)
    if not len(rowids):
        raise InputError("no object is selected: expected some to write")
    order = np.argsort(cells, kind="stable")
    return rowids[order], cells[order]


def _divided(cells):
    """Pixels with few enough rows, and where these begin and end, in the order of the sky.

    hats has the same for a map of the whole sky, which ends at some order; this one does not.
    """
    from hats.pixel_math import HealpixPixel

    todo = [(0, pixel) for pixel in reversed(range(12))]
    while todo:
        order, pixel = todo.pop()
        ends = np.array([pixel, pixel + 1]) << 2 * (29 - order)
        low, high = (int(at) for at in np.searchsorted(cells, ends))
        if high - low > _MOST and order < _FINEST:
            todo += [(order + 1, 4 * pixel + part) for part in (3, 2, 1, 0)]
        elif high > low:
            yield HealpixPixel(order, pixel), low, high
