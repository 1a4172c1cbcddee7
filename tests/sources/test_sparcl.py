import uuid

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.utils.masked import Masked

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.sources import http, sparcl
from astroclip_astro.sources.sparcl import SPARCLClass, SPARCLSource
from astroclip_astro.sources.sparcl.core import boxes
from astroclip_astro.surveys.sdss import BAD_PIXEL
from tests.sources.sparcl_archive import mock_record, sparcl_archive

HERE = SkyCoord(150.1, 2.2, unit="deg")


def at(offset_east, offset_north, i=0, **changes):
    """A record at a distance in arcsec from HERE."""
    there = HERE.spherical_offsets_by(offset_east * u.arcsec, offset_north * u.arcsec)
    return mock_record(i, **{"ra": float(there.ra.deg), "dec": float(there.dec.deg)} | changes)


def small(i=0, n=5, **changes):
    """A record of a few pixels."""
    arrays = {
        "wavelength": np.linspace(4000, 9000, n).tolist(),
        "flux": [1.0] * n,
        "ivar": [4.0] * n,
        "mask": [0] * n,
    }
    return at(0, 0, i, **arrays | changes)


def test_spectra_are_those_that_the_archive_has():
    records = [mock_record(i) for i in range(3)]
    wanted = [records[i]["sparcl_id"] for i in (2, 0, 2, 1)]
    with sparcl_archive(records) as archive:
        spectra = SPARCLClass().get_spectra(wanted)
    assert len([path for path in archive.requests if "spectras" in path]) == 1
    mocks = MockSurvey.bundled()
    for spectrum, i in zip(spectra, (2, 0, 2, 1), strict=True):
        mock = mocks.spectrum(i)
        assert spectrum.flux.unit == u.Unit("1e-17 erg / (s cm2 Angstrom)")
        assert spectrum.spectral_axis.unit == u.AA
        np.testing.assert_array_equal(spectrum.flux.value, mock.flux.value)
        np.testing.assert_array_equal(spectrum.spectral_axis.value, mock.spectral_axis.value)
        np.testing.assert_array_equal(spectrum.uncertainty.array, mock.uncertainty.array)
        assert spectrum.uncertainty.unit == spectrum.flux.unit**-2
        assert not spectrum.mask.any()
        assert spectrum.meta == {
            "object_id": str(39633285986387037 + i),
            "sparcl_id": str(uuid.UUID(int=i + 1)),
            "ra": mock.meta["ra"],
            "dec": mock.meta["dec"],
            "redshift": mock.meta["redshift"],
            "quality": Quality.GOOD,
            "medium": "vacuum",
            "data_release": "DESI-DR1",
            "citation": "DESI Collaboration 2025, arXiv:2503.14745; "
            "Juneau et al. 2024, arXiv:2401.05576",
        }
    embedded = aa.embed(spectra[:1])
    expected = aa.embed([mocks.spectrum(2)])
    np.testing.assert_array_equal(embedded.values, expected.values)
    assert embedded["redshift"].item() == mocks.spectrum(2).meta["redshift"]


def test_many_are_asked_for_in_pieces():
    records = [small(i) for i in range(60)]
    with sparcl_archive(records) as archive:
        spectra = SPARCLClass().get_spectra([record["sparcl_id"] for record in records])
    ids = [spectrum.meta["sparcl_id"] for spectrum in spectra]
    assert ids == [record["sparcl_id"] for record in records]
    assert len([path for path in archive.requests if "spectras" in path]) == 2


def test_query_region_gives_what_is_inside_nearest_first():
    records = [
        at(3.0, 0, 0),
        at(-1.0, 1.0, 1, redshift=None, spectype="QSO", redshift_warning=4),
        at(7.1, 7.1, 2),  # in the box, not in the cone
        at(0, -9.9, 3, data_release="SDSS-DR17", specid=2634622337315530752),
        at(0, -20, 4),
    ]
    with sparcl_archive(records) as archive:
        found = SPARCLClass().query_region(HERE.galactic, 10 * u.arcsec)
    assert list(found["sparcl_id"]) == [records[i]["sparcl_id"] for i in (1, 0, 3)]
    assert found.colnames == [
        "sparcl_id", "object_id", "ra", "dec", "redshift", "redshift_warning", "spectype",
        "specprimary", "data_release", "separation",
    ]  # fmt: skip
    np.testing.assert_allclose(found["separation"].quantity.to_value("arcsec"), [2**0.5, 3, 9.9])
    np.testing.assert_array_equal(found["ra"].quantity.to_value("deg"), found["ra"].value)
    assert np.isnan(found["redshift"][0])
    assert found["redshift"][1] == records[0]["redshift"]
    assert list(found["spectype"]) == ["QSO", "GALAXY", "GALAXY"]
    assert list(found["redshift_warning"]) == [4, 0, 0]
    assert found["object_id"][2] == "2340-53733-0060"
    assert archive.bodies[0]["search"][0][0] == "ra"
    assert "red_shift" in archive.bodies[0]["outfields"]  # as it is called over the wire


