"""The client of the Legacy Surveys when the server, the network or the disk fails."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astroquery import cache_conf, exceptions
from astroquery.exceptions import InvalidQueryError, RemoteServiceError

from astroclip_astro.errors import InputError
from astroclip_astro.sources import fetch_all
from astroclip_astro.sources.legacysurvey import LegacySurvey, LegacySurveyClass, conf
from astroclip_astro.sources.legacysurvey.download import Downloader
from astroclip_astro.sources.legacysurvey.source import LegacySurveySource
from tests.sources.legacysurvey_archive import Viewer, flux, playing, sky_of, tan_header

PLACE = SkyCoord(150.1, 2.2, unit="deg")
FAULTS = ("html", "429", "500", "502", "503", "truncated", "short", "dropped", "slow")


class SmallSource(LegacySurveySource):
    """As its base, but of 8 pixels."""

    connections = 4

    def fetch(self, coordinate):
        try:
            return LegacySurvey.get_images(coordinate, size=8)[0]
        except RemoteServiceError as error:
            raise InputError(str(error)) from error


def first(*faults):
    """Faults of the first requests, none after."""
    return lambda number, url: faults[number] if number < len(faults) else None


def check(image, place, size=8):
    header = tan_header(place.ra.deg, place.dec.deg, size)
    sky = sky_of(header, size)
    np.testing.assert_allclose(
        image[0].data, [flux(band, *sky) for band in "grz"], rtol=1e-6, strict=False
    )


@pytest.fixture
def waits(monkeypatch):
    """Seconds that the client would wait, without waiting; its clock follows."""
    slept = []
    now = [1000.0]

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    module = sys.modules[Downloader.__module__]
    monkeypatch.setattr(
        module, "time", type("Time", (), {"sleep": sleep, "monotonic": lambda: now[0]})
    )
    return slept


class TestPassingFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_one_costs_one_more_request(self, tmp_path, fault):
        with playing(Viewer(), tmp_path, first(fault), timeout=1, delay=2) as archive:
            (image,) = LegacySurvey.get_images(PLACE, size=8)
        check(image, PLACE)
        assert len(archive.requests) == 2
        assert len(set(archive.requests)) == 1

    @pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"500", "slow"}))
    def test_that_stays_is_given_up(self, tmp_path, fault):
        with (
            playing(Viewer(), tmp_path, lambda number, url: fault) as archive,
            conf.set_temp("retries", 5),
            pytest.raises(RemoteServiceError, match=r"ra=150.1.*no valid answer to 6 requests"),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        assert len(archive.requests) == 6
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []

    def test_server_that_stays_slow(self, tmp_path):
        fault = lambda number, url: "slow"  # noqa: E731
        with (
            playing(Viewer(), tmp_path, fault, timeout=0.1, delay=0.5) as archive,
            conf.set_temp("retries", 2),
            pytest.raises(
                exceptions.TimeoutError, match=r"3 requests, the last time: no answer for 0.1 s"
            ),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        assert len(archive.requests) == 3

    @pytest.mark.parametrize("host", ["closed", "http://no-such-host.invalid"])
    def test_no_server_is_soon_said(self, tmp_path, waits, host):
        with playing(Viewer(), tmp_path) as archive:
            url = archive.url if host == "closed" else host
        with (
            conf.set_temp("server", f"{url}/viewer"),
            pytest.raises(RemoteServiceError, match=r"6 requests, the last time: no connection"),
        ):
            LegacySurveyClass().get_images(PLACE, size=8, cache=False)
        assert len(waits) == 5
        assert sum(waits) < 16

    def test_other_statuses_are_final(self, tmp_path):
        for fault in ("400", "403", "404"):
            with (
                playing(Viewer(), tmp_path, lambda number, url, f=fault: f) as archive,
                pytest.raises(RemoteServiceError, match=f"HTTP status {fault}, '<html>"),
            ):
                LegacySurvey.get_images(PLACE, size=8)
            assert len(archive.requests) == 1

    @pytest.mark.parametrize("fault", ["truncated", "short", "dropped", "html"])
    def test_in_files_of_bricks(self, tmp_path, fault):
        viewer = Viewer()
        viewer.add_bricks(150.1, 2.2)
        every_other = lambda number, url: fault if number % 2 == 0 else None  # noqa: E731
        with playing(viewer, tmp_path, every_other) as archive:
            (image,) = LegacySurveyClass().get_images(PLACE, size=8, route="bricks")
        sky = sky_of(WCS(image[0].header, naxis=2).to_header(), 8)
        np.testing.assert_allclose(image[0].data, [flux(b, *sky) for b in "grz"], rtol=1e-6)
        assert set(Counter(archive.requests).values()) == {2}
        assert len(archive.requests) == 8


class TestNoOverlap:
    def test_status_500_again_and_again(self, tmp_path):
        with (
            playing(Viewer(lambda ra, dec: False), tmp_path) as archive,
            pytest.raises(RemoteServiceError, match=r"500, 8 times in a row: no overlap .* or the"),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        assert len(archive.requests) == 8

    def test_does_not_take_the_others_down(self, tmp_path):
        places = SkyCoord([10, 20, 30], [0, 0, 0], unit="deg")
        with playing(Viewer(lambda ra, dec: ra != 20), tmp_path):
            images = list(fetch_all(SmallSource(), places))
        check(images[0], places[0])
        assert isinstance(images[1], InputError)
        assert "no overlap" in str(images[1])
        check(images[2], places[2])

    def test_other_faults_between_do_not_count(self, tmp_path):
        faults = first(*["500"] * 7, "502", *["500"] * 4)
        with playing(Viewer(), tmp_path, faults) as archive:
            (image,) = LegacySurvey.get_images(PLACE, size=8)
        check(image, PLACE)
        assert len(archive.requests) == 13


class TestWaiting:
    def test_exponential_with_jitter_up_to_the_limit(self, tmp_path, waits):
        with (
            playing(Viewer(), tmp_path, first(*["502"] * 6), backoff=2.0),
            conf.set_temp("max_wait", 20.0),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        bounds = np.array([2, 4, 8, 16, 32, 64])
        assert np.all(np.array(waits) <= np.minimum(bounds, 20))
        assert np.all(np.array(waits) >= np.minimum(bounds / 2, 20))
        assert len(set(waits)) >= 4

    @pytest.mark.parametrize(
        ("retry_after", "low", "high"),
        [("7", 7, 7), ("100000", 30, 30), ("0", 0, 0), ("soon", 0, 0), ("-5", 0, 0)],
    )
    def test_retry_after_in_seconds(self, tmp_path, waits, retry_after, low, high):
        with (
            playing(Viewer(), tmp_path, first("429"), retry_after=retry_after) as archive,
            conf.set_temp("max_wait", 30.0),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        assert low <= sum(waits) <= high
        assert len(archive.requests) == 2

    @pytest.mark.parametrize(("ahead", "low", "high"), [(60, 50, 60), (-60, 0, 0), (9999, 90, 90)])
    def test_retry_after_as_date(self, tmp_path, waits, ahead, low, high):
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        with (
            playing(Viewer(), tmp_path, first("429"), retry_after=until),
            conf.set_temp("max_wait", 90.0),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        assert low <= sum(waits) <= high

    def test_retry_after_holds_for_all_who_ask(self, tmp_path, waits):
        client = LegacySurveyClass()
        with (
            playing(Viewer(), tmp_path, first("429"), retry_after="5"),
            conf.set_temp("retries", 0),
        ):
            with pytest.raises(RemoteServiceError, match="429"):
                client.get_images(PLACE, size=8)
            assert waits == []
            client.get_images(SkyCoord(1, 2, unit="deg"), size=8)
        assert waits == [5]

    def test_no_wait_after_the_last_request(self, tmp_path, waits):
        with (
            playing(Viewer(), tmp_path, lambda number, url: "502", backoff=1.0),
            conf.set_temp("retries", 3),
            pytest.raises(RemoteServiceError),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        assert len(waits) == 3


class TestMany:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_500_under_faults_of_30_percent(self, tmp_path, seed):
        rng = random.Random(seed)
        places = SkyCoord(
            [rng.uniform(0, 360) for _ in range(500)],
            [rng.uniform(-30, 80) for _ in range(500)],
            unit="deg",
        )
        faults = Counter()
        lock = threading.Lock()

        def fault(number, url):
            with lock:
                if rng.random() > 0.3:
                    return None
                # Slow ones cost the test its time: a few will do.
                kind = rng.choices(FAULTS, [3] * 8 + [0.5])[0]
                faults[url] += 1
                return kind

        with playing(Viewer(), tmp_path, fault, timeout=2, delay=4) as archive:
            images = list(fetch_all(SmallSource(), places))
        for place, image in zip(places, images, strict=True):
            assert isinstance(image, fits.HDUList), image
            header = image[0].header
            assert header["CRVAL1"] == pytest.approx(place.ra.deg, abs=1e-7)
            assert header["CRVAL2"] == pytest.approx(place.dec.deg, abs=1e-7)
            value = flux("g", place.ra.deg, place.dec.deg)
            assert image[0].data[0].mean() == pytest.approx(value, abs=1e-3)
        # Every failed request was repeated once, and no other.
        asked = Counter(archive.requests)
        assert len(asked) == 500
        assert asked == Counter({url: 1 + faults[url] for url in asked})
        assert sum(faults.values()) > 150

    @pytest.mark.parametrize("connections", [1, LegacySurveySource.connections, 4])
    def test_no_more_at_a_time_than_allowed(self, tmp_path, connections):
        class Slow(Viewer):
            def __call__(self, *args):
                time.sleep(0.02)
                return super().__call__(*args)

        places = SkyCoord(np.linspace(1, 2, 40), np.zeros(40), unit="deg")
        source = SmallSource()
        source.connections = connections
        fault = lambda number, url: "502" if number % 3 == 0 else None  # noqa: E731
        with playing(Slow(), tmp_path, fault) as archive:
            assert len(list(fetch_all(source, places))) == 40
        assert archive.peak == connections

    def test_abandoned_and_taken_up_again(self, tmp_path):
        places = SkyCoord(np.linspace(1, 2, 60), np.zeros(60), unit="deg")
        with playing(Viewer(), tmp_path) as archive:
            some = fetch_all(SmallSource(), places)
            for _ in range(20):
                next(some)
            some.close()
            time.sleep(0.2)  # what was under way arrives
            asked = set(archive.requests)
            assert 20 <= len(asked) < 60
            images = list(fetch_all(SmallSource(), places))
        for place, image in zip(places, images, strict=True):
            check(image, place)
        assert set(Counter(archive.requests).values()) == {1}

    def test_killed_and_taken_up_again(self, tmp_path):
        places = SkyCoord(np.arange(1, 41), np.zeros(40), unit="deg")
        code = """
