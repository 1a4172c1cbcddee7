"""From objects that were embedded to a catalog: cuts, partners, columns, the order of the sky."""

import json

import numpy as np
import pyarrow as pa
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, Table

from astroclip_astro.catalog.predicate import predicate, text_in
from astroclip_astro.catalog.recipes.origins import write_origins
from astroclip_astro.catalog.recipes.sources import OF_FILES
from astroclip_astro.catalog.rows import rows_of
from astroclip_astro.catalog.schema import CatalogSchema
from astroclip_astro.catalog.sky import healpix_29
from astroclip_astro.catalog.store import Store
from astroclip_astro.embedding_schema import COLUMNS, make_embeddings
from astroclip_astro.errors import CatalogError
from astroclip_astro.sky import separation

__all__ = ["aligned", "gather"]

_BLOCK = 8192  # objects that are put into the catalog at a time
_SAME = 5 / 3600  # deg: what is farther apart is not one object, whatever it is called


def gather(recipe, entries, embedded, work):
    """Put what was embedded into a catalog, and beside it where that came from.

    Parameters
    ----------
    recipe : Recipe
        What was asked.
    entries : list of Entries
        What its sources have.
    embedded : lance.LanceDataset
        A row for each object that was tried: ``source``, ``key`` of its entry, its ``number`` in
        that, ``reason`` why there is no vector, the coordinates of embeddings, and ``embedding``,
        float32.
    work : pathlib.Path
        Where to make the catalog.

    Returns
    -------
    path : pathlib.Path
        Its folder.
    report : astropy.table.Table
        What could not be embedded, and in its meta the numbers of all objects, of those that
        could not be embedded, and of vectors that were cut, had no partner, or had a better one.

    Raises
    ------
    CatalogError
        If no object is left.
    """
    index, cut = _index(recipe, embedded)
    renamed = _match(recipe, index)
    keep, unmatched = _partners(recipe, index)
    index = {name: values[keep] for name, values in index.items()}
    strange = _namesakes(recipe, index)
    others = {name: index[name][strange].tolist() for name in ("source", "key", "object_id")}
    index = {name: values[~strange] for name, values in index.items()}
    best = _best(index)
    duplicates = len(index["object_id"]) - len(best)
    index = {name: values[best] for name, values in index.items()}
    ids, where = np.unique(index["object_id"], return_inverse=True)
    failed = embedded.to_table(
        columns=["source", "key", "object_id", "reason"], filter="reason != ''"
    ).to_pydict()
    others["reason"] = ["another object, at another place, has the same object_id"] * strange.sum()
    failed = {name: values + others[name] for name, values in failed.items()}
    if not len(ids):
        why = f", such as {failed['key'][0]!r}: {failed['reason'][0]}" if failed["key"] else ""
        raise CatalogError(
            f"recipe {recipe.name!r}: no object is left to make a catalog of; {cut} were cut, "
            f"{unmatched} without partner, {len(failed['key'])} could not be embedded{why}"
        )
    sources = [
        f"{source.name}: {one.about}" for source, one in zip(recipe.sources, entries, strict=True)
    ]
    said = {
        "recipe": recipe.name,
        "title": recipe.title,
        "licence": recipe.licence,
        "citation": recipe.citation,
        "sources": "; ".join(sources),
    }
    attrs = json.loads(embedded.schema.metadata[b"attrs"])
    attrs |= {name: " ".join(text.split()) for name, text in said.items()}
    tables = [
        _renamed(one.columns, renamed.get(source.name))
        for source, one in zip(recipe.sources, entries, strict=True)
        if one.columns is not None
    ]
    columns = aligned(tables, ids) if tables else None
    store = _store(embedded, index, ids, where, columns, attrs, recipe.modalities, work / "catalog")
    store.compact()
    write_origins(store.path, index)
    report = Table({name: Column(values, dtype=str) for name, values in failed.items()})
    report.meta = {
        "objects": len(ids),
        "failed": len(report),
        "cut": cut,
        "unmatched": unmatched,
        "duplicates": duplicates,
    }
    return store.path, report


def aligned(tables, ids):
    """Put columns of several tables side by side.

    Parameters
    ----------
    tables : list of astropy.table.Table
        With ``object_id``.
    ids : numpy.ndarray
        Which objects, in which order, shape (n,).

    Returns
    -------
    astropy.table.Table
        With n rows, masked where a table has not the object.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astroclip_astro.catalog.recipes.gathering import aligned
    >>> known = Table({"object_id": ["b"], "mass": [2.0]})
    >>> aligned([known], np.array(["a", "b"]))["mass"].tolist()
    [None, 2.0]
    """
    found = Table({"object_id": ids})
    for table in tables:
        at = {str(name): row for row, name in enumerate(table["object_id"])}
        rows = np.array([at.get(name, -1) for name in ids.tolist()], np.int64)
        for name in table.colnames:
            if name != "object_id":
                values = np.ma.masked_all(len(ids), table[name].dtype)
                values[rows >= 0] = table[name][rows[rows >= 0]]
                found[name] = MaskedColumn(values)
                found[name].unit = table[name].unit
                found[name].description = table[name].description
    return found


def _index(recipe, embedded):
    """All that has a vector and passes the cuts, without the vectors, and how much was cut."""
    names = ["source", "key", "number", "object_id", "modality", "ra", "dec", "snr"]
    parts, total = [], 0
    for source in recipe.sources:
        sql = f"reason = '' AND {text_in('source', [source.name])}"
        total += embedded.count_rows(filter=sql)
        if source.where and source.kind == "files":
            sql = f"{sql} AND {predicate(source.where, OF_FILES)}"
        parts.append(embedded.to_table(columns=names, filter=sql, with_row_id=True))
    table = pa.concat_tables(parts)
    index = {
        name: np.array(table[name].to_pylist(), str)
        if pa.types.is_string(table[name].type)
        else table[name].to_numpy()
        for name in table.column_names
    }
    return index, total - len(table)


