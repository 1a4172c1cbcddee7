"""The pre-training task: its answer is known, and nothing but the lines tells it."""

import math

import pytest
import torch
from torch import nn

from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.models.astroclip import Encoder
from astroclip_astro.models.specformer import SpecFormer
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.mini.observing import MockObserver
from astroclip_astro.training.mini.relative_redshift import (
    LARGEST_SHIFT,
    PERIODS,
    RelativeRedshift,
    without_continuum,
)


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    backbone = SpecFormer(
        input_dim=82,
        embed_dim=32,
        num_layers=2,
        num_heads=2,
        max_len=136,
        slice_section_length=80,
        slice_overlap=20,
    )
    observer = MockObserver(
        MockSurvey.bundled(), SpectrumPreprocessing(), ImagePreprocessing(crop=12)
    )
    return RelativeRedshift(Encoder(backbone, 32, 2, 0.0, True), observer)


def test_a_vector_that_is_the_redshift_has_no_loss(task):
    task.position = nn.Linear(1 + 2 * len(PERIODS), 1, bias=False)
    task.phases = nn.Linear(1 + 2 * len(PERIODS), 2 * len(PERIODS), bias=False)
    with torch.no_grad():
        task.position.weight.copy_(torch.eye(1, 1 + 2 * len(PERIODS)))
        task.phases.weight.copy_(torch.eye(1 + 2 * len(PERIODS))[1:])

    def vector(u):
        angle = u[:, None] * 2 * math.pi / torch.tensor(PERIODS)
        pair = torch.stack([angle.cos(), angle.sin()], -1).flatten(1)
        return torch.cat([u[:, None], pair], 1)

    u, shift = torch.rand(20) * 0.5, 0.2 * torch.rand(20) - 0.1
    loss, parts = task.compare(vector(u), vector(u + shift), shift)
    assert loss.item() < 1e-5
    assert parts["correlation"].item() == pytest.approx(1, abs=1e-5)
    wrong, _ = task.compare(vector(u), vector(u + shift), -shift)
    assert wrong.item() > 0.1


def test_views_are_the_same_galaxy_at_the_redshifts_said(task):
    torch.manual_seed(1)
    index = torch.arange(12)
    observed, noiseless, shift = task.views(index)
    assert observed.shape == (24, 7781, 1)
    assert noiseless.shape == (24, 7781)
    assert shift.abs().max() <= math.log((1 + LARGEST_SHIFT) / (1 - LARGEST_SHIFT))
    # In ln(wavelength) one is the other moved by the shift: find it by cross-correlation.
    grid = torch.linspace(math.log(4300), math.log(8200), 20_000)
    step = (grid[1] - grid[0]).item()

    def resampled(flux, moved):
        at = ((torch.exp(grid - moved) - 3600) / 0.8).clamp(0, 7779)
        left = at.long()
        part = at - left
        return flux[left] * (1 - part) + flux[left + 1] * part

    for first, second, moved in zip(*noiseless.chunk(2), shift.tolist(), strict=True):
        trials = [moved + k * step for k in range(-60, 61, 10)]
        lines = without_continuum(second[None])[0]
        match = [
            torch.corrcoef(
                torch.stack(
                    [resampled(without_continuum(first[None])[0], t), resampled(lines, 0.0)]
                )
            )[0, 1]
            for t in trials
        ]
        assert abs(trials[int(torch.stack(match).argmax())] - moved) <= 20 * step


def test_the_ends_of_the_coverage_tell_nothing_of_the_shift(task):
    torch.manual_seed(2)
    ends, shifts = [], []
    for _ in range(12):
        observed, _, shift = task.views(torch.arange(36))
        second = observed[36:, :, 0]
        covered = (second != second[:, :1]).float()
        ends.append(covered.argmax(1).float())
        shifts.append(shift)
    pair = torch.stack([torch.cat(ends), torch.cat(shifts)])
    assert abs(torch.corrcoef(pair)[0, 1]) < 0.15


def test_lines_without_continuum():
    x = torch.linspace(-1, 1, 4000)
    smooth = 5 + x - 0.5 * x**2
    line = 3 * torch.exp(-0.5 * ((x - 0.1) / 0.002) ** 2)
    bare = without_continuum(torch.stack([smooth, smooth + line]))
    assert bare[0, 300:-300].abs().max() < 0.1
    assert abs(int(bare[1].argmax() - (smooth + line).argmax())) <= 2
    assert bare[1].max() > 2


def test_training_on_it_reaches_every_parameter_but_those_of_masked_modelling(task):
    torch.manual_seed(3)
    loss, _ = RelativeRedshift(task.encoder, task.observer)(torch.arange(6))
    loss.backward()
    without = {n for n, p in task.encoder.named_parameters() if p.grad is None}
    assert without == {"backbone.head.weight", "backbone.head.bias"}
