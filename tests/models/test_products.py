"""Fast products against the same in double precision, whichever this processor would choose."""

import pytest
import torch
from torch.nn import functional as F

from astroclip_astro.models import products
from astroclip_astro.models.products import attend, in_pieces, linear

# Rounding errors, relative to the largest number.
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


@pytest.fixture(params=["oneDNN", "torch"])
def kernels(request, monkeypatch):
    """Every product by one of the libraries."""
    if request.param == "oneDNN" and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    fast = float(request.param == "oneDNN")
    rates = {"torch": 0.5, torch.float32: fast, torch.bfloat16: fast}
    monkeypatch.setattr(products, "_rates", lambda: rates)
    monkeypatch.setattr(products, "_LARGE", 0)


def assert_close(found, expected):
    error = (found.double() - expected).abs().max() / expected.abs().max()
    assert error < ROUNDING[found.dtype]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_linear_layers(dtype, gelu):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(24, 40).to(dtype), torch.randn(3, 5, 48)[..., ::2]
    expected = F.linear(x.to(dtype).double(), layer.weight.double(), layer.bias.double())
    with torch.inference_mode():
        found = linear(layer, x, gelu=gelu)
    assert found.dtype == dtype
    assert_close(found, F.gelu(expected) if gelu else expected)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("length", [7, 300])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_attention(dtype, length):
    torch.manual_seed(0)
    packed = torch.randn(2, length, 3 * 4 * 8).to(dtype)
    q, k, v = packed.unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
    weights = (q.double() @ k.double().transpose(-2, -1) / 8**0.5).softmax(-1)
    expected = (weights @ v.double()).transpose(1, 2).flatten(2)
    with torch.inference_mode():
        found = attend(q, k, v)
    assert found.dtype == dtype
    assert_close(found, expected)


@pytest.mark.parametrize("piece", [1, 8 * 3 * 4, 2**20])
def test_pieces_are_put_together_in_order(piece, monkeypatch):
    monkeypatch.setattr(products, "_PIECE", piece)
    tokens, sizes = torch.randn(19, 3, 4), []

    def double(x):
        sizes.append(len(x))
        return 2 * x

    with torch.inference_mode():
        assert torch.equal(in_pieces(double, tokens), 2 * tokens)
        assert in_pieces(double, tokens[:0]).shape == (0, 3, 4)
    assert sum(sizes) == 19
    assert (len(sizes) == 2) is (piece == 2**20)


@pytest.mark.usefixtures("kernels")
def test_gradients_are_those_of_torch():
    layer, x = torch.nn.Linear(6, 4), torch.randn(5, 6)
    linear(layer, x, gelu=True).sum().backward()
    found = layer.weight.grad.clone()
    layer.zero_grad()
    F.gelu(layer(x)).sum().backward()
    assert torch.equal(found, layer.weight.grad)


@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_off_the_cpu_attention_is_what_flash_kernels_take(make_toy, modality, monkeypatch):
    # bfloat16, no mask, no dropout, numbers of a head next to each other: on any device.
    seen = []

    def attention(q, k, v, **settings):
        seen.extend((t.dtype, t.stride(-1), settings) for t in (q, k, v))
        return torch.empty_like(q)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # "meta" has none
    model = make_toy().compute_in("bfloat16").to("meta")
    shape = (2, 7781, 1) if modality == "spectrum" else (2, 3, 152, 152)
    with torch.inference_mode():
        vectors = model.vectors(torch.empty(shape, device="meta"), modality)
    assert vectors.shape == (2, 16)
    assert vectors.device.type == "meta"
    assert seen == 3 * [(torch.bfloat16, 1, {"dropout_p": 0.0})]
