"""Cutting out of frames, and reading the cutouts through the registered survey."""

import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

import astroclip_astro as aa
from astroclip_astro.adapters.image import ImagePreprocessing, image_records
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import get_manager
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.files import get_survey, identify, read
from astroclip_sdss.frames import cut_frames

#: Noise of DECaLS in nanomaggies per pixel of 0.262": depth 24.7, 23.9, 23.0 in a seeing of 1.29",
#: 1.18", 1.11" (Dey et al. 2019), which covers 5 pi / 4 of a Moffat's squared radius.
SIGMA = {"g": 0.002755, "r": 0.006293, "z": 0.015326}


def record_of(cutout):
    (record,) = image_records(
        cutout,
        preprocessing=ImagePreprocessing(),
        survey=get_survey("sdss-image"),
        survey_name="sdss-image",
    )
    return record


class TestPlugin:
    def test_it_is_registered(self):
        manager = get_manager()
        assert [f for f in manager.failures if "sdss-image" in f.plugin] == []
        for kind in ("survey", "source"):
            assert "sdss-image" in manager.entries(kind), "install this package first"

    def test_hooks_import_nothing_heavy(self):
        code = (
            "import sys, astroclip_sdss as it; list(it.register_surveys()); "
            "list(it.register_sources()); "
            "print([m for m in ('torch', 'astropy', 'astroquery', 'numpy') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[]\n", "")

    def test_spectra_are_still_those_of_sdss(self):
        assert get_survey("sdss").modality == "spectrum"


class TestCutting:
    @pytest.mark.parametrize("angle", [0.0, 33.0, 90.0, 200.0])
    def test_flux_place_and_orientation(self, frame, target, angle):
        north = target.directional_offset_by(0 * u.deg, 10 * u.arcsec)
        frames = [
            frame(band, angle=angle, stars=[(target, magnitude), (north, magnitude + 1)])
            for band, magnitude in zip("grz", (18.0, 17.0, 16.0), strict=True)
        ]
        record = record_of(cut_frames(frames, target))
        assert (record.ra, record.dec) == pytest.approx((target.ra.deg, target.dec.deg))
        rows, columns = np.indices((152, 152)) - 75.5
        for plane, magnitude in zip(record.flux, (18.0, 17.0, 16.0), strict=True):
            for row, fainter in ((0, 0), (10 / 0.262, 1)):
                near = np.hypot(rows - row, columns) * 0.262 < 4
                expected = 10 ** (0.4 * (22.5 - magnitude - fainter))
                assert plane[near].sum() == pytest.approx(expected, rel=0.01)
                weights = plane[near]
                assert np.average(rows[near], weights=weights) == pytest.approx(row, abs=0.1)
                assert np.average(columns[near], weights=weights) == pytest.approx(0, abs=0.1)

    def test_what_is_made(self, frame, target):
        cutout = cut_frames([frame(band) for band in "zgr"], target)
        assert [hdu.name for hdu in cutout[1:]] == ["G", "R", "Z"]
        assert cutout[0].header["RA"] == pytest.approx(target.ra.deg)
        for hdu in cutout[1:]:
            assert "RA" not in hdu.header
            assert (hdu.header["RUN"], hdu.header["CAMCOL"], hdu.header["FRAME"]) == (3699, 4, 100)
            assert np.abs(np.array(hdu.shape) * 0.396 - 60).max() < 1
            middle = np.array(WCS(hdu.header).world_to_pixel(target))
            assert np.abs(middle - (np.array(hdu.shape[::-1]) - 1) / 2).max() < 1

    def test_bands_with_pixels_of_their_own(self, frame, target):
        # Bands cross the sky one after the other: their frames are some pixels apart.
        stars = [(target, 17.0)]
        frames = [frame(b, stars=stars, offset=i * 3.3) for i, b in enumerate("grz")]
        flux = record_of(cut_frames(frames, target)).flux
        np.testing.assert_allclose(flux[0], flux[2], atol=0.01 * flux.max())

    @pytest.mark.parametrize("suffix", ["", ".bz2"])
    def test_files(self, frame, target, tmp_path, frame_bytes, suffix):
        paths = []
        for band in "grz":
            paths.append(tmp_path / f"frame-{band}-003699-4-0100.fits{suffix}")
            if suffix:
                paths[-1].write_bytes(frame_bytes(frame(band, stars=[(target, 17.0)])))
            else:
                frame(band, stars=[(target, 17.0)]).writeto(paths[-1])
        cutout = cut_frames(paths, target)
        assert record_of(cutout).flux.sum((1, 2)) == pytest.approx([10**2.2] * 3, rel=0.01)

    def test_object_at_the_edge_of_its_frames(self, frame, target):
        frames = [frame(b, offset=190, angle=0, stars=[(target, 17.0)]) for b in "grz"]
        record = record_of(cut_frames(frames, target))
        # 10 of some 50 pixels on that side are on the frame, and all of the other side.
        assert record.coverage == pytest.approx(
            (10 * 0.396 + 152 * 0.131) / (152 * 0.262), abs=0.02
        )
        assert Quality.PARTIAL_COVERAGE in record.quality
        assert Quality.NON_FINITE not in record.quality

    def test_object_that_is_elsewhere(self, frame, target):
        away = SkyCoord(target.ra + 0.1 * u.deg, target.dec)
        with pytest.raises(InputError, match=r"not on this g frame, but at column .* of 400 × 3"):
            cut_frames([frame(band) for band in "grz"], away)
        behind = SkyCoord(target.ra + 180 * u.deg, -target.dec)
        with pytest.raises(InputError, match=r"is not on this g frame"):
            cut_frames([frame("g")], behind)

    def test_frames_that_do_not_make_an_object(self, frame, target):
        with pytest.raises(InputError, match=r"two frames are of band r"):
            cut_frames([frame("r"), frame("r")], target)
        with pytest.raises(InputError, match=r"no frame: expected one per band"):
            cut_frames([], target)
        with pytest.raises(InputError, match=r"coordinates of shape \(2,\)"):
            cut_frames([frame("r")], SkyCoord([1, 2], [3, 4], unit="deg"))

    @pytest.mark.parametrize(
        ("cards", "message"),
        [
            ({"FILTER": "V"}, r"FILTER 'V', 2 axes: expected an SDSS corrected frame"),
            ({"FILTER": None}, r"FILTER '', 2 axes"),
            ({"BUNIT": None}, r"BUNIT '': expected 'nanomaggies'.*fpC"),
            ({"BUNIT": "Jy"}, r"BUNIT 'Jy'"),
            ({"CTYPE1": None, "CTYPE2": None}, r"no celestial WCS"),
        ],
        ids=str,
    )
    def test_other_images(self, frame, target, cards, message):
        with pytest.raises(InputError, match=message):
            cut_frames([frame("r", **cards)], target)

    @pytest.mark.filterwarnings("ignore:File may have been truncated")
    def test_broken_files(self, frame, target, tmp_path, frame_bytes):
        path = tmp_path / "frame-r-003699-4-0100.fits"
        path.write_text("<html>no</html>")
        with pytest.raises(InputError, match=r"0100\.fits: not a readable FITS file"):
            cut_frames([path], target)
        frame("r").writeto(path, overwrite=True)
        path.write_bytes(path.read_bytes()[:100_000])
        with pytest.raises(InputError, match=r"0100\.fits: .*truncated"):
            cut_frames([path], target)
        whole = frame_bytes(frame("r"))
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"0100\.fits: not a readable FITS file"):
            cut_frames([path], target)


