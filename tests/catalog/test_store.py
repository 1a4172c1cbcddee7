"""Files of catalogs: damage that is named, writers that wait for each other, and a full disk."""

import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from astroclip_astro.catalog import EmbeddingCatalog, store, verify
from astroclip_astro.errors import CatalogError, InputError

SUMS = "checksums.sha256"


@pytest.fixture(scope="module")
def whole(make_vectors, tmp_path_factory):
    """A catalog with files of all kinds."""
    path = tmp_path_factory.mktemp("whole") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_FEWEST_TO_INDEX", 500)
        catalog = EmbeddingCatalog.create(path, make_vectors(600))
        catalog.compact()
        catalog.append(make_vectors(50, first=600))
        catalog.delete(where="z < 0.2")
    assert catalog.verify() == []
    return path


@pytest.fixture
def copy(whole, tmp_path):
    """Function that makes a new copy of it at the same place."""

    def make():
        path = tmp_path / "copy"
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(whole, path))

    return make


def noted(path):
    """Names of the files that have a checksum."""
    return [line.split("  ")[1] for line in (path / SUMS).read_text().splitlines()[1:]]


def newest(path):
    """The list of files of the newest version."""
    (name,) = (name for name in noted(path) if name.endswith(".manifest"))
    return name


def flip(data, rng):
    at = rng.integers(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.integers(8)]) + data[at + 1 :]


def test_files_of_all_kinds_have_checksums(whole):
    kinds = {name.split("/")[1] for name in noted(whole)}
    assert kinds == {"data", "_deletions", "_indices", "_transactions", "_versions"}
    suffixes = {Path(name).suffix for name in noted(whole) if "/_indices/" in name}
    assert suffixes == {".idx", ".lance"}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "longer", "missing"])
def test_damaged_files_are_named(whole, copy, damage):
    rng = np.random.default_rng(4)
    for name in [*noted(whole), SUMS]:
        path = copy()
        data = (path / name).read_bytes()
        if damage == "missing":
            (path / name).unlink()
        else:
            (path / name).write_bytes(
                {
                    "flipped": flip(data, rng),
                    "truncated": data[: len(data) // 2],
                    "emptied": b"",
                    "longer": data + b"\n",
                }[damage]
            )
        found = verify(path)
        assert [one.path for one in found] == [name]
        assert ("it is missing" in found[0].problem) == (damage == "missing")


def test_every_bit_of_the_checksums_matters(copy):
    path, rng = copy(), np.random.default_rng(5)
    data = (path / SUMS).read_bytes()
    for _ in range(150):
        (path / SUMS).write_bytes(flip(data, rng))
        assert [one.path for one in verify(path)] == [SUMS]
    ends = [i + 1 for i, byte in enumerate(data[:-1]) if byte == ord("\n")]
    for end in ends:  # where whole lines are left
        (path / SUMS).write_bytes(data[:end])
        assert [one.path for one in verify(path)] == [SUMS]
    (path / SUMS).write_bytes(data)
    assert verify(path) == []


def test_several_damages(copy):
    path = copy()
    names = [name for name in noted(path) if "/data/" in name or "/_deletions/" in name]
    assert len(names) >= 3
    (path / names[0]).unlink()
    for name in names[1:]:
        (path / name).write_bytes(b"else")
    assert {one.path for one in verify(path)} == set(names)


def test_sha256sum_reads_the_checksums(copy):
    if not shutil.which("sha256sum"):
        pytest.skip("needs sha256sum")
    path = copy()
    command = ["sha256sum", "--strict", "--check", SUMS]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(noted(path))
    (path / noted(path)[0]).write_bytes(b"else")
    assert subprocess.run(command, cwd=path, capture_output=True).returncode == 1


def test_what_is_no_catalog_is_not_verified(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CatalogError, match="is no embedding catalog"):
            verify(path)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "missing"])
def test_no_older_version_is_opened_for_a_damaged_one(copy, damage):
    path, rng = copy(), np.random.default_rng(6)
    list_ = path / newest(path)
    data = list_.read_bytes()
    for _ in range(20 if damage == "flipped" else 1):
        if damage == "missing":
            list_.unlink()
        else:
            list_.write_bytes(
                {"flipped": flip(data, rng), "truncated": data[:200], "emptied": b""}[damage]
            )
        with pytest.raises(CatalogError, match=r"manifest is damaged or missing.*see 'astroclip"):
            EmbeddingCatalog.open(path)


