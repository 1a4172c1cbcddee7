"""embed(): any input, in order, with its provenance, its quality, and no silent garbage."""

import gc
import weakref

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance
from astropy.table import QTable
from astropy.wcs import WCS
from specutils import Spectrum, SpectrumCollection, SpectrumList

import astroclip_astro as aa
from astroclip_astro.errors import InputError, PluginError
from astroclip_astro.models import SpecFormer
from astroclip_astro.quality import Quality
from astroclip_astro.weights import save_model

FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
WAVELENGTH = np.linspace(3600, 9824, 7781) * u.AA


@pytest.fixture(scope="module")
def model(make_toy):
    return make_toy()


def spectrum(seed, object_id=None, **meta):
    rng = np.random.default_rng(seed)
    flux = rng.normal(5, 1, WAVELENGTH.size)
    return Spectrum(
        spectral_axis=WAVELENGTH,
        flux=flux * FLUX,
        uncertainty=InverseVariance(np.ones(WAVELENGTH.size) / FLUX**2),
        meta={"object_id": object_id or f"s{seed}", **meta},
    )


def cutout(seed, object_id=None):
    rng = np.random.default_rng(seed)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 2.0
    wcs.wcs.crpix = 76.5, 76.5
    wcs.wcs.cdelt = -0.262 / 3600, 0.262 / 3600
    return CCDData(
        rng.normal(0.1, 0.02, (3, 152, 152)),
        unit="nmgy",
        wcs=wcs,
        meta={"object_id": object_id or f"i{seed}", "bands": "grz", "ra": 150.0, "dec": 2.0},
    )


def rows(flux):
    return Spectrum(spectral_axis=WAVELENGTH, flux=flux * FLUX)


def test_one_object_has_one_dimension(model):
    vector = aa.embed(spectrum(1, ra=10.0, dec=-5.0, redshift=0.1), model=model)
    assert vector.dims == ("feature",)
    assert vector.dtype == np.float32
    assert str(vector.object_id.values) == "s1"
    assert float(vector.ra) == 10.0
    assert float(vector.dec) == -5.0
    assert float(vector.coverage) == 1.0
    assert float(vector.snr) == pytest.approx(5.0, abs=0.1)
    assert int(vector.quality) == 0
    assert str(vector.modality.values) == "spectrum"


@pytest.mark.parametrize("make", [list, tuple, SpectrumList, iter])
def test_collections_have_two_dimensions_even_of_one(model, make):
    assert aa.embed(make([spectrum(1)]), model=model).dims == ("object", "feature")


def test_rows_of_one_spectrum_are_objects(model):
    flux = np.random.default_rng(0).normal(5, 1, (3, WAVELENGTH.size))
    together = aa.embed(rows(flux), model=model)
    assert together.shape == (3, 16)
    apart = [aa.embed(rows(f), model=model).values for f in flux]
    np.testing.assert_allclose(together, apart, atol=1e-5)
    collection = SpectrumCollection(
        flux=flux * FLUX, spectral_axis=np.tile(WAVELENGTH.value, (3, 1)) * u.AA
    )
    np.testing.assert_allclose(aa.embed(collection, model=model), apart, atol=1e-5)


def test_a_file_of_many_objects_loses_none(model, tmp_path, monkeypatch):
    objects = [spectrum(seed) for seed in range(5)]
    named = [("desi", one) for one in objects]
    monkeypatch.setattr("astroclip_astro.inputs.recognised", lambda path, name: iter(named))
    found = aa.embed(tmp_path / "coadd.fits", model=model)
    assert found.object_id.values.tolist() == ["s0", "s1", "s2", "s3", "s4"]


def test_mixed_input_keeps_its_order_for_every_batch_size(model):
    mixed = [spectrum(1), cutout(1), cutout(2), spectrum(2), spectrum(3), cutout(3), spectrum(4)]
    alone = np.stack([aa.embed(o, model=model).values for o in mixed])
    for batch_size in (1, 2, 3, 100):
        together = aa.embed(iter(mixed), model=model, batch_size=batch_size)
        assert together.object_id.values.tolist() == ["s1", "i1", "i2", "s2", "s3", "i3", "s4"]
        np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.modality.values.tolist() == [
        "image" if name.startswith("i") else "spectrum" for name in together.object_id.values
    ]


