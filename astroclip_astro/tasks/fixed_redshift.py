"""Embeddings at fixed redshift: what is left of them when their trend with redshift is taken off.

Galaxies at one redshift look alike for that reason alone: their lines fall on the same pixels, and
their sizes and colours change in step. Between residuals, similarity on the whole means more
than that.
"""

import hashlib

import numpy as np
import xarray as xr
from astropy import units as u
from astropy.table import Table
from scipy.interpolate import BSpline
from sklearn.base import TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.preprocessing import SplineTransformer

from astroclip_astro.embeddings import from_table
from astroclip_astro.errors import InputError
from astroclip_astro.tasks.base import Head, names_of

__all__ = ["FixedRedshift"]

_DEGREE = 3
# Next to nothing, so that residuals keep no trend; it only matters where objects are too few.
_RIDGE = 1e-3


class FixedRedshift(TransformerMixin, Head):
    """Take off each number of an embedding what its mean is at the redshift of the object.

    The mean is a cubic spline of ln(1 + z), fitted by least squares to objects whose redshifts are
    known, and its knots are at evenly spaced ranks of redshift. Residuals are centred on zero and
    are in the units of the embedding. They are vectors of a space of their own, which their
    ``preprocessing`` tells: they are compared with residuals of the same fit only.

    Parameters
    ----------
    n_knots : int
        Number of knots, at least 2; the mean has two parameters more.

    Attributes
    ----------
    knots_ : numpy.ndarray
        Knots in ln(1 + z), with those beyond the ends, shape (n_knots + 6,);
        fewer where many objects share a redshift.
    coef_ : numpy.ndarray
        Coefficients of the splines, shape (feature, n_knots + 2).
    intercept_ : numpy.ndarray
        Shape (feature,).
    redshift_range_ : numpy.ndarray
        Lowest and highest redshift that was learned from; nothing is extrapolated beyond.

    Notes
    -----
    Only the mean is taken off. Cosines between residuals hardly depend on the difference in
    redshift any more, but how galaxies differ from the mean still shows on other pixels at another
    redshift: the very nearest neighbours of a galaxy are still close to it in redshift.

    B-splines (de Boor 1978, A Practical Guide to Splines). Redshifts come second, where a pipeline
    passes the quantity to be predicted: transform before the pipeline, not in it. All objects share
    one mean; where images and spectra differ by more than their redshifts do, fit one of each.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import FixedRedshift
    >>> rng = np.random.default_rng(0)
    >>> z = rng.uniform(0.1, 0.6, 500)
    >>> rest = rng.normal(size=(500, 3))
    >>> x = rest + np.stack([10 * z, np.sin(9 * z), z**2], axis=1)
    >>> residual = FixedRedshift().fit_transform(x, z)
    >>> bool(np.corrcoef(residual[:, 0], rest[:, 0])[0, 1] > 0.98)
    True
    """

    kind = "fixed-redshift"
    _learned = ("knots_", "coef_", "intercept_", "redshift_range_")

    def __init__(self, n_knots=5):
        self.n_knots = n_knots

    def fit(self, X, z=None):
        """Learn how embeddings change with redshift.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings, each with a vector, or plain vectors of shape (n, feature).
        z : array_like, optional
            Redshifts, shape (n,); by default those that the embeddings state.

        Returns
        -------
        FixedRedshift
            Itself.

        Raises
        ------
        InputError
            If an object has no vector or no redshift, there are too few objects, or all have one
            redshift.
        ValueError
            If there are fewer than 2 knots.
        """
        if self.n_knots < 2:
            raise ValueError(f"n_knots is {self.n_knots}, expected at least 2")
        vectors = self._start(X)
        z = _redshifts(X, z, len(vectors))
        _complain(X, ~(z > -1), "its redshift is {:.4g}, expected more than -1", z)
        self.redshift_range_ = np.array([z.min(), z.max()])
        logarithm = np.log1p(z)
        # Where many objects have one redshift, several knots would be in one place.
        knots = np.unique(np.quantile(logarithm, np.linspace(0, 1, self.n_knots)))
        if len(knots) < 2:
            raise InputError(f"all {len(z)} objects have redshift {z[0]:.4g}: expected a range")
        if len(z) <= len(knots) + _DEGREE - 1:
            raise InputError(
                f"{len(z)} objects to learn from: expected more than the "
                f"{len(knots) + _DEGREE - 1} parameters; take more objects or a smaller n_knots"
            )
        splines = SplineTransformer(degree=_DEGREE, knots=knots[:, None])
        ridge = Ridge(_RIDGE).fit(splines.fit_transform(logarithm[:, None]), vectors)
        self.knots_, self.coef_ = splines.bsplines_[0].t, ridge.coef_
        self.intercept_ = ridge.intercept_
        return self

    def transform(self, X, z=None):
        """Take off the mean at the redshift of each object.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of the same model, or plain vectors.
        z : array_like, optional
            Redshifts, shape (n,), known or predicted; by default those that the embeddings state.

        Returns
        -------
        xarray.DataArray or numpy.ndarray
            Of embeddings: embeddings with the same dims and coordinates, float32, NaN where there
            is no vector, and a ``preprocessing`` that names this fit. Of plain vectors: float64.

        Raises
        ------
        InputError
            If an object has a vector but no redshift, or one outside `redshift_range_`.
        ProvenanceError
            If the embeddings are of another model than those learned from, or only one of the two
            were scaled to unit length.
        """
        vectors = self._vectors(X)
        if names_of(X) is None:
            return vectors - self._mean(_redshifts(X, z, len(vectors)), X)
        if isinstance(X, Table):
            X = from_table(X)
        rows = X.astroclip.rows()
        valid = rows.astroclip.valid.values
        residual = np.full(rows.shape, np.nan, np.float32)
        z = _redshifts(rows, z, len(rows))
        residual[valid] = vectors - self._mean(z[valid], rows[valid])
        whole = xr.DataArray(residual, dims=rows.dims)
        whole = whole.transpose(*X.dims) if "object" in X.dims else whole[0]
        found = X.copy(data=whole.values)
        found.attrs["preprocessing"] += f"+{self.kind}-{self._fingerprint()}"
        found.attrs.pop("normalization", None)  # residuals have any length
        return found

    def fit_transform(self, X, z=None):
        """Fit, and transform the same objects.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings, each with a vector, or plain vectors.
        z : array_like, optional
            Redshifts, shape (n,); by default those that the embeddings state.

        Returns
        -------
        xarray.DataArray or numpy.ndarray
            As `transform`.
        """
        return self.fit(X, z).transform(X, z)

    def _mean(self, z, X):
        """Mean embeddings at redshifts of objects, (n, feature)."""
        low, high = self.redshift_range_
        message = (
            "its redshift is {:.4g}, and nothing is known beyond those learned from, "
            f"{low:.4g} to {high:.4g}: leave it out, or fit on objects that reach so far"
        )
        _complain(X, (z < low) | (z > high), message, z)
        return BSpline(self.knots_, self.coef_.T, _DEGREE)(np.log1p(z)) + self.intercept_

    def _fingerprint(self):
        """First 16 hexadecimal digits of the SHA-256 of what was learned."""
        learned = hashlib.sha256()
        for array in self._arrays().values():
            learned.update(np.ascontiguousarray(array).tobytes())
        return learned.hexdigest()[:16]


