"""Self-distillation of images: DINOv2's pre-training, as a Lightning module.

Oquab et al. 2023 (https://arxiv.org/abs/2304.07193), as Parker et al. 2024 (MNRAS 531, 4990),
section 3.2, use it for galaxies.
"""

import copy
import logging
import math
from functools import partial

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F

from astroclip_astro.adapters.image import to_rgb
from astroclip_astro.errors import InputError
from astroclip_astro.training.batch import only_observed
from astroclip_astro.training.dino_losses import cross_entropy, koleo, sinkhorn_knopp
from astroclip_astro.training.image_augment import another_look
from astroclip_astro.training.optimizer import adamw
from astroclip_astro.training.schedule import warmup_cosine

__all__ = ["ProjectionHead", "SelfDistillation"]

log = logging.getLogger(__name__)

_STUDENT_TEMPERATURE = 0.1


class ProjectionHead(nn.Module):
    """From tokens to prototypes: three layers, and cosine similarities with the prototypes.

    Caron et al. 2021 (https://arxiv.org/abs/2104.14294), appendix C.

    Parameters
    ----------
    width : int
        Of the tokens.
    prototypes, hidden, bottleneck : int
        Numbers of outputs, of hidden units, and of dimensions before the prototypes.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.distillation import ProjectionHead
    >>> ProjectionHead(32, 64, hidden=16, bottleneck=8)(torch.rand(2, 32)).shape
    torch.Size([2, 64])
    """

    def __init__(self, width, prototypes, hidden=2048, bottleneck=256):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        for parameter in [*self.layers.parameters(), self.prototypes]:
            if parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=0.02)
            else:
                nn.init.zeros_(parameter)

    def forward(self, tokens):
        """Map tokens to logits.

        Parameters
        ----------
        tokens : torch.Tensor
            Shape (..., width).

        Returns
        -------
        torch.Tensor
            Shape (..., prototype), between -1 and 1.
        """
        directions = F.normalize(self.layers(tokens), dim=-1, eps=1e-6)
        return directions @ F.normalize(self.prototypes, dim=-1).T


