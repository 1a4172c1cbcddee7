"""Where the rows of a catalog are: a Lance dataset, with a lock and checksums beside it.

Lance (https://lance.org) keeps versions: a write makes new files and then, in one step, the list of
those that count. Whatever ends a write before that step leaves the catalog as it was.
"""

import errno
import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from astroclip_astro.catalog.indexing import make_index
from astroclip_astro.catalog.map_files import damaged_maps
from astroclip_astro.catalog.schema import HEALPIX, CatalogSchema, has_vector
from astroclip_astro.errors import CatalogError, InputError
from astroclip_astro.output import replacing

__all__ = ["Damage", "Store", "explained", "reading", "verify"]

_DATASET, _CHECKSUMS, _LOCK = "objects.lance", "checksums.sha256", "write.lock"
_ASIDE = ".partitions.lance"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_WAIT = 60  # s that a writer waits for another
_FEWEST_TO_INDEX = 20_000  # vectors; fewer are ranked one by one in milliseconds


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file.

    Parameters
    ----------
    path : str
        The file, relative to the catalog.
    problem : str
        What was found.
    """

    path: str
    problem: str


class Store:
    """The rows of a catalog on disk.

    Parameters
    ----------
    path : path-like
        Folder of the catalog.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    schema : CatalogSchema
        What the rows are.
    dataset : lance.LanceDataset
        As it was when it was opened, or written last by this object.

    Raises
    ------
    CatalogError
        If there is none, or it cannot be read.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.exists():
            raise CatalogError(f"{self.path}: no such catalog")
        if not (self.path / _DATASET).is_dir():
            raise CatalogError(f"{self.path} is no embedding catalog: it has no {_DATASET}")
        try:
            lost = _lost_list(self.path, _checksums(self.path))
        except CatalogError:  # damaged checksums do no harm to rows
            lost = None
        try:
            if lost:
                raise OSError(f"{lost} is damaged or missing")
            self.dataset = lance.dataset(self.path / _DATASET)
            self.schema = CatalogSchema.from_arrow(self.dataset.schema)
        except InputError as error:
            raise CatalogError(f"{self.path}: {error}") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise CatalogError(
                f"{self.path} cannot be opened ({_in_short(error)}): see "
                f"'astroclip catalog verify {self.path}'"
            ) from error

    @classmethod
    def create(cls, path, rows, *, overwrite=False):
        """Make a new one, as a whole or not at all.

        Parameters
        ----------
        path : path-like
            Folder to make.
        rows : pyarrow.Table or pyarrow.RecordBatchReader
            With the schema of a catalog.
        overwrite : bool
            Replace a catalog that is there.

        Returns
        -------
        Store

        Raises
        ------
        FileExistsError
            If there is something and `overwrite` is not set, or it is no catalog.
        CatalogError
            If the disk is full.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise CatalogError(f"{path.parent} is no folder to make a catalog in")
        if path.exists() and not (overwrite and (path / _DATASET).is_dir()):
            raise FileExistsError(
                f"{path} exists"
                + (" and is no catalog" if overwrite else ": open it, or allow to overwrite it")
            )
        with explained(path), replacing(path) as aside:
            aside.mkdir()
            _write(rows, aside / _DATASET, mode="create")
            seal(aside)
        return cls(path)

    def refresh(self):
        """See what others wrote.

        Returns
        -------
        int
            The version that it is at now.
        """
        self.dataset.checkout_latest()
        return self.dataset.version

    def append(self, rows):
        """Add rows, all or none.

        Parameters
        ----------
        rows : pyarrow.Table
            With the schema of the catalog.

        Raises
        ------
        InputError
            If one of the objects is there already.
        CatalogError
            If another process is writing, or the disk is full.
        """
        with self._writing():
            there = self.dataset.to_table(columns=["object_id"])["object_id"]
            known = pc.is_in(rows["object_id"], value_set=there.combine_chunks()).to_numpy()
            if known.any():
                raise InputError(
                    f"it is in the catalog already, as {known.sum()} of {len(rows)} objects: "
                    "delete them first, or leave them out",
                    object_id=rows["object_id"][int(np.flatnonzero(known)[0])].as_py(),
                )
            self.dataset = _write(rows, self.path / _DATASET, mode="append")

    def delete(self, sql):
        """Delete rows.

        Parameters
        ----------
        sql : str
            Which, as `predicate` writes it.

        Returns
        -------
        int
            How many there were.

        Raises
        ------
        CatalogError
            If another process is writing, or the disk is full.
        """
        with self._writing():
            count = self.dataset.count_rows(filter=sql)
            if count:
                self.dataset.delete(sql)
        return count

    def compact(self):
        """Join small files, drop deleted rows and old versions, and make or renew the indexes.

        Raises
        ------
        CatalogError
            If another process is writing, or the disk is full.
        """
        with self._writing():
            dataset = self.dataset
            dataset.optimize.compact_files()
            self.refresh()
            there = {index.name for index in dataset.describe_indices()}
            for name in (HEALPIX, "object_id"):
                if f"{name}_idx" not in there:
                    dataset.create_scalar_index(name, "BTREE")
            for modality in self.schema.modalities:
                count = self.count(modality)
                if f"{modality}_idx" not in there and count >= _FEWEST_TO_INDEX:
                    make_index(dataset, modality, self.path / _ASIDE)
            dataset.optimize.optimize_indices()
            self.refresh()
            # Nobody else is writing, so what no version knows is left over from a killed writer.
            dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
            for left in (self.path / _DATASET).glob("*/.tmp*"):
                left.unlink()

    def indexed(self, modality):
        """Whether there is an index of the vectors of a modality.

        Parameters
        ----------
        modality : str
            Which.

        Returns
        -------
        bool
        """
        return any(index.name == f"{modality}_idx" for index in self.dataset.describe_indices())

    def count(self, modality=None):
        """How many objects there are, or have a vector.

        Parameters
        ----------
        modality : str, optional
            Of which the vector is to be.

        Returns
        -------
        int
        """
        with reading(self.dataset):
            return self.dataset.count_rows(filter=modality and has_vector(modality))

    @contextmanager
    def _writing(self):
        """Nobody else writes meanwhile; afterwards all files have checksums."""
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=_WAIT)
        except Timeout as error:
            raise CatalogError(
                f"{self.path} is being written by another process, and still is after {_WAIT} s: "
                "try again when it is done"
            ) from error
        try:
            _checksums(self.path)  # if they are damaged, nothing is to be written
            with explained(self.path):
                self.refresh()
                yield
                self.refresh()
            with explained(self.path, "All changes were made, but no checksums of new files"):
                seal(self.path)
        finally:
            lock.release()


@contextmanager
def reading(dataset):
    """Say what it means if rows cannot be read.

    Parameters
    ----------
    dataset : lance.LanceDataset
        Of a catalog.

    Yields
    ------
    None

    Raises
    ------
    CatalogError
        If they cannot.
    """
    try:
        yield
    except (OSError, pa.ArrowException, RuntimeError, ValueError) as error:
        path = Path(dataset.uri).parent
        raise CatalogError(
            f"{path} cannot be read ({_in_short(error)}). If another process has compacted it "
            f"meanwhile, open it anew; else see 'astroclip catalog verify {path}'"
        ) from error


def seal(path):
    """Write down the checksums of all files that the catalog has now.

    Parameters
    ----------
    path : path-like
        Folder of the catalog, which nobody else writes to.
    """
    path = Path(path)
    known = _checksums(path)
    tracked = _tracked(lance.dataset(path / _DATASET))
    sums = {name: known.get(name) or _sha256(path / name) for name in sorted(tracked)}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    aside = path / f".{_CHECKSUMS}"
    aside.write_text(_headed(lines))
    os.replace(aside, path / _CHECKSUMS)


def verify(path):
    """Check every file of a catalog against its checksum.

    Parameters
    ----------
    path : path-like
        Folder of the catalog.

    Returns
    -------
    list of Damage
        Empty if all is well. A file without a checksum is read instead: its writer was killed
        after the write, before it could note one.

    Raises
    ------
    CatalogError
        If there is no catalog.

    Notes
    -----
    ``sha256sum -c checksums.sha256`` in the folder does the same, but for maps, which have their
    checksums inside.
    """
    path = Path(path)
    if not (path / _DATASET).is_dir():
        raise CatalogError(f"{path} is no embedding catalog: it has no {_DATASET}")
    maps = [Damage(name, "its content is not what was written") for name in damaged_maps(path)]
    return _damaged_rows(path) + maps


def _damaged_rows(path):
    """What is wrong with the files that rows are kept in."""
    try:
        known = _checksums(path)
    except CatalogError as error:
        return [Damage(_CHECKSUMS, str(error))]
    if not known:
        return [Damage(_CHECKSUMS, "it is missing")]
    damages, missing = [], []
    for name, digest in known.items():
        if not (path / name).is_file():
            missing.append(name)
        elif _sha256(path / name) != digest:
            damages.append(Damage(name, "its content is not what was written"))
    if _lost_list(path, known):
        return damages + [Damage(name, "it is missing") for name in missing]
    try:
        dataset = lance.dataset(path / _DATASET)
        tracked = _tracked(dataset)
        if _manifest(known) > _manifest(tracked):
            # There is a newer version than that of the checksums, which needs not all of its files.
            missing = [name for name in missing if name in tracked]
        damages += [Damage(name, "it is missing") for name in missing]
        if not damages and tracked - known.keys():
            dataset.validate()
            for _ in dataset.to_batches():
                pass
    except (OSError, ValueError, RuntimeError) as error:
        damages += [Damage(name, "it is missing") for name in missing]
        damages.append(Damage(_DATASET, f"it cannot be read: {_in_short(error)}"))
    return damages


def _write(rows, path, *, mode):
    """Write rows to a dataset; small text and numbers stay beside large vectors of null."""
    return lance.write_dataset(rows, path, mode=mode, data_storage_version="2.1")


def _tracked(dataset):
    """Names, relative to the catalog, of the files that the newest version is made of."""
    files = dataset.tracked_files(min_version=dataset.version).read_all()
    return {f"{_DATASET}/{name}" for name in files["path"].to_pylist()}


def _manifest(names):
    """The file that lists those of a version; its name begins with a number that counts down."""
    return min((name for name in names if name.endswith(".manifest")), default="")


def _lost_list(path, known):
    """The newest list of files, if it is lost: Lance would open an older one, or panic."""
    if not known:
        return None
    noted = _manifest(known)
    try:
        whole = _sha256(path / noted) == known[noted]
    except FileNotFoundError:
        whole = False
    versions = (path / noted).parent
    newer = any(one.name < Path(noted).name for one in versions.glob("*.manifest"))
    return None if whole or newer else noted


def _checksums(path):
    """What was written down, by name of the file."""
    try:
        text = (path / _CHECKSUMS).read_text()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        text = ""
    lines = text.partition("\n")[2]
    matches = [_LINE.fullmatch(line) for line in lines.splitlines()]
    if text != _headed(lines) or not all(matches):
        raise CatalogError(
            f"{path / _CHECKSUMS} is damaged: if all rows are there, delete it, and it is made "
            "anew at the next change"
        )
    return {match[2]: match[1] for match in matches}


def _headed(lines):
    """Checksums with one of themselves, as a comment to other programs."""
    return f"# {hashlib.sha256(lines.encode()).hexdigest()} of the lines below\n{lines}"


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explained(path, outcome="Nothing was changed"):
    """Say what it means if a catalog cannot be written.

    Parameters
    ----------
    path : path-like
        Its folder.
    outcome : str
        What has been done by then.

    Yields
    ------
    None

    Raises
    ------
    CatalogError
        If the disk is full, or Lance says that it cannot be.
    """
    try:
        yield
    except (OSError, pa.ArrowException, RuntimeError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(error) or "os error 28" in str(error):
            raise CatalogError(
                f"{path}: the disk is full. {outcome}; make room and try again"
            ) from error
        if getattr(error, "errno", None) is None:  # it is Lance's
            raise CatalogError(f"{path} cannot be written: {_in_short(error)}") from error
        raise


def _in_short(error):
    """First line of an error, without where it arose in the source of Lance."""
    return str(error).split("\n")[0].split(", rust/")[0][:200]
