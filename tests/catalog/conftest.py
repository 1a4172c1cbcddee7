"""Files of surveys, made of mock galaxies, and objects with made vectors."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.embeddings import concat, make_embeddings
from astroclip_astro.simulate import MockSurvey

ABOUT = {
    "model": "toy",
    "weights_sha256": "ab" * 32,
    "preprocessing": "0123456789abcdef",
    "date": "2026-01-02T03:04:05+00:00",
}


@pytest.fixture(scope="session")
def mocks():
    return MockSurvey.bundled()


@pytest.fixture(scope="session")
def desi_file(mocks):
    """Function that writes mock spectra in the layout of DESI coadd files, with redshifts."""

    def write(path, rows, *, noise=1.0, zwarn=0):
        spectra = [mocks.spectrum(row) for row in rows]
        names = np.array([1000 + row for row in rows], np.int64)
        truth = mocks.truth[rows]
        fibermap = Table({"TARGETID": names, "OBJTYPE": ["TGT"] * len(rows)})
        fibermap["TARGET_RA"], fibermap["TARGET_DEC"] = truth["ra"].value, truth["dec"].value
        fibermap["COADD_FIBERSTATUS"] = np.zeros(len(rows), np.int32)
        redshifts = Table({"TARGETID": names, "Z": truth["redshift"]})
        redshifts["ZWARN"] = np.full(len(rows), zwarn)
        redshifts["SPECTYPE"] = ["GALAXY"] * len(rows)
        flux = np.stack([one.flux.value for one in spectra]).astype(">f4")
        ivar = np.stack([one.uncertainty.array for one in spectra]) / noise**2
        hdus = [
            fits.PrimaryHDU(),
            fits.BinTableHDU(fibermap, name="FIBERMAP"),
            fits.ImageHDU(spectra[0].spectral_axis.value, name="B_WAVELENGTH"),
            fits.ImageHDU(flux, name="B_FLUX"),
            fits.ImageHDU(ivar.astype(">f4"), name="B_IVAR"),
            fits.BinTableHDU(redshifts, name="REDSHIFTS"),
        ]
        hdus[3].header["BUNIT"] = "10**-17 erg/(s cm2 Angstrom)"
        fits.HDUList(hdus).writeto(path)
        return path

    return write


@pytest.fixture(scope="session")
def legacysurvey_file(mocks):
    """Function that writes a mock cutout as the Legacy Surveys' viewer does."""

    def write(path, row, *, north=0.0):
        image = mocks.cutout(row)
        header = image.wcs.to_header()
        header["CRVAL2"] += north / 3600
        height, width = image.shape[1:]
        header.update(SURVEY="LegacySurvey", BANDS="grz", IMAGEW=width, IMAGEH=height)
        fits.PrimaryHDU(image.data.astype(">f4"), header).writeto(path)
        return path

    return write


@pytest.fixture(scope="session")
def make_vectors():
    """Function that makes embeddings of n objects, near one another in clusters."""

    def make(n, modality="image", *, first=0, features=16, seed=0, attrs=None, **columns):
        rng = np.random.default_rng([seed, first, n])
        # Clusters that are the same in every call and every modality.
        centres = np.random.default_rng(seed).normal(size=(200, features))
        vectors = centres[rng.integers(0, 200, n)] + 0.5 * rng.normal(size=(n, features))
        z = rng.uniform(0, 1.5, n)
        about = {
            "object_id": [f"g{i:05d}" for i in range(first, first + n)],
            "ra": rng.uniform(0, 360, n),
            "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
            "modality": np.broadcast_to(modality, n),
            "survey": ["toy"] * n,
            "redshift": z,
            "coverage": rng.uniform(0.5, 1, n),
            "snr": rng.uniform(1, 30, n),
            "quality": np.zeros(n, int),
        }
        vectors = columns.pop("vectors", vectors)
        return make_embeddings(vectors, about | columns, ABOUT | (attrs or {}))

    return make


