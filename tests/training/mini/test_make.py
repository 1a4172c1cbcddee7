"""The recipe from end to end on the bundled mocks: it resumes to the same weights, which load."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.models import AstroCLIP
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.mini import fit as fitting
from astroclip_astro.training.mini.__main__ import make
from astroclip_astro.training.mini.fit import fit

SCHEDULE = {
    "spectra": {"steps": 6, "batch_size": 6, "warmup": 1},
    "images": {"steps": 3, "batch_size": 6, "warmup": 1},
    "alignment": {"steps": 6, "batch_size": 6, "warmup": 1},
}


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_killed_in_each_stage_ends_in_the_same_weights(tmp_path, monkeypatch):
    survey = MockSurvey.bundled()
    whole = make(survey, tmp_path / "whole", schedule=SCHEDULE, progress=False)
    monkeypatch.setattr(fitting, "EVERY", 2)
    save = fitting._save
    kills = {"spectra": 4, "alignment": 2}

    def killed(path, state):
        save(path, state)
        if kills.get(path.parent.name) == state["step"]:
            del kills[path.parent.name]
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "_save", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            make(survey, tmp_path / "killed", schedule=SCHEDULE, progress=False)
    resumed = make(survey, tmp_path / "killed", schedule=SCHEDULE, progress=False)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
    for stage in ("spectra", "alignment"):
        np.testing.assert_allclose(
            losses(tmp_path / "whole" / stage)[-1],
            losses(tmp_path / "killed" / stage)[-1],
            rtol=1e-4,
        )
    model = aa.load_model(tmp_path / "whole" / "astroclip-mini.safetensors")
    assert model.preprocessing["image"].crop == 96
    assert model.training_range.keys() == {"spectrum", "image"}
    for modality, observed in (("spectrum", survey.spectrum(9)), ("image", survey.cutout(9))):
        before = aa.load_model(tmp_path / "whole" / f"astroclip-mini-{modality}.safetensors")
        assert np.isfinite(aa.embed(observed, model=before)).all()
    found = aa.embed(survey.spectrum(9), model=model)
    assert found.shape == (128,)
    assert np.isfinite(found).all()


def test_it_goes_on_from_an_earlier_result(tmp_path):
    survey = MockSurvey.bundled()
    start = aa.load_model()
    none = {name: one | {"steps": 0} for name, one in SCHEDULE.items()} | {
        "images": SCHEDULE["images"]
    }
    result = make(survey, tmp_path, start=start, schedule=none, progress=False)
    for name, wanted in start.state_dict().items():
        torch.testing.assert_close(result.state_dict()[name], wanted, rtol=0, atol=0, msg=name)
    assert result.logit_scale == pytest.approx(start.logit_scale, abs=1e-3)
    # What it is compared with is not what it began with.
    distilled = aa.load_model(tmp_path / "astroclip-mini-image.safetensors").state_dict()
    begun = start.image_encoder.backbone.state_dict()
    assert any(not torch.equal(tensor, begun[name]) for name, tensor in distilled.items())


def test_a_folder_goes_with_its_mocks_and_settings(tmp_path):
    survey = MockSurvey.bundled()
    none = {name: one | {"steps": 0} for name, one in SCHEDULE.items()}
    none["images"] = SCHEDULE["images"]
    (tmp_path / "settings.json").write_text('{"mocks": [1, "abc", 40]}')
    with pytest.raises(InputError, match="holds a run with other mocks, schedule, seed"):
        make(survey, tmp_path, schedule=none, progress=False)
    other = AstroCLIP(
        spectrum={"embed_dim": 24, "num_layers": 2, "num_heads": 2},
        image={"embed_dim": 32, "depth": 2, "num_heads": 2, "block_chunks": 1},
        embed_dim=32, spectrum_heads=2, image_heads=2,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"start: .* is AstroCLIP with"):
        make(survey, tmp_path / "new", start=other, progress=False)
    assert not (tmp_path / "new").exists()


class Twenty:
    """Galaxies."""

    row = np.arange(100, 120)

    def __len__(self):
        return len(self.row)


class Line(nn.Module):
    """Find the slope of a line."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))
        self.observer = Twenty()
        self.seen = []
        self.bad = None

    def forward(self, index):
        self.seen += index.tolist()
        x = torch.randn(len(index))
        loss = ((self.slope * x - 2 * x) ** 2).mean()
        return loss * (torch.nan if self.bad in index.tolist() else 1), {"slope": self.slope}


def test_every_object_comes_once_per_epoch_in_a_new_order(tmp_path):
    task = fit(Line(), tmp_path, steps=8, batch_size=5, warmup=1, progress=False)
    first, second = task.seen[:20], task.seen[20:]
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_the_callers_random_numbers_stay(tmp_path):
    state = torch.get_rng_state()
    fit(Line(), tmp_path, steps=2, batch_size=5, warmup=1, progress=False)
    assert torch.equal(state, torch.get_rng_state())


def test_it_learns(tmp_path):
    task = fit(
        Line(), tmp_path, steps=100, batch_size=10, warmup=5, learning_rate=0.1, progress=False
    )
    assert task.slope.item() == pytest.approx(2, abs=0.1)


def test_a_loss_that_is_not_finite_names_the_mocks(tmp_path):
    task = Line()
    task.bad = 7
    with pytest.raises(FloatingPointError, match=r"nan at step \d.*\b107\b"):
        fit(task, tmp_path, steps=8, batch_size=5, warmup=1, progress=False)


def test_too_few_objects(tmp_path):
    with pytest.raises(ValueError, match="20 objects are fewer than a batch of 21"):
        fit(Line(), tmp_path, steps=1, batch_size=21, warmup=1)
