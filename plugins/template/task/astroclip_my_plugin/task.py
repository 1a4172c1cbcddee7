"""A head that predicts numbers from embeddings."""

import numpy as np
from sklearn.linear_model import Ridge

from astroclip_astro.tasks import RegressionHead
from astroclip_astro.tasks.predictive import Predictive


class MyPluginTask(RegressionHead):
    """A line through the numbers, with normal errors of one width: put your own idea in its place.

    Units, standardised numbers, intervals, calibration, tables, and the check that vectors are of
    the model learned from, are the work of `RegressionHead`.

    Parameters
    ----------
    strength : float
        Of the regularisation.
    """

    kind = "my-plugin"
    # Arrays that are learned here: `save` writes them.
    _learned = (*RegressionHead._learned, "slope_", "sigma_")

    def __init__(self, strength=1.0):
        self.strength = strength

    def _learn(self, x, y):
        """Learn from vectors (object, feature) and numbers (object, quantity)."""
        ridge = Ridge(alpha=self.strength, fit_intercept=False).fit(x, y)
        self.slope_ = ridge.coef_.reshape(y.shape[1], -1)
        self.sigma_ = np.maximum((y - self._middle(x)).std(axis=0), 1e-6)

    def _middle(self, x):
        return x @ self.slope_.T

    def _believe(self, x):
        """Distribution of each quantity of each object: here a mixture of one normal."""
        weights = np.ones((len(x), 1))
        return Predictive.from_mixture(weights, self._middle(x)[:, None], self.sigma_)

    def _draw(self, x, size, rng):
        """Samples, shape (object, size, quantity)."""
        noise = rng.normal(size=(len(x), size, len(self.sigma_)))
        return self._middle(x)[:, None] + self.sigma_ * noise
