"""What a model looks at in an object, and what its answer hangs on.

Attention is what the model reports of itself: how much each part of the input counts where the
parts are pooled into one vector. It need not be what the answer depends on (Jain & Wallace 2019,
https://arxiv.org/abs/1902.10186), also because every token has already heard from all the others.
Occlusion is the check beside it: take a part away and see what changes (Zeiler & Fergus 2014,
https://arxiv.org/abs/1311.2901).
"""

import numpy as np
import torch
import xarray as xr
from astropy.stats import sigma_clipped_stats

from astroclip_astro.adapters.image import encoder_input
from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.errors import InputError
from astroclip_astro.inputs import one_record
from astroclip_astro.models import Companion, SpecFormer, VisionTransformer
from astroclip_astro.models.astroclip import Encoder
from astroclip_astro.quality import Quality
from astroclip_astro.tasks.regression import PERCENTILES, RegressionHead
from astroclip_astro.weights import as_model

__all__ = ["attention", "described", "occlusion", "one_object"]


def attention(obj, *, model=None, survey=None):
    """How much the embedding of an object attends to each part of it.

    Parameters
    ----------
    obj : object
        One spectrum or one cutout, as `astroclip_astro.embed` takes it.
    model : str, path-like or GalaxyModel, optional
        An AstroCLIP, whose pooling is by attention; by default the bundled one.
    survey : str, optional
        How the object is to be read, as for `astroclip_astro.embed`.

    Returns
    -------
    xarray.DataArray
        Weights, float32, of each attention head of the pooling. For a spectrum, dims ("head",
        "wavelength"): centres of the sections that the tokens are made of, Å, vacuum, observed
        frame, with their ``width`` (Å), by which neighbours may overlap. The model has one more
        token, for the mean and the standard deviation of the whole spectrum: its weight is the
        coordinate ``statistics`` of each head, and with it the weights of a head add up to one. For
        an image, dims ("head", "y", "x"): centres of the patches in pixels, from 0, of what the
        encoder sees, with their offsets from the target ``north`` and ``east`` (arcsec); the
        weights of a head add up to one. Attributes say of which object and model they are.

    Raises
    ------
    InputError
        If there is not exactly one object, it cannot be embedded, or the model does not pool by
        attention.
    TypeError
        If it is of a type that cannot be embedded.

    See Also
    --------
    occlusion : What the embedding depends on.

    Examples
    --------
    >>> from astroclip_astro.simulate import MockSurvey
    >>> from astroclip_astro.tasks import attention
    >>> weights = attention(MockSurvey.bundled().spectrum(0))
    >>> dict(weights.sizes), weights.wavelength.attrs["units"]
    ({'head': 4, 'wavelength': 129}, 'Angstrom')
    >>> (weights.sum("wavelength") + weights.statistics).values.round(4)
    array([1., 1., 1., 1.], dtype=float32)
    """
    model, modality, batch = one_object(obj, model, survey)
    encoder = getattr(model, f"{modality}_encoder", None)
    if not isinstance(encoder, Encoder):
        raise InputError(
            f"model {model.name!r} ({type(model).__name__}) does not pool by attention: take an "
            "AstroCLIP, such as 'astroclip-mini', or occlusion()",
            object_id=batch.object_id[0],
        )
    x = batch.flux.to(model.device, model.dtype)
    if modality == "image":
        x = encoder_input(x, model.preprocessing["image"])
    with torch.inference_mode():
        weights = encoder(x, return_attention=True)[1][0].float().cpu().numpy()
    coords = {"head": np.arange(len(weights))}
    if modality == "spectrum":
        about = {"long_name": "weight of the token of mean and standard deviation"}
        coords["statistics"] = ("head", weights[:, 0], about)
        weights = weights[:, 1:]
    where = _parts(model, modality, batch)
    dims = ("head", "wavelength") if modality == "spectrum" else ("head", "y", "x")
    return xr.DataArray(
        weights.reshape(-1, *(len(where[name][1]) for name in dims[1:])),
        dims=dims,
        coords=coords | where,
        attrs=described(model, modality, batch) | {"long_name": "attention"},
        name="attention",
    )