class TestFiles:
    @pytest.fixture
    def cutout(self, frame, target):
        return cut_frames([frame(band, stars=[(target, 16.0)]) for band in "ugriz"], target)

    def test_written_and_read_again(self, cutout, tmp_path):
        path = tmp_path / "ngc5227.fits"
        cutout.writeto(path)
        assert identify(path) == "sdss-image"
        (image,) = read(path)
        record = record_of(image)
        assert record.object_id == "ngc5227"
        np.testing.assert_array_equal(record.flux, record_of(cutout).flux)

    def test_embedding(self, cutout, tmp_path, target):
        path = tmp_path / "ngc5227.fits"
        cutout.writeto(path)
        from_file, from_memory = aa.embed([path, cutout])
        assert from_file.survey == from_memory.survey == "sdss-image"
        assert from_file.object_id == "ngc5227"
        assert float(from_file.ra) == pytest.approx(target.ra.deg)
        np.testing.assert_allclose(from_file, from_memory, atol=1e-5)

    def test_names_of_objects_are_kept(self, cutout):
        assert record_of(cutout).object_id == ""
        cutout[0].header["OBJECT"] = "NGC 5227"
        assert record_of(cutout).object_id == "NGC 5227"

    @pytest.mark.parametrize("name", ["frame-r-003699-4-0100.fits", "renamed.fits"])
    def test_whole_frames_are_refused(self, frame, tmp_path, name):
        path = tmp_path / name
        frame("r", shape=(1489, 2048)).writeto(path)
        assert identify(path) == "sdss-image"
        with pytest.raises(InputError, match=r"frame shows many objects.*cut_frames\(frames of g"):
            list(read(path))

    def test_compressed_frames_are_recognised(self, tmp_path):
        path = tmp_path / "frame-r-003699-4-0100.fits.bz2"
        assert get_survey("sdss-image").identify(path, None)

    @pytest.mark.parametrize("band", "grz")
    def test_missing_band(self, frame, target, band):
        cutout = cut_frames([frame(b) for b in "grz" if b != band], target)
        with pytest.raises(InputError, match=f"band {band} is missing") as caught:
            record_of(cutout)
        assert Quality.MISSING_BAND in caught.value.quality

    def test_one_band_of_a_frame_is_no_cutout(self, frame, target):
        with pytest.raises(InputError, match=r"HDUList is no cutout of SDSS frames"):
            record_of(frame("r"))

    @pytest.mark.parametrize("change", ["SURVEY", "RA", "FILTER"])
    def test_other_files_are_not_claimed(self, cutout, tmp_path, change):
        del cutout[0 if change != "FILTER" else 1].header[change]
        survey = get_survey("sdss-image")
        assert not survey.identify(tmp_path / "x.fits", cutout)
        assert not survey.identify(tmp_path / "x.fits", None)
        with pytest.raises(InputError, match=r"NGC 1: HDUList is no cutout"):
            list(survey.convert(cutout, object_id="NGC 1"))

    @pytest.mark.filterwarnings("ignore:File may have been truncated")
    def test_truncated(self, cutout, tmp_path):
        path = tmp_path / "ngc5227.fits"
        cutout.writeto(path)
        path.write_bytes(path.read_bytes()[: -150 * 150 * 4])
        with pytest.raises(InputError, match=r"ngc5227.*truncated"):
            list(read(path, "sdss-image"))

    def test_two_images_of_a_band(self, cutout):
        cutout.append(fits.ImageHDU(cutout[1].data, cutout[1].header))
        with pytest.raises(InputError, match=r"two images are of band u"):
            record_of(cutout)


