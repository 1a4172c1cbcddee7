"""Cutouts of the Legacy Surveys, real ones and made ones."""

import sys

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.nddata import NDData

from astroclip_astro.adapters.image import ImagePreprocessing, image_records, to_rgb
from astroclip_astro.adapters.records import FailedRecord, ImageRecord
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.legacysurvey import LegacySurvey, LegacySurveyRGB

PREPROCESSING = ImagePreprocessing()
RNG = np.random.default_rng(3)


def record_of(image, survey=None):
    (record,) = image_records(image, preprocessing=PREPROCESSING, survey=survey)
    return record


def header(bands="grz", size=160, pixel_scale=0.262, **cards):
    """Header of a cutout as the viewer writes it."""
    made = fits.Header({"SURVEY": "LegacySurvey", "VERSION": "DR9", "IMAGETYP": "IMAGE"})
    made.update({"BANDS": bands} | {f"BAND{i}": band for i, band in enumerate(bands)})
    made.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.1, CRVAL2=2.2)
    made.update(CRPIX1=(size + 1) / 2, CRPIX2=(size + 1) / 2, CD1_2=0.0, CD2_1=0.0)
    made.update(CD1_1=-pixel_scale / 3600, CD2_2=pixel_scale / 3600, IMAGEW=size, IMAGEH=size)
    made.update(**cards)
    return made


def cutout(flux=None, bands="grz", extra=(), **kwargs):
    """HDUList as the viewer sends it, with further HDUs (IMAGETYP, data) in `extra`."""
    size = kwargs.get("size", 160)
    if flux is None:
        flux = RNG.normal(1, 0.01, (len(bands), size, size))
    hdus = [fits.PrimaryHDU(np.asarray(flux, ">f4"), header(bands, **kwargs))]
    for kind, data in extra:
        hdus.append(fits.ImageHDU(data, header(bands, **kwargs, IMAGETYP=kind)))
    return fits.HDUList(hdus)


class TestRealCutouts:
    @pytest.fixture(scope="class")
    @classmethod
    def records(cls, shared_dir):
        survey = LegacySurvey()
        found = {}
        for path in sorted((shared_dir / "data" / "legacysurvey_fits").glob("*.fits")):
            with fits.open(path) as hdulist:
                assert survey.identify(path, hdulist), path
            (image,) = survey.read(path)
            (found[path.stem],) = image_records(
                image, preprocessing=PREPROCESSING, survey=survey, survey_name="legacysurvey"
            )
        if not found:
            pytest.skip("needs the real cutouts of ../shared/data")
        return found

    def test_every_file_gives_a_record(self, records):
        for name, record in records.items():
            assert record.object_id == name
            assert record.survey == "legacysurvey"
            assert 0 <= record.ra < 360
            if isinstance(record, ImageRecord):
                assert record.coverage == 1
                assert record.snr > 10

    def test_bits(self, records):
        bits = {name: record.quality for name, record in records.items()}
        coarse = bits.pop("decals_J142407_p3451_dr5_1p0")
        assert coarse == Quality.UNDERSAMPLED | Quality.OUT_OF_TRAINING_RANGE
        bad = bits.pop("decals_J094949_p0105_dr3_BADPIX")
        assert Quality.MISSING_BAND | Quality.MOSTLY_MASKED | Quality.PARTIAL_COVERAGE in bad
        assert set(bits.values()) == {Quality.GOOD}

    def test_band_that_is_zero_at_the_object_is_missing(self, records):
        record = records["decals_J094949_p0105_dr3_BADPIX"]
        assert isinstance(record, FailedRecord)
        assert "band g, r has no usable pixels" in record.reason

    def test_one_galaxy_at_two_pixel_scales(self, records):
        # 0.10" and 0.262" from two data releases: their calibrations agree to 2 %.
        fine = records["decals_J094651_m0102_dr3_0p10"].flux
        native = records["decals_J094651_m0102_dr5_0p262"].flux
        rows, columns = np.indices((152, 152)) - 75.5
        for radius in (2, 5, 15):
            aperture = np.hypot(rows, columns) * 0.262 < radius
            np.testing.assert_allclose(
                fine[:, aperture].sum(1), native[:, aperture].sum(1), rtol=0.02
            )
        # The disc, without the round bulge: a mirror image would show at once.
        discs = [np.clip(flux, 0, 0.1).ravel() for flux in (fine, native, native[:, ::-1])]
        assert np.corrcoef(discs[0], discs[1])[0, 1] > 0.95
        assert np.corrcoef(discs[0], discs[2])[0, 1] < 0.8

    def test_native_file_is_cut_exactly(self, shared_dir, records):
        path = shared_dir / "data" / "legacysurvey_fits" / "decals_J094651_m0102_dr5_0p262.fits"
        flux = fits.getdata(path)[:, 36:188, 36:188]
        np.testing.assert_array_equal(records[path.stem].flux, flux)


