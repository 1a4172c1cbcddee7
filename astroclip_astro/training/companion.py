"""Training the encoder of one more modality to reach the space of a model that stays as it is."""

import numpy as np
import torch
from torch import nn

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.models.companion import Companion
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.training.contrastive import contrastive_loss

__all__ = ["align_companion"]


def align_companion(
    base,
    encoder,
    modality,
    observe,
    targets,
    *,
    steps=3000,
    batch_size=1024,
    learning_rate=1e-3,
    weight_decay=0.01,
    logit_scale=15.5,
    seed=0,
    progress=True,
):
    """Train an encoder until its vectors of galaxies agree with those that a model has of them.

    Parameters
    ----------
    base : GalaxyModel
        The model, in eval mode from then on; its weights stay as they are.
    encoder : torch.nn.Module
        From what `Modality.model_input` returns to vectors (B, embed_dim). Trained in place.
    modality : str
        Registered name of the further modality.
    observe : callable
        ``observe(rows, rng)`` with int64 rows (B,) and a `numpy.random.Generator` returns the
        ``flux`` of a batch (B, …) of these galaxies: the same data each time, or, better, a new
        draw of their noise.
    targets : sequence of array_like
        Vectors (n, embed_dim) of the n galaxies, one array for each modality of the model that is
        to be reached; their losses are averaged.
    steps, batch_size : int
        Steps of the optimiser, and galaxies in each.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises for a tenth of the steps and falls to 0 as a cosine.
    logit_scale : float
        Multiplier of the cosine similarities in the loss, 1/τ.
    seed : int
        Of batches and observations.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Companion
        In eval mode, its encoder without gradients, its ``training_range`` set.

    Raises
    ------
    ValueError
        If there are not equally many targets, fewer galaxies than a batch, or vectors or
        observations that are not finite.

    Notes
    -----
    The loss is InfoNCE as in the alignment of images and spectra (Parker et al. 2024, MNRAS 531,
    4990, equation 3), with one side frozen (Zhai et al. 2022, https://arxiv.org/abs/2111.07991).

    Examples
    --------
    The plugin ``plugins/astroclip-photometry`` trains its encoder with it.
    """
    targets = [
        torch.as_tensor(np.asarray(one), dtype=torch.float32, device=base.device) for one in targets
    ]
    n = len(targets[0])
    if any(one.shape != (n, base.embed_dim) for one in targets) or n < batch_size:
        raise ValueError(
            f"targets of shapes {[tuple(one.shape) for one in targets]}: expected ({n}, "
            f"{base.embed_dim}) each, and at least {batch_size} galaxies"
        )
    if not all(bool(one.isfinite().all()) for one in targets):
        raise ValueError("targets that are not finite: leave out galaxies without a vector")
    model = Companion(base, encoder, modality)
    encoder.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(encoder.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    rng = np.random.default_rng(seed)
    lowest, highest = np.inf, -np.inf
    bar = progress_bar(range(steps), progress=None if progress else False, unit="step")
    for _ in bar:
        rows = rng.choice(n, batch_size, replace=False)
        flux = torch.as_tensor(observe(rows, rng), dtype=torch.float32)
        if not flux.isfinite().all():
            raise ValueError("observe() returned what is not finite")
        level = get_modality(modality).level(flux)
        lowest, highest = min(lowest, float(level.min())), max(highest, float(level.max()))
        vectors = model.vectors(flux, modality)
        identity = torch.from_numpy(rows).to(base.device)
        loss = torch.stack(
            [contrastive_loss(vectors, one[identity], identity, logit_scale) for one in targets]
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.training_range[modality] = [lowest, highest]
    encoder.eval().requires_grad_(False)
    return model.eval()