def test_nothing_there_is_an_empty_table_with_the_same_columns():
    with sparcl_archive([at(0, 0)]):
        client = SPARCLClass()
        some, none = client.query_region(HERE), client.query_region(SkyCoord(10, 10, unit="deg"))
        assert client.get_spectra(none) == []
    assert (len(some), len(none)) == (1, 0)
    assert none.colnames == some.colnames
    assert none["ra"].unit == u.deg


def test_more_than_the_limit_is_an_error_not_a_part():
    with sparcl_archive([at(0.1 * i, 0, i) for i in range(5)]):
        client = SPARCLClass()
        assert len(client.query_region(HERE, limit=6)) == 5
        with pytest.raises(InputError, match=r"5 spectra or more within 1 arcsec of 150\.10000"):
            client.query_region(HERE, limit=5)


@pytest.mark.parametrize("dec", [0.0, 45.0, -80.0, 89.99, 90.0, -90.0, -89.9])
@pytest.mark.parametrize("ra", [0.0, 0.001, 180.0, 359.9999])
@pytest.mark.parametrize("radius", [1 / 3600, 0.05, 1.0])
def test_boxes_hold_the_cone(ra, dec, radius):
    edge = SkyCoord(ra, dec, unit="deg").directional_offset_by(
        np.linspace(0, 360, 361) * u.deg, radius * u.deg
    )
    inside = np.zeros(edge.shape, bool)
    found = boxes(ra, dec, radius)
    for (first, last), (south, north) in found:
        assert 0 <= first <= last <= 360
        assert -90 <= south <= north <= 90
        inside |= (
            (first - 1e-9 <= edge.ra.deg) & (edge.ra.deg <= last + 1e-9)
            & (south - 1e-9 <= edge.dec.deg) & (edge.dec.deg <= north + 1e-9)
        )  # fmt: skip
    assert inside.all()
    if abs(dec) <= 80:  # and hardly more
        widths = sum(last - first for (first, last), _ in found)
        assert widths <= 2.1 * radius / np.cos(np.radians(dec))


@pytest.mark.parametrize(("ra", "dec"), [(0.0001, 30.0), (359.9999, -30.0), (77.0, 90.0)])
def test_cones_across_ra_0_and_poles_lose_nothing(ra, dec):
    centre = SkyCoord(ra, dec, unit="deg")
    ring = centre.directional_offset_by(np.arange(0, 360, 45) * u.deg, 0.9 * u.arcsec)
    records = [
        small(i, ra=float(there.ra.deg), dec=float(there.dec.deg)) for i, there in enumerate(ring)
    ]
    with sparcl_archive(records):
        found = SPARCLClass().query_region(centre)
    assert len(found) == 8
    np.testing.assert_allclose(found["separation"], 0.9, rtol=1e-5)


def test_masks_are_those_of_the_survey():
    bits = [0, 1 << 4, 1 << 23, 0, 0]
    records = [
        small(0, mask=bits, ivar=[4, 4, 4, 0, -1]),
        small(1, mask=bits, ivar=[4, 4, 4, 0, -1], data_release="BOSS-DR17"),
    ]
    assert BAD_PIXEL & 1 << 23
    assert not BAD_PIXEL & 1 << 4
    with sparcl_archive(records):
        desi, boss = SPARCLClass().get_spectra([record["sparcl_id"] for record in records])
    assert desi.mask.tolist() == [False, True, True, True, True]
    assert boss.mask.tolist() == [False, False, True, True, True]
    assert boss.uncertainty.array.tolist() == [4, 4, 0, 0, 0]
    assert boss.meta["citation"].startswith("Abdurro'uf et al. 2022")


