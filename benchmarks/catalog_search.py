"""How fast and how right an embedding catalog is searched, beside what is under it.

Recall against all vectors compared in NumPy, without filters and with filters on a column and on
the sky; medians of single searches beside those of raw faiss and raw Lance with the same index;
cold start in a new process; many queries at once beside the matrix product alone. Run it alone.
"""

import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import click
import clustered
import lance
import numpy as np
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from header import print_header

from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.embeddings import make_embeddings

_COLD = """
import sys, time
start = time.perf_counter()
from astroclip_astro.catalog import EmbeddingCatalog
from astropy.table import Table
import numpy as np, xarray
imported = time.perf_counter()
catalog = EmbeddingCatalog.open(sys.argv[1])
vectors = np.load(sys.argv[2])
from astroclip_astro.embeddings import make_embeddings
query = make_embeddings(vectors[:1], {n: [v] for n, v in dict(object_id="q", ra=0.0, dec=0.0,
    modality="spectrum", survey="", coverage=1.0, snr=1.0, quality=0).items()},
    catalog.provenance)[0]
ready = time.perf_counter()
found = catalog.search(query, 10)
done = time.perf_counter()
catalog.search(query, 10)
again = time.perf_counter()
print(imported - start, ready - imported, done - ready, again - done)
"""


def build(path, rows, features):
    """Make the catalog, or open the one that is there."""
    if path.exists():
        return EmbeddingCatalog.open(path)
    start = time.perf_counter()
    first = min(clustered.BLOCK, rows)
    catalog = EmbeddingCatalog.create(path, *clustered.block(0, first, features))
    for number in range(1, -(-rows // clustered.BLOCK)):
        n = min(clustered.BLOCK, rows - number * clustered.BLOCK)
        catalog.append(*clustered.block(number, n, features))
    print(f"written in {time.perf_counter() - start:.0f} s", end=", ")
    start = time.perf_counter()
    catalog.compact()
    print(f"compacted and indexed in {time.perf_counter() - start:.0f} s")
    return catalog


def asked(catalog, vectors):
    """Queries as embeddings."""
    n = len(vectors)
    columns = {"object_id": [f"query-{i}" for i in range(n)], "ra": np.zeros(n), "dec": np.zeros(n)}
    columns |= {"modality": ["spectrum"] * n, "survey": [""] * n, "coverage": np.ones(n)}
    columns |= {"snr": np.ones(n), "quality": np.zeros(n, int)}
    return make_embeddings(vectors, columns, catalog.provenance)


def truth(unit, ids, queries, k, allowed=None):
    """Identifiers of the nearest, by NumPy over everything."""
    scores = queries @ (unit if allowed is None else unit[allowed]).T
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    return (ids if allowed is None else ids[allowed])[best]


def recall(found, right):
    """Share of the right ones that were found, by query."""
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, right, strict=True)])


