"""Alignment of the bundled model: images against spectra whose tokens are computed once.

The spectrum backbone is frozen, so that its tokens need computing only once per observation
(`observed_tokens`): most of the time goes to the images.
"""

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from astroclip_astro.models import clip_loss
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.training.mini.relative_redshift import LARGEST_SHIFT
from astroclip_astro.training.mini.shapes import shapes

__all__ = ["ObservedAlignment", "observed_tokens"]

VIEWS_WEIGHT, LOOKS_WEIGHT = 0.5, 1.0  # of two observations of a spectrum, of an image
SECOND_IMAGES = 3  # one in so many images is observed twice
AGREEMENT_WEIGHT, SHAPES_WEIGHT = 1.0, 2.0
CHUNK = 1000
# A learned multiplier goes no higher (Radford et al. 2021, https://arxiv.org/abs/2103.00020,
# section 2.5).
LARGEST_SCALE = 100.0


@torch.no_grad()
def observed_tokens(backbone, observer, folder, *, progress=True):
    """Tokens of three observations of each galaxy, kept on disk.

    Parameters
    ----------
    backbone : SpecFormer
        Frozen.
    observer : MockObserver
        The galaxies.
    folder : path-like
        Of the finished parts; an interrupted run goes on from them.
    progress : bool
        Show a progress bar.

    Returns
    -------
    tokens : torch.Tensor
        Shape (N, 3, T, token_dim), float16: two independent observations, and one of the galaxy
        moved in wavelength.
    shift : torch.Tensor
        By how much ln(1 + z) of the third is above that of the others, shape (N,), float32.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first, last = observer.wavelength[[0, -1]].tolist()
    window = first * (1 + LARGEST_SHIFT), last * (1 - LARGEST_SHIFT)
    parts = []
    for start in progress_bar(range(0, len(observer), CHUNK), progress=progress, desc="tokens"):
        index = torch.arange(start, min(start + CHUNK, len(observer)))
        path = folder / f"{start:07d}-{index[-1] + 1:07d}.npz"
        if not path.exists():
            torch.manual_seed(start)
            tokens, shift = [], []
            for few in index.split(64):
                factor = 1 + LARGEST_SHIFT * (2 * torch.rand(len(few)) - 1)
                moved = observer.noiseless(few, factor)
                views = [observer.spectra(few), observer.spectra(few)]
                views.append(observer.spectra(few, flux=moved, window=window))
                with torch.autocast("cpu", torch.bfloat16):
                    made = backbone(torch.stack(views, 1).flatten(0, 1))
                tokens.append(made.half().unflatten(0, (len(few), 3)))
                shift.append(torch.log(factor))
            aside = path.with_suffix(".part")
            with aside.open("wb") as file:
                np.savez(file, tokens=torch.cat(tokens).numpy(), shift=torch.cat(shift).numpy())
            os.replace(aside, path)
        parts.append(path)
    with np.load(parts[0]) as part:
        shape = part["tokens"].shape[1:]
    tokens = torch.empty((len(observer), *shape), dtype=torch.float16)
    shift = torch.empty(len(observer))
    done = 0
    for path in parts:
        with np.load(path) as part:
            stop = done + len(part["shift"])
            tokens[done:stop] = torch.from_numpy(part["tokens"])
            shift[done:stop] = torch.from_numpy(part["shift"])
            done = stop
    return tokens, shift


class ObservedAlignment(nn.Module):
    """The alignment task: InfoNCE between images and spectra, and what keeps redshifts sharp.

    To the loss of Parker et al. 2024 (MNRAS 531, 4990, eq. 3) are added: the same loss between two
    observations of a spectrum, and of an image, so that what only one of them shows is not lost
    (Chen et al. 2020, https://arxiv.org/abs/2002.05709), the relative
    redshift of pre-training, the distance in pre-training's redshift coordinate between the
    vector of an image and that of its spectrum, and what the vector of a noisy image tells of the
    noiseless one (`shapes`): spectra do not ask for ellipticities or arms, users do.

    Parameters
    ----------
    model : AstroCLIP
        The model; the backbone of its spectra gets frozen.
    redshift : RelativeRedshift
        The pre-trained task, of the same spectrum encoder.
    observer : MockObserver
        The galaxies.
    tokens, shift : torch.Tensor
        As `observed_tokens` returns them.
    """

    def __init__(self, model, redshift, observer, tokens, shift):
        super().__init__()
        self.model = model
        self.redshift = redshift
        self.observer, self.tokens, self.shift = observer, tokens, shift
        self.log_scale = nn.Parameter(torch.tensor(math.log(model.logit_scale)))
        model.spectrum_encoder.backbone.requires_grad_(False)
        found = torch.cat([shapes(part.float()) for part in observer.pixels.split(CHUNK)])
        self.shapes = (found - found.mean(0)) / found.std(0)
        width = model.config["embed_dim"]
        self.shape = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, found.shape[1]))

    def forward(self, index):
        """Loss of one batch.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.

        Returns
        -------
        loss : torch.Tensor
            Scalar.
        parts : dict of torch.Tensor
            Its terms, and ``top1``, how often the right spectrum is the closest to its image.
        """
        first, second = torch.randperm(2).tolist()
        seen = torch.cat([index, index[: len(index) // SECOND_IMAGES]])
        images = self.model.image_encoder(self.observer.images(seen)).float()
        image, image_again = images[: len(index)], images[len(index) :]
        with torch.autocast("cpu", enabled=False):
            tokens = self.tokens[index][:, [first, second, 2]].float()
            vectors = self.model.spectrum_encoder.pool(tokens.flatten(0, 1))[0]
            spectrum, again, moved = vectors.unflatten(0, (len(index), 3)).unbind(1)
            scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
            clip, logits = clip_loss(image, spectrum, scale)
            views = clip_loss(again, spectrum, scale)[0]
            looks = clip_loss(image_again, image[: len(image_again)], scale)[0]
            redshift, shift_parts = self.redshift.compare(spectrum, moved, self.shift[index])
            position = self.redshift.position
            told = F.smooth_l1_loss(self.shape(images), self.shapes[seen])
            apart = (position(image) - position(spectrum).detach()).squeeze(1)
            agreement = F.smooth_l1_loss(10 * apart, torch.zeros_like(apart), beta=0.5)
        top1 = (logits.argmax(1) == torch.arange(len(index))).float().mean()
        parts = {"clip": clip, "views": views, "looks": looks, "agreement": agreement, "top1": top1}
        parts |= shift_parts | {"scale": scale, "shapes": told}
        loss = clip + VIEWS_WEIGHT * views + LOOKS_WEIGHT * looks + SHAPES_WEIGHT * told
        return loss + redshift + AGREEMENT_WEIGHT * agreement, parts
