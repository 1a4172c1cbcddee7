"""The few-shot head: a perceptron that gives a mixture of normal distributions."""

import torch
import zuko
from torch import nn

from astroclip_astro.tasks.network import NetworkHead
from astroclip_astro.tasks.predictive import Predictive, draw_mixture
from astroclip_astro.tasks.regression import RegressionHead

__all__ = ["MLPHead"]

_NARROWEST = 1e-3  # standard deviation relative to the spread of everything


class _MixtureDensity(nn.Module):
    """Logarithms of weights, means and standard deviations from vectors."""

    def __init__(self, features, hidden, components, quantities):
        super().__init__()
        self.layers = zuko.nn.MLP(features, components * (1 + 2 * quantities), hidden)
        self.components, self.quantities = components, quantities

    def forward(self, x):
        out = self.layers(x).unflatten(-1, (self.components, 1 + 2 * self.quantities))
        weights, means, spread = out.split([1, self.quantities, self.quantities], dim=-1)
        sigmas = nn.functional.softplus(spread) + _NARROWEST
        return weights[..., 0].log_softmax(-1), means, sigmas


def _loss(module, x, y):
    """Negative logarithm of the likelihood."""
    weights, means, sigmas = module(x)
    normal = torch.distributions.Normal(means, sigmas).log_prob(y[:, None]).sum(-1)
    return -torch.logsumexp(weights + normal, -1).mean()


class MLPHead(NetworkHead, RegressionHead):
    """Perceptron whose output is a mixture of normal distributions of all quantities.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    components : int
        Of the mixture; in each, quantities are independent.
    max_epochs, patience : int
        Training ends when a held-out tenth has not improved for `patience` passes, or after
        `max_epochs`.
    seed : int
        Of the initial weights, the order, and who is held out.

    Notes
    -----
    Mixture density network (Bishop 1994, NCRG/94/004). Two hidden layers as in Parker et al. 2024
    (MNRAS 531, 4990), section 5, who have a single value as output.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import MLPHead
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> head = MLPHead().fit(x, x[:, 0] * x[:, 1])
    >>> bool(head.score(x, x[:, 0] * x[:, 1]) > 0.9)
    True
    """

    kind = "mlp"

    def __init__(self, hidden=(64, 64), components=5, max_epochs=300, patience=20, seed=0):
        self.hidden = hidden
        self.components = components
        self.max_epochs = max_epochs
        self.patience = patience
        self.seed = seed

    def _network(self):
        quantities = len(self.names_)
        return _MixtureDensity(self.n_features_in_, self.hidden, self.components, quantities)

    def _learn(self, x, y):
        self._train(_loss, x, y)

    def _mixture(self, x):
        with torch.no_grad():
            weights, means, sigmas = self.network_(torch.tensor(x).float())
        return [one.double().numpy() for one in (weights.exp(), means, sigmas)]

    def _believe(self, x):
        return Predictive.from_mixture(*self._mixture(x))

    def _draw(self, x, size, rng):
        return draw_mixture(*self._mixture(x), size, rng)
