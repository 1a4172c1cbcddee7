"""Training of the supervised baselines: several properties at once, each on its own scale."""

import time

import lightning as L
import numpy as np
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.training.optimizer import adamw
from astroclip_astro.training.schedule import warmup_cosine

__all__ = ["Supervised"]


class Supervised(L.LightningModule):
    """Train a network to predict properties of galaxies.

    Parameters
    ----------
    model : ResNet18, ConvAttention or PhotometryMLP
        Any module whose ``inputs(batch)`` are what it takes and which gives one number per target.
    targets : dict of numpy.ndarray
        By name, the known values of the training objects; NaN where unknown. Their mean and
        standard deviation make the scale on which the network learns.
    learning_rate, weight_decay : float
        Of AdamW; biases and scales are not decayed.
    warmup : int
        Steps of linear warm-up, before half a cosine.
    max_steps : int
        Optimiser steps.
    max_minutes : float, optional
        Let the time decide, too: the learning rate falls to zero at whichever limit comes first.

    Raises
    ------
    InputError
        If a target has fewer than two different values.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.baselines import PhotometryMLP
    >>> from astroclip_astro.training.regression import Supervised
    >>> redshift = np.array([0.1, 0.2, 0.3])
    >>> module = Supervised(PhotometryMLP(1), targets={"redshift": redshift}, max_steps=10)
    >>> module.names, module.mean
    (('redshift',), tensor([0.2000]))
    """

    def __init__(
        self,
        model,
        *,
        targets,
        learning_rate=1e-3,
        weight_decay=0.01,
        warmup=50,
        max_steps=1000,
        max_minutes=None,
    ):
        super().__init__()
        self.model = model
        self.names = tuple(targets)
        values = [np.asarray(v, np.float64) for v in targets.values()]
        values = [v[np.isfinite(v)] for v in values]
        for name, known in zip(self.names, values, strict=True):
            if np.unique(known).size < 2:
                raise InputError(
                    f"{len(known)} known values of {name}: expected at least two different ones"
                )
        self.register_buffer("mean", torch.tensor([v.mean() for v in values]).float())
        self.register_buffer("std", torch.tensor([v.std() for v in values]).float())
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup, self.max_steps, self.max_minutes = warmup, max_steps, max_minutes
        self.started = None

    def forward(self, batch):
        """Predict in physical units.

        Parameters
        ----------
        batch : TrainingBatch
            What the network needs.

        Returns
        -------
        torch.Tensor
            Shape (B, target), in the order of `names`.
        """
        return self.model(self.model.inputs(batch)) * self.std + self.mean

    def loss(self, batch):
        """Mean squared error over the known targets, each on its own scale.

        Parameters
        ----------
        batch : TrainingBatch
            With targets; NaN where unknown.

        Returns
        -------
        torch.Tensor
            Scalar; 0 if no target is known.
        """
        wanted = torch.stack([batch.targets[name] for name in self.names], 1)
        known = wanted.isfinite()
        wanted = torch.where(known, (wanted - self.mean) / self.std, 0)
        error = (self.model(self.model.inputs(batch)) - wanted).square()
        return (error * known).sum() / known.sum().clamp(min=1)

    def training_step(self, batch, batch_idx):
        """Loss of a batch, logged as ``train/loss``.

        Parameters
        ----------
        batch : TrainingBatch
            With what the network takes.
        batch_idx : int
            Its number.

        Returns
        -------
        torch.Tensor
            Scalar.

        Raises
        ------
        InputError
            If the loss is not finite, before it spoils the weights.
        """
        loss = self.loss(batch)
        if not loss.isfinite():
            broken = ~self.model.inputs(batch).flatten(1).isfinite().all(1).cpu().numpy()
            names = ", ".join(map(str, batch.object_id[broken][:20]))
            names = names or "none: the rate is too high"
            raise InputError(
                f"the loss of {type(self.model).__name__} is {loss.item()}; objects whose flux is "
                f"not finite: {names}"
            )
        self.log("train/loss", loss, batch_size=len(batch))
        return loss

    def validation_step(self, batch, batch_idx):
        """Log the loss of a batch as ``val/loss``.

        Parameters
        ----------
        batch : TrainingBatch
            With what the network takes.
        batch_idx : int
            Its number.
        """
        self.log("val/loss", self.loss(batch), batch_size=len(batch))

    def predict_step(self, batch, batch_idx):
        """Predict in physical units.

        Parameters
        ----------
        batch : TrainingBatch
            With what the network takes.
        batch_idx : int
            Its number.

        Returns
        -------
        torch.Tensor
            Shape (B, target), on the CPU.
        """
        return self(batch).cpu()

    def on_train_start(self):
        """Start the clock of `max_minutes`."""
        self.started = time.monotonic()

    def _rate(self, step):
        """Learning rate over its peak: by steps, or by time where that has advanced further."""
        if self.max_minutes is not None and self.started is not None:
            share = (time.monotonic() - self.started) / (60 * self.max_minutes)
            step = max(step, int(min(share, 1) * self.max_steps))
        return warmup_cosine(step, self.warmup, self.max_steps)

    def configure_optimizers(self):
        """AdamW, decaying matrices only, with the rate set at every step.

        Returns
        -------
        dict
            Optimiser and schedule, as Lightning takes them.
        """
        return adamw(
            self.model.parameters(),
            self._rate,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
