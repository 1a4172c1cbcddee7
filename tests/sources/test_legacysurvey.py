"""The client of the Legacy Surveys when all goes well, and when users ask for what is not there."""

from urllib.parse import parse_qs, urlsplit

import astropy.units as u
import numpy as np
import pytest
from astropy.config import set_temp_config
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from astroquery import cache_conf
from astroquery.exceptions import (
    EmptyResponseError,
    InputWarning,
    InvalidQueryError,
    RemoteServiceError,
)

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.sources import Source
from astroclip_astro.sources.legacysurvey import LegacySurvey, LegacySurveyClass, conf
from astroclip_astro.sources.legacysurvey.source import LegacySurveySource
from astroclip_astro.sources.legacysurvey.viewer import parse_cutout
from astroclip_astro.surveys.legacysurvey import LegacySurvey as Reader
from tests.sources.legacysurvey_archive import (
    BRICK,
    LAYERS,
    NATIVE,
    Viewer,
    flux,
    invvar,
    maskbits,
    playing,
    sky_of,
    to_bytes,
)

PLACE = SkyCoord(150.1, 2.2, unit="deg")


@pytest.fixture
def viewer():
    return Viewer()


@pytest.fixture
def archive(viewer, tmp_path):
    with playing(viewer, tmp_path) as playing_archive:
        yield playing_archive


def expected(hdu, bands="grz", function=flux):
    """What the made sky has where an image's own WCS says that its pixels are."""
    sky = sky_of(WCS(hdu.header, naxis=2).to_header(), hdu.shape[-1])
    return np.squeeze([function(band, *sky) for band in bands])


def test_settings_of_astropys_configuration_file(tmp_path):
    folder = tmp_path / "astropy"
    folder.mkdir()
    (folder / "astroclip_astro.cfg").write_text("[sources.legacysurvey]\nlayer = ls-dr10\n")
    with set_temp_config(tmp_path):
        conf.reload()
        payload = LegacySurvey.get_images(PLACE, get_query_payload=True)
    conf.reload()
    assert payload["layer"] == "ls-dr10"
    assert LegacySurvey.get_images(PLACE, get_query_payload=True)["layer"] == "ls-dr9"


