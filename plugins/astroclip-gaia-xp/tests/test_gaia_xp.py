"""Gaia's sampled spectra as a modality: files of the archive, gaps, units, and finding spectra."""

import gzip
import logging

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.io.votable.tree import Param
from astropy.nddata import StdDevUncertainty
from astropy.table import MaskedColumn, Table, vstack
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


def raw(n):
    """Many sources, one per row."""
    flux, error = (np.stack(x) for x in zip(*(observed(i) for i in range(n)), strict=True))
    table = Table({"source_id": np.arange(n) + 10**15, "flux": flux, "flux_error": error})
    table["flux"].unit = table["flux_error"].unit = "W m-2 nm-1"
    return table


def as_text(values):
    return f"({', '.join(map(repr, np.asarray(values).tolist()))})"


def combined(ids):
    """Many sources, one row per pixel."""
    tables = [individual(i) for i in range(len(ids))]
    for name, table in zip(ids, tables, strict=True):
        table["source_id"] = np.full(len(table), name, np.int64)
    return vstack(tables)


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
    path = tmp_path / "XP_SAMPLED_RAW.fits"
    raw(4).write(path)
    found = aa.embed(path, model=MODEL)
    assert found.object_id.values.tolist() == [str(10**15 + i) for i in range(4)]
    expected = aa.embed([as_spectrum(i) for i in range(4)], model=MODEL, survey="gaia-xp")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)


def test_arrays_as_text_are_read(tmp_path):
    flux, error = observed(1)
    text = [as_text(x) for x in (flux, error)]
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


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("(1.0, 2.0)", "2 fluxes and 343 errors: expected 343"),
        ("(1.0, what)", "'(1.0, what)': expected numbers, separated by commas"),
        ("", "empty"),
        ("[]", "empty"),
        ("null", "empty"),
    ],
)
def test_a_bad_source_of_many_loses_no_other(tmp_path, caplog, cell, reason):
    path, table = tmp_path / "XP_SAMPLED_RAW.csv", raw(3)
    text = Table({"source_id": table["source_id"]})
    for name in ("flux", "flux_error"):
        text[name] = np.array([as_text(x) for x in table[name]], object)
    text["flux"][1] = cell
    text.write(path, format="ascii.csv")
    with caplog.at_level(logging.WARNING, "astroclip_gaia_xp"):
        found = aa.embed(path, model=MODEL)
    assert found.object_id.values.tolist() == [str(10**15 + i) for i in range(3)]
    assert np.isnan(found.values).all(1).tolist() == [False, True, False]
    assert "NO_DATA" in found.astroclip.flags[1]
    (message,) = [r.getMessage() for r in caplog.records if r.name == "astroclip_gaia_xp.survey"]
    assert message.startswith(f"{10**15 + 1}: no spectrum: ")
    assert reason in message


def test_a_file_of_bad_sources_only_is_refused(tmp_path):
    path = tmp_path / "XP_SAMPLED_RAW.csv"
    flux = ["", "(1.0, what)", "(1.0, 2.0)"]
    Table({"source_id": [7, 8, 9], "flux": flux, "flux_error": flux}).write(path)
    with pytest.raises(InputError, match=r"8: '\(1.0, what\)': expected numbers"):
        list(read(path))


@pytest.mark.parametrize("suffix", ["fits", "xml"])
def test_masked_cells_are_no_data(tmp_path, suffix):
    path, table = tmp_path / f"XP_SAMPLED_RAW.{suffix}", raw(3)
    mask = np.zeros((3, len(GRID)), bool)
    mask[1], mask[2, :10] = True, True
    table["flux"] = MaskedColumn(table["flux"], mask=mask)
    table["flux"].data.data[mask] = 1e-10
    table.write(path, format={"fits": "fits", "xml": "votable"}[suffix])
    spectra = list(read(path))
    assert [spectrum.mask.sum() for spectrum in spectra] == [0, len(GRID), 10]
    assert all(np.abs(spectrum.flux.value).max() < 1e-11 for spectrum in spectra)


def test_a_masked_name_is_no_name(tmp_path):
    path, table = tmp_path / "XP_SAMPLED_RAW.xml", raw(2)
    table["source_id"] = MaskedColumn(table["source_id"], mask=[False, True])
    table.write(path, format="votable")
    names = [spectrum.meta["object_id"] for spectrum in read(path)]
    assert names == [str(10**15), f"{path.name}[1]"]


