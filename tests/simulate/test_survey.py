"""Surveys on disk: reproducible, resumable, consistent with their truth."""

import subprocess
import sys
import time

import astropy.units as u
import h5py
import numpy as np
import pytest
import speclite.filters
from astropy.nddata import InverseVariance
from astropy.wcs.utils import proj_plane_pixel_scales
from click.testing import CliRunner

from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import MockSurvey, simulate_galaxy
from astroclip_astro.simulate.__main__ import main
from astroclip_astro.simulate.images import ObservingConditions, point_fractions
from astroclip_astro.simulate.population import SAMPLES
from astroclip_astro.simulate.recipe import recipe_hash

from .conftest import SEED, SHARD_SIZE, N


def contents(path):
    """Every dataset of every shard, by file name."""
    shards = {}
    for shard in sorted(path.glob("shard-*.h5")):
        with h5py.File(shard) as file:
            shards[shard.name] = {name: file[name][()] for name in file}
    return shards


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        for key in one[name]:
            first, second = one[name][key], other[name][key]
            assert (first.dtype, first.shape) == (second.dtype, second.shape)
            assert first.tobytes() == second.tobytes(), (name, key)  # NaN in the truth included


def test_shards_and_length(survey):
    assert len(survey) == N
    lengths = [len(shard["truth"]) for shard in contents(survey.path).values()]
    assert lengths == [SHARD_SIZE, SHARD_SIZE, N - 2 * SHARD_SIZE]
    assert "14 galaxies" in repr(survey)


def test_same_galaxies_whatever_the_number_of_processes(survey, tmp_path):
    MockSurvey.generate(tmp_path, N, SEED, n_jobs=2, shard_size=SHARD_SIZE, progress=False)
    assert_same(contents(tmp_path), contents(survey.path))


def test_an_object_does_not_depend_on_how_many_there_are(survey):
    index = N - 1
    alone = simulate_galaxy(SEED, index)
    arrays = survey.arrays(slice(index, None))
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(alone, name), array[0])
    assert survey.truth["redshift"][index] == alone.truth["redshift"]


def test_other_seeds_give_other_galaxies():
    assert simulate_galaxy(1, 0).truth["redshift"] != simulate_galaxy(2, 0).truth["redshift"]


