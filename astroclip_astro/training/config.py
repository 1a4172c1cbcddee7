"""Settings of a training run, read strictly from YAML."""

import dataclasses
import difflib
import re
import types
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import yaml

from astroclip_astro.errors import InputError

__all__ = ["KINDS", "DataConfig", "RunConfig", "TrainingConfig", "checked", "read_config"]

# What YAML 1.1 reads as text although it looks like a number.
_POWER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")

#: What can be trained.
KINDS = ("specformer", "image", "align")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on.

    Parameters
    ----------
    sources : tuple of dict
        Each has a ``kind``, a ``path`` and what else
        `astroclip_astro.training.sources.open_source` takes.
    batch_size : int
        Objects per step and process.
    by : str
        How objects are dealt into training, validation and test: "object" or "sky".
    test, validation : float
        Shares kept aside.
    repeat : float
        Share of second observations, of simulated sources.
    num_workers : int
        Processes that read.
    """

    sources: tuple[dict, ...]
    batch_size: int
    by: str = "object"
    test: float = 0.1
    validation: float = 0.05
    repeat: float = 0.0
    num_workers: int = 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How it is trained.

    Parameters
    ----------
    max_steps : int
        Optimiser steps.
    seed : int
        Of everything random.
    accelerator, devices, strategy, precision : str
        Of `lightning.Trainer`: "auto", "cpu", "gpu" …; "auto" or a number; "auto", "ddp" …, but
        none that shares out the model ("fsdp", "deepspeed"); "32-true", "bf16-mixed" …
    accumulate : int
        Batches per optimiser step.
    gradient_clip : float
        Largest norm of the gradient.
    checkpoint_every, validate_every : int
        Steps between checkpoints, and between validations.
    patience : int, optional
        Stop after so many validations without a lower loss; never, if not given.

    Raises
    ------
    InputError
        If the strategy shares out the model.
    """

    max_steps: int
    seed: int = 0
    accelerator: str = "auto"
    devices: str = "auto"
    strategy: str = "auto"
    precision: str = "32-true"
    accumulate: int = 1
    gradient_clip: float = 1.0
    checkpoint_every: int = 100
    validate_every: int = 500
    patience: int | None = None

    def __post_init__(self):
        # Clipping, checkpoints and the written model are of whole weights in each process.
        if "fsdp" in self.strategy or "deepspeed" in self.strategy:
            raise InputError(
                f"run.strategy: {self.strategy!r} shares out the model over processes, which is "
                "not supported: expected 'ddp', with which every device holds the whole model; in "
                "an alignment method.micro_batch bounds the memory"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All settings of a run.

    Parameters
    ----------
    name : str
        Of the trained model.
    data : DataConfig
        What is trained on.
    run : RunConfig
        How it is trained.
    model : dict
        Arguments of the model's class. Not with `start`.
    start : str
        Model to go on from, by name or path. For an alignment also a mapping of ``spectrum`` and
        ``image`` to pre-trained encoders, with `model` telling what is new.
    preprocessing : dict of dict
        By modality, where it differs from the published model's.
    method : dict
        Arguments of the training method: `MaskedModelling`, `SelfDistillation` or `Alignment`.
    """

    name: str
    data: DataConfig
    run: RunConfig
    model: dict = field(default_factory=dict)
    start: str | dict = ""
    preprocessing: dict = field(default_factory=dict)
    method: dict = field(default_factory=dict)


def read_config(path, kind=""):
    """Read the settings of a run.

    Parameters
    ----------
    path : path-like
        YAML file, or the name of one that comes with the package, such as ``laptop``.
    kind : {"specformer", "image", "align"}, optional
        What is to be trained; needed for a name.

    Returns
    -------
    TrainingConfig

    Raises
    ------
    InputError
        If there is no such file, it is no YAML mapping, a setting is unknown, missing, or of a
        wrong type.

    Examples
    --------
    >>> from astroclip_astro.training.config import read_config
    >>> config = read_config("laptop", "align")
    >>> config.data.batch_size, config.run.precision
    (256, 'bf16-mixed')
    """
    path = Path(path)
    bundled = resources.files("astroclip_astro.training") / "configs"
    if not path.suffix and not path.exists() and kind:
        known = sorted(
            f.name.removeprefix(f"{kind}-").removesuffix(".yaml")
            for f in bundled.iterdir()
            if f.name.startswith(f"{kind}-")
        )
        if path.name not in known:
            raise InputError(
                f"no file {path}, and no settings of this name: expected a YAML file, or one of "
                f"{', '.join(known)}"
            )
        path = bundled / f"{kind}-{path.name}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError(f"no file {path}: expected the settings of a run as YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {error}") from None
    return _built(TrainingConfig, values, path, "")


def _built(cls, values, path, where):
    """An instance of a dataclass from a mapping."""
    what = f"{path}, {where}" if where else str(path)
    if not isinstance(values, dict):
        raise InputError(f"{what}: expected settings as `name: value`, got {values!r}")
    hints = get_type_hints(cls)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f": expected {', '.join(hints)}"
            raise InputError(f"{what}: unknown setting {name!r}{hint}")
    needed = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in needed if name not in values]:
        raise InputError(f"{what}: {', '.join(missing)} is missing")
    made = {}
    for name, value in values.items():
        inside = f"{where}.{name}" if where else name
        if dataclasses.is_dataclass(hints[name]):
            made[name] = _built(hints[name], value, path, inside)
        else:
            made[name] = checked(value, hints[name], f"{path}, {inside}")
    return cls(**made)


def checked(value, kind, where):
    """Return a value if it is of the type wanted.

    Parameters
    ----------
    value : object
        As YAML gave it.
    kind : type
        What is wanted, as annotations have it: ``float``, ``int | None``, ``tuple[dict, ...]`` …
    where : str
        Name of the setting, for the message.

    Returns
    -------
    object
        The value; a whole number as float, and a list as tuple, where that is wanted.

    Raises
    ------
    InputError
        If it is of another type.

    Examples
    --------
    >>> from astroclip_astro.training.config import checked
    >>> checked([0, 1], tuple[float, float], "method.betas")
    (0.0, 1.0)
    """
    options = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        plain = get_origin(option) or option
        if plain is tuple and isinstance(value, list | tuple):
            inner = get_args(option)
            if inner[-1] is Ellipsis:
                inner = inner[:1] * len(value)
            if len(inner) == len(value):
                pairs = zip(value, inner, strict=True)
                return tuple(checked(item, one, where) for item, one in pairs)
        if plain is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if plain is str and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        fits = plain is not tuple and isinstance(value, plain)
        if fits and (plain is bool or not isinstance(value, bool)):
            return value
    wanted = " or ".join(map(_named, options))
    hint = ""
    if isinstance(value, str) and _POWER.fullmatch(value) and {int, float} & set(options):
        hint = "; YAML takes powers of ten for numbers only with point and sign: 1.0e-4, 1.0e+4"
    raise InputError(f"{where}: {value!r} is {type(value).__name__}, expected {wanted}{hint}")


def _named(kind):
    """A type as messages call it."""
    if kind is type(None):
        return "nothing"
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return "list" if inner[-1] is Ellipsis else f"list of {len(inner)}"
    return kind.__name__