class SelfDistillation(L.LightningModule):
    """Train a vision transformer on images alone, to agree with a slower copy of itself.

    Every galaxy is looked at several times (`another_look`). The student's class token of each look
    has to predict the teacher's of the other whole looks (DINO), and its tokens of hidden patches
    the teacher's that sees them (iBOT); KoLeo keeps galaxies apart. The teacher is the running
    average of the student, and **it is the teacher that ends up in the model** when training ends.

    Parameters
    ----------
    model : astroclip_astro.models.VisionTransformer
        The model, trained in place.
    learning_rate : float
        Of AdamW.
    weight_decay : tuple of float
        First and last value, by half a cosine; only parameters with two axes or more decay.
    warmup, max_steps : int
        The rate rises linearly over `warmup` optimiser steps, then falls by half a cosine to zero
        at `max_steps`.
    momentum : float
        Of the teacher's average at the start; it rises to 1 by half a cosine.
    teacher_temperature : tuple of float
        First and last value; it rises linearly over `teacher_warmup` steps.
    teacher_warmup : int
        See there.
    prototypes, hidden, bottleneck : int
        Of the heads.
    global_crop, local_crop : int
        Pixels on a side of whole looks, the model's own crop at most, and of parts.
    local_crops : int
        Parts per galaxy, beside two whole looks.
    hidden_share : tuple of float
        Least and largest share of patches that are hidden, in half of the whole looks.
    koleo_weight : float
        Of that loss.
    freeze_prototypes : int
        Steps in which the last layer of the heads stays as it is.

    Notes
    -----
    Defaults are DINOv2's for a ViT-L, but for the sizes of crops, which are AstroDINO's.

    Images that are masked entirely are left out of their batch with a warning, and patches in which
    no pixel has weight are not among those whose tokens are predicted. Single masked pixels are
    looked at as the source filled them.

    Examples
    --------
    >>> from astroclip_astro.models import VisionTransformer
    >>> from astroclip_astro.training.distillation import SelfDistillation
    >>> model = VisionTransformer(embed_dim=32, depth=4, num_heads=2)
    >>> module = SelfDistillation(model, max_steps=10, prototypes=64, hidden=32, bottleneck=16)
    >>> any(p.requires_grad for p in module.teacher.parameters())
    False
    """

    def __init__(
        self,
        model,
        *,
        learning_rate=2e-4,
        weight_decay=(0.04, 0.2),
        warmup=1000,
        max_steps,
        momentum=0.992,
        teacher_temperature=(0.04, 0.07),
        teacher_warmup=3000,
        prototypes=65536,
        hidden=2048,
        bottleneck=256,
        global_crop=144,
        local_crop=60,
        local_crops=8,
        hidden_share=(0.1, 0.5),
        koleo_weight=0.1,
        freeze_prototypes=1250,
    ):
        super().__init__()
        self.model = model
        width = model.embed_dim
        self.heads = nn.ModuleDict(
            {
                name: ProjectionHead(width, prototypes, hidden, bottleneck)
                for name in ("dino", "ibot")
            }
        )
        self.teacher = nn.ModuleDict(
            {"model": copy.deepcopy(model), "heads": copy.deepcopy(self.heads)}
        ).requires_grad_(False)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup, self.max_steps = warmup, max_steps
        self.momentum = momentum
        self.teacher_temperature, self.teacher_warmup = teacher_temperature, teacher_warmup
        self.global_crop, self.local_crop, self.local_crops = global_crop, local_crop, local_crops
        self.hidden_share, self.koleo_weight = hidden_share, koleo_weight
        self.freeze_prototypes = freeze_prototypes

    def train(self, mode=True):
        """Switch between training and evaluation; the teacher stays in evaluation.

        Parameters
        ----------
        mode : bool
            Whether to train.

        Returns
        -------
        SelfDistillation
            The module itself.
        """
        super().train(mode)
        self.teacher.eval()
        return self

    def configure_optimizers(self):
        """AdamW, with one schedule step per optimiser step.

        Returns
        -------
        dict
            Optimiser and schedule, as Lightning takes them.
        """
        return adamw(
            [*self.model.parameters(), *self.heads.parameters()],
            partial(warmup_cosine, warmup=self.warmup, max_steps=self.max_steps),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay[0],
        )

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        """Take a step, then let the teacher follow.

        Parameters
        ----------
        epoch, batch_idx : int
            Not used.
        optimizer : torch.optim.Optimizer
            Takes the step.
        optimizer_closure : callable
            Computes loss and gradient.
        """
        step = self.global_step
        first, last = self.weight_decay
        decay = last - (last - first) * _half_cosine(step, self.max_steps)
        optimizer.param_groups[0]["weight_decay"] = decay
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.follow(1 - (1 - self.momentum) * _half_cosine(step, self.max_steps))

    def on_after_backward(self):
        """Leave the prototypes as they are in the first steps."""
        if self.global_step < self.freeze_prototypes:
            for head in self.heads.values():
                head.prototypes.grad = None

    @torch.no_grad()
    def follow(self, momentum):
        """Move the teacher's weights towards the student's.

        Parameters
        ----------
        momentum : float
            Share of the teacher's that stays.
        """
        student = nn.ModuleDict({"model": self.model, "heads": self.heads})
        for slow, fast in zip(self.teacher.parameters(), student.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)

    def losses(self, images, ivar=None):
        """Losses of one batch.

        Parameters
        ----------
        images : torch.Tensor
            g, r, z in nanomaggies, shape (B, 3, N, N), B at least 2.
        ivar : torch.Tensor, optional
            Inverse variances, of the same shape.

        Returns
        -------
        dict of torch.Tensor
            ``loss``, and its terms ``dino``, ``ibot`` and ``koleo`` (scalars).
        """
        colours = self.model.preprocessing["image"]
        n = len(images)
        edge = (images.shape[-1] - self.global_crop) // 2
        inner = slice(edge, edge + self.global_crop)
        flux = images[..., inner, inner]
        ivar = None if ivar is None else ivar[..., inner, inner]
        looks = [another_look(flux, ivar) for _ in range(2)]
        whole = torch.cat([to_rgb(look, colours) for look, _ in looks])
        parts = [
            to_rgb(another_look(flux, ivar, size=self.local_crop)[0], colours)
            for _ in range(self.local_crops)
        ]
        size = self.model.config["patch_size"]
        hidden = self._hidden(2 * n, (self.global_crop // size) ** 2, images.device)
        predicted = hidden
        if ivar is not None:
            observed = torch.cat([seen for _, seen in looks])
            predicted = hidden & (F.max_pool2d(observed.to(flux.dtype), size) > 0).flatten(1)
        temperature = self._temperature()
        with torch.no_grad():
            seen = self.teacher["model"].training_tokens(whole)
            heads = self.teacher["heads"]
            # Each whole look is what the student's others have to predict.
            wanted = [
                sinkhorn_knopp(logits, temperature) for logits in heads["dino"](seen[:, 0]).chunk(2)
            ]
            wanted_patches = sinkhorn_knopp(heads["ibot"](seen[:, 1:][predicted]), temperature)
        tokens = self.model.training_tokens(whole, hidden)
        first, second = self.heads["dino"](tokens[:, 0]).chunk(2)
        pairs = [(second, wanted[0]), (first, wanted[1])]
        if parts:
            small = self.model.training_tokens(torch.cat(parts))[:, 0]
            for one in self.heads["dino"](small).split(n):
                pairs += [(one, wanted[0]), (one, wanted[1])]
        dino = sum(cross_entropy(s, t, _STUDENT_TEMPERATURE) for s, t in pairs) / len(pairs)
        ibot = dino.new_zeros(())
        if predicted.any():
            logits = self.heads["ibot"](tokens[:, 1:][predicted])
            ibot = cross_entropy(logits, wanted_patches, _STUDENT_TEMPERATURE)
        apart = sum(koleo(part) for part in tokens[:, 0].chunk(2)) / 2
        loss = dino + ibot + self.koleo_weight * apart
        return {"loss": loss, "dino": dino, "ibot": ibot, "koleo": apart}

    def _hidden(self, n, patches, device):
        """Patches to hide, shape (n, T): a block in every second image, of random size."""
        side = math.isqrt(patches)
        low, high = self.hidden_share
        hidden = torch.zeros(n, side, side, dtype=torch.bool)
        for i in torch.nonzero(torch.rand(n) < 0.5).ravel().tolist():
            area = patches * (low + (high - low) * torch.rand(()).item())
            # Aspect between 1/3 and 3, as in BEiT (Bao et al. 2022).
            aspect = math.exp(math.log(3) * (2 * torch.rand(()).item() - 1))
            height = min(side, max(1, round(math.sqrt(area * aspect))))
            width = min(side, max(1, round(math.sqrt(area / aspect))))
            top = torch.randint(side - height + 1, ()).item()
            left = torch.randint(side - width + 1, ()).item()
            hidden[i, top : top + height, left : left + width] = True
        return hidden.flatten(1).to(device)

    def _temperature(self):
        first, last = self.teacher_temperature
        return first + (last - first) * min(1.0, self.global_step / max(1, self.teacher_warmup))

    def _step(self, batch, stage):
        if batch.image is None:
            raise InputError("the batch has no images: use a source that has them")
        if batch.image_ivar is not None:
            batch = only_observed(batch, (batch.image_ivar > 0).flatten(1).any(1), "an image")
        alone = len(batch) < 2
        # The losses are of all processes together, so that they leave out a batch together.
        if stage == "val" and self.trainer.strategy.reduce_boolean_decision(alone, all=False):
            log.warning(
                "left out of the validation, as one image alone cannot be told from others: %s",
                ", ".join(map(str, batch.object_id)),
            )
            return None
        if alone:
            raise InputError(
                "one image alone cannot be told from others: expected at least 2 in a batch",
                object_id=str(batch.object_id[0]),
            )
        losses = self.losses(batch.image, batch.image_ivar)
        for name, value in losses.items():
            self.log(
                f"{stage}/{name}",
                value,
                prog_bar=name == "loss",
                batch_size=len(batch),
                sync_dist=stage == "val",
            )
        return losses["loss"]

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
        return self._step(batch, "train")

    def validation_step(self, batch, batch_index):
        """Log the losses of one batch.

        Parameters
        ----------
        batch : TrainingBatch
            The batch of this process.
        batch_index : int
            Its number.
        """
        self._step(batch, "val")

    def on_fit_end(self):
        """Give the model the teacher's weights."""
        self.model.load_state_dict(self.teacher["model"].state_dict())


def _half_cosine(step, max_steps):
    """From 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, max_steps))))