def _redshifts(X, z, n):
    """Redshifts (n,), float64; those of objects without a vector may be NaN."""
    names = names_of(X)
    if z is None:
        if names is None:
            raise InputError("plain vectors state no redshifts: pass them as z")
        z = X["redshift"]
    values = getattr(z, "unmasked", np.ma.getdata(z))
    values = np.array(u.Quantity(values, u.one, dtype=float).value, ndmin=1)
    if values.shape != (n,):
        raise InputError(f"z of shape {values.shape}: expected ({n},), one redshift per object")
    values[np.ma.getmaskarray(z).reshape(-1)] = np.nan
    lost = ~np.isfinite(values)
    if names is not None:
        rows = from_table(X) if isinstance(X, Table) else X
        lost &= np.atleast_1d(rows.astroclip.valid.values)
    _complain(
        X, lost, "it has no redshift; pass known or predicted ones as z, or leave it out", values
    )
    return values


def _complain(X, wrong, message, z):
    """Raise about the first object that something is wrong with, telling how many there are."""
    wrong = np.flatnonzero(wrong)
    if wrong.size:
        names, first = names_of(X), wrong[0]
        name = "" if names is None else names[first]
        more = f" ({wrong.size} such objects)" if wrong.size > 1 else ""
        raise InputError(message.format(z[first]) + more, object_id=str(name) or f"row {first}")
