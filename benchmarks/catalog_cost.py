"""What a catalog of 10⁷, 10⁸ and 10⁹ objects costs, extrapolated from what small ones cost here.

Catalogs of several sizes are made in FOLDER, vectors as in ``clustered.py``. Bytes, making and
comparing with everything grow in proportion to the objects, and are a straight line through the
origin; a search by the index grows as a power of their number, and is one. CPU seconds are those of
all cores; machines are counted for a cluster that keeps its files in the page cache's reach.
"""

import gc
import json
import os
import time
import warnings
from pathlib import Path

import click
import clustered
import numpy as np
import torch
from catalog_search import asked, timed
from header import print_header

from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.hats import search_hats, write_hats

SIZES = (10**7, 10**8, 10**9)

# A node of a cluster, assumed: what the table counts.
CORES, MEMORY, DISK = 32, 256e9, 4e12
TARGETS = {"one query": 10.0, "1,000 queries": 600.0}  # s, on HATS, comparing with everything


def cpu():
    """CPU seconds of this process and its children so far."""
    return sum(os.times()[:4])


def size(folder):
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure(folder, rows, features):
    """Costs of a catalog of so many objects; kept in a file, as making it takes a while."""
    kept = folder / f"{rows}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    path, hats, cost = folder / f"{rows}", folder / f"{rows}-hats", {"rows": rows}
    start, parts = cpu(), -(-rows // clustered.BLOCK)
    generating, catalog = 0.0, None
    for number in range(parts):
        before = cpu()
        n = min(clustered.BLOCK, rows - number * clustered.BLOCK)
        block = clustered.block(number, n, features)
        generating += cpu() - before
        if catalog:
            catalog.append(*block)
        else:
            catalog = EmbeddingCatalog.create(path, *block, overwrite=True)
    cost["write, CPU s"] = cpu() - start - generating
    cost["rows, bytes"] = size(path)
    start = cpu()
    catalog.compact()
    cost["index, CPU s"] = cpu() - start
    indices = sum(size(one) for one in path.rglob("_indices"))
    cost["index, bytes"] = indices
    torch.set_num_threads(1)
    queries = asked(catalog, clustered.queries(1000, features))
    catalog.search(queries[0], 10)
    cost["search by the index, ms"], _ = timed(lambda q: catalog.search(q, 10), queries[:100])
    write_hats(catalog, hats, overwrite=True)
    cost["HATS, bytes"] = size(hats)
    for name, asking in (("one query", queries[0]), ("1,000 queries", queries)):
        times = []
        for _ in range(3):
            start = cpu()
            search_hats(hats, asking, 10, modality="spectrum")
            times.append(cpu() - start)
        cost[f"HATS, {name}, CPU s"] = float(np.median(times[1:]))
    kept.write_text(json.dumps(cost))
    return cost


def line(costs, name):
    """Growth per object of a straight line through the origin, weighted by the largest."""
    n, y = (np.array([cost[key] for cost in costs], float) for key in ("rows", name))
    return float((n * y).sum() / (n * n).sum())


def slope(costs, name):
    """Growth per object beyond a constant, least squares."""
    n, y = (np.array([cost[key] for cost in costs], float) for key in ("rows", name))
    gradient, constant = np.polyfit(n, y, 1)
    return float(gradient), float(constant)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--rows", default=(100_000, 200_000, 400_000, 800_000), multiple=True, type=int)
@click.option("--features", default=512, show_default=True)
def main(folder, rows, features):
    warnings.simplefilter("ignore", DeprecationWarning)  # LSDB 0.11 with pandas 3.1
    print_header("pylance", "lsdb", "torch")
    folder.mkdir(parents=True, exist_ok=True)
    costs = []
    for n in sorted(rows):
        start = time.perf_counter()
        costs.append(measure(folder, n, features))
        gc.collect()
        print(f"{n} objects of {features} numbers, {time.perf_counter() - start:.0f} s")
    names = [name for name in costs[0] if name != "rows"]
    print(f"\n{'measured':28s}" + "".join(f"{n:>12,}" for n in sorted(rows)))
    for name in names:
        print(f"{name:28s}" + "".join(f"{cost[name]:12.4g}" for cost in costs))

    print(f"\n{'extrapolated':40s}" + "".join(f"{n:>10.0e}" for n in SIZES))

    def row(name, values):
        print(f"{name:40s}" + "".join(f"{value:>10.3g}" for value in values))

    for name in ("rows, bytes", "index, bytes", "HATS, bytes"):
        row(f"{name.replace('bytes', 'GB')}", [line(costs, name) * n / 1e9 for n in SIZES])
    for name in ("write, CPU s", "index, CPU s"):
        per_row = slope(costs, name)[0]
        row(name.replace("CPU s", "CPU hours"), [per_row * n / 3600 for n in SIZES])
    n, ms = (np.array([c[key] for c in costs], float) for key in ("rows", names[4]))
    power, constant = np.polyfit(np.log(n), np.log(ms), 1)
    row(f"{names[4]} (∝ n^{power:.2f})", [np.exp(constant + power * np.log(m)) for m in SIZES])
    for name, target in TARGETS.items():
        per_row = slope(costs, f"HATS, {name}, CPU s")[0]
        row(f"HATS, {name}, CPU s", [per_row * m for m in SIZES])
        machines = [max(1, int(np.ceil(per_row * m / CORES / target))) for m in SIZES]
        row(f"  machines of {CORES} cores for {target:.0f} s", machines)
    disk = line(costs, "HATS, bytes")
    row(f"machines for the files in {MEMORY / 1e9:.0f} GB memory", [
        max(1, int(np.ceil(disk * m / MEMORY))) for m in SIZES
    ])  # fmt: skip
    whole = line(costs, "rows, bytes") + line(costs, "index, bytes")
    row(f"machines for rows and index on {DISK / 1e12:.0f} TB", [
        max(1, int(np.ceil(whole * m / DISK))) for m in SIZES
    ])  # fmt: skip


if __name__ == "__main__":
    main()
