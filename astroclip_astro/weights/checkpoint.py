"""Published checkpoints, in every layout that AstroCLIP's authors have used."""

import json
from importlib import resources

import torch

from astroclip_astro.errors import WeightsError
from astroclip_astro.weights.layout import build, load_weights
from astroclip_astro.weights.pickled import Inert, read_pickled

__all__ = ["load_checkpoint"]

# Of SpecFormer's arguments, those that no shape tells.
_UNSHAPED = ("num_heads", "mask_num_chunks", "mask_chunk_width", "slice_overlap", "dropout")
# What a checkpoint of a published size may have otherwise.
_FREE = ("num_heads", "spectrum.num_heads", "image.num_heads", "logit_scale", "dropout")
_NEEDED = {
    "AstroCLIP": ("spectrum.num_heads", "image.num_heads", "spectrum_heads", "image_heads"),
    "SpecFormer": ("num_heads",),
    "VisionTransformer": ("num_heads",),
}


def load_checkpoint(path, config=None):
    """Load a published checkpoint, in any layout that AstroCLIP's authors have used.

    Parameters
    ----------
    path : path-like
        A Lightning checkpoint of AstroCLIP or SpecFormer, a state dict of either, or the
        ``{"teacher": …}`` of AstroDINO.
    config : dict, optional
        Keyword arguments of the model that the file does not tell: the numbers of attention
        heads, for a bare state dict of another size than the published one, and the overlap of
        slices that are not of 20 pixels. It may not contradict the file.

    Returns
    -------
    GalaxyModel
        On the CPU, in eval mode, without a name.

    Raises
    ------
    WeightsError
        If the file is damaged, holds something else, does not tell its numbers of heads,
        contradicts `config`, or has a missing, extra, misshapen or non-finite tensor.
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
    odd = [
        name
        for name, tensor in tensors.items()
        if not (isinstance(name, str) and isinstance(tensor, torch.Tensor))
    ]
    if odd:
        named = odd[0] if isinstance(odd[0], str) else f"a {type(odd[0]).__name__} as a name"
        raise WeightsError(f"{path}: {named} and {len(odd) - 1} more entries are no tensors")
    for name, tensor in tensors.items():
        # Strides of 0 could make a few bytes pass for terabytes.
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise WeightsError(f"{path}: {name} reaches beyond its storage")
    for marker, kind, infer in (
        ("spectrum_encoder.backbone.data_embed.weight", "AstroCLIP", _astroclip),
        ("data_embed.weight", "SpecFormer", _specformer),
        ("patch_embed.proj.weight", "VisionTransformer", _vit),
    ):
        if marker in tensors:
            try:
                told = infer(tensors, hyper if isinstance(hyper, dict) else {})
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise WeightsError(
                    f"{path} is no complete {kind} ({type(error).__name__}: {error})"
                ) from error
            model = build(kind, _complete(kind, told, config, path))
            return load_weights(model, tensors, origin=str(path))
    raise WeightsError(
        f"{path} holds no AstroCLIP, SpecFormer or AstroDINO weights; its first keys are "
        f"{', '.join(map(str, list(tensors)[:3])) or 'none'}"
    )


def _specformer(tensors, hyper, prefix=""):
    """Configuration of a SpecFormer, from its shapes and what Lightning kept."""
    embed_dim, input_dim = tensors[f"{prefix}data_embed.weight"].shape
    max_len, _ = tensors[f"{prefix}position_embed.weight"].shape
    return {
        "input_dim": input_dim,
        "embed_dim": embed_dim,
        "num_layers": len({name.split(".")[0] for name in _below(tensors, f"{prefix}blocks.")}),
        "max_len": max_len,
        # A token is a slice, with its mean and standard deviation in front.
        "slice_section_length": input_dim - 2,
        **{name: hyper[name] for name in _UNSHAPED if isinstance(hyper.get(name), int | float)},
    }


def _vit(tensors, hyper, prefix=""):
    """Configuration of a VisionTransformer, from its shapes."""
    embed_dim, _, _, patch_size = tensors[f"{prefix}patch_embed.proj.weight"].shape
    _, positions, _ = tensors[f"{prefix}pos_embed"].shape
    blocks = {tuple(name.split(".")[:2]) for name in _below(tensors, f"{prefix}blocks.")}
    return {
        "embed_dim": embed_dim,
        "depth": len(blocks),
        "patch_size": patch_size,
        "img_size": round((positions - 1) ** 0.5) * patch_size,
        "block_chunks": len({chunk for chunk, _ in blocks}),
        **{name: hyper[name] for name in ("num_heads",) if isinstance(hyper.get(name), int)},
    }


def _astroclip(tensors, hyper):
    """Configuration of an AstroCLIP; its head counts live in the pickled modules only."""
    image, spectrum = hyper.get("image_encoder"), hyper.get("spectrum_encoder")
    slices = _state(_child(spectrum, "backbone")).get("_hparams")
    kept = slices.contents if isinstance(slices, Inert) else {}
    in_spectrum = _number_of_heads(_child(spectrum, "backbone", "blocks", "0", "attention"))
    in_image = _number_of_heads(_first_attention(_child(image, "backbone", "blocks")))
    told = {
        "spectrum_heads": _number_of_heads(_child(spectrum, "cross_attention", "multihead_attn")),
        "image_heads": _number_of_heads(_child(image, "cross_attention", "multihead_attn")),
        "logit_scale": hyper.get("logit_scale"),
    }
    return {
        "spectrum": _specformer(
            tensors, {**kept, "num_heads": in_spectrum}, "spectrum_encoder.backbone."
        ),
        "image": _vit(tensors, {"num_heads": in_image}, "image_encoder.backbone."),
        "embed_dim": tensors["image_encoder.cross_attention.query"].shape[-1],
        **{name: value for name, value in told.items() if isinstance(value, int | float)},
    }


def _below(tensors, prefix):
    """Names under a prefix, without it."""
    return [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]


def _state(module):
    """Attributes of a pickled object; none where it is something else."""
    state = module.state if isinstance(module, Inert) else None
    return state if isinstance(state, dict) else {}


def _children(module):
    """Submodules of a pickled module by name."""
    children = _state(module).get("_modules")
    return children if isinstance(children, dict) else {}


def _child(module, *path):
    """Submodule of a pickled module; None if there is none."""
    for name in path:
        module = _children(module).get(name)
    return module


def _first_attention(blocks):
    """Attention of the first real block of a vision transformer, chunked or not; None if none."""
    for candidate in (blocks, *_children(blocks).values()):
        for block in _children(candidate).values():
            # DINOv2 pads its chunks with identities, which have no children.
            if "attn" in _children(block):
                return _child(block, "attn")
    return None


def _number_of_heads(attention):
    return _state(attention).get("num_heads")


def _complete(kind, told, given, path):
    """Fill in what the file does not tell: from the caller, or from a published size that fits."""
    told, given = _flat(told), _flat(given or {})
    for name, value in given.items():
        if told.get(name, value) != value:
            raise WeightsError(
                f"{path} contradicts config=: its {name} is {told[name]}, not {value}"
            )
    config = {**given, **told}
    for published in map(_flat, _published(kind)):
        if all(published[name] == told[name] for name in told if name not in _FREE):
            return _nested({**published, **config})
    needed = [name for name in _NEEDED[kind] if name not in config]
    # Slices of 20 pixels are taken to overlap by 10, as all that were published do.
    sections = [name for name in told if name.endswith("slice_section_length")]
    for name in sections:
        overlap = name.replace("section_length", "overlap")
        if told[name] != 20 and overlap not in config:
            needed.append(overlap)
    if needed:
        raise WeightsError(
            f"{path} does not tell its numbers of attention heads or overlap of slices, and it has "
            f"not the published size: pass config= with {', '.join(needed)}"
        )
    return _nested(config)


def _published(kind):
    folder = resources.files("astroclip_astro.models").joinpath("configs")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        known = json.loads(file.read_text())
        if known["model"] == kind and file.name != "astroclip-mini.json":
            yield known["config"]


def _flat(config, prefix=""):
    """One level of a configuration, with names such as ``image.num_heads``."""
    flat = {}
    for name, value in config.items():
        inside = isinstance(value, dict)
        flat.update(_flat(value, f"{prefix}{name}.") if inside else {f"{prefix}{name}": value})
    return flat


def _nested(flat):
    nested = {}
    for name, value in flat.items():
        section, _, last = name.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[last] = value
    return nested
