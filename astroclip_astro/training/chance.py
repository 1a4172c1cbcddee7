"""Chance that a few whole numbers decide, so that no state of a generator has to be kept."""

import numpy as np
import torch

__all__ = ["noise_generator", "seed_of"]


def seed_of(*numbers):
    """One seed of several numbers.

    Parameters
    ----------
    *numbers : int
        A seed and what the chance is for, not negative.

    Returns
    -------
    int
        Below 2**63; other numbers, or the same in another order, give another one.

    Examples
    --------
    >>> from astroclip_astro.training.chance import seed_of
    >>> seed_of(0, 5) == seed_of(0, 5), seed_of(0, 5) == seed_of(5, 0)
    (True, False)
    """
    state = np.random.SeedSequence([int(i) for i in numbers]).generate_state(1, np.uint64)
    return int(state[0] >> 1)


def noise_generator(*numbers):
    """Source of noise that a few numbers decide.

    Parameters
    ----------
    *numbers : int
        As in `seed_of`.

    Returns
    -------
    torch.Generator

    Examples
    --------
    >>> from astroclip_astro.training.chance import noise_generator
    >>> noise_generator(0, 5).initial_seed() == noise_generator(0, 5).initial_seed()
    True
    """
    return torch.Generator().manual_seed(seed_of(*numbers))
