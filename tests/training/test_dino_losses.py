"""Losses against plain NumPy and against limits that are known."""

import numpy as np
import pytest
import torch

from astroclip_astro.training.dino_losses import cross_entropy, koleo, sinkhorn_knopp


def test_sinkhorn_knopp_against_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(12, 5))
    shares = np.exp(logits / 0.5)
    for _ in range(3):
        shares = shares / shares.sum(0)
        shares = shares / shares.sum(1, keepdims=True)
    made = sinkhorn_knopp(torch.from_numpy(logits), 0.5)
    np.testing.assert_allclose(made, shares, rtol=1e-4)


def test_sinkhorn_knopp_shares_out_evenly():
    torch.manual_seed(0)
    logits = torch.randn(400, 8) + torch.tensor([9.0, 0, 0, 0, 0, 0, 0, 0])
    made = sinkhorn_knopp(logits, 1.0, iterations=50)
    torch.testing.assert_close(made.sum(1), torch.ones(400))
    torch.testing.assert_close(made.sum(0), torch.full((8,), 50.0), rtol=0.02, atol=0)


def test_sinkhorn_knopp_of_extreme_logits_is_finite():
    made = sinkhorn_knopp(torch.tensor([[1e4, -1e4], [1e4, -1e4]]), 0.04)
    assert made.isfinite().all()
    assert (made.sum(1) - 1).abs().max() < 1e-5


def test_nothing_is_shared_out_of_nothing():
    assert sinkhorn_knopp(torch.empty(0, 4), 0.1).shape == (0, 4)


def test_cross_entropy():
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    p = np.exp(logits.numpy() / 0.1)
    p /= p.sum(1, keepdims=True)
    wanted = -(teacher.numpy() * np.log(np.maximum(p, 1e-300))).sum(1).mean()
    assert cross_entropy(logits, teacher, 0.1).item() == pytest.approx(wanted, rel=1e-5)
    assert cross_entropy(torch.zeros(3, 8), torch.full((3, 8), 1 / 8)).item() == pytest.approx(
        np.log(8)
    )


def test_koleo_against_brute_force():
    torch.manual_seed(1)
    vectors = torch.randn(20, 6)
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    distance = np.linalg.norm(unit[:, None] - unit, axis=2) + 1e9 * np.eye(20)
    assert koleo(vectors).item() == pytest.approx(-np.log(distance.min(1)).mean(), rel=1e-4)


def test_koleo_drives_apart_what_is_together():
    torch.manual_seed(2)
    vectors = (torch.ones(8, 4) + 0.01 * torch.randn(8, 4)).requires_grad_()
    before = koleo(vectors)
    before.backward()
    after = koleo(vectors.detach() - 0.01 * vectors.grad)
    assert after < before
    assert koleo(torch.ones(3, 4)).isfinite()
