"""Files of the cutout service, read through the registered survey."""

import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

import astroclip_astro as aa
from astroclip_astro.adapters.image import ImagePreprocessing, image_records
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import get_manager
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.files import get_survey, identify, read

SHAPE = (241, 241)
CENTRE = (120, 120)


@pytest.fixture
def survey():
    return get_survey("hsc")


def record_of(path):
    (image,) = read(path)
    (record,) = image_records(
        image, preprocessing=ImagePreprocessing(), survey=get_survey("hsc"), survey_name="hsc"
    )
    return record


def with_plane(number, place=CENTRE):
    mask = np.zeros(SHAPE, int)
    mask[place] = 1 << number
    return mask


class TestPlugin:
    def test_it_is_registered(self):
        manager = get_manager()
        assert [f for f in manager.failures if "hsc" in f.plugin] == []
        assert "hsc" in manager.entries("survey"), "install this package first: pip install -e ."

    def test_hooks_import_nothing_heavy(self):
        code = (
            "import sys, astroclip_hsc; list(astroclip_hsc.register_surveys()); "
            "print([m for m in ('torch', 'astropy', 'numpy') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[]\n", "")

    def test_files_are_recognised(self, galaxy):
        assert identify(galaxy()) == "hsc"

    @pytest.mark.parametrize(
        "cards",
        [{"FILTER": "HSC-R2"}, {"FILTER": "r"}, {"FLUXMAG0": None}],
        ids=["r2", "filter alone", "no FLUXMAG0"],
    )
    def test_other_spellings_are_recognised(self, tmp_path, write, cards):
        assert identify(write(tmp_path / "renamed.fits", "R", **cards)) == "hsc"

    @pytest.mark.parametrize(
        "cards",
        [{"FILTER": "r", "FLUXMAG0": None}, {"FILTER": "NB921"}, {"FILTER": None}],
        ids=["anybody's r", "narrow band", "no filter"],
    )
    def test_other_images_are_not_claimed(self, tmp_path, write, survey, cards):
        path = write(tmp_path / "cutout-HSC-R-9813-pdr2_wide.fits", "R", **cards)
        with fits.open(path) as hdulist:
            assert not survey.identify(path, hdulist)
        assert not survey.identify(path, None)
        with pytest.raises(InputError, match=r"pdr2_wide\.fits: no cutout of an HSC coadd"):
            list(survey.read(path))

    def test_embedding(self, galaxy):
        embedding = aa.embed(galaxy(mask=with_plane(1), variance=np.full(SHAPE, 1e-6)))
        assert embedding.survey == "hsc"
        assert embedding.modality == "image"
        assert embedding.object_id == "2-cutout-HSC-R-9813-pdr2_wide"
        assert int(embedding.quality) == Quality.SATURATED
        assert np.isfinite(embedding).all()


