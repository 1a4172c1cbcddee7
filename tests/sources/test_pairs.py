import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.utils.masked import Masked

import astroclip_astro as aa
from astroclip_astro.errors import InputError, PluginError
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.sources import Source, match
from astroclip_astro.sources.sdss import SDSSSource
from astroclip_astro.sources.sparcl import SPARCLSource
from tests.sources.sdss_archive import described, sdss_archive
from tests.sources.sparcl_archive import mock_record, sparcl_archive

MOCKS = MockSurvey.bundled()
PLACES = SkyCoord(MOCKS.truth["ra"][:8], MOCKS.truth["dec"][:8])


class Cutouts(Source):
    """Mocks' cutouts, the nearest of all; not those of the rows in `missing`."""

    modality = "image"

    def __init__(self, missing=()):
        self.missing = missing

    def fetch(self, coordinate):
        i = int(np.argmin(coordinate.separation(PLACES)))
        if i in self.missing:
            raise InputError("outside the survey", object_id=f"cutout {i}")
        return MOCKS.cutout(i)


class Fixed(Source):
    """A source of spectra that gives one, wherever asked."""

    modality = "spectrum"

    def __init__(self, spectrum):
        self.spectrum = spectrum

    def fetch(self, coordinate):
        return self.spectrum


@pytest.fixture(autouse=True)
def fields(monkeypatch):
    """The client that everybody uses keeps nothing of the servers of tests."""
    monkeypatch.setattr(SPARCLSource.client, "_fields", {})


def test_pairs_from_a_local_server_in_the_order_given():
    order = [5, 0, 3, 0, 7]
    with sparcl_archive([mock_record(i) for i in range(8)]):
        table = match(Cutouts(), SPARCLSource(), PLACES[order].galactic)
    assert table.colnames == [
        "ra", "dec", "separation", "object_id", "redshift", "spectrum", "image", "reason",
    ]  # fmt: skip
    assert list(table["reason"]) == [""] * 5
    np.testing.assert_allclose(table["ra"].quantity, PLACES[order].ra, rtol=1e-12)
    np.testing.assert_allclose(table["dec"].quantity, PLACES[order].dec, rtol=1e-12)
    assert (table["separation"].quantity < 1e-6 * u.arcsec).all()
    assert list(table["object_id"]) == [str(39633285986387037 + i) for i in order]
    np.testing.assert_array_equal(table["redshift"], MOCKS.truth["redshift"][order])
    for row, i in zip(table, order, strict=True):
        np.testing.assert_array_equal(row["spectrum"].flux, MOCKS.spectrum(i).flux)
        np.testing.assert_array_equal(row["image"].data, MOCKS.cutout(i).data)
    spectra, images = aa.embed(table["spectrum"]), aa.embed(table["image"])
    assert spectra.shape == images.shape == (5, 128)
    np.testing.assert_array_equal(spectra, aa.embed([MOCKS.spectrum(i) for i in order]))
    assert "Spectrum" in str(table["spectrum"])
    assert table.meta["spectrum_source"] == "SPARCLSource"


def test_whatever_is_missing_keeps_its_row_and_says_why():
    with sparcl_archive([mock_record(i) for i in (0, 2)]):
        table = match(Cutouts(missing=(2, 3)), SPARCLSource(), PLACES[:4])
    assert [row["spectrum"] is None for row in table] == [False, True, False, True]
    assert [row["image"] is None for row in table] == [False, False, True, True]
    assert table["reason"][0] == ""
    assert table["reason"][1].startswith("no spectrum: ")
    assert table["reason"][1].endswith("SPARCL has no spectrum within 1 arcsec")
    assert table["reason"][2] == "no image: cutout 2: outside the survey"
    assert table["reason"][3].endswith("1 arcsec; no image: cutout 3: outside the survey")
    assert list(table["object_id"] == "") == [False, True, False, True]
    assert np.isnan(table["redshift"]).tolist() == [False, True, False, True]
    assert np.isnan(table["separation"]).tolist() == [False, True, False, True]
    assert "--" in str(table["spectrum"])
    embedded = aa.embed(table["spectrum"])
    assert np.isnan(embedded.values).any(1).tolist() == [False, True, False, True]


