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

from astroclip_astro.errors import InputError
from astroclip_astro.simulate import MockSurvey, simulate_galaxy

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
            np.testing.assert_array_equal(one[name][key], other[name][key])


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
    command = [sys.executable, "-m", "astroclip_astro.simulate", str(tmp_path)]
    command += ["--n", str(N), "--seed", str(SEED), "--shard-size", str(SHARD_SIZE), "--jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None and not (tmp_path / "shard-00000.h5").exists():
            time.sleep(0.01)
        run.kill()
    first = tmp_path / "shard-00000.h5"
    made = first.stat().st_mtime_ns
    (tmp_path / "shard-00002.part").write_bytes(b"half of a file")

    finished = subprocess.run(command, check=True, capture_output=True, text=True)
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
    for rows in (slice(3, 11), slice(5, 6), slice(1, None, 5), slice(-3, None), slice(4, 4)):
        for name, array in survey.arrays(rows).items():
            np.testing.assert_array_equal(array, everything[name][rows])
    with pytest.raises(InputError, match="positive step"):
        survey.arrays(slice(None, None, -1))


def test_spectrum_noise_has_the_stated_statistics(survey):
    truth = survey.arrays()
    pulls = []
    for i in range(N):
        spectrum = survey.spectrum(i)
        assert isinstance(spectrum.uncertainty, InverseVariance)
        sigma = spectrum.uncertainty.array**-0.5
        np.testing.assert_allclose(sigma, truth["spectrum_sigma"][i], rtol=1e-6)
        pulls.append((spectrum.flux.value - truth["spectrum"][i]) / sigma)
    n = np.size(pulls)
    assert np.mean(pulls) == pytest.approx(0, abs=4 / np.sqrt(n))
    assert np.std(pulls) == pytest.approx(1, abs=4 / np.sqrt(2 * n))


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
    assert truth["log_mass"].physical.to_value(u.Msun).min() > 1e7
    assert len(set(truth["object_id"])) == N
    assert (truth["mag_r"] < truth["magnitude_limit"]).all()
    assert ((truth["redshift"] > 0.01) & (truth["redshift"] < 0.6)).all()
    assert (truth["snr_spectrum"] > 0).all()
    assert truth["age"].info.description == "mass-weighted age"


def test_images_hold_the_flux_of_the_truth(survey):
    images, truth = survey.arrays()["image"], survey.truth
    for i, band in enumerate("grz"):
        total = 10 ** (0.4 * (22.5 - truth[f"mag_{band}"].value))
        caught = images[:, i].sum(axis=(1, 2)) / total
        assert (caught < 1.001).all()
        small = truth["r_half"].value < 2
        assert small.any()
        assert (caught[small] > 0.95).all()


def test_spectra_hold_the_flux_of_the_truth_in_the_fibre(survey):
    r_band = speclite.filters.load_filters("decam2014-r")
    spectra, truth = survey.arrays()["spectrum"].astype(float), survey.truth
    wavelength = survey.spectrum(0).spectral_axis.to_value(u.AA)
    padded, wider = r_band.pad_spectrum(spectra * 1e-17, wavelength, method="edge")
    magnitude = r_band.get_ab_magnitudes(padded, wider)["decam2014-r"]
    expected = truth["mag_r"].value - 2.5 * np.log10(truth["fibre_fraction"])
    np.testing.assert_allclose(magnitude, expected, atol=0.01)


def test_importing_needs_no_simulation_package():
    code = (
        "import sys, astroclip_astro.simulate;"
        "sys.exit(any(m in sys.modules for m in ('bagpipes', 'galsim', 'speclite')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