class TestPixels:
    def test_what_is_read(self, galaxy):
        (image,) = read(galaxy())
        assert image.unit == u.adu
        assert image.shape == (3, *SHAPE)
        assert image.meta["bands"] == ("g", "r", "z")
        assert image.meta["zeropoint"]["r"] == pytest.approx(27.0, abs=1e-9)
        middle = image.wcs.pixel_to_world(120, 120)
        assert image.meta["ra"] == pytest.approx(middle.ra.deg, abs=1e-9)
        assert image.meta["dec"] == pytest.approx(middle.dec.deg, abs=1e-9)
        assert image.uncertainty is None
        assert not image.mask.any()

    def test_flux_and_place_on_the_grid_of_the_model(self, galaxy):
        record = record_of(galaxy())
        # A star of magnitude 18 has 10^(0.4 (22.5 - 18)) nanomaggies.
        np.testing.assert_allclose(record.flux.sum((1, 2)), 10**1.8, rtol=1e-3)
        rows, columns = np.indices((152, 152))
        for plane in record.flux:
            assert np.average(rows, weights=plane) == pytest.approx(75.5, abs=0.02)
            assert np.average(columns, weights=plane) == pytest.approx(75.5, abs=0.02)
            width = np.sqrt(np.average((rows - 75.5) ** 2, weights=plane)) * 0.262 * 2.3548
            assert width == pytest.approx(0.7, rel=0.1)

    @pytest.mark.parametrize(("fluxmag0", "zeropoint"), [(1e12, 30.0), (None, 27.0)])
    def test_the_header_has_the_zeropoint(self, galaxy, fluxmag0, zeropoint):
        record = record_of(galaxy(FLUXMAG0=fluxmag0))
        expected = 10 ** (1.8 + 0.4 * (27 - zeropoint))
        np.testing.assert_allclose(record.flux.sum((1, 2)), expected, rtol=1e-3)

    def test_signal_to_noise(self, galaxy):
        path = galaxy(image=np.full(SHAPE, 50.0), variance=np.full(SHAPE, 100.0))
        # 5 per pixel of 0.168"; one of the model's has 2.43 of them.
        assert record_of(path).snr == pytest.approx(5 * 0.262 / 0.168, rel=1e-3)

    def test_pixels_without_value_or_weight_do_not_count(self, galaxy):
        image, variance = np.ones(SHAPE), np.ones(SHAPE)
        image[:, :50] = np.nan
        variance[:, -50:] = 0
        record = record_of(galaxy(image=image, variance=variance))
        assert record.coverage == pytest.approx(1 - 2 * 50 * 0.168 / (152 * 0.262), abs=0.02)
        assert record.quality == Quality.NON_FINITE | Quality.PARTIAL_COVERAGE
        assert np.isfinite(record.flux).all()


class TestMask:
    @pytest.mark.parametrize("name", ["BAD", "CR", "EDGE", "NO_DATA", "UNMASKEDNAN"])
    @pytest.mark.parametrize("number", [0, 12, 30])
    def test_planes_are_known_by_the_numbers_of_the_file(self, galaxy, name, number):
        (image,) = read(galaxy(mask=with_plane(number), planes={name: number, "DETECTED": 5}))
        assert image.mask.sum() == 3
        assert image.mask[(slice(None), *CENTRE)].all()

    @pytest.mark.parametrize("number", [2, 5, 7, 15])
    def test_planes_that_leave_the_flux_usable(self, galaxy, number):
        (image,) = read(galaxy(mask=with_plane(number)))
        assert not image.mask.any()
        assert image.meta["quality"] == Quality.GOOD

    @pytest.mark.parametrize(
        ("number", "place", "quality"),
        [
            (1, CENTRE, Quality.SATURATED),
            (1, (120, 148), Quality.SATURATED),
            (1, (120, 152), Quality.GOOD),
            (9, CENTRE, Quality.SURVEY_WARNING),
            (9, (10, 10), Quality.GOOD),
        ],
    )
    def test_planes_at_the_object_are_told(self, galaxy, number, place, quality):
        (image,) = read(galaxy(mask=with_plane(number, place)))
        assert image.meta["quality"] == quality
        assert not image.mask.any()

    def test_mask_of_one_band_is_of_one_band(self, galaxy, tmp_path, write):
        path = galaxy("GR", mask=np.zeros(SHAPE))
        write(tmp_path / path.name.replace("-R-", "-Z-"), "Z", mask=with_plane(8))
        (image,) = read(path)
        assert image.mask.sum((1, 2)).tolist() == [0, 0, 1]