class TestQuestions:
    @pytest.mark.parametrize(
        ("kwargs", "changed"),
        [
            ({}, {}),
            ({"layer": "ls-dr10"}, {"layer": "ls-dr10"}),
            ({"layer": "ls-dr11-early"}, {"layer": "ls-dr11-early"}),
            ({"bands": ["z", "g"]}, {"bands": "zg"}),
            ({"size": 152}, {"size": 152}),
            ({"size": 152 * u.pix}, {"size": 152}),
            ({"size": 1 * u.arcmin}, {"size": 229}),
            ({"size": 1 * u.arcmin, "pixscale": 0.5}, {"size": 120, "pixscale": 0.5}),
            ({"pixscale": 500 * u.mas}, {"pixscale": 0.5}),
            ({"pixscale": 0.5 * u.arcsec / u.pix}, {"pixscale": 0.5}),
            ({"size": 3000}, {"size": 3000}),
            ({"invvar": True, "maskbits": True}, {"invvar": 1, "maskbits": 1}),
        ],
    )
    def test_payload(self, kwargs, changed):
        payload = LegacySurvey.get_images(PLACE, get_query_payload=True, **kwargs)
        usual = {"ra": 150.1, "dec": 2.2, "layer": "ls-dr9", "pixscale": 0.262}
        assert payload == usual | {"bands": "grz", "size": 256} | changed

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"layer": "ls-dr9&size=4"},
            {"layer": "../ls-dr9"},
            {"layer": ""},
            {"layer": 9},
            {"bands": ""},
            {"bands": "grr"},
            {"bands": "g,r"},
            {"bands": ["g", "rz"]},
            {"bands": None},
            {"size": 0},
            {"size": 3001},
            {"size": 20 * u.arcmin},
            {"size": 152.5},
            {"size": True},
            {"size": "152"},
            {"size": np.nan},
            {"size": np.nan * u.arcsec},
            {"size": 2 * u.s},
            {"size": [8, 9]},
            {"pixscale": 0},
            {"pixscale": -0.262},
            {"pixscale": np.inf},
            {"pixscale": 1 * u.nJy},
            {"pixscale": "fine"},
            {"route": "carrier pigeon"},
            {"route": "bricks", "layer": "sdss"},
            {"route": "bricks", "pixscale": 0.5},
            {"route": "hips"},
            {"route": "hips", "layer": "ls-dr10", "bands": "gy"},
            {"route": "hips", "layer": "ls-dr10", "invvar": True},
        ],
        ids=str,
    )
    def test_nonsense_is_not_asked(self, archive, kwargs):
        with pytest.raises(InvalidQueryError):
            LegacySurvey.get_images(PLACE, **kwargs)
        assert archive.requests == []

    def test_size_over_the_cap_says_why(self):
        with pytest.raises(InvalidQueryError, match=r"3001 pixels: expected 1 to 3000"):
            LegacySurvey.get_images(PLACE, size=3001)

    @pytest.mark.parametrize(
        "coordinates",
        [
            SkyCoord([1, np.nan] * u.deg, [2, 2] * u.deg),
            SkyCoord(Masked([1, 2] * u.deg, mask=[False, True]), [2, 2] * u.deg),
        ],
    )
    def test_unknown_places_are_refused(self, archive, coordinates):
        with pytest.raises(InvalidQueryError, match="select those that are known"):
            LegacySurvey.get_images(coordinates)
        assert archive.requests == []

    def test_other_things_are_no_places(self):
        with pytest.raises(TypeError, match="coordinate"):
            LegacySurvey.get_images(150.1)

    def test_all_forms_of_places(self):
        def where(coordinates):
            payload = LegacySurvey.get_images(coordinates, get_query_payload=True)
            return [(p["ra"], p["dec"]) for p in payload]

        with pytest.warns(InputWarning, match="ICRS"):
            assert where(["10h0m24s +2d12m0s", "150.1 2.2"]) == [(150.1, 2.2)] * 2
        assert where([PLACE, PLACE.galactic, PLACE.frame]) == [(150.1, 2.2)] * 3
        moved = PLACE.transform_to(FK5(equinox="J1975"))
        assert abs(moved.ra.deg - 150.1) > 0.1
        assert where([moved]) == [(150.1, 2.2)]
        grid = SkyCoord([[1, 2], [3, 359.99999999]], [[4, 5], [6, 7]], unit="deg")
        assert where(grid) == [(1, 4), (2, 5), (3, 6), (0, 7)]

    def test_urls(self, archive):
        places = SkyCoord([1, 2], [3, 4], unit="deg")
        urls = LegacySurvey.get_image_list(places, size=8, invvar=True)
        assert [urlsplit(url)[:3] for url in urls] == [
            urlsplit(f"{archive.url}/viewer/cutout.fits")[:3]
        ] * 2
        assert [parse_qs(urlsplit(url).query)["ra"] for url in urls] == [["1.0"], ["2.0"]]
        assert archive.requests == []