class TestCutout:
    def test_read(self, tmp_path):
        path = tmp_path / "cutout_150.1000_2.2000.fits"
        flux = RNG.normal(1, 0.1, (3, 160, 160)).astype("f4")
        cutout(flux).writeto(path)
        (image,) = LegacySurvey().read(path)
        assert image.unit == u.nmgy
        np.testing.assert_allclose(image.data, flux, rtol=1e-12)
        assert image.meta["object_id"] == path.stem
        assert image.meta["bands"] == ("g", "r", "z")
        assert (image.meta["ra"], image.meta["dec"]) == pytest.approx((150.1, 2.2))
        assert not image.mask.any()
        assert image.uncertainty is None

    def test_hdulist_with_the_survey_given(self):
        hdulist = cutout()
        record = record_of(hdulist, LegacySurvey())
        np.testing.assert_array_equal(record.flux, hdulist[0].data[:, 4:156, 4:156])

    @pytest.mark.parametrize("pixel_scale", [0.131, 0.262, 0.524])
    def test_flux_is_per_native_pixel(self, pixel_scale):
        hdulist = cutout(np.full((3, 320, 320), 0.25), size=320, pixel_scale=pixel_scale)
        (image,) = LegacySurvey().convert(hdulist)
        np.testing.assert_allclose(image.data, 0.25 * (pixel_scale / 0.262) ** 2)
        np.testing.assert_allclose(record_of(image).flux, 0.25, rtol=1e-5)

    def test_header_says_which_bands_came(self):
        # Asked for g, r, z of a layer without g, the viewer sends what it likes.
        record = record_of(cutout(bands="riz"), LegacySurvey())
        assert Quality.MISSING_BAND in record.quality
        record = record_of(cutout(bands="griz"), LegacySurvey())
        assert record.flux.shape == (3, 152, 152)

    def test_single_band_is_an_image_of_two_axes(self):
        hdulist = cutout(np.ones((160, 160)), bands="r")
        assert LegacySurvey().identify(None, hdulist)
        assert "band g, z is missing" in record_of(hdulist, LegacySurvey()).reason

    def test_exact_zeros_are_no_data(self):
        flux = RNG.normal(1, 0.01, (3, 160, 160))
        flux[:, :20] = 0
        record = record_of(cutout(flux), LegacySurvey())
        assert record.coverage == pytest.approx(1 - 16 / 152)
        assert record.quality == Quality.PARTIAL_COVERAGE
        record = record_of(cutout(np.zeros((3, 160, 160))), LegacySurvey())
        assert Quality.NO_DATA in record.quality

    @pytest.mark.parametrize("pixel_scale", [0.262, 0.524])
    def test_inverse_variance(self, pixel_scale):
        # S/N 5 per native pixel, whatever the scale that it was asked for.
        invvar = np.full((3, 400, 400), 100.0, "f4")
        invvar[:, :10] = 0
        hdulist = cutout(
            np.full((3, 400, 400), 0.5),
            size=400,
            pixel_scale=pixel_scale,
            extra=[("INVVAR", invvar)],
        )
        (image,) = LegacySurvey().convert(hdulist)
        record = record_of(image)
        assert record.snr == pytest.approx(5, rel=1e-4)

    @pytest.mark.parametrize(
        ("bit", "place", "saturated"),
        [
            (2, (80, 80), True),
            (3, (90, 70), True),
            (14, (80, 80), True),
            (1, (80, 80), False),
            (4, (10, 10), False),
        ],
    )
    def test_maskbits(self, bit, place, saturated):
        maskbits = np.zeros((160, 160), np.int32)
        maskbits[place] = 1 << bit
        record = record_of(cutout(extra=[("MASKBITS", maskbits)]), LegacySurvey())
        assert record.quality == (Quality.SATURATED if saturated else Quality.GOOD)

    def subimage(self, bricks, kinds=("image", "invvar")):
        hdus = [fits.PrimaryHDU(header=fits.Header({"SURVEY": "LegacySurvey"}))]
        for brick in bricks:
            for i, band in enumerate("grz"):
                for kind in kinds:
                    cards = header("grz", BRICK=brick, BAND=band, IMAGETYP=kind)
                    for key in ("BANDS", "BAND0", "BAND1", "BAND2"):
                        del cards[key]
                    data = np.full((160, 160), i + 1 if kind == "image" else 4.0, "f4")
                    hdus.append(fits.ImageHDU(data, cards))
        return fits.HDUList(hdus)

    @pytest.mark.parametrize("kinds", [("image", "invvar"), ("image",)])
    def test_subimage(self, kinds):
        hdulist = self.subimage(["1501p022"], kinds)
        assert LegacySurvey().identify(None, hdulist)
        record = record_of(hdulist, LegacySurvey())
        assert record.flux[:, 0, 0].tolist() == [1, 2, 3]
        assert record.snr == 4 if "invvar" in kinds else np.isnan(record.snr)

    def test_subimage_of_two_bricks_does_not_say_where_the_target_is(self):
        hdulist = self.subimage(["1501p022", "1504p022"])
        with pytest.raises(InputError, match=r"2 bricks, 1501p022, 1504p022.*without 'subimage'"):
            record_of(hdulist, LegacySurvey())

    @pytest.mark.parametrize(
        "change",
        [{"SURVEY": "SDSS"}, {"SURVEY": "unWISE"}, {"BANDS": None}, {"IMAGEW": None}],
        ids=str,
    )
    def test_other_files_are_not_claimed(self, change):
        hdulist = cutout()
        for key, value in change.items():
            if value is None:
                del hdulist[0].header[key]
            else:
                hdulist[0].header[key] = value
        survey = LegacySurvey()
        assert not survey.identify(None, hdulist)
        with pytest.raises(InputError, match="NGC 1: HDUList is no FITS cutout"):
            list(survey.convert(hdulist, object_id="NGC 1"))

    def test_spectra_are_not_claimed(self):
        table = fits.BinTableHDU.from_columns([fits.Column("FLUX", "E", array=np.ones(5))])
        assert not LegacySurvey().identify(None, fits.HDUList([fits.PrimaryHDU(), table]))
        assert not LegacySurvey().identify(None, None)

    @pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png"])
    def test_pictures_are_refused(self, tmp_path, suffix):
        with pytest.raises(InputError, match=r"8-bit image.*legacysurvey-rgb"):
            list(LegacySurvey().read(tmp_path / f"picture{suffix}"))


