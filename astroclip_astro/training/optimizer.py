"""AdamW as every training method here uses it: only matrices decay, and the rate has a schedule."""

import torch

__all__ = ["adamw", "decay_groups"]


def decay_groups(parameters, weight_decay):
    """Deal parameters into those that decay and those that do not.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        What is trained.
    weight_decay : float
        Of matrices and whatever has more axes; biases and scales do not decay.

    Returns
    -------
    list of dict
        Two groups, as optimisers take them.

    Examples
    --------
    >>> from torch import nn
    >>> from astroclip_astro.training.optimizer import decay_groups
    >>> [group["weight_decay"] for group in decay_groups(nn.Linear(2, 2).parameters(), 0.1)]
    [0.1, 0.0]
    """
    parameters = list(parameters)
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def adamw(parameters, rate, *, learning_rate, weight_decay, betas=(0.9, 0.999)):
    """Make AdamW with a learning rate that is set at every step.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        What is trained.
    rate : callable
        Takes the number of steps done, and gives the learning rate over its peak.
    learning_rate : float
        The peak.
    weight_decay : float
        See `decay_groups`.
    betas : tuple of float
        Of AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101); torch's by default.

    Returns
    -------
    dict
        Optimiser and schedule, as `lightning.LightningModule.configure_optimizers` gives them.

    Examples
    --------
    >>> from torch import nn
    >>> from astroclip_astro.training.optimizer import adamw
    >>> made = adamw(nn.Linear(2, 2).parameters(), lambda step: 0.5, learning_rate=0.1,
    ...              weight_decay=0.0)
    >>> made["optimizer"].param_groups[0]["lr"]
    0.05
    """
    optimizer = torch.optim.AdamW(
        decay_groups(parameters, weight_decay), lr=learning_rate, betas=betas
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
