"""Files of registered surveys, listed by a table or found in a folder."""

import logging

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import astroclip_astro
from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.inputs import records
from astroclip_astro.training.sources.folder import FolderSource

WAVELENGTH = 3600 + 0.8 * np.arange(7781)
PREPROCESSING = {"spectrum": SpectrumPreprocessing(), "image": ImagePreprocessing()}


def write_sdss(path, level):
    loglam = np.arange(3.58, 3.96, 1e-4)
    flux = level * (1 + 0.1 * np.sin(300 * loglam))
    ivar = np.full(len(loglam), 4.0)
    ivar[:50] = 0
    table = Table({"flux": flux, "loglam": loglam, "ivar": ivar})
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table)]).writeto(path)


def write_cutout(path, level):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (150.0, 2.0), (80.5, 80.5)
    wcs.wcs.cdelt = -0.262 / 3600, 0.262 / 3600
    header = wcs.to_header()
    header.update({"SURVEY": "LegacySurvey", "BANDS": "grz", "IMAGEW": 160, "IMAGEH": 160})
    data = level * np.random.default_rng(0).uniform(1, 2, (3, 160, 160)).astype("f4")
    fits.PrimaryHDU(data, header).writeto(path)


def write_desi(path, levels):
    """A table of concatenated arms, the smallest layout with several objects."""
    columns = {"WAVELENGTH": WAVELENGTH}
    columns |= {f"TARGET{i}": np.full(7781, level) for i, level in levels.items()}
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table(columns))]).writeto(path)


@pytest.fixture
def pairs(tmp_path):
    """Table of four pairs in files."""
    for i in range(4):
        write_sdss(tmp_path / f"spec-{i}.fits", i + 1)
        write_cutout(tmp_path / f"cutout-{i}.fits", i + 1)
    table = Table(
        {
            "object_id": [f"galaxy {i}" for i in range(4)],
            "spectrum": [f"spec-{i}.fits" for i in range(4)],
            "image": [f"cutout-{i}.fits" for i in range(4)],
            "ra": np.array([10, 11, 12, 13.0]) * u.hourangle,
            "dec": np.arange(4.0),
            "redshift": [0.1, 0.2, 0.3, 0.4],
            "age": [1000.0, 2000, 3000, 4000] * u.Myr,
            "comment": ["a", "b", "c", "d"],
        }
    )
    table.write(tmp_path / "galaxies.ecsv")
    return tmp_path / "galaxies.ecsv"


def test_pairs_are_what_embed_sees(pairs):
    source = FolderSource(pairs)
    assert source.modalities == {"image", "spectrum"}
    np.testing.assert_allclose(source.ra, [150, 165, 180, 195])
    np.testing.assert_allclose(source.targets["age"], [1, 2, 3, 4])
    assert set(source.targets) == {"redshift", "age"}
    batch = source.read(np.array([2, 0]), torch.Generator())
    assert batch.object_id.tolist() == ["galaxy 2", "galaxy 0"]
    np.testing.assert_allclose(batch.targets["redshift"], [0.3, 0.1], rtol=1e-6)
    (image,) = records(pairs.with_name("cutout-2.fits"), preprocessing=PREPROCESSING)
    np.testing.assert_array_equal(batch.image[0].numpy(), image.flux)
    # 1 + 0.1 sin(300 log10 λ), at its own level, within the part that was observed.
    seen = batch.spectrum_ivar > 0
    expected = 3 * (1 + 0.1 * np.sin(300 * np.log10(WAVELENGTH)))
    np.testing.assert_allclose(batch.spectrum[0, seen[0], 0], expected[seen[0]], rtol=1e-3)
    assert not seen[:, WAVELENGTH < 10**3.5845].any()
    assert seen[:, (WAVELENGTH > 10**3.586) & (WAVELENGTH < 10**3.9595)].all()
    assert source.read(np.array([1]), torch.Generator()).image_ivar is None


def test_one_modality_and_names_from_files(pairs):
    table = Table.read(pairs)
    table.remove_columns(["object_id", "ra"])
    table.write(pairs.with_name("short.csv"))
    source = FolderSource(
        pairs.with_name("short.csv"), {"image": PREPROCESSING["image"]}, survey="legacysurvey"
    )
    batch = source.read(np.array([3]), torch.Generator())
    assert batch.spectrum is None
    assert batch.object_id.tolist() == ["cutout-3"]
    assert np.isnan(source.ra).all()


