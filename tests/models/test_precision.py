"""How far vectors of bfloat16 are from those of double precision, and that they say so."""

import json
import os
from copy import deepcopy
from importlib import resources

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

import astroclip_astro as aa
from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.embeddings import concat
from astroclip_astro.models import SpecFormer, VisionTransformer, base
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.fine_tuning import fine_tune
from astroclip_astro.weights import save_model

COSINE = 0.9995

slow = pytest.mark.skipif(
    "ASTROCLIP_SLOW" not in os.environ, reason="4 GB of memory; set ASTROCLIP_SLOW to run it"
)


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


def flux_of(mocks, modality, count, preprocessing):
    """A batch of mocks on the grid of a model."""
    get = mocks.spectrum if modality == "spectrum" else mocks.cutout
    kind = get_modality(modality)
    found = [
        record for i in range(count) for record in kind.records(get(i), preprocessing=preprocessing)
    ]
    return kind.batch(found, preprocessing).flux


def cosine(model, flux, modality):
    """Smallest cosine similarity between vectors in bfloat16 and in double precision."""
    reduced = deepcopy(model).compute_in("bfloat16")
    found = reduced.encode(flux, modality)
    expected = model.double().encode(flux, modality)
    return torch.cosine_similarity(found.double(), expected).min()


@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_the_bundled_model(mocks, modality):
    model = aa.load_model(device="cpu")
    flux = flux_of(mocks, modality, 40, model.preprocessing[modality])
    assert cosine(model, flux, modality) > COSINE


@pytest.mark.parametrize(
    ("kind", "modality"),
    [(SpecFormer, "spectrum"), pytest.param(VisionTransformer, "image", marks=slow)],
)
def test_the_published_architecture(mocks, kind, modality):
    file = resources.files("astroclip_astro.models") / "configs" / "astroclip.json"
    config = json.loads(file.read_text())["config"][modality]
    if modality == "image":  # at their initial value, the blocks would do nothing
        config["layerscale_init"] = 1.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(**config).eval().requires_grad_(False)
    flux = flux_of(mocks, modality, 2, model.preprocessing[modality])
    assert cosine(model, flux, modality) > COSINE


@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_redshifts_are_as_good(mocks, modality):
    get = mocks.spectrum if modality == "spectrum" else mocks.cutout
    galaxies = np.flatnonzero(mocks.truth["kind"] == "galaxy")
    objects, truth = [get(int(i)) for i in galaxies], mocks.truth["redshift"][galaxies]
    r2 = {}
    for dtype in ("float32", "bfloat16"):
        vectors = aa.embed(objects, dtype=dtype, device="cpu")
        assert vectors.attrs["dtype"] == dtype
        r2[dtype] = r2_score(truth, aa.predict(vectors, task="redshift")["redshift_p50"])
    assert r2["bfloat16"] == pytest.approx(r2["float32"], abs=0.005)


def test_both_types_can_be_compared_and_put_together(mocks):
    one = aa.embed([mocks.spectrum(0)], dtype="float32", device="cpu")
    other = aa.embed([mocks.spectrum(0)], dtype="bfloat16", device="cpu")
    both = concat([one, other])
    assert both.attrs["dtype"] == "float32 | bfloat16"
    assert 0.9995 < both.astroclip.similarity().values[0, 1] < 1


def test_auto_leaves_small_models_and_slow_processors_in_float32(mocks, monkeypatch):
    monkeypatch.setattr(base, "bfloat16_pays", lambda: True)
    assert aa.load_model(device="cpu", dtype="auto").compute_dtype == torch.float32
    monkeypatch.setattr(base, "_LARGE", 0)
    assert aa.load_model(device="cpu", dtype="auto").compute_dtype == torch.bfloat16
    monkeypatch.setattr(base, "bfloat16_pays", lambda: False)
    assert aa.load_model(device="cpu", dtype="auto").compute_dtype == torch.float32


def test_rounded_weights_are_not_taken_for_the_real_ones(mocks, tmp_path):
    model = aa.load_model(device="cpu", dtype=torch.bfloat16)
    assert "bfloat16" in model._repr_html_()
    with pytest.raises(ValueError, match="load the model anew"):
        model.compute_in("float32")
    with pytest.raises(ValueError, match="load the model in float32 to save it"):
        save_model(model, tmp_path / "m.safetensors", name="m")
    with pytest.raises(aa.errors.InputError, match="load the model in float32 to train it"):
        fine_tune([mocks.spectrum(0)], [0.1], tmp_path / "m.safetensors", model=model)
    with pytest.raises(ValueError, match="was loaded in bfloat16"):
        aa.embed(mocks.spectrum(0), model=model, dtype="float32")
    assert aa.embed(mocks.spectrum(0), model=model).attrs["dtype"] == "bfloat16"


def test_models_without_layers_for_it_refuse_a_type():
    class Mean(base.GalaxyModel):
        modalities = ("spectrum",)

        def __init__(self):
            super().__init__(embed_dim=1)
            self.name = "mean"
            self.layer = torch.nn.Linear(1, 1)

    model = Mean()
    for dtype in ("bfloat16", "int8"):
        with pytest.raises(ValueError, match=f"'mean' has no layers that compute in {dtype}"):
            model.compute_in(dtype)
    for dtype in ("auto", "float32"):
        assert model.compute_in(dtype).provenance["dtype"] == "float32"
    model.double()
    for dtype in ("auto", "float32", "float64"):  # as which embeddings state it
        assert model.compute_in(dtype).provenance["dtype"] == "float64"


def test_unknown_types_are_refused():
    with pytest.raises(ValueError, match="dtype is 'float16', expected"):
        aa.load_model(dtype="float16")
