import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.utils.masked import Masked

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.sources import http, sdss
from astroclip_astro.sources.sdss import SDSSClass, SDSSSource
from astroclip_astro.surveys.sdss import SDSS
from tests.sources.sdss_archive import TOO_MANY, described, sdss_archive

HERE = SkyCoord(150.1, 2.2, unit="deg")


@pytest.fixture
def made(tmp_path, sdss_file):
    """Function that makes an object with a spectrum, at a distance in arcsec from HERE."""

    def make(fibre, east=0.0, north=0.0, **changes):
        there = HERE.spherical_offsets_by(east * u.arcsec, north * u.arcsec)
        path = sdss_file(tmp_path, fibre)
        return described(path, float(there.ra.deg), float(there.dec.deg), **changes)

    return make


def test_spectra_are_those_of_the_files(made):
    objects = [made(1, z=0.25), made(2, 0.5, run2d="26", **{"class": "QSO", "zWarning": 4})]
    with sdss_archive(objects):
        client = SDSSClass()
        spectra = client.get_spectra(client.query_region(HERE)[::-1])
    for spectrum, each in zip(spectra, objects[::-1], strict=True):
        (expected,) = SDSS().read(each["file"])
        np.testing.assert_array_equal(spectrum.flux, expected.flux)
        np.testing.assert_array_equal(spectrum.spectral_axis, expected.spectral_axis)
        np.testing.assert_array_equal(spectrum.uncertainty.array, expected.uncertainty.array)
        np.testing.assert_array_equal(spectrum.mask, expected.mask)
        assert spectrum.meta == expected.meta | {
            "medium": "vacuum",
            "data_release": "SDSS-DR17",
            "citation": "Abdurro'uf et al. 2022, ApJS 259, 35, doi:10.3847/1538-4365/ac4414",
        }
    assert spectra[1].meta["object_id"] == "0001-55555-0001"
    assert spectra[1].meta["redshift"] == 0.25
    assert spectra[0].meta["quality"] == Quality.NOT_A_GALAXY | Quality.SURVEY_WARNING
    embedded = aa.embed(spectra)
    assert list(embedded["object_id"].values) == ["0001-55555-0002", "0001-55555-0001"]
    assert np.isfinite(embedded.values).all()


def test_query_region_gives_what_is_inside_nearest_first(made):
    objects = [made(1, 3.0), made(2, -1, 1, z=0.3), made(3, 0, -9.99), made(4, 10.005), made(5, 20)]
    with sdss_archive(objects) as archive:
        found = SDSSClass().query_region(HERE.galactic, "10 arcsec")
    assert list(found["fiberID"]) == [2, 1, 3]
    assert found.colnames == [
        "object_id", "ra", "dec", "redshift", "redshift_warning", "spectype", "plate", "mjd",
        "fiberID", "run2d", "separation",
    ]  # fmt: skip
    assert found["object_id"][0] == "0001-55555-0002"
    assert found["redshift"][0] == 0.3
    np.testing.assert_allclose(found["separation"].quantity.to_value("arcsec"), [2**0.5, 3, 9.99])
    assert "JOIN SpecObj AS s" in archive.queries[0]


def test_nothing_there_is_an_empty_table_with_the_same_columns(made):
    with sdss_archive([made(1)]) as archive:
        client = SDSSClass()
        some, none = client.query_region(HERE), client.query_region(SkyCoord(10, -10, unit="deg"))
        assert client.get_spectra(none) == []
        archive.search = lambda sql: "No objects have been found\n"
        said = client.query_region(HERE)
    assert (len(some), len(none), len(said)) == (1, 0, 0)
    assert none.colnames == some.colnames == said.colnames


@pytest.mark.parametrize("fault", ["html", "429", "500", "truncated", "dropped"])
def test_every_request_outlives_a_fault(made, fault):
    def every_other(number, url):
        return fault if number % 2 == 0 else None

    with sdss_archive([made(1)], every_other) as archive:
        client = SDSSClass()
        (spectrum,) = client.get_spectra(client.query_region(HERE))
    assert spectrum.meta["object_id"] == "0001-55555-0001"
    assert len(archive.requests) == 4


def test_slow_answers_are_asked_for_again(made):
    slow = {0, 2}
    with sdss_archive(
        [made(1)], lambda number, url: "slow" if number in slow else None, timeout=0.8, delay=5
    ) as archive:
        client = SDSSClass()
        assert len(client.get_spectra(client.query_region(HERE))) == 1
    assert len(archive.requests) == 4


