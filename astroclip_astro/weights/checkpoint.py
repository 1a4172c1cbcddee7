"""Reading published checkpoints without executing anything that is pickled in them."""

import json
import pickle
import zipfile
from collections import OrderedDict
from importlib import resources
from math import prod
from pathlib import Path

import torch

from astroclip_astro.errors import WeightsError
from astroclip_astro.weights.layout import build, load_weights

__all__ = ["load_checkpoint", "read_pickled"]

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Inert:
    """Stands in for an object whose class must not run: it keeps what it is given.

    Attributes
    ----------
    state : object
        What the pickle wanted to put into the object; None if nothing.
    """

    state = None

    def __new__(cls, *args, **kwargs):
        """Make one, whatever the arguments."""
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        object.__setattr__(self, "state", state)

    def __call__(self, *args, **kwargs):
        """Return another stand-in."""
        return _Inert()

    def __setitem__(self, key, value):
        pass

    def __hash__(self):
        return id(self)

    def append(self, item):
        """Ignore an item that the pickle adds."""

    extend = add = append


class _Unpickler(pickle.Unpickler):
    """Rebuilds tensors and plain data; everything else becomes inert."""

    def __init__(self, file, storage):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        return type(str(name), (_Inert,), {})

    def persistent_load(self, pid):
        return self._storage(pid)


