"""The zero-shot head: what is known of the nearest neighbours."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.predictive import Predictive, draw_mixture
from astroclip_astro.tasks.regression import RegressionHead

__all__ = ["NeighborsHead"]

_NARROWEST = 1e-3  # kernel relative to the spread of everything
_CLOSEST = 1e-9  # distance below which a neighbour is the object itself


class NeighborsHead(RegressionHead):
    """k nearest neighbours: their values, each smeared by a kernel, are the distribution.

    Parameters
    ----------
    k : int
        Number of neighbours.
    weights : {"distance", "uniform"}
        Whether neighbours count by inverse distance or all the same.
    metric : str
        Distance between standardised vectors, as `sklearn.neighbors.NearestNeighbors` has it, such
        as ``"euclidean"`` or ``"cosine"``.

    Notes
    -----
    k = 64 and inverse distances are those of Parker et al. 2024 (MNRAS 531, 4990), section 5.
    The kernel is normal, its width Silverman's (1986, Density Estimation, eq. 3.31) for the
    neighbours of each object: 0.9 min(standard deviation, interquartile range / 1.34) n^(-1/5), n
    their effective number (sum w)^2 / sum w^2 (Kish 1965, Survey Sampling).

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import NeighborsHead
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> head = NeighborsHead(k=16).fit(x, x[:, 0] + 2)
    >>> bool(abs(head.predict(np.array([[0.5, 0.0]]))[0] - 2.5) < 0.1)
    True
    """

    kind = "neighbors"
    _learned = (*RegressionHead._learned, "vectors_", "values_")

    def __init__(self, k=64, weights="distance", metric="euclidean"):
        self.k = k
        self.weights = weights
        self.metric = metric

    def _learn(self, x, y):
        if self.weights not in ("distance", "uniform"):
            raise ValueError(f"weights is {self.weights!r}, expected 'distance' or 'uniform'")
        if not 1 <= self.k <= len(x):
            raise InputError(
                f"k is {self.k}, expected 1 to {len(x)}, the number of objects learned from: take "
                "more objects or fewer neighbours"
            )
        self.vectors_, self.values_ = x.astype(np.float32), y.astype(np.float32)

    def _neighbors(self, x):
        """Weights (n, k), summing to one, and which objects (n, k)."""
        search = NearestNeighbors(n_neighbors=self.k, metric=self.metric).fit(self.vectors_)
        distance, index = search.kneighbors(x.astype(np.float32))
        weights = np.ones(distance.shape)
        if self.weights == "distance":
            weights /= np.maximum(distance, _CLOSEST)
        return weights / weights.sum(1, keepdims=True), index

    def _mixture(self, x):
        weights, index = self._neighbors(x)
        values = self.values_[index].astype(float)
        middle = np.einsum("nk,nkt->nt", weights, values)[:, None]
        # Without bias (https://www.gnu.org/software/gsl/doc/html/statistics.html#weighted-samples):
        # a neighbour that outweighs all others does not make the rest agree with it.
        squares = (weights**2).sum(1, keepdims=True)
        free = np.maximum(1 - squares, np.finfo(float).eps)
        spread = np.sqrt(np.einsum("nk,nkt->nt", weights, (values - middle) ** 2) / free)
        q25, q75 = np.quantile(values, [0.25, 0.75], axis=1)
        narrow = (q75 - q25) / 1.34
        spread = np.where(narrow > 0, np.minimum(spread, narrow), spread)
        kernel = np.maximum(0.9 * spread * squares**0.2, _NARROWEST)
        return weights, values, kernel[:, None]

    def _believe(self, x):
        return Predictive.from_mixture(*self._mixture(x))

    def _draw(self, x, size, rng):
        return draw_mixture(*self._mixture(x), size, rng)