def test_what_is_not_finite_has_no_weight_and_is_flagged():
    flux = [1.0, float("nan"), float("inf"), None, 5.0]
    ivar = [4.0, 4.0, 4.0, 4.0, float("nan")]
    records = [small(0, flux=flux, ivar=ivar), small(1, flux=flux, ivar=[4.0, 0, 0, 0, 4.0])]
    with sparcl_archive(records):
        bad, masked = SPARCLClass().get_spectra([record["sparcl_id"] for record in records])
    assert bad.mask.tolist() == [False, True, True, True, True]
    assert np.isfinite(bad.flux.value).all()
    assert np.isfinite(bad.uncertainty.array).all()
    assert bad.meta["quality"] == Quality.NON_FINITE
    assert masked.mask.tolist() == [False, True, True, True, False]
    assert masked.meta["quality"] == Quality.GOOD


@pytest.mark.parametrize(
    ("change", "bits"),
    [
        ({"spectype": "STAR"}, Quality.NOT_A_GALAXY),
        ({"spectype": "QSO"}, Quality.NOT_A_GALAXY),
        ({"redshift_warning": 4}, Quality.SURVEY_WARNING),
        ({}, Quality.GOOD),
    ],
)
def test_quality(change, bits):
    record = small(**change)
    with sparcl_archive([record]):
        (spectrum,) = SPARCLClass().get_spectra(record["sparcl_id"])
    assert spectrum.meta["quality"] == bits


@pytest.mark.parametrize(
    ("release", "specid", "expected"),
    [
        # As SkyServer's SpecObjAll has it: plate 2340, MJD 53733, fibre 60.
        ("SDSS-DR17", 2634622337315530752, "2340-53733-0060"),
        # Plates past 8191 make negative numbers of 64 signed bits.
        ("BOSS-DR17", -6444532452352045056, "10660-58466-0431"),
        ("DESI-DR1", 39633285986387037, "39633285986387037"),
    ],
)
def test_objects_are_named_as_in_their_survey(release, specid, expected):
    record = small(data_release=release, specid=specid)
    with sparcl_archive([record]):
        (spectrum,) = SPARCLClass().get_spectra([record["sparcl_id"]])
        assert list(SPARCLClass().query_region(HERE)["object_id"]) == [expected]
    assert spectrum.meta["object_id"] == expected


def test_stated_units_count():
    record = small(wavelength=[400.0, 500, 600, 700, 800])
    units = {"flux": "1e-20 W m-2 nm-1", "wavelength": "nm"}
    with sparcl_archive([record], units=units):
        (spectrum,) = SPARCLClass().get_spectra([record["sparcl_id"]])
    assert spectrum.spectral_axis[0].to_value("AA") == pytest.approx(4000)
    expected = u.Unit("1e-20 W m-2 nm-1").to("1e-17 erg / (s cm2 Angstrom)")
    assert spectrum.flux[0].to_value("1e-17 erg / (s cm2 Angstrom)") == pytest.approx(expected)
    with (
        sparcl_archive([record], units={"flux": "ct", "wavelength": "AA"}),
        pytest.raises(InputError, match="unit 'ct', expected one like"),
    ):
        SPARCLClass().get_spectra([record["sparcl_id"]])
    with sparcl_archive([small()], units={}):
        (spectrum,) = SPARCLClass().get_spectra([record["sparcl_id"]])
    assert spectrum.flux.unit == u.Unit("1e-17 erg / (s cm2 Angstrom)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"flux": [1.0] * 4}, r"the shapes \(5,\), \(4,\), \(5,\), \(5,\), expected one length"),
        ({"mask": [0] * 6}, "expected one length"),
        ({"ivar": None}, "expected one length"),
        ({"flux": [[1.0] * 5]}, "expected one length"),
        ({"flux": ["a"] * 5}, "could not convert string to float"),
        ({"wavelength": [5000.0, 4000, 6000, 7000, 8000]}, "do not increase"),
        ({"wavelength": [None, 4000, 6000, 7000, 8000]}, "do not increase"),
        ({"wavelength": [4000, 5000, 6000, 7000, float("inf")]}, "do not increase"),
        ({"ra": None}, "not what it should hold"),
    ],
)
def test_spectra_that_are_not_whole_are_asked_for_again_and_then_refused(change, said):
    record = small(**change)
    with sparcl_archive([record]) as archive, pytest.raises(InputError, match=said):
        SPARCLClass().get_spectra([record["sparcl_id"]])
    assert len([path for path in archive.requests if "spectras" in path]) == 3


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda answer: [], "expected a list of a header and records"),
        (lambda answer: {"status": "busy"}, "expected a list of a header and records"),
        (lambda answer: [answer[0], "record"], "not what it should hold"),
        (lambda answer: [answer[0], answer[1] | {"dec": 91.0}], "a position of 150.1.*91.0 deg"),
        (lambda answer: [answer[0], answer[1] | {"dec": None}], "a record without dec"),
        (lambda answer: [answer[0], answer[1] | {"uuid": "../../x"}], "badly formed"),
        (lambda answer: [answer[0], answer[1] | {"specid": 2**80}], "OverflowError"),
        (lambda answer: [answer[0], answer[1] | {"_dr": "DESI-DR9"}], "DESI-DR9"),
    ],
)
def test_tables_that_are_no_answer_are_refused(edit, said):
    with sparcl_archive([small()]) as archive:
        client = SPARCLClass()
        client.query_region(HERE)  # by now it knows the fields
        archive.edit = edit
        with pytest.raises(InputError, match=f"in 3 tries.*{said}"):
            client.query_region(HERE)


