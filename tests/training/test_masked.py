"""Masked modelling: the published loss, over observed pixels only."""

import numpy as np
import pytest
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.models import SpecFormer
from astroclip_astro.training.batch import TrainingBatch
from astroclip_astro.training.masked import MaskedModelling


@pytest.fixture
def module():
    torch.manual_seed(0)
    model = SpecFormer(embed_dim=24, num_layers=2, num_heads=2, dropout=0.0)
    return MaskedModelling(model, max_steps=100, warmup=2, learning_rate=3e-3)


def batch(n=4, seed=0, length=7781):
    torch.manual_seed(seed)
    flux = torch.randn(n, length, 1).cumsum(1) / 30
    return TrainingBatch(
        object_id=np.array([f"galaxy-{i}" for i in range(n)]),
        spectrum=flux,
        spectrum_ivar=torch.ones(n, length),
    )


def test_with_all_observed_it_is_the_models_own_loss(module):
    data = batch()
    tokens = module.model.preprocess(data.spectrum)
    torch.manual_seed(3)
    wanted = module.model.masked_loss(tokens, module.model.mask(tokens))
    torch.manual_seed(3)
    torch.testing.assert_close(module.loss(data), wanted)


def test_pixels_that_were_not_observed_carry_no_weight(module):
    data = batch()
    data.spectrum_ivar[:, 3000:] = 0
    tokens = module.model.preprocess(data.spectrum)
    torch.manual_seed(3)
    masked = module.model.mask(tokens)
    error = (module.model.head(module.model.forward_tokens(masked)) - tokens).square()
    total = number = 0.0
    for i, row in enumerate(tokens):
        for t, token in enumerate(row):
            for c in range(tokens.shape[2]):
                pixel = 10 * (t - 1) + c - 2
                seen = t == 0 or c < 2 or data.spectrum_ivar[i, pixel] > 0
                if token[c] != masked[i, t, c] and seen:
                    total, number = total + error[i, t, c].item(), number + 1
    torch.manual_seed(3)
    assert module.loss(data).item() == pytest.approx(total / number, rel=1e-4)


def test_it_learns(module):
    data = batch(6)
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for step in range(40):
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3
        loss = module.loss(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_spectra_without_data_are_left_out_or_refused(module, caplog):
    data = batch(3)
    data.spectrum_ivar[1] = 0
    torch.manual_seed(1)
    loss = module.loss(data)
    assert "galaxy-1" in caplog.text
    assert loss.isfinite()
    torch.manual_seed(1)
    torch.testing.assert_close(loss, module.loss(data[[0, 2]]))
    data.spectrum_ivar[:] = 0
    with pytest.raises(InputError, match="galaxy-0, galaxy-1, galaxy-2"):
        module.loss(data)
    images = TrainingBatch(object_id=data.object_id, image=torch.zeros(3, 3, 152, 152))
    with pytest.raises(InputError, match="no spectra"):
        module.loss(images)


def test_only_matrices_decay(module):
    decaying, others = module.configure_optimizers()["optimizer"].param_groups
    assert decaying["weight_decay"] == 0.1
    assert others["weight_decay"] == 0
    assert all(p.ndim >= 2 for p in decaying["params"])
    assert all(p.ndim < 2 for p in others["params"])
    n = len(decaying["params"]) + len(others["params"])
    assert n == len(list(module.model.parameters()))