def timed(function, queries):
    """Median over single queries, in milliseconds, and the answers."""
    times, answers = [], []
    for query in queries:
        start = time.perf_counter()
        answers.append(function(query))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times)), answers


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--features", default=512, show_default=True)
@click.option("--queries", "count", default=100, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(path, rows, features, count, threads):
    print_header("pylance", "faiss-cpu", "torch", "numpy")
    torch.set_num_threads(threads)
    import faiss

    faiss.omp_set_num_threads(threads)
    catalog = build(path, rows, features)
    print(f"{catalog}, {threads} thread(s), k = 10, {count} queries")
    vectors, k = clustered.queries(count, features), 10
    queries = asked(catalog, vectors)
    np.save(path.with_suffix(".npy"), vectors)

    print("\ncold: a new process, the files in the page cache")
    out = subprocess.run(
        [sys.executable, "-c", _COLD, str(path), str(path.with_suffix(".npy"))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported, opened, first, second = map(float, out.stdout.split())
    print(
        f"imports {imported:.2f} s, open {opened:.3f} s, first query {first:.3f} s, "
        f"second {second:.3f} s"
    )

    stored = catalog.embeddings("spectrum")
    ids = stored.coords["object_id"].values
    unit = stored.values
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    redshift, ra, dec = (stored.coords[name].values for name in ("redshift", "ra", "dec"))
    centre = SkyCoord(150 * u.deg, 20 * u.deg)
    apart = SkyCoord(ra, dec, unit="deg").separation(centre)
    cases = {"none": ({}, None)}
    for share in (0.01, 0.1):
        cases[f"where, {share:.0%}"] = (
            {"where": f"0.3 < z AND z < {0.3 + share}"},
            (redshift > 0.3) & (redshift < 0.3 + share),
        )
        radius = np.arccos(1 - 2 * share) * u.rad
        cases[f"cone, {share:.0%}"] = ({"cone": (centre, radius)}, apart <= radius)

    print(f"\n{'filter':12s} {'engine':8s} {'recall@10':>9s} {'median ms':>9s}")
    single = [queries[i] for i in range(count)]
    engines = {"auto, on disk": {}, "lance": {"engine": "lance"}}
    for loaded in (False, True):
        if loaded:
            start = time.perf_counter()
            catalog.load("spectrum")
            print(f"loaded into memory in {time.perf_counter() - start:.0f} s")
            engines = {"auto, loaded": {}, "faiss": {"engine": "faiss"}}
            engines |= {"exact": {"engine": "exact"}}
        for name, (chosen, allowed) in cases.items():
            right = truth(unit, ids, vectors, k, allowed)
            for label, engine in engines.items():
                some = single[: 20 if label == "exact" else count]
                ms, tables = timed(partial(catalog.search, k=k, **chosen, **engine), some)
                found = [np.asarray(table["object_id"]) for table in tables]
                print(f"{name:12s} {label:14s} {recall(found, right[: len(some)]):9.4f} {ms:9.2f}")

    print("\nbeside what is under it, medians of single queries, no filter, ms")
    engine = catalog._ranking.engine("faiss", "spectrum")
    index, half = engine.index, engine.exact.vectors.numpy()

    def raw_faiss(query):
        cells = faiss.IVFRaBitQSearchParameters(nprobe=32)
        parameters = faiss.SearchParametersPreTransform(index_params=cells)
        _, at = index.search(query[None], 200, params=parameters)
        candidates = half[at[0]].astype(np.float32)
        scores = candidates @ query / np.linalg.norm(candidates, axis=1)
        return ids[at[0][np.argsort(-scores)[:k]]]

    dataset = lance.dataset(path / "objects.lance")

    def raw_lance(query):
        nearest = {"column": "spectrum", "q": query, "k": k, "metric": "cosine"}
        nearest |= {"nprobes": 32, "refine_factor": 10}
        return dataset.to_table(columns=["object_id", "_distance"], nearest=nearest)

    right = truth(unit, ids, vectors, k)
    raw = {}
    for label, function in (("raw faiss", raw_faiss), ("raw lance", raw_lance)):
        raw[label], answers = timed(function, vectors)
        found = [a if label == "raw faiss" else a["object_id"].to_pylist() for a in answers]
        print(f"{label:28s} {raw[label]:9.2f}   recall {recall(found, right):.4f}")
    for label, name in (("faiss", "faiss"), ("lance", "lance")):
        ms, _ = timed(partial(catalog.search, k=k, engine=name), single)
        print(f"{'catalog.search, ' + label:28s} {ms:9.2f}   {ms / raw['raw ' + label]:.2f} × raw")
    ms, _ = timed(lambda q: truth(unit, ids, q[None], k), vectors[:20])
    print(f"{'NumPy, everything':28s} {ms:9.2f}")

    many = clustered.queries(1000, features, seed=1)
    every = asked(catalog, many)
    start = time.perf_counter()
    found = catalog.search(every, k, engine="exact")
    batch = time.perf_counter() - start
    block = torch.from_numpy(unit[:16384])
    left = torch.from_numpy(many)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        left @ block.T
        times.append(time.perf_counter() - start)
    product = np.median(times) * rows / len(block)
    right = truth(unit, ids, many[:100], k)
    table = np.asarray(found["object_id"]).reshape(-1, k)
    print(
        f"\n1,000 queries at once: {batch:.2f} s, the product alone {product:.2f} s: "
        f"{product / batch:.2f} of its rate; recall {recall(table[:100], right):.4f}"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    reference = unit.nbytes / 2**30
    print(f"peak memory of this process {peak:.1f} GB, of it {reference:.1f} GB for the reference")


if __name__ == "__main__":
    main()
