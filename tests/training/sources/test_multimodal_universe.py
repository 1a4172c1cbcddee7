"""Files laid out like those of the Multimodal Universe."""

import h5py
import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.nddata import InverseVariance
from specutils import Spectrum

from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import (
    FLUX_UNIT,
    SpectrumPreprocessing,
    spectrum_batch,
    spectrum_records,
)
from astroclip_astro.errors import InputError
from astroclip_astro.training.sources.multimodal_universe import MultimodalUniverseSource

GRID = 3600 + 0.8 * np.arange(7781)


def write(folder, pixel, **data):
    path = folder / f"healpix={pixel}"
    path.mkdir(parents=True)
    with h5py.File(path / "001-of-001.hdf5", "w") as file:
        for name, values in data.items():
            file[name] = values


@pytest.fixture
def desi(tmp_path, rng):
    """Two files of DESI spectra; the level of each is its number."""
    for pixel, numbers in ((10, [0, 1, 2]), (9, [3, 4])):
        n = len(numbers)
        flux = rng.normal(size=(n, 7781)) + np.array(numbers)[:, None]
        mask = np.zeros((n, 7781), bool)
        mask[:, 500:520] = True
        flux[mask] = 1e6
        write(
            tmp_path / "edr_sv3",
            pixel,
            object_id=39_000 + np.array(numbers),
            ra=np.array(numbers) * 10.0,
            dec=np.array(numbers) - 2.0,
            Z=np.array(numbers) / 10,
            ZWARN=(np.array(numbers) == 4) * 4,
            spectrum_flux=flux.astype("f4"),
            spectrum_ivar=np.full((n, 7781), 2, "f4"),
            spectrum_mask=mask,
            spectrum_lambda=np.tile(GRID, (n, 1)).astype("f4"),
        )
    return tmp_path / "edr_sv3"


@pytest.fixture
def images(tmp_path, rng):
    """Four bands, one more than the model takes, of three galaxies."""
    n = 3
    level = np.arange(n)[:, None, None, None] + 10 * np.arange(4)[:, None, None]
    image = (level + rng.normal(size=(n, 4, 160, 160))).astype("f4")
    ivar = np.ones((n, 4, 160, 160), "f4")
    clean = np.ones((n, 160, 160), bool)
    clean[0, 100:110] = False
    ivar[0, 0, 20:22], image[0, 0, 20:22] = 0, 0
    write(
        tmp_path / "dr10_south_21",
        3,
        object_id=np.array([b"0001m002-1", b"0001m002-2", b"0001m002-3"]),
        RA=np.arange(3.0),
        DEC=np.arange(3.0),
        image_array=image,
        image_ivar=ivar,
        bit_mask=clean,
        image_band=np.tile(np.array([b"des-g", b"des-r", b"des-i", b"des-z"]), (n, 1)),
        image_scale=np.full((n, 4), 0.262, "f4"),
    )
    return tmp_path / "dr10_south_21"


def test_spectra_of_all_files_are_read(desi):
    source = MultimodalUniverseSource(desi)
    assert source.modalities == {"spectrum"}
    assert source.object_id.tolist() == ["39000", "39001", "39002", "39003", "39004"]
    np.testing.assert_array_equal(source.targets["redshift"][:4], [0, 0.1, 0.2, 0.3])
    assert np.isnan(source.targets["redshift"][4])  # it has a warning
    np.testing.assert_array_equal(source.ra, [0, 10, 20, 30, 40])
    rows = np.array([4, 0, 2])
    batch = source.read(rows, torch.Generator())
    assert batch.object_id.tolist() == source.object_id[rows].tolist()
    np.testing.assert_allclose(batch.spectrum.mean((1, 2)), rows, atol=0.1)
    assert (batch.spectrum_ivar[:, 500:520] == 0).all()
    assert (batch.spectrum_ivar[:, 520:] == 2).all()
    assert batch.spectrum.abs().max() < 100


