"""Catalogs of as many objects as are wanted, made of some thousand mock galaxies.

4,000 mocks are embedded by the bundled model. Every further object is one of them, its parent,
moved at random along the ways to six of its ten nearest neighbours (of image and spectrum
together): both its vectors, its redshift and its other numbers are moved alike, so that what is
near stays near, across modalities and at fixed redshift. It lies anywhere on the sky; whatever is
no number, and its pictures, are those of the parent. Maps by UMAP are those of the 4,000, with the
others scattered around their parents: laying a million out takes too long for a measurement.
"""

import shutil
import tomllib

import numpy as np
import pyarrow as pa
from astropy.table import Table

from astroclip_astro.catalog import EmbeddingCatalog, make_map, read_map
from astroclip_astro.catalog.map_files import map_path, write_map_file
from astroclip_astro.catalog.recipes import build
from astroclip_astro.catalog.recipes.origins import ORIGINS, write_origins
from astroclip_astro.embeddings import concat, directions, make_embeddings

__all__ = ["multiplied", "seed"]

_BLOCK = 100_000
_NEAREST, _WAYS, _FAR = 10, 6, 0.35
_RECIPE = """
name = "seed"
title = "Mock galaxies"
summary = "What larger catalogs are made of."
licence = "BSD-3-Clause"
citation = "astroclip_astro, by CITATION.cff"
model = "astroclip-mini"
modalities = ["image", "spectrum"]

[[sources]]
name = "mocks"
kind = "mocks"
where = "kind = 'galaxy'"
n = 4000
"""
_COLUMNS = (
    "log_mass", "age", "log_z", "log_ssfr", "a_v", "mag_g", "mag_r", "mag_z", "r_half",
    "bulge_to_total", "axis_ratio", "n_arms", "quiescent", "sample",
)  # fmt: skip


def seed(folder, mocks):
    """The catalog of mocks, with its maps; made where it is missing.

    Returns
    -------
    EmbeddingCatalog
    """
    path = folder / "mocks"
    if not path.exists():
        recipe = folder / "recipe.toml"
        tables = "".join(f"\n[sources.columns.{name}]\n" for name in _COLUMNS)
        recipe.write_text(_RECIPE + tables)
        catalog = build(recipe, path, sources={"mocks": mocks})
        for modality in catalog.modalities:
            make_map(catalog, modality)
    return EmbeddingCatalog.open(path)


def multiplied(seed, path, rows):
    """A larger catalog, with its index, its maps and the way to its data; made where it is missing.

    Returns
    -------
    EmbeddingCatalog
    """
    if path.exists():
        return EmbeddingCatalog.open(path)
    made = path.with_name(f"{path.name}-unfinished")
    parts = {one: seed.embeddings(one) for one in seed.modalities}
    names = parts["image"].coords["object_id"].values
    if any((part.coords["object_id"].values != names).any() for part in parts.values()):
        raise ValueError("an object of the seed lacks a vector")
    unit = np.hstack([directions(part.values) for part in parts.values()])
    near = np.argsort(-(unit @ unit.T), axis=1)[:, 1 : _NEAREST + 1]
    table = seed.table()
    table = table[np.argsort(table["object_id"])][np.argsort(np.argsort(names))]
    rng, catalog, first = np.random.default_rng(0), None, []
    for start in range(0, rows, _BLOCK):
        n = min(_BLOCK, rows - start)
        ids = np.array([f"mock-{number:07d}" for number in range(start, start + n)])
        own = rng.integers(0, len(names), n)
        others = near[own[:, None], rng.permuted(np.tile(np.arange(_NEAREST), (n, 1)), axis=1)]
        of = np.column_stack([own, others[:, :_WAYS]])
        weights = rng.normal(0, _FAR, of.shape)
        weights[:, 0] = 1 - weights[:, 1:].sum(1)
        first.append(own)
        block = _embeddings(parts, of, weights, ids, rng, seed.provenance)
        columns = _columns(table, of, weights, ids)
        if catalog is None:
            catalog = EmbeddingCatalog.create(made, block, columns, overwrite=made.exists())
        else:
            catalog.append(block, columns)
    first = np.concatenate(first)
    catalog.compact()
    ids = np.array([f"mock-{number:07d}" for number in range(rows)])
    for modality in seed.modalities:
        _map(seed, made, modality, names[first], ids, rng)
    _origins(seed, made, names[first], ids)
    made.rename(path)
    return EmbeddingCatalog.open(path)


def _mixed(values, of, weights):
    return np.einsum("nk,nk...->n...", weights, np.asarray(values, float)[of])


def _within(values, of, weights):
    """Mixed, and not beyond what there is: no redshift is negative."""
    return _mixed(values, of, weights).clip(np.min(values), np.max(values))


def _embeddings(parts, of, weights, ids, rng, provenance):
    n = len(ids)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    made = []
    for modality, part in parts.items():
        vectors = np.empty((n, part.sizes["feature"]), np.float32)
        for rows in np.array_split(np.arange(n), 10):
            vectors[rows] = _mixed(part.values, of[rows], weights[rows])
        given = {name: part.coords[name].values for name in part.coords}
        columns = {name: given[name][of[:, 0]] for name in ("survey", "coverage", "quality")}
        columns |= {name: _within(given[name], of, weights) for name in ("redshift", "snr")}
        columns |= {"object_id": ids, "ra": ra, "dec": dec, "modality": np.full(n, modality)}
        made.append(make_embeddings(vectors, columns, provenance))
    return concat(made)


def _columns(table, of, weights, ids):
    columns = Table({"object_id": ids})
    for name in _COLUMNS:
        values = np.asarray(getattr(table[name], "value", table[name]))
        mixed = values.dtype.kind == "f"
        columns[name] = _within(values, of, weights) if mixed else values[of[:, 0]]
        columns[name].unit = table[name].unit
    return columns


def _map(seed, made, modality, parents, ids, rng):
    places = read_map(seed, modality)
    row = {name: i for i, name in enumerate(places["object_id"].tolist())}
    at = np.column_stack([places["x"], places["y"]])[[row[name] for name in parents.tolist()]]
    # Half of the way to the next, if they shared the plane evenly.
    scatter = np.sqrt(np.prod(np.ptp(at, axis=0)) / len(places)) / 2
    at = (at + rng.normal(0, scatter, at.shape)).astype(np.float32)
    notes = {name: value for name, value in places.meta.items() if name != "missing"}
    write_map_file(map_path(made, modality), pa.array(ids.tolist()), at, notes)


def _origins(seed, made, parents, ids):
    import pyarrow.parquet as pq

    known = pq.read_table(seed.path / ORIGINS).to_pylist()
    keys = {row["object_id"]: row["key"] for row in known}
    recipe = tomllib.loads((seed.path / "recipe.toml").read_text())
    modalities, each = recipe["modalities"], len(recipe["modalities"])
    origins = {
        "object_id": np.repeat(ids, each),
        "modality": np.tile(modalities, len(ids)),
        "source": np.full(len(ids) * each, "mocks"),
        "key": np.repeat([keys[name] for name in parents.tolist()], each),
        "number": np.tile(np.arange(each), len(ids)),
    }
    write_origins(made, {name: values.tolist() for name, values in origins.items()})
    shutil.copy(seed.path / "recipe.toml", made)
