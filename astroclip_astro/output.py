"""Files to be written: checked before the work, and written as a whole or not at all."""

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from astroclip_astro.errors import InputError

__all__ = ["check_suffix", "check_target", "replacing"]


def check_suffix(path, suffixes):
    """Check that a path ends in the suffix of a format.

    Parameters
    ----------
    path : path-like
        A file.
    suffixes : iterable of str
        Those of the formats.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        If it has another suffix.

    Examples
    --------
    >>> from astroclip_astro.output import check_suffix
    >>> check_suffix("galaxies.fits", [".fits"]).name
    'galaxies.fits'
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise InputError(
            f"unknown suffix {path.suffix!r}: expected one of {', '.join(suffixes)}",
            object_id=str(path),
        )
    return path


def check_target(path, suffixes, *, overwrite=False):
    """Check that a file can be written, before the work of making what is in it.

    Parameters
    ----------
    path : path-like
        Where to write.
    suffixes : iterable of str
        Those of the formats.
    overwrite : bool
        Whether it may exist.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        If the suffix is unknown, or the folder does not exist.
    FileExistsError
        If there is something already and `overwrite` is not set.

    Examples
    --------
    >>> from astroclip_astro.output import check_target
    >>> check_target("galaxies.fits", [".fits"]).name
    'galaxies.fits'
    """
    path = check_suffix(path, suffixes)
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", object_id=str(path))
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name, or allow to overwrite it")
    return path


@contextmanager
def replacing(path):
    """Write a file or folder as a whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Where it is to be in the end; what is there is replaced.

    Yields
    ------
    pathlib.Path
        Where to write it, a name beside with the same suffix.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.output import replacing
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "notes.txt")) as aside:
    ...         _ = aside.write_text("whole")
    ...     Path(folder, "notes.txt").read_text()
    'whole'
    """
    aside, old = (path.with_name(f".{path.stem}.{os.getpid()}{s}{path.suffix}") for s in ("", "o"))
    try:
        yield aside
        if aside.is_file():
            _to_disk(aside)  # before it takes the place of anything, come a power cut or not
        try:
            if path.is_dir():  # only files can be replaced in one go
                os.replace(path, old)
            os.replace(aside, path)
        except BaseException:
            if old.is_dir():
                os.replace(old, path)
            raise
        with suppress(OSError):  # not all systems have this for folders
            _to_disk(path.parent)
        if old.is_dir():
            shutil.rmtree(old)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)


def _to_disk(path):
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