def test_unusable_objects_are_flagged_in_their_place(model, caplog):
    empty = spectrum(2, "empty")
    empty.mask = np.ones(WAVELENGTH.size, bool)
    unitless = Spectrum(
        spectral_axis=WAVELENGTH,
        flux=np.ones(WAVELENGTH.size) * u.dimensionless_unscaled,
        meta={"object_id": "unitless"},
    )
    found = aa.embed([spectrum(1), empty, unitless, spectrum(3)], model=model)
    assert found.astroclip.valid.values.tolist() == [True, False, False, True]
    assert np.isnan(found.values[1:3]).all()
    assert found.object_id.values.tolist() == ["s1", "empty", "unitless", "s3"]
    bits = [Quality(int(q)) for q in found.quality.values]
    assert Quality.NO_DATA | Quality.NOT_EMBEDDED in bits[1]
    assert Quality.NOT_EMBEDDED in bits[2]
    assert "empty" in caplog.text
    assert "unitless" in caplog.text


def test_a_single_unusable_object_raises_and_is_named(model):
    bad = spectrum(1, "NGC 1")
    bad.mask = np.ones(WAVELENGTH.size, bool)
    with pytest.raises(InputError, match="NGC 1") as caught:
        aa.embed(bad, model=model)
    assert Quality.NO_DATA in caught.value.quality
    with pytest.raises(InputError, match="NGC 1"):
        aa.embed([spectrum(2), bad], model=model, errors="raise")
    assert np.isnan(aa.embed(bad, model=model, errors="flag")).all()


def test_one_nan_pixel_changes_little_and_is_flagged(model):
    clean = spectrum(1)
    flux = clean.flux.copy()
    flux[4000] = np.nan
    dirty = Spectrum(
        spectral_axis=WAVELENGTH,
        flux=flux,
        uncertainty=clean.uncertainty,
        mask=np.zeros(WAVELENGTH.size, bool),
        meta={"object_id": "dirty"},
    )
    a, b = (aa.embed(s, model=model) for s in (clean, dirty))
    np.testing.assert_allclose(a, b, atol=0.05)
    assert b.astroclip.flags == ["NON_FINITE"]


def test_table_columns_override_what_objects_say(model):
    table = QTable(
        {
            "object_id": ["first", "second"],
            "ra": [1, 2] * u.hourangle,
            "dec": [3.0, 4.0] * u.deg,
            "redshift": [0.1, 0.2],
        }
    )
    table["spectrum"] = np.array([spectrum(1), None], dtype=object)
    table["spectrum"][1] = spectrum(2)
    found = aa.embed(table, model=model)
    assert found.object_id.values.tolist() == ["first", "second"]
    np.testing.assert_allclose(found.ra, [15, 30])
    np.testing.assert_allclose(found.redshift, [0.1, 0.2])
    own = aa.embed(table["ra", "spectrum"], model=model)
    assert own.object_id.values.tolist() == ["s1", "s2"]
    table["spectrum"][0] = None
    found = aa.embed(table, model=model)
    assert found.astroclip.valid.values.tolist() == [False, True]
    np.testing.assert_allclose(found.ra, [15, 30])
    table["spectrum"][0] = rows(np.ones((2, WAVELENGTH.size)))
    with pytest.raises(InputError, match="first: its row holds 2 objects"):
        aa.embed(table, model=model, errors="raise")
    with pytest.raises(InputError, match="exactly one of the columns"):
        aa.embed(table["object_id", "ra"], model=model, errors="raise")


def test_endless_input_is_never_held(model):
    alive, most = weakref.WeakSet(), 0

    def stream():
        nonlocal most
        for seed in range(60):
            one = spectrum(seed)
            alive.add(one)
            yield one
            del one
            if seed % 10 == 0:
                gc.collect()
            most = max(most, len(alive))

    found = aa.embed(stream(), model=model, batch_size=4)
    assert len(found) == 60
    assert most < 30


def test_provenance_names_model_weights_and_versions(model):
    attrs = aa.embed(spectrum(1), model=model).attrs
    assert attrs["model"] == "toy"
    assert attrs["preprocessing"] == model.preprocessing_hash
    assert "astroclip_astro=" in attrs["versions"]
    assert all(isinstance(value, str) for value in attrs.values())


def test_objects_outside_the_training_range_are_flagged(model):
    model.training_range = {"spectrum": (4.0, 6.0)}
    try:
        bright = rows(np.full(WAVELENGTH.size, 1e4))
        found = aa.embed([spectrum(1), bright], model=model)
    finally:
        model.training_range = {}
    outside = (found.quality.values & Quality.OUT_OF_TRAINING_RANGE) != 0
    assert outside.tolist() == [False, True]
    assert np.isfinite(found).all()


def test_a_model_of_one_modality_refuses_the_other():
    specformer = SpecFormer(embed_dim=8, num_layers=1, num_heads=2).eval()
    found = aa.embed([spectrum(1), cutout(1)], model=specformer)
    assert found.astroclip.valid.values.tolist() == [True, False]
    with pytest.raises(InputError, match=r"no images|not image"):
        aa.embed(cutout(1), model=specformer)