@pytest.fixture(scope="session")
def objects(make_vectors):
    """3,000 objects: embeddings, further columns, and what a catalog of both has to say of them.

    Not all have both modalities, a position, a redshift or each of the columns, and neither
    embeddings nor columns are in order.
    """
    n, features = 3000, 32
    rng = np.random.default_rng(11)
    i = np.arange(n)
    images = make_vectors(n, features=features)
    of_images, of_spectra = i % 10 != 0, i % 3 != 0
    shared = {name: images.coords[name].values.copy() for name in ("object_id", "ra", "dec")}
    shared["ra"][i % 50 == 7] = np.nan
    shared["dec"][i % 50 == 7] = np.nan
    redshift = np.where(i % 9 == 4, np.nan, images.coords["redshift"].values)
    # Vectors change with redshift, and spectra are images with noise.
    trend = np.nan_to_num(redshift)[:, None] * rng.normal(size=features)
    first = images.values + trend
    second = first + 0.3 * rng.normal(size=first.shape)
    # Of those without either, the catalog knows that there is no image.
    first[~of_images], quality = np.nan, np.where(of_images, i % 4, 192)
    parts = [
        make_vectors(
            n, features=features, vectors=first, quality=quality, redshift=redshift, **shared
        )[of_images | ~of_spectra],
        make_vectors(n, "spectrum", features=features, vectors=second, redshift=redshift, **shared)[
            of_spectra
        ],
    ]
    embeddings = concat(parts)
    columns = QTable({"object_id": shared["object_id"]})
    mass = np.where(i % 7 == 2, np.nan, rng.normal(10.5, 0.6, n))
    columns["mass"] = mass * u.dex(u.Msun)
    columns["mass"].info.description = "stellar mass"
    flux = rng.normal(size=n).astype(np.float32)
    columns["flux"] = Masked(flux, mask=i % 11 == 3) * u.nJy
    counts = rng.integers(0, 100, n).astype(np.int16)
    columns["counts"] = MaskedColumn(counts, mask=i % 13 == 5)
    bits = rng.integers(0, 2**40, n)
    columns["bits"] = bits
    good = rng.uniform(size=n) < 0.6
    columns["good"] = MaskedColumn(good, mask=i % 17 == 6)
    kind = rng.choice(["spiral", "elliptical", "it's odd", "spirał"], n)
    columns["kind"] = MaskedColumn(kind, mask=i % 19 == 1)
    expected = {
        "object_id": shared["object_id"].astype(str),
        "ra": shared["ra"],
        "dec": shared["dec"],
        "redshift": redshift,
        "mass": mass,
        "flux": np.where(i % 11 == 3, np.nan, flux).astype(np.float32),
        "counts": np.ma.array(counts, mask=i % 13 == 5),
        "bits": bits,
        "good": np.ma.array(good, mask=i % 17 == 6),
        "kind": np.ma.array(kind, mask=i % 19 == 1),
        "image": np.where(of_images[:, None], first, np.nan).astype("f4").astype("f2"),
        "spectrum": np.where(of_spectra[:, None], second, np.nan).astype("f4").astype("f2"),
    }
    return SimpleNamespace(
        embeddings=embeddings[rng.permutation(len(embeddings))],
        columns=columns[rng.permutation(n)],
        expected=expected,
    )


@pytest.fixture(scope="session")
def survey(objects, tmp_path_factory):
    """A catalog of these objects on disk, which no test may change."""
    path = tmp_path_factory.mktemp("survey") / "survey"
    return EmbeddingCatalog.create(path, objects.embeddings, objects.columns)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of three megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to be allowed to mount a small disk")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="session")
def fill():
    """Function that fills a disk up to some bytes, and says with which file."""

    def fill(path, left):
        free = os.statvfs(path)
        filler = path / "filler"
        filler.write_bytes(b"\0" * max(free.f_bavail * free.f_frsize - left, 0))
        return filler

    return fill
