"""Contrastive alignment of images and spectra on the mock survey: how the bundled model is made.

``python -m astroclip_astro.training.alignment MOCKS OUT`` trains, and goes on from the last
checkpoint in OUT if it was interrupted. The recipe follows Parker et al. 2024 (MNRAS 531, 4990,
section 3.4) with two differences that suit a small model: both encoders are trained from scratch
together with the heads, and two noise realisations of one spectrum are pulled together as well
(Chen et al. 2020, https://arxiv.org/abs/2002.05709).
"""

import json
import logging
import math
import os
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import click
import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from astroclip_astro.adapters.image import to_rgb
from astroclip_astro.models import AstroCLIP, clip_loss

__all__ = ["AlignmentConfig", "MockPairs", "align", "held_out"]

log = logging.getLogger(__name__)


def held_out(n):
    """Which objects of a mock survey are never trained on: every tenth.

    Parameters
    ----------
    n : int
        Size of the survey.

    Returns
    -------
    numpy.ndarray
        Shape (n,), bool, True where held out.

    Examples
    --------
    >>> from astroclip_astro.training.alignment import held_out
    >>> held_out(20).nonzero()[0]
    array([ 9, 19])
    """
    return np.arange(n) % 10 == 9


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """Settings of one alignment run.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    batch_size : int
        Galaxies per step; each is a negative for all others.
    second_views : int
        How many of them show a second noise realisation of their spectrum.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up over `warmup` steps and decays by half a cosine.
    warmup : int
        Steps of linear warm-up. Without it the two encoders collapse.
    small_crop : int
        Size of the image crop, pixels, until `full_crop_from` (fraction of `steps`); afterwards
        the model's own crop. A smaller crop has the same patches, only fewer of empty sky.
    full_crop_from : float
        See `small_crop`.
    seed : int
        Seed of initialisation, order and augmentation.
    """

    steps: int = 1500
    batch_size: int = 128
    second_views: int = 48
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 150
    small_crop: int = 96
    full_crop_from: float = 0.9
    seed: int = 0


class MockPairs:
    """The training part of a mock survey in memory, drawn with fresh noise at every step.

    Parameters
    ----------
    survey : astroclip_astro.simulate.MockSurvey
        The survey; objects that `held_out` marks are left out.
    spectrum, image : SpectrumPreprocessing, ImagePreprocessing
        The model's preprocessing.
    """

    def __init__(self, survey, spectrum, image):
        self.spectrum, self.image = spectrum, image
        held = held_out(len(survey))
        edge = (image.size - image.crop) // 2
        inner = slice(edge, edge + image.crop)
        parts = []
        for start in range(0, len(survey), 500):
            rows = slice(start, start + 500)
            arrays = survey.arrays(rows)
            # Half precision keeps 30,000 pairs in 4 GB; it resolves a thousandth of the flux.
            half = {
                "flux": arrays["spectrum"],
                "flux_sigma": arrays["spectrum_sigma"],
                "pixels": arrays["image"][..., inner, inner],
                "pixels_sigma": arrays["image_sigma"],
            }
            parts.append({k: v[~held[rows]].astype(np.float16) for k, v in half.items()})
        for name in parts[0]:
            setattr(self, name, torch.from_numpy(np.concatenate([p[name] for p in parts])))

    def __len__(self):
        return len(self.flux)

    def mean_flux(self):
        """Lowest and highest mean flux of what is trained on.

        Returns
        -------
        dict of tuple of float
            By modality.
        """
        means = {
            "spectrum": self.flux.mean(1, dtype=torch.float32),
            "image": self.pixels.mean((1, 2, 3), dtype=torch.float32),
        }
        return {name: (float(mean.min()), float(mean.max())) for name, mean in means.items()}

    def spectra(self, index, generator):
        """Noisy spectra of the chosen objects, as different instruments might record them.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.
        generator : torch.Generator
            Source of the noise.

        Returns
        -------
        torch.Tensor
            Shape (B, L, 1), float32. The flux scale varies by 0.1 dex, as fibre losses do; in half
            of the spectra the pixels outside a random range are unobserved and hold the mean of the
            others, which is the adapters' policy for missing coverage.
        """
        sigma = self.flux_sigma[index].float()
        flux = self.flux[index].float()
        flux = flux + sigma * torch.randn(flux.shape, generator=generator)
        flux *= 10 ** (0.1 * torch.randn(len(index), 1, generator=generator))
        n = flux.shape[1]
        u = torch.rand(3, len(index), 1, generator=generator)
        partial = u[0] < 0.5
        first = torch.where(partial, 0.08 * n * u[1], 0)
        last = torch.where(partial, n * (1 - 0.16 * u[2]), n)
        position = torch.arange(n)
        observed = (position >= first) & (position < last)
        mean = (flux * observed).sum(1, keepdim=True) / observed.sum(1, keepdim=True)
        return torch.where(observed, flux, mean).unsqueeze(-1)

    def images(self, index, generator, crop):
        """Noisy colour images of the chosen objects, randomly flipped and turned.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.
        generator : torch.Generator
            Source of the noise and of the orientation.
        crop : int
            Size in pixels.

        Returns
        -------
        torch.Tensor
            Shape (B, 3, crop, crop), float32, what `image_encoder` takes.
        """
        edge = (self.pixels.shape[-1] - crop) // 2
        inner = slice(edge, edge + crop)
        flux = self.pixels[index, :, inner, inner].float()
        sigma = self.pixels_sigma[index].float()[..., None, None]
        flux = flux + sigma * torch.randn(flux.shape, generator=generator)
        turn = int(torch.randint(8, (1,), generator=generator))
        flux = torch.rot90(flux, turn % 4, (-2, -1))
        if turn >= 4:
            flux = flux.flip(-1)
        return to_rgb(flux, self.image)


