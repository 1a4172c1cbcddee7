"""Runs from settings: what is trained can be used, goes on exactly, and stops at a NaN by name."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.batch import TrainingBatch
from astroclip_astro.training.callbacks import NonFiniteLossError, StopAtNonFinite
from astroclip_astro.training.config import DataConfig, RunConfig, TrainingConfig
from astroclip_astro.training.data import GalaxyDataModule
from astroclip_astro.training.masked import MaskedModelling
from astroclip_astro.training.sources.mocks import MockSource
from astroclip_astro.training.trainer import fit, train

SPECTRUM = {
    "input_dim": 402,
    "slice_section_length": 400,
    "slice_overlap": 0,
    "embed_dim": 32,
    "num_layers": 1,
    "num_heads": 2,
    "mask_num_chunks": 2,
    "mask_chunk_width": 2,
    "dropout": 0.1,
}
IMAGE = {"embed_dim": 32, "depth": 1, "num_heads": 2, "block_chunks": 1}
SMALL = {"prototypes": 32, "hidden": 16, "bottleneck": 8, "local_crops": 2, "local_crop": 48}


def settings(kind, start=None, **run):
    model = {
        "specformer": SPECTRUM,
        "image": IMAGE,
        "align": {
            "spectrum": SPECTRUM,
            "image": IMAGE,
            "embed_dim": 16,
            "spectrum_heads": 2,
            "image_heads": 2,
        },
    }[kind]
    method = {
        "specformer": {"warmup": 1, "learning_rate": 1e-3},
        "image": {"warmup": 1, "learning_rate": 1e-3, **SMALL},
        "align": {"warmup": 1, "learning_rate": 1e-3, "repeat_weight": 0.5},
    }[kind]
    path = str(MockSurvey.bundled().path)
    return TrainingConfig(
        name=f"my-{kind}",
        model=model,
        start=start or {},
        data=DataConfig(
            sources=({"kind": "mocks", "path": path},),
            batch_size=6,
            validation=0.2,
            repeat=0.5 if kind == "align" else 0.0,
        ),
        method=method,
        run=RunConfig(
            **{"max_steps": 7, "checkpoint_every": 2, "validate_every": 3, "accelerator": "cpu"}
            | run
        ),
    )


def weights(path):
    return aa.load_model(path).state_dict()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The three kinds, one on the others."""
    out = tmp_path_factory.mktemp("trained")
    made = {}
    for kind in ("specformer", "image"):
        made[kind] = train(kind, settings(kind), out / kind, progress=False)
    start = {"spectrum": str(made["specformer"]), "image": str(made["image"])}
    config = settings("align", start, precision="bf16-mixed")
    made["align"] = train("align", config, out / "align", progress=False)
    return made


def test_what_is_trained_embeds(trained):
    survey = MockSurvey.bundled()
    for kind, observed in (
        ("specformer", [survey.spectrum(9)]),
        ("image", [survey.cutout(9)]),
        ("align", [survey.spectrum(9), survey.cutout(9)]),
    ):
        found = aa.embed(observed, model=trained[kind])
        assert np.isfinite(found).all()
        assert found.attrs["model"] == f"my-{kind}"
    range_ = aa.load_model(trained["align"]).training_range
    assert set(range_) == {"spectrum", "image"}
    assert range_["spectrum"][0] < range_["spectrum"][1]


def test_alignment_starts_from_the_encoders_and_leaves_frozen_ones(trained):
    before, after = weights(trained["specformer"]), weights(trained["align"])
    for name, value in before.items():
        assert torch.equal(value, after[f"spectrum_encoder.backbone.{name}"]), name


def test_logs_tell_the_losses(trained):
    (log,) = (trained["align"].parent / "logs").glob("version_*/metrics.csv")
    columns = log.read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/loss", "val/recall@1"} <= set(columns)
    assert list((trained["align"].parent / "tensorboard").rglob("events.*"))


@pytest.mark.parametrize("kind", ["specformer", "image", "align"])
def test_an_interrupted_run_ends_in_the_same_weights(kind, tmp_path, monkeypatch):
    config = settings(kind)
    whole = train(kind, config, tmp_path / "whole", progress=False)
    stops = {"at": 5}
    read = MockSource.read

    def interrupted(self, rows, generator):
        stops["at"] -= len(rows) == 6
        if stops["at"] == 0:
            raise KeyboardInterrupt
        return read(self, rows, generator)

    monkeypatch.setattr(MockSource, "read", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(kind, config, tmp_path / "cut", progress=False)
    assert not (tmp_path / "cut" / f"my-{kind}.safetensors").exists()
    monkeypatch.undo()
    resumed = train(kind, config, tmp_path / "cut", progress=False)
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


KILLED = """
import sys
from astroclip_astro.training.config import read_config
from astroclip_astro.training.trainer import train
train("specformer", read_config(sys.argv[1]), sys.argv[2], progress=False)
"""


def test_kill_9_and_resume_end_at_the_same_loss(tmp_path):
    import yaml

    config = settings("specformer", max_steps=400, checkpoint_every=20, validate_every=400)
    values = asdict(config)
    values["data"]["sources"] = list(values["data"]["sources"])
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(values))

    def run(out):
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, str(file), str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def last_loss(out):
        logs = sorted((out / "logs").glob("version_*/metrics.csv"))
        header, *rows = [line.split(",") for line in logs[-1].read_text().splitlines()]
        column = header.index("val/loss")
        return float([row[column] for row in rows if row[column]][-1])

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole).wait(120) == 0
    process = run(killed)
    checkpoint = killed / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    step = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 20 <= step < 400
    assert run(killed).wait(120) == 0
    assert last_loss(killed) == pytest.approx(last_loss(whole), abs=1e-4)
    a, b = (weights(out / "my-specformer.safetensors") for out in (whole, killed))
    assert max((a[name] - b[name]).abs().max() for name in a) < 1e-4


