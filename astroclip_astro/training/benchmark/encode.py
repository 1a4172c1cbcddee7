"""Embeddings of a whole data source, block by block and kept on disk."""

import hashlib
import logging
import os
import re
from pathlib import Path

import numpy as np
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.models.base import GalaxyModel
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.training.chance import noise_generator

__all__ = ["PatchMean", "embed_source", "fingerprint"]

log = logging.getLogger(__name__)

# Objects that are read, and kept on disk, together: 0.3 GB of images and spectra.
_BLOCK = 512


class PatchMean(GalaxyModel):
    """An image encoder whose embedding is the mean of its patch tokens.

    They are the tokens that AstroCLIP pools, without class token. The encoder's own embedding is
    its class token.

    Parameters
    ----------
    encoder : VisionTransformer
        In evaluation mode.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models import VisionTransformer
    >>> from astroclip_astro.training.benchmark.encode import PatchMean
    >>> encoder = VisionTransformer(embed_dim=16, depth=1, num_heads=2, block_chunks=1).eval()
    >>> PatchMean(encoder).encode(torch.ones(2, 3, 152, 152), "image").shape
    torch.Size([2, 16])
    """

    modalities = ("image",)

    def __init__(self, encoder):
        super().__init__(**encoder.config)
        self.encoder = encoder
        self.preprocessing = encoder.preprocessing
        self.name = f"{encoder.name}, mean of patches"
        self.train(encoder.training)

    def embed_image(self, x):
        """Mean of the patches; see `GalaxyModel`.

        Parameters
        ----------
        x : torch.Tensor
            RGB images, shape (B, 3, H, W).

        Returns
        -------
        torch.Tensor
            Vectors, shape (B, embed_dim), not normalised.
        """
        return self.encoder(x).mean(1)


def fingerprint(source):
    """Identify what a source holds.

    Parameters
    ----------
    source : Source
        A source of training data.

    Returns
    -------
    str
        16 hexadecimal digits of the SHA-256 of its name, identifiers and targets, and of what is
        read of the first, the middle and the last object, so that other noise or other pixels of
        the same galaxies are another source.
    """
    digest = hashlib.sha256(source.name.encode())
    digest.update("\n".join(map(str, source.object_id)).encode())
    for name in sorted(source.targets):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(source.targets[name]).tobytes())
    probe = source.read(np.unique([0, len(source) // 2, len(source) - 1]), noise_generator(0))
    for name in ("spectrum", "spectrum_ivar", "image", "image_ivar"):
        if (data := getattr(probe, name)) is not None:
            digest.update(name.encode())
            digest.update(data.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def embed_source(source, model, *, folder, n=None, seed=0, progress=True):
    """Embed the first objects of a source, or read back what was embedded before.

    Parameters
    ----------
    source : Source
        A source of training data whose batches are on the model's grids.
    model : GalaxyModel
        In evaluation mode.
    folder : path-like
        Where blocks of embeddings are kept, in a folder of their own for each model, source and
        seed; an interrupted run goes on from there.
    n : int, optional
        How many objects; all by default.
    seed : int
        Of the noise of simulated sources. The noise of an object depends on it and on the number of
        its block only.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict of numpy.ndarray
        By modality of both the model and the source: vectors, shape (n, embed_dim), float32. An
        object that could not be read, or has no finite flux or no weight at all, is a row of NaN.

    Raises
    ------
    InputError
        If the model and the source have no modality in common, or not the same grid.
    ValueError
        If the model is in training mode.
    """
    if model.training:
        raise ValueError(f"model {model.name!r} is in training mode; call model.eval() first")
    modalities = [m for m in model.modalities if m in source.modalities]
    if not modalities:
        raise InputError(
            f"model {model.name!r} embeds {' and '.join(model.modalities)}, "
            f"{source.name} has {' and '.join(sorted(source.modalities))} only"
        )
    for modality in modalities:
        _check_grid(source.preprocessing[modality], model, modality)
    n = len(source) if n is None else min(n, len(source))
    key = f"{_weights(model)}-{model.preprocessing_hash}-{fingerprint(source)}-{seed}"
    short = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = Path(folder) / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', model.name) or 'model'}-{short}"
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    starts = range(0, n, _BLOCK)
    shown = None if progress else False
    for start in progress_bar(starts, progress=shown, desc=f"embed {model.name}", unit="block"):
        stop = min(start + _BLOCK, n)
        path = folder / f"{start:09d}-{stop:09d}.npz"
        if not path.exists():
            made = _block(source, model, modalities, np.arange(start, stop), seed)
            part = path.with_suffix(f".{os.getpid()}.part")
            with part.open("wb") as file:
                np.savez(file, **made)
            part.replace(path)
        with np.load(path) as kept:
            blocks.append({m: kept[m] for m in modalities})
    vectors = {m: np.concatenate([block[m] for block in blocks]) for m in modalities}
    for modality, rows in vectors.items():
        if lost := int(np.isnan(rows).any(1).sum()):
            log.warning("%d of %d objects have no %s embedding", lost, n, modality)
    return vectors


def _check_grid(given, model, modality):
    """Raise unless what a source reads is on the model's pixels; colours are the model's affair."""
    wanted = model.preprocessing[modality]
    names = ("bands", "pixel_scale", "size")
    if modality == "spectrum":
        names = ("wavelength_start", "wavelength_step", "n_pixels")
    other = [name for name in names if getattr(given, name) != getattr(wanted, name)]
    if other:
        told = ", ".join(f"{n} {getattr(wanted, n)}, not {getattr(given, n)}" for n in other)
        raise InputError(
            f"model {model.name!r} needs {modality} data on another grid ({told}): measure it by "
            "itself, on a source of its own"
        )


def _weights(model):
    """What identifies the weights: their file's hash, or that of the values where there is none."""
    if model.weights_sha256:
        return model.weights_sha256
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _block(source, model, modalities, rows, seed):
    """Vectors of consecutive objects."""
    batch = source.read(rows, noise_generator(seed, rows[0]))
    place = np.arange(len(rows))
    if len(batch) != len(rows):  # a source may leave out what it cannot read
        where = {name: i for i, name in enumerate(source.object_id[rows])}
        place = np.array([where[name] for name in batch.object_id], int)
    vectors = {m: np.full((len(rows), model.embed_dim), np.nan, np.float32) for m in modalities}
    size = 32 if model.device.type == "cpu" else 128
    for modality in modalities:
        flux, ivar = getattr(batch, modality), getattr(batch, f"{modality}_ivar")
        usable = flux.flatten(1).isfinite().all(1)
        if ivar is not None:
            usable &= (ivar.flatten(1) > 0).any(1)
        if not usable.any():
            continue
        for chosen in usable.nonzero()[:, 0].split(size):
            vectors[modality][place[chosen.numpy()]] = model.encode(flux[chosen], modality).numpy()
    return vectors
