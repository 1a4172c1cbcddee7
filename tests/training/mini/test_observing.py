"""Observations of mocks: against analytic profiles, numpy, and the noise that was asked for."""

import numpy as np
import pytest
import torch

from astroclip_astro.adapters.image import ImagePreprocessing, to_rgb
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.mini import observing
from astroclip_astro.training.mini.observing import MockObserver, redshifted, smoothed
from astroclip_astro.training.split import held_out


@pytest.fixture(scope="module")
def survey():
    return MockSurvey.bundled()


@pytest.fixture(scope="module")
def observer(survey):
    return MockObserver(survey, SpectrumPreprocessing(), ImagePreprocessing(crop=96))


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_smoothing_makes_a_line_a_gaussian(width):
    line = torch.zeros(1, 400)
    line[0, 200] = 1
    made = smoothed(line, torch.tensor([width]))[0].double().numpy()
    x = np.arange(400) - 200
    assert made.sum() == pytest.approx(1, abs=1e-5)
    # Rounding far out is enlarged by x**2, and differs between processors.
    assert (made * x**2).sum() == pytest.approx(width**2, abs=5e-3)
    if width > 0.9:
        wanted = np.exp(-0.5 * (x / width) ** 2) / width / np.sqrt(2 * np.pi)
        np.testing.assert_allclose(made, wanted, atol=3e-3 / width**2)


def test_smoothing_leaves_a_constant_and_treats_rows_apart():
    flux = torch.ones(2, 300)
    flux[1] = torch.linspace(0, 1, 300)
    made = smoothed(flux, torch.tensor([2.0, 0.01]))
    torch.testing.assert_close(made, flux, atol=2e-3, rtol=0)


def test_redshifting_agrees_with_numpy():
    wavelength = 3600 + 0.8 * torch.arange(7781, dtype=torch.float64)
    flux = torch.rand(3, 7781)
    factor = torch.tensor([0.93, 1.0, 1.08])
    made = redshifted(flux, factor, wavelength)
    grid = wavelength.numpy()
    for row, f, old in zip(made, factor.double().numpy(), flux.numpy(), strict=True):
        np.testing.assert_allclose(row, np.interp(grid / f, grid, old), atol=2e-3)


def test_held_out_mocks_are_never_in_it(survey, observer):
    held = held_out(len(survey))
    assert len(observer) == (~held).sum()
    assert not held[observer.row].any()
    seen = observer.flux.float().numpy()
    unseen = survey.arrays()["spectrum"][held]
    same = (np.abs(seen[:, None] - unseen) <= 2e-3 * np.abs(unseen) + 1e-5).mean(2)
    assert same.max() < 0.5


def test_rows_that_are_asked_for(survey):
    rows = np.array([3, 9, 21])
    made = MockObserver(survey, SpectrumPreprocessing(), ImagePreprocessing(), rows=rows)
    wanted = survey.arrays()["spectrum"][rows]
    np.testing.assert_allclose(made.flux.float(), wanted, rtol=1e-3, atol=1e-5)


def test_observations_follow_the_seed_only(observer):
    index = torch.arange(4)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append((observer.spectra(index), observer.images(index)))
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=0)
    assert all((a != b).float().mean() > 0.3 for a, b in zip(made[0], made[2], strict=True))
    assert all(torch.isfinite(x).all() for pair in made for x in pair)


def test_noise_is_that_of_the_mock_where_nothing_else_is_changed(observer, monkeypatch):
    for name, value in {
        "LINE_SPREAD": (0.01, 0.02),
        "NOISE_CORRELATION": (0.01, 0.02),
        "SMOOTHED": 0.0,
        "BLUE_NOISE": 0.0,
        "BURST_SHARE": 0.0,
        "DEPTH": (0.0, 0.0),
        "RESIDUAL": (-9.0, -9.0),
        "SCALE": 0.0,
        "CALIBRATION": (0.0, 0.0, 0.0),
        "GAP_SHARE": 0.0,
        "WHOLE": 1.1,
    }.items():
        monkeypatch.setattr(observing, name, value)
    torch.manual_seed(0)
    index = torch.arange(8)
    made = observer.spectra(index)[..., 0]
    pull = (made - observer.noiseless(index)) / observer.sigma[index].float()
    inner = pull[:, 100:-100]
    assert inner.std().item() == pytest.approx(1, abs=0.02)
    assert abs(inner.mean().item()) < 0.02


def test_nothing_is_seen_outside_a_window(observer):
    torch.manual_seed(3)
    made = observer.spectra(torch.arange(10), window=(4000.0, 8800.0))[..., 0]
    outside = (observer.wavelength < 4000) | (observer.wavelength > 8800)
    assert (made[:, outside] == made[:, :1]).all()
    inside = (observer.wavelength > 4200) & (observer.wavelength < 8400)
    assert made[:, inside].std(1).min() > 0
    free = observer.spectra(
        torch.arange(10), window=(4000.0, 8800.0), windowed=torch.zeros(10, dtype=torch.bool)
    )[..., 0]
    assert (free[:, outside].std(1) > 0).any()


def test_images_are_the_centre_in_one_of_eight_orientations(observer, monkeypatch):
    monkeypatch.setattr(observer, "pixels_sigma", torch.zeros_like(observer.pixels_sigma))
    torch.manual_seed(0)
    made = observer.images(torch.zeros(40, dtype=torch.int64))
    image = to_rgb(observer.pixels[0].float(), observer.image)
    eight = [torch.rot90(x, k, (-2, -1)) for x in (image, image.flip(-1)) for k in range(4)]
    which = [[torch.equal(one, wanted) for wanted in eight].index(True) for one in made]
    assert set(which) == set(range(8))
