"""How the learning rate changes during training."""

from math import cos, pi

__all__ = ["warmup_cosine"]


def warmup_cosine(step, warmup, max_steps):
    """Learning rate of a step, relative to its peak: linear rise, then half a cosine to zero.

    Parameters
    ----------
    step : int
        Optimiser steps already done.
    warmup : int
        Steps of the rise; the peak is reached at the last of them.
    max_steps : int
        Step at which zero is reached; it stays there.

    Returns
    -------
    float
        Between 0 and 1.

    Notes
    -----
    Loshchilov & Hutter 2017 (https://arxiv.org/abs/1608.03983), eq. 5, without restarts; the rise
    is that of Goyal et al. 2017 (https://arxiv.org/abs/1706.02677), section 2.2.

    Examples
    --------
    >>> from astroclip_astro.training.schedule import warmup_cosine
    >>> [round(warmup_cosine(step, 2, 6), 2) for step in range(7)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, max_steps - warmup)
    return 0.5 * (1 + cos(pi * min(1.0, progress)))
