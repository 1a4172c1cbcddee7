"""Models by name or path: what there is, and loading it."""

import json
import os
from functools import lru_cache
from importlib import resources
from pathlib import Path

from astropy.table import Table

from astroclip_astro.devices import as_device
from astroclip_astro.errors import OfflineError, WeightsError
from astroclip_astro.models import GalaxyModel
from astroclip_astro.plugins import get_manager
from astroclip_astro.weights.checkpoint import load_checkpoint
from astroclip_astro.weights.hub import cache_dir, download
from astroclip_astro.weights.layout import file_sha256, open_safetensors, save_model

__all__ = ["DEFAULT_MODEL", "as_model", "bundled", "list_models", "load_model", "published"]

#: The model that is used when none is named; it comes with the package.
DEFAULT_MODEL = "astroclip-mini"


def load_model(model=None, *, revision=None, config=None, device="auto", dtype="float32"):
    """Load a model, ready to embed.

    Parameters
    ----------
    model : str or path-like, optional
        A name of `list_models`; or a file: ``.safetensors`` of `save_model`, or a published
        checkpoint in any of its layouts. By default the bundled model.
    revision : str, optional
        Branch, tag or commit of published weights.
    config : dict, optional
        For a checkpoint that does not tell them: keyword arguments of the model, such as numbers
        of attention heads.
    device : str or torch.device
        ``"auto"`` takes CUDA or MPS where there is one, else the CPU.
    dtype : {"float32", "bfloat16", "int8", "auto"} or torch.dtype
        Type of the transformers' matrix products, as `GalaxyModel.compute_in` takes it. Models
        that are to be trained need float32.

    Returns
    -------
    GalaxyModel
        In eval mode, without gradients. No random number is drawn and nothing printed.

    Raises
    ------
    PluginError
        If it is neither a file nor a registered name.
    OfflineError
        If published weights are not cached and cannot be fetched now.
    WeightsError
        If the weights are damaged, unsafe, or do not fit.
    ValueError
        If the device does not exist here, or the type is not one of these.

    Examples
    --------
    >>> from astroclip_astro import load_model
    >>> model = load_model()
    >>> model.name, model.training
    ('astroclip-mini', False)
    """
    target = as_device(device)
    name = DEFAULT_MODEL if model is None else os.fspath(model)
    path = Path(name)
    if path.is_file():
        if revision is not None:
            raise ValueError(f"revision={revision!r} is of no use for a local file")
        loaded = _open(path, config)
    elif path.suffix in (".safetensors", ".ckpt", ".pt", ".pth") or path.parent != Path():
        raise WeightsError(f"{name}: no such file")
    else:
        if config is not None:
            raise ValueError(f"config is for checkpoint files; {name!r} has its own")
        entry = get_manager().get("model", name)
        loaded = get_manager().load("model", name)(entry, revision=revision)
        loaded.name = name
    return loaded.to(target).compute_in(dtype)


@lru_cache(maxsize=2)
def _cached_model(name, device, dtype, changed):
    """Load a model; `changed` is when its file was, so that a new file is loaded anew."""
    return load_model(name, device=device, dtype=dtype)


def as_model(model, device="auto", dtype="float32"):
    """Get a model ready to embed with, and keep it for the next time.

    Parameters
    ----------
    model : str, path-like or GalaxyModel, optional
        As `astroclip_astro.embed` takes it.
    device : str
        Where to load it.
    dtype : str
        As `load_model` takes it; a model that is loaded already stays as it is.

    Returns
    -------
    GalaxyModel
        In evaluation mode.

    Raises
    ------
    ValueError
        If a loaded model is in training mode.
    PluginError, WeightsError
        If it is unknown or does not load.

    Examples
    --------
    >>> from astroclip_astro.weights import as_model
    >>> as_model(None).name
    'astroclip-mini'
    """
    if isinstance(model, GalaxyModel):
        if model.training:
            raise ValueError(f"model {model.name!r} is in training mode; call model.eval() first")
        return model
    name = None if model is None else os.fspath(model)
    changed = os.stat(name).st_mtime_ns if name and os.path.isfile(name) else None
    return _cached_model(name, device, dtype, changed)