def test_other_settings_in_the_same_folder_are_refused(trained, tmp_path):
    config = settings("specformer")
    other = replace(config, run=replace(config.run, max_steps=9))
    with pytest.raises(InputError, match="run with other settings"):
        train("specformer", other, trained["specformer"].parent, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": {"learning_rat": 1}}, "method: unknown setting learning_rat"),
        ({"model": {"width": 1}}, "model: unknown setting width"),
        ({"start": "astroclip-mini", "model": {}}, "is AstroCLIP, expected SpecFormer"),
        ({"start": "astroclip-mini"}, "expected no settings of model beside it"),
        (
            {"start": "astroclip-mini", "model": {}, "preprocessing": {"spectrum": {}}},
            "expected no settings of preprocessing beside it",
        ),
        ({"preprocessing": {"spectra": {}}}, "preprocessing: spectra is no modality"),
        ({"preprocessing": {"spectrum": {"pixels": 3}}}, "preprocessing: .*'pixels'"),
        (
            {"method": {"learning_rate": "1e-4"}},
            r"method.learning_rate: '1e-4' is str, expected float; YAML .* 1\.0e-4",
        ),
        ({"method": {"learning_rate": -1.0}}, "method: Invalid learning rate"),
        ({"method": {"betas": [0.9]}}, r"method.betas: \[0.9\] is list, expected list of 2"),
        ({"model": {"num_heads": "two"}}, "model.num_heads: 'two' is str, expected int$"),
        ({"model": {"embed_dim": -8}}, "^model: "),
        ({"start": {"image": "astroclip-mini"}}, "'image' is no encoder of SpecFormer"),
    ],
)
def test_settings_that_do_not_fit(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train("specformer", replace(settings("specformer"), **change), tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_settings_of_a_run_that_left_nothing_may_be_changed(tmp_path):
    (tmp_path / "settings.yaml").write_text("kind: image")
    config = settings("specformer", max_steps=1)
    train("specformer", config, tmp_path, progress=False)
    assert "kind: specformer" in (tmp_path / "settings.yaml").read_text()
    with pytest.raises(InputError, match="run with other settings"):
        train("image", settings("image"), tmp_path, progress=False)


def test_encoders_of_another_preprocessing_are_refused(trained, tmp_path):
    config = settings("align", {"image": str(trained["image"])})
    config.preprocessing["image"] = {"crop": 96}
    with pytest.raises(InputError, match=r"was trained with .*144.* the model has .*crop=96"):
        train("align", config, tmp_path, progress=False)


def test_encoders_of_another_shape_are_refused(trained, tmp_path):
    config = settings("align", {"spectrum": str(trained["specformer"])})
    config.model["spectrum"] = {**SPECTRUM, "num_layers": 2}
    with pytest.raises(InputError, match=r"was made with .* the model has"):
        train("align", config, tmp_path, progress=False)


class Spoilt(MockSource):
    """One of its galaxies has a pixel that is not a number."""

    row = 3

    def read(self, rows, generator):
        batch = super().read(rows, generator)
        batch.spectrum[np.asarray(rows) == self.row, 100] = torch.nan
        return batch


def test_a_loss_that_is_not_finite_names_the_object_and_harms_nothing(tmp_path):
    from astroclip_astro.models import SpecFormer

    source = Spoilt(MockSurvey.bundled())
    data = GalaxyDataModule([source.only({"spectrum"})], batch_size=6, validation=0, seed=1)
    torch.manual_seed(0)
    module = MaskedModelling(SpecFormer(**SPECTRUM), max_steps=20, warmup=1)
    with pytest.raises(NonFiniteLossError) as caught:
        fit(module, data, RunConfig(max_steps=20, checkpoint_every=1), tmp_path, progress=False)
    message = str(caught.value)
    assert source.object_id[3] in message
    assert sum(name in message for name in source.object_id) == 1
    assert all(p.isfinite().all() for p in module.model.parameters())


@pytest.mark.parametrize("patience", [None, 1])
def test_a_validation_that_is_not_finite_names_the_object(tmp_path, patience):
    from astroclip_astro.models import SpecFormer

    source = Spoilt(MockSurvey.bundled()).only({"spectrum"})
    data = GalaxyDataModule([source], batch_size=3, validation=0.2, seed=1)
    row = data.sources[0].row = data.rows["validation"][-1]
    module = MaskedModelling(SpecFormer(**SPECTRUM), max_steps=5, warmup=1)
    run = RunConfig(max_steps=5, validate_every=2, patience=patience, accelerator="cpu")
    with pytest.raises(NonFiniteLossError, match="of the validation is nan at step 2") as caught:
        fit(module, data, run, tmp_path, progress=False)
    named = [name for name in source.object_id if name in str(caught.value)]
    assert named == [source.object_id[row]]


def not_finite(world_size, batch):
    """What is said of a batch whose loss is not finite."""
    callback = StopAtNonFinite()
    trainer = SimpleNamespace(global_step=3, world_size=world_size)
    callback.on_train_batch_start(trainer, None, batch, 0)
    with pytest.raises(NonFiniteLossError) as caught:
        callback.on_before_backward(
            trainer, SimpleNamespace(model=Exploding()), torch.tensor(torch.nan)
        )
    return str(caught.value)


def test_second_observations_and_other_processes_are_thought_of():
    names = np.array(["first", "second", "third"])
    batch = TrainingBatch(
        object_id=names, spectrum=torch.ones(3, 9, 1), spectrum_ivar=torch.ones(3, 9)
    )
    assert "all of the batch are named: first, second, third." in not_finite(1, batch)
    message = not_finite(2, batch)
    assert "batch of another process" in message
    assert not any(name in message for name in names)
    batch.repeat = batch[[0, 2]]
    batch.repeat.spectrum[1, 4] = torch.nan
    for world_size in (1, 2):
        assert "not finite is the flux of: third." in not_finite(world_size, batch)


class Exploding(torch.nn.Module):
    """Gives a number that is not finite for bright objects."""

    modalities = ("spectrum",)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def encode(self, flux, modality):
        brightness = flux.flatten(1).mean(1, keepdim=True) * self.weight
        return torch.where(brightness > 2, torch.inf, brightness)


class ExplodingTask(MaskedModelling):
    def loss(self, batch):
        return self.model.encode(batch.spectrum, "spectrum").mean()


def test_objects_whose_vectors_are_not_finite_are_named(tmp_path):
    source = MockSource(MockSurvey.bundled()).only({"spectrum"})
    data = GalaxyDataModule([source], batch_size=30, validation=0, seed=1)
    with pytest.raises(NonFiniteLossError, match="no finite vector has") as caught:
        fit(
            ExplodingTask(Exploding(), max_steps=2, warmup=1),
            data,
            RunConfig(max_steps=2),
            tmp_path,
            progress=False,
        )
    named = [name for name in source.object_id if name in str(caught.value)]
    flux = source.read(np.arange(len(source)), torch.Generator()).spectrum.mean((1, 2))
    bright = set(source.object_id[flux.numpy() > 2.5])
    assert 0 < len(named) < 20
    assert set(named) & bright
    assert not set(named) - set(source.object_id[flux.numpy() > 1.5])


def test_early_stopping(tmp_path):
    config = settings(
        "specformer", max_steps=200, validate_every=1, patience=1, checkpoint_every=100
    )
    config.method["learning_rate"] = 0.0
    path = train("specformer", config, tmp_path, progress=False)
    (log,) = (path.parent / "logs").glob("version_*/metrics.csv")
    assert len(log.read_text().splitlines()) < 20


@pytest.mark.parametrize("accumulate", [1, 2])
def test_early_stopping_survives_an_interruption_and_a_second_start(
    accumulate, tmp_path, monkeypatch
):
    config = settings(
        "specformer",
        max_steps=200,
        validate_every=2,
        checkpoint_every=2,
        patience=2,
        accumulate=accumulate,
    )
    interrupted = {"at": None}

    def worse(self, batch, batch_index):
        if self.global_step == interrupted["at"]:
            raise KeyboardInterrupt
        self.log("val/loss", float(self.global_step), batch_size=len(batch))

    monkeypatch.setattr(MaskedModelling, "validation_step", worse)

    def end(out):
        path = train("specformer", config, out, progress=False)
        last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
        return last["global_step"], weights(path)

    step, whole = end(tmp_path / "whole")
    assert step == 6  # worse than at step 2 for the second time
    step, again = end(tmp_path / "whole")
    assert step == 6
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    for at in (4, 6):
        interrupted["at"] = at
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            end(tmp_path / "cut")
    interrupted["at"] = None
    step, resumed = end(tmp_path / "cut")
    assert step == 6
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_settings_are_kept_beside_the_run(trained):
    import yaml

    kept = yaml.safe_load((trained["image"].parent / "settings.yaml").read_text())
    assert kept["kind"] == "image"
    assert kept["method"]["prototypes"] == 32
    json.dumps(kept)