class TestCutouts:
    @pytest.mark.parametrize("bands", ["grz", "zr", "g"])
    def test_images_of_many_places_in_order(self, archive, bands):
        places = SkyCoord([10, 359.9999, 0.0001], [2, -30, 88], unit="deg")
        images = LegacySurvey.get_images(places, size=8, bands=bands)
        for place, image in zip(places, images, strict=True):
            assert isinstance(image, fits.HDUList)
            np.testing.assert_allclose(image[0].data, expected(image[0], bands), rtol=1e-6)
            centre = WCS(image[0].header, naxis=2).pixel_to_world(3.5, 3.5)
            assert centre.separation(place) < 1 * u.mas
        assert len(archive.requests) == 3

    def test_invvar_and_maskbits(self, archive):
        (image,) = LegacySurvey.get_images(PLACE, size=8, invvar=True, maskbits=True)
        np.testing.assert_allclose(image[1].data, expected(image[1], function=invvar), rtol=1e-6)
        sky = sky_of(image[2].header, 8)
        np.testing.assert_array_equal(image[2].data, maskbits(*sky))

    def test_handles_fetch_when_they_are_asked(self, archive):
        handles = LegacySurvey.get_images_async(SkyCoord([1, 2], [3, 4], unit="deg"), size=8)
        assert archive.requests == []
        assert handles[1].get_fits()[0].header["CRVAL1"] == 2
        assert len(archive.requests) == 1

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"layer": "ls-dr99"}, "no such layer"),
            ({"bands": "griz"}, "asked for bands griz, got grz: layer ls-dr9 does not have"),
            ({"layer": "sdss", "bands": "gri", "invvar": True}, "layer sdss has no invvar"),
            ({"layer": "sdss", "bands": "gri", "maskbits": True}, "layer sdss has no maskbits"),
        ],
    )
    def test_final_answers_are_not_asked_again(self, archive, tmp_path, kwargs, message):
        with pytest.raises(InvalidQueryError, match=message):
            LegacySurvey.get_images(PLACE, size=8, **kwargs)
        assert len(archive.requests) == 1
        assert list(tmp_path.rglob("*.fits")) == []

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"size": "4"}, RemoteServiceError, r"shape \(3, 8, 8\), got \(3, 4, 4\)"),
            ({"ra": "151"}, RemoteServiceError, r"around \(150.1, 2.2\).*got .* around \(151"),
            ({"pixscale": "0.5"}, RemoteServiceError, "asked for 0.262 arcsec per pixel.*got 0.5"),
        ],
        ids=str,
    )
    def test_another_image_than_asked_is_refused(self, tmp_path, viewer, change, error, message):
        def answer(path, query, body):
            return viewer(path, query | change, body)

        with playing(answer, tmp_path) as archive, pytest.raises(error, match=message):
            LegacySurvey.get_images(PLACE, size=8)
        assert len(archive.requests) == 1
        assert list(tmp_path.rglob("*.fits")) == []

    @pytest.mark.parametrize(
        "content",
        [b"no overlap", to_bytes(fits.PrimaryHDU(header=fits.Header({"OVERLAP": False})))],
        ids=["text", "header"],
    )
    def test_no_overlap_where_it_is_said(self, tmp_path, content):
        with (
            playing(lambda *a: (200, "image/fits", content), tmp_path) as archive,
            pytest.raises(EmptyResponseError, match="no image there"),
        ):
            LegacySurvey.get_images(PLACE, size=8)
        assert len(archive.requests) == 1

    def test_real_files_pass(self, shared_dir):
        paths = sorted((shared_dir / "data" / "legacysurvey_fits").glob("*.fits"))
        for path in paths:
            header = fits.getheader(path)
            (payload,) = LegacySurvey.get_images(
                SkyCoord([header["CRVAL1"]], [header["CRVAL2"]], unit="deg"),
                size=header["NAXIS1"],
                pixscale=header["CD2_2"] * u.deg,
                get_query_payload=True,
            )
            assert parse_cutout(path.read_bytes(), payload)[0].shape[0] == 3
            with pytest.raises(RemoteServiceError, match="around"):
                parse_cutout(path.read_bytes(), payload | {"dec": payload["dec"] + 0.001})

    @pytest.mark.remote_data
    def test_the_live_viewer(self, tmp_path):
        with conf.set_temp("cache_location", str(tmp_path)):
            (image,) = LegacySurvey.get_images(
                SkyCoord(186.5, 12.1, unit="deg"), size=64, invvar=True, maskbits=True
            )
            assert image[0].shape == image[1].shape == (3, 64, 64)
            assert image[0].data.std() > 0
            with pytest.raises(InvalidQueryError, match="no such layer"):
                LegacySurvey.get_images(PLACE, layer="ls-dr0")
            with pytest.raises(InvalidQueryError, match="got grz"):
                LegacySurvey.get_images(PLACE, bands="gx", size=8)


