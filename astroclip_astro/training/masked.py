"""Masked modelling of spectra: SpecFormer's pre-training, as a Lightning module."""

from functools import partial

import lightning as L
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.training.batch import only_observed
from astroclip_astro.training.optimizer import adamw
from astroclip_astro.training.schedule import warmup_cosine

__all__ = ["MaskedModelling"]


class MaskedModelling(L.LightningModule):
    """Train a SpecFormer to fill in hidden parts of spectra.

    Parker et al. 2024 (MNRAS 531, 4990), section 3.1: six runs of tokens are hidden, and the mean
    squared error of what the model puts in their place is minimised. Pixels that were not observed
    or are masked carry no weight.

    Parameters
    ----------
    model : astroclip_astro.models.SpecFormer
        The model, trained in place.
    learning_rate, weight_decay : float
        Of AdamW; only parameters with two axes or more decay.
    betas : tuple of float
        Decay rates of AdamW's running averages.
    warmup, max_steps : int
        The rate rises linearly over `warmup` optimiser steps, then falls by half a cosine to zero
        at `max_steps`.

    Examples
    --------
    >>> from astroclip_astro.models import SpecFormer
    >>> from astroclip_astro.training.masked import MaskedModelling
    >>> model = SpecFormer(embed_dim=24, num_layers=2, num_heads=2)
    >>> MaskedModelling(model, max_steps=100).model is model
    True
    """

    def __init__(
        self,
        model,
        *,
        learning_rate=1e-4,
        weight_decay=0.1,
        betas=(0.9, 0.95),
        warmup=2000,
        max_steps,
    ):
        super().__init__()
        self.model = model
        self.learning_rate, self.weight_decay, self.betas = learning_rate, weight_decay, betas
        self.warmup, self.max_steps = warmup, max_steps

    def configure_optimizers(self):
        """AdamW, with one schedule step per optimiser step.

        Returns
        -------
        dict
            Optimiser and schedule, as Lightning takes them.
        """
        return adamw(
            self.model.parameters(),
            partial(warmup_cosine, warmup=self.warmup, max_steps=self.max_steps),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            betas=self.betas,
        )

    def loss(self, batch):
        """Mean squared error over the hidden pixels that were observed.

        Parameters
        ----------
        batch : TrainingBatch
            With spectra.

        Returns
        -------
        torch.Tensor
            Scalar.

        Raises
        ------
        InputError
            If the batch has no spectra, or none with an observed pixel.
        """
        if batch.spectrum is None:
            raise InputError("the batch has no spectra: use a source that has them")
        batch = only_observed(batch, (batch.spectrum_ivar > 0).any(1), "a spectrum")
        tokens = self.model.preprocess(batch.spectrum)
        masked = self.model.mask(tokens)
        hidden = (tokens != masked) & self._weights(batch.spectrum_ivar, tokens)
        error = self.model.head(self.model.forward_tokens(masked)) - tokens
        return (error.square() * hidden).sum() / hidden.sum().clamp(min=1)

    def _weights(self, ivar, tokens):
        """Which entries of the tokens (B, T, input_dim) are of observed pixels."""
        section = self.model.config["slice_section_length"]
        stride = section - self.model.config["slice_overlap"]
        seen = (ivar > 0).unfold(1, section, stride)[:, : tokens.shape[1] - 1]
        return torch.nn.functional.pad(seen, (2, 0, 1, 0), value=True)

    def training_step(self, batch, batch_index):
        """Loss of one batch.

        Parameters
        ----------
        batch : TrainingBatch
            The batch of this process.
        batch_index : int
            Its number.

        Returns
        -------
        torch.Tensor
            The loss (scalar).
        """
        loss = self.loss(batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch, batch_index):
        """Log the loss of one batch.

        Parameters
        ----------
        batch : TrainingBatch
            The batch of this process.
        batch_index : int
            Its number.
        """
        self.log("val/loss", self.loss(batch), prog_bar=True, sync_dist=True, batch_size=len(batch))
