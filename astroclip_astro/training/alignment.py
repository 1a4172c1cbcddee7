"""Contrastive alignment of images and spectra, as a Lightning module.

Recipe: Parker et al. 2024 (MNRAS 531, 4990), sections 3.3 and 3.4, with three options: a learned
temperature (Radford et al. 2021, https://arxiv.org/abs/2103.00020, section 2.3), backbones that are
trained along with the heads, and a second term that pulls two observations of one spectrum together
(Chen et al. 2020, https://arxiv.org/abs/2002.05709).
"""

from functools import partial
from hashlib import blake2b
from math import log

import lightning as L
import numpy as np
import torch
from torch import nn

from astroclip_astro.adapters.image import encoder_input
from astroclip_astro.errors import InputError
from astroclip_astro.training.batch import only_observed
from astroclip_astro.training.contrastive import contrastive_loss, gather, recall
from astroclip_astro.training.grad_cache import encode_in_micro_batches
from astroclip_astro.training.optimizer import adamw
from astroclip_astro.training.schedule import warmup_cosine

__all__ = ["Alignment"]

#: A learned multiplier goes no higher (Radford et al. 2021, section 2.5).
_LARGEST_SCALE = 100.0


def _identity(object_id, device):
    """Object names as int64 of equal content, which collectives can carry, shape (B,)."""
    digests = [blake2b(str(name).encode(), digest_size=8).digest() for name in object_id]
    numbers = [int.from_bytes(digest, "big", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64, device=device)


def _pairs(batch):
    """The objects of a batch of which both modalities were observed."""
    absent = [name for name in ("image", "spectrum") if getattr(batch, name) is None]
    if absent:
        raise InputError(
            f"the batch has no {' and no '.join(absent)}: alignment needs both of every object; "
            "use a source that has pairs",
            object_id=str(batch.object_id[0]),
        )
    observed = (batch.spectrum_ivar > 0).any(1)
    if batch.image_ivar is not None:
        observed &= (batch.image_ivar > 0).flatten(1).any(1)
    return only_observed(batch, observed, "both an image and a spectrum")


def _second_observations(batch, pairs):
    """Further spectra of objects in `pairs`, or None."""
    repeat = getattr(batch, "repeat", None)
    if repeat is None:
        return None
    strangers = np.setdiff1d(repeat.object_id, batch.object_id)
    if len(strangers):
        raise InputError(
            "a second observation of an object that is not in the batch: expected each object_id "
            "of batch.repeat in batch.object_id",
            object_id=str(strangers[0]),
        )
    kept = (repeat.spectrum_ivar > 0).any(1).cpu().numpy()
    kept &= np.isin(repeat.object_id, pairs.object_id)
    return repeat[torch.from_numpy(kept.nonzero()[0])]


class Alignment(L.LightningModule):
    """Train an AstroCLIP model so that the image and the spectrum of a galaxy agree.

    Each optimiser step contrasts one `TrainingBatch` per process with all others: the negatives
    come from the whole batch and from all processes. `micro_batch` bounds the memory of a large
    one.

    Parameters
    ----------
    model : astroclip_astro.models.AstroCLIP
        The model, trained in place.
    learning_rate, weight_decay : float
        Of AdamW; only parameters with two axes or more decay.
    betas : tuple of float
        Decay rates of AdamW's running averages.
    warmup, max_steps : int
        The rate rises linearly over `warmup` optimiser steps, then falls by half a cosine to zero
        at `max_steps`.
    logit_scale : float
        Multiplier of the cosine similarities, at most 100; its initial value if it is learned.
    learn_logit_scale : bool
        Whether the multiplier is learned, by its logarithm.
    train_spectrum_backbone, train_image_backbone : bool
        Whether SpecFormer and the vision transformer are trained along with the heads. A frozen one
        stays in eval mode and has no gradient.
    micro_batch : int, optional
        Objects that are encoded at a time (`encode_in_micro_batches`); by default the whole batch.
        The gradient does not depend on it. Tokens of frozen backbones are kept rather than computed
        twice: 3 MB per object and float32 for the full-size model.
    repeat_weight : float
        Weight of the loss between two observations of the same spectrum. The second ones are in
        ``batch.repeat``, a `TrainingBatch` of objects that are also in the batch.

    Raises
    ------
    ValueError
        If `logit_scale`, `micro_batch` or `repeat_weight` is out of range.

    Attributes
    ----------
    log_scale : torch.nn.Parameter
        Logarithm of the multiplier, only if it is learned.

    Notes
    -----
    Defaults are the paper's. Logged in training: ``train/loss``, and where they apply
    ``train/repeat_loss`` and ``train/logit_scale``. In validation: ``val/loss``, averaged over the
    batches (it depends on their size), and ``val/recall@1`` and ``val/recall@10``, averaged over
    both directions, within a pool of all validation objects, whose number is ``val/pool``.

    Parameters that AstroCLIP's forward pass does not use (class token, position embedding and mask
    token of the image backbone, the masked-modelling head of SpecFormer) are never trained here.

    Objects whose image or spectrum is masked entirely are left out of their batch with a warning.

    Examples
    --------
    >>> from astroclip_astro.models import AstroCLIP
    >>> from astroclip_astro.training.alignment import Alignment
    >>> model = AstroCLIP(
    ...     spectrum={"embed_dim": 24, "num_layers": 2, "num_heads": 2},
    ...     image={"embed_dim": 32, "depth": 8, "num_heads": 2},
    ...     embed_dim=32, spectrum_heads=2, image_heads=2,
    ... )
    >>> alignment = Alignment(model, max_steps=1000, warmup=100, micro_batch=32)
    >>> alignment.model.spectrum_encoder.backbone.training
    False
    """

    def __init__(
        self,
        model,
        *,
        learning_rate=1e-4,
        weight_decay=0.05,
        betas=(0.9, 0.999),
        warmup=0,
        max_steps,
        logit_scale=15.5,
        learn_logit_scale=False,
        train_spectrum_backbone=False,
        train_image_backbone=False,
        micro_batch=None,
        repeat_weight=0.0,
    ):
        super().__init__()
        if not 0 < logit_scale <= _LARGEST_SCALE:
            raise ValueError(f"logit_scale is {logit_scale}: expected above 0, at most 100")
        if micro_batch is not None and micro_batch < 1:
            raise ValueError(f"micro_batch is {micro_batch}: expected at least 1, or None")
        if repeat_weight < 0:
            raise ValueError(f"repeat_weight is {repeat_weight}: expected 0 or more")
        self.model = model
        self.learning_rate, self.weight_decay, self.betas = learning_rate, weight_decay, betas
        self.warmup, self.max_steps = warmup, max_steps
        self.micro_batch, self.repeat_weight = micro_batch, repeat_weight
        self.initial_scale = logit_scale
        self.log_scale = nn.Parameter(torch.tensor(log(logit_scale))) if learn_logit_scale else None
        model.requires_grad_(True)
        spectrum, image = model.spectrum_encoder.backbone, model.image_encoder.backbone
        for unused in (spectrum.head, image.cls_token, image.pos_embed, image.mask_token):
            unused.requires_grad_(False)
        trained = {spectrum: train_spectrum_backbone, image: train_image_backbone}
        self._frozen = [
            backbone.requires_grad_(False) for backbone in trained if not trained[backbone]
        ]
        self.train()

    def train(self, mode=True):
        """Switch between training and evaluation; frozen backbones stay in evaluation.

        Parameters
        ----------
        mode : bool
            Whether to train.

        Returns
        -------
        Alignment
            The module itself.
        """
        super().train(mode)
        for backbone in self._frozen:
            backbone.eval()
        return self

    @property
    def logit_scale(self):
        """Multiplier of the cosine similarities (float, or a scalar tensor with gradient)."""
        return self.initial_scale if self.log_scale is None else self.log_scale.exp()

    def configure_optimizers(self):
        """AdamW over the trained parameters, with one schedule step per optimiser step.

        Returns
        -------
        dict
            Optimiser and schedule, as Lightning takes them.
        """
        return adamw(
            (p for p in self.parameters() if p.requires_grad),
            partial(warmup_cosine, warmup=self.warmup, max_steps=self.max_steps),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            betas=self.betas,
        )

    def _vectors(self, encoder, x):
        """Vectors (B, D), float32, of what an encoder takes."""
        if encoder.backbone not in self._frozen:
            return encode_in_micro_batches(encoder, x, self.micro_batch).float()
        # A graph that begins behind the backbone spares its second pass.
        with torch.no_grad():
            tokens = encode_in_micro_batches(encoder.backbone, x, self.micro_batch)
        return encode_in_micro_batches(
            lambda part: encoder.pool(part)[0], tokens, self.micro_batch
        ).float()

    def _image_vectors(self, batch):
        rgb = encoder_input(batch.image, self.model.preprocessing["image"])
        return self._vectors(self.model.image_encoder, rgb)

    def losses(self, batch):
        """Losses of one batch, contrasted with those of the other processes.

        Parameters
        ----------
        batch : TrainingBatch
            Images and spectra of the same objects; ``batch.repeat``, where present, second
            observations of some of their spectra.

        Returns
        -------
        dict of torch.Tensor
            ``"loss"``, what to minimise, and with second observations ``"repeat_loss"``, their part
            in it before weighting (scalars, the same on all processes).

        Raises
        ------
        InputError
            If the batch has no images, no spectra, or no object with both, or second observations
            of objects that are not in it.
        """
        pairs = _pairs(batch)
        repeat = _second_observations(batch, pairs) if self.repeat_weight else None
        spectra = [pairs.spectrum] if repeat is None else [pairs.spectrum, repeat.spectrum]
        vectors = self._vectors(self.model.spectrum_encoder, torch.cat(spectra))
        spectrum, second = vectors[: len(pairs)], gather(vectors[len(pairs) :])
        image, spectrum = gather(self._image_vectors(pairs)), gather(spectrum)
        identity = gather(_identity(pairs.object_id, image.device))
        loss = contrastive_loss(image, spectrum, identity, self.logit_scale)
        if not len(second):
            return {"loss": loss}
        again = gather(_identity(() if repeat is None else repeat.object_id, image.device))
        first = spectrum[(again[:, None] == identity).int().argmax(1)]
        repeat_loss = contrastive_loss(first, second, again, self.logit_scale)
        return {"loss": loss + self.repeat_weight * repeat_loss, "repeat_loss": repeat_loss}

    def training_step(self, batch, batch_index):
        """Loss of one batch.

        Parameters
        ----------
        batch : TrainingBatch
            The batch of this process.
        batch_index : int
            Its number in the epoch.

        Returns
        -------
        torch.Tensor
            The loss (scalar).
        """
        if self.log_scale is not None:
            # Bounding the parameter, not its use, leaves it a gradient to come back with.
            with torch.no_grad():
                self.log_scale.clamp_(max=log(_LARGEST_SCALE))
            self.log("train/logit_scale", self.logit_scale.detach(), batch_size=len(batch))
        losses = self.losses(batch)
        for name, value in losses.items():
            self.log(f"train/{name}", value, prog_bar=name == "loss", batch_size=len(batch))
        return losses["loss"]

    def on_validation_epoch_start(self):
        """Forget the vectors of an earlier validation."""
        self._validated = []

    def validation_step(self, batch, batch_index):
        """Log the loss of one batch and keep its vectors.

        Parameters
        ----------
        batch : TrainingBatch
            The batch of this process.
        batch_index : int
            Its number.
        """
        pairs = _pairs(batch)
        image = gather(self._image_vectors(pairs))
        spectrum = gather(self._vectors(self.model.spectrum_encoder, pairs.spectrum))
        identity = gather(_identity(pairs.object_id, image.device))
        loss = contrastive_loss(image, spectrum, identity, self.logit_scale)
        self.log("val/loss", loss, on_epoch=True, prog_bar=True, batch_size=len(identity))
        self._validated.append((image.cpu(), spectrum.cpu(), identity.cpu()))

    def on_validation_epoch_end(self):
        """Log the recall among all validation objects, and how many they are."""
        image, spectrum, identity = map(torch.cat, zip(*self._validated, strict=True))
        self._validated = []
        for k in (1, 10):
            both = recall(image, spectrum, identity, k) + recall(spectrum, image, identity, k)
            self.log(f"val/recall@{k}", both / 2)
        self.log("val/pool", float(len(identity)))

    def on_fit_end(self):
        """Give the model the multiplier that it was trained with."""
        scale = self.initial_scale
        if self.log_scale is not None:
            scale = min(self.log_scale.detach().exp().item(), _LARGEST_SCALE)
        self.model.logit_scale = self.model.config["logit_scale"] = round(scale, 3)