class TestSiblings:
    @pytest.mark.parametrize("given", "GRZ")
    def test_any_of_the_files_will_do(self, galaxy, given):
        path = galaxy()
        (image,) = read(path.with_name(path.name.replace("-R-", f"-{given}-")))
        assert image.meta["bands"] == ("g", "r", "z")

    def test_all_bands_in_their_order(self, galaxy, tmp_path, write):
        path = galaxy("YZIRG")
        (image,) = read(path)
        assert image.meta["bands"] == ("g", "r", "i", "z", "y")

    def test_open_file(self, galaxy):
        with fits.open(galaxy()) as hdulist:
            embedding = aa.embed(hdulist)
        assert embedding.survey == "hsc"
        assert np.isfinite(embedding).all()

    def test_file_in_memory_has_nothing_beside_it(self, galaxy, survey):
        with fits.open(galaxy()) as hdulist:
            copy = fits.HDUList([hdu.copy() for hdu in hdulist])
        with pytest.raises(InputError, match=r"NGC 1: HDUList holds one band at most"):
            list(survey.convert(copy, object_id="NGC 1"))

    @pytest.mark.parametrize("missing", "GRZ")
    def test_missing_band(self, galaxy, missing):
        path = galaxy("GRZ".replace(missing, ""))
        expected = (
            rf"band {missing.lower()} is missing: no 2-cutout-HSC-{missing}-9813-pdr2_wide\*\.fits "
            "beside it"
        )
        with pytest.raises(InputError, match=expected) as caught:
            list(read(path))
        assert Quality.MISSING_BAND in caught.value.quality

    def test_other_objects_of_the_same_tract_in_the_folder(self, galaxy, tmp_path, write):
        stem = "cutout-HSC-{}-9813-pdr2_wide-20120{}-201802.fits"
        for number, ra in enumerate((150.0, 150.1)):
            for band in "GRZ":
                # The service adds when each file was made.
                name = stem.format(band, number * 3 + "GRZ".index(band) + 1)
                write(tmp_path / name, band, ra=ra)
        places = [read(tmp_path / stem.format("R", second)) for second in (2, 5)]
        (first,), (second,) = places
        assert second.meta["ra"] - first.meta["ra"] == pytest.approx(0.1, abs=1e-3)

    def test_files_of_another_place_are_no_siblings(self, galaxy, tmp_path, write):
        path = galaxy("GR")
        write(tmp_path / path.name.replace("-R-", "-Z-"), "Z", ra=150.1)
        with pytest.raises(InputError, match=r"HSC-Z-9813-pdr2_wide\.fits is not on the same pix"):
            list(read(path))

    def test_two_files_of_a_band(self, galaxy, tmp_path, write):
        path = galaxy()
        write(tmp_path / "2-cutout-HSC-Z-9813-pdr2_wide-201204-201802.fits", "Z")
        with pytest.raises(InputError, match=r"are both z of it: expected one file per band"):
            list(read(path))

    def test_files_of_other_names(self, tmp_path, write, survey):
        paths = [write(tmp_path / f"ngc1_{band}.fits", band) for band in "GRZ"]
        with pytest.raises(InputError, match=r"ngc1_R\.fits: .*HSC\.combine takes files of any"):
            list(read(paths[1]))
        image = survey.combine(paths, object_id="NGC 1")
        assert image.meta["bands"] == ("g", "r", "z")
        assert aa.embed(image, survey="hsc").object_id == "NGC 1"

    def test_combining_what_does_not_belong_together(self, tmp_path, write, survey):
        here = write(tmp_path / "a.fits", "G")
        there = write(tmp_path / "b.fits", "R", ra=150.1)
        small = write(tmp_path / "c.fits", "R", np.ones((9, 9)))
        for other in (there, small):
            with pytest.raises(InputError, match=r"NGC 1: .*not on the same pixels"):
                survey.combine([here, other], object_id="NGC 1")
        other = write(tmp_path / "d.fits", "R", unit="nJy")
        with pytest.raises(InputError, match=r"NGC 1: a\.fits is in adu and d\.fits in nJy: expec"):
            survey.combine([here, other], object_id="NGC 1")
        with pytest.raises(InputError, match=r"bands g, g: expected one file per band"):
            survey.combine([here, here])
        with pytest.raises(InputError, match=r"NGC 1: no file"):
            survey.combine([], object_id="NGC 1")


