"""Similarity search in a HATS catalog: the best of each partition, then the best of these."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.catalog.engines.exact import ExactEngine
from astroclip_astro.catalog.hats.cluster import RETRIES, aligned, partitions, running
from astroclip_astro.catalog.hats.layout import opened, schema_of
from astroclip_astro.catalog.queries import answer, resolve
from astroclip_astro.catalog.schema import HEALPIX
from astroclip_astro.catalog.selection import Selection
from astroclip_astro.catalog.store import Store
from astroclip_astro.errors import InputError

__all__ = ["search_hats"]

__doctest_requires__ = {"*": ["lsdb"]}

_AT_ONCE = 8  # results that are merged into one
_QUERY, _SCORE = "query", "score"


def search_hats(catalog, query, k=10, *, modality, where=None, cone=None, region=None, client=None):
    """Find the most similar objects of a HATS catalog of embeddings, comparing all of them.

    Each partition is read once, for all queries.

    Parameters
    ----------
    catalog : path-like or lsdb.catalog.Catalog
        As `write_hats` or `embed_hats` wrote it, or what LSDB made of it.
    query : xarray.DataArray, str, object, or sequence of these
        As for `EmbeddingCatalog.search`.
    k : int
        How many objects to find for each.
    modality : str
        Which vectors are ranked.
    where, cone, region : optional
        As for `EmbeddingCatalog.search`. Partitions outside a cone or region are not read.
    client : dask.distributed.Client, optional
        The cluster to work on; by default the current one, or else threads of this process.

    Returns
    -------
    astropy.table.QTable
        What ``EmbeddingCatalog.search(…, engine="exact")`` returns.

    Raises
    ------
    InputError
        If LSDB is missing, an argument makes no sense, the query has no vector, or the catalog was
        opened without a column.
    ProvenanceError
        If the query is an embedding of another model.
    CatalogError
        If there is no HATS catalog of embeddings.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.catalog import EmbeddingCatalog
    >>> from astroclip_astro.catalog.hats import search_hats, write_hats
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> embeddings = aa.embed([mocks.spectrum(i) for i in range(8)])
    >>> with TemporaryDirectory() as folder:  # doctest: +IGNORE_WARNINGS
    ...     catalog = EmbeddingCatalog.create(Path(folder, "mocks"), embeddings)
    ...     written = write_hats(catalog, Path(folder, "mocks-hats"))
    ...     found = search_hats(Path(folder, "mocks-hats"), embeddings[3], 2, modality="spectrum")
    >>> found["object_id"][0] == mocks.truth["object_id"][3], len(found)
    (True, 2)
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}, expected a whole number of 1 or more")
    whole = opened(catalog)
    schema = schema_of(whole)
    if modality not in schema.modalities:
        raise InputError(
            f"modality is {modality!r}: the catalog has vectors of "
            f"{' and '.join(schema.modalities)}"
        )
    # Checked, and written anew, by what does so for an embedding catalog.
    selection = Selection(SimpleNamespace(schema=schema), where=where, cone=cone, region=region)
    with running(client) as cluster:
        asked = _resolved(query, catalog, whole, modality, cluster)
        task = {
            "queries": asked.directions,
            "k": int(k),
            "modality": modality,
            "schema": schema,
            "sql": selection.sql,
            "sky": selection.sky,
        }
        found = opened(catalog, [*schema.names, modality])
        if selection.sky is not None:
            found = found.moc_search(_moc(selection.sky))
        rows = _merged(partitions(found).values(), task, cluster)
    found, scores, number = rows.select(schema.names), rows[_SCORE], rows[_QUERY]
    return answer(schema, found, scores.to_numpy(), number.to_numpy(), asked, selection.sky)


def _resolved(query, catalog, whole, modality, cluster):
    """The query as vectors."""
    from dask import delayed

    several = query if isinstance(query, list | tuple | np.ndarray) else [query]
    names = [str(one) for one in several if isinstance(one, str)]
    schema = schema_of(whole)
    rows = [schema.arrow.empty_table()]
    if names:
        wanted = [name for name in schema.arrow.names if name in whole.columns]
        parts = partitions(opened(catalog, wanted)).values()
        tasks = [delayed(_of_names)(part, names, schema) for part in parts]
        rows += cluster.gather(cluster.compute(tasks, retries=RETRIES))
    # What is named is looked up in a catalog of its own, which is small.
    with TemporaryDirectory() as folder:
        store = Store.create(Path(folder, "catalog"), aligned(pa.concat_tables(rows)))
        return resolve(query, EmbeddingCatalog(store), modality)