def occlusion(obj, *, model=None, survey=None, head=None):
    """How much changes when a part of an object is taken away, part by part.

    Parameters
    ----------
    obj : object
        One spectrum or one cutout, as `astroclip_astro.embed` takes it.
    model : str, path-like or GalaxyModel, optional
        As for `astroclip_astro.embed`; by default the bundled one.
    survey : str, optional
        How the object is to be read, as for `astroclip_astro.embed`.
    head : RegressionHead, optional
        Fitted on embeddings of the model: it is asked about its first quantity.

    Returns
    -------
    xarray.DataArray
        Float64, with the dims and coordinates of `attention`, but for the heads of the pooling.
        Without `head`, cosine distances between the embedding of the object as it is and of the
        object without that part. With `head`, by how much the median of its first quantity rises,
        in the unit of the quantity (attribute ``units``); the attributes ``median`` and
        ``half_width`` are those of the object as it is, the latter half of what lies between its
        percentiles 16 and 84.

    Raises
    ------
    InputError
        If there is not exactly one object, it cannot be embedded, the model is not made of a
        SpecFormer or a VisionTransformer, or the head is no regression head.
    ProvenanceError
        If the head was fitted on embeddings of another model.
    TypeError
        If the object is of a type that cannot be embedded.

    Notes
    -----
    A section of a spectrum is replaced by the straight line through the medians of its first and
    its last eighth, a patch of an image by sky: normal noise of the level and the width that the
    pixels of each band have after clipping at 3 σ. What patches of empty sky give is the level to
    compare others with: they were replaced by their like. The number in its own unit is what says
    whether a line matters to a redshift; divided by ``half_width`` it tells whether the head would
    have noticed. Taking away a bright part also changes the mean and the standard deviation by
    which a SpecFormer scales the whole spectrum. The model runs once for each part.

    Examples
    --------
    >>> from astroclip_astro.simulate import MockSurvey
    >>> from astroclip_astro.tasks import occlusion
    >>> change = occlusion(MockSurvey.bundled().cutout(0))
    >>> dict(change.sizes), float(change.north[0]), float(change.east[0])
    ({'y': 8, 'x': 8}, -11.004, 11.004)
    >>> at = change.argmax(...)
    >>> bool(abs(change.north[at["y"]]) < 2), bool(abs(change.east[at["x"]]) < 2)
    (True, True)
    """
    model, modality, batch = one_object(obj, model, survey)
    if not (head is None or isinstance(head, RegressionHead)):
        raise InputError(
            f"head is a {type(head).__name__}, expected a RegressionHead, or None for the change "
            "of the embedding"
        )
    where = _parts(model, modality, batch)
    whole = batch.flux[0].cpu().numpy()
    if modality == "spectrum":
        dims = ("wavelength",)
        copies = _without_sections(whole, *_sections(model, batch))
    else:
        dims = ("y", "x")
        copies = _without_patches(whole, *_patches(model))
    flux = torch.from_numpy(np.concatenate([whole[None], copies]))
    step = 32 if model.device.type == "cpu" else 128
    vectors = torch.cat([model.encode(part, modality) for part in flux.split(step)]).numpy()
    about = described(model, modality, batch)
    if head is None:
        # Half the squared distance of unit vectors is one minus their cosine, without its rounding.
        unit = vectors.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        change = ((unit[1:] - unit[0]) ** 2).sum(1) / 2
        about |= {"long_name": "cosine distance"}
    else:
        rows = _embeddings(vectors, modality, batch, about)
        low, middle, high = head.distribution(rows).quantile(list(PERCENTILES.values()))[:, 0].T
        change = middle[1:] - middle[0]
        about |= {
            "long_name": f"change of {head.names_[0]}",
            "units": head.units_[0],
            "median": float(middle[0]),
            "half_width": float(high[0] - low[0]) / 2,
        }
    return xr.DataArray(
        change.reshape([len(where[name][1]) for name in dims]),
        dims=dims,
        coords=where,
        attrs=about,
        name="occlusion",
    )


def one_object(obj, model, survey):
    """Make a batch of the one object there is.

    Parameters
    ----------
    obj : object
        As for `attention`.
    model : str, path-like or GalaxyModel, optional
        As for `astroclip_astro.embed`.
    survey : str, optional
        As for `astroclip_astro.embed`.

    Returns
    -------
    model : GalaxyModel
        Loaded.
    modality : str
        What the object is.
    batch : SpectrumBatch or ImageBatch
        It alone, ready for the model.

    Raises
    ------
    InputError
        If there is not exactly one object, or it cannot be embedded.
    """
    model = as_model(model, "auto")
    record = one_record(obj, preprocessing=model.preprocessing, survey=survey)
    named = {"object_id": record.object_id, "quality": record.quality}
    modality = record.modality
    if modality not in model.modalities:
        known = " and ".join(model.modalities)
        raise InputError(f"model {model.name!r} embeds {known}, not {modality}", **named)
    batch = get_modality(modality).batch([record], model.preprocessing[modality], model.device)
    bits = Quality(int(batch.quality[0]))
    if bits & Quality.NOT_EMBEDDED:
        raise InputError(f"no vector can be made of it ({', '.join(bits.names)})", **named)
    if isinstance(model, Companion):
        if modality == model.companion:
            raise InputError(f"spectra and images are explained, not {modality} data", **named)
        model = model.base
    return model, modality, batch