def _learning_rate(step, config):
    """Linear warm-up, then half a cosine (Loshchilov & Hutter 2017)."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def _save(path, state):
    """Write a checkpoint aside and rename it, so that a kill leaves the previous one whole."""
    aside = path.with_suffix(".tmp")
    torch.save(state, aside)
    os.replace(aside, path)


def align(model, pairs, out, config=None, *, checkpoint_minutes=3.0, progress=None):
    """Train an AstroCLIP model on pairs of images and spectra, on the CPU.

    Parameters
    ----------
    model : AstroCLIP
        The model, trained in place and left in eval mode.
    pairs : MockPairs
        The data.
    out : path-like
        Folder of the checkpoint ``last.pt`` and the log ``log.jsonl``; an interrupted run goes on
        from it.
    config : AlignmentConfig, optional
        The settings.
    checkpoint_minutes : float
        Time between checkpoints.
    progress : bool, optional
        Show a progress bar; by default if the terminal is interactive.

    Returns
    -------
    AstroCLIP
        The model, with the learned temperature in ``config["logit_scale"]``.

    Raises
    ------
    FloatingPointError
        If the loss becomes NaN; the message names the objects of the batch.
    """
    config = config or AlignmentConfig()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(config.seed)
    log_scale = torch.nn.Parameter(torch.tensor(math.log(model.logit_scale)))
    weights = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": config.weight_decay},
            {"params": [*others, log_scale], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _learning_rate(s, config))
    start = 0
    if (out / "last.pt").exists():
        state = torch.load(out / "last.pt", weights_only=True)
        model.load_state_dict(state["model"])
        log_scale.data.copy_(state["log_scale"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        start = state["step"]
        log.info("going on from step %d", start)
    model.train().requires_grad_(True)
    # Dropout draws from the global generator; fork it so that the caller's stays untouched.
    with torch.random.fork_rng(devices=[]), open(out / "log.jsonl", "a") as journal:
        saved = time.monotonic()
        for step in tqdm(
            range(start, config.steps), disable=None if progress is None else not progress
        ):
            torch.manual_seed(config.seed + step)
            index = torch.randperm(len(pairs), generator=generator)[: config.batch_size]
            crop = (
                config.small_crop
                if step < config.full_crop_from * config.steps
                else pairs.image.crop
            )
            spectra = pairs.spectra(torch.cat([index, index[: config.second_views]]), generator)
            images = pairs.images(index, generator, crop)
            with torch.autocast("cpu", torch.bfloat16):
                spectrum_features = model.spectrum_encoder(spectra)
                image_features = model.image_encoder(images)
            spectrum_features = spectrum_features.float()
            first, second = spectrum_features.split([len(index), config.second_views])
            scale = log_scale.exp().clamp(max=100.0)
            loss, logits = clip_loss(image_features.float(), first, scale)
            views, _ = clip_loss(second, first[: config.second_views], scale)
            total = loss + 0.5 * views
            if not torch.isfinite(total):
                raise FloatingPointError(
                    f"loss is {total.item()} at step {step}, objects {index.tolist()}"
                )
            optimizer.zero_grad()
            total.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            top = (logits.argmax(1) == torch.arange(len(index))).float().mean()
            row = {
                "step": step,
                "loss": loss.item(),
                "views": views.item(),
                "top1": top.item(),
                "scale": scale.item(),
            }
            journal.write(json.dumps(row) + "\n")
            last = step + 1 == config.steps
            if last or time.monotonic() - saved > 60 * checkpoint_minutes:
                journal.flush()
                _save(
                    out / "last.pt",
                    {
                        "step": step + 1,
                        "model": model.state_dict(),
                        "log_scale": log_scale.data,
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                        "generator": generator.get_state(),
                    },
                )
                saved = time.monotonic()
    model.logit_scale = round(log_scale.detach().exp().clamp(max=100.0).item(), 3)
    model.config["logit_scale"] = model.logit_scale
    model.training_range = pairs.mean_flux()
    return model.eval().requires_grad_(False)


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--steps", default=AlignmentConfig.steps, show_default=True, help="Optimiser steps.")
@click.option(
    "--seed", default=AlignmentConfig.seed, show_default=True, help="Seed of everything random."
)
def main(mocks, out, steps, seed):
    """Train the compact model on the mock survey MOCKS; weights and checkpoints go to OUT.

    Example: python -m astroclip_astro.training.alignment mocks/ run/
    """
    from astroclip_astro.simulate import MockSurvey
    from astroclip_astro.weights import save_model

    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(seed)
    file = resources.files("astroclip_astro.models") / "configs" / "astroclip-mini.json"
    model = AstroCLIP(**json.loads(file.read_text())["config"])
    survey = MockSurvey.open(mocks)
    pairs = MockPairs(survey, model.preprocessing["spectrum"], model.preprocessing["image"])
    log.info("%d pairs", len(pairs))
    align(model, pairs, out, AlignmentConfig(steps=steps, seed=seed))
    save_model(
        model, Path(out) / "astroclip-mini.safetensors", name="astroclip-mini", dtype=torch.float16
    )


if __name__ == "__main__":
    main()
