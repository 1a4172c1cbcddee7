"""Predictive distributions: what a head believes of each object, as quantiles."""

import numpy as np
import torch
from scipy.integrate import trapezoid
from scipy.special import ndtr, ndtri

__all__ = ["LEVELS", "Predictive", "draw_mixture"]

_TAIL = np.array([1e-4, 1e-3, 5e-3])
#: Probabilities at which distributions are kept, shape (107,); 0.025 and 0.975 as they are the ends
#: of 95 % intervals.
LEVELS = np.sort(np.concatenate([_TAIL, np.arange(1, 100) / 100, [0.025, 0.975], 1 - _TAIL]))
# Everything is interpolated in standard normal quantiles of the probabilities, in which a normal
# distribution is a straight line.
_Z = ndtri(LEVELS)
_FAR = 100  # how many times farther than the outermost level distributions are continued
_GRID = 256  # values over the whole range, and as many shared out among the components
_REACH = 4.5  # standard deviations of a component that its values span
_CELLS = 2**20  # most normal distribution functions to evaluate at once: what caches hold


class Predictive:
    """Marginal distributions of some quantities for some objects.

    Parameters
    ----------
    values : numpy.ndarray
        Quantiles at `LEVELS`, shape (object, quantity, 107), not falling along the last axis.

    Notes
    -----
    Beyond `LEVELS` a distribution goes on like the normal one that has its median and its outermost
    quantile.

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
            Interpolated between values at which the distribution functions are evaluated, of which
            half are spread evenly and half belong to the components, so that a narrow one is not
            overlooked beside a wide one.
        """
        means, sigmas = np.broadcast_arrays(np.asarray(means, float), np.asarray(sigmas, float))
        n, components, quantities = means.shape
        weights = weights / weights.sum(1, keepdims=True)
        own = np.linspace(-_REACH, _REACH, max(3, _GRID // components))
        values = np.empty((n, quantities, len(LEVELS)))
        step = max(1, _CELLS // (components * quantities * (_GRID + components * len(own))))
        for start in range(0, n, step):
            part = slice(start, start + step)
            mean, sigma = means[part][..., None], sigmas[part][..., None]
            theirs = np.moveaxis(mean + sigma * own, 1, 2).reshape(len(mean), quantities, -1)
            even = np.linspace(theirs.min(-1), theirs.max(-1), _GRID, axis=-1)
            grid = np.sort(np.concatenate([theirs, even], axis=-1))
            scaled = (grid[:, None] - mean) / (np.sqrt(2) * sigma)
            # torch's error function takes a fifth of the time of scipy's.
            error = torch.erf(torch.from_numpy(scaled)).numpy()
            cdf = 0.5 + 0.5 * np.einsum("nk,nktg->ntg", weights[part], error)
            z = ndtri(cdf.clip(1e-9, 1 - 1e-9))
            for i, j in np.ndindex(z.shape[:2]):
                values[start + i, j] = np.interp(_Z, z[i, j], grid[i, j])
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
            Of n samples, the i-th smallest is taken for the quantile at (i - 1/2) / n (Hazen 1914,
            Trans. ASCE 77, 1539).
        """
        ordered = np.moveaxis(np.sort(samples, axis=1), 1, -1)
        size = ordered.shape[-1]
        z, ordered = _continued(ndtri((np.arange(size) + 0.5) / size), ordered)
        values = np.empty((*ordered.shape[:2], len(LEVELS)))
        for i, j in np.ndindex(values.shape[:2]):
            values[i, j] = np.interp(_Z, z, ordered[i, j])
        return cls(values)

    def quantile(self, levels):
        """Values below which a quantity lies with the given probabilities.

        Parameters
        ----------
        levels : array-like
            Probabilities between 0 and 1, shape (L,).

        Returns
        -------
        numpy.ndarray
            Shape (object, quantity, L).
        """
        z = np.clip(ndtri(levels), _FAR * _Z[0], _FAR * _Z[-1])
        return self._at(np.broadcast_to(z, (self.values.shape[1], len(z))))

    def zscore(self, values):
        """Standard normal quantiles of the probabilities to lie at or below given values.

        Parameters
        ----------
        values : numpy.ndarray
            Shape (object, quantity).

        Returns
        -------
        numpy.ndarray
            Shape (object, quantity); NaN where the value is. Of a normal distribution, how many
            standard deviations the value is off.
        """
        found = np.full(values.shape, np.nan)
        z, known = _continued(_Z, self.values)
        for i, j in np.argwhere(np.isfinite(values)):
            found[i, j] = np.interp(values[i, j], known[i, j], z)
        return found

    def cdf(self, values):
        """Probabilities to lie at or below given values: the PIT, where these are the truth.

        Parameters
        ----------
        values : numpy.ndarray
            Shape (object, quantity).

        Returns
        -------
        numpy.ndarray
            Shape (object, quantity); NaN where the value is. Evenly spread between 0 and 1 if the
            distributions are right (Dawid 1984, JRSS A 147, 278).
        """
        return ndtr(self.zscore(values))

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
        return 2 * trapezoid(loss, LEVELS, axis=-1)

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
        mine, theirs = _continued(_Z, self.values)[1], _continued(_Z, other.values)[1]
        for i, j in np.ndindex(self.values.shape[:2]):
            found[i, :, j] = np.interp(samples[i, :, j], mine[i, j], theirs[i, j])
        return found

    def recalibrated(self, zscores):
        """Let the quantile at each level be what it turned out to be on calibration objects.

        Parameters
        ----------
        zscores : numpy.ndarray
            `zscore` of the truth of the calibration objects by quantity, sorted, shape (quantity,
            m). Unlike the PIT it still tells how far off the truth was where distributions are far
            too narrow.

        Returns
        -------
        Predictive
            That of the same objects, whose quantile at level p is the present one at the level
            below which a share p of the calibration objects lies.

        Notes
        -----
        Kuleshov et al. 2018 (https://arxiv.org/abs/1807.00263), Algorithm 1, with the ranks of
        split conformal prediction, so that an interval between two levels holds a new exchangeable
        object with the probability stated, up to 1 / (m + 1): Vovk et al. 2020, Conformal
        calibrators, PMLR 128, 84. Beyond the outermost ranks, of which the calibration objects tell
        nothing, quantiles keep their distance from those at the ranks.
        """
        m = zscores.shape[1]
        ranks = ndtri(np.arange(1, m + 1) / (m + 1))
        inside = np.clip(_Z, ranks[0], ranks[-1])
        return Predictive(
            self._at(np.stack([np.interp(inside, ranks, one) + _Z - inside for one in zscores]))
        )

    def _at(self, z):
        """Values at standard normal quantiles, those of each quantity, shape (quantity, L)."""
        knots, known = _continued(_Z, self.values)
        found = np.empty((*self.values.shape[:2], z.shape[1]))
        for i, j in np.ndindex(found.shape[:2]):
            found[i, j] = np.interp(z[j], knots, known[i, j])
        return found


def draw_mixture(weights, means, sigmas, size, rng):
    """Draw joint samples of mixtures of normal distributions.

    Parameters
    ----------
    weights : numpy.ndarray
        Shape (object, component), of sum one.
    means, sigmas : numpy.ndarray
        Shape (object, component, quantity); both broadcast. In a component, quantities are
        independent.
    size : int
        Samples of each object.
    rng : numpy.random.Generator
        Their source.

    Returns
    -------
    numpy.ndarray
        Shape (object, size, quantity).

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks.predictive import draw_mixture
    >>> means = np.array([[[0.0, 0.0], [9.0, 9.0]]])
    >>> draws = draw_mixture(np.array([[0.5, 0.5]]), means, 0.1, 100, np.random.default_rng(0))
    >>> draws.shape, bool(np.corrcoef(draws[0].T)[0, 1] > 0.9)
    ((1, 100, 2), True)
    """
    means, sigmas = np.broadcast_arrays(means, sigmas)
    summed = weights.cumsum(1)[:, :-1]  # without the last one, which rounding may keep from 1
    level = rng.random((len(weights), size))
    chosen = [np.searchsorted(one, where) for one, where in zip(summed, level, strict=True)]
    chosen = np.reshape(chosen, (*level.shape, 1)).astype(int)
    mean, sigma = (np.take_along_axis(a, chosen, axis=1) for a in (means, sigmas))
    return mean + sigma * rng.standard_normal(mean.shape)


def _continued(z, values):
    """Standard normal quantiles and values (..., z) with one more on either side, far out."""
    middle = np.median(values, axis=-1, keepdims=True)
    ends = middle + _FAR * (values[..., [0, -1]] - middle)
    values = np.concatenate([ends[..., :1], values, ends[..., 1:]], axis=-1)
    return np.concatenate([[_FAR * z[0]], z, [_FAR * z[-1]]]), values
