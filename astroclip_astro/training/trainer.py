"""From settings to a trained model, with checkpoints from which a run goes on exactly."""

import dataclasses
import inspect
import logging
import os
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from astroclip_astro.errors import InputError
from astroclip_astro.models import AstroCLIP, SpecFormer, VisionTransformer
from astroclip_astro.training.alignment import Alignment
from astroclip_astro.training.callbacks import (
    KeepLast,
    Patience,
    SeedEachStep,
    SeenRange,
    StopAtNonFinite,
)
from astroclip_astro.training.config import checked
from astroclip_astro.training.data import GalaxyDataModule
from astroclip_astro.training.distillation import SelfDistillation
from astroclip_astro.training.masked import MaskedModelling
from astroclip_astro.training.sources import open_source
from astroclip_astro.weights import load_model, save_model

__all__ = ["METHODS", "fit", "quiet_lightning", "train"]

log = logging.getLogger(__name__)

#: By kind of run: the model's class, and the training method.
METHODS = {
    "specformer": (SpecFormer, MaskedModelling),
    "image": (VisionTransformer, SelfDistillation),
    "align": (AstroCLIP, Alignment),
}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes aside and renames, so that a kill at any moment leaves a whole checkpoint.

    Reads with ``weights_only=True``: nothing in a checkpoint is executed.
    """

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        """Write a checkpoint.

        Parameters
        ----------
        checkpoint : dict
            What to write.
        path : path-like
            File.
        storage_options : object
            Not used.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.part")
        with aside.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def load_checkpoint(self, path, map_location=None, weights_only=None):
        """Read a checkpoint.

        Parameters
        ----------
        path : path-like
            File.
        map_location : object, optional
            As `torch.load` has it.
        weights_only : bool, optional
            Not used: always True.

        Returns
        -------
        dict
            The checkpoint.
        """
        return torch.load(path, map_location=map_location, weights_only=True)


@contextmanager
def quiet_lightning():
    """Silence what Lightning says about choices that are meant, and its advertisements.

    Yields
    ------
    None
    """
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Teachers and frozen encoders are meant to be in evaluation mode; how many workers read
        # is the user's choice; the last one is Lightning's own business with torch.
        for message in (
            "Found .* module.* in eval mode",
            ".*does not have many workers.*",
            ".*You defined a `validation_step` but have no `val_dataloader`",
            ".*LeafSpec.*",
        ):
            warnings.filterwarnings("ignore", message)
        try:
            yield
        finally:
            logger.setLevel(level)


