"""Writers of an embedding catalog killed at random moments (kill -9): what is there afterwards.

Every kill hits the same catalog, with whatever the writers killed before it have left. What each
object is follows from its number, so that a row that is half-written is known for one.
"""

import multiprocessing
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from astropy.table import Table
from header import print_header

from astroclip_astro.catalog import EmbeddingCatalog, store, verify
from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.errors import CatalogError

FEATURES, SOME, INDEX = 64, 100, 1000
OPERATIONS = ("append", "delete", "compact", "build index")
COUNTS = ("kills", "mid-operation", "undone", "done", "lost", "half", "unopened", "problems")
ATTRS = {"model": "toy", "weights_sha256": "", "preprocessing": ""}


def made(numbers):
    """Objects of these numbers: embeddings and columns."""
    i = np.array(numbers)
    columns = Table({"object_id": [f"{j:08d}" for j in i], "double": 2 * i})
    about = {
        "object_id": columns["object_id"],
        "ra": i * 0.618 % 360,
        "dec": i * 0.382 % 180 - 90,
        "redshift": i / 1e6,
        "modality": ["image"] * len(i),
        "survey": [""] * len(i),
        "coverage": np.ones(len(i)),
        "snr": np.ones(len(i)),
        "quality": np.zeros(len(i), int),
    }
    vectors = np.sin(np.outer(i + 1, np.arange(1, FEATURES + 1)))
    return make_embeddings(vectors, about, ATTRS), columns


def write(path, operation, numbers, pipe):
    """What a process does that may be killed."""
    store._FEWEST_TO_INDEX = INDEX
    catalog = EmbeddingCatalog.open(path)
    if operation == "build index" and catalog._store.indexed("image"):
        catalog._store.dataset.drop_index("image_idx")
    objects = made(numbers)
    names = list(objects[1]["object_id"])
    pipe.send("begin")
    if operation == "append":
        catalog.append(*objects)
    elif operation == "delete":
        catalog.delete(names)
    else:
        catalog.compact()
    pipe.send("end")


def run(context, path, operation, numbers, after=None):
    """Seconds that an operation took, or None if it was killed before its end."""
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=write, args=(path, operation, numbers, writer))
    process.start()
    writer.close()
    assert reader.recv() == "begin"
    start = time.perf_counter()
    if after is not None:
        time.sleep(after)
        process.kill()
    try:
        reader.recv()
        took = time.perf_counter() - start
    except EOFError:
        took = None
    process.join()
    return took


def whole(path):
    """Numbers of the objects that are there, and how many of them are not what they should be."""
    catalog = EmbeddingCatalog.open(path)
    table, vectors = catalog.table(), catalog.embeddings("image")
    found = [int(name) for name in table["object_id"]]
    expected, columns = made(found)
    at = {name: i for i, name in enumerate(vectors.object_id.values)}
    right = np.array([name in at for name in table["object_id"]])
    order = [at.get(name, 0) for name in table["object_id"]]
    right &= (vectors.values[order] == expected.values.astype(np.float16)).all(1)
    right &= np.asarray(table["double"]) == columns["double"]
    for name in ("ra", "dec", "redshift"):
        right &= np.asarray(table[name]) == expected.coords[name].values
    doubles = len(found) - len(set(found))
    return set(found), int((~right).sum()) + doubles


def outcome(path, before, after, took):
    """What came of one operation, by name, and the objects that are there now."""
    counts = dict.fromkeys(COUNTS, 0) | {"kills": 1, "mid-operation": int(took is None)}
    try:
        found, counts["half"] = whole(path)
    except CatalogError as error:
        print(f"not opened: {error}")
        return counts | {"unopened": 1}, before
    counts["lost"] = len((before & after) - found)
    changed = found ^ before
    if before != after and took is None:
        counts["done" if changed == before ^ after else "undone"] = 1
        # All or nothing: what is neither is half an operation.
        counts["half"] += len(changed) if changed not in (set(), before ^ after) else 0
    elif took is not None:
        counts["lost"] += len(after - found)
        counts["half"] += len(found - after)
    damages = verify(path)
    for damage in damages:
        print(f"{damage.path}: {damage.problem}")
    return counts | {"problems": len(damages)}, found


@click.command()
@click.option("--kills", default=100, show_default=True)
@click.option("--objects", default=3000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(kills, objects, seed):
    print_header("pylance")
    rng = np.random.default_rng(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["astroclip_astro.catalog", "sqlglot"])
    with TemporaryDirectory() as folder:
        path, there = Path(folder, "catalog"), set(range(objects))
        EmbeddingCatalog.create(path, *made(sorted(there)))
        total = {name: dict.fromkeys(COUNTS, 0) for name in OPERATIONS}
        new, took = objects, {name: [] for name in OPERATIONS}

        def numbers(operation):
            if operation == "append":
                return list(range(new, new + SOME))
            some = SOME if operation == "delete" else 0
            return rng.choice(sorted(there), some, replace=False).tolist()

        def expected(operation, some):
            return there | set(some) if operation == "append" else there - set(some)

        for operation in OPERATIONS * 4:
            some = numbers(operation)
            took[operation].append(run(context, path, operation, some))
            there, new = expected(operation, some), new + SOME
        usual = {name: np.median(times) for name, times in took.items()}
        for kill in range(kills):
            operation = OPERATIONS[kill % len(OPERATIONS)]
            some = numbers(operation)
            after = rng.uniform(0, usual[operation])
            done = run(context, path, operation, some, after)
            counts, there = outcome(path, there, expected(operation, some), done)
            new += SOME
            for name, count in counts.items():
                total[operation][name] += count
        run(context, path, "compact", [])
        found, half = whole(path)
        left = sum(one.is_file() for one in path.rglob("*"))
    print(
        f"{objects} objects of {FEATURES} numbers; an index from {INDEX}; usual seconds: ", end=""
    )
    print(", ".join(f"{name} {usual[name]:.3f}" for name in OPERATIONS) + "\n")
    print(f"{'killed in':12s}" + "".join(f"{name:>15s}" for name in COUNTS))
    total["all"] = {name: sum(one[name] for one in total.values()) for name in COUNTS}
    for operation, counts in total.items():
        print(f"{operation:12s}" + "".join(f"{counts[name]:15d}" for name in COUNTS))
    print(
        "\nundone, done: what was being written when it was killed is not there, or is there; "
        "lost: rows that\nwere committed; half: rows that are not as written, or part of an "
        f"operation. At the end, compacted:\n{len(found)} objects of {len(there)} expected, {half} "
        f"half-written, in {left} files."
    )


if __name__ == "__main__":
    main()
