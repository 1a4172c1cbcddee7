"""Embeddings that are written part by part, so that an interrupted run goes on where it was."""

import json
import os
from collections import Counter, deque
from contextlib import suppress
from itertools import count

from filelock import FileLock, Timeout

from astroclip_astro.embedding_files import write_parts
from astroclip_astro.embeddings import concat, open_embeddings
from astroclip_astro.errors import InputError
from astroclip_astro.output import replacing

__all__ = ["Parts"]

_MANIFEST, _LOCK = "manifest.json", "lock"


class Parts:
    """The folder ``<output>.parts``: embeddings of some files each, and what made them.

    It has a Parquet file for each part, ``00000.parquet`` and so on, which `open_embeddings`
    reads; beside it ``00000.json``, which tells of which files they are, with their sizes and
    times; and ``manifest.json``, which tells with what all were made. Each appears as a whole. At
    the end of the context the folder goes, unless there is something to go on with.

    Parameters
    ----------
    output : pathlib.Path
        The file that the parts are to become.
    made : dict of str
        What makes them: the model and how it is asked.
    date : str
        For parts that begin anew.
    resume : bool
        Go on with a folder that is there.
    overwrite : bool
        Remove a folder that is there, unless `resume` is set.

    Attributes
    ----------
    date : str
        When the first part was begun.
    objects, embedded : int
        How many objects are in the parts, and how many of them have a vector.
    flags : collections.Counter
        How many objects have each of the flags.

    Raises
    ------
    FileExistsError
        If the folder exists, and nothing says what to do with it; or it is none of parts.
    InputError
        If the parts were made otherwise, or another process writes them.
    """

    def __init__(self, output, made, date, *, resume=False, overwrite=False):
        self.output = output
        self.path = output.with_name(f"{output.name}.parts")
        self.date = date
        self.objects, self.embedded, self.flags = 0, 0, Counter()
        self._number, self._files, self._noted = 0, 0, deque()
        self._over = False
        if self.path.exists():
            self._check_folder(resume, overwrite)
        self.path.mkdir(exist_ok=True)
        self._lock = FileLock(self.path / _LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError("another process writes it", object_id=str(self.path)) from error
        try:
            self._begin(made, resume)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        over = self._over or not self._file(0, ".parquet").exists()
        if over:
            with suppress(OSError):  # the output is complete, whatever becomes of the folder
                self._clear()
        self._lock.release()
        if over:
            # Only now, as some systems keep files that are open. What is left is harmless; and
            # another process that has begun here by now keeps its folder, which is not empty.
            with suppress(OSError):
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def abandon(self):
        """Have nothing to go on with."""
        self.objects, self._over = 0, True

    def __str__(self):
        """How far it is."""
        return f"{self.objects} objects are done, in {self.path}; --resume goes on from there"

    def rest(self, files):
        """Leave out the files that are done.

        Parameters
        ----------
        files : iterable of str
            All that are wanted, in the same order each time.

        Returns
        -------
        iterator of str
            Those that are missing.

        Raises
        ------
        InputError
            If files that are done are not among them, or have changed since.
        """
        files, known = iter(files), []
        for number in count():
            about = self._read(number)
            if about is None:
                break
            for path, *state in about["files"]:
                wanted = next(files, None)
                if wanted != path:
                    found = "no further file" if wanted is None else wanted
                    self._refuse(f"it was begun with other files: {path}, where now is {found}")
                if _state(path) != state:
                    self._refuse(f"{path} has changed since it was embedded")
            known.append(about | {"files": None})
        for about in known:
            self._count(about)
        return map(self._note, files)

    def add(self, part, files):
        """Write a part.

        Parameters
        ----------
        part : xarray.DataArray
            Embeddings of the next files that `rest` gave.
        files : int
            How many files `rest` has given for this part and those added before.
        """
        if files == self._files:
            return
        noted = [self._noted.popleft() for _ in range(files - self._files)]
        about = {
            "objects": len(part),
            "embedded": int(part.astroclip.valid.sum()),
            "flags": Counter(flag for flags in part.astroclip.flags for flag in flags),
            "files": noted,
        }
        _write_json(self._file(self._number, ".json"), about)
        part.astroclip.save(self._file(self._number, ".parquet"), overwrite=True)
        self._files = files
        self._count(about)

    def finish(self):
        """Turn the parts into the output, after which there is nothing to go on with.

        Notes
        -----
        Parquet takes the memory of a part, other formats that of the whole.
        """
        if self.output.suffix == ".parquet":
            # Of each kind one, without its vectors, so that attributes are joined once.
            kinds = {json.dumps(part.attrs): part[:0].copy() for part in self._parts()}
            write_parts(concat(kinds.values()), self._parts(), self.output)
        else:
            concat(self._parts()).astroclip.save(self.output, overwrite=True)
        self._over = True

    def _check_folder(self, resume, overwrite):
        names = {file.name for file in self.path.iterdir()} if self.path.is_dir() else {""}
        if _MANIFEST not in names:
            # Of a process that ended before it had begun, there is a lock or half a file at most.
            if all(name == _LOCK or name.startswith(".") for name in names):
                return
            raise FileExistsError(f"{self.path} exists and holds no parts: choose another name")
        if not (resume or overwrite):
            raise FileExistsError(
                f"{self.path} exists, of a run that was interrupted: --resume goes on with it, "
                "--overwrite begins anew"
            )

    def _begin(self, made, resume):
        manifest = self.path / _MANIFEST
        if not resume:
            self._clear()
        for left in self.path.glob(".*"):  # half a file, of a process that was killed
            left.unlink()
        if not manifest.exists():
            _write_json(manifest, {"date": self.date} | made)
            return
        begun = json.loads(manifest.read_text(encoding="utf-8"))
        self.date = begun.pop("date")
        differing = [n for n in sorted({*begun, *made}) if begun.get(n) != made.get(n)]
        if differing:
            pairs = (f"{n} {begun.get(n)!r}, now {made.get(n)!r}" for n in differing)
            self._refuse(f"it was begun with {'; '.join(pairs)}")

    def _clear(self):
        """Remove the parts, and the manifest after them.

        The last part goes first, and of each part the vectors: whenever this is cut short, what is
        left is what an earlier interrupt would have left, with the manifest that tells of it. From
        the first part on, a new one could take the place of part 0, and old ones follow it; and
        parts without a manifest could not be told from files of somebody else.
        """
        parts = [file for file in self.path.iterdir() if file.stem.isdecimal()]
        for file in sorted(parts, key=lambda file: (int(file.stem), file.suffix), reverse=True):
            file.unlink()
        (self.path / _MANIFEST).unlink(missing_ok=True)

    def _refuse(self, reason):
        raise InputError(
            f"{reason}. Ask for the same to go on, or begin anew with --overwrite, without "
            "--resume",
            object_id=str(self.path),
        )

    def _count(self, about):
        self._number += 1
        self.objects += about["objects"]
        self.embedded += about["embedded"]
        self.flags.update(about["flags"])

    def _file(self, number, suffix):
        return self.path / f"{number:05d}{suffix}"

    def _read(self, number):
        """What is known of a part, or None if it is not there."""
        if not self._file(number, ".parquet").exists():
            return None
        return json.loads(self._file(number, ".json").read_text(encoding="utf-8"))

    def _parts(self):
        return (open_embeddings(self._file(number, ".parquet")) for number in range(self._number))

    def _note(self, path):
        self._noted.append([path, *_state(path)])
        return path


def _state(path):
    """Size of a file, and when it changed; None if it is not there."""
    with suppress(OSError):
        found = os.stat(path)
        return [found.st_size, found.st_mtime_ns]
    return [None, None]


def _write_json(path, content):
    with replacing(path) as aside:
        aside.write_text(json.dumps(content, indent=1), encoding="utf-8")