class TestCache:
    def test_what_has_come_is_not_asked_again(self, archive, tmp_path):
        (first,) = LegacySurvey.get_images(PLACE, size=8)
        (again,) = LegacySurveyClass().get_images(PLACE, size=8)
        assert len(archive.requests) == 1
        np.testing.assert_array_equal(first[0].data, again[0].data)
        assert first[0].header["CRVAL1"] == again[0].header["CRVAL1"]
        (path,) = tmp_path.rglob("*.fits")
        np.testing.assert_array_equal(fits.getdata(path), first[0].data)
        LegacySurvey.get_images(PLACE, size=9)
        assert len(archive.requests) == 2

    def test_without(self, archive, tmp_path):
        LegacySurvey.get_images(PLACE, size=8, cache=False)
        with cache_conf.set_temp("cache_active", False):
            LegacySurvey.get_images(PLACE, size=8)
        assert list(tmp_path.rglob("*")) == []
        LegacySurvey.get_images(PLACE, size=8)
        LegacySurvey.get_images(PLACE, size=8, cache=False)
        assert len(archive.requests) == 4

    def test_clear(self, archive, tmp_path):
        LegacySurvey.get_images(SkyCoord([1, 2], [3, 4], unit="deg"), size=8)
        (tmp_path / "mine.fits").touch()
        LegacySurvey.clear_cache()
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "mine.fits"]
        LegacySurvey.get_images(SkyCoord(1, 3, unit="deg"), size=8)
        assert len(archive.requests) == 3

    def test_of_one_instance(self, archive, tmp_path):
        client = LegacySurveyClass()
        client.cache_location = tmp_path / "elsewhere"
        client.get_images(PLACE, size=8)
        assert len(list((tmp_path / "elsewhere").rglob("*.fits"))) == 1
        client.reset_cache_location()
        assert client.cache_location == tmp_path

    def test_by_default_it_is_astropys(self):
        assert LegacySurveyClass().cache_location.parts[-2:] == ("astroquery", "LegacySurvey")

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "page", "other"])
    def test_damaged_file_is_fetched_again(self, archive, tmp_path, damage):
        (first,) = LegacySurvey.get_images(PLACE, size=8)
        (path,) = tmp_path.rglob("*.fits")
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[-2880] ^= 1  # the first pixel, by a bit that no check of shapes sees
        LegacySurvey.get_images(SkyCoord(1, 2, unit="deg"), size=8)
        (other,) = set(tmp_path.rglob("*.fits")) - {path}
        path.write_bytes(
            {
                "cut": content[:-2880],
                "flipped": bytes(flipped),
                "empty": b"",
                "page": b"<html>",
                "other": other.read_bytes(),
            }[damage]
        )
        (again,) = LegacySurvey.get_images(PLACE, size=8)
        np.testing.assert_array_equal(first[0].data, again[0].data)
        assert len(archive.requests) == 3
        (kept,) = LegacySurvey.get_images(PLACE, size=8)
        np.testing.assert_array_equal(first[0].data, kept[0].data)
        assert len(archive.requests) == 3

    # Astropy tells of keywords that it cannot mend.
    @pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
    @pytest.mark.parametrize("card", [b"version = 'DR9'", b"VERSI@N = 'DR9'", b"VERSION = DR9"])
    def test_headers_that_are_not_strictly_fits(self, viewer, archive, tmp_path, card):
        cutout = viewer.cutout

        def not_strict(query):
            status, kind, content = cutout(query)
            strict = b"VERSION = 'DR9     '"
            assert content.count(strict) == 1
            return status, kind, content.replace(strict, card.ljust(len(strict)))

        viewer.cutout = not_strict
        (first,) = LegacySurvey.get_images(PLACE, size=8)
        (again,) = LegacySurvey.get_images(PLACE, size=8)
        assert len(archive.requests) == 1
        np.testing.assert_array_equal(first[0].data, again[0].data)
        assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".fits"]

    @pytest.mark.parametrize("error", [OSError, ValueError, fits.VerifyError, KeyboardInterrupt])
    def test_what_cannot_be_written_leaves_nothing_behind(
        self, archive, tmp_path, monkeypatch, error
    ):
        def fail(*args, **kwargs):
            raise error("no space left")

        monkeypatch.setattr("astroclip_astro.sources.legacysurvey.cache._raw", fail)
        if error is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                LegacySurvey.get_images(PLACE, size=8)
        else:
            (image,) = LegacySurvey.get_images(PLACE, size=8)
            assert image[0].shape == (3, 8, 8)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_folder_that_cannot_be_written(self, archive, tmp_path):
        (tmp_path / "file").touch()
        with conf.set_temp("cache_location", str(tmp_path / "file")):
            (image,) = LegacySurvey.get_images(PLACE, size=8)
        assert image[0].shape == (3, 8, 8)


