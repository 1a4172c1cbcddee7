"""Maps of catalogs: the vectors of a modality laid out in two dimensions, kept with the rows."""

import os
import warnings
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.table import Table

from astroclip_astro.catalog.engines.exact import vectors_of
from astroclip_astro.catalog.map_files import map_path, read_map_file, write_map_file
from astroclip_astro.catalog.selection import Selection
from astroclip_astro.catalog.store import explained
from astroclip_astro.embedding_schema import compared
from astroclip_astro.embeddings import directions
from astroclip_astro.errors import CatalogError, InputError
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.projection import projector

__all__ = ["make_map", "read_map"]

_BLOCK = 4096  # vectors that are placed at a time
_FEWEST = 4  # that UMAP can lay out
_SMALLEST_SAMPLE = 16  # each with 15 neighbours


def make_map(catalog, modality, *, sample=50_000, seed=0, progress=None):
    """Lay out the vectors of a modality in two dimensions by UMAP, and keep this in the catalog.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        Whose objects; its folder gets, or replaces, ``map-<modality>.parquet``.
    modality : str
        Which vectors.
    sample : int
        UMAP is fitted to all vectors, or to as many at random if there are more; the others are
        placed among these, some at a time, so that no more than the sample is held in memory.
    seed : int
        Of the sample and of UMAP.
    progress : bool, optional
        Show progress bars; by default only when the work takes more than two seconds and the
        output is a terminal or a notebook.

    Returns
    -------
    astropy.table.Table
        As `read_map` returns it.

    Raises
    ------
    InputError
        If there is no such modality, an argument makes no sense, or umap-learn is not installed.
    CatalogError
        If the folder cannot be written, the disk is full, or the catalog was replaced meanwhile.

    Notes
    -----
    UMAP (McInnes, Healy & Melville 2018, https://arxiv.org/abs/1802.03426) with 15 neighbours and
    cosine distances. Its axes have no meaning, nor have distances between far groups. The same
    rows, in the same order, give the same map, on the same machine with the same versions. Fitted
    vectors that are equal share a place. Fewer than four different vectors are laid out in a plane
    that keeps their distances.

    The first map of a process takes longer, as umap-learn has to be compiled. Others may read and
    write the catalog meanwhile: the map has the objects that were there when it was begun.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.catalog import EmbeddingCatalog, make_map
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> embeddings = aa.embed([mocks.spectrum(i) for i in range(3)])
    >>> with TemporaryDirectory() as folder:
    ...     catalog = EmbeddingCatalog.create(Path(folder, "mocks"), embeddings)
    ...     places = make_map(catalog, "spectrum")
    >>> places.colnames, len(places)
    (['object_id', 'x', 'y'], 3)
    """
    catalog._check_modality(modality)
    _check_whole("sample", sample, _SMALLEST_SAMPLE)
    _check_whole("seed", seed, 0, 2**32 - 1)
    projector(_FEWEST, seed)  # before the work: is it installed?
    path, provenance = catalog.path, catalog.provenance
    if not os.access(path, os.W_OK):
        raise CatalogError(f"{path} cannot be written to, and a map is kept there")
    folder = path.stat()
    selection = Selection(catalog.store, modality)
    n = selection.count()
    if not n:
        raise InputError(f"no object has a vector of {modality}: there is nothing to map")
    fitted = np.zeros(n, bool)
    fitted[np.random.default_rng(seed).choice(n, min(n, sample), replace=False)] = True
    with progress_bar(total=n, progress=progress, unit="object", desc=f"map {modality}") as bar:
        object_id, xy, neighbours = _places(selection, fitted, seed, bar)
    lost = np.flatnonzero(~np.isfinite(xy).all(1))
    if lost.size:
        raise CatalogError(
            f"UMAP gave {lost.size} objects no place, such as {object_id[int(lost[0])]}: try "
            "another seed"
        )
    notes = {name: provenance[name] for name in compared(provenance, provenance)} | {
        "modality": modality,
        "sample": int(sample),
        "seed": int(seed),
        "fitted": int(fitted.sum()),
        "n_neighbors": neighbours,
        "metric": "cosine",
        "umap": version("umap-learn"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with explained(path):
        if not os.path.samestat(folder, path.stat()):
            raise CatalogError(
                f"{path} was replaced meanwhile: open it anew, and make the map again"
            )
        write_map_file(map_path(path, modality), object_id, xy, notes)
    return read_map(catalog, modality)


def read_map(catalog, modality):
    """Read the map of a modality that `make_map` made.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        Whose objects.
    modality : str
        Which vectors.

    Returns
    -------
    astropy.table.Table
        ``object_id``, ``x`` and ``y`` (float32) of all objects of the map that still are in the
        catalog. Its ``meta`` says how it was made, and under ``missing`` (int) how many objects
        with a vector have come since and are not on it.

    Raises
    ------
    InputError
        If there is no such modality.
    CatalogError
        If there is no map, it is damaged, or it is of vectors of other weights.

    Notes
    -----
    Who deletes an object, and adds another vector under its name, has to make the map again.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.catalog import EmbeddingCatalog, make_map, read_map
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> embeddings = aa.embed([mocks.spectrum(i) for i in range(4)])
    >>> with TemporaryDirectory() as folder:
    ...     catalog = EmbeddingCatalog.create(Path(folder, "mocks"), embeddings[:3])
    ...     _ = make_map(catalog, "spectrum")
    ...     catalog.append(embeddings[3:])
    ...     places = read_map(catalog, "spectrum")
    >>> len(places), places.meta["missing"]
    (3, 1)
    """
    catalog._check_modality(modality)
    path, provenance = map_path(catalog.path, modality), catalog.provenance
    try:
        table, notes = read_map_file(path)
        for name in compared(provenance, notes):
            if notes.get(name) != provenance.get(name):
                raise CatalogError(f"{path} is of vectors of another {name}")
    except CatalogError as error:
        raise CatalogError(
            f"{error}: 'astroclip catalog map {catalog.path} --modality {modality}' makes a new one"
        ) from error
    batches = Selection(catalog.store, modality).batches(["object_id"])
    there = pa.chunked_array([batch["object_id"] for _, batch in batches], pa.string())
    table = table.filter(pc.is_in(table["object_id"], value_set=there.combine_chunks()))
    return Table(
        {
            "object_id": np.array(table["object_id"].to_pylist(), str),
            "x": table["x"].to_numpy(),
            "y": table["y"].to_numpy(),
        },
        meta=notes | {"missing": len(there) - len(table)},
    )


def _places(selection, fitted, seed, bar):
    """Names of the selected objects, their places, and among how many neighbours each is."""
    xy = np.empty((len(fitted), 2), np.float32)
    bar.set_postfix_str("fitting")  # which takes long until something is counted
    names, some = zip(*_read(selection, fitted), strict=True)
    epochs = {"disable": bar.disable, "delay": 2, "leave": False}
    layout, xy[fitted] = _fitted(np.concatenate(some), seed, tqdm_kwds=epochs)
    del some
    epochs["disable"] = True  # blocks that are placed need no bars of their own
    bar.update(fitted.sum())
    others = np.flatnonzero(~fitted)
    if others.size:
        bar.set_postfix_str("placing")
    vectors = (part for _, part in _read(selection, ~fitted)) if others.size else ()
    for block in _blocks(vectors, _BLOCK):
        here, others = np.split(others, [len(block)])
        xy[here] = layout.transform(block.astype(np.float32))
        bar.update(len(block))
    return pa.chunked_array(names, pa.string()), xy, layout.n_neighbors


class _Plane:
    """Lays out what is too few for UMAP in the plane through it."""

    n_neighbors = 0

    def fit_transform(self, vectors):
        unit = directions(vectors)
        self.centre, self.axes = unit.mean(0), np.zeros((2, unit.shape[1]), np.float32)
        axes = np.linalg.svd(unit - self.centre, full_matrices=False)[2][:2]
        self.axes[: len(axes)] = axes
        return self.transform(vectors)

    def transform(self, vectors):
        return (directions(vectors) - self.centre) @ self.axes.T


def _fitted(vectors, seed, **options):
    """A layout of some vectors, and their places in it."""
    # Of equal vectors, more than there are neighbours would come to lie in places far apart.
    rows = vectors.view(f"V{vectors[0].nbytes}")[:, 0]
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    distinct = vectors[first].astype(np.float32)
    few = len(distinct) < _FEWEST
    layout = _Plane() if few else projector(len(distinct), seed, **options)
    with warnings.catch_warnings():
        # It then begins with random places.
        warnings.filterwarnings("ignore", "Spectral initialisation failed", UserWarning)
        return layout, layout.fit_transform(distinct)[which]


def _read(selection, wanted):
    """Names of all objects, some at a time, and the vectors of those that are wanted."""
    start, modality = 0, selection.modality
    for _, batch in selection.batches(["object_id", modality], size=_BLOCK):
        here = wanted[start : start + len(batch)]
        yield batch["object_id"], vectors_of(batch[modality])[here]
        start += len(batch)


def _blocks(parts, size):
    """The same rows in blocks of one size, however the catalog is cut into files."""
    held, count = [], 0
    for part in parts:
        held.append(part)
        count += len(part)
        if count >= size:
            *full, rest = np.split(np.concatenate(held), range(size, count + 1, size))
            yield from full
            held, count = [rest], len(rest)
    if count:
        yield np.concatenate(held)


def _check_whole(name, value, low, high=np.inf):
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        limit = f"{low} or more" if high == np.inf else f"{low} to {high}"
        raise InputError(f"{name} is {value!r}, expected a whole number of {limit}")