def test_an_interface_without_a_field_says_so():
    with sparcl_archive([small()]) as archive:
        archive.edit = lambda answer: [f for f in answer if f.get("newdp") != "ivar"]
        with pytest.raises(InputError, match="SPARCL has no field ivar any more"):
            SPARCLClass().get_spectra([small()["sparcl_id"]])


def test_unknown_surveys_are_refused_not_guessed():
    record = small(data_release="4MOST-DR1")
    with sparcl_archive([record]) as archive:
        archive.edit = lambda answer: (
            answer
            if "_dr" in answer[-1]
            else [*answer, *({**f, "data_release": "4MOST-DR1"} for f in answer)]
        )
        client = SPARCLClass()
        assert client.query_region(HERE)["object_id"][0] == str(record["specid"])
        with pytest.raises(InputError, match="data release 4MOST-DR1: expected one of DESI, SDSS"):
            client.get_spectra([record["sparcl_id"]])


@pytest.mark.parametrize("fault", ["html", "429", "500", "truncated", "dropped"])
def test_every_request_outlives_a_fault(fault):
    record = at(0.5, 0)

    def every_other(number, url):
        return fault if number % 2 == 0 else None

    with sparcl_archive([record], every_other) as archive:
        client = SPARCLClass()
        (spectrum,) = client.get_spectra(client.query_region(HERE))
    assert spectrum.meta["object_id"] == str(record["specid"])
    assert len(archive.requests) == 6


def test_a_slow_answer_is_asked_for_again():
    slow = {1}
    with sparcl_archive(
        [small()], lambda number, url: "slow" if number in slow else None, timeout=0.8, delay=5
    ) as archive:
        assert len(SPARCLClass().query_region(HERE)) == 1
    assert len(archive.requests) == 3


@pytest.mark.parametrize("fault", ["html", "429", "500", "truncated", "dropped"])
def test_a_fault_that_stays_is_an_error(fault):
    with (
        sparcl_archive([small()], lambda number, url: fault, retries=1),
        pytest.raises(InputError, match=r"no usable answer from 127.0.0.1:\d+/sparc/\w+/ in 2"),
    ):
        SPARCLClass().query_region(HERE)


def test_missing_spectra_are_an_error_that_names_them():
    nobody = str(uuid.UUID(int=999))
    with sparcl_archive([small()]), pytest.raises(InputError, match=f"no spectrum {nobody}"):
        SPARCLClass().get_spectra([small()["sparcl_id"], nobody])


@pytest.mark.parametrize(
    ("matches", "said"),
    [
        (["x"], "sparcl_id 'x': expected an identifier"),
        (["../version"], "expected an identifier"),
        (Table({"specid": [1]}), "a table with columns specid: expected sparcl_id"),
    ],
)
def test_bad_identifiers_ask_nobody(matches, said):
    with sparcl_archive([]) as archive, pytest.raises(InputError, match=said):
        SPARCLClass().get_spectra(matches)
    assert archive.requests == []


