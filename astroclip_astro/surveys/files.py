"""From a file to the Astropy objects in it: which survey's file it is, and reading it."""

import contextlib
from pathlib import Path

from astropy.io import fits

from astroclip_astro.adapters.planes import REFUSED_RGB
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.plugins.manager import get_manager

__all__ = ["claims", "get_survey", "identify", "read"]

_PICTURES = (".jpg", ".jpeg", ".png")
_FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz", ".fit.gz")


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
        Registered names. A survey whose `identify` fails is left out and recorded as broken.
    """
    manager = get_manager()
    found = []
    for name in manager.entries("survey"):
        try:
            if get_survey(name).identify(path, hdulist):
                found.append(name)
        except Exception as error:  # a broken plugin must not take the others down
            manager.record_failure(manager.owner("survey", name), f"survey {name}", error)
    return found


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
    if not path.is_file():
        raise InputError("no such file", object_id=str(path))
    with contextlib.ExitStack() as stack:
        hdulist = None
        if path.name.lower().endswith(_FITS_SUFFIXES):
            try:
                hdulist = stack.enter_context(fits.open(path, memmap=True))
            except OSError as error:
                raise InputError(
                    f"not a readable FITS file: {error}", object_id=str(path)
                ) from error
        found = claims(path, hdulist)
    if len(found) == 1:
        return found[0]
    if path.suffix.lower() in _PICTURES and not found:
        raise InputError(REFUSED_RGB, object_id=str(path))
    who = f"claimed by {' and '.join(found)}" if found else "no registered survey knows it"
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
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", object_id=str(path))
    name = survey or identify(path)
    try:
        yield from get_survey(name).read(path)
    except AstroclipError:
        raise
    except Exception as error:
        raise InputError(
            f"the {name} reader could not read it ({type(error).__name__}: {error})",
            object_id=str(path),
        ) from error