def test_rows_of_a_table_find_their_object_in_a_file_of_many(tmp_path):
    write_desi(tmp_path / "coadd.fits", {7: 1.0, 8: 2.0, 9: 3.0})
    Table({"object_id": [9, 7], "spectrum": ["coadd.fits"] * 2}).write(tmp_path / "t.fits")
    batch = FolderSource(tmp_path / "t.fits").read(np.array([0, 1]), torch.Generator())
    np.testing.assert_allclose(batch.spectrum[:, 100, 0], [3, 1])
    assert (batch.spectrum_ivar == 1).all()  # flux only: no uncertainty in this layout
    Table({"object_id": [4], "spectrum": ["coadd.fits"]}).write(tmp_path / "wrong.fits")
    with pytest.raises(InputError, match=r"^4: .*coadd.fits: holds 0 objects of this name"):
        FolderSource(tmp_path / "wrong.fits").read(np.array([0]), torch.Generator())


def test_a_folder_holds_every_object_of_its_files(tmp_path):
    (tmp_path / "deep").mkdir()
    write_desi(tmp_path / "a.fits", {1: 1.0, 2: 2.0})
    write_desi(tmp_path / "deep" / "b.fits", {2: 3.0, 3: 4.0})
    write_cutout(tmp_path / "cutout.fits", 1)
    (tmp_path / "notes.txt").write_text("not a galaxy")
    source = FolderSource(tmp_path, survey="desi")
    assert source.object_id.tolist() == ["1", "2", "2[1]", "3"]
    batch = source.read(np.array([3, 1, 2, 0]), torch.Generator())
    np.testing.assert_allclose(batch.spectrum[:, 0, 0], [4, 2, 3, 1])
    with pytest.raises(InputError, match="no file of sdss"):
        FolderSource(tmp_path, survey="sdss")
    with pytest.raises(InputError, match="expected survey="):
        FolderSource(tmp_path)


def test_what_cannot_be_read_is_named_or_skipped_and_counted(pairs, caplog):
    pairs.with_name("spec-1.fits").unlink()
    broken = pairs.with_name("cutout-2.fits")
    broken.write_bytes(b"an error page")
    with fits.open(pairs.with_name("spec-3.fits"), mode="update") as hdulist:
        hdulist[1].data["ivar"] = 0
    source = FolderSource(pairs)
    for row, reason in ((1, "spec-1.fits: .*no such file"), (2, "cutout-2.fits"), (3, "no usable")):
        with pytest.raises(InputError, match=rf"^galaxy {row}: .*{reason}"):
            source.read(np.array([0, row]), torch.Generator())
    lenient = FolderSource(pairs, errors="skip")
    with caplog.at_level(logging.WARNING):
        batch = lenient.read(np.arange(4), torch.Generator())
    assert batch.object_id.tolist() == ["galaxy 0"]
    assert batch.image.shape == (1, 3, 152, 152)
    assert lenient.skipped == 3
    assert all(f"galaxy {i}" in caplog.text for i in (1, 2, 3))


def test_a_broken_file_in_a_folder_is_not_overlooked(tmp_path):
    write_desi(tmp_path / "a.fits", {1: 1.0})
    (tmp_path / "b.fits").write_bytes(b"")
    with pytest.raises(InputError, match=r"b.fits: not a readable FITS file"):
        FolderSource(tmp_path, survey="desi")
    source = FolderSource(tmp_path, survey="desi", errors="skip")
    assert (len(source), source.skipped) == (1, 1)


def test_bad_tables_are_refused(tmp_path, pairs):
    Table({"redshift": [0.1]}).write(tmp_path / "none.csv")
    with pytest.raises(InputError, match="'spectrum' or 'image'"):
        FolderSource(tmp_path / "none.csv")
    Table({"spectrum": ["a/x.fits", "b/x.fits"]}).write(tmp_path / "twice.csv")
    with pytest.raises(InputError, match=r"x: .* 2 rows of this object_id"):
        FolderSource(tmp_path / "twice.csv")
    table = Table.read(pairs)
    table["age"].unit = u.m
    table.write(tmp_path / "unit.ecsv")
    with pytest.raises(InputError, match="column age is in m: expected Gyr"):
        FolderSource(tmp_path / "unit.ecsv")
    (tmp_path / "text.fits").write_text("nothing")
    with pytest.raises(InputError, match="not a table"):
        FolderSource(tmp_path / "text.fits")


def test_shared_spectra_read_as_a_folder(shared_dir):
    source = FolderSource(shared_dir / "data" / "sdss_spectra", survey="sdss")
    rows = np.arange(0, len(source), 5)
    batch = source.read(rows, torch.Generator())
    assert len(batch) == len(rows)
    assert (batch.targets["redshift"] > -0.01).all()
    paths = sorted((shared_dir / "data" / "sdss_spectra").rglob("*.fits"))
    one = astroclip_astro.adapters.spectrum.spectrum_batch(
        list(records(paths[rows[1]], preprocessing=PREPROCESSING)), PREPROCESSING["spectrum"]
    )
    assert torch.equal(batch.spectrum[1], one.flux[0])