def _match(recipe, index):
    """Give matched objects the names of those of the first source; gives the names by source."""
    first = index["source"] == recipe.sources[0].name
    known = np.flatnonzero(first & np.isfinite(index["ra"]) & np.isfinite(index["dec"]))
    renamed = {}
    for source in recipe.sources:
        if not source.match:
            continue
        mine = np.flatnonzero(index["source"] == source.name)
        there = mine[np.isfinite(index["ra"][mine]) & np.isfinite(index["dec"][mine])]
        partners = {}
        if known.size and there.size:
            places = [SkyCoord(index["ra"][i], index["dec"][i], unit="deg") for i in (there, known)]
            near, apart, _ = places[0].match_to_catalog_sky(places[1])
            close = apart <= u.Quantity(source.match)
            # Of several that are near the same object, the nearest one is its partner.
            taken = set()
            for i in np.flatnonzero(close)[np.argsort(apart[close], kind="stable")]:
                partner, row = str(index["object_id"][known[near[i]]]), there[i]
                if (partner, index["modality"][row]) not in taken:
                    taken.add((partner, index["modality"][row]))
                    partners[row] = partner
        own = index["object_id"][mine].tolist()
        renamed[source.name] = {
            name: partners[row]
            for name, row in zip(own, mine.tolist(), strict=True)
            if row in partners
        }
        new = [partners.get(row, "") for row in mine.tolist()]
        width = max([index["object_id"].dtype.itemsize // 4, *map(len, new)])
        index["object_id"] = index["object_id"].astype(f"U{width}")
        index["object_id"][mine] = new
    return renamed


def _partners(recipe, index):
    """Which rows have partners in all sources that are matched, and how many have not."""
    keep = index["object_id"] != ""
    for source in recipe.sources:
        if source.match:
            mine = index["object_id"][index["source"] == source.name]
            keep &= np.isin(index["object_id"], mine)
    return keep, int((~keep).sum())


def _namesakes(recipe, index):
    """Which rows are of other objects than the first source, or the best data, have that name."""
    sources = [source.name for source in recipe.sources]
    rank = np.array([sources.index(name) for name in index["source"]], np.int64)
    unknown = ~(np.isfinite(index["ra"]) & np.isfinite(index["dec"]))
    snr = np.nan_to_num(index["snr"], nan=-np.inf)
    order = np.lexsort((-snr, rank, unknown, index["object_id"]))
    _, first, where = np.unique(index["object_id"][order], return_index=True, return_inverse=True)
    leader = np.empty(len(order), np.int64)
    leader[order] = order[first[where]]
    apart = separation(*(index[name][i] for i in (leader, slice(None)) for name in ("ra", "dec")))
    wide = max([_SAME, *(u.Quantity(s.match).to_value(u.deg) for s in recipe.sources if s.match)])
    return apart > wide  # not where a position is unknown


def _best(index):
    """Of all vectors of one object and modality the one with the best data, as rows in order."""
    snr = np.nan_to_num(index["snr"], nan=-np.inf)
    order = np.lexsort((-snr, index["modality"], index["object_id"]))
    pairs = np.stack([index["object_id"][order], index["modality"][order]])
    first = np.ones(len(order), bool)
    first[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(0)
    return order[first]


def _renamed(table, names):
    """A table of columns with the names that its objects were given."""
    if names is None:
        return table
    table = table.copy()
    new = [names.get(name, "") for name in table["object_id"]]
    table["object_id"] = new
    return table[np.array(new) != ""]


def _store(embedded, index, ids, where, columns, attrs, modalities, path):
    """Write the rows in the order of the sky, a block at a time."""
    ra, dec = np.full((2, len(ids)), np.nan)
    # Of several positions, rows_of takes that of the modality which is first by name.
    last_first = np.argsort(index["modality"], kind="stable")[::-1]
    for name, known in (("ra", ra), ("dec", dec)):
        there = last_first[np.isfinite(index[name][last_first])]
        known[where[there]] = index[name][there]
    rank = np.empty(len(ids), np.int64)
    order = np.ma.argsort(healpix_29(ra, dec), endwith=True, kind="stable")
    rank[order] = np.arange(len(ids))
    by_rank = np.argsort(rank[where], kind="stable")
    ends = np.searchsorted(rank[where][by_rank], np.arange(0, len(ids) + _BLOCK, _BLOCK))

    def embeddings(block):
        rows = by_rank[ends[block] : ends[block + 1]]
        stored = embedded._take_rows(index["_rowid"][rows].tolist())
        values = {name: stored[name].to_numpy() for name in COLUMNS}
        values["object_id"] = index["object_id"][rows]
        flat = stored["embedding"].combine_chunks().flatten().to_numpy()
        return make_embeddings(flat.reshape(len(rows), -1), values, attrs)

    schema = CatalogSchema.of(embeddings(0), columns, modalities=sorted(modalities))

    def batches():
        for block in range(len(ends) - 1):
            chosen = order[block * _BLOCK : (block + 1) * _BLOCK]
            mine = None if columns is None else columns[chosen]
            yield from rows_of(schema, embeddings(block), mine).to_batches()

    rows = pa.RecordBatchReader.from_batches(schema.arrow, batches())
    return Store.create(path, rows, overwrite=True)
