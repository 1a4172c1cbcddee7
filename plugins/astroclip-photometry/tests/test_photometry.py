"""Magnitudes as a modality: units, gaps, and finding spectra and images with them."""

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table, vstack

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import get_manager
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.testing import parametrize_with_checks
from astroclip_photometry.modality import Photometry, PhotometryPreprocessing

MODEL = "astroclip-mini-photometry"
MOCKS = MockSurvey.bundled()


def magnitudes(rows=slice(None), error=0.02):
    """Total magnitudes of mocks, without noise, with small errors."""
    truth = MOCKS.truth[rows]
    table = QTable({"object_id": truth["object_id"], "ra": truth["ra"], "dec": truth["dec"]})
    table["redshift"] = truth["redshift"]
    for band in "grz":
        table[f"mag_{band}"] = truth[f"mag_{band}"].value * u.ABmag
        table[f"mag_err_{band}"] = np.full(len(table), error) * u.mag
    return table


def tractor(rows=slice(None)):
    """The same as a Tractor catalogue has it."""
    mags, table = magnitudes(rows), Table()
    for name, value in (("RELEASE", 9010), ("BRICKID", 330000)):
        table[name] = np.full(len(mags), value, np.int32)
    table["OBJID"] = np.arange(len(mags), dtype=np.int32)
    table["TYPE"] = ["SER"] * len(mags)
    table["ra"], table["dec"] = mags["ra"].value, mags["dec"].value
    for band in "grz":
        flux = 10 ** (-0.4 * (mags[f"mag_{band}"].value - 22.5))
        sigma = flux * 0.02 * np.log(10) / 2.5
        table[f"flux_{band}"] = flux.astype(">f4")
        table[f"flux_ivar_{band}"] = (sigma**-2).astype(">f4")
    return table


def records(table):
    return list(Photometry().records(table, preprocessing=PhotometryPreprocessing()))


def test_the_plugin_is_whole():
    manager = get_manager()
    assert not [f for f in manager.failures if f.plugin == "photometry"]
    assert MODEL in aa.list_models()["name"]
    model = aa.load_model(MODEL, device="cpu")
    assert sum(p.numel() for p in model.parameters()) == manager.get("model", MODEL).parameters


def test_magnitudes_are_fluxes_in_nanomaggies():
    table = QTable({"object_id": ["a"]})
    for band, mag in zip("grz", (22.5, 20.0, 17.5), strict=True):
        table[f"mag_{band}"] = [mag] * u.ABmag
        table[f"mag_err_{band}"] = [0.1] * u.mag
    (record,) = records(table)
    np.testing.assert_allclose(record.flux, [1, 10, 100])
    # Half of the difference between fluxes one error brighter and fainter.
    span = (10**0.04 - 10**-0.04) / 2
    np.testing.assert_allclose(record.sigma, span * record.flux, rtol=2e-3)


def test_fluxes_of_any_unit_are_the_same():
    mags = magnitudes()
    other = mags["object_id", "ra", "dec"]
    for band in "grz":
        flux = mags[f"mag_{band}"].to(u.uJy)
        other[f"flux_{band}"] = flux
        other[f"flux_ivar_{band}"] = (flux * 0.02 * np.log(10) / 2.5) ** -2
    for a, b in zip(records(mags), records(other), strict=True):
        # Astropy's AB magnitudes have their zero at 3630.78 Jy, the package's at 3631 Jy.
        np.testing.assert_allclose(a.flux, b.flux, rtol=1e-4)
        np.testing.assert_allclose(a.sigma, b.sigma, rtol=1e-4)


def test_a_magnitude_without_a_system_is_refused():
    table = magnitudes()
    table["mag_r"] = table["mag_r"].value * u.mag
    with pytest.raises(InputError, match="mag_r is in mag: expected AB magnitudes"):
        records(table)
    table["mag_r"] = table["mag_r"].value
    with pytest.raises(InputError, match="mag_r is in no unit"):
        records(table)


