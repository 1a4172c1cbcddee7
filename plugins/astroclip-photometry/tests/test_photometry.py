"""Magnitudes as a modality: units, gaps, and finding spectra and images with them."""

import astropy.units as u
import numpy as np
import pytest
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


def test_other_files_are_not_claimed(tmp_path):
    path = tmp_path / "table.fits"
    fits.BinTableHDU(Table({"flux_r": [1.0], "flux_ivar_r": [1.0]})).writeto(path)
    with pytest.raises(InputError, match="no registered survey knows it"):
        aa.embed(path, model=MODEL)


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
