"""The training loop of the bundled model's stages: on one processor, resumable at any step."""

import json
import logging
import os
from pathlib import Path

import torch
from torch.nn.utils import clip_grad_norm_

from astroclip_astro.notebooks import progress_bar
from astroclip_astro.training.optimizer import decay_groups
from astroclip_astro.training.schedule import warmup_cosine

__all__ = ["fit"]

log = logging.getLogger(__name__)

WEIGHT_DECAY = 0.05
BETAS = (0.9, 0.98)
EVERY = 50  # steps between checkpoints


def fit(task, out, *, steps, batch_size, warmup, learning_rate=1e-3, seed=0, progress=True):
    """Train a task in place; go on from the last checkpoint if there is one.

    Everything random is drawn from torch's global generator, which every step seeds by its number,
    and the order of the objects is that of the epoch's number: an interrupted run continues to the
    same result.

    Parameters
    ----------
    task : torch.nn.Module
        Has an ``observer`` of known length; takes indices (B,) and returns the loss and a dict of
        numbers to note down.
    out : path-like
        Folder of the checkpoint ``last.pt`` and the log ``log.jsonl``.
    steps, batch_size, warmup : int
        Optimiser steps, objects per step, steps of linear warm-up.
    learning_rate : float
        Highest rate of AdamW, from which half a cosine falls to zero.
    seed : int
        Of order, augmentation and noise.
    progress : bool
        Show a progress bar.

    Returns
    -------
    torch.nn.Module
        The task.

    Raises
    ------
    FloatingPointError
        If the loss is not finite; the message names the objects.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    trained = [p for p in task.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(decay_groups(trained, WEIGHT_DECAY), betas=BETAS)
    start = 0
    last = out / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        task.load_state_dict(state["task"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
        log.info("%s: going on from step %d of %d", out.name, start, steps)
    per_epoch = len(task.observer) // batch_size
    if not per_epoch:
        raise ValueError(f"{len(task.observer)} objects are fewer than a batch of {batch_size}")
    task.train()
    with torch.random.fork_rng(devices=[]), (out / "log.jsonl").open("a") as journal:
        bar = progress_bar(range(start, steps), progress=progress, initial=start, total=steps)
        for step in bar:
            epoch, part = divmod(step, per_epoch)
            torch.manual_seed(seed + epoch)
            index = torch.randperm(len(task.observer))[part * batch_size : (part + 1) * batch_size]
            torch.manual_seed(seed + 1_000_000 + step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * warmup_cosine(step, warmup, steps)
            with torch.autocast("cpu", torch.bfloat16):
                loss, parts = task(index)
            if not torch.isfinite(loss):
                rows = task.observer.row[index].tolist()
                raise FloatingPointError(f"loss is {loss.item()} at step {step}, mocks {rows}")
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(trained, 1.0)
            optimizer.step()
            row = {"step": step, "loss": loss.item()}
            row |= {name: round(value.item(), 4) for name, value in parts.items()}
            journal.write(json.dumps(row) + "\n")
            bar.set_postfix_str(f"loss {row['loss']:.3f}")
            if (step + 1) % EVERY == 0 or step + 1 == steps:
                journal.flush()
                _save(
                    last,
                    {
                        "step": step + 1,
                        "task": task.state_dict(),
                        "optimizer": optimizer.state_dict(),
                    },
                )
    return task.eval()


def _save(path, state):
    """Write a checkpoint aside and rename it, so that a kill leaves the previous one whole."""
    aside = path.with_suffix(".part")
    torch.save(state, aside)
    os.replace(aside, path)
