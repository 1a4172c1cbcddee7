"""Other looks: flux is kept, dust dims by what it should, noise is as said."""

import numpy as np
import pytest
import torch

from astroclip_astro.training import image_augment
from astroclip_astro.training.image_augment import another_look, blurred, reddened, turned


def test_the_eight_orientations_are_a_group():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 6, 6)
    all_ = turned(image.expand(8, -1, -1, -1), torch.arange(8))
    wanted = [np.rot90(image[0].numpy(), k, (1, 2)) for k in range(4)]
    wanted += [one[..., ::-1] for one in wanted]
    for made, one in zip(all_.numpy(), wanted, strict=True):
        np.testing.assert_array_equal(made, one)
    assert len({tuple(one.flatten().tolist()) for one in all_}) == 8
    drawn = turned(image.expand(100, -1, -1, -1))
    assert len({tuple(one.flatten().tolist()) for one in drawn}) == 8


def test_blur_is_gaussian_and_keeps_flux():
    star = torch.zeros(2, 3, 65, 65)
    star[..., 32, 32] = 7
    fwhm = torch.tensor([[3.0, 4.0, 5.0], [2.5, 2.5, 2.5]])
    made = blurred(star, fwhm)
    torch.testing.assert_close(made.sum((2, 3)), torch.full((2, 3), 7.0), rtol=1e-4, atol=0)
    x = torch.arange(65) - 32.0
    variance = (made.sum(2) * x**2).sum(-1) / 7
    torch.testing.assert_close(variance, (fwhm / 2.354820) ** 2, rtol=5e-3, atol=0)


def test_no_blur_changes_nothing():
    image = torch.rand(2, 3, 40, 40)
    torch.testing.assert_close(blurred(image, torch.zeros(2)), image, atol=1e-6, rtol=0)


def test_reddening_in_magnitudes():
    made = reddened(torch.ones(2, 3, 2, 2), torch.tensor([0.2, -0.1]))
    magnitudes = -2.5 * made[..., 0, 0].log10()
    wanted = torch.tensor([[0.2], [-0.1]]) * torch.tensor([3.214, 2.165, 1.211])
    torch.testing.assert_close(magnitudes, wanted, atol=1e-5, rtol=1e-4)


@pytest.fixture
def only(monkeypatch):
    """Switch off all but what a test asks for."""

    def switch(**wanted):
        off = {"_WORSE_SEEING": (0.0, 0.0), "_MORE_NOISE": (0.0, 0.0), "_REDDENING": 0.0}
        for name, value in (off | wanted).items():
            monkeypatch.setattr(image_augment, name, value)

    return switch


def test_added_noise_follows_the_inverse_variance(only):
    only(_MORE_NOISE=(0.5, 0.5))
    torch.manual_seed(0)
    ivar = torch.full((200, 3, 32, 32), 4.0)
    ivar[:, 1] = 100.0
    ivar[:, 2] = 0.0
    made, _ = another_look(torch.zeros(200, 3, 32, 32), ivar)
    spread = made.flatten(2).std(2)
    noisy = spread[:, 0] > 0
    assert 0.35 < noisy.float().mean() < 0.65
    assert spread[noisy, 0].mean().item() == pytest.approx(0.25, rel=0.02)
    assert spread[noisy, 1].mean().item() == pytest.approx(0.05, rel=0.02)
    assert (spread[:, 2] == 0).all()


def test_noise_without_ivar_is_measured_at_the_border(only):
    only(_MORE_NOISE=(1.0, 1.0))
    torch.manual_seed(0)
    image = 0.1 * torch.randn(100, 3, 96, 96)
    image[..., 40:56, 40:56] += 100
    made, observed = another_look(image)
    assert observed is None
    corner = made[..., :20, :20].flatten(1).std(1)
    noisy = corner > 0.12
    assert 0.3 < noisy.float().mean() < 0.7
    assert corner[noisy].mean().item() == pytest.approx(0.1 * 2**0.5, rel=0.05)


def test_centre_moves_by_no_more_than_the_jitter(only):
    only()
    torch.manual_seed(0)
    star = torch.zeros(300, 3, 33, 33)
    star[..., 16, 16] = 1
    made, _ = another_look(star)
    place = made[:, 0].flatten(1).argmax(1)
    away = torch.stack([place // 33 - 16, place % 33 - 16])
    assert away.abs().max() == image_augment._JITTER
    torch.testing.assert_close(made.sum((1, 2, 3)), torch.full((300,), 3.0))


def test_local_looks_are_parts_of_the_image(only):
    only()
    torch.manual_seed(0)
    image = torch.arange(3 * 20 * 20.0).reshape(1, 3, 20, 20).expand(50, -1, -1, -1)
    made, _ = another_look(image, size=8)
    assert made.shape == (50, 3, 8, 8)
    assert set(made[:, 0].round(decimals=2).flatten().tolist()) <= set(range(400))
    assert len({one[0].min().item() for one in made}) > 20


@pytest.mark.parametrize("size", [None, 20])
def test_masks_go_where_their_pixels_go(only, size):
    only()
    torch.manual_seed(0)
    flux = (torch.rand(40, 1, 33, 33) < 0.5).float().expand(-1, 3, -1, -1)
    ivar = flux.clone()
    ivar[:, 2] = 0  # other bands are enough
    made, observed = another_look(flux, ivar, size=size)
    assert torch.equal(observed, made[:, 0] > 0.5)


def test_looks_follow_the_seed():
    image = torch.rand(4, 3, 32, 32)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(another_look(image)[0])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