def test_an_archive_that_fails_for_some_takes_no_others_down():
    # The first request is of the list of fields, then there are two for each object.
    with sparcl_archive(
        [mock_record(i) for i in range(3)],
        lambda number, url: "500" if "find" in url and number < 4 else None,
        retries=0,
    ):
        source = SPARCLSource()
        source.connections = 1
        table = match(Cutouts(), source, PLACES[:5])
    reasons = list(table["reason"])
    assert "no usable answer" in reasons[0]
    assert [row["image"] is None for row in table] == [False] * 5
    assert len(table) == 5
    assert "SPARCL has no spectrum" in reasons[4]


def test_files_from_sdss(tmp_path, sdss_file):
    objects = [
        described(sdss_file(tmp_path, i + 1), float(place.ra.deg), float(place.dec.deg), z=0.1 + i)
        for i, place in enumerate(PLACES[:2])
    ]
    with sdss_archive(objects):
        table = match(Cutouts(), SDSSSource(), PLACES[[1, 0, 4]])
    assert list(table["object_id"]) == ["0001-55555-0002", "0001-55555-0001", ""]
    np.testing.assert_allclose(table["redshift"], [1.1, 0.1, np.nan])
    assert [reason[:11] for reason in table["reason"]] == ["", "", "no spectrum"]


@pytest.mark.parametrize(("east", "near"), [(0.0, True), (1.99, True), (2.01, False)])
def test_separations_are_checked_whatever_the_source_says(east, near):
    there = PLACES[0].spherical_offsets_by(east * u.arcsec, 0 * u.arcsec)
    spectrum = MOCKS.spectrum(1)
    spectrum.meta |= {"ra": there.ra.deg, "dec": there.dec.deg}
    table = match(Cutouts(), Fixed(spectrum), PLACES[0], radius="2 arcsec")
    (row,) = table
    if near:
        assert row["spectrum"] is spectrum
        assert table["separation"].quantity[0].to_value("arcsec") == pytest.approx(east, abs=1e-6)
        assert row["reason"] == ""
    else:
        assert row["spectrum"] is None
        assert np.isnan(row["separation"])
        assert row["reason"] == (
            "no spectrum: the nearest one is 2.01 arcsec away, further than 2 arcsec"
        )
    assert row["image"] is not None


@pytest.mark.parametrize("ra", [None, np.nan])
def test_a_spectrum_of_unknown_position_is_no_match(ra):
    spectrum = MOCKS.spectrum(0)
    spectrum.meta["ra"] = ra
    (row,) = match(Cutouts(), Fixed(spectrum), PLACES[0])
    assert row["spectrum"] is None
    assert row["reason"] == "no spectrum: the source does not say where its spectrum was taken"


@pytest.mark.parametrize(
    "redshift", ["unknown", 3 * u.km, [0.1, 0.2], {"z": 0.1}], ids=["text", "km", "two", "dict"]
)
def test_a_redshift_that_is_no_number_is_a_reason(redshift):
    spectrum = MOCKS.spectrum(0)
    spectrum.meta["redshift"] = redshift
    (row,) = match(Cutouts(), Fixed(spectrum), PLACES[0])
    assert row["spectrum"] is None
    assert np.isnan([row["redshift"], row["separation"]]).all()
    assert row["reason"].startswith("no spectrum: the source gives ")
    assert row["reason"].endswith("as its redshift, no number")
    assert row["image"] is not None