class TestLegacyDepth:
    def noisy(self, frame, target, times):
        """Cutout of frames with so many times the noise of the Legacy Surveys."""
        frames, rng = [], np.random.default_rng(2)
        for band in "griz":
            one = frame(band, stars=[(target, 14.0)])
            noise = times * SIGMA.get(band, 0.01) * 0.396 / 0.262
            one[0].data = one[0].data + rng.normal(0, noise, one[0].shape).astype("f4")
            frames.append(one)
        return cut_frames(frames, target)

    def degraded(self, cutout):
        (image,) = get_survey("sdss-image-legacy-depth").convert(cutout)
        return image

    def test_noise_of_the_sky_is_kept(self, frame, target):
        cutout = self.noisy(frame, target, 5)
        for band in "grz":
            sigma = 5 * SIGMA[band] * 0.396 / 0.262
            assert cutout[band].header["SKYSIG"] == pytest.approx(sigma, rel=0.02)

    def test_noise_becomes_that_of_the_legacy_surveys(self, frame, target):
        cutout = self.noisy(frame, target, 5)
        image = self.degraded(cutout)
        for band in "grz":
            rows, columns = np.indices(image[band].shape) - 75
            sky = image[band].data[np.hypot(rows, columns) > 25]
            expected = SIGMA[band] * 0.396 / 0.262
            assert sky.std() == pytest.approx(expected, rel=0.1)
            assert image[band].data.sum() == pytest.approx(cutout[band].data.sum(), rel=0.01)
        np.testing.assert_array_equal(image["I"].data, cutout["I"].data)

    def test_it_is_smoothed_once(self, frame, target):
        image = self.degraded(self.noisy(frame, target, 5))
        for one, other in zip(image[1:], self.degraded(image)[1:], strict=True):
            np.testing.assert_array_equal(one.data, other.data)

    def test_deep_images_are_left_alone(self, frame, target):
        cutout = self.noisy(frame, target, 0.9)
        for one, other in zip(cutout[1:], self.degraded(cutout)[1:], strict=True):
            np.testing.assert_array_equal(one.data, other.data)

    def test_only_when_asked_for(self, frame, target, tmp_path):
        path = tmp_path / "ngc5227.fits"
        self.noisy(frame, target, 5).writeto(path)
        assert identify(path) == "sdss-image"
        as_is, smooth = (aa.embed(path, survey=f"sdss-image{x}") for x in ("", "-legacy-depth"))
        assert smooth.survey == "sdss-image-legacy-depth"
        assert np.abs(as_is - smooth).max() > 0.01

    def test_noise_that_is_not_known(self, frame, target):
        cutout = self.noisy(frame, target, 5)
        del cutout["R"].header["SKYSIG"]
        with pytest.raises(InputError, match=r"SKYSIG of band r is 0: expected the noise"):
            self.degraded(cutout)