def fit(module, data, run, out, *, progress=True):
    """Train a module, or go on where a run was interrupted.

    Parameters
    ----------
    module : lightning.LightningModule
        Has the plain model as ``model``.
    data : GalaxyDataModule
        The data.
    run : RunConfig
        How it is trained.
    out : path-like
        Folder of the run: ``checkpoints/last.ckpt``, from which it goes on, and ``logs``.
    progress : bool
        Show a progress bar.

    Returns
    -------
    lightning.Trainer
        After training; its callbacks know what happened.

    Raises
    ------
    NonFiniteLossError
        If the loss is NaN or infinite.
    """
    out = Path(out)
    last = out / "checkpoints" / "last.ckpt"
    validates = len(data.rows["validation"]) > 0
    callbacks = [
        SeedEachStep(run.seed),
        StopAtNonFinite(),
        SeenRange(),
        KeepLast(last, run.checkpoint_every, run.validate_every if validates else None),
    ]
    if run.patience is not None and validates:
        callbacks.append(Patience("val/loss", patience=run.patience))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=1))
    loggers = [CSVLogger(out, name="logs")]
    if find_spec("tensorboard"):
        loggers.append(TensorBoardLogger(out, name="tensorboard"))
    with quiet_lightning(), torch.random.fork_rng():
        trainer = L.Trainer(
            accelerator=run.accelerator,
            devices=run.devices if run.devices == "auto" else int(run.devices),
            strategy=run.strategy,
            precision=run.precision,
            max_steps=run.max_steps,
            max_epochs=-1,
            accumulate_grad_batches=run.accumulate,
            gradient_clip_val=run.gradient_clip,
            val_check_interval=run.validate_every * run.accumulate if validates else None,
            check_val_every_n_epoch=None if validates else 1,
            limit_val_batches=1.0 if validates else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=max(1, min(50, run.max_steps // 10)),
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
        trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    return trainer


def train(kind, config, out, *, progress=True):
    """Train as settings say, and write the model.

    Parameters
    ----------
    kind : {"specformer", "image", "align"}
        What to train.
    config : TrainingConfig
        The settings.
    out : path-like
        Folder of the run. If it holds an interrupted run with the same settings, that goes on.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pathlib.Path
        The weights, for `astroclip_astro.load_model`.

    Raises
    ------
    InputError
        If the folder holds a run with other settings, or a setting does not fit.
    NonFiniteLossError
        If the loss is NaN or infinite.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_dump(_plain({"kind": kind, **dataclasses.asdict(config)}), sort_keys=False)
    _refuse_other_settings(settings, out)
    model_class, method = METHODS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = _model(model_class, config)
        arguments = {"max_steps": config.run.max_steps, **config.method}
        with _in_section("method"):
            module = method(model, **_fitting(method, arguments, "method"))
            module.configure_optimizers()  # some values are looked at only there
    options = dataclasses.asdict(config.data)
    with _in_section("data"):
        sources = [
            open_source(**source, preprocessing=model.preprocessing)
            for source in options.pop("sources")
        ]
        data = GalaxyDataModule(sources, seed=config.run.seed, **options)
    _write_settings(settings, out)
    trainer = fit(module, data, config.run, out, progress=progress)
    (seen,) = (c for c in trainer.callbacks if isinstance(c, SeenRange))
    model.training_range = seen.range
    path = out / f"{config.name}.safetensors"
    if trainer.is_global_zero:
        model.eval().requires_grad_(False)
        save_model(model, path, name=config.name)
        log.info("%s: %d steps, written to %s", config.name, trainer.global_step, path)
    return path


def _refuse_other_settings(settings, out):
    """Raise if the folder holds something of a run with other settings."""
    path = out / "settings.yaml"
    begun = (out / "checkpoints" / "last.ckpt").exists() or any(out.glob("*.safetensors"))
    if begun and path.exists() and path.read_text(encoding="utf-8") != settings:
        raise InputError(
            f"{out} holds a run with other settings ({path.name}): choose another folder, or go "
            "back to those settings"
        )


def _write_settings(settings, out):
    """Write the settings into the folder, aside first, so that they are whole or not there."""
    aside = out / f"settings.yaml.{os.getpid()}.part"
    aside.write_text(settings, encoding="utf-8")
    aside.replace(out / "settings.yaml")


def _plain(value):
    """Lists for tuples, which YAML does not have."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _model(model_class, config):
    """The model to train: a new one, one to go on from, or one of pre-trained parts."""
    if isinstance(config.start, str) and config.start:
        if given := [name for name in ("model", "preprocessing") if getattr(config, name)]:
            raise InputError(
                f"start: {config.start} has a shape and a preprocessing of its own; expected no "
                f"settings of {' and '.join(given)} beside it: leave them out, or leave out start"
            )
        model = load_model(config.start)
        if not isinstance(model, model_class):
            raise InputError(
                f"start: {config.start} is {type(model).__name__}, expected {model_class.__name__}"
            )
        return model.train().requires_grad_(True)
    with _in_section("model"):
        model = model_class(**_fitting(model_class, config.model, "model"))
    if unknown := config.preprocessing.keys() - set(model.modalities):
        raise InputError(
            f"preprocessing: {', '.join(map(str, unknown))} is no modality of "
            f"{model_class.__name__}, expected {' or '.join(model.modalities)}"
        )
    if config.preprocessing:
        with _in_section("preprocessing"):
            model.set_preprocessing({m: config.preprocessing.get(m, {}) for m in model.modalities})
    for modality, name in (config.start or {}).items():
        encoder = getattr(model, f"{modality}_encoder", None)
        if encoder is None:
            raise InputError(f"start: {modality!r} is no encoder of {model_class.__name__}")
        trained = load_model(name)
        if trained.config != encoder.backbone.config:
            raise InputError(
                f"start: {name} was made with {trained.config}, the model has "
                f"{encoder.backbone.config} for {modality}"
            )
        if trained.preprocessing[modality] != model.preprocessing[modality]:
            raise InputError(
                f"start: {name} was trained with {trained.preprocessing[modality]}, the model has "
                f"{model.preprocessing[modality]}: expected the same; set preprocessing.{modality} "
                "to what the encoder was trained with"
            )
        encoder.backbone.load_state_dict(trained.state_dict())
    return model


@contextmanager
def _in_section(where):
    """Name the section of the settings in what a constructor finds wrong with its arguments."""
    try:
        yield
    except InputError:
        raise
    # torch asserts, and raises RuntimeError, for sizes that do not go together.
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(f"{where}: {error}") from error


def _fitting(function, arguments, where):
    """The arguments, if the function takes them and they are of the types of its defaults."""
    known = inspect.signature(function).parameters
    if unknown := [name for name in arguments if name not in known]:
        raise InputError(
            f"{where}: unknown setting {', '.join(unknown)}; expected some of {', '.join(known)}"
        )
    fitting = dict(arguments)
    for name, value in arguments.items():
        default = known[name].default
        if default is inspect.Parameter.empty or default is None:
            continue
        kind = type(default)
        if kind is tuple:
            kind = tuple[tuple(map(type, default))]
        fitting[name] = checked(value, kind, f"{where}.{name}")
    return fitting