def test_padded_spectra_on_other_grids_are_what_embed_sees(tmp_path, rng):
    wavelength = 10 ** (3.58 + 1e-4 * np.arange(3800))
    flux, ivar = rng.normal(5, 1, 3800), rng.uniform(1, 2, 3800)
    mask = rng.random(3800) < 0.1
    pad = np.full(40, -1.0)
    write(
        tmp_path / "sdss",
        1,
        object_id=np.array([b" 482050393 "]),
        Z=[0.1],
        ZWARNING=[0],
        spectrum_flux=[np.r_[flux, np.ones(40)]],
        spectrum_ivar=[np.r_[ivar, np.ones(40)]],
        spectrum_mask=[np.r_[mask, np.zeros(40, bool)]],
        spectrum_lambda=[np.r_[wavelength, pad]],
    )
    batch = MultimodalUniverseSource(tmp_path / "sdss").read(np.array([0]), torch.Generator())
    assert batch.object_id.tolist() == ["482050393"]
    (record,) = spectrum_records(
        Spectrum(
            flux=flux * FLUX_UNIT,
            spectral_axis=wavelength * u.AA,
            uncertainty=InverseVariance(ivar, unit=FLUX_UNIT**-2),
            mask=mask,
        )
    )
    expected = spectrum_batch([record], SpectrumPreprocessing())
    torch.testing.assert_close(batch.spectrum, expected.flux, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(batch.spectrum_ivar, expected.ivar, rtol=1e-4, atol=1e-4)


def test_wavelengths_may_be_given_by_their_ends(tmp_path):
    write(
        tmp_path / "old",
        1,
        TARGETID=[5],
        spectrum_flux=np.ones((1, 7781)),
        spectrum_ivar=np.ones((1, 7781)),
        spectrum_lambda_min=[3600.0],
        spectrum_lambda_max=[9824.0],
    )
    source = MultimodalUniverseSource(tmp_path / "old")
    assert np.isnan(source.ra).all()
    assert source.targets == {}
    assert (source.read(np.array([0]), torch.Generator()).spectrum_ivar == 1).all()


def test_images_are_cut_and_their_bands_chosen(images):
    source = MultimodalUniverseSource(images)
    assert source.modalities == {"image"}
    np.testing.assert_array_equal(source.ra, [0, 1, 2])
    batch = source.read(np.array([2, 0]), torch.Generator())
    assert batch.object_id.tolist() == ["0001m002-3", "0001m002-1"]
    assert batch.image.shape == (2, 3, 152, 152)
    np.testing.assert_allclose(batch.image[0].mean((1, 2)), [2, 12, 32], atol=0.05)
    with h5py.File(images / "healpix=3" / "001-of-001.hdf5") as file:
        np.testing.assert_array_equal(batch.image[0, 2, 5], file["image_array"][2, 3, 9, 4:-4])
    assert (batch.image_ivar[0] == 1).all()
    assert (batch.image_ivar[1, :, 96:106] == 0).all()  # not clean
    assert (batch.image_ivar[1, 0, 16:18] == 0).all()  # not observed
    assert (batch.image_ivar[1, 1:, 16:18] == 1).all()
    assert batch.image[1, 0, 16:18].std() > 0  # filled from around


def test_a_mask_counts_without_inverse_variances(images):
    with h5py.File(images / "healpix=3" / "001-of-001.hdf5", "a") as file:
        del file["image_ivar"]
    batch = MultimodalUniverseSource(images).read(np.array([0, 1]), torch.Generator())
    assert (batch.image_ivar[0, :, 96:106] == 0).all()
    assert (batch.image_ivar[0, :, :96] > 0).all()
    np.testing.assert_allclose(batch.image_ivar[1].mean((1, 2)), 1, rtol=0.2)  # as it was drawn
    with h5py.File(images / "healpix=3" / "001-of-001.hdf5", "a") as file:
        del file["bit_mask"]
    assert (
        MultimodalUniverseSource(images).read(np.array([0]), torch.Generator()).image_ivar is None
    )


def test_what_does_not_fit_is_refused_by_name(images, desi, tmp_path):
    row = np.array([1])
    for preprocessing, message in (
        (
            ImagePreprocessing(bands=("g", "r", "y")),
            r"0001m002-2: .*band y is missing; it has des-",
        ),
        (ImagePreprocessing(pixel_scale=0.168), r"0001m002-2: .*pixels of 0.262 arcsec"),
        (ImagePreprocessing(size=170), r"160 × 160 pixels: expected 170"),
    ):
        with pytest.raises(InputError, match=message):
            MultimodalUniverseSource(images, {"image": preprocessing}).read(row, torch.Generator())
    with h5py.File(desi / "healpix=9" / "001-of-001.hdf5", "a") as file:
        file["spectrum_ivar"][1] = 0
    with pytest.raises(InputError, match=r"39004: .*healpix=9.*no usable pixel"):
        MultimodalUniverseSource(desi).read(np.array([4]), torch.Generator())
    lenient = MultimodalUniverseSource(desi, errors="skip")
    assert lenient.read(np.array([4, 1]), torch.Generator()).object_id.tolist() == ["39001"]
    assert lenient.skipped == 1
    with pytest.raises(InputError, match="no HDF5 file"):
        MultimodalUniverseSource(tmp_path / "nowhere")
    write(desi, 11, object_id=[1], Z=[0.1])
    with pytest.raises(InputError, match="other data sets than"):
        MultimodalUniverseSource(desi)
    write(tmp_path / "catalogue", 1, object_id=[1], Z=[0.1])
    with pytest.raises(InputError, match="neither spectra nor images"):
        MultimodalUniverseSource(tmp_path / "catalogue")
    write(tmp_path / "nameless", 1, Z=[0.1])
    with pytest.raises(InputError, match="no object_id"):
        MultimodalUniverseSource(tmp_path / "nameless")
