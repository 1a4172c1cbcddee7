"""Mock galaxies are read in any order, with noise that only the generator decides."""

import logging
import pickle
import shutil

import h5py
import numpy as np
import pytest
import torch

from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.sources.mocks import MOCK_TARGETS, MockSource

ROWS = np.array([33, 2, 39, 17, 8, 9])


def test_rows_come_in_the_order_asked_for_with_their_own_data(survey, generator):
    source = MockSource(survey)
    batch = source.read(ROWS, generator())
    assert batch.object_id.tolist() == survey.truth["object_id"][ROWS].tolist()
    arrays = survey.arrays()
    residual = (batch.spectrum[..., 0].numpy() - arrays["spectrum"][ROWS]) / arrays[
        "spectrum_sigma"
    ][ROWS]
    # Photon noise, and the residual of the sky subtraction on top of it.
    assert np.abs(np.median(residual, axis=1)).max() < 0.2
    assert 0.6 < np.median(np.abs(residual)) < 0.75
    np.testing.assert_allclose(
        batch.spectrum_ivar.numpy(), arrays["spectrum_sigma"][ROWS] ** -2, rtol=1e-5
    )
    pull = (batch.image.numpy() - arrays["image"][ROWS]) * batch.image_ivar.numpy() ** 0.5
    np.testing.assert_allclose(pull.std((2, 3)), 1, atol=0.03)
    np.testing.assert_allclose(pull.mean((2, 3)), 0, atol=0.03)


def test_only_galaxies_have_targets(survey, generator):
    source = MockSource(survey)
    kind = survey.truth["kind"]
    assert set(kind) > {"galaxy"}  # the test needs a star or quasar
    batch = source.read(np.arange(len(source)), generator())
    assert set(batch.targets) == set(MOCK_TARGETS)
    for name, values in batch.targets.items():
        np.testing.assert_array_equal(torch.isnan(values).numpy(), kind != "galaxy")
        expected = np.asarray(survey.truth_array[name][kind == "galaxy"], np.float32)
        np.testing.assert_array_equal(values[kind == "galaxy"].numpy(), expected)


def test_the_generator_alone_decides_the_noise(survey, generator):
    source = MockSource(survey)
    one, same, other = (source.read(ROWS, generator(seed)) for seed in (1, 1, 2))
    for name in ("spectrum", "image"):
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))


def test_spectra_alone_are_the_same_spectra(survey, generator):
    spectra = MockSource(survey.path, {"spectrum": SpectrumPreprocessing()})
    assert spectra.modalities == {"spectrum"}
    batch = spectra.read(ROWS, generator())
    assert batch.image is None
    assert torch.equal(batch.spectrum, MockSource(survey).read(ROWS, generator()).spectrum)


def test_another_grid_and_a_smaller_cutout(survey, generator):
    source = MockSource(
        survey,
        {
            "spectrum": SpectrumPreprocessing(
                wavelength_start=3500.4, wavelength_step=1.6, n_pixels=4000
            ),
            "image": ImagePreprocessing(size=96, crop=96),
        },
    )
    batch = source.read(ROWS, generator())
    assert batch.spectrum.shape == (6, 4000, 1)
    assert batch.image.shape == batch.image_ivar.shape == (6, 3, 96, 96)
    assert (batch.spectrum_ivar[:, :60] == 0).all()  # below 3600 Å
    mean = batch.spectrum.mean(1)
    torch.testing.assert_close(batch.spectrum[:, 0], mean, rtol=1e-4, atol=1e-4)
    flux = survey.arrays()["image"][ROWS][..., 28:-28, 28:-28].sum((1, 2, 3))
    noise = (1 / batch.image_ivar).sum((1, 2, 3)).sqrt().numpy()
    assert (np.abs(batch.image.sum((1, 2, 3)).numpy() - flux) < 5 * noise).all()


def test_what_the_mocks_do_not_have_is_refused(survey):
    with pytest.raises(InputError, match="arcsec per pixel"):
        MockSource(survey, {"image": ImagePreprocessing(pixel_scale=0.4)})
    with pytest.raises(InputError, match="expected 200 × 200"):
        MockSource(survey, {"image": ImagePreprocessing(size=200)}).read(
            np.array([0]), torch.Generator()
        )
    with pytest.raises(InputError, match="and photometry data were asked for"):
        MockSource(survey, {"photometry": None})
    with pytest.raises(ValueError, match="errors='ignore'"):
        MockSource(survey, errors="ignore")


def test_a_broken_shard_is_named_or_skipped_and_counted(survey, generator, tmp_path, caplog):
    shutil.copytree(survey.path, tmp_path / "mocks")
    kept = MockSurvey.open(tmp_path / "mocks")
    source = MockSource(kept)
    lenient = MockSource(kept, errors="skip")
    broken = tmp_path / "mocks" / "shard-00001.h5"  # rows 9 to 17
    broken.write_bytes(broken.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"mock-\d+-\d+: .*shard-00001.h5"):
        source.read(ROWS, generator())
    with caplog.at_level(logging.WARNING):
        batch = lenient.read(ROWS, generator())
    assert batch.object_id.tolist() == kept.truth["object_id"][[33, 2, 39, 8]].tolist()
    assert lenient.skipped == 2
    assert str(kept.truth["object_id"][17]) in caplog.text
    np.testing.assert_allclose(
        batch.spectrum_ivar[0].numpy(),
        survey.arrays(slice(33, 34))["spectrum_sigma"][0] ** -2,
        rtol=1e-5,
    )
    assert len(lenient.read(np.array([9, 10]), generator())) == 0


def test_a_missing_data_set_is_named(survey, generator, tmp_path):
    shutil.copytree(survey.path, tmp_path / "mocks")
    source = MockSource(tmp_path / "mocks")
    with h5py.File(tmp_path / "mocks" / "shard-00000.h5", "a") as file:
        del file["image_sigma"]
    with pytest.raises(InputError, match="image_sigma"):
        source.read(ROWS, generator())


def test_a_source_can_be_sent_to_another_process(survey, generator):
    source = MockSource(survey)
    batch = source.read(ROWS, generator())
    copy = pickle.loads(pickle.dumps(source)).read(ROWS, generator())
    assert torch.equal(copy.image, batch.image)
