import email.utils
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from astroclip_astro.errors import InputError
from astroclip_astro.sources import http
from tests.sources.archive import Archive


def hello(path, query, body):
    return 200, "text/plain", b"hello, astronomer"


def text(response):
    if "html" in response.headers["Content-Type"]:
        raise ValueError("a page of HTML")
    return response.text


def once(*faults):
    return lambda number, url: faults[number] if number < len(faults) else None


def ask(archive, validate=text, **kwargs):
    kwargs = {"retries": 2, "backoff": 0.0, "timeout": 20.0} | kwargs
    return http.fetch(requests.Session(), "GET", f"{archive.url}/a", validate=validate, **kwargs)


@pytest.fixture
def slept(stopped_clock):
    return stopped_clock(http).waits


FAULTS = ("html", "429", "500", "truncated", "dropped")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_asked_again(fault):
    with Archive(hello, once(fault)) as archive:
        assert ask(archive) == "hello, astronomer"
    assert len(archive.requests) == 2


def test_what_takes_too_long_is_asked_again():
    with Archive(hello, once("slow"), delay=5.0) as archive:
        assert ask(archive, timeout=0.5) == "hello, astronomer"
    assert len(archive.requests) == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("html", "a page of HTML"),
        ("429", "HTTP 429 Too Many Requests: Too many requests"),
        ("500", "HTTP 500 Internal Server Error;"),
        ("truncated", "ChunkedEncodingError|ConnectionError"),
        ("dropped", "ConnectionError"),
    ],
)
def test_what_does_not_pass_is_an_error_that_says_how_it_was(fault, said):
    with (
        Archive(hello, lambda number, url: fault) as archive,
        pytest.raises(InputError, match=rf"127.0.0.1:\d+/a in 3 tries, the last time: .*({said})"),
    ):
        ask(archive)
    assert len(archive.requests) == 3


def test_refusals_are_final_and_quote_the_archive():
    with (
        Archive(lambda *request: (400, "application/json", b'{"e": "no field"}')) as archive,
        pytest.raises(InputError, match=r'refuses the request \(HTTP 400 .*"e": "no field"'),
    ):
        ask(archive)
    assert len(archive.requests) == 1


def test_errors_of_ours_are_final():
    def refuse(response):
        raise InputError("there is nothing there")

    with Archive(hello) as archive, pytest.raises(InputError, match=r"^there is nothing there$"):
        ask(archive, refuse)
    assert len(archive.requests) == 1


def test_bad_json_counts_as_bad_content():
    with Archive(hello) as archive, pytest.raises(InputError, match="3 tries"):
        ask(archive, lambda response: response.json())
    assert len(archive.requests) == 3


def test_no_server_is_a_fault_and_no_address_is_final():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(InputError, match="2 tries"):
        http.fetch(requests.Session(), "GET", url, validate=text, retries=1, backoff=0)
    with pytest.raises(InputError, match="cannot be asked"):
        http.fetch(requests.Session(), "GET", "nowhere", validate=text, retries=1, backoff=0)


def test_waits_double_with_jitter(slept):
    with Archive(hello, lambda number, url: "500") as archive, pytest.raises(InputError):
        ask(archive, retries=4, backoff=1.0)
    assert len(slept) == 4
    assert len(set(slept)) == 4
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(slept))


@pytest.mark.parametrize(
    ("stated", "low", "high"),
    [
        ("7", 7, 7),
        ("100000", 120, 120),
        ("in a minute", 30, 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", 0, 0),
        ("", 0, 0),
    ],
)
def test_retry_after_is_honoured_within_reason(slept, stated, low, high):
    if stated == "in a minute":
        stated = email.utils.formatdate(time.time() + 60, usegmt=True)
    with Archive(hello, once("429"), retry_after=stated) as archive:
        assert ask(archive) == "hello, astronomer"
    assert low <= sum(slept) <= high


def test_a_longer_wait_is_not_added_to_the_retrys_own(slept):
    with Archive(hello, once("429"), retry_after="7") as archive:
        ask(archive, backoff=4.0)
    assert 2 <= slept[0] <= 4
    assert sum(slept) == pytest.approx(7)


def test_retry_after_holds_for_all_who_share_the_pace(slept):
    pace = http.Pace()
    with Archive(hello, once("429"), retry_after="7") as archive:
        with pytest.raises(InputError, match="429"):
            ask(archive, retries=0, pace=pace)
        assert slept == []
        ask(archive)  # another archive, as it were
        assert slept == []
        ask(archive, pace=pace)
    assert slept == [7]


def test_retries_keep_the_interval(slept):
    pace = http.Pace()
    with Archive(hello, once("500", "html")) as archive:
        ask(archive, pace=pace, interval=3.0)
        ask(archive, pace=pace, interval=3.0)
    assert len(archive.requests) == 4
    assert [wait for wait in slept if wait] == [3, 3, 3]


def test_an_archive_that_says_it_is_busy_is_left_alone(slept):
    def busy_once(response):
        if len(archive.requests) == 1:
            raise http.BusyError("60 queries a minute", 60.0)
        return response.text

    with Archive(hello) as archive:
        assert ask(archive, busy_once) == "hello, astronomer"
    assert sum(slept) == 60


def test_threads_take_turns(stopped_clock):
    class MustWaitError(Exception):
        pass

    clock, pace, together = stopped_clock(http), http.Pace(), threading.Barrier(8)

    def take(_):
        together.wait(20)
        try:
            pace.wait(2.0)
        except MustWaitError:
            return False
        return True

    def refuse(seconds):
        raise MustWaitError

    clock.sleep = refuse
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert sum(pool.map(take, range(8))) == 1
            clock.now += 2


def test_a_turn_that_is_waited_for_can_be_postponed(stopped_clock):
    clock, pace = stopped_clock(http), http.Pace()
    pace.wait(5.0)
    clock.meanwhile = [lambda: pace.postpone(60.0)]
    pace.wait(5.0)
    assert clock.waits == [5.0, 55.0]