class TestBrokenFiles:
    def test_no_fits(self, tmp_path, survey):
        path = tmp_path / "cutout-HSC-R-9813-pdr2_wide.fits"
        path.write_text("<html>Please log in</html>")
        with pytest.raises(InputError, match=r"not a readable FITS file"):
            list(survey.read(path))

    @pytest.mark.filterwarnings("ignore:File may have been truncated")
    def test_truncated(self, galaxy):
        path = galaxy(mask=np.zeros(SHAPE), variance=np.ones(SHAPE))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
        with pytest.raises(InputError, match=r"HSC-R-.*truncated"):
            list(read(path, "hsc"))

    def test_mask_of_another_shape(self, galaxy):
        with pytest.raises(InputError, match=r"MASK of shape \(5, 5\) for an image of shape \(241"):
            list(read(galaxy(mask=np.zeros((5, 5)))))

    @pytest.mark.parametrize("fluxmag0", [0.0, -1.0])
    def test_zeropoint_that_is_none(self, galaxy, fluxmag0):
        with pytest.raises(InputError, match=r"FLUXMAG0 is .*: expected the counts of magnitude 0"):
            list(read(galaxy(FLUXMAG0=fluxmag0)))

    def test_no_wcs(self, galaxy):
        path = galaxy()
        with fits.open(path, mode="update") as hdulist:
            del hdulist[1].header["CTYPE1"], hdulist[1].header["CTYPE2"]
        with pytest.raises(InputError, match=r"HDU 1 has no celestial WCS"):
            list(read(path))


class TestLegacyDepth:
    """Noise of DECaLS per pixel of 0.262", from its published depth and seeing."""

    def expected(self):
        # Dey et al. 2019: 5-sigma depth and seeing; a Moffat profile of beta 3 covers, in the sense
        # of a point source's optimal noise, 5 pi / 4 of its squared scale radius.
        depth, seeing = np.array([24.7, 23.9, 23.0]), np.array([1.29, 1.18, 1.11])
        area = 5 * np.pi / 4 * (seeing / (2 * np.sqrt(2 ** (1 / 3) - 1)) / 0.262) ** 2
        return 10 ** (0.4 * (22.5 - depth)) / 5 / np.sqrt(area)

    @pytest.fixture
    def path(self, galaxy):
        noise = np.random.default_rng(1).normal(0, 0.05, SHAPE)
        return galaxy("GRIZ", image=noise, variance=np.full(SHAPE, 0.05**2))

    def test_noise_is_that_of_the_legacy_surveys(self, path):
        (deep,), (image,) = read(path, "hsc"), read(path, "hsc-legacy-depth")
        per_pixel = self.expected() * 0.168 / 0.262 * 10 ** (0.4 * 4.5)  # counts of zeropoint 27
        wanted = dict(zip("grz", per_pixel, strict=True))
        for i, band in enumerate(image.meta["bands"]):
            if band == "i":
                np.testing.assert_array_equal(image.data[i], deep.data[i])
                continue
            assert image.data[i].std() == pytest.approx(wanted[band], rel=0.02)
            np.testing.assert_allclose(image.uncertainty.array[i], wanted[band] ** 2, rtol=1e-6)
        added = (image.data - deep.data)[[0, 1, 3]]
        assert np.abs(np.corrcoef(added.reshape(3, -1)) - np.eye(3)).max() < 0.02

    def test_same_file_same_noise(self, path):
        (first,), (second,) = (read(path, "hsc-legacy-depth") for _ in range(2))
        np.testing.assert_array_equal(first.data, second.data)

    def test_shallow_files_are_left_alone(self, galaxy):
        path = galaxy(variance=np.full(SHAPE, 100.0))
        (image,), (degraded,) = read(path, "hsc"), read(path, "hsc-legacy-depth")
        np.testing.assert_array_equal(degraded.data, image.data)

    def test_pixels_without_weight_get_none(self, galaxy):
        variance = np.full(SHAPE, 0.05**2)
        variance[:, :9], variance[:, 9:20] = 0, np.nan
        (image,) = read(galaxy(variance=variance), "hsc-legacy-depth")
        assert (image.uncertainty.array[..., :9] == 0).all()
        assert np.isnan(image.uncertainty.array[..., 9:20]).all()
        assert np.isfinite(image.data).all()

    def test_only_when_asked_for(self, path):
        assert identify(path) == "hsc"
        assert aa.embed(path, survey="hsc-legacy-depth").survey == "hsc-legacy-depth"

    def test_needs_variances(self, galaxy):
        with pytest.raises(InputError, match=r"a file has no variance: expected to know how much"):
            list(read(galaxy(), "hsc-legacy-depth"))