@pytest.mark.parametrize(
    ("redshift", "expected"),
    [(0.25 * u.one, 0.25), (25 * u.percent, 0.25), (None, np.nan), (np.ma.masked, np.nan)],
    ids=str,
)
def test_redshifts_of_other_types(redshift, expected):
    spectrum = MOCKS.spectrum(0)
    spectrum.meta["redshift"] = redshift
    (row,) = match(Cutouts(), Fixed(spectrum), PLACES[0])
    assert row["reason"] == ""
    assert row["redshift"] == pytest.approx(expected, nan_ok=True)


def test_nothing_is_no_pair():
    class Nothing(Source):
        def fetch(self, coordinate):
            return None

    (row,) = match(Nothing(), Nothing(), PLACES[0])
    assert (
        row["reason"] == "no spectrum: the source gave nothing; no image: the source gave nothing"
    )


def test_masked_places_have_no_pair():
    # What lies under the masks are the places of mocks.
    masked = Masked(PLACES[:3].ra, mask=[False, True, False])
    places = SkyCoord(masked, PLACES[:3].dec)
    with sparcl_archive([mock_record(i) for i in range(3)]) as archive:
        table = match(Cutouts(), SPARCLSource(), places)
        (row,) = match(Cutouts(), Fixed(MOCKS.spectrum(1)), places[1])
    assert len(archive.bodies) == 2
    for this in (table[1], row):
        assert np.isnan([this["ra"], this["dec"], this["separation"]]).all()
        assert this["spectrum"] is this["image"] is None
        assert this["reason"].startswith("no spectrum: the position is masked: select those that")
        assert "no image: the position is masked" in this["reason"]
    assert list(table["reason"][[0, 2]]) == ["", ""]
    np.testing.assert_allclose(table["ra"][[0, 2]], PLACES[[0, 2]].ra.deg, rtol=1e-12)


@pytest.mark.parametrize("key", ["ra", "dec"])
def test_a_spectrum_of_masked_position_is_no_match(key):
    spectrum = MOCKS.spectrum(0)
    spectrum.meta[key] = Masked(spectrum.meta[key], mask=True)
    (row,) = match(Cutouts(), Fixed(spectrum), PLACES[0])
    assert row["reason"] == "no spectrum: the source does not say where its spectrum was taken"


def test_lists_of_hdus_stay_objects():
    class Files(Cutouts):
        def fetch(self, coordinate):
            return fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU()])

    table = match(Files(), Fixed(MOCKS.spectrum(0)), PLACES[[0, 0]])
    assert [type(image) for image in table["image"]] == [fits.HDUList] * 2


def test_no_places_are_an_empty_table():
    table = match(Cutouts(), Fixed(None), PLACES[:0])
    assert len(table) == 0
    assert table["separation"].unit == u.arcsec


def test_what_cannot_be_matched_asks_nobody():
    with sparcl_archive([]) as archive:
        source = SPARCLSource()
        with pytest.raises(InputError, match="SPARCLSource looks no further than 1 arcsec, and ra"):
            match(Cutouts(), source, PLACES, radius=2 * u.arcsec)
        with pytest.raises(InputError, match="SPARCLSource gives one spectrum each, expected a so"):
            match(source, Cutouts(), PLACES)
        with pytest.raises(InputError, match="radius"):
            match(Cutouts(), source, PLACES, radius=1)
        with pytest.raises(InputError, match="expected a SkyCoord"):
            match(Cutouts(), source, [(150, 2)])
        with pytest.raises(InputError, match="is no source"):
            match(Cutouts, source, PLACES)
        with pytest.raises(PluginError, match="nowhere"):
            match(Cutouts(), "nowhere", PLACES)
    assert archive.requests == []


def test_registered_names(monkeypatch):
    found = {"cutouts": Cutouts(), "fixed": Fixed(MOCKS.spectrum(0))}
    monkeypatch.setattr("astroclip_astro.sources.pairs.get_source", found.__getitem__)
    (row,) = match("cutouts", "fixed", PLACES[0])
    assert row["reason"] == ""
