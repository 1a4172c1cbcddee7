"""The head for joint posteriors: a normalising flow conditioned on the embedding."""

import torch
import zuko

from astroclip_astro.tasks.network import NetworkHead
from astroclip_astro.tasks.predictive import Predictive
from astroclip_astro.tasks.regression import RegressionHead

__all__ = ["FlowHead"]

_POINTS = 256  # that the quantiles are taken from; a power of two, as suits Sobol' sequences
_CELLS = 2**16  # most samples to make at once


def _loss(module, x, y):
    """Negative logarithm of the posterior density."""
    return -module(x).log_prob(y).mean()


class FlowHead(NetworkHead, RegressionHead):
    """Conditional normalising flow: p(all quantities | embedding), whatever its form.

    Parameters
    ----------
    transforms : int
        Number of autoregressive transformations.
    hidden : tuple of int
        Widths of the hidden layers of each.
    bins : int
        Pieces of the splines.
    max_epochs, patience : int
        Training ends when a held-out tenth has not improved for `patience` passes, or after
        `max_epochs`.
    seed : int
        Of the initial weights, the order, who is held out, and the points behind the quantiles.

    Notes
    -----
    Neural spline flow (Durkan et al. 2019, https://arxiv.org/abs/1906.04032) of zuko (Rozet et
    al. 2022), as neural posterior estimation (Papamakarios & Murray 2016,
    https://arxiv.org/abs/1605.06376). Quantiles are those of 256 points that fill the normal
    distribution evenly, a scrambled Sobol' sequence (Owen 1998, J. Complexity 14, 466): the more
    quantities, the rougher are the ends of wide intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import FlowHead
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 2))
    >>> y = np.stack([x[:, 0], x[:, 0] + x[:, 1]], axis=1)
    >>> bool(FlowHead(max_epochs=100).fit(x, y).score(x, y) > 0.9)
    True
    """

    kind = "flow"

    def __init__(
        self, transforms=3, hidden=(64, 64), bins=8, max_epochs=300, patience=20, seed=0
    ):  # fmt: skip
        self.transforms = transforms
        self.hidden = hidden
        self.bins = bins
        self.max_epochs = max_epochs
        self.patience = patience
        self.seed = seed

    def _network(self):
        return zuko.flows.NSF(
            len(self.names_),
            self.n_features_in_,
            transforms=self.transforms,
            bins=self.bins,
            hidden_features=self.hidden,
        )

    def _learn(self, x, y):
        self._train(_loss, x, y)

    def _transformed(self, x, normal):
        """Posterior samples (n, size, quantity) from standard normal ones (size, n or 1, same)."""
        size, _, quantities = normal.shape
        normal = normal.float().expand(size, len(x), quantities)
        step = max(1, _CELLS // size)
        with torch.no_grad():
            parts = [
                self.network_(vectors).transform.inv(noise)
                for vectors, noise in zip(
                    torch.tensor(x).float().split(step), normal.split(step, dim=1), strict=True
                )
            ]
        return torch.cat(parts, dim=1).transpose(0, 1).double().numpy()

    def _believe(self, x):
        sobol = torch.quasirandom.SobolEngine(len(self.names_), scramble=True, seed=self.seed)
        levels = sobol.draw(_POINTS, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
        # The same points for all objects, so that none depends on the company it is in.
        return Predictive.from_samples(self._transformed(x, torch.special.ndtri(levels)[:, None]))

    def _draw(self, x, size, rng):
        normal = rng.standard_normal((size, len(x), len(self.names_)))
        return self._transformed(x, torch.from_numpy(normal))
