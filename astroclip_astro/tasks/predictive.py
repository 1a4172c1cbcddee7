"""Predictive distributions: what a head believes of each object, as quantiles."""

import numpy as np
from scipy.special import ndtr

__all__ = ["LEVELS", "Predictive"]

_TAIL = np.array([1e-4, 1e-3, 5e-3])
#: Probabilities at which distributions are kept, shape (105,).
LEVELS = np.concatenate([_TAIL, np.arange(1, 100) / 100, 1 - _TAIL[::-1]])
_CELLS = 2**24  # most normal distribution functions to evaluate at once
_GRID = 400


class Predictive:
    """Marginal distributions of some quantities for some objects.

    Parameters
    ----------
    values : numpy.ndarray
        Quantiles at `LEVELS`, shape (object, quantity, 105), not falling along the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks.predictive import Predictive
    >>> normal = Predictive.from_mixture(np.ones((1, 1)), np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    >>> normal.quantile([0.16, 0.5, 0.84]).round(2)
    array([[[-0.99,  0.  ,  0.99]]])
    """

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    @classmethod
    def from_mixture(cls, weights, means, sigmas):
        """Make them of mixtures of normal distributions.

        Parameters
        ----------
        weights : numpy.ndarray
            Shape (object, component), of any positive sum.
        means, sigmas : numpy.ndarray
            Shape (object, component, quantity); both broadcast.

        Returns
        -------
        Predictive
            Accurate to the grid of 400 values per object that the distribution functions are
            evaluated on.
        """
        means, sigmas = np.broadcast_arrays(np.asarray(means, float), np.asarray(sigmas, float))
        n, components, quantities = means.shape
        weights = weights / weights.sum(1, keepdims=True)
        values = np.empty((n, quantities, len(LEVELS)))
        step = max(1, _CELLS // (components * quantities * _GRID))
        for start in range(0, n, step):
            part = slice(start, start + step)
            mean, sigma = means[part], sigmas[part]
            low, high = (mean - 5 * sigma).min(1), (mean + 5 * sigma).max(1)
            grid = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, _GRID)
            scaled = (grid[:, None] - mean[..., None]) / sigma[..., None]
            cdf = np.einsum("nk,nktg->ntg", weights[part], ndtr(scaled))
            for i, j in np.ndindex(cdf.shape[:2]):
                values[start + i, j] = np.interp(LEVELS, cdf[i, j], grid[i, j])
        return cls(values)

    @classmethod
    def from_samples(cls, samples):
        """Make them of equally probable samples.

        Parameters
        ----------
        samples : numpy.ndarray
            Shape (object, sample, quantity).

        Returns
        -------
        Predictive
            Quantiles of `numpy.quantile`, of Hazen's kind.
        """
        return cls(np.moveaxis(np.quantile(samples, LEVELS, axis=1, method="hazen"), 0, -1))

    def quantile(self, levels):
        """Values below which a quantity lies with the given probabilities.

        Parameters
        ----------
        levels : array-like
            Probabilities, shape (L,), or (quantity, L) if each quantity has its own.

        Returns
        -------
        numpy.ndarray
            Shape (object, quantity, L), linear between `LEVELS`, constant beyond them.
        """
        quantities = self.values.shape[1]
        levels = np.broadcast_to(levels, (quantities, np.shape(levels)[-1]))
        return np.stack([_rows(self.values[:, j], levels[j]) for j in range(quantities)], axis=1)

    def cdf(self, values):
        """Probabilities to lie at or below given values: the PIT, where these are the truth.

        Parameters
        ----------
        values : numpy.ndarray
            Shape (object, quantity).

        Returns
        -------
        numpy.ndarray
            Shape (object, quantity), within those of `LEVELS`; NaN where the value is.
        """
        found = np.full(values.shape, np.nan)
        for i, j in np.argwhere(np.isfinite(values)):
            found[i, j] = np.interp(values[i, j], self.values[i, j], LEVELS)
        return found

    def crps(self, values):
        """Continuous ranked probability score, in the unit of the quantity; less is better.

        Parameters
        ----------
        values : numpy.ndarray
            The truth, shape (object, quantity).

        Returns
        -------
        numpy.ndarray
            Shape (object, quantity); NaN where the value is.

        Notes
        -----
        Twice the integral of the quantile (pinball) loss over the probabilities (Gneiting & Raftery
        2007, JASA 102, 359, eq. 20 and section 4.2; Laio & Tamea 2007, HESS 11, 1267), by the
        trapezoidal rule at `LEVELS`.
        """
        apart = np.asarray(values, float)[..., None] - self.values
        loss = apart * (LEVELS - (apart < 0))
        return 2 * np.trapezoid(loss, LEVELS, axis=-1)

    def transported(self, samples, other):
        """Carry samples of these distributions over to others, level by level.

        Parameters
        ----------
        samples : numpy.ndarray
            Shape (object, sample, quantity).
        other : Predictive
            Of the same objects and quantities.

        Returns
        -------
        numpy.ndarray
            Of the same shape, distributed as `other`; how quantities hang together is kept.
        """
        found = np.empty(samples.shape)
        for i, j in np.ndindex(self.values.shape[:2]):
            found[i, :, j] = np.interp(samples[i, :, j], self.values[i, j], other.values[i, j])
        return found

    def recalibrated(self, pit):
        """Let the quantile at each level be what it turned out to be on calibration objects.

        Parameters
        ----------
        pit : numpy.ndarray
            PIT of the calibration objects by quantity, sorted, shape (quantity, m).

        Returns
        -------
        Predictive
            That of the same objects, whose quantile at level p is the present one at the level
            below which a share p of the PIT lies.

        Notes
        -----
        Kuleshov et al. 2018 (https://arxiv.org/abs/1807.00263), Algorithm 1, with the ranks of
        split conformal prediction, so that an interval between two levels holds a new exchangeable
        object with the probability stated, up to 1 / (m + 1): Vovk et al. 2020, Conformal
        calibrators, PMLR 128, 84.
        """
        levels = [
            np.interp(LEVELS, np.arange(1, len(one) + 1) / (len(one) + 1), one) for one in pit
        ]
        return Predictive(self.quantile(np.stack(levels)))


def _rows(values, levels):
    """Interpolate rows (n, 105) at levels (L,)."""
    right = np.clip(np.searchsorted(LEVELS, levels), 1, len(LEVELS) - 1)
    weight = np.clip((levels - LEVELS[right - 1]) / (LEVELS[right] - LEVELS[right - 1]), 0, 1)
    return values[:, right - 1] * (1 - weight) + values[:, right] * weight