def test_what_is_missing_is_named():
    table = magnitudes()
    del table["mag_err_z"]
    with pytest.raises(InputError, match="column mag_err_z is missing"):
        records(table)
    del table["mag_z"]
    with pytest.raises(InputError, match="band z is missing"):
        records(table)
    with pytest.raises(InputError, match="columns flux_g and flux_ivar_g: unit '' and no zero"):
        records(tractor())
    table = tractor()
    for band in "grz":
        table[f"flux_{band}"].unit, table[f"flux_ivar_{band}"].unit = "nmgy", "nmgy-2"
    table["flux_r"].unit = "m"
    with pytest.raises(InputError, match="columns flux_r and flux_ivar_r"):
        records(table)


def test_gaps_have_no_vector():
    table = Table(magnitudes(slice(6)))
    table["mag_r"] = MaskedColumn(table["mag_r"], mask=[0, 1, 0, 0, 0, 0], unit=u.ABmag)
    table["mag_g"][2] = np.nan
    table["mag_err_z"][3] = 0
    table["mag_err_z"][4] = -1
    found = aa.embed(table, model=MODEL)
    assert np.isnan(found.values).all(1).tolist() == [False, True, True, True, True, False]
    assert all("MISSING_BAND" in flags for flags in found.astroclip.flags[1:5])
    assert found.object_id.values.tolist() == table["object_id"].tolist()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("mag_r", value) for value in (99, 99.99, -99, 0, 50, -9999, 1e30, -1e30, np.inf)),
        *(("mag_err_r", value) for value in (99, 0, -99, 50, 1e300, np.inf)),
    ],
)
def test_marks_of_missing_magnitudes_are_no_magnitudes(column, value):
    table = Table(magnitudes(slice(3)))
    table[column][1] = value
    found = aa.embed(table, model=MODEL)
    assert np.isnan(found.values).all(1).tolist() == [False, True, False]
    assert "MISSING_BAND" in found.astroclip.flags[1]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("flux_r", value) for value in (1e38, -1e38, 1e300, np.inf, np.nan)),
        *(
            ("flux_ivar_r", value)
            for value in (0, -1, 1e100, 1e-100, 1e300, 5e-324, np.inf, np.nan)
        ),
    ],
)
@pytest.mark.parametrize("unit", ["nmgy", "Jy"])
def test_fluxes_that_tensors_cannot_hold_are_missing(column, value, unit):
    table = tractor(slice(3))
    for band in "grz":
        for name, its_unit in ((f"flux_{band}", unit), (f"flux_ivar_{band}", f"{unit}-2")):
            table[name] = table[name].astype(float)
            table[name].unit = its_unit
    table[column][1] = value
    found = aa.embed(table, model=MODEL)
    assert np.isnan(found.values).all(1).tolist() == [False, True, False]


def test_the_largest_fluxes_and_errors_have_finite_vectors():
    table = tractor(slice(3))
    for band in "grz":
        table[f"flux_{band}"] = np.array([1e37, -1e37, 1e37]) * u.nmgy
        table[f"flux_ivar_{band}"] = np.array([1e-70, 1e-70, 1e74]) * u.nmgy**-2
    assert np.isfinite(aa.embed(table, model=MODEL).values).all()


def test_rows_with_a_masked_name_are_named_as_those_without_one():
    table = Table(magnitudes(slice(3)))
    table["object_id"] = MaskedColumn(["a", "b", "c"], mask=[False, True, False])
    preprocessing = PhotometryPreprocessing()
    found = Photometry().records(table, preprocessing=preprocessing, object_id="mine")
    assert [record.object_id for record in found] == ["a", "mine[1]", "c"]
    (one,) = Photometry().records(table[1], preprocessing=preprocessing, object_id="mine")
    assert one.object_id == "mine"


def test_accepted_is_what_can_only_be_photometry():
    accepts, whole = Photometry().accepts, magnitudes(slice(2))
    assert all(map(accepts, (whole, whole[0], tractor())))
    for name in ("spectrum", "image", "cutout", "path", "filename", "file"):
        table = whole.copy()
        table[name] = ["a.fits", "b.fits"]
        assert not any(map(accepts, (table, table[0]))), name
    # Half of it with places is a list of places; without, it is refused by what is missing.
    for lost in ("mag_z", "mag_err_z"):
        part = whole.copy()
        del part[lost]
        assert not accepts(part)
        del part["ra"]
        assert accepts(part)
        with pytest.raises(InputError, match="missing"):
            records(part)
    assert not accepts(whole["object_id", "redshift"])