def described(model, modality, batch):
    """Say what something was made of, and with which model.

    Parameters
    ----------
    model : GalaxyModel
        The model.
    modality : str
        What the object is.
    batch : SpectrumBatch or ImageBatch
        The object, as `one_object` returns it.

    Returns
    -------
    dict of str
        Attributes of what `attention` and `occlusion` return.
    """
    return {
        "object_id": batch.object_id[0],
        "modality": modality,
        **model.provenance,
    }


def _backbone(model, modality):
    """The network that cuts objects into tokens."""
    network = getattr(model, f"{modality}_encoder", model)
    network = getattr(network, "backbone", network)
    if not isinstance(network, SpecFormer if modality == "spectrum" else VisionTransformer):
        raise InputError(
            f"model {model.name!r} ({type(model).__name__}) is of an unknown kind, which parts it "
            "cuts objects into cannot be told: take an AstroCLIP, SpecFormer or VisionTransformer"
        )
    return network


def _sections(model, batch):
    """First pixels of the sections of a spectrum, and how many pixels each has."""
    network = _backbone(model, "spectrum")
    section = network.config["slice_section_length"]
    count = network.preprocess(batch.flux).shape[1] - 1
    return (section - network.config["slice_overlap"]) * np.arange(count), section


def _patches(model):
    """First rows (or columns) of the patches in the cutout, and how many pixels each has."""
    preprocessing = model.preprocessing["image"]
    patch = _backbone(model, "image").config["patch_size"]
    border = (preprocessing.size - preprocessing.crop) // 2
    return border + np.arange(0, preprocessing.crop, patch), patch


def _parts(model, modality, batch):
    """Coordinates of the parts that the model cuts an object into."""
    preprocessing = model.preprocessing[modality]
    if modality == "spectrum":
        starts, section = _sections(model, batch)
        step = preprocessing.wavelength_step
        centres = preprocessing.wavelength_start + step * (starts + (section - 1) / 2)
        about = {"units": "Angstrom", "long_name": "observed wavelength in vacuum"}
        width = {"units": "Angstrom", "long_name": "width of the section"}
        return {
            "wavelength": ("wavelength", centres, about),
            "width": ("wavelength", np.full(len(starts), section * step), width),
        }
    starts, patch = _patches(model)
    centres = starts + (patch - 1) / 2
    offsets = (centres - (preprocessing.size - 1) / 2) * preprocessing.pixel_scale
    pixels = centres - starts[0]
    return {
        "y": ("y", pixels, {"units": "pixel", "long_name": "row of the encoder's image"}),
        "x": ("x", pixels, {"units": "pixel", "long_name": "column of the encoder's image"}),
        "north": ("y", offsets, {"units": "arcsec", "long_name": "offset to the north"}),
        "east": ("x", -offsets, {"units": "arcsec", "long_name": "offset to the east"}),
    }


def _without_sections(whole, starts, section):
    """Copies (section, pixel, 1) of a spectrum (pixel, 1), in each a section made a straight line.

    Its ends are medians, as single pixels would put their noise into the whole of it.
    """
    copies = np.repeat(whole[None], len(starts), axis=0)
    end = max(section // 8, 1)
    position = np.arange(section) - (end - 1) / 2
    for copy, start in zip(copies, starts, strict=True):
        part = copy[start : start + section, 0]
        left, right = np.median(part[:end]), np.median(part[-end:])
        part[:] = left + (right - left) * position / (section - end)
    return copies


def _without_patches(whole, starts, patch):
    """Copies (patch, band, row, column) of a cutout (band, row, column), in each a patch as sky.

    As the sky of this very cutout, noise and all: a patch without any is stranger than a galaxy.
    """
    _, sky, noise = sigma_clipped_stats(whole, axis=(1, 2))
    fill = np.random.default_rng(0).normal(
        sky[:, None, None], noise[:, None, None], (len(whole), patch, patch)
    )
    copies = np.repeat(whole[None], len(starts) ** 2, axis=0)
    corners = [(row, column) for row in starts for column in starts]
    for copy, (row, column) in zip(copies, corners, strict=True):
        copy[:, row : row + patch, column : column + patch] = fill
    return copies


def _embeddings(vectors, modality, batch, about):
    """Vectors of variants of one object as embeddings, for heads to know where they are from."""
    names = ("object_id", "ra", "dec", "survey", "redshift", "coverage", "snr", "quality")
    columns = {name: np.repeat(getattr(batch, name), len(vectors)) for name in names}
    return make_embeddings(vectors, columns | {"modality": [modality] * len(vectors)}, about)