def _of_names(rows, names, schema):
    """The rows of a partition that have one of some identifiers, with all vectors."""
    stored = rows.to_pyarrow()
    stored = stored.filter(pc.is_in(stored["object_id"], pa.array(names)))
    columns = [
        stored[field.name].cast(field.type)
        if field.name in stored.column_names
        else pa.nulls(len(stored), field.type)
        for field in schema.arrow
    ]
    return pa.table(columns, schema.arrow)


def _moc(sky):
    """What covers a part of the sky, for LSDB."""
    from mocpy import MOC

    return MOC.from_depth29_ranges(29, sky.ranges().astype(np.uint64))


def _merged(parts, task, cluster):
    """The best rows of all partitions, as a tree of results that are merged a few at a time."""
    from dask import delayed

    # One node of the graph, which a new worker is given anew, unlike data that were scattered.
    shared = delayed(task, traverse=False)
    results = [delayed(_best)(part, shared) for part in parts]
    if not results:
        return _fields(task["schema"]).empty_table()
    while len(results) > 1:
        results = [
            delayed(_best_of)(results[start : start + _AT_ONCE], task["k"])
            for start in range(0, len(results), _AT_ONCE)
        ]
    return cluster.compute(results[0], retries=RETRIES).result()


def _fields(schema):
    """What a row is that was found."""
    fields = [schema.arrow.field(name) for name in schema.names]
    return pa.schema([*fields, (_QUERY, pa.int64()), (_SCORE, pa.float32())])


def _best(rows, task):
    """The rows of a partition that are most similar to each query."""
    schema, stored = task["schema"], rows.to_pyarrow()
    chosen = _Chosen(stored, **{name: task[name] for name in ("modality", "schema", "sql", "sky")})
    at, scores = ExactEngine(None, task["modality"]).search(task["queries"], task["k"], chosen)
    query, _ = np.nonzero(at >= 0)
    found = stored.select(schema.names).take(pa.array(at.ravel()))
    columns = [*found.columns, pa.array(query), pa.array(scores.ravel())]
    return pa.table(columns, [*schema.names, _QUERY, _SCORE]).cast(_fields(schema))


def _best_of(parts, k):
    """The most similar rows to each query among those of several partitions."""
    rows = pa.concat_tables(parts)
    query = rows[_QUERY].to_numpy()
    order = np.lexsort((-rows[_SCORE].to_numpy(), query))
    query = query[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    return rows.take(pa.array(order[rank < k]))


class _Chosen:
    """Rows of a partition that may be found, as the exact engine reads a `Selection`."""

    def __init__(self, stored, modality, schema, sql, sky):
        column = stored[modality].combine_chunks()
        there = column.is_valid().to_numpy(zero_copy_only=False)
        if sky is not None:
            there &= sky.contains(*(stored[name].to_numpy() for name in ("ra", "dec")))
        if sql is not None and there.any():
            # By what filters embedding catalogs, on the columns alone.
            names = [HEALPIX, *schema.names]
            columns = aligned(stored.select(names))
            dataset = lance.write_dataset(
                columns, "memory://partition", max_rows_per_file=len(stored)
            )
            passed = dataset.to_table(columns=[], filter=sql, with_row_id=True)["_rowid"]
            selected = np.zeros(len(stored), bool)
            selected[passed.to_numpy().astype(np.int64)] = True
            there &= selected
        self.positions = np.flatnonzero(there)
        # Not flatten(), which leaves out the rows without a vector.
        values = column.values.to_numpy(zero_copy_only=False).reshape(-1, schema.features)
        self.vectors = values[column.offset : column.offset + len(column)]

    def batches(self, columns, *, size):
        """Positions, and their vectors, as `Selection.batches`."""
        (modality,) = columns
        for start in range(0, len(self.positions), size):
            some = self.positions[start : start + size]
            flat = pa.array(self.vectors[some].reshape(-1))
            features = self.vectors.shape[1]
            yield some, {modality: pa.FixedSizeListArray.from_arrays(flat, features)}
