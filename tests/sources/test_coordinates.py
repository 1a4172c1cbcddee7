"""Coordinates to vectors: which archive is asked, in which order, and what is left of failures."""

import threading

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import ICRS, AltAz, SkyCoord
from astropy.table import MaskedColumn, QTable, Table

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import SourceEntry, get_manager
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.sources import Source, fetch_all

MOCKS = MockSurvey.bundled()
SKY = SkyCoord(MOCKS.truth["ra"], MOCKS.truth["dec"])


class Images(Source):
    """Cutouts of the mocks, and nothing where there is none."""

    modality = "image"
    survey = "legacysurvey"
    make = staticmethod(MOCKS.cutout)

    def fetch(self, coordinate):
        nearest, separation, _ = coordinate.match_to_catalog_sky(SKY)
        if separation > 1 * u.arcsec:
            raise InputError("nothing is there", object_id=coordinate.to_string())
        return self.make(int(nearest))


class Spectra(Images):
    modality = "spectrum"
    survey = "desi"
    make = staticmethod(MOCKS.spectrum)


class Broken(Images):
    survey = "sdss"

    def fetch(self, coordinate):
        raise KeyError("a bug")


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    """These archives, and no others."""
    known = {
        name: SourceEntry(
            name=name, summary=name, modality=cls.modality, factory=f"{__name__}:{cls.__name__}"
        )
        for name, cls in {
            "legacysurvey": Images,
            "mock-spectra": Spectra,
            "broken": Broken,
        }.items()
    }
    monkeypatch.setitem(get_manager()._entries, "source", known)


def test_a_coordinate_is_one_object():
    vector = aa.embed(SKY[3])
    assert vector.dims == ("feature",)
    np.testing.assert_array_equal(vector.values, aa.embed(MOCKS.cutout(3)).values)
    assert float(vector.ra) == pytest.approx(SKY[3].ra.deg)


def test_coordinates_keep_their_order_in_any_frame():
    rows = [7, 2, 39, 11, 5, 3, 30]
    found = aa.embed(SKY[rows].galactic)
    assert found.dims == ("object", "feature")
    expected = aa.embed([MOCKS.cutout(i) for i in rows])
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    np.testing.assert_allclose(found.ra, SKY[rows].ra.deg)


def test_what_cannot_be_had_keeps_its_place(caplog):
    nowhere = SkyCoord(0.5, -89, unit="deg")
    found = aa.embed(SkyCoord([SKY[1].ra, nowhere.ra], [SKY[1].dec, nowhere.dec]))
    assert np.isnan(found.values).all(1).tolist() == [False, True]
    assert "nothing is there" in caplog.text
    assert found.object_id.values[1] == "J000200.00-890000.0"
    assert float(found.dec[1]) == -89
    with pytest.raises(InputError, match="nothing is there"):
        aa.embed(nowhere)


def test_a_table_of_positions_keeps_what_it_knows():
    table = Table({"object_id": ["a", "b"], "ra": SKY[:2].ra.deg, "dec": SKY[:2].dec.deg})
    table["redshift"] = [0.7, 0.8]
    found = aa.embed(table)
    assert found.object_id.values.tolist() == ["a", "b"]
    assert found.redshift.values.tolist() == [0.7, 0.8]
    expected = aa.embed([MOCKS.cutout(0), MOCKS.cutout(1)])
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)


@pytest.mark.parametrize("kind", [Table, QTable])
def test_units_of_a_table_are_converted(kind):
    table = kind({"ra": SKY[:2].ra.to(u.hourangle), "dec": SKY[:2].dec.to(u.rad)})
    found = aa.embed(table)
    assert np.isfinite(found.values).all()
    np.testing.assert_allclose(found.ra, SKY[:2].ra.deg)
    np.testing.assert_allclose(found.dec, SKY[:2].dec.deg)


