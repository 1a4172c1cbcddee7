"""The bundled model from a mock survey: ``python -m astroclip_astro.training.mini MOCKS OUT``."""

import json
import logging
from importlib import resources
from pathlib import Path

import click
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.models import AstroCLIP
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.config import RunConfig
from astroclip_astro.training.data import GalaxyDataModule
from astroclip_astro.training.distillation import SelfDistillation
from astroclip_astro.training.mini.alignment import (
    LARGEST_SCALE,
    ObservedAlignment,
    observed_tokens,
)
from astroclip_astro.training.mini.fit import fit
from astroclip_astro.training.mini.observing import MockObserver
from astroclip_astro.training.mini.relative_redshift import RelativeRedshift
from astroclip_astro.training.sources.mocks import MockSource
from astroclip_astro.training.trainer import fit as train
from astroclip_astro.weights import load_model, save_model

__all__ = ["main", "make"]

NAME = "astroclip-mini"

#: Optimiser steps, objects per step and steps of warm-up of each stage.
SCHEDULE = {
    "spectra": {"steps": 4250, "batch_size": 128, "warmup": 60},
    "images": {"steps": 500, "batch_size": 64, "warmup": 50},
    "alignment": {"steps": 1000, "batch_size": 384, "warmup": 100},
}

#: The same for going on from an earlier result.
CONTINUED = {
    "spectra": {"steps": 700, "batch_size": 128, "warmup": 60, "learning_rate": 7e-4},
    "images": {"steps": 500, "batch_size": 64, "warmup": 50},
    "alignment": {"steps": 1000, "batch_size": 384, "warmup": 60, "learning_rate": 1e-3},
}

#: Self-distillation of images, smaller than DINOv2's in every respect.
DISTILLATION = {
    "learning_rate": 5e-4,
    "momentum": 0.99,
    "teacher_warmup": 200,
    "prototypes": 1024,
    "hidden": 256,
    "bottleneck": 64,
    "global_crop": 96,
    "local_crop": 48,
    "local_crops": 4,
    "freeze_prototypes": 20,
}


def make(survey, out, *, start=None, schedule=None, seed=0, progress=True):
    """Pre-train and align the bundled model.

    Parameters
    ----------
    survey : MockSurvey
        Galaxies; every tenth is never looked at (`astroclip_astro.training.split.held_out`).
    out : path-like
        Folder of the checkpoints, from which an interrupted run goes on, and of the result, called
        ``astroclip-mini.safetensors``.
    start : AstroCLIP, optional
        An earlier result of the same size to go on from, whether or not its patches had positions:
        the first stage begins with its spectrum encoder, the alignment with its image encoder.
        Images are distilled all the same, to compare with.
    schedule : dict, optional
        By stage, arguments of `fit`; `SCHEDULE` by default, or `CONTINUED` with `start`.
    seed : int
        Of everything random.
    progress : bool
        Show progress bars.

    Returns
    -------
    AstroCLIP
        In evaluation mode. The encoders before alignment are in ``astroclip-mini-spectrum`` and
        ``astroclip-mini-image.safetensors`` beside it.

    Raises
    ------
    InputError
        If `start` is another kind of model, or `out` holds a run with other mocks or settings.
    """
    schedule, out = schedule or (SCHEDULE if start is None else CONTINUED), Path(out)
    torch.manual_seed(seed)
    about = json.loads(
        (resources.files("astroclip_astro.models") / "configs" / f"{NAME}.json").read_text()
    )
    model = AstroCLIP(**about["config"])
    model.set_preprocessing(about["preprocessing"])
    if start is not None:
        _check_start(start, model)
        model.logit_scale = start.logit_scale
        model.spectrum_encoder.load_state_dict(start.spectrum_encoder.state_dict())
    _keep_settings(out, survey, start, schedule, seed)
    observer = MockObserver(survey, **model.preprocessing)

    def stage(name, task):
        return fit(task, out / name, seed=seed, progress=progress, **schedule[name])

    redshift = stage("spectra", RelativeRedshift(model.spectrum_encoder, observer))
    _distill(
        model.image_encoder.backbone, survey, out / "images", seed, progress, **schedule["images"]
    )
    for modality in model.modalities:
        encoder = getattr(model, f"{modality}_encoder").backbone
        encoder.set_preprocessing(about["preprocessing"])
        name = f"{NAME}-{modality}"
        save_model(encoder, out / f"{name}.safetensors", name=name, dtype=torch.float16)
    if start is not None:
        model.image_encoder.load_state_dict(start.image_encoder.state_dict())
    tokens = observed_tokens(
        model.spectrum_encoder.backbone, observer, out / "tokens", progress=progress
    )
    task = stage("alignment", ObservedAlignment(model, redshift, observer, *tokens))
    scale = task.log_scale.detach().exp().clamp(max=LARGEST_SCALE).item()
    model.logit_scale = model.config["logit_scale"] = round(scale, 3)
    model.training_range = observer.mean_flux()
    save_model(model, out / f"{NAME}.safetensors", name=NAME, dtype=torch.float16)
    return model.requires_grad_(False)


def _check_start(start, model):
    """Raise unless training can go on from an earlier model."""
    if not isinstance(start, AstroCLIP) or _size(start.config) != _size(model.config):
        raise InputError(
            f"start: {start.name} is {type(start).__name__} with {start.config}; expected "
            f"AstroCLIP with {model.config}"
        )
    if start.preprocessing_hash != model.preprocessing_hash:
        raise InputError(f"start: {start.name} has another preprocessing than {NAME}")


def _size(config):
    """What of a configuration an earlier model must share: not what its parameters are used for."""
    image = {k: v for k, v in config["image"].items() if k != "patch_positions"}
    return config | {"image": image, "logit_scale": None}


def _keep_settings(out, survey, start, schedule, seed):
    """Write into the folder what its checkpoints follow from, or compare it with what is there."""
    settings = {
        "mocks": [survey.seed, survey.recipe_hash, len(survey)],
        "start": start and start.weights_sha256,
        "schedule": schedule,
        "seed": seed,
    }
    path = out / "settings.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(settings, indent=1))
        aside.replace(path)
    elif (there := json.loads(path.read_text())) != settings:
        other = [name for name, value in settings.items() if there.get(name) != value]
        raise InputError(
            f"{out} holds a run with other {', '.join(other)} ({path.name}): choose another folder"
        )


def _distill(backbone, survey, out, seed, progress, *, steps, batch_size, warmup):
    """Pre-train the image encoder on images alone."""
    backbone.set_preprocessing({"image": {"crop": DISTILLATION["global_crop"]}})
    source = MockSource(survey, {"image": backbone.preprocessing["image"]})
    data = GalaxyDataModule([source], batch_size=batch_size, validation=0, seed=seed)
    task = SelfDistillation(backbone, warmup=warmup, max_steps=steps, **DISTILLATION)
    run = RunConfig(
        max_steps=steps, seed=seed, accelerator="cpu", precision="bf16-mixed", checkpoint_every=50
    )
    train(task, data, run, out, progress=progress)


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--start", help="Name or file of an earlier result to go on from.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
def main(mocks, out, start, seed):
    """Make the bundled model from the mock survey MOCKS; checkpoints and weights go to OUT.

    An interrupted run goes on where it was.

    Example: python -m astroclip_astro.training.mini mocks/ run/
    """
    logging.basicConfig(level=logging.INFO)
    start = start and load_model(start, device="cpu")
    make(MockSurvey.open(mocks), out, start=start, seed=seed)


if __name__ == "__main__":
    main()