def test_magnitudes_and_fluxes_are_taken_with_their_errors():
    both, mags = tractor(), magnitudes()
    for band in "grz":
        both[f"flux_{band}"].unit, both[f"flux_ivar_{band}"].unit = "nmgy", "nmgy-2"
        both[f"mag_{band}"] = mags[f"mag_{band}"] + 1 * u.mag
    # The magnitudes have no errors: fluxes are taken.
    for a, b in zip(records(both), records(mags), strict=True):
        np.testing.assert_allclose(a.flux, b.flux, rtol=1e-5)
    for band in "grz":
        both[f"mag_err_{band}"] = mags[f"mag_err_{band}"]
    for a, b in zip(records(both), records(mags), strict=True):
        np.testing.assert_allclose(a.flux, b.flux * 10**-0.4, rtol=1e-5)
    del both["mag_err_r"], both["flux_ivar_r"]
    with pytest.raises(InputError, match="column mag_err_r or flux_ivar_r is missing"):
        records(both)


@pytest.mark.parametrize("unit", ["dex", "dB", "mmag", "mag(AB)", "deg", "%", "nmgy"])
def test_errors_of_magnitudes_are_in_mag(unit):
    table = Table(magnitudes(slice(2)))
    table["mag_err_r"].unit = unit
    with pytest.raises(InputError, match=r"column mag_err_r is in .*: expected mag"):
        records(table)
    table["mag_err_r"].unit = None
    assert len(records(table)) == 2


@pytest.mark.parametrize("column", ["mag_g", "mag_err_g", "redshift", "ra"])
@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["bright", "faint"], "text"),
        (["20.1", "20.2"], "text"),
        (np.ones((2, 3)), r"float64 of shape \(3,\) per row"),
        ([1j, 2j], "complex128"),
        ([None, 20.1], "object"),
    ],
)
def test_columns_hold_one_number_per_row(column, values, what):
    table = Table(magnitudes(slice(2)))
    table[column] = values
    if column == "mag_g":
        table[column].unit = u.ABmag
    with pytest.raises(
        InputError, match=f"column {column} holds {what}: expected one number per row"
    ):
        records(table)


@pytest.mark.parametrize(
    ("column", "unit", "message"),
    [
        ("ra", "m", "column ra is in m: expected deg"),
        ("redshift", "mag(ST)", "column redshift is in"),
        ("mag_g", "mag(ST)", "expected AB magnitudes"),
    ],
)
def test_units_that_do_not_fit_are_refused(column, unit, message):
    table = Table(magnitudes(slice(2)))
    table[column].unit = unit
    with pytest.raises(InputError, match=message):
        records(table)


@pytest.mark.parametrize("unit", ["mag(AB)", "parsnips"])
def test_fluxes_in_units_without_powers_are_refused(unit):
    table = tractor(slice(2))
    for band in "grz":
        table[f"flux_{band}"].unit = "nmgy"
        table[f"flux_ivar_{band}"].unit = u.Unit(unit, parse_strict="silent")
    with pytest.raises(InputError, match="columns flux_g and flux_ivar_g"):
        records(table)


def test_the_level_is_the_mean_flux():
    flux = torch.tensor([[[1.0, 2, 3], [50, 50, 50]], [[4, 5, 9], [0.1, 0.1, 0.1]]])
    assert Photometry().level(flux).tolist() == [2, 6]


def test_a_row_is_one_object():
    table = magnitudes()
    single = aa.embed(table[4], model=MODEL)
    assert single.dims == ("feature",)
    assert str(single.object_id.values) == table["object_id"][4]
    several = aa.embed(table, model=MODEL)
    np.testing.assert_allclose(several.values[4], single.values, atol=1e-5)
    assert float(single.redshift) == table["redshift"][4]


def test_a_tractor_catalogue_is_recognised(tmp_path):
    path = tmp_path / "tractor-3300p000.fits"
    tractor().write(path)
    found = aa.embed(path, model=MODEL)
    assert found.survey.values.tolist() == ["tractor"] * len(MOCKS)
    assert found.object_id.values[3] == "9010-330000-3"
    np.testing.assert_allclose(found.values, aa.embed(magnitudes(), model=MODEL), atol=1e-3)
    np.testing.assert_allclose(found.ra, MOCKS.truth["ra"].value)


