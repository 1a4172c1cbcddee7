"""Weights files of companions: the encoder of one more modality, and whose space it is for."""

import json
from dataclasses import asdict

from astroclip_astro.errors import WeightsError
from astroclip_astro.models import Companion, GalaxyModel
from astroclip_astro.tensor_files import read_tensors, write_tensors
from astroclip_astro.weights.layout import file_sha256, load_weights
from astroclip_astro.weights.registry import load_model

__all__ = ["load_companion", "save_companion"]

_FORMAT = "astroclip_astro-companion-1"


def save_companion(model, path, *, config, **about):
    """Write the encoder of a companion, without the model that it accompanies.

    Parameters
    ----------
    model : Companion
        The model.
    path : path-like
        File to write, ``.safetensors``; replaced as a whole or not at all.
    config : dict
        Keyword arguments that rebuild the encoder, plain values.
    **about : str
        Further facts to keep, e.g. ``licence``, ``citation``.

    Returns
    -------
    str
        SHA-256 of the file.
    """
    metadata = {
        **about,
        "format": _FORMAT,
        "base": model.base.name,
        "base_sha256": model.base.weights_sha256,
        "modality": model.companion,
        "config": json.dumps(config, sort_keys=True),
        "preprocessing": json.dumps(asdict(model.preprocessing[model.companion]), sort_keys=True),
        "training_range": json.dumps(model.training_range.get(model.companion)),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.encoder.state_dict().items()}
    write_tensors(path, tensors, metadata)
    model.companion_sha256 = file_sha256(path)
    return model.companion_sha256


def load_companion(path, encoder, *, base=None):
    """Read a file that `save_companion` wrote, and the model that it accompanies.

    Parameters
    ----------
    path : path-like
        The file.
    encoder : type
        Class of the encoder, a `torch.nn.Module`.
    base : str, path-like or GalaxyModel, optional
        The model that it accompanies; by default the registered one of the name in the file.

    Returns
    -------
    Companion
        On the CPU, in eval mode.

    Raises
    ------
    WeightsError
        If it is damaged, does not fit its classes, or the model is not the one that it was aligned
        to.
    PluginError, OfflineError
        If the model is not known or cannot be had.
    """
    about, tensors = read_tensors(path, _FORMAT, "was not written by save_companion")
    if not isinstance(base, GalaxyModel):
        base = load_model(about["base"] if base is None else base, device="cpu")
    if base.weights_sha256 != about["base_sha256"]:
        raise WeightsError(
            f"{path} was aligned to {about['base']!r} with weights {about['base_sha256'][:16]}, "
            f"and those here are {base.weights_sha256[:16]}: align it to these, or install the "
            "release of its plugin that belongs to them"
        )
    try:
        built = encoder(**json.loads(about["config"]))
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{encoder.__name__} does not take the configuration in {path}: {error}"
        ) from error
    load_weights(built, tensors, origin=str(path))
    model = Companion(base, built, about["modality"])
    preprocessing = type(model.preprocessing[model.companion])
    try:
        model.preprocessing[model.companion] = preprocessing(**json.loads(about["preprocessing"]))
    except TypeError as error:
        raise WeightsError(f"{path} has another preprocessing than its plugin: {error}") from error
    if (known := json.loads(about["training_range"])) is not None:
        model.training_range[model.companion] = known
    model.companion_sha256 = file_sha256(path)
    return model.eval().requires_grad_(False)
