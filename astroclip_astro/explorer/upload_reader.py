"""What runs in the process of `Uploads`: files are checked, read and embedded under limits."""

import os
import pickle
import signal
import sys
from contextlib import suppress
from pathlib import Path

from astroclip_astro.errors import AstroclipError, InputError

__all__ = ["embed_file", "serve"]

_LONGEST_MESSAGE = 1000


def embed_file(path, model):
    """Embed what is in a file, and make all that the page shows of it.

    Parameters
    ----------
    path : pathlib.Path
        A FITS file with one object.
    model : GalaxyModel
        What embeds it.

    Returns
    -------
    embedding : xarray.DataArray
        Dims ("feature",).
    portrait : Picture, Trace or None
        As `astroclip_astro.explorer.portrait.portrait` returns it.
    attention : dict or None
        As `astroclip_astro.explorer.portrait.attended` returns it; None if the model does not pool
        by attention.

    Raises
    ------
    InputError
        If there is not exactly one object, it cannot be used, or no registered survey knows the
        file.
    """
    from astropy.io import fits

    from astroclip_astro.api import embed
    from astroclip_astro.explorer.portrait import attended, portrait
    from astroclip_astro.plugins import get_manager
    from astroclip_astro.surveys.files import claims

    with fits.open(path) as hdus:
        known = claims(path, hdus)
    if not known:
        surveys = ", ".join(get_manager().entries("survey"))
        raise InputError(
            f"no survey knows such a file: expected one of {surveys}", object_id=path.name
        )
    embedding = embed(path, model=model, errors="raise").astroclip.rows()
    if len(embedding) != 1:
        raise InputError(
            f"the file holds {len(embedding)} objects: expected one", object_id=path.name
        )
    try:
        attention = attended(path, model)
    except InputError:
        attention = None
    return embedding[0], portrait(path, model), attention


def serve(task):
    """Answer what the parent asks by stdin until it is gone.

    The first answer says that the model is loaded, or why not. A question is a path, and for how
    many seconds the parent will wait; an answer is the pickle of what was made of it, the error
    instead, and whether this process should be replaced.

    Parameters
    ----------
    task : bytes
        Pickle of what to call with a path and the model, the model, the largest array in bytes,
        and the memory for all this in bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    # Answers have stdout for themselves; what anything prints goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(result=None, error=None, unwell=False):
        pickle.dump((result, error, unwell), answers)
        answers.flush()

    try:
        work, model, largest, memory = pickle.loads(task)
        from astropy.utils.data import conf

        from astroclip_astro.explorer.fits_check import check_fits
        from astroclip_astro.weights import as_model

        model = as_model(model, "cpu").to("cpu")
        conf.allow_internet = False  # a frame that turns with the Earth would have tables fetched
        _limit_memory(memory)
    except AstroclipError as error:
        answer(error=error)
        return
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        answer(error=AstroclipError(f"files cannot be read here: {reason}"))
        return
    answer()
    while True:
        try:
            path, seconds = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _alarm(seconds + 10)  # for when the parent is gone, which would have ended this before
        try:
            check_fits(path, largest)
            result = pickle.dumps(work(path, model))
        except Exception as error:
            # There may be no memory left, or whatever is unforeseen may be broken for good.
            ours = isinstance(error, AstroclipError)
            unwell = not ours or isinstance(error.__cause__, MemoryError)
            answer(error=_for_strangers(error, path), unwell=unwell)
        else:
            answer(result)
        _alarm(0)


def _for_strangers(error, path):
    """Make an error that says the same, but not where the file was, and does not go on for long."""

    def clean(text):
        text = text.replace(f"{path.parent}{os.sep}", "")[:_LONGEST_MESSAGE]
        return "".join(c if c.isprintable() else " " for c in text)

    message = clean(str(error))
    if isinstance(error, InputError):
        cleaned = InputError(message, quality=error.quality)
        cleaned.object_id = clean(error.object_id)
        return cleaned
    if isinstance(error, AstroclipError):
        return type(error)(message)
    if isinstance(error, MemoryError):
        message = "reading it takes too much memory"
    else:
        message = f"it could not be read ({type(error).__name__}: {message})"
    return InputError(message, object_id=path.name)


def _limit_memory(size):
    """Let this process have that much more memory than it has now, where Linux can see to it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Of data rather than of addresses, of which libraries reserve many that they never use.
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit = pages * resource.getpagesize() + size
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _alarm(seconds):
    """End this process after so many seconds, whatever it does then; never, if 0."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