def _rebuild_tensor(storage, offset, size, stride, *_):
    """View a part of a storage as a tensor, after checking that it lies inside."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.Tensor) or not all(
        isinstance(n, int) and n >= 0 for n in numbers
    ):
        raise WeightsError("a tensor in the checkpoint is malformed")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # Strides of 0 could make a few bytes pass for terabytes.
    if prod(size) > storage.numel() or (prod(size) and last >= storage.numel()):
        raise WeightsError("a tensor in the checkpoint reaches beyond its storage")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _rebuild_parameter(data, *_):
    return data


def read_pickled(path):
    """Read a torch checkpoint as plain data.

    Parameters
    ----------
    path : path-like
        A file that ``torch.save`` wrote, in its zip format.

    Returns
    -------
    object
        Dicts, lists, numbers, text and tensors as they were; inert stand-ins for everything else.
        Nothing in the file is executed, whatever it names.

    Raises
    ------
    WeightsError
        If it is no such file, or is damaged.
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            start = file.read(64)
        what = "an HTML page" if b"<html" in start.lower() or b"<!doc" in start.lower() else "no"
        raise WeightsError(
            f"{path} is {what} torch checkpoint: expected the zip file that torch.save has written "
            "since torch 1.6 (an older one can be saved again by a newer torch), or .safetensors"
            if what == "no"
            else f"{path} is {what} and no checkpoint: download it again"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        raise WeightsError(
            f"{path} is damaged or no torch checkpoint ({type(error).__name__}: {error})"
        ) from error


def _read_archive(archive):
    pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise WeightsError(f"expected one data.pkl in the archive, found {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise WeightsError("its byte order is not little-endian: save it on another machine")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise WeightsError("it is compressed, which torch.save never does")
    storages = {}

    def storage(pid):
        kind, dtype, key, _, n = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isalnum():
            raise WeightsError(f"storage {pid!r} is of an unknown kind")
        if key not in storages:
            data = bytearray(archive.read(f"{root}data/{key}"))
            if len(data) != n * dtype.itemsize:
                raise WeightsError(f"storage {key} has {len(data)} bytes, expected {n} {dtype}")
            storages[key] = (
                torch.frombuffer(data, dtype=dtype) if n else torch.empty(0, dtype=dtype)
            )
        return storages[key]

    with archive.open(pickles[0]) as file:
        return _Unpickler(file, storage).load()


def load_checkpoint(path, config=None):
    """Load a published checkpoint, in any layout that AstroCLIP's authors have used.

    Parameters
    ----------
    path : path-like
        A Lightning checkpoint of AstroCLIP or SpecFormer, a state dict of either, or the
        ``{"teacher": …}`` of AstroDINO.
    config : dict, optional
        Keyword arguments of the model that the file does not tell: the numbers of attention
        heads, for a bare state dict of another size than the published one.

    Returns
    -------
    GalaxyModel
        On the CPU, in eval mode, without a name.

    Raises
    ------
    WeightsError
        If the file is damaged, holds something else, does not tell its numbers of heads, or has a
        missing, extra, misshapen or non-finite tensor.
    """
    found = read_pickled(path)
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds a {type(found).__name__}, expected a dict of tensors")
    hyper = found.get("hyper_parameters", {})
    tensors = found.get("teacher", found.get("state_dict", found))
    if not isinstance(tensors, dict):
        raise WeightsError(f"{path}: its state dict is a {type(tensors).__name__}")
    if "teacher" in found:
        # The projection heads of self-supervised training are no part of the encoder.
        tensors = {
            name.removeprefix("backbone."): tensor
            for name, tensor in tensors.items()
            if not name.startswith(("dino_head.", "ibot_head."))
        }
    odd = [name for name, tensor in tensors.items() if not isinstance(tensor, torch.Tensor)]
    if odd:
        raise WeightsError(f"{path}: {odd[0]} and {len(odd) - 1} more entries are no tensors")
    for marker, kind, infer in (
        ("spectrum_encoder.backbone.data_embed.weight", "AstroCLIP", _astroclip),
        ("data_embed.weight", "SpecFormer", _specformer),
        ("patch_embed.proj.weight", "VisionTransformer", _vit),
    ):
        if marker in tensors:
            try:
                inferred = infer(tensors, hyper if isinstance(hyper, dict) else {})
            except (KeyError, IndexError, ValueError) as error:
                raise WeightsError(f"{path} lacks {error}, so it is no complete {kind}") from error
            full = _complete(kind, inferred, config, path)
            return load_weights(build(kind, full), tensors, origin=str(path))
    raise WeightsError(
        f"{path} holds no AstroCLIP, SpecFormer or AstroDINO weights; its first keys are "
        f"{', '.join(map(str, list(tensors)[:3])) or 'none'}"
    )


def _specformer(tensors, hyper, prefix=""):
    """Configuration of a SpecFormer, from its shapes and what Lightning kept."""
    weight = tensors[f"{prefix}data_embed.weight"]
    blocks = {name.split(".")[1] for name in _below(tensors, f"{prefix}blocks.")}
    kept = ("num_heads", "mask_num_chunks", "mask_chunk_width", "slice_section_length")
    kept = (*kept, "slice_overlap", "dropout")
    return {
        "input_dim": weight.shape[1],
        "embed_dim": weight.shape[0],
        "num_layers": len(blocks),
        "max_len": len(tensors[f"{prefix}position_embed.weight"]),
        **{name: hyper[name] for name in kept if name in hyper},
    }


def _vit(tensors, hyper, prefix=""):
    """Configuration of a VisionTransformer, from its shapes."""
    patch = tensors[f"{prefix}patch_embed.proj.weight"]
    side = round((tensors[f"{prefix}pos_embed"].shape[1] - 1) ** 0.5)
    blocks = {tuple(name.split(".")[1:3]) for name in _below(tensors, f"{prefix}blocks.")}
    return {
        "embed_dim": patch.shape[0],
        "depth": len(blocks),
        "patch_size": patch.shape[-1],
        "img_size": side * patch.shape[-1],
        "block_chunks": len({chunk for chunk, _ in blocks}),
        **{name: hyper[name] for name in ("num_heads",) if name in hyper},
    }


def _astroclip(tensors, hyper):
    """Configuration of an AstroCLIP; its head counts live in the pickled modules only."""
    image, spectrum = hyper.get("image_encoder"), hyper.get("spectrum_encoder")
    heads = {
        "image": _number_of_heads(image, "backbone", "blocks", ..., "attn"),
        "spectrum": _number_of_heads(spectrum, "backbone", "blocks", "0", "attention"),
        "image_heads": _number_of_heads(image, "cross_attention", "multihead_attn"),
        "spectrum_heads": _number_of_heads(spectrum, "cross_attention", "multihead_attn"),
    }
    found = {name: {"num_heads": n} if n else {} for name, n in heads.items()}
    return {
        "spectrum": _specformer(tensors, found["spectrum"], "spectrum_encoder.backbone."),
        "image": _vit(tensors, found["image"], "image_encoder.backbone."),
        "embed_dim": tensors["image_encoder.cross_attention.query"].shape[-1],
        **{name: heads[name] for name in ("spectrum_heads", "image_heads") if heads[name]},
        **({"logit_scale": float(hyper["logit_scale"])} if "logit_scale" in hyper else {}),
    }


def _below(tensors, prefix):
    """Names under a prefix, starting with the prefix's last part."""
    head = prefix.rstrip(".").rpartition(".")[0]
    cut = len(head) + 1 if head else 0
    return [name[cut:] for name in tensors if name.startswith(prefix)]


def _number_of_heads(module, *path):
    """Attribute ``num_heads`` of a pickled module, found by submodule names; None if absent.

    ``...`` descends through containers of blocks to the first one that is a real block.
    """
    for step in path:
        children = _state(module).get("_modules", {})
        if step is ...:
            while children and not ({"attn", "attention"} & children.keys()):
                # Chunks of DINOv2 are padded with identities, which have no children.
                module = max(children.values(), key=lambda m: len(_state(m).get("_modules", {})))
                children = _state(module).get("_modules", {})
            continue
        module = children.get(step)
    heads = _state(module).get("num_heads")
    return heads if isinstance(heads, int) else None


def _state(module):
    state = getattr(module, "state", None)
    return state if isinstance(state, dict) else {}


def _complete(kind, inferred, given, path):
    """Fill in what shapes do not tell: from the caller, or from a published size that fits."""
    config = _merge(inferred, given or {})
    for published in _published(kind):
        if _fits(inferred, published):
            return _merge(published, config)
    needed = {
        "AstroCLIP": ("spectrum.num_heads", "image.num_heads", "spectrum_heads", "image_heads"),
        "SpecFormer": ("num_heads",),
        "VisionTransformer": ("num_heads",),
    }[kind]
    missing = [name for name in needed if not _has(config, name)]
    if missing:
        raise WeightsError(
            f"{path} does not tell its numbers of attention heads, and it has not the published "
            f"size: pass config= with {', '.join(missing)}"
        )
    return config


def _published(kind):
    folder = resources.files("astroclip_astro.models").joinpath("configs")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        known = json.loads(file.read_text())
        if known["model"] == kind and file.name != "astroclip-mini.json":
            yield known["config"]


def _fits(inferred, published):
    return all(
        _fits(value, published[name]) if isinstance(value, dict) else published[name] == value
        for name, value in inferred.items()
        if name not in ("num_heads", "logit_scale", "dropout")
    )


def _merge(base, more):
    merged = dict(base)
    for name, value in more.items():
        inside = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if inside else value
    return merged


def _has(config, dotted):
    for part in dotted.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True
