"""Images brought onto the pixel grid of a model: place, orientation, scale, holes."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import InverseVariance, NDData, block_reduce
from reproject import reproject_exact

from astroclip_astro.adapters.image import ImagePreprocessing, image_records
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.base import Survey

PREPROCESSING = ImagePreprocessing()


def record_of(image, **kwargs):
    (record,) = image_records(
        image, preprocessing=kwargs.pop("preprocessing", PREPROCESSING), **kwargs
    )
    return record


class TestGeometry:
    @pytest.mark.parametrize("size", [152, 200, 256])
    def test_native_images_are_cut_exactly(self, sky, size):
        image = sky.cutout(shape=(size, size))
        record = record_of(image)
        edge = (size - 152) // 2
        middle = image.data[:, edge : edge + 152, edge : edge + 152]
        np.testing.assert_array_equal(record.flux, middle.astype(np.float32))
        assert record.coverage == 1
        assert record.flux.dtype == np.float32
        assert record.quality == Quality.GOOD

    def test_target_on_a_pixel_comes_to_pixel_76(self, sky):
        image = sky.cutout(shape=(225, 225))
        record = record_of(image)
        np.testing.assert_array_equal(record.flux, image.data[:, 36:188, 36:188].astype("f4"))
        assert record.flux[0, 76, 76] == record.flux[0].max()

    def test_rounding_noise_does_not_choose_the_pixel(self, sky):
        shape = (225, 225)
        flux = sky.cutout(shape=shape).data
        records = [
            record_of(sky.cutout(flux, wcs=sky.wcs(0.262, shape, offset=(tiny, -tiny))))
            for tiny in (-1e-7, 0, 1e-7)
        ]
        np.testing.assert_array_equal(records[0].flux, records[1].flux)
        np.testing.assert_array_equal(records[0].flux, records[2].flux)

    @pytest.mark.parametrize("place", ["meta", "header", "sexagesimal"])
    def test_stated_target_is_centred(self, sky, place):
        # The brightest source is at the target, 20 rows and 31 columns off the middle.
        wcs = sky.wcs(0.262, (300, 300), offset=(20, 31))
        flux = np.stack([sky.sources(wcs, (300, 300), 0.262)] * 3)
        if place == "header":
            header = wcs.to_header()
            header.update(RA=sky.target.ra.deg, DEC=sky.target.dec.deg, BANDS="grz", BUNIT="nmgy")
            image = fits.HDUList(fits.PrimaryHDU(flux, header))
        elif place == "meta":
            image = sky.cutout(flux, wcs=wcs, meta={"ra": sky.target.ra, "dec": sky.target.dec.deg})
        else:
            ra, dec = sky.target.to_string("hmsdms", sep=":", precision=6).split()
            image = sky.cutout(flux, wcs=wcs, meta={"RA": ra, "DEC": dec})
        record = record_of(image)
        np.testing.assert_array_equal(record.flux, flux[:, 94:246, 105:257].astype("f4"))
        assert record.ra == pytest.approx(sky.target.ra.deg, abs=1e-7)
        assert record.dec == pytest.approx(sky.target.dec.deg, abs=1e-7)

    def test_without_a_stated_target_the_middle_is_it(self, sky):
        record = record_of(sky.cutout())
        assert (record.ra, record.dec) == pytest.approx(
            (sky.target.ra.deg, sky.target.dec.deg), abs=1e-9
        )

    def test_small_images_are_padded_with_sky(self, sky):
        image = sky.cutout(shape=(100, 120))
        record = record_of(image)
        np.testing.assert_array_equal(record.flux[:, 26:126, 16:136], image.data.astype("f4"))
        assert np.count_nonzero(record.flux) == 3 * 100 * 120
        assert record.coverage == pytest.approx(100 * 120 / 152**2)
        assert record.quality == Quality.PARTIAL_COVERAGE

    @pytest.mark.parametrize("pixel_scale", [0.1, 0.27, 0.5])
    def test_resampling_agrees_with_exact_overlap(self, sky, pixel_scale):
        # reproject's computation of spherical polygon overlap is the oracle. It has the value of a
        # pixel constant over it, which smears these sources (1.2" sigma) by up to 6 % of the peak
        # at 0.5"; sums over 4 × 4 pixels and the total are hardly concerned.
        shape = (round(60 / pixel_scale),) * 2
        wcs = sky.wcs(pixel_scale, shape, angle=25)
        flux = np.stack([sky.sources(wcs, shape, pixel_scale)] * 3)
        grid = sky.wcs(0.262, (152, 152))
        exact = reproject_exact((flux[0], wcs), grid, (152, 152), return_footprint=False)
        exact = np.nan_to_num(exact) * (0.262 / pixel_scale) ** 2
        record = record_of(sky.cutout(flux, wcs=wcs))
        assert record.flux[0].sum() == pytest.approx(exact.sum(), rel=1e-4)
        ours, theirs = (block_reduce(a, 4) for a in (record.flux[0], exact))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.04 * theirs.max())

    def test_bands_with_their_own_wcs(self, sky):
        hdus = [fits.PrimaryHDU(header=fits.Header({"OBJECT": "three frames"}))]
        for band, angle, scale in (
            ("z", 0, 0.262),
            ("g", 30, 0.2),
            ("i", 0, 0.3),
            ("r", -70, 0.396),
        ):
            shape = (round(60 / scale), round(64 / scale))
            wcs = sky.wcs(scale, shape, angle=angle, offset=(3.3, -2.6))
            header = wcs.to_header()
            header["BUNIT"] = "nanomaggy"
            hdus.append(fits.ImageHDU(sky.sources(wcs, shape, scale), header, name=band.upper()))
        hdus[1].header.update(RA=sky.target.ra.deg, DEC=sky.target.dec.deg)
        record = record_of(fits.HDUList(hdus))
        truth = sky.sources(sky.wcs(0.262, (152, 152)), (152, 152), 0.262)
        assert record.object_id == "three frames"
        np.testing.assert_allclose(record.flux, np.stack([truth] * 3), atol=0.02 * truth.max())

    def test_galactic_frame(self, sky):
        wcs = sky.wcs(0.262, (220, 220))
        wcs.wcs.ctype = "GLON-TAN", "GLAT-TAN"
        wcs.wcs.crval = sky.target.galactic.l.deg, sky.target.galactic.b.deg
        rows, columns = np.indices((220, 220))
        places = wcs.pixel_to_world(columns, rows).icrs
        east, north = sky.target.spherical_offsets_to(places)
        # A source 5" east and 2" north of the target.
        r2 = (east.arcsec - 5) ** 2 + (north.arcsec - 2) ** 2
        flux = np.stack([np.exp(-r2 / (2 * 1.5**2))] * 3)
        record = record_of(sky.cutout(flux, wcs=wcs))
        row, column = np.unravel_index(record.flux[0].argmax(), (152, 152))
        assert (row - 75.5) * 0.262 == pytest.approx(2, abs=0.2)
        assert (75.5 - column) * 0.262 == pytest.approx(5, abs=0.2)

    def test_without_wcs(self, sky):
        image = sky.cutout()
        bare = NDData(
            image.data, unit=u.nmgy, meta={"bands": "grz", "pixel_scale": 0.262 * u.arcsec}
        )
        record = record_of(bare)
        np.testing.assert_array_equal(record.flux, record_of(image).flux)
        assert np.isnan(record.ra)
        survey = Survey()
        survey.bands, survey.pixel_scale, survey.zeropoint = ("g", "r", "z"), 0.262, 22.5
        position = {"ra": sky.target.ra.deg, "dec": sky.target.dec.deg}
        known = record_of(NDData(image.data, meta=position), survey=survey, survey_name="mine")
        np.testing.assert_array_equal(known.flux, record.flux)
        assert (known.ra, known.survey) == (sky.target.ra.deg, "mine")


class TestBadPixels:
    def test_small_hole_is_interpolated_and_not_covered(self, sky):
        image = sky.cutout()
        mask = np.zeros(image.data.shape, bool)
        mask[0, 80, 80] = mask[2, 90:92, 70:72] = True
        clean = record_of(image).flux
        image.data[mask] = 1e9
        image.mask = mask
        record = record_of(image)
        np.testing.assert_array_equal(
            record.flux[~mask[:, 4:156, 4:156]], clean[~mask[:, 4:156, 4:156]]
        )
        np.testing.assert_allclose(record.flux, clean, atol=0.05 * clean.max())
        assert record.coverage == pytest.approx(1 - 5 / record.flux.size)
        assert record.quality == Quality.GOOD

    def test_large_hole_is_sky(self, sky):
        image = sky.cutout(np.ones((3, 160, 160)), mask=np.zeros((3, 160, 160), bool))
        image.mask[:, 100:, :] = True
        record = record_of(image)
        assert (record.flux[:, 99:] == 0).all()
        assert (record.flux[:, :96] == 1).all()
        assert record.coverage == pytest.approx(96 / 152)
        assert Quality.PARTIAL_COVERAGE in record.quality
        assert Quality.MOSTLY_MASKED not in record.quality

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e35])
    def test_non_finite(self, sky, value):
        image = sky.cutout(wcs=sky.wcs(0.3, (160, 160)))
        image.data[0, 80, 90:93] = value
        record = record_of(image)
        assert np.isfinite(record.flux).all()
        assert record.flux.max() < 10
        assert record.coverage < 1
        assert (Quality.NON_FINITE in record.quality) == (not np.isfinite(value))

    def test_non_finite_outside_the_cutout_is_no_matter(self, sky):
        image = sky.cutout(shape=(200, 200))
        image.data[:, :5] = np.nan
        assert record_of(image).quality == Quality.GOOD

    @pytest.mark.parametrize("how", ["mask", "nan", "weight"])
    def test_no_data(self, sky, how):
        image = sky.cutout()
        if how == "mask":
            image.mask = np.ones((3, 160, 160), bool)
        elif how == "nan":
            image.data[:] = np.nan
        else:
            image.uncertainty = InverseVariance(np.zeros((3, 160, 160)))
        record = record_of(image)
        assert isinstance(record, FailedRecord)
        assert Quality.NO_DATA | Quality.NOT_EMBEDDED in record.quality

    @pytest.mark.parametrize("away", [1.0, 60.0, 179.0])
    def test_target_outside_the_image(self, sky, away):
        position = sky.target.directional_offset_by(0 * u.deg, away * u.deg)
        record = record_of(sky.cutout(meta={"ra": position.ra, "dec": position.dec}))
        assert isinstance(record, FailedRecord)
        assert Quality.NO_DATA in record.quality
        assert "outside" in record.reason

    def test_target_beyond_the_edge(self, sky):
        position = sky.target.directional_offset_by(0 * u.deg, 30 * u.arcsec)
        record = record_of(sky.cutout(meta={"ra": position.ra, "dec": position.dec}))
        assert isinstance(record, FailedRecord)
        assert Quality.MISSING_BAND | Quality.PARTIAL_COVERAGE in record.quality
        assert "g, r, z" in record.reason
