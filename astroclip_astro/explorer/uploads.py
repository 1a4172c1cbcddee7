"""FITS files that strangers hand over: embedded in a process of their own, as data only.

A file is never trusted. Its size and its first bytes are looked at before anything else, its
headers before its data. Headers and data are read in another process, with limits of memory and
time, which may crash or hang: then it is ended and the file refused, and a new one reads the next.
"""

import pickle
import re
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.explorer.upload_reader import embed_file

__all__ = ["Uploads"]

_MIB = 1 << 20
_WAITING = 8
_SECONDS_TO_START = 300

#: What files are that are no FITS files, by their first bytes.
_OTHERS = {
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PK\x03\x04": "a zip archive",
    b"\xff\xd8\xff": "a JPEG picture, whose fluxes are lost",
    b"\x89PNG": "a PNG picture, whose fluxes are lost",
    b"\x89HDF": "an HDF5 file",
    b"<": "a web page or XML",
}

# Not multiprocessing: it would run the script that serves the page once more in the new process.
_START = (
    "import pickle, sys; sys.path[:], task = pickle.load(sys.stdin.buffer); "
    "from astroclip_astro.explorer.upload_reader import serve; serve(task)"
)


class Uploads:
    r"""Reads files of strangers one at a time, in a process that may come to harm.

    Parameters
    ----------
    work : callable
        Called in that process as ``work(path, model)`` with a `pathlib.Path` and a `GalaxyModel`;
        what it returns is pickled and handed on. A function of a module that can be imported, not
        of ``__main__``; by default `~astroclip_astro.explorer.upload_reader.embed_file`.
    model : str, path-like or GalaxyModel, optional
        As `astroclip_astro.embed` takes it, such as ``EmbeddingCatalog.model``. It computes on the
        CPU.
    largest : int
        Bytes that a file may have, and that an array compressed in it may come to.
    seconds : float
        How long reading and embedding a file may take.
    memory : int
        Bytes that this may need beyond the model. Only Linux keeps to it.

    Notes
    -----
    All methods can be called from any thread. Eight calls of `read` may wait for their turn; what
    comes then is refused at once. The process ends with `close`, with the interpreter, and when the
    interpreter is killed.

    Messages of errors may quote what a file says. They are printable and of 1000 characters at
    most; a page has to escape them.

    Examples
    --------
    >>> from astroclip_astro.explorer.uploads import Uploads
    >>> uploads = Uploads()
    >>> vector, portrait, attention = uploads.read("spec.fits", content)  # doctest: +SKIP
    >>> uploads.read("../galaxy.jpg", b"\xff\xd8\xff\xe0")
    Traceback (most recent call last):
        ...
    astroclip_astro.errors.InputError: galaxy.jpg: this is a JPEG picture, whose fluxes are lost:
    expected a FITS file as it is, not compressed
    >>> uploads.close()
    """

    def __init__(
        self, work=embed_file, model=None, *, largest=32 * _MIB, seconds=60, memory=2048 * _MIB
    ):
        self.largest = largest
        self.seconds = seconds
        # Plainly pickled: between processes torch would share the tensors of a model.
        self._task = pickle.dumps((work, model, largest, memory))
        self._process = None
        self._closed = False
        self._lock = threading.Lock()  # of the two above
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(1 + _WAITING)

    def read(self, name, content):
        """Read a file.

        Parameters
        ----------
        name : str
            What its owner calls it. Only letters, digits and ``._+-`` of it are kept.
        content : bytes
            All of it.

        Returns
        -------
        object
            What `work` makes of it.

        Raises
        ------
        InputError
            If it cannot be read or embedded, or too many files are waiting; the message says why,
            and names it.
        AstroclipError
            If no file can be read: the model does not load.
        ValueError
            After `close`.
        """
        name = _shown(name)
        if len(content) > self.largest:
            raise InputError(
                f"{len(content) / _MIB:.1f} MiB are too many: expected a spectrum or a cutout of "
                f"{self.largest / _MIB:g} MiB at most",
                object_id=name,
            )
        if not content.startswith(b"SIMPLE  ="):
            kinds = [kind for start, kind in _OTHERS.items() if content.startswith(start)]
            kind = kinds[0] if kinds else "not FITS" if content else "empty"
            raise InputError(
                f"this is {kind}: expected a FITS file as it is, not compressed", object_id=name
            )
        if not self._places.acquire(blocking=False):
            raise InputError("busy with other files: try again in a minute", object_id=name)
        try:
            with self._turn, TemporaryDirectory(prefix="astroclip-") as folder:
                # Surveys may tell their files by their names, and name objects by them.
                path = Path(folder).resolve() / _file_name(name)
                path.write_bytes(content)
                return self._ask(path)
        finally:
            self._places.release()

    def close(self):
        """End the process; files that are being read, or wait, are refused."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.end()

    def _running(self):
        with self._lock:
            if self._closed:
                raise ValueError("these uploads are closed")
            if self._process is None or not self._process.is_alive():
                self._process = _Process(self._task)
            return self._process

    def _ask(self, path):
        process = self._running()
        try:
            process.wait_until_ready()
            answer, error, unwell = process.ask((path, self.seconds), self.seconds)
        except TimeoutError:
            raise InputError(f"it took more than {self.seconds:g} s", object_id=path.name) from None
        except ChildProcessError as end:
            raise InputError(f"reading it came to a bad end: {end}", object_id=path.name) from None
        if unwell:
            process.end()
        if error is not None:
            raise error
        return pickle.loads(answer)


class _Process:
    """A Python process in which `serve` runs, and the talk with it."""

    def __init__(self, task):
        command = [sys.executable, "-P", "-W", "ignore", "-c", _START]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # The end of the interpreter is one of this process, too; if it is killed, stdin ends.
        self.end = weakref.finalize(self, _end, self._process)
        self._ready = False
        with suppress(OSError):  # which `ask` will find out about
            self._tell((sys.path, task))

    def is_alive(self):
        if self._process.poll() is not None:
            self.end()
        return self.end.alive

    def wait_until_ready(self):
        if not self._ready:
            try:
                _, error, _ = self.ask(None, _SECONDS_TO_START)
            except (TimeoutError, ChildProcessError) as end:
                raise AstroclipError(
                    f"the process that reads files does not start: {end}"
                ) from None
            if error is not None:
                self.end()
                raise error
            self._ready = True

    def ask(self, question, seconds):
        """Get the answer to a question; whatever goes wrong, the process has ended then."""
        late = threading.Event()

        def expire():
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            if question is not None:
                self._tell(question)
            # Written by code of ours, running as the same user: no file's bytes are unpickled.
            return pickle.load(self._process.stdout)
        except BaseException as error:
            self.end()  # also when interrupted: the next question must not get this one's answer
            if not isinstance(error, Exception):
                raise
            code = self._process.wait()
            if late.is_set():
                raise TimeoutError(f"not within {seconds:g} s") from None
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            raise ChildProcessError(how) from None
        finally:
            timer.cancel()

    def _tell(self, message):
        pickle.dump(message, self._process.stdin)
        self._process.stdin.flush()


def _end(process):
    with suppress(OSError), process:  # which closes the pipes, and leaves no zombie
        process.kill()


def _shown(name):
    """What of a name is harmless wherever it is used."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", last).lstrip(".-")[:100] or "upload"


def _file_name(name):
    """Name of a file that is FITS, and taken for nothing else."""
    name = re.sub(r"\.gz$", "", name, flags=re.I)
    return name if re.search(r"\.(fits?|fts)$", name, re.I) else f"{name}.fits"