def test_damaged_rows_are_an_error_that_says_so(copy, make_vectors):
    for kind in ("/data/", "/_deletions/"):
        path = copy()
        for name in noted(path):
            if kind in name:
                (path / name).write_bytes((path / name).read_bytes()[:50])
        catalog = EmbeddingCatalog.open(path)
        for read in (catalog.table, lambda c=catalog: c.search(make_vectors(1), engine="exact")):
            with pytest.raises(CatalogError, match=r"cannot be read .* 'astroclip catalog verify"):
                read()
    path = copy()
    for name in noted(path):
        if name.endswith("index.idx"):
            (path / name).write_bytes(b"")
    catalog = EmbeddingCatalog.open(path)
    with pytest.raises(CatalogError, match=r"cannot be read .* 'astroclip catalog verify"):
        catalog.search(make_vectors(1), engine="lance")
    assert len(catalog.search(make_vectors(1), engine="exact")) == 10


def test_damaged_checksums_keep_nobody_from_reading_but_from_writing(copy, make_vectors):
    path = copy()
    before = len(EmbeddingCatalog.open(path).table())
    (path / SUMS).write_bytes((path / SUMS).read_bytes()[:100])
    catalog = EmbeddingCatalog.open(path)
    assert len(catalog.table()) == before
    for write in (
        lambda: catalog.append(make_vectors(1, first=5000)),
        lambda: catalog.delete("g00300"),
        catalog.compact,
    ):
        with pytest.raises(CatalogError, match=f"{SUMS} is damaged: .* delete it"):
            write()
    assert len(EmbeddingCatalog.open(path)) == before
    (path / SUMS).unlink()
    catalog.append(make_vectors(1, first=5000))
    assert len(catalog) == before + 1
    assert verify(path) == []


@pytest.mark.parametrize("compacted", [False, True])
def test_files_that_no_checksum_is_noted_of_are_read(copy, make_vectors, compacted):
    """As they are if a writer is killed between the two."""
    path = copy()
    sums, before = (path / SUMS).read_text(), set(noted(path))
    catalog = EmbeddingCatalog.open(path)
    catalog.append(make_vectors(30, first=5000))
    if compacted:
        catalog.compact()
        assert not any((path / name).exists() for name in before if "/data/" in name)
    new = [name for name in noted(path) if "/data/" in name and name not in before]
    assert new
    (path / SUMS).write_text(sums)
    assert verify(path) == []
    assert len(EmbeddingCatalog.open(path)) == len(catalog)
    (path / new[0]).write_bytes((path / new[0]).read_bytes()[:1000])
    (damage,) = verify(path)
    assert damage.path == "objects.lance"
    assert damage.problem.startswith("it cannot be read")


def test_damage_is_not_noted_as_right(copy, make_vectors):
    path = copy()
    name = next(name for name in noted(path) if "/_transactions/" not in name and "data" in name)
    data = (path / name).read_bytes()
    (path / name).write_bytes(flip(data, np.random.default_rng(0)))
    damaged = verify(path)
    assert [one.path for one in damaged] == [name]
    EmbeddingCatalog.open(path).append(make_vectors(5, first=5000))
    assert verify(path) == damaged


def test_compact_takes_away_what_killed_writers_left(copy):
    path = copy()
    for name in ("data/0123456789.lance", "_transactions/.tmp6F2EvS", "_versions/.tmpISghi4"):
        (path / "objects.lance" / name).write_bytes(b"half")
    assert verify(path) == []
    before = EmbeddingCatalog.open(path).table()
    catalog = EmbeddingCatalog.open(path)
    catalog.compact()
    assert not list(path.rglob(".tmp*"))
    assert not list(path.rglob("0123456789.lance"))
    assert sorted(catalog.table()["object_id"]) == sorted(before["object_id"])
    assert verify(path) == []


def test_a_writer_that_waits_too_long_is_refused(copy, make_vectors, monkeypatch):
    path = copy()
    catalog = EmbeddingCatalog.open(path)
    before = len(catalog)
    monkeypatch.setattr(store, "_WAIT", 0.05)
    with FileLock(path / "write.lock"):
        for write in (
            lambda: catalog.append(make_vectors(1, first=5000)),
            lambda: catalog.delete("g00300"),
            catalog.compact,
        ):
            with pytest.raises(CatalogError, match="is being written by another process"):
                write()
        assert len(EmbeddingCatalog.open(path).table()) == before  # who reads need not wait
    catalog.append(make_vectors(1, first=5000))
    assert len(catalog) == before + 1