import sys
from astropy.coordinates import SkyCoord
import numpy as np
from astroclip_astro.sources.legacysurvey import LegacySurvey, conf
conf.server, conf.cache_location = sys.argv[1:]
LegacySurvey.get_images(SkyCoord(np.arange(1, 41), np.zeros(40), unit="deg"), size=8)
"""
        release = threading.Event()

        def fault(number, url):
            if number == 25:
                release.wait(60)

        with playing(Viewer(), tmp_path, fault) as archive:
            killed = subprocess.Popen(
                [sys.executable, "-c", code, f"{archive.url}/viewer", str(tmp_path)]
            )
            until = time.monotonic() + 60
            while len(archive.requests) < 26 and time.monotonic() < until:
                time.sleep(0.01)
            killed.kill()
            killed.wait()
            release.set()
            assert len(archive.requests) == 26
            images = LegacySurvey.get_images(places, size=8)
        for place, image in zip(places, images, strict=True):
            check(image, place)
        times = Counter(parse_qs(urlsplit(url).query)["ra"][0] for url in archive.requests)
        # Only the one that was under way is asked for twice.
        assert [ra for ra, number in times.items() if number > 1] == ["26.0"]
        assert len(archive.requests) == 41

    def test_what_one_call_got_before_it_failed_is_kept(self, tmp_path):
        places = SkyCoord([10, 20, 30], [0, 0, 0], unit="deg")
        viewer = Viewer(lambda ra, dec: ra != 20)
        with playing(viewer, tmp_path) as archive:
            with pytest.raises(RemoteServiceError, match=r"ra=20\.0"):
                LegacySurvey.get_images(places, size=8)
            viewer.footprint = lambda ra, dec: True
            LegacySurvey.get_images(places, size=8)
        times = Counter(parse_qs(urlsplit(url).query)["ra"][0] for url in archive.requests)
        assert times == {"10.0": 1, "20.0": 9, "30.0": 1}

    def test_settings_of_astroquery_stay_in_threads(self, tmp_path):
        places = SkyCoord(np.linspace(1, 2, 50), np.zeros(50), unit="deg")
        with playing(Viewer(), tmp_path):
            list(fetch_all(SmallSource(), places))
        assert cache_conf.cache_active


def test_bricks_are_fetched_once_by_many_threads(tmp_path, monkeypatch):
    viewer = Viewer()
    viewer.add_bricks(150.1, 2.2)
    client = LegacySurveyClass()
    monkeypatch.setattr("astroclip_astro.sources.legacysurvey.source.LegacySurvey", client)
    source = LegacySurveySource(route="bricks")
    source.connections = 4
    places = [PLACE.spherical_offsets_by(x * 0.1 * u.arcsec, 0 * u.deg) for x in range(12)]
    with playing(viewer, tmp_path) as archive:
        images = list(fetch_all(source, places))
    assert [image[0].shape for image in images] == [(3, 152, 152)] * 12
    assert set(Counter(archive.requests).values()) == {1}


def test_final_answers_stay_final_under_faults(tmp_path):
    with (
        playing(Viewer(), tmp_path, first("502", "html")) as archive,
        pytest.raises(InvalidQueryError, match="no such layer"),
    ):
        LegacySurvey.get_images(PLACE, size=8, layer="ls-dr99")
    assert len(archive.requests) == 3
