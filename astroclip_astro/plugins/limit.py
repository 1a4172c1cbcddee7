"""Calling what others wrote so that one call that never ends does not hold up everything."""

import contextvars
import logging
import sys
import threading
import traceback
from contextlib import contextmanager

from astroclip_astro.errors import PluginError

__all__ = ["TimeLimitError", "importing", "printing_to_stderr", "time_limit", "within"]

log = logging.getLogger(__name__)

_VARIABLE, _DEFAULT = "ASTROCLIP_PLUGIN_TIMEOUT", 10.0

# Of `printing_to_stderr`: what stdout was, and how many blocks are entered.
_printing = {"stdout": None, "blocks": 0}
_lock = threading.Lock()


class TimeLimitError(PluginError):
    """A call into a plugin that did not end in time, and was left behind."""


def time_limit(environ):
    """Look up how long a call into a plugin may take.

    Parameters
    ----------
    environ : mapping
        Environment variables. ``ASTROCLIP_PLUGIN_TIMEOUT`` holds seconds, more than 0.

    Returns
    -------
    float
        Seconds, 10 by default.

    Examples
    --------
    >>> from astroclip_astro.plugins.limit import time_limit
    >>> time_limit({"ASTROCLIP_PLUGIN_TIMEOUT": "60"})
    60.0
    """
    text = environ.get(_VARIABLE)
    if text is None:
        return _DEFAULT
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        log.warning(
            "%s is %r, expected seconds, more than 0: %g is used", _VARIABLE, text, _DEFAULT
        )
        return _DEFAULT
    return seconds


def within(seconds, function, *arguments):
    """Call a function, and leave it behind if it takes too long.

    It runs in a daemon thread, which nothing waits for afterwards, not even the end of the process.
    A thread cannot be ended from outside: one that computes goes on computing.

    Parameters
    ----------
    seconds : float
        How long to wait.
    function : callable
        What to call.
    *arguments : object
        What to call it with.

    Returns
    -------
    object
        What it returns.

    Raises
    ------
    TimeLimitError
        If it takes longer; a note says where it was.
    BaseException
        What it raises, ``SystemExit`` and ``KeyboardInterrupt`` included.

    Examples
    --------
    >>> from astroclip_astro.plugins.limit import within
    >>> within(10, max, 3, 4)
    4
    """
    outcome = {}

    def run():
        try:
            outcome["returned"] = function(*arguments)
        except BaseException as error:
            outcome["raised"] = error

    context = contextvars.copy_context()  # such as numpy.errstate of the caller
    thread = threading.Thread(target=context.run, args=(run,), name="astroclip-plugin", daemon=True)
    thread.start()
    thread.join(seconds)
    if "raised" in outcome:
        raise outcome["raised"]
    if "returned" in outcome:
        return outcome["returned"]
    error = TimeLimitError(
        f"it did not end within {seconds:g} s and was left behind; {_VARIABLE} sets the limit"
    )
    if (frame := sys._current_frames().get(thread.ident)) is not None:
        error.add_note("It was at:\n" + "".join(traceback.format_stack(frame)))
    raise error


def importing():
    """Which packages the calling thread is in the midst of importing.

    It holds their locks: another thread that needs one of them waits until this one is done.

    Returns
    -------
    set of str
        Top-level names.

    Examples
    --------
    >>> from astroclip_astro.plugins.limit import importing
    >>> "astropy" in importing()
    False
    """
    names, frame = set(), sys._getframe()
    while frame is not None:
        in_import = frame.f_globals.get("__name__") == "importlib._bootstrap"
        if in_import and frame.f_code.co_name == "_find_and_load":
            names.add(frame.f_locals["name"].partition(".")[0])
        frame = frame.f_back
    return names


@contextmanager
def printing_to_stderr():
    """Let what is printed meanwhile go to stderr: stdout is for answers, such as JSON.

    That is for all threads of the process, and ends with the block: what a call that was left
    behind prints later goes to stdout.

    Yields
    ------
    None

    Examples
    --------
    >>> from astroclip_astro.plugins.limit import printing_to_stderr
    >>> with printing_to_stderr():
    ...     print("loading my plugin")
    """
    # Counted, where contextlib.redirect_stdout would not do: of two threads in it, the one that
    # leaves last would restore what the other had put in place.
    with _lock:
        if not _printing["blocks"]:
            _printing["stdout"], sys.stdout = sys.stdout, sys.stderr
        _printing["blocks"] += 1
    try:
        yield
    finally:
        with _lock:
            _printing["blocks"] -= 1
            if not _printing["blocks"]:
                sys.stdout, _printing["stdout"] = _printing["stdout"], None
