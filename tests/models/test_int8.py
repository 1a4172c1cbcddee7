"""Layers and models of eight-bit integers against double precision, and what they refuse."""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch.nn import functional as F

import astroclip_astro as aa
from astroclip_astro.models import base, int8
from astroclip_astro.models.int8 import Int8Linear, int8_works
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.weights import save_model

needs_int8 = pytest.mark.skipif(not int8_works(), reason="this processor has no AVX512 VNNI")


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"])
def layer(request, monkeypatch):
    """A layer, its numbers between layers in either type."""
    monkeypatch.setattr(int8, "bfloat16_pays", lambda: request.param)
    torch.manual_seed(0)
    return torch.nn.Linear(200, 120)


@needs_int8
@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_a_layer_is_near_double_precision(layer, given, bias):
    # Tokens of very different size: each has a scale of its own.
    x = (torch.randn(3, 40, 200) * torch.logspace(-6, 6, 40)[:, None]).to(given)
    layer.bias = layer.bias if bias else None
    quantised = Int8Linear(layer)
    for gelu in (False, True):
        expected = layer.double()(x.double())
        expected = F.gelu(expected) if gelu else expected
        found = quantised(x, gelu=gelu)
        error = (found.double() - expected).norm(dim=-1) / expected.norm(dim=-1)
        assert found.shape == expected.shape
        assert error.max() < 0.03
        layer.float()


@needs_int8
@torch.inference_mode()
def test_the_largest_number_keeps_its_sign(layer):
    # bfloat16 rounds the scale up or down; an integer of 128 would come out as -128.
    x = torch.linspace(1, 2, 999)[:, None] * torch.tensor([[1.0, -1.0] + 198 * [0.0]])
    for given in (torch.float32, torch.bfloat16):
        identity = Int8Linear(torch.nn.Linear(200, 200, bias=False).requires_grad_(False))
        identity.weight.copy_(126 * torch.eye(200))
        identity.scale.fill_(1 / 126)
        assert torch.allclose(identity(x.to(given))[:, :2].float(), x[:, :2], rtol=0.02)


@needs_int8
@torch.inference_mode()
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(layer, number):
    x = torch.randn(4, 5, 200)
    x[1, 2, 3] = number
    found = Int8Linear(layer)(x)
    assert not found[1, 2].isfinite().any()
    rest = torch.ones(4, 5, dtype=torch.bool)
    rest[1, 2] = False
    assert found[rest].isfinite().all()


@needs_int8
@torch.inference_mode()
def test_tokens_of_zeros_give_the_bias(layer):
    assert torch.allclose(Int8Linear(layer)(torch.zeros(2, 200)).float(), layer.bias, rtol=0.01)


@needs_int8
def test_a_layer_can_be_copied_and_has_no_gradients(layer):
    one = Int8Linear(layer)
    x = torch.randn(2, 200)
    assert torch.equal(one(x), copy.deepcopy(one)(x))
    with pytest.raises(RuntimeError, match="int8 have no gradients"):
        one(x.requires_grad_())


@needs_int8
@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_the_bundled_model(mocks, modality):
    get = mocks.spectrum if modality == "spectrum" else mocks.cutout
    galaxies = np.flatnonzero(mocks.truth["kind"] == "galaxy")
    objects, truth = [get(int(i)) for i in galaxies], mocks.truth["redshift"][galaxies]
    exact, quantised = (aa.embed(objects, dtype=d, device="cpu") for d in ("float32", "int8"))
    assert quantised.attrs["dtype"] == "int8"
    one, other = (v.values / np.linalg.norm(v, axis=1)[:, None] for v in (exact, quantised))
    assert (one * other).sum(1).min() > 0.998
    r2 = [
        r2_score(truth, aa.predict(v, task="redshift")["redshift_p50"]) for v in (exact, quantised)
    ]
    assert r2[1] == pytest.approx(r2[0], abs=0.005)


@needs_int8
def test_rounded_weights_are_not_taken_for_the_real_ones(mocks, tmp_path):
    model = aa.load_model(device="cpu", dtype="int8")
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == sum(p.numel() for p in aa.load_model().parameters())
    assert model.compute_in("auto").compute_dtype == torch.int8
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(ValueError, match="rounded to int8: load the model anew"):
            model.compute_in(dtype)
    with pytest.raises(ValueError, match="rounded to bfloat16: load the model anew"):
        aa.load_model(device="cpu", dtype="bfloat16").compute_in("int8")
    with pytest.raises(ValueError, match="load the model in float32 to save it"):
        save_model(model, tmp_path / "m.safetensors", name="m")


def test_where_it_does_not_work_it_is_refused(monkeypatch):
    monkeypatch.setattr(base, "int8_works", lambda: False)
    model = aa.load_model(device="cpu")
    with pytest.raises(ValueError, match="int8 is for CPUs with the instructions AVX512 VNNI"):
        model.compute_in("int8")
    assert model.compute_dtype == torch.float32


def test_auto_never_takes_it(monkeypatch):
    monkeypatch.setattr(base, "_LARGE", 0)
    assert aa.load_model(device="cpu", dtype="auto").compute_dtype != torch.int8