def test_a_row_of_a_table_is_one_object():
    table = Table({"object_id": ["a", "b"], "ra": SKY[:2].ra.deg, "dec": SKY[:2].dec.deg})
    vector = aa.embed(table[1])
    assert vector.dims == ("feature",)
    assert str(vector.object_id.values) == "b"
    np.testing.assert_array_equal(vector.values, aa.embed(MOCKS.cutout(1)).values)


def test_names_of_places_are_truncated_as_the_iau_recommends():
    names = {
        "23h59m59.9999s +00d59m59.9999s": "J235959.99+005959.9",
        "10h00m24s +02d12m00s": "J100024.00+021200.0",
        "00h00m00.004s -00d00m00.07s": "J000000.00-000000.0",
    }
    found = aa.embed(SkyCoord(list(names)))
    assert found.object_id.values.tolist() == list(names.values())


def test_places_that_are_none_leave_the_others(caplog):
    table = Table({"ra": [SKY[0].ra.deg, 10.0], "dec": [SKY[0].dec.deg, 91.0]})
    assert np.isfinite(aa.embed(table).values).all(1).tolist() == [True, False]
    assert "no position to fetch it from: ra 10, dec 91 deg" in caplog.text


def test_a_table_of_no_use_is_an_error_and_no_row():
    with pytest.raises(InputError, match="expected one number per row"):
        aa.embed(Table({"ra": ["10:00:00"], "dec": [2.0]}))
    with pytest.raises(InputError, match="exactly one of the columns"):
        aa.embed(Table({"RA": [10.0], "DEC": [2.0]}))
    found = aa.embed([Table({"x": [1.0]}), MOCKS.cutout(0)])
    assert np.isfinite(found.values).all(1).tolist() == [False, True]


def test_frames_that_do_not_transform_are_refused():
    with pytest.raises(InputError, match="altaz do not transform to ICRS"):
        aa.embed(SkyCoord(AltAz(1 * u.deg, 1 * u.deg)))
    vector = aa.embed(ICRS(SKY[3].ra, SKY[3].dec))
    np.testing.assert_array_equal(vector.values, aa.embed(MOCKS.cutout(3)).values)


def test_a_row_without_position_is_never_guessed(caplog):
    ra = MaskedColumn(SKY[:3].ra.deg, mask=[False, True, False])
    dec = [SKY[0].dec.deg, SKY[1].dec.deg, np.nan]
    found = aa.embed(Table({"ra": ra, "dec": dec}))
    assert np.isnan(found.values).all(1).tolist() == [False, True, True]
    assert caplog.text.count("no position") == 2


def test_the_survey_says_which_archive():
    found = aa.embed(SKY[:2], survey="desi")
    assert found.modality.values.tolist() == ["spectrum", "spectrum"]
    assert aa.embed(SKY[0], survey="mock-spectra").modality == "spectrum"
    with pytest.raises(InputError, match="one archive of survey 'unheard-of'"):
        aa.embed(SKY[0], survey="unheard-of")


def test_a_bug_in_a_client_is_a_reason_of_each_object(caplog):
    found = aa.embed(SKY[:2], survey="sdss")
    assert np.isnan(found.values).all()
    assert caplog.text.count("Broken could not fetch it (KeyError: 'a bug')") == 2


def test_no_more_connections_than_allowed_and_not_far_ahead():
    class Counting(Source):
        modality = "image"
        connections = 3
        busy = most = asked = 0
        lock = threading.Lock()
        gate = threading.Event()

        def fetch(self, coordinate):
            with self.lock:
                self.busy += 1
                self.asked += 1
                self.most = max(self.most, self.busy)
                if self.busy == self.connections:
                    self.gate.set()
            assert self.gate.wait(10), "three fetches should be at work at a time"
            with self.lock:
                self.busy -= 1
            return coordinate

    source = Counting()
    results = fetch_all(source, iter(range(100)))
    assert next(results) == 0
    assert source.asked <= 2 * source.connections + 1
    assert list(results) == list(range(1, 100))
    assert source.most == source.connections