def test_a_writer_waits_for_another(copy, make_vectors):
    path = copy()
    catalog = EmbeddingCatalog.open(path)
    before, lock = len(catalog), FileLock(path / "write.lock", thread_local=False)
    lock.acquire()
    seen = []

    def finish():
        time.sleep(0.3)
        seen.append(len(EmbeddingCatalog.open(path)))
        lock.release()

    thread = threading.Thread(target=finish)
    thread.start()
    catalog.append(make_vectors(1, first=5000))
    thread.join()
    assert seen == [before]
    assert len(catalog) == before + 1


def test_the_lock_is_free_after_an_error(copy, make_vectors):
    path = copy()
    catalog = EmbeddingCatalog.open(path)
    there = catalog.table(columns=["object_id"])["object_id"][:1]
    with pytest.raises(InputError, match="it is in the catalog already"):
        catalog.append(make_vectors(1, object_id=there))
    with FileLock(path / "write.lock", timeout=0):
        pass


def test_full_disk(small_disk, fill, make_vectors, monkeypatch):
    """Whatever there was room for: nothing is lost, and all goes on when there is more."""
    monkeypatch.setattr(store, "_FEWEST_TO_INDEX", 500)
    path = small_disk / "catalog"
    catalog = EmbeddingCatalog.create(path, make_vectors(600))
    expected, first, failures = {f"g{i:05d}" for i in range(600)}, 600, []
    for left in (0, 4, 8, 12, 16, 20, 24, 32, 48, 64, 96):
        new = make_vectors(40, first=first)
        gone = sorted(expected)[:3]
        for number, (write, after) in enumerate(
            [
                (lambda new=new: catalog.append(new), lambda e: e | set(new.object_id.values)),  # noqa: B023
                (lambda gone=gone: catalog.delete(gone), lambda e: e - set(gone)),  # noqa: B023
                (catalog.compact, lambda e: e),
            ]
        ):
            filler, message = fill(small_disk, left * 1024), None
            try:
                write()
            except CatalogError as error:
                message = str(error)
                failures.append(number)
            if message is None or "All changes were made" in message:
                expected = after(expected)
            else:
                assert message == (
                    f"{path}: the disk is full. Nothing was changed; make room and try again"
                )
            for one in (catalog, EmbeddingCatalog.open(path)):
                assert set(one.table(columns=["object_id"])["object_id"]) == expected
                assert one.embeddings("image").shape == (len(expected), 16)
            assert verify(path) == []
            filler.unlink()
        first += 40
    assert {0, 1, 2} <= set(failures)
    catalog.append(make_vectors(40, first=first))
    catalog.delete("g00500")
    catalog.compact()
    assert len(catalog) == len(EmbeddingCatalog.open(path)) == len(expected) + 39
    assert catalog._store.indexed("image")
    assert verify(path) == []


def test_disk_that_is_full_once_the_rows_are_written(small_disk, fill, make_vectors, monkeypatch):
    path = small_disk / "catalog"
    catalog = EmbeddingCatalog.create(path, make_vectors(60))
    write = store._write

    def write_and_fill(*args, **keywords):
        written = write(*args, **keywords)
        fill(small_disk, 0)
        return written

    monkeypatch.setattr(store, "_write", write_and_fill)
    with pytest.raises(CatalogError, match="All changes were made, but no checksums of new files"):
        catalog.append(make_vectors(5, first=60))
    assert len(catalog) == len(EmbeddingCatalog.open(path)) == 65
    assert verify(path) == []
    (small_disk / "filler").unlink()
    monkeypatch.undo()
    catalog.compact()
    assert len(catalog) == 65
    assert verify(path) == []


def test_no_room_for_a_new_catalog(small_disk, fill, make_vectors):
    old = EmbeddingCatalog.create(small_disk / "catalog", make_vectors(60))
    fill(small_disk, 20 * 1024)
    for name, overwrite in (("new", False), ("catalog", True)):
        with pytest.raises(CatalogError, match=r"the disk is full\. Nothing was changed"):
            EmbeddingCatalog.create(
                small_disk / name, make_vectors(600, features=64), overwrite=overwrite
            )
    assert sorted(one.name for one in small_disk.iterdir()) == ["catalog", "filler"]
    assert len(EmbeddingCatalog.open(old.path).table()) == 60
    assert verify(old.path) == []


def test_the_index_of_faiss_needs_no_room(small_disk, fill, make_vectors):
    catalog = EmbeddingCatalog.create(small_disk / "catalog", make_vectors(300))
    fill(small_disk, 0)
    found = catalog.load("image").search(make_vectors(1), k=7)
    assert len(found) == 7
    assert verify(catalog.path) == []