@pytest.mark.parametrize(
    ("place", "radius"),
    [
        (SkyCoord([1, 2], [3, 4], unit="deg"), 1 * u.arcsec),
        (SkyCoord(np.nan, 3, unit="deg"), 1 * u.arcsec),
        ((150, 2), 1 * u.arcsec),
        (HERE, 1.0),
        (HERE, 1 * u.kpc),
        (HERE, -1 * u.arcsec),
        (HERE, np.nan * u.arcsec),
    ],
)
def test_bad_places_ask_nobody(place, radius):
    with sparcl_archive([]) as archive, pytest.raises(InputError, match=r"position|radius"):
        SPARCLClass().query_region(place, radius)
    assert archive.requests == []


class TestSource:
    @pytest.fixture(autouse=True)
    def fields(self, monkeypatch):
        """The client that everybody uses keeps nothing of the servers of tests."""
        monkeypatch.setattr(SPARCLSource.client, "_fields", {})

    def fetch(self, records, **kwargs):
        with sparcl_archive(records):
            return SPARCLSource(**kwargs).fetch(HERE).meta

    def test_the_nearest_is_fetched(self):
        records = [at(0.9, 0, 0), at(-0.5, 0, 1), at(2, 0, 2)]
        assert self.fetch(records)["sparcl_id"] == records[1]["sparcl_id"]
        assert self.fetch(records[2:], radius="3 arcsec")["sparcl_id"] == records[2]["sparcl_id"]

    def test_of_one_object_desi_and_then_the_latest_and_then_the_primary(self):
        releases = ["BOSS-DR17", "SDSS-DR17", "DESI-EDR", "DESI-DR1", "DESI-DR1", "DESI-DR1"]
        records = [
            small(i, data_release=release, specprimary=i in (0, 1, 2, 4))
            for i, release in enumerate(releases)
        ]
        for best, left in [(4, 6), (3, 4), (2, 3), (1, 2), (0, 1)]:
            assert self.fetch(records[:left])["sparcl_id"] == records[best]["sparcl_id"]
        # A neighbour is another object, whatever has observed it.
        neighbour = at(2.5, 0, 9)
        found = self.fetch([*records[:1], neighbour], radius=3 * u.arcsec)
        assert found["sparcl_id"] == records[0]["sparcl_id"]

    def test_none_within_the_radius_is_an_error_that_names_the_place(self):
        said = r"^10h00m24s \+02d12m00s: SPARCL has no spectrum within 1 arcsec$"
        with pytest.raises(InputError, match=said) as caught:
            self.fetch([at(1.1, 0)])
        assert caught.value.object_id == "10h00m24s +02d12m00s"

    def test_faults_name_the_place(self):
        with (
            sparcl_archive([], lambda number, url: "500", retries=0),
            pytest.raises(InputError, match=r"^10h00m24s \+02d12m00s: no usable answer"),
        ):
            SPARCLSource().fetch(HERE)

    def test_constructing_contacts_nobody(self):
        with sparcl_archive([]) as archive:
            source = SPARCLSource()
        assert archive.requests == []
        assert (source.modality, source.radius) == ("spectrum", 1 * u.arcsec)


def test_retry_after_holds_for_all_who_ask(stopped_clock):
    clock = stopped_clock(http)
    faults = {1: "429"}
    with sparcl_archive(
        [mock_record(0)], lambda number, url: faults.get(number), retries=0, retry_after="7"
    ):
        client, place = SPARCLClass(), SkyCoord(10, -10, unit="deg")
        with pytest.raises(InputError, match="429"):
            client.query_region(place)
        assert clock.waits == []
        client.query_region(place)
    assert clock.waits == [7]


def test_a_masked_position_asks_nobody():
    places = SkyCoord(Masked([1, 2], mask=[False, True]) * u.deg, [3, 4] * u.deg)
    with sparcl_archive([]) as archive:
        with pytest.raises(InputError, match=r"^the position is masked: select those that are kn"):
            SPARCLClass().query_region(places[1])
        assert archive.requests == []
        with pytest.raises(InputError, match=r"^00h04m00s \+03d00m00s: SPARCL has no spectrum"):
            SPARCLSource().fetch(places[0])


@pytest.mark.remote_data
def test_live_service():
    place = SkyCoord(60.007777, -0.877601, unit="deg")
    found = sparcl.SPARCL.query_region(place, 1 * u.arcsec)
    assert "39633285986387037" in found["object_id"]
    spectrum = SPARCLSource().fetch(place)
    assert spectrum.meta["redshift"] == pytest.approx(0.782049, abs=1e-5)
    assert spectrum.shape == (7781,)