def test_a_killed_run_resumes_to_identical_shards(survey, tmp_path):
    arguments = [str(tmp_path), "--n", str(N), "--seed", str(SEED)]
    arguments += ["--shard-size", str(SHARD_SIZE), "--jobs", "1"]
    command = [sys.executable, "-m", "astroclip_astro.simulate", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None and not (tmp_path / "shard-00000.h5").exists():
            time.sleep(0.01)
        run.kill()
    first = tmp_path / "shard-00000.h5"
    made = first.stat().st_mtime_ns
    (tmp_path / "shard-00002.part").write_bytes(b"half of a file")

    finished = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert f"{N} galaxies" in finished.stdout
    assert first.stat().st_mtime_ns == made
    assert_same(contents(tmp_path), contents(survey.path))


def test_a_damaged_shard_is_made_again(survey, tmp_path):
    for shard in survey.path.glob("shard-*.h5"):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    damaged = tmp_path / "shard-00002.h5"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    MockSurvey.generate(tmp_path, N, SEED, n_jobs=1, shard_size=SHARD_SIZE, progress=False)
    assert_same(contents(tmp_path), contents(survey.path))


def test_refuses_to_mix_surveys(survey, tmp_path):
    with pytest.raises(InputError, match=f"seed={SEED}, this run has 12"):
        MockSurvey.generate(survey.path, N, 12, n_jobs=1, shard_size=SHARD_SIZE, progress=False)
    with pytest.raises(InputError, match="shard_size=6, this run has 5"):
        MockSurvey.generate(survey.path, N, SEED, n_jobs=1, shard_size=5, progress=False)
    for shard in survey.path.glob("shard-*.h5"):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    with h5py.File(tmp_path / "shard-00001.h5", "r+") as file:
        file.attrs["seed"] = 5
    with pytest.raises(InputError, match="several seeds"):
        MockSurvey.open(tmp_path)


def test_empty_folder_and_empty_survey(tmp_path):
    with pytest.raises(InputError, match="no finished shard"):
        MockSurvey.open(tmp_path)
    with pytest.raises(InputError, match="at least one galaxy"):
        MockSurvey.generate(tmp_path, 0)


def test_arrays_are_the_rows_asked_for(survey):
    everything = survey.arrays()
    assert everything["spectrum"].shape == (N, 7781)
    assert everything["image"].shape == (N, 3, 152, 152)
    assert all(np.isfinite(array).all() for array in everything.values())
    assert all(array.dtype == np.float32 for array in everything.values())
    slices = slice(3, 11), slice(5, 6), slice(1, None, 5), slice(-3, None), slice(4, 4)
    for rows in (*slices, slice(None, None, -1), [7, 2, 11, 2], [-1], np.zeros(0, int)):
        for name, array in survey.arrays(rows).items():
            np.testing.assert_array_equal(array, everything[name][rows])
    with pytest.raises(IndexError):
        survey.arrays([N])


def test_spectrum_noise_has_the_stated_statistics(survey):
    truth = survey.arrays()
    pulls = []
    for i in range(N):
        spectrum = survey.spectrum(i)
        assert isinstance(spectrum.uncertainty, InverseVariance)
        sigma = spectrum.uncertainty.array**-0.5
        np.testing.assert_allclose(sigma, truth["spectrum_sigma"][i], rtol=1e-6)
        pulls.append((spectrum.flux.value - truth["spectrum"][i]) / sigma)
    # Sky residuals come on top, in the lines of the red half.
    wavelength = survey.spectrum(0).spectral_axis.to_value(u.AA)
    blue = np.array(pulls)[:, wavelength < 5500]
    assert np.mean(blue) == pytest.approx(0, abs=4 / np.sqrt(blue.size))
    assert np.std(blue) == pytest.approx(1, abs=0.01 + 4 / np.sqrt(2 * blue.size))
    assert np.mean(pulls) == pytest.approx(0, abs=0.02)
    assert 1 < np.std(pulls) < 1.1


def test_image_noise_has_the_stated_statistics(survey):
    truth = survey.arrays(slice(0, 5))
    for i in range(5):
        cutout = survey.cutout(i)
        sigma = truth["image_sigma"][i][:, None, None]
        np.testing.assert_array_equal(
            cutout.uncertainty.array, np.broadcast_to(sigma, (3, 152, 152))
        )
        pulls = (cutout.data - truth["image"][i]) / sigma
        n = pulls[0].size
        np.testing.assert_allclose(pulls.mean(axis=(1, 2)), 0, atol=4.5 / np.sqrt(n))
        np.testing.assert_allclose(pulls.std(axis=(1, 2)), 1, atol=4.5 / np.sqrt(2 * n))


def test_realisations(survey):
    again = MockSurvey.open(survey.path)
    for observe in ("spectrum", "cutout"):
        first, same, second = (
            np.asarray(getattr(s, observe)(2, r).data)
            for s, r in ((survey, 0), (again, 0), (survey, 1))
        )
        np.testing.assert_array_equal(first, same)
        assert (first != second).mean() > 0.99
    # The two realisations are independent, and so are the noises of two objects.
    truth = survey.arrays(slice(2, 4))
    noise = [
        (survey.spectrum(i, r).flux.value - truth["spectrum"][i - 2])
        / truth["spectrum_sigma"][i - 2]
        for i, r in ((2, 0), (2, 1), (3, 0))
    ]
    correlation = np.corrcoef(noise)
    np.testing.assert_allclose(correlation[np.triu_indices(3, 1)], 0, atol=0.06)


def test_spectrum_carries_its_identity_and_units(survey):
    spectrum, row = survey.spectrum(1), survey.truth[1]
    assert spectrum.flux.unit.is_equivalent("erg s-1 cm-2 Angstrom-1")
    assert (1 * spectrum.flux.unit).cgs.value == pytest.approx(1e-17 * 1e8)
    assert spectrum.spectral_axis[[0, -1]].to_value(u.AA) == pytest.approx([3600, 9824])
    assert spectrum.meta["medium"] == "vacuum"
    assert isinstance(spectrum.meta["quality"], Quality)
    for key in ("object_id", "ra", "dec", "redshift"):
        expected = row[key].value if hasattr(row[key], "unit") else row[key]
        assert spectrum.meta[key] == expected


def test_cutout_is_north_up_east_left_and_centred(survey):
    cutout, row = survey.cutout(1), survey.truth[1]
    assert cutout.unit == u.nmgy
    assert cutout.meta["bands"] == "grz"
    np.testing.assert_allclose(proj_plane_pixel_scales(cutout.wcs) * 3600, 0.262)
    centre = cutout.wcs.pixel_to_world(75.5, 75.5)
    assert centre.ra.deg == pytest.approx(row["ra"].value)
    assert centre.dec.deg == pytest.approx(row["dec"].value)
    assert cutout.wcs.pixel_to_world(75.5, 76.5).dec > centre.dec
    east = centre.directional_offset_by(90 * u.deg, 5 * u.arcsec)
    assert cutout.wcs.world_to_pixel(east)[0] < 75.5


def test_rows_out_of_range(survey):
    assert survey.spectrum(-1).meta["object_id"] == survey.truth["object_id"][-1]
    with pytest.raises(IndexError, match="galaxy 14 of a survey of 14"):
        survey.spectrum(N)


def test_truth_has_units_and_plausible_values(survey):
    truth = survey.truth
    assert truth["ra"].unit == u.deg
    assert truth["age"].unit == u.Gyr
    assert truth["r_half"].unit == u.arcsec
    assert truth["mag_r"].unit == u.ABmag
    assert truth["log_mass"].unit == u.dex(u.Msun)
    assert truth["log_ssfr"].unit == u.dex(1 / u.yr)
    assert np.nanmin(truth["log_mass"].physical.to_value(u.Msun)) > 1e7
    assert len(set(truth["object_id"])) == N
    is_galaxy = truth["kind"] == "galaxy"
    limit = np.array([SAMPLES[sample][0] for sample in truth["sample"]])
    assert (truth["mag_r"].value < limit)[is_galaxy].all()
    redshift = truth["redshift"][is_galaxy]
    assert ((redshift > 0.005) & (redshift < 0.8)).all()
    assert ((truth["ebv"] > 0 * u.mag) & (truth["ebv"] <= 0.3 * u.mag)).all()
    assert ((truth["fibre_fraction"] > 0) & (truth["fibre_fraction"] < 1)).all()
    assert (truth["snr_spectrum"] > 0).all()
    assert truth["age"].info.description == "mass-weighted age"


def test_stars_and_quasars_are_told_apart(survey):
    truth = survey.truth
    kinds = list(truth["kind"])
    assert (kinds.index("star"), kinds.index("qso")) == (3, 6)
    assert kinds.count("galaxy") == N - 2
    stored = survey.truth_array
    floats = [name for name in stored.dtype.names if stored[name].dtype.kind == "f"]
    of_galaxies = {
        "log_mass", "age", "log_z", "log_ssfr", "a_v", "log_u", "ionising_fraction", "gas_log_z",
        "stellar_dispersion", "r_half", "bulge_to_total", "axis_ratio", "bulge_axis_ratio",
        "position_angle", "arm_fraction", "arm_pitch", "bar_fraction",
    }  # fmt: skip
    for name in floats:
        missing = np.isnan(stored[name])
        expected = [kind != "galaxy" for kind in kinds] if name in of_galaxies else [False] * N
        np.testing.assert_array_equal(missing, expected, err_msg=name)
    assert abs(truth["redshift"][3]) < 2e-3
    assert truth["redshift"][6] > 0.1


def test_quality_of_stars_and_quasars_arrives_at_their_embeddings(survey):
    from astroclip_astro import embed

    for observe in (survey.spectrum, survey.cutout):
        quality = [observe(i).meta["quality"] for i in range(N)]
        expected = [Quality.NOT_A_GALAXY if i in (3, 6) else Quality.GOOD for i in range(N)]
        assert quality == expected
        vectors = embed([observe(i) for i in (2, 3, 6)], progress=False)
        flagged = (vectors["quality"].values & Quality.NOT_A_GALAXY) != 0
        np.testing.assert_array_equal(flagged, [False, True, True])
        assert np.isfinite(vectors.values).all()


def aperture(image, radius=0.75, oversampling=20):
    """Flux in a circle on the centre, by sampling each pixel."""
    pixels = slice(70, 82)
    n = 12 * oversampling
    offset = (np.arange(n) - (n - 1) / 2) * 0.262 / oversampling
    inside = np.hypot(offset, offset[:, None]) < radius
    weight = inside.reshape(12, oversampling, 12, oversampling).mean((1, 3))
    return (image[..., pixels, pixels] * weight).sum((-2, -1))


def test_images_hold_the_flux_of_the_truth(survey):
    images, truth = survey.arrays()["image"].astype(float), survey.truth
    total = np.stack([10 ** (0.4 * (22.5 - truth[f"mag_{b}"].value)) for b in "grz"], axis=1)
    # Neighbours only add; light is lost where a galaxy is larger than the cutout.
    assert (images.sum((2, 3)) > 0.7 * total).all()
    point = truth["kind"] != "galaxy"
    small = point | (truth["r_half"].value < 2)
    assert (~point & small).any()
    assert (images.sum((2, 3)) > 0.95 * total)[small].all()
    fractions = aperture(images)[:, 1] / total[:, 1]
    np.testing.assert_allclose(fractions, truth["fibre_fraction"], rtol=0.02)


def test_spectra_have_the_flux_and_the_colours_of_the_aperture(survey):
    filters = speclite.filters.load_filters("decam2014-g", "decam2014-r")
    arrays, truth = survey.arrays(), survey.truth
    wavelength = survey.spectrum(0).spectral_axis.to_value(u.AA)
    padded, wider = filters.pad_spectrum(
        arrays["spectrum"].astype(float) * 1e-17, wavelength, method="edge"
    )
    magnitudes = filters.get_ab_magnitudes(padded, wider)
    # Surveys calibrate with stars: what a fibre lacks of a point source is added to all.
    seeing = np.stack([truth[f"seeing_{band}"].value for band in "grz"], axis=1)
    point = point_fractions(ObservingConditions(seeing=seeing, depth=np.full(3, 24.0)))
    seen = 22.5 - 2.5 * np.log10(aperture(arrays["image"].astype(float)) / point)
    # A star's spectrum has its own magnitude, but for the pixels' share of the seeing.
    star = truth["kind"] != "galaxy"
    np.testing.assert_allclose(
        magnitudes["decam2014-r"][star], truth["mag_r"].value[star], atol=0.05
    )
    # The fraction in the fibre is that of each band at its centre and interpolated over the band.
    np.testing.assert_allclose(magnitudes["decam2014-r"], seen[:, 1], atol=0.06)
    np.testing.assert_allclose(magnitudes["decam2014-g"], seen[:, 0], atol=0.09)


def test_importing_needs_no_simulation_package():
    code = (
        "import sys, astroclip_astro.simulate;"
        "heavy = {'bagpipes', 'dust_extinction', 'galsim', 'speclite'};"
        "sys.exit(not heavy.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_bundled_survey_is_of_this_recipe():
    assert MockSurvey.bundled().recipe_hash == recipe_hash()
