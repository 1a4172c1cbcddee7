"""Our own weights files: safetensors that carry the model's configuration and preprocessing."""

import hashlib
import json

import torch
from torch.overrides import TorchFunctionMode

from astroclip_astro.errors import WeightsError
from astroclip_astro.models import AstroCLIP, SpecFormer, VisionTransformer
from astroclip_astro.tensor_files import read_tensors, write_tensors

__all__ = ["build", "file_sha256", "load_weights", "open_safetensors", "save_model"]

_FORMAT = "astroclip_astro-1"
_CLASSES = {cls.__name__: cls for cls in (AstroCLIP, SpecFormer, VisionTransformer)}


def file_sha256(path):
    """SHA-256 of a file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _WithoutValues(TorchFunctionMode):
    """Skips `torch.nn.init`, as torch imports its compiler to draw values on the meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def build(kind, config):
    """Build a model without weights.

    Parameters
    ----------
    kind : str
        Class of the model: ``"AstroCLIP"``, ``"SpecFormer"`` or ``"VisionTransformer"``.
    config : dict
        Its keyword arguments.

    Returns
    -------
    GalaxyModel
        On the meta device: it has shapes and no values, and no random number was drawn.

    Raises
    ------
    WeightsError
        If the class is unknown or does not take this configuration.
    """
    if kind not in _CLASSES:
        raise WeightsError(f"model class {kind!r}: expected one of {', '.join(_CLASSES)}")
    try:
        with torch.device("meta"), _WithoutValues():
            return _CLASSES[kind](**config)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{kind} does not take this configuration: {error}") from error


def load_weights(model, tensors, *, origin):
    """Give a model its weights, strictly.

    Parameters
    ----------
    model : GalaxyModel
        As `build` makes it.
    tensors : dict of torch.Tensor
        Weights by name; converted to float32.
    origin : str
        Where they come from, for messages.

    Returns
    -------
    GalaxyModel
        The model, in eval mode and without gradients.

    Raises
    ------
    WeightsError
        If a tensor is missing, extra, misshapen, or not finite; the message names it.
    """
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in tensors]
    problems += [f"extra {name}" for name in tensors if name not in wanted]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems += [
        f"{name} is not finite"
        for name, tensor in tensors.items()
        if name in wanted and not torch.isfinite(tensor).all()
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(
            f"{origin} does not fit {type(model).__name__}: {'; '.join(problems[:5])}{more}"
        )
    tensors = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def save_model(model, path, *, name, dtype=torch.float32, **about):
    """Write a model with everything that is needed to use it.

    Parameters
    ----------
    model : GalaxyModel
        The model.
    path : path-like
        File to write, ``.safetensors``; replaced as a whole or not at all.
    name : str
        Name that the model will have when loaded.
    dtype : torch.dtype
        Precision of the file: float32, or float16 for half the size.
    **about : str
        Further facts to keep, e.g. ``source``, ``source_sha256``, ``licence``, ``citation``.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    TypeError
        If the model is none of the package's classes, such as a companion (`save_companion`).
    ValueError
        If its weights are rounded (`GalaxyModel.compute_in`).
    """
    if model.compute_dtype != model.dtype:
        raise ValueError(
            f"the weights of {model.name!r} are rounded to {model.provenance['dtype']}: load the "
            "model in float32 to save it"
        )
    if type(model).__name__ not in _CLASSES:
        raise TypeError(
            f"{type(model).__name__} is none of {', '.join(_CLASSES)}: a companion is written by "
            "save_companion()"
        )
    metadata = {
        "format": _FORMAT,
        "name": name,
        "model": type(model).__name__,
        "config": json.dumps(model.config, sort_keys=True),
        "preprocessing": json.dumps(model.preprocessing_dict(), sort_keys=True),
        "training_range": json.dumps(model.training_range, sort_keys=True),
        **about,
    }
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}
    write_tensors(path, tensors, metadata)
    return file_sha256(path)


def open_safetensors(path):
    """Read a file that `save_model` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    GalaxyModel
        On the CPU, in eval mode.

    Raises
    ------
    WeightsError
        If it is damaged, or was not written by `save_model`.
    """
    about, tensors = read_tensors(path, _FORMAT, "was not written by save_model")
    model = build(about["model"], json.loads(about["config"]))
    load_weights(model, tensors, origin=str(path))
    model.set_preprocessing(json.loads(about["preprocessing"]))
    model.training_range = json.loads(about.get("training_range", "{}"))
    model.name = about["name"]
    # The publisher's own file is what people compare; ours is derived from it.
    model.weights_sha256 = about.get("source_sha256") or file_sha256(path)
    return model