def list_models():
    """List the models that can be loaded by name.

    Returns
    -------
    astropy.table.Table
        Columns name, modalities, embed_dim, parameters, bundled (works offline at once), cached
        (fetched before), summary, citation, licence.

    Examples
    --------
    >>> from astroclip_astro import list_models
    >>> models = list_models()
    >>> models["name"][models["bundled"]].tolist()
    ['astroclip-mini']
    """
    rows = [
        {
            "name": entry.name,
            "modalities": ", ".join(entry.modalities),
            "embed_dim": entry.embed_dim,
            "parameters": entry.parameters,
            "bundled": entry.bundled,
            "cached": entry.bundled or bool(_records(entry)),
            "summary": entry.summary,
            "citation": entry.citation,
            "licence": entry.licence,
        }
        for entry in get_manager().entries("model").values()
    ]
    return Table(rows)


def bundled(entry, *, revision=None):
    """Load weights that come with this package: the factory of bundled models.

    Parameters
    ----------
    entry : ModelEntry
        Its ``options["filename"]`` names the file.
    revision : str, optional
        Refused: bundled weights have none.

    Returns
    -------
    GalaxyModel
    """
    if revision is not None:
        raise ValueError(f"revision={revision!r}: {entry.name} comes with the package and has none")
    file = resources.files("astroclip_astro.weights").joinpath("data", entry.options["filename"])
    with resources.as_file(file) as path:
        return open_safetensors(path)


def published(entry, *, revision=None):
    """Load published weights: verified, converted once, then from the cache.

    Parameters
    ----------
    entry : ModelEntry
        Its ``options["repo"]`` names the repository on Hugging Face.
    revision : str, optional
        Branch, tag or commit.

    Returns
    -------
    GalaxyModel

    Raises
    ------
    OfflineError
        If they are not cached and cannot be fetched now.
    WeightsError
        If they cannot be had, or are not what the hub states.
    """
    known = _cached(entry, revision)
    try:
        path, sha256, commit = (
            (None, None, None) if known else download(entry.options["repo"], revision)
        )
    except OfflineError as error:
        others = [record["revision"] or "default" for record in _records(entry)]
        hint = f" Cached revisions: {', '.join(others)}." if others else ""
        raise OfflineError(f"{error}.{hint}") from error
    if not known:
        model = load_checkpoint(path)
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{entry.name}-{sha256[:16]}.safetensors"
        written = save_model(
            model,
            target,
            name=entry.name,
            source=f"{entry.options['repo']}@{commit}",
            source_sha256=sha256,
            citation=entry.citation,
            licence=entry.licence,
        )
        known = {
            "model": entry.name,
            "file": target.name,
            "sha256": written,
            "revision": revision,
            "commit": commit,
        }
        aside = target.with_suffix(f".{os.getpid()}.part")
        aside.write_text(json.dumps(known))
        os.replace(aside, folder / f"{target.stem}-{_slug(revision)}.json")
    return open_safetensors(cache_dir() / known["file"])


def _slug(revision):
    return "".join(c if c.isalnum() else "-" for c in revision or "default")


def _records(entry):
    """What the cache says about converted weights of a model, one record per revision."""
    files = sorted(cache_dir().glob(f"{entry.name}-*.json"))
    records = [json.loads(file.read_text()) for file in files]
    # The name of one model may be the beginning of another's.
    return [
        record
        for record in records
        if record["model"] == entry.name and (cache_dir() / record["file"]).is_file()
    ]


def _cached(entry, revision=None):
    """Record of converted weights that are there and whole; None otherwise."""
    for record in _records(entry):
        wanted = revision in (record["revision"], record["commit"])
        if wanted and file_sha256(cache_dir() / record["file"]) == record["sha256"]:
            return record
    return None


def _open(path, config):
    if path.suffix == ".safetensors":
        if config is not None:
            raise ValueError(f"config is for checkpoints; {path.name} has its own")
        return open_safetensors(path)
    model = load_checkpoint(path, config)
    model.name = path.name
    model.weights_sha256 = file_sha256(path)
    return model