@pytest.mark.parametrize("suffix", ["fits", "xml", "csv"])
def test_sources_below_each_other_are_told_apart(tmp_path, suffix):
    path = tmp_path / f"XP_SAMPLED_COMBINED.{suffix}"
    formats = {"fits": "fits", "xml": "votable", "csv": "ascii.csv"}
    ids = [700000, 300000, 500000]
    table = combined(ids)
    # Rows of sources need not be together, nor in the order of wavelengths.
    first = np.arange(3) * len(GRID)
    others = np.random.default_rng(0).permutation(np.setdiff1d(np.arange(len(table)), first))
    table = table[np.append(first, others)]
    table.write(path, format=formats[suffix])
    found = aa.embed(path, model=MODEL)
    assert found.object_id.values.tolist() == [str(name) for name in ids]
    expected = aa.embed([as_spectrum(i) for i in range(3)], model=MODEL, survey="gaia-xp")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)


def test_a_bad_source_among_those_below_each_other_keeps_its_place(tmp_path, caplog):
    path, table = tmp_path / "XP_SAMPLED_COMBINED.fits", combined([700000, 300000, 500000])
    table["wavelength"][400] = table["wavelength"][401]
    table.write(path)
    spectra = list(read(path))
    assert [s.meta["object_id"] for s in spectra] == ["700000", "300000", "500000"]
    assert [bool(s.mask.all()) for s in spectra] == [False, True, False]
    assert "300000: no spectrum: expected two rows or more" in caplog.text


def test_rows_without_a_wavelength_are_left_out(tmp_path):
    path, table = tmp_path / "XP_SAMPLED-Gaia DR3 123456.xml", individual(0)
    table["wavelength"] = MaskedColumn(table["wavelength"], mask=np.arange(len(GRID)) == 7)
    table.write(path, format="votable")
    (spectrum,) = read(path)
    np.testing.assert_array_equal(spectrum.spectral_axis.to_value(u.nm), np.delete(GRID, 7))


@pytest.mark.parametrize("make", [lambda: individual(0)[:0], lambda: raw(1)[:0]])
def test_a_table_without_rows_is_refused(tmp_path, make):
    path = tmp_path / "XP_SAMPLED_RAW.fits"
    make().write(path)
    with pytest.raises(InputError, match=r"XP_SAMPLED_RAW.fits: the table has no rows"):
        list(read(path))


@pytest.mark.parametrize("table", [individual(0), raw(1)])
def test_errors_are_converted_to_the_unit_of_the_fluxes(tmp_path, table):
    path, other = tmp_path / "XP_SAMPLED-Gaia DR3 123456.fits", tmp_path / "XP_SAMPLED_OTHER.fits"
    expected = table["flux_error"].quantity.to_value("W m-2 nm-1").ravel()
    table["flux_error"] = table["flux_error"].quantity.to("erg s-1 cm-2 Angstrom-1")
    table.write(path)
    (spectrum,) = read(path)
    assert spectrum.flux.unit == u.Unit("W m-2 nm-1")
    np.testing.assert_allclose(spectrum.uncertainty.array, expected)
    table["flux_error"].unit = "Jy"
    table.write(other)
    with pytest.raises(InputError, match="flux_error is in Jy, flux in"):
        list(read(other))


def test_the_table_that_is_recognised_is_the_one_read(tmp_path):
    path = tmp_path / "some.fits"
    first = fits.BinTableHDU(Table({"a": [1]}))
    fits.HDUList([fits.PrimaryHDU(), first, fits.BinTableHDU(raw(2))]).writeto(path)
    assert [s.meta["object_id"] for s in read(path)] == [str(10**15 + i) for i in range(2)]


@pytest.mark.parametrize("suffix", ["csv", "xml"])
def test_compressed_files_are_recognised(tmp_path, suffix):
    plain = tmp_path / f"XP_SAMPLED-Gaia DR3 4295806720.{suffix}"
    individual(0).write(plain, format={"csv": "ascii.csv", "xml": "votable"}[suffix])
    path = plain.with_name(f"{plain.name}.gz")
    path.write_bytes(gzip.compress(plain.read_bytes()))
    (spectrum,) = read(path)
    assert spectrum.meta["object_id"] == "4295806720"
    np.testing.assert_allclose(spectrum.flux.value, observed(0)[0])


def test_a_parameter_of_the_votable_names_the_source(tmp_path):
    path = tmp_path / "XP_SAMPLED.xml"
    votable = from_table(individual(0))
    named = Param(votable, name="source_id", datatype="long", value="4295806720")
    votable.get_first_table().params.append(named)
    votable.to_xml(str(path))
    (spectrum,) = read(path)
    assert spectrum.meta["object_id"] == "4295806720"


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
