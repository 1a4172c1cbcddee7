"""Catalogs whose writers are killed: what was committed is there, and nothing is half-written."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from astroclip_astro.catalog import EmbeddingCatalog

# Imports once, and forks a process for each operation, which is killed where it is told to be: at a
# line of store.py, or from outside. Lance starts no thread before it is used.
WORK = '''
import os
import signal
import sys

import numpy as np
import sqlglot
from astropy.table import Table

from astroclip_astro.catalog import EmbeddingCatalog, store
from astroclip_astro.embeddings import make_embeddings

BASE, NEW = 700, 60


def made(first, n):
    """Objects whose vector, position and column follow from their number."""
    i = np.arange(first, first + n)
    vectors = np.sin(np.outer(i + 1, np.arange(1, 25)))
    columns = Table({"object_id": [f"g{j:05d}" for j in i], "double": 2 * i})
    about = {"object_id": columns["object_id"], "ra": i % 360 + 0.5, "dec": i % 90 + 0.25}
    about |= {"modality": ["image"] * n, "survey": [""] * n, "redshift": i / 1000.0}
    about |= {"coverage": np.ones(n), "snr": np.ones(n), "quality": np.zeros(n, int)}
    attrs = {"model": "toy", "weights_sha256": "", "preprocessing": ""}
    return make_embeddings(vectors, about, attrs), columns


def operation_on(path, name):
    """What is to be done, ready to begin."""
    if name == "create":
        return lambda: EmbeddingCatalog.create(path, *made(0, 9), overwrite=True)
    if name == "share":
        return lambda: share(path)
    catalog = EmbeddingCatalog.open(path)
    return {
        "append": lambda: catalog.append(*made(BASE, NEW)),
        "delete": lambda: catalog.delete(where="double >= 200 AND double < 400"),
        "compact": catalog.compact,
    }[name]


def share(path):
    """Two processes that write the same catalog at the same time."""
    other = os.fork()
    catalog = EmbeddingCatalog.open(path)
    for i in range(8):
        catalog.append(*made((140 if other else 100) + 5 * i, 5))
        if i % 3 == 2:
            catalog.compact()
    if not other:
        os._exit(0)
    assert os.waitpid(other, 0)[1] == 0


def work(path, operation, line):
    store._FEWEST_TO_INDEX = 500
    lines = set()

    def trace(frame, event, _):
        if frame.f_code.co_filename != store.__file__:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
            if len(lines) == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    operate = operation_on(path, operation)
    os.write(1, f"begin {os.getpid()}\\n".encode())
    sys.settrace(trace if line else None)
    operate()
    sys.settrace(None)
    os.write(1, b"end\\n")


if __name__ == "__main__":
    os.write(1, b"ready\\n")
    pid = None
    for command in sys.stdin:
        if pid:
            os.waitpid(pid, 0)
        path, operation, line = command.split()
        if not (pid := os.fork()):
            work(path, operation, int(line))
            os._exit(0)
        # Until the next command its number is nobody else's, and can be killed.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.write(1, b"over\\n")
'''


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    path = tmp_path_factory.mktemp("work") / "work.py"
    path.write_text(WORK)
    spec = importlib.util.spec_from_file_location("work_of_fault_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def base(work, tmp_path_factory):
    """Catalogs on which each of the operations has something to do."""
    folder = tmp_path_factory.mktemp("base")
    catalog = EmbeddingCatalog.create(folder / "append", *work.made(0, work.BASE - 20))
    catalog.append(*work.made(work.BASE - 20, 20))
    shutil.copytree(folder / "append", folder / "delete")
    catalog.delete(where="double < 20")
    shutil.copytree(folder / "append", folder / "compact")
    return folder


@pytest.fixture(scope="module")
def nursery(work):
    with subprocess.Popen(
        [sys.executable, work.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def run(nursery, path, operation, *, line=0, after=None):
    """Whether an operation came to its end; it is killed at a line, or after some seconds."""
    print(path, operation, line, file=nursery.stdin)
    pid = int(nursery.stdout.readline().removeprefix("begin "))
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    answers = [nursery.stdout.readline()]
    if answers == ["end\n"]:
        answers.append(nursery.stdout.readline())
    assert answers[-1] == "over\n"
    return len(answers) == 2


def numbers(catalog, work):
    """Numbers of the objects that are there, each of which is whole."""
    table, vectors = catalog.table(), catalog.embeddings("image")
    i = np.array([int(name[1:]) for name in table["object_id"]])
    assert len(set(i)) == len(i) == len(vectors) == len(catalog)
    expected, _ = work.made(0, work.BASE + work.NEW + 9)
    place = [int(name[1:]) for name in vectors.object_id.values]
    np.testing.assert_array_equal(vectors.values, expected.values[place].astype("f2"))
    np.testing.assert_array_equal(table["double"], 2 * i)
    np.testing.assert_array_equal(table["ra"].value, expected.ra.values[i])
    np.testing.assert_array_equal(table["redshift"], expected.redshift.values[i])
    return set(i.tolist())


def outcome(base, operation, work):
    """Which objects there are before, and which there are to be afterwards."""
    first = numbers(EmbeddingCatalog.open(base / operation), work)
    if operation == "append":
        return first, first | set(range(work.BASE, work.BASE + work.NEW))
    if operation == "delete":
        return first, first - set(range(100, 200))
    return first, first


def check(path, work, before, after, done):
    catalog = EmbeddingCatalog.open(path)
    found = numbers(catalog, work)
    assert found == after if done else found in (before, after)
    assert catalog.verify() == []
    return catalog


OPERATIONS = ["append", "delete", "compact"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_between_any_two_steps(nursery, work, base, tmp_path, operation):
    before, after = outcome(base, operation, work)
    seen, line, done = [], 0, False
    while not done:
        line += 1
        path = tmp_path / str(line)
        shutil.copytree(base / operation, path)
        done = run(nursery, path, operation, line=line)
        check(path, work, before, after, done)
        seen.append(len(EmbeddingCatalog.open(path)))
    assert line > 15
    assert seen == sorted(seen, reverse=operation == "delete")  # it is done at one of the steps
    # What a killed writer leaves behind is no obstacle, and goes.
    for line in range(1, len(seen), 4):
        path = tmp_path / str(line)
        assert run(nursery, path, "compact")
        catalog = check(path, work, before, after, False)
        files = sum(one.is_file() for one in (path / "objects.lance").rglob("*"))
        catalog._store.refresh()
        tracked = catalog._store.dataset.tracked_files(min_version=catalog._store.dataset.version)
        assert files == len(tracked.read_all()) + 1  # and a hint which version is the newest
        catalog.append(*work.made(work.BASE + work.NEW, 9))
        assert len(catalog) == len(EmbeddingCatalog.open(path)) == seen[line - 1] + 9
        assert catalog.verify() == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_any_moment(nursery, work, base, tmp_path, operation):
    before, after = outcome(base, operation, work)
    shutil.copytree(base / operation, tmp_path / "whole")
    start = time.perf_counter()
    assert run(nursery, tmp_path / "whole", operation)
    took = time.perf_counter() - start
    check(tmp_path / "whole", work, before, after, True)
    for share in (0.3, 0.7):
        path = tmp_path / str(share)
        shutil.copytree(base / operation, path)
        done = run(nursery, path, operation, after=share * took)
        check(path, work, before, after, done)


@pytest.mark.parametrize("name", ["new", "old"])
def test_killed_while_it_is_made(nursery, work, tmp_path, name):
    """What has the name of a catalog is whole: the new one, or, until then, the old one."""
    path, line, done = tmp_path / name, 0, False
    while not done:
        line += 1 if name == "old" else 4
        shutil.rmtree(path, ignore_errors=True)
        if name == "old":
            EmbeddingCatalog.create(path, *work.made(0, 5))
        done = run(nursery, path, "create", line=line)
        if path.exists():
            check(path, work, set(range(5)), set(range(9)), done)
        else:
            assert name == "new"
    assert line > 5
    assert len(EmbeddingCatalog.create(path, *work.made(0, 7), overwrite=True)) == 7


def test_two_writers_at_a_time(nursery, work, tmp_path):
    """Both append several times, and compact; all rows of both are there."""
    path = tmp_path / "shared"
    EmbeddingCatalog.create(path, *work.made(0, 100))
    assert run(nursery, path, "share")
    catalog = EmbeddingCatalog.open(path)
    assert numbers(catalog, work) == set(range(180))
    assert catalog.verify() == []
