"""From a file to the Astropy objects in it: which survey's file it is, and reading it."""

import contextlib
import reprlib
from inspect import signature
from pathlib import Path

import numpy as np
from astropy.io import fits

from astroclip_astro.adapters.planes import REFUSED_RGB
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.plugins.manager import BUILTIN, get_manager

__all__ = ["claimed_by", "claims", "get_survey", "identify", "is_fits", "read", "recognised"]

_PICTURES = (".jpg", ".jpeg", ".png")
_FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz", ".fits.bz2", ".fit.gz")


def get_survey(name):
    """Get a registered survey.

    Parameters
    ----------
    name : str
        Its registered name, e.g. ``"desi"``.

    Returns
    -------
    Survey
        An instance.

    Raises
    ------
    PluginError
        If no plugin registers this name; the message lists those that are.

    Examples
    --------
    >>> from astroclip_astro.surveys.files import get_survey
    >>> get_survey("sdss").modality
    'spectrum'
    """
    return get_manager().load("survey", name)()


def claims(path, hdulist):
    """Find the surveys that take a file for their own.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    hdulist : astropy.io.fits.HDUList or None
        The open file if it is FITS.

    Returns
    -------
    list of str
        Registered names, sorted. A survey whose `identify` raises, hangs, or returns anything but
        True or False is left out and recorded as broken; one that hung is not asked again.
    """
    manager = get_manager()
    names = list(manager.entries("survey"))
    # Those of plugins are asked last: one that is left behind may go on reading the open file.
    names.sort(key=lambda name: manager.owner("survey", name).name != BUILTIN)
    return sorted(
        name for name in names if manager.ask("survey", name, _claims, name, path, hdulist)
    )


def _claims(name, path, hdulist):
    claim = get_survey(name).identify(path, hdulist)
    if not isinstance(claim, bool | np.bool_):
        raise TypeError(f"identify returned {reprlib.repr(claim)}, expected True or False")
    return bool(claim)


def claimed_by(names):
    """Say whose surveys claim the same file.

    Parameters
    ----------
    names : list of str
        Registered names of surveys.

    Returns
    -------
    str
        For an error: the names, with the distributions they come from.
    """
    manager = get_manager()
    owners = [manager.owner("survey", name) for name in names]
    return "claimed by " + " and ".join(
        f"{name} ({f'{owner.distribution} {owner.version}'.strip() or owner.name})"
        for name, owner in zip(names, owners, strict=True)
    )


def is_fits(path):
    """Tell by its name whether a file is FITS, possibly compressed.

    Parameters
    ----------
    path : path-like
        The file, which is not looked at.

    Returns
    -------
    bool

    Examples
    --------
    >>> from astroclip_astro.surveys.files import is_fits
    >>> is_fits("coadd.FITS.gz"), is_fits("lines.fitted.csv")
    (True, False)
    """
    return Path(path).name.lower().endswith(_FITS_SUFFIXES)


def identify(path):
    """Find the survey whose file this is.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        Registered name of the survey.

    Raises
    ------
    InputError
        If the file is missing or is not readable, or if no survey or more than one claims it.
    """
    path = Path(path)
    _require_file(path)
    with contextlib.ExitStack() as stack:
        return _identify(path, stack)[0]


def _identify(path, stack):
    """Name of the survey, and the open file, which `stack` closes, or None if it is not FITS."""
    hdulist = None
    if is_fits(path):
        try:
            # Not memmap=True, of which astropy makes a demand: it refuses integers that are offset.
            hdulist = stack.enter_context(fits.open(path))
        except OSError as error:
            raise InputError(f"not a readable FITS file: {error}", object_id=str(path)) from error
    found = claims(path, hdulist)
    if len(found) == 1:
        return found[0], hdulist
    if path.suffix.lower() in _PICTURES and not found:
        raise InputError(REFUSED_RGB, object_id=str(path))
    who = claimed_by(found) if found else "no registered survey knows it"
    raise InputError(
        f"{who}; "
        f"pass survey= with one of {', '.join(get_manager().entries('survey'))}, or read it "
        "yourself and pass the Spectrum or NDData object",
        object_id=str(path),
    )


def read(path, survey=None):
    """Read the objects of a file one after the other.

    Parameters
    ----------
    path : path-like
        The file.
    survey : str, optional
        Registered name of the survey; by default the one that `identify` finds.

    Yields
    ------
    specutils.Spectrum or astropy.nddata.NDData
        The objects in the order of the file.

    Raises
    ------
    InputError
        If the file cannot be read; the message names it.
    """
    for _, obj in recognised(path, survey):
        yield obj


def recognised(path, survey=None):
    """Read the objects of a file, and tell which survey's they are.

    Parameters
    ----------
    path, survey : path-like, str
        As for `read`.

    Yields
    ------
    survey : str
        Registered name of the survey.
    obj : specutils.Spectrum or astropy.nddata.NDData
        An object.

    Raises
    ------
    InputError
        If the file cannot be read; the message names it.
    """
    path = Path(path)
    _require_file(path)
    with contextlib.ExitStack() as stack:
        name, hdulist = (survey, None) if survey else _identify(path, stack)
        reader = get_survey(name)
        given = {}
        if hdulist is not None and "hdulist" in signature(reader.read).parameters and _untouched():
            given = {"hdulist": hdulist}
        else:
            stack.close()
        try:
            for obj in reader.read(path, **given):
                yield name, obj
        except AstroclipError:
            raise
        except Exception as error:
            raise InputError(
                f"the {name} reader could not read it ({type(error).__name__}: {error})",
                object_id=str(path),
            ) from error


def _untouched():
    """Whether no survey of a plugin was shown the open file: it may change it, or go on in it."""
    manager = get_manager()
    return all(manager.owner("survey", n).name == BUILTIN for n in manager.entries("survey"))


def _require_file(path):
    if path.is_dir():
        raise InputError(
            f"this is a folder: give its files, such as {path.name}/*.fits", object_id=str(path)
        )
    if not path.is_file():
        raise InputError("no such file", object_id=str(path))