class TestBricks:
    @pytest.fixture(autouse=True)
    def _bricks(self, viewer):
        viewer.add_bricks(PLACE.ra.deg, PLACE.dec.deg)
        # The client that is imported remembers the table of bricks of another test.
        self.client = LegacySurveyClass()

    def fetch(self, place, **kwargs):
        (image,) = self.client.get_images(place, route="bricks", **kwargs)
        return image

    def test_pixels_of_the_brick(self, archive):
        image = self.fetch(PLACE.spherical_offsets_by(3 * u.arcsec, -5 * u.arcsec), size=32)
        # Not resampled: exact where the WCS says.
        np.testing.assert_allclose(image[0].data, expected(image[0]), rtol=1e-6)
        centre = WCS(image[0].header, naxis=2).pixel_to_world(15.5, 15.5)
        offset = centre.separation(PLACE.spherical_offsets_by(3 * u.arcsec, -5 * u.arcsec))
        assert offset.arcsec < NATIVE / 2 * 2**0.5
        assert [url.rsplit("/", 1)[1] for url in archive.requests] == [
            "survey-bricks.fits.gz",
            *(f"legacysurvey-1500p022-image-{band}.fits.fz" for band in "grz"),
        ]

    def test_same_fluxes_as_the_viewer(self, archive):
        image = self.fetch(PLACE, size=16, invvar=True)
        (cutout,) = self.client.get_images(PLACE, size=16, invvar=True)
        step = abs(flux("g", 150.1, 2.2) - flux("g", 150.1, 2.2 + NATIVE / 3600))
        np.testing.assert_allclose(image[0].data, cutout[0].data, atol=2 * step)
        np.testing.assert_allclose(image[1].data, cutout[1].data, atol=8 * step)
        (read,) = Reader().convert(image)
        assert (read.meta["ra"], read.meta["dec"]) == pytest.approx((150.1, 2.2), abs=1e-4)
        assert read.meta["bands"] == ("g", "r", "z")

    @pytest.mark.parametrize(("x", "y"), [(0, 0.5), (0.5, 0), (-0.5, -0.5), (0.45, -0.45)])
    def test_across_the_border(self, archive, x, y):
        place = PLACE.spherical_offsets_by(x * BRICK * 0.98 * u.deg, y * BRICK * 0.98 * u.deg)
        image = self.fetch(place, size=64, invvar=True, maskbits=True)
        # The nearest pixel of the neighbour: half a pixel off at most along both axes.
        step = 4 * NATIVE / 3600
        np.testing.assert_allclose(image[0].data, expected(image[0]), atol=step / 2 * 1.01)
        np.testing.assert_allclose(
            image[1].data, expected(image[1], function=invvar), atol=4 * step / 2 * 1.01
        )
        assert image[2].data.min() >= 0
        assert len({url.split("/")[-2] for url in archive.requests[1:]}) > 1

    def test_beyond_the_survey_is_no_data(self, tmp_path):
        viewer = Viewer()
        viewer.add_bricks(150.1, 2.2, rows=(0,), columns=(0,))
        place = PLACE.spherical_offsets_by(0 * u.deg, BRICK * 0.49 * u.deg)
        with playing(viewer, tmp_path):
            image = self.fetch(place, size=64, invvar=True, maskbits=True)
        blank = (image[0].data == 0).all((0, 2))
        assert blank[-15:].all()
        assert not blank[:32].any()
        np.testing.assert_array_equal(image[0].data == 0, image[1].data == 0)
        # NPRIMARY, outside of any brick's primary region, and not 0 for a good pixel.
        assert (image[2].data[blank] == 1).all()
        assert set(np.unique(image[2].data[~blank])) - {0, 1}

    def test_files_are_kept(self, archive):
        self.fetch(PLACE, size=8)
        for offset in range(3):
            self.fetch(PLACE.spherical_offsets_by(offset * u.arcsec, 0 * u.deg), size=8)
        LegacySurveyClass().get_images(PLACE, size=8, route="bricks")
        assert len(archive.requests) == 4

    def test_brick_that_does_not_exist(self, archive):
        with pytest.raises(
            EmptyResponseError, match=r"dr10/south has no image g of brick 1500p022"
        ):
            self.fetch(PLACE, layer="ls-dr10")
        with pytest.raises(EmptyResponseError, match=r"no brick holds \(10.0, 2.2\)"):
            self.fetch(SkyCoord(10, 2.2, unit="deg"))

    @pytest.mark.parametrize(
        ("layer", "ra", "dec", "folder"),
        [
            ("ls-dr9", 180, 40, "dr9/north"),
            ("ls-dr9", 180, 30, "dr9/south"),
            ("ls-dr9", 10, 33, "dr9/south"),  # the southern Galactic cap
            ("ls-dr9-north", 180, 30, "dr9/north"),
            ("ls-dr10", 180, 40, "dr9/north"),
            ("ls-dr10", 180, 30, "dr10/south"),
            ("ls-dr11", 180, 40, "dr11/north"),
        ],
    )
    def test_urls(self, tmp_path, layer, ra, dec, folder):
        viewer = Viewer()
        viewer.add_bricks(ra, dec)
        with playing(viewer, tmp_path) as archive:
            urls = self.client.get_image_list(
                SkyCoord(ra, dec, unit="deg"), layer=layer, bands="g", maskbits=True, route="bricks"
            )
        start = f"{archive.url}/data/{folder}/coadd/150/1500p022/legacysurvey-1500p022"
        assert urls == [f"{start}-image-g.fits.fz", f"{start}-maskbits.fits.fz"]

    def test_table_with_paths_in_it(self, viewer, archive):
        viewer.table = [("../../..", *row[1:]) for row in viewer.table]
        with (
            conf.set_temp("retries", 2),
            pytest.raises(RemoteServiceError, match="names are malformed"),
        ):
            self.fetch(PLACE, size=8)
        assert len(archive.requests) == 3