@pytest.mark.parametrize("fault", ["html", "429", "500", "truncated", "dropped"])
def test_a_fault_that_stays_is_an_error(made, fault):
    each = made(1)
    with sdss_archive([each], lambda number, url: fault, retries=1):
        with pytest.raises(InputError, match=r"x_results\.aspx in 2 tries"):
            SDSSClass().query_region(HERE)
        with pytest.raises(InputError, match=r"spec-0001-55555-0001\.fits in 2 tries"):
            SDSSClass().get_spectra(Table(rows=[each]))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (TOO_MANY.decode(), "Maximum 60 queries allowed per minute"),
        ("#Table1\nra,dec\n1,2\n", "not the table asked for: '#Table1 ra,dec"),
        ('{"error_message": "bad SQL"}', "bad SQL"),
        ("", "not the table asked for"),
    ],
)
def test_tables_that_are_no_answer_are_asked_for_again_and_then_refused(
    made, answer, said, stopped_clock
):
    stopped_clock(http)
    with sdss_archive([made(1)]) as archive:
        right, wrong = archive.search, lambda sql: answer
        archive.search = lambda sql: (wrong if len(archive.queries) < 3 else right)(sql)
        assert len(SDSSClass().query_region(HERE)) == 1
        archive.search = wrong
        with pytest.raises(InputError, match=said):
            SDSSClass().query_region(HERE)


@pytest.mark.parametrize("row", ["150.1,2.2,0.1", "150.1,2.2,x,0,GALAXY,1,2,3,v5_13_0"])
def test_rows_that_are_not_whole_are_refused(made, row):
    with sdss_archive([made(1)]) as archive:
        right = archive.search
        archive.search = lambda sql: "\n".join([*right(sql).splitlines()[:2], row])
        with pytest.raises(InputError, match=r"not the table asked for|could not convert"):
            SDSSClass().query_region(HERE)


@pytest.mark.parametrize("size", [100, 2880, 3 * 2880, 5 * 2880, 20 * 2880])
def test_files_that_are_not_whole_are_refused(made, size):
    each = made(1)
    each["file"].write_bytes(each["file"].read_bytes()[:size])
    with (
        sdss_archive([each]) as archive,
        pytest.raises(InputError, match=r"no FITS file|damaged|truncated|without the table|cannot"),
    ):
        SDSSClass().get_spectra(Table(rows=[each]))
    assert len(archive.requests) == 3


def ends(path):
    """Where the HDUs of a file end."""
    with fits.open(path) as hdulist:
        return [hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] for hdu in hdulist]


@pytest.mark.parametrize(
    ("hdu", "more", "said"),
    [
        (0, 0, "without the table that describes the object"),
        (1, 0, "without the table that describes the object"),
        (1, 2880, "damaged FITS file|truncated FITS file"),
        (2, -2880, "truncated FITS file"),
    ],
)
def test_files_cut_at_any_block_are_asked_for_again(made, hdu, more, said):
    each = made(1)
    whole = each["file"].read_bytes()
    each["file"].write_bytes(whole[: ends(each["file"])[hdu] + more])
    with sdss_archive([each]), pytest.raises(InputError, match=f"in 3 tries.*({said})"):
        SDSSClass().get_spectra(Table(rows=[each]))

    def whole_at_last(number, url):
        if number == 2:
            each["file"].write_bytes(whole)

    with sdss_archive([each], whole_at_last):
        (spectrum,) = SDSSClass().get_spectra(Table(rows=[each]))
    assert spectrum.meta["redshift"] == 0.1


def test_the_file_of_another_object_is_refused(made):
    each, other = made(1), made(2)
    each["file"].write_bytes(other["file"].read_bytes())
    said = r"in 3 tries.*the spectrum 0001-55555-0002, not 0001-55555-0001"
    with sdss_archive([each, other]), pytest.raises(InputError, match=said):
        SDSSClass().get_spectra(Table(rows=[each, other]))


def test_a_spectrum_of_one_pixel_is_refused(made):
    each = made(1)
    with fits.open(each["file"]) as hdulist:
        hdulist[1] = fits.BinTableHDU(hdulist[1].data[:1], name="COADD")
        hdulist.writeto(each["file"].with_suffix(".short"))
    each["file"] = each["file"].with_suffix(".short")
    with sdss_archive([each]), pytest.raises(InputError, match=r"in 3 tries.*(pixel|element)"):
        SDSSClass().get_spectra(Table(rows=[each]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"run2d": "../../../../../etc"},
            r"^0001-55555-0001: run2d '\.\./.*': expected the name of",
        ),
        ({"run2d": ".."}, "run2d"),
        ({"run2d": ""}, "run2d"),
        ({"run2d": "v5?x=1"}, "run2d"),
        ({"run2d": b"../x"}, "run2d"),
        ({"run2d": "v5\n"}, "run2d"),
        ({"plate": "../x"}, "expected whole numbers"),
        ({"mjd": 55555.5}, "expected whole numbers"),
    ],
)
def test_what_names_no_spectrum_asks_nobody(made, changes, said):
    matches = Table(rows=[made(1) | changes])
    with sdss_archive([]) as archive, pytest.raises(InputError, match=said):
        SDSSClass().get_spectra(matches)
    assert archive.requests == []