def test_a_survey_of_the_other_modality_is_refused(model):
    with pytest.raises(InputError, match="survey 'legacysurvey' is of image data"):
        aa.embed(spectrum(1), model=model, survey="legacysurvey")
    with pytest.raises(InputError, match="survey 'desi' is of spectrum data"):
        aa.embed(cutout(1), model=model, survey="desi")


def test_open_files_claimed_twice_or_of_spectra_are_refused(model, monkeypatch):
    image = fits.HDUList(fits.PrimaryHDU(np.zeros((3, 8, 8), "f4")))
    monkeypatch.setattr("astroclip_astro.inputs.claims", lambda *_: ["desi", "legacysurvey"])
    with pytest.raises(InputError, match=r"claimed by desi .* and legacysurvey .*; pass survey="):
        aa.embed(image, model=model)
    monkeypatch.setattr("astroclip_astro.inputs.claims", lambda *_: ["sdss"])
    with pytest.raises(InputError, match="to be given by their path"):
        aa.embed(image, model=model)


def test_names_that_no_file_can_hold_are_escaped(model, tmp_path):
    found = aa.embed([spectrum(1, "a\nb\x00c"), spectrum(2, "Å ok")], model=model)
    assert found.object_id.values.tolist() == ["a\\nb\\x00c", "Å ok"]
    found.astroclip.save(tmp_path / "names.nc")


def test_a_model_file_that_changed_is_loaded_anew(model, tmp_path, make_toy):
    other = make_toy()
    with torch.no_grad():
        other.spectrum_encoder.mlp.decoder.bias += 1
    vectors = []
    for version in (model, other):
        save_model(version, tmp_path / "m.safetensors", name="m")
        vectors.append(aa.embed(spectrum(1), model=tmp_path / "m.safetensors"))
    assert vectors[0].attrs["weights_sha256"] != vectors[1].attrs["weights_sha256"]
    np.testing.assert_allclose(vectors[1], vectors[0] + 1, atol=1e-4)


def test_an_empty_collection_gives_no_rows(model):
    assert aa.embed([], model=model).shape == (0, 16)


@pytest.mark.parametrize("obj", [3, None, {"flux": 1}, b"spec.fits"])
def test_other_types_are_refused(model, obj):
    with pytest.raises(TypeError, match="cannot embed"):
        aa.embed(obj, model=model)


def test_an_element_of_another_type_keeps_its_place(model):
    found = aa.embed([spectrum(1), None, spectrum(2)], model=model)
    assert found.astroclip.valid.values.tolist() == [True, False, True]
    with pytest.raises(InputError, match=r"\[1\]: cannot embed builtins.NoneType"):
        aa.embed([spectrum(1), None], model=model, errors="raise")


def test_arguments_are_checked(model):
    with pytest.raises(ValueError, match="expected 'raise' or 'flag'"):
        aa.embed(spectrum(1), model=model, errors="ignore")
    with pytest.raises(ValueError, match="at least 1"):
        aa.embed(spectrum(1), model=model, batch_size=0)
    with pytest.raises(PluginError, match="nosuch"):
        aa.embed(spectrum(1), model=model, survey="nosuch")
    with pytest.raises(InputError, match=r"missing\.fits.*no such file"):
        aa.embed("missing.fits", model=model)
    model.train()
    try:
        with pytest.raises(ValueError, match="training mode"):
            aa.embed(spectrum(1), model=model)
    finally:
        model.eval()


def test_a_model_that_returns_nan_is_an_error(model):
    broken = SpecFormer(embed_dim=8, num_layers=1, num_heads=2).eval()
    with torch.no_grad():
        broken.final_layernorm.weight[0] = torch.nan
    with pytest.raises(InputError, match="non-finite vectors"):
        aa.embed([spectrum(1)], model=broken)


def test_a_pixel_of_absurd_flux_costs_its_object_only(model, caplog):
    flux = np.full((3, WAVELENGTH.size), 5.0) + np.arange(WAVELENGTH.size) / 1e4
    flux[1, 4000] = 1e25  # of which float32 holds no square
    found = aa.embed(rows(flux), model=model)
    assert found.astroclip.valid.values.tolist() == [True, False, True]
    assert found.astroclip.flags[1] == ["NOT_EMBEDDED", "NO_UNCERTAINTY"]
    assert "mask bad pixels, check the unit" in caplog.text
    with pytest.raises(InputError, match="flux of 1e\\+15 or more"):
        aa.embed(rows(flux[1]), model=model)


def test_random_state_is_left_alone(model):
    before = torch.get_rng_state()
    aa.embed(spectrum(1), model=model)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_folder_is_no_file(model, tmp_path):
    for survey in (None, "sdss"):
        with pytest.raises(InputError, match=r"this is a folder: give its files, such as"):
            aa.embed(tmp_path, model=model, survey=survey)
