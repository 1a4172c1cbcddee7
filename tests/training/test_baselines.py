"""Baselines: their sizes, their photometry, and that they learn."""

import numpy as np
import pytest
import torch

from astroclip_astro.adapters.image import encoder_input
from astroclip_astro.errors import InputError
from astroclip_astro.training.baselines import (
    ConvAttention,
    PhotometryMLP,
    ResNet18,
    kron_photometry,
)
from astroclip_astro.training.batch import TrainingBatch
from astroclip_astro.training.image_augment import turned
from astroclip_astro.training.regression import Supervised


def gaussian(sigma, flux, size=152):
    x = torch.arange(size) - (size - 1) / 2
    profile = torch.exp(-0.5 * (x / sigma) ** 2)
    image = profile[:, None] * profile
    return flux * image / image.sum()


def test_kron_magnitudes_of_gaussians():
    flux = torch.tensor([100.0, 10.0, 1000.0])
    image = torch.stack([gaussian(4.0, f) for f in flux])[None]
    wanted = 22.5 - 2.5 * np.log10(flux.numpy())
    np.testing.assert_allclose(kron_photometry(image)[0], wanted, atol=0.02)
    faint = kron_photometry(torch.full((1, 3, 152, 152), -1e-4))
    assert faint.isfinite().all()


def test_resnet18_has_the_published_size():
    # 11,689,512 with 1000 classes (torchvision's table), of which 513,000 in the last layer.
    assert sum(p.numel() for p in ResNet18(1000).parameters()) == 11_689_512


def test_images_are_turned_in_training_only():
    network = ResNet18(1, width=4)
    data = batch()
    data.image[..., :60] *= 2  # no symmetry
    plain = encoder_input(data.image, network.preprocessing)
    assert torch.equal(network.eval().inputs(data), plain)
    torch.manual_seed(5)
    made = network.train().inputs(data)
    torch.manual_seed(5)
    assert torch.equal(made, turned(plain))
    assert not torch.equal(made, plain)


def batch(n=12, seed=0):
    torch.manual_seed(seed)
    brightness = torch.rand(n) * 50 + 10
    image = torch.stack([torch.stack([gaussian(3.0, b)] * 3) for b in brightness.tolist()])
    flux = (brightness[:, None] / 10 + 0.1 * torch.randn(n, 400)).unsqueeze(-1)
    return TrainingBatch(
        object_id=np.arange(n).astype(str),
        image=image,
        spectrum=flux,
        spectrum_ivar=torch.ones(n, 400),
        targets={"redshift": brightness.log(), "age": torch.full((n,), torch.nan)},
    )


@pytest.mark.parametrize(
    "network",
    [
        lambda: ResNet18(1, width=4),
        lambda: ConvAttention(1, channels=(8, 8, 8), dropout=0.0),
        lambda: PhotometryMLP(1),
    ],
)
def test_they_learn_a_plain_relation(network):
    torch.manual_seed(0)
    data = batch()
    targets = {"redshift": data.targets["redshift"].numpy()}
    module = Supervised(network(), targets=targets, max_steps=60, warmup=2, learning_rate=1e-2)
    optimizer = module.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    first = module.loss(data).item()
    for _ in range(60):
        loss = module.loss(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first


def test_unknown_targets_carry_no_weight():
    data = batch()
    data.targets["redshift"][3] = torch.nan
    module = Supervised(PhotometryMLP(1), targets={"redshift": np.arange(5.0)}, max_steps=3)
    others = [i for i in range(12) if i != 3]
    torch.testing.assert_close(module.loss(data), module.loss(data[others]))
    data.targets["redshift"][:] = torch.nan
    assert module.loss(data) == 0


def test_targets_that_are_all_alike_are_refused():
    with pytest.raises(InputError, match="of age: expected at least two different"):
        Supervised(PhotometryMLP(1), targets={"age": np.full(4, 3.0)}, max_steps=3)


def test_rate_falls_with_time_where_time_is_short(monkeypatch):
    module = Supervised(
        PhotometryMLP(1), targets={"age": np.arange(4.0)}, max_steps=100, warmup=1, max_minutes=1
    )
    now = {"t": 0.0}
    monkeypatch.setattr("astroclip_astro.training.regression.time.monotonic", lambda: now["t"])
    module.on_train_start()
    assert module._rate(1) > 0.95
    now["t"] = 60.0
    assert module._rate(1) == pytest.approx(0, abs=1e-6)
