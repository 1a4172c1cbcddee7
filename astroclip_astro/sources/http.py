"""Requests to archives that are busy, limited or cut short: tried again, and checked."""

import random
import time
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from astroclip_astro.errors import AstroclipError, InputError

__all__ = ["fetch"]

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


def fetch(session, method, url, *, validate, retries=3, backoff=1.0, timeout=60.0, **kwargs):
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
        of HTML, and an `AstroclipError` where asking again is of no use.
    retries : int
        How many times to try again.
    backoff : float
        Seconds to wait before the first retry, twice as long before each further one, shortened at
        random by up to a half so that many clients do not come back together. A longer Retry-After
        is honoured up to 120 s.
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
    for attempt in range(retries + 1):
        wait = backoff * 2**attempt * random.uniform(0.5, 1)
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
                except ValueError as error:
                    fault = str(error)
            else:
                fault = _refusal(response)
                if response.status_code not in _TRANSIENT:
                    raise InputError(f"{_where(url)} refuses the request ({fault})")
                wait = max(wait, _retry_after(response))
        if attempt < retries:
            time.sleep(min(wait, _LONGEST_WAIT))
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