class TestHips:
    def test_unit_is_not_claimed(self, archive):
        (image,) = LegacySurvey.get_images(PLACE, layer="ls-dr10", size=8, route="hips")
        np.testing.assert_allclose(image[0].data, 17 * expected(image[0]), rtol=1e-5)
        assert image[0].header["BUNIT"] == "UNKNOWN"
        assert "not known" in str(image[0].header["COMMENT"])
        assert len(archive.requests) == 3
        with pytest.raises(InputError, match="no FITS cutout of the Legacy Surveys' viewer"):
            list(Reader().convert(image))
        with pytest.raises(InputError, match="unit of the HiPS"):
            LegacySurveySource(route="hips")

    def test_urls(self, archive):
        urls = LegacySurvey.get_image_list(PLACE, layer="ls-dr10", size=8, route="hips")
        names = [parse_qs(urlsplit(url).query)["hips"][0] for url in urls]
        assert names == [f"CDS/P/DESI-Legacy-Surveys/DR10/{band}" for band in "grz"]

    def test_no_coverage(self, tmp_path):
        with (
            playing(Viewer(lambda ra, dec: False), tmp_path),
            pytest.raises(EmptyResponseError, match="DR10/g has no image there"),
        ):
            LegacySurvey.get_images(PLACE, layer="ls-dr10", size=8, route="hips")


class TestSource:
    def test_what_it_gives_is_embedded(self, archive):
        source = LegacySurveySource()
        assert isinstance(source, Source)
        cutout = source.fetch(PLACE)
        assert cutout[0].shape == (3, 152, 152)
        embedding = aa.embed(cutout, survey=source.survey)
        assert np.isfinite(embedding).all()
        assert (float(embedding.ra), float(embedding.dec)) == pytest.approx((150.1, 2.2), abs=1e-7)
        assert embedding.survey == "legacysurvey"
        assert embedding.coverage == 1

    def test_a_masked_position_asks_nobody(self, archive):
        place = SkyCoord(Masked(PLACE.ra, mask=True), PLACE.dec)
        with pytest.raises(InputError, match=r"^——— \+02d12m00s: .*coordinates are masked"):
            LegacySurveySource().fetch(place)
        assert archive.requests == []

    def test_inverse_variances(self, archive):
        (image,) = Reader().convert(LegacySurveySource(invvar=True).fetch(PLACE))
        np.testing.assert_allclose(image.uncertainty.array[0], 4 * image.data[0], rtol=1e-6)

    def test_bricks(self, viewer, archive, monkeypatch):
        viewer.add_bricks(150.1, 2.2)
        client = LegacySurveyClass()
        monkeypatch.setattr("astroclip_astro.sources.legacysurvey.source.LegacySurvey", client)
        cutout = LegacySurveySource(route="bricks").fetch(PLACE)
        np.testing.assert_allclose(cutout[0].data, expected(cutout[0]), atol=2 * NATIVE / 3600)

    def test_failures_name_the_place(self, archive):
        source = LegacySurveySource(layer="ls-dr99")
        with pytest.raises(InputError, match=r"10h00m24s \+02d12m00s: .*no such layer"):
            source.fetch(PLACE)
        with pytest.raises(InputError, match="not one position"):
            source.fetch(PLACE.reshape(1))
        with pytest.raises(InputError, match="not one position"):
            source.fetch("M 31")

    def test_layers_of_the_made_archive_are_known_here(self):
        assert conf.layer in LAYERS
