"""Alignment on mocks: it learns, resumes to the same result, and never trains on held-out mocks."""

import json

import numpy as np
import pytest
import torch

from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.alignment import AlignmentConfig, MockPairs, align, held_out

CONFIG = AlignmentConfig(
    steps=12, batch_size=12, second_views=4, warmup=3, learning_rate=3e-3, small_crop=48
)


@pytest.fixture(scope="module")
def pairs(make_toy):
    model = make_toy()
    return MockPairs(
        MockSurvey.bundled(), model.preprocessing["spectrum"], model.preprocessing["image"]
    )


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_held_out_mocks_are_never_in_the_training_pairs(pairs):
    survey = MockSurvey.bundled()
    assert len(pairs) == (~held_out(len(survey))).sum()
    seen = pairs.flux.float().mean(1).numpy()
    unseen = survey.arrays()["spectrum"][held_out(len(survey))].mean(1)
    assert np.abs(seen[:, None] / unseen - 1).min() > 1e-3


def test_alignment_learns_and_leaves_eval_mode(pairs, make_toy, tmp_path):
    state = torch.get_rng_state()
    model = align(make_toy(), pairs, tmp_path, CONFIG, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    loss = losses(tmp_path)
    assert len(loss) == CONFIG.steps
    assert np.mean(loss[-3:]) < np.mean(loss[:3])
    assert not model.training
    assert model.training_range["spectrum"][0] < model.training_range["spectrum"][1]


def test_an_interrupted_run_resumes_to_the_same_model(pairs, make_toy, tmp_path, monkeypatch):
    whole = align(make_toy(), pairs, tmp_path / "whole", CONFIG, progress=False)
    stop_at = {"step": 5}
    spectra = MockPairs.spectra

    def interrupted(self, index, generator):
        stop_at["step"] -= 1
        if stop_at["step"] < 0:
            raise KeyboardInterrupt
        return spectra(self, index, generator)

    monkeypatch.setattr(MockPairs, "spectra", interrupted)
    with pytest.raises(KeyboardInterrupt):
        align(make_toy(), pairs, tmp_path / "cut", CONFIG, checkpoint_minutes=0, progress=False)
    monkeypatch.undo()
    resumed = align(make_toy(), pairs, tmp_path / "cut", CONFIG, progress=False)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)


def test_a_nan_loss_stops_and_names_the_objects(pairs, make_toy, tmp_path):
    model = make_toy()
    with torch.no_grad():
        model.spectrum_encoder.mlp.decoder.bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match="at step 0, objects"):
        align(model, pairs, tmp_path, CONFIG, progress=False)


def test_augmented_spectra_follow_the_fill_policy(pairs):
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(len(pairs))
    flux = pairs.spectra(index, generator).squeeze(-1)
    assert torch.isfinite(flux).all()
    edge = flux[:, -1:]
    filled = (flux == edge).sum(1) > 1
    assert 0 < filled.sum() < len(flux)
    for row in flux[filled]:
        real = row[row != row[-1]]
        assert real.mean() == pytest.approx(row[-1].item(), rel=1e-3, abs=1e-4)