class TestPictures:
    def picture(self, flux):
        """What the viewer shows: the colours of its mapping, first row north, 8 bits."""
        rgb = to_rgb(torch.from_numpy(flux), PREPROCESSING).movedim(0, -1).numpy()
        return np.round(255 * rgb[::-1]).astype(np.uint8)

    @pytest.fixture
    def flux(self):
        rows, columns = np.indices((160, 160))
        # Off the middle, so that a flip would show.
        galaxy = np.exp(-np.hypot(rows - 90, columns - 70) / 12)
        return galaxy * np.array([0.06, 0.12, 0.2])[:, None, None]

    def test_colours_are_undone(self, flux):
        (image,) = LegacySurveyRGB().convert(self.picture(flux))
        # Half a step of 255 in a channel is 1/500 in the mean, at I = sinh(√Q · mean) / Q at most
        # 1 % of these fluxes plus 0.0005 nanomaggies.
        np.testing.assert_allclose(image.data, flux, rtol=0.01, atol=5e-4)
        record = record_of(image)
        assert record.quality == Quality.OUT_OF_TRAINING_RANGE
        np.testing.assert_array_equal(record.flux, image.data[:, 4:156, 4:156].astype("f4"))

    def test_clipped_centre_is_saturated(self, flux):
        bright = flux * 50
        (image,) = LegacySurveyRGB().convert(self.picture(bright))
        assert image.meta["quality"] == Quality.SATURATED | Quality.OUT_OF_TRAINING_RANGE
        assert image.data.max() < bright.max()

    def test_black_is_finite(self):
        (image,) = LegacySurveyRGB().convert(np.zeros((160, 160, 3), np.uint8))
        np.testing.assert_allclose(image.data[:, 0, 0], -0.03 / np.array([6, 3.4, 2.2]))

    def test_other_pixel_scale(self, flux):
        (image,) = LegacySurveyRGB(pixel_scale=0.131).convert(self.picture(flux))
        assert image.meta["pixel_scale"] == 0.131
        np.testing.assert_allclose(image.data, flux / 4, rtol=0.01, atol=2e-4)

    @pytest.mark.parametrize(("suffix", "tolerance"), [("png", 0.02), ("jpg", 0.1)])
    def test_read(self, tmp_path, flux, suffix, tolerance):
        pillow = pytest.importorskip("PIL.Image")
        path = tmp_path / f"galaxy.{suffix}"
        pillow.fromarray(self.picture(flux)).save(path, quality=95)
        survey = LegacySurveyRGB()
        assert not survey.identify(path, None)
        (image,) = survey.read(path)
        assert image.meta["object_id"] == "galaxy"
        near = flux > 0.2 * flux.max((1, 2), keepdims=True)
        np.testing.assert_allclose(image.data[near], flux[near], rtol=tolerance)

    def test_array_with_the_survey_given(self, flux):
        record = record_of(self.picture(flux), LegacySurveyRGB())
        assert isinstance(record, ImageRecord)

    @pytest.mark.parametrize(
        "thing", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8), np.uint8), 3]
    )
    def test_other_things_are_refused(self, thing):
        with pytest.raises(InputError, match=r"expected a picture, uint8 of shape"):
            list(LegacySurveyRGB().convert(thing))

    def test_files_that_are_no_colour_pictures(self, tmp_path):
        pillow = pytest.importorskip("PIL.Image")
        text, grey = tmp_path / "text.jpg", tmp_path / "grey.png"
        text.write_text("no overlap")
        pillow.fromarray(np.zeros((8, 8), np.uint8)).save(grey)
        with pytest.raises(InputError, match=r"text\.jpg: no picture"):
            list(LegacySurveyRGB().read(text))
        with pytest.raises(InputError, match=r"grey\.png: picture of mode 'L'"):
            list(LegacySurveyRGB().read(grey))

    def test_without_pillow(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)
        with pytest.raises(InputError, match="pip install pillow"):
            list(LegacySurveyRGB().read(tmp_path / "galaxy.jpg"))

    def test_real_pictures(self, shared_dir):
        pytest.importorskip("PIL")
        paths = sorted((shared_dir / "data" / "galaxy10_decals_jpg").glob("class_*.jpg"))[::8]
        if not paths:
            pytest.skip("needs the real pictures of ../shared/data")
        for path in paths:
            (image,) = LegacySurveyRGB().read(path)
            assert isinstance(image, NDData)
            record = record_of(image)
            assert record.coverage == 1
            assert Quality.OUT_OF_TRAINING_RANGE in record.quality
            # The colours of the result are those of the picture again.
            rgb = self.picture(record.flux).astype(int)
            shown = self.picture(image.data[:, 52:204, 52:204].astype("f4")).astype(int)
            np.testing.assert_array_equal(rgb, shown)