def test_the_table_that_is_recognised_is_the_one_read(tmp_path):
    path = tmp_path / "tractor-3300p000.fits"
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(Table({"a": [1]})), fits.BinTableHDU(tractor())]
    fits.HDUList(hdus).writeto(path)
    found = aa.embed(path, model=MODEL)
    assert found.object_id.values[3] == "9010-330000-3"
    assert np.isfinite(found.values).all()


def test_objects_without_a_number_have_no_name_of_their_own(tmp_path):
    path, table = tmp_path / "tractor-3300p000.fits", tractor(slice(3))
    table["OBJID"] = MaskedColumn(table["OBJID"], mask=[False, True, False])
    table["OBJID"].fill_value = -1
    table.write(path)
    found = aa.embed(path, model=MODEL)
    assert found.object_id.values.tolist() == ["9010-330000-0", f"{path.name}[1]", "9010-330000-2"]


@pytest.mark.parametrize("lost", ["flux_g", "flux_ivar_z", "OBJID", "ra"])
def test_other_files_are_not_claimed(tmp_path, lost):
    path, table = tmp_path / "table.fits", tractor(slice(2))
    del table[lost]
    table.write(path)
    with pytest.raises(InputError, match="no registered survey knows it"):
        aa.embed(path, model=MODEL)
    with pytest.raises(InputError, match="expected a table with the columns brickid, dec, flux_g"):
        aa.embed(path, model=MODEL, survey="tractor")


def test_catalogues_of_the_real_survey(tmp_path, shared_data):
    path = shared_data / "desi_native" / "tractor-1054p567.fits"
    found = aa.embed([path], model=MODEL)
    table = Table.read(path)
    assert len(found) == len(table)
    assert np.isfinite(found.values).all()
    flux = 10 ** (-0.4 * (MOCKS.truth["mag_r"].value - 22.5))
    assert flux.min() / 100 < table["FLUX_R"][0] < flux.max() * 100


def test_large_errors_say_so():
    found = aa.embed(vstack([magnitudes([0]), magnitudes([0], error=1.0)]), model=MODEL)
    assert ["LOW_SNR" in flags for flags in found.astroclip.flags] == [False, True]


def test_one_search_across_three_modalities(tmp_path):
    """Photometry finds the spectrum and the image of its galaxy, and they find it."""
    rows = range(len(MOCKS))
    vectors = {
        "photometry": aa.embed(magnitudes(), model=MODEL),
        "spectrum": aa.embed([MOCKS.spectrum(i) for i in rows], model=MODEL),
        "image": aa.embed([MOCKS.cutout(i) for i in rows], model=MODEL),
    }
    from astroclip_astro.embeddings import concat

    catalog = EmbeddingCatalog.create(tmp_path / "three", concat(list(vectors.values())))
    assert catalog.modalities == ["image", "photometry", "spectrum"]
    ids = vectors["photometry"].object_id.values
    galaxies = [i for i in rows if MOCKS.truth["kind"][i] == "galaxy"]
    for query, found_in in (
        ("photometry", "spectrum"),
        ("photometry", "image"),
        ("spectrum", "photometry"),
        ("image", "photometry"),
    ):
        ranks = []
        for i in galaxies:
            found = catalog.search(vectors[query][i], k=len(MOCKS), modality=found_in)
            ranks.append(list(found["object_id"]).index(ids[i]))
        # By chance, the median is half of all.
        assert np.median(ranks) < len(MOCKS) / 5, (query, found_in)


def test_it_searches_what_the_bundled_model_has_made(tmp_path):
    spectra = aa.embed([MOCKS.spectrum(i) for i in range(10)])
    catalog = EmbeddingCatalog.create(tmp_path / "ten", spectra)
    found = catalog.search(aa.embed(magnitudes([2]), model=MODEL), k=3, modality="spectrum")
    assert len(found) == 3


def write_tractor(folder):
    tractor(slice(6)).write(folder / "tractor-3300p000.fits")
    return folder / "tractor-3300p000.fits"


@parametrize_with_checks(
    "photometry",
    example={"modality photometry": magnitudes(slice(6)), "survey tractor": write_tractor},
)
def test_plugin(check):
    check()
