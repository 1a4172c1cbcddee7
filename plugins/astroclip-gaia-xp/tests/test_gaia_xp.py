"""Gaia's sampled spectra as a modality: files of the archive, gaps, units, and finding spectra."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from astropy.table import Table
from specutils import Spectrum

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import get_manager
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.surveys.files import read
from astroclip_astro.testing import parametrize_with_checks

MODEL = "astroclip-mini-gaia-xp"
MOCKS = MockSurvey.bundled()
GRID = np.arange(336.0, 1021.0, 2.0)


def observed(i, snr=50.0):
    """A mock at Gaia's sampling: boxes of 2 nm (the line spread is not what is tested here)."""
    mock = MOCKS.spectrum(i)
    wavelength = mock.spectral_axis.to_value(u.nm)
    which = np.digitize(wavelength, np.append(GRID - 1, GRID[-1] + 1)) - 1
    number = np.bincount(which, minlength=len(GRID))[: len(GRID)]
    total = np.bincount(which, mock.flux.value, minlength=len(GRID))[: len(GRID)]
    level = np.median(total[number > 0] / number[number > 0])
    flux = np.where(number > 0, total / np.maximum(number, 1), level)
    scale = (1 * mock.flux.unit).to_value("W m-2 nm-1")
    rng = np.random.default_rng(i)
    error = np.full(len(GRID), abs(level) / snr * scale)
    return flux * scale + error * rng.standard_normal(len(GRID)), error


def individual(i):
    flux, error = observed(i)
    table = Table({"wavelength": GRID * u.nm})
    table["flux"] = flux * u.Unit("W m-2 nm-1")
    table["flux_error"] = error * u.Unit("W m-2 nm-1")
    return table


def as_spectrum(i):
    flux, error = observed(i)
    return Spectrum(
        spectral_axis=GRID * u.nm,
        flux=flux * u.Unit("W m-2 nm-1"),
        uncertainty=StdDevUncertainty(error),
        meta={"object_id": str(i)},
    )


def test_the_plugin_is_whole():
    manager = get_manager()
    assert not [f for f in manager.failures if f.plugin == "gaia-xp"]
    model = aa.load_model(MODEL, device="cpu")
    assert sum(p.numel() for p in model.parameters()) == manager.get("model", MODEL).parameters


@pytest.mark.parametrize("suffix", ["fits", "xml", "csv"])
def test_a_file_of_one_source_is_recognised(tmp_path, suffix):
    path = tmp_path / f"XP_SAMPLED-Gaia DR3 4295806720.{suffix}"
    formats = {"fits": "fits", "xml": "votable", "csv": "ascii.csv"}
    individual(0).write(path, format=formats[suffix])
    vector = aa.embed(path, model=MODEL)
    assert str(vector.object_id.values) == "4295806720"
    assert str(vector.modality.values) == "gaia_xp"
    expected = aa.embed(as_spectrum(0), model=MODEL, survey="gaia-xp")
    np.testing.assert_allclose(vector.values, expected.values, atol=1e-4)


def test_a_file_of_many_sources_gives_all_in_order(tmp_path):
    flux, error = (np.stack(x) for x in zip(*(observed(i) for i in range(4)), strict=True))
    table = Table({"source_id": np.arange(4) + 10**15, "flux": flux, "flux_error": error})
    table["flux"].unit = table["flux_error"].unit = "W m-2 nm-1"
    path = tmp_path / "XP_SAMPLED_RAW.fits"
    table.write(path)
    found = aa.embed(path, model=MODEL)
    assert found.object_id.values.tolist() == [str(10**15 + i) for i in range(4)]
    expected = aa.embed([as_spectrum(i) for i in range(4)], model=MODEL, survey="gaia-xp")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)


def test_arrays_as_text_are_read(tmp_path):
    flux, error = observed(1)
    text = [f"({', '.join(map(repr, x.tolist()))})" for x in (flux, error)]
    path = tmp_path / "XP_SAMPLED_RAW.csv"
    Table({"source_id": [7], "flux": [text[0]], "flux_error": [text[1]]}).write(path)
    (spectrum,) = read(path)
    np.testing.assert_allclose(spectrum.flux.value, flux)
    assert spectrum.flux.unit == u.Unit("W m-2 nm-1")


def test_another_sampling_is_refused_by_the_name_of_its_source(tmp_path):
    table = Table({"source_id": [99], "flux": np.ones((1, 100)), "flux_error": np.ones((1, 100))})
    path = tmp_path / "XP_SAMPLED_RAW.fits"
    table.write(path)
    with pytest.raises(InputError, match=r"99.*100 fluxes and 100 errors: expected 343"):
        list(read(path))


def test_pixels_without_error_have_no_weight(tmp_path):
    good, table = individual(2), individual(2)
    table["flux"][100:110] = 1e-10
    table["flux_error"][100:110] = [0, -1, np.nan, np.inf, 0, 0, np.nan, 0, 0, 0]
    paths = [tmp_path / f"XP_SAMPLED-Gaia DR3 12345{i}.fits" for i in range(2)]
    for path, one in zip(paths, (good, table), strict=True):
        one.write(path)
    vectors = aa.embed(paths, model=MODEL).astroclip.normalized().values
    assert vectors[0] @ vectors[1] > 0.98


def test_all_pixels_lost_is_no_vector(tmp_path):
    table = individual(2)
    table["flux_error"][:] = 0
    path = tmp_path / "XP_SAMPLED-Gaia DR3 123456.fits"
    table.write(path)
    with pytest.raises(InputError, match="NO_DATA"):
        aa.embed(path, model=MODEL)


def test_a_spectrum_without_the_survey_is_an_ordinary_one():
    found = aa.embed(as_spectrum(0), model=MODEL)
    assert str(found.modality.values) == "spectrum"
    assert "UNDERSAMPLED" in found.astroclip.flags


def test_other_tables_are_not_claimed(tmp_path):
    path = tmp_path / "XP_SAMPLED.fits"
    Table({"wavelength": GRID, "flux": GRID}).write(path)
    with pytest.raises(InputError, match="no registered survey knows it"):
        aa.embed(path, model=MODEL)


def test_it_finds_spectra_and_images_of_its_galaxies(tmp_path):
    rows = [i for i in range(len(MOCKS)) if MOCKS.truth["kind"][i] == "galaxy"]
    xp = aa.embed([as_spectrum(i) for i in rows], model=MODEL, survey="gaia-xp")
    ids = [MOCKS.truth["object_id"][i] for i in rows]
    others = [
        aa.embed([make(i) for i in rows], model=MODEL) for make in (MOCKS.spectrum, MOCKS.cutout)
    ]
    xp = xp.assign_coords(object_id=("object", ids))
    catalog = EmbeddingCatalog.create(tmp_path / "all", concat([xp, *others]))
    for modality in ("spectrum", "image"):
        ranks = [
            list(catalog.search(xp[i], k=len(rows), modality=modality)["object_id"]).index(ids[i])
            for i in range(len(rows))
        ]
        # By chance, the median is half of all.
        assert np.median(ranks) < len(rows) / 5, modality


def write_individual(folder):
    path = folder / "XP_SAMPLED-Gaia DR3 4295806720.fits"
    individual(0).write(path)
    return path


@parametrize_with_checks(
    "gaia-xp", example={"modality gaia_xp": as_spectrum(0), "survey gaia-xp": write_individual}
)
def test_plugin(check):
    check()