@pytest.mark.parametrize("name", ["plate", "mjd", "fiberID", "run2d"])
def test_masked_rows_ask_nobody(made, name):
    matches = Table(rows=[made(1)], masked=True)
    matches[name].mask = True
    with sdss_archive([]) as archive, pytest.raises(InputError, match=f"{name}.* expected"):
        SDSSClass().get_spectra(matches)
    assert archive.requests == []


def test_a_masked_position_asks_nobody():
    # What lies under the mask is HERE.
    place = SkyCoord(Masked(HERE.ra, mask=True), HERE.dec)
    with sdss_archive([]) as archive:
        with pytest.raises(InputError, match=r"^the position is masked: select those that are kn"):
            SDSSClass().query_region(place)
        with pytest.raises(InputError, match=r"^——— \+02d12m00s: the position is masked"):
            SDSSSource().fetch(place)
    assert archive.requests == []


def test_files_that_are_something_else_are_refused(made):
    each = made(1)
    image = fits.PrimaryHDU(np.ones((3, 4)))
    fits.HDUList([image, fits.ImageHDU(), fits.ImageHDU()]).writeto(each["file"], overwrite=True)
    with sdss_archive([each]), pytest.raises(InputError, match=r"^spec-0001-55555-0001\.fits: exp"):
        SDSSClass().get_spectra(Table(rows=[each]))


def test_missing_files_are_final(made):
    each = made(1)
    with sdss_archive([]) as archive, pytest.raises(InputError, match=r"0001\.fits .*HTTP 404"):
        SDSSClass().get_spectra(Table(rows=[each]))
    assert len(archive.requests) == 1


@pytest.mark.parametrize("matches", [None, [], Table({"plate": [1]})])
def test_bad_matches_ask_nobody(matches):
    with sdss_archive([]) as archive, pytest.raises(InputError, match="no columns plate, mjd"):
        SDSSClass().get_spectra(matches)
    assert archive.requests == []


def test_skyserver_is_asked_at_intervals_and_the_files_are_not(made, stopped_clock):
    clock = stopped_clock(http)
    faults = {1: "500", 3: "html"}
    with (
        sdss_archive([made(1)], lambda number, url: faults.get(number)) as archive,
        sdss.conf.set_temp("interval", 100.0),
    ):
        client = SDSSClass()
        found = client.query_region(HERE)
        client.query_region(HERE)  # the second try is a query, too
        assert [wait for wait in clock.waits if wait] == [100, 100]
        client.get_spectra(found)
        client.get_spectra(found)
    assert len(archive.requests) == 6
    assert [wait for wait in clock.waits if wait] == [100, 100]


def test_too_many_queries_let_nobody_ask_for_a_minute(made, stopped_clock):
    clock = stopped_clock(http)
    with sdss_archive([made(1)], retries=0) as archive:
        right = archive.search
        archive.search = lambda sql: TOO_MANY.decode() if len(archive.queries) == 1 else right(sql)
        client = SDSSClass()
        with pytest.raises(InputError, match="Maximum 60 queries allowed per minute"):
            client.query_region(HERE)
        assert clock.waits == []
        assert len(client.query_region(HERE)) == 1
    assert clock.waits == [60]


def test_the_source_fetches_the_nearest(made):
    objects = [made(1, 0.9), made(2, -0.5), made(3, 2)]
    with sdss_archive(objects) as archive:
        assert SDSSSource().fetch(HERE).meta["object_id"] == "0001-55555-0002"
        assert len(archive.requests) == 2
        archive.objects = objects[2:]
        assert SDSSSource(radius=3 * u.arcsec).fetch(HERE).meta["object_id"] == "0001-55555-0003"
        said = r"^10h00m24s \+02d12m00s: SDSS has no spectrum within 1 arcsec$"
        with pytest.raises(InputError, match=said):
            SDSSSource().fetch(HERE)


@pytest.mark.remote_data
def test_live_service():
    place = SkyCoord("0h8m05.63s +14d50m23.3s")
    found = sdss.SDSS.query_region(place, 3 * u.arcsec)
    assert list(found["object_id"]) == ["0751-52251-0160"]
    spectrum = SDSSSource(radius=3 * u.arcsec).fetch(place)
    assert spectrum.meta["redshift"] == pytest.approx(0.04559, abs=1e-4)
