"""Requests to archives that are busy, limited or cut short: tried again, and checked."""

import random
import threading
import time
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from astroclip_astro.errors import AstroclipError, InputError

__all__ = ["BusyError", "Pace", "fetch"]

#: Statuses of faults that pass.
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}

#: Faults of the connection that pass: dropped, out of time, less than was promised, garbled.
_FAULTS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)

_LONGEST_WAIT = 120.0  # s, whatever an archive asks for


class Pace:
    """When an archive may be asked next; one for all threads that ask it.

    Examples
    --------
    >>> from astroclip_astro.sources.http import Pace
    >>> pace = Pace()
    >>> pace.postpone(0.01)
    >>> pace.wait()
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, interval=0.0):
        """Wait for one's turn, and take it.

        Parameters
        ----------
        interval : float
            Seconds until the next turn, whoever takes it.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                left = self._next - now
                if left <= 0:
                    self._next = now + interval
                    return
            # Others may take the turn meanwhile, or have it postponed.
            time.sleep(left)

    def postpone(self, seconds):
        """Let nobody have a turn for a while.

        Parameters
        ----------
        seconds : float
            How long, at least; 120 s are the most.
        """
        with self._lock:
            self._next = max(self._next, time.monotonic() + min(seconds, _LONGEST_WAIT))


class BusyError(ValueError):
    """An answer by which an archive says, in its own words, that it is asked too often.

    Parameters
    ----------
    message : str
        What it says.
    seconds : float
        After which time it may be asked again.
    """

    def __init__(self, message, seconds):
        super().__init__(message)
        self.seconds = seconds


def fetch(
    session,
    method,
    url,
    *,
    validate,
    pace=None,
    interval=0.0,
    retries=3,
    backoff=1.0,
    timeout=60.0,
    **kwargs,
):
    """Request something from an archive until what comes back is right.

    What may be otherwise next time is tried again: a connection that is dropped or takes too long,
    a body shorter than promised, the statuses 408, 425, 429, 500, 502, 503, 504, and content that
    `validate` refuses. Any other status from 400 on is an error at once.

    Parameters
    ----------
    session : requests.Session
        What sends the request.
    method : str
        ``"GET"`` or ``"POST"``.
    url : str
        Where to.
    validate : callable
        Takes the `requests.Response`, read to its end, of a status below 400, and returns what is
        made of it. It raises ValueError for content that is not what was asked for, such as a page
        of HTML, a `BusyError` where it says that too much is asked, and an `AstroclipError` where
        asking again is of no use.
    pace : Pace, optional
        That of all who ask the archive; by default nobody else does.
    interval : float
        Seconds between two requests of all who share the pace, at least; retries count.
    retries : int
        How many times to try again.
    backoff : float
        Seconds to wait before the first retry, twice as long before each further one, shortened at
        random by up to a half so that many clients do not come back together. A longer Retry-After
        is honoured up to 120 s, by all who share the pace.
    timeout : float
        Seconds to wait for a connection, and for each further piece of the answer.
    **kwargs
        For `requests.Session.request`: ``params``, ``json``, ``data``, ….

    Returns
    -------
    object
        What `validate` returns.

    Raises
    ------
    InputError
        If the archive refuses the request, or if the last try fails, too: the message says how.
    AstroclipError
        What `validate` raises.

    Examples
    --------
    >>> import requests
    >>> from astroclip_astro.sources.http import fetch
    >>> def version(response):
    ...     return float(response.text)
    >>> url = "https://astrosparcl.datalab.noirlab.edu/sparc/version/"
    >>> fetch(requests.Session(), "GET", url, validate=version)  # doctest: +SKIP
    14.2
    """
    pace = pace or Pace()
    for attempt in range(retries + 1):
        if attempt:
            wait = backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1)
            time.sleep(min(wait, _LONGEST_WAIT))
        pace.wait(interval)
        try:
            response = session.request(method, url, timeout=timeout, **kwargs)
        except _FAULTS as error:
            fault = f"{type(error).__name__}: {error}"
        except requests.RequestException as error:
            raise InputError(f"{_where(url)} cannot be asked ({error})") from error
        else:
            if response.ok:
                try:
                    return validate(response)
                except AstroclipError:
                    raise
                except BusyError as error:
                    fault = str(error)
                    pace.postpone(error.seconds)
                except ValueError as error:
                    fault = str(error)
            else:
                fault = _refusal(response)
                if response.status_code not in _TRANSIENT:
                    raise InputError(f"{_where(url)} refuses the request ({fault})")
                pace.postpone(_retry_after(response))
    raise InputError(
        f"no usable answer from {_where(url)} in {retries + 1} tries, the last time: {fault}; try "
        "again later"
    )


def _where(url):
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}"


def _refusal(response):
    """Status and, unless it is a page for people, the beginning of what the archive says."""
    said = f"HTTP {response.status_code} {response.reason}"
    if "html" in response.headers.get("Content-Type", "") or not response.text.strip():
        return said
    return f"{said}: {' '.join(response.text.split())[:300]}"


def _retry_after(response):
    """Seconds to wait that the archive asks for, as a number or as a date; 0 if it does not."""
    stated = response.headers.get("Retry-After")
    try:
        return Retry().parse_retry_after(stated) if stated else 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0
