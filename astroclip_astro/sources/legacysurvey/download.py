"""Requests that are repeated until a valid answer has come, or there is no hope of one."""

import gzip
import random
import threading
import time
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from astroquery import exceptions, log
from astroquery.exceptions import RemoteServiceError
from urllib3.exceptions import NewConnectionError

from . import conf

__all__ = ["Downloader", "NotFoundError", "PassingError"]

#: Statuses that may be another one next time; so may all from 500.
_PASSING = (408, 425, 429)

#: Stands for a status where there was no connection.
_UNREACHABLE = 0

#: So many of these in a row are no accident.
_HOPELESS = {500: 8, _UNREACHABLE: 6}


class PassingError(RemoteServiceError):
    """A failure that may be gone when the same request is made again.

    Parameters
    ----------
    message : str
        What came instead of the data.
    status : int, optional
        HTTP status of the answer, if there was one; 0 if the server could not be reached.
    retry_after : float
        Seconds that the server asked to wait.
    """

    def __init__(self, message, status=None, retry_after=0.0):
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class NotFoundError(RemoteServiceError):
    """The server has nothing of that name (404)."""


class Downloader:
    """Downloads with repetitions; one for all threads that ask the same servers.

    Parameters
    ----------
    session : requests.Session
        By which requests are made.
    """

    def __init__(self, session):
        self._session = session
        self._lock = threading.Lock()
        self._resume = {}

    def get(self, url, params, parse, *, server_error="the server is in trouble"):
        """Request something until it is valid.

        Parameters
        ----------
        url : str
            Where from.
        params : dict
            The query.
        parse : callable
            Takes the bytes that came and returns what they mean. It raises `PassingError` if they
            are damaged, another exception if they are not what was wanted and never will be.
        server_error : str, optional
            What it may mean if the server answers 500 again and again.

        Returns
        -------
        content : bytes
            What came, unpacked if it was a gzip file.
        parsed : object
            What `parse` made of it.

        Raises
        ------
        astroquery.exceptions.RemoteServiceError
            If the answer is final, or no repetition helped.
        astroquery.exceptions.TimeoutError
            If no repetition helped and the last one took too long.
        """
        failure = status = None
        in_a_row = 0
        for attempt in range(conf.retries + 1):
            if attempt:
                # The exponent is bounded as a float cannot hold 2 to any power.
                wait = conf.backoff * 2 ** min(attempt - 1, 30) * random.uniform(0.5, 1)
                time.sleep(min(wait, conf.max_wait))
            self._wait(url)
            try:
                content = _unpack(self._request(url, params))
                return content, parse(content)
            except PassingError as error:
                failure = error
                self._postpone(url, error.retry_after)
            log.debug("%s: %s", url, failure)
            in_a_row = in_a_row + 1 if failure.status == status else 1
            status = failure.status
            if in_a_row == _HOPELESS.get(status):
                break
        times = attempt + 1
        asked = requests.Request("GET", url, params=params).prepare().url
        if status == 500 and in_a_row in (times, _HOPELESS[500]):
            raise RemoteServiceError(
                f"{asked}: HTTP status 500, {in_a_row} times in a row: {server_error}"
            )
        timed_out = isinstance(failure.__cause__, requests.Timeout)
        kind = exceptions.TimeoutError if timed_out else type(failure)
        raise kind(
            f"{asked}: no valid answer to {times} requests, the last time: {failure}"
        ) from failure

    def _request(self, url, params):
        # Not BaseQuery._request: it keeps every answer as a pickle, valid or not, and told not to
        # it switches off astroquery's cache for all threads, which one of two may leave so. And as
        # a stream, or BaseQuery takes it for text to be logged and guesses its encoding at length.
        try:
            with self._session.get(
                url, params=params, timeout=conf.timeout, stream=True
            ) as response:
                content = response.content
        except requests.Timeout as error:
            raise PassingError(f"no answer for {conf.timeout} s") from error
        except (
            requests.ConnectionError,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            # Refused, or no such host: urllib3's reason is inside of requests' error.
            if isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                raise PassingError(f"no connection ({error})", _UNREACHABLE) from error
            raise PassingError(f"the connection broke ({error})") from error
        except requests.RequestException as error:
            raise RemoteServiceError(f"{url}: {error}") from error
        status = response.status_code
        if status in _PASSING or status >= 500:
            raise PassingError(f"HTTP status {status}", status, _retry_after(response))
        if status != 200:
            kind = NotFoundError if status == 404 else RemoteServiceError
            raise kind(f"{response.url}: HTTP status {status}, {excerpt(content)}")
        return content

    def _postpone(self, url, seconds):
        # Whoever else asks that server is too fast as well.
        host, until = urlsplit(url).netloc, time.monotonic() + min(seconds, conf.max_wait)
        with self._lock:
            self._resume[host] = max(self._resume.get(host, until), until)

    def _wait(self, url):
        while (left := self._resume.get(urlsplit(url).netloc, 0) - time.monotonic()) > 0:
            time.sleep(left)


def excerpt(content):
    """Begin of an answer, as text on one line for an error message."""
    text = " ".join(content[:2000].decode("ascii", "replace").split())
    return repr(text[:100] + "…" if len(text) > 100 else text)


def _unpack(content):
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise PassingError(f"a damaged gzip file ({error})") from error


def _retry_after(response):
    """Seconds that the server asks to wait (it may say until when); 0 if it does not."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value[:9])
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
