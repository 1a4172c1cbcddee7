"""The published pairs, with their orientation, split and a table of properties."""

import h5py
import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.table import Table

from astroclip_astro.adapters.image import ImagePreprocessing, encoder_input
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.training.sources.published import PublishedSource

SIZES = {"0": 5, "1": 10, "10": 5}


@pytest.fixture
def path(tmp_path, rng):
    """Three groups; the number of an object is in its data, and "10" follows "1"."""
    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        start = 0
        for name, n in SIZES.items():
            number = np.arange(start, start + n)
            images = rng.normal(size=(n, 152, 152, 3)).astype("f4")
            file[f"{name}/images"] = images + number[:, None, None, None]
            spectra = rng.normal(size=(n, 7781)).astype("f4") + number[:, None]
            file[f"{name}/spectra"] = spectra if name == "0" else spectra[..., None]
            file[f"{name}/redshifts"] = number / 100
            file[f"{name}/targetids"] = 39_627_000_000_000 + number
            start += n
    return tmp_path / "pairs.h5"


def test_every_object_is_read_with_its_own_data(path):
    source = PublishedSource(path)
    rows = np.array([19, 4, 5, 12, 0])
    batch = source.read(rows, torch.Generator())
    assert batch.object_id.tolist() == [str(39_627_000_000_000 + i) for i in rows]
    np.testing.assert_allclose(batch.image.mean((1, 2, 3)), rows, atol=0.05)
    np.testing.assert_allclose(batch.spectrum.mean((1, 2)), rows, atol=0.1)
    np.testing.assert_allclose(batch.targets["redshift"], rows / 100, rtol=1e-6)
    assert (batch.spectrum_ivar == 1).all()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(batch.image[1, 2, 3, 7], file["0/images"][4, 7, 3, 2])
    everything = source.read(np.arange(len(source)), torch.Generator())
    assert len(set(everything.object_id)) == 20


def test_orientation_is_that_of_the_published_model(shared_dir, tmp_path):
    golden = np.load(shared_dir / "golden" / "image_golden.npz")
    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        n = 3  # the fourth has no light at all
        file["0/images"] = golden["images"][:n]
        file["0/redshifts"], file["0/targetids"] = np.zeros(n), np.arange(n)
    source = PublishedSource(tmp_path / "pairs.h5", {"image": ImagePreprocessing()})
    batch = source.read(np.arange(n), torch.Generator())
    seen = encoder_input(batch.image, ImagePreprocessing())
    np.testing.assert_allclose(seen.numpy(), golden["collated"][:n], atol=5e-5)


def test_the_last_fifth_of_each_group_is_the_papers_test_set(path):
    held_out = PublishedSource(path).held_out
    assert np.flatnonzero(held_out).tolist() == [4, 13, 14, 19]


def test_properties_are_joined_on_targetid(path):
    table = Table(
        {
            "targetid": 39_627_000_000_000 + np.array([7, 3, 99]),
            "log_mass": [10.5, 11.0, 9.0],
            "age": [5000.0, 2000.0, 1.0] * u.Myr,
            "ra": [10.0, 20.0, 30.0],
            "dec": [1.0, 2.0, 3.0],
        }
    )
    source = PublishedSource(path, properties=table)
    known = np.flatnonzero(np.isfinite(source.targets["log_mass"]))
    assert known.tolist() == [3, 7]
    np.testing.assert_allclose(source.targets["age"][known], [2, 5])
    np.testing.assert_allclose(source.ra[known], [20, 10])
    table.write(path.with_name("p.ecsv"))
    batch = PublishedSource(path, properties=path.with_name("p.ecsv")).read(
        np.array([7, 8]), torch.Generator()
    )
    assert batch.targets["log_mass"][0] == 10.5
    assert batch.targets["log_mass"][1].isnan()
    with pytest.raises(InputError, match="expected targetid"):
        PublishedSource(path, properties=Table({"id": [1]}))


def test_empty_data_are_named_or_left_out(path, caplog):
    with h5py.File(path, "a") as file:
        file["1/spectra"][2] = np.nan
        file["0/images"][1, ..., 1] = 0
        file["1/spectra"][3, :100] = np.nan
        file["1/targetids"][9] = file["1/targetids"][8]
    source = PublishedSource(path)
    with pytest.raises(InputError, match=r"39627000000007: .*pairs.h5: its spectrum is empty"):
        source.read(np.array([7]), torch.Generator())
    with pytest.raises(InputError, match=r"39627000000001: .*a band of its image is empty"):
        source.read(np.array([1]), torch.Generator())
    lenient = PublishedSource(path, errors="skip")
    batch = lenient.read(np.array([7, 8, 1, 13, 14]), torch.Generator())
    assert [name[-5:] for name in batch.object_id] == ["00008", "00013", "13[1]"]
    assert lenient.skipped == 2
    assert torch.isfinite(batch.spectrum).all()
    assert (batch.spectrum_ivar[0, :100] == 0).all()
    assert (batch.spectrum_ivar[0, 100:] == 1).all()


def test_other_files_and_grids(path, tmp_path):
    small = PublishedSource(path, {"spectrum": SpectrumPreprocessing(n_pixels=7000)})
    assert small.read(np.array([0]), torch.Generator()).spectrum.shape == (1, 7000, 1)
    with pytest.raises(InputError, match="arcsec per pixel"):
        PublishedSource(path, {"image": ImagePreprocessing(pixel_scale=0.5)})
    (tmp_path / "text.h5").write_text("nothing")
    with pytest.raises(InputError, match="not the published pairs"):
        PublishedSource(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["flux"] = np.ones(3)
    with pytest.raises(InputError, match="no group '0' to '9'"):
        PublishedSource(tmp_path / "other.h5")
    with h5py.File(path, "a") as file:
        del file["10/spectra"]
        file["10/spectra"] = np.ones((3, 7781))
    with pytest.raises(InputError, match="3 spectra and 5 targetids"):
        PublishedSource(path)
