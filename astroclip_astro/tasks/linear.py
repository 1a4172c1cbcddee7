"""The few-shot head for the smallest samples: a regularised line."""

import numpy as np
from sklearn.linear_model import RidgeCV

from astroclip_astro.tasks.predictive import Predictive
from astroclip_astro.tasks.regression import RegressionHead

__all__ = ["LinearHead"]

_STRENGTHS = np.logspace(-3, 5, 17)


class LinearHead(RegressionHead):
    """Ridge regression whose strength and errors come from leaving out each object in turn.

    The distribution is normal, of the same width for all objects, which is the root mean square of
    the leave-one-out errors; residuals of several quantities are correlated as found.

    Notes
    -----
    Hoerl & Kennard 1970 (Technometrics 12, 55); leave-one-out by generalised cross-validation in
    closed form as in `sklearn.linear_model.RidgeCV`.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import LinearHead
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> LinearHead().fit(x, x[:, 0] - x[:, 2]).predict(np.array([[1.0, 0.0, 0.5]])).round(2)
    array([0.5])
    """

    kind = "linear"
    _learned = (*RegressionHead._learned, "coef_", "intercept_", "covariance_")

    def _learn(self, x, y):
        ridge = RidgeCV(_STRENGTHS, store_cv_results=True, alpha_per_target=True).fit(x, y)
        self.coef_, self.intercept_ = np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
        errors = ridge.cv_results_.reshape(len(x), -1, len(_STRENGTHS)).mean(0).min(1)
        residual = y - self._middle(x)
        scale = residual.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        correlation = (residual / scale).T @ (residual / scale) / len(x)
        np.fill_diagonal(correlation, 1.0)
        sigma = np.sqrt(np.maximum(errors, 1e-12))
        self.covariance_ = correlation * sigma * sigma[:, None]

    def _middle(self, x):
        return x @ self.coef_.T + self.intercept_

    def _believe(self, x):
        sigma = np.sqrt(np.diag(self.covariance_))
        return Predictive.from_mixture(np.ones((len(x), 1)), self._middle(x)[:, None], sigma)

    def _draw(self, x, size, rng):
        none = np.zeros(len(self.covariance_))
        noise = rng.multivariate_normal(none, self.covariance_, (len(x), size))
        return self._middle(x)[:, None] + noise
