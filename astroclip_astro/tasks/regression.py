"""Heads that predict numbers: distributions, calibrated intervals, joint samples."""

import numpy as np
from astropy import units as u
from astropy.table import Table
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors

from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.tasks.base import Head, names_of, quality_of, standard
from astroclip_astro.tasks.calibration import CalibrationReport
from astroclip_astro.tasks.predictive import LEVELS, Predictive
from astroclip_astro.tasks.targets import read_targets

__all__ = ["PERCENTILES", "RegressionHead"]

#: What predictions give of each distribution.
PERCENTILES = {"p16": 0.16, "p50": 0.5, "p84": 0.84}

_MEDIAN = int(np.argmin(np.abs(LEVELS - 0.5)))
# How strange an object is: its mean distance to the nearest of so many objects that were learned
# from, relative to what the given share of these have among each other.
_REFERENCE, _NEAREST, _FAMILIAR = 1000, 5, 0.99
_FEWEST_TO_CALIBRATE = 40
# How many times wider intervals are of what the encoder was not trained for; a choice.
_OUT_OF_RANGE = 3


class RegressionHead(RegressorMixin, Head):
    """What all heads for numbers have in common.

    A subclass implements ``_learn(x, y)``, ``_believe(x)`` (`Predictive`) and ``_draw(x, size,
    rng)`` (samples, shape (object, size, quantity)) on standardised numbers. An object that is
    farther from those learned from than these are from each other gets wider intervals, in
    proportion: nothing was learned of its surroundings. One whose quality says
    ``OUT_OF_TRAINING_RANGE`` gets them three times as wide besides.

    Attributes
    ----------
    names_, units_ : list of str
        Of the quantities.
    calibration_ : numpy.ndarray
        `Predictive.zscore` of the truth of the objects that `calibrate` was given, sorted, shape
        (quantity, m); absent before.
    """

    _learned = ("x_mean_", "x_scale_", "y_mean_", "y_scale_", "reference_", "familiar_")

    def fit(self, X, y):
        """Learn.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings, each with a vector, or plain vectors of shape (n, feature).
        y : astropy.table.Table, astropy.units.Quantity or array_like
            What is known of them: one number per object, shape (n,), several, shape (n,
            quantity), or a table with a column for each quantity.

        Returns
        -------
        RegressionHead
            Itself.

        Raises
        ------
        InputError
            If an object has no vector or no value, or there are too few objects.
        """
        x = self._start(X)
        values, self.names_, self.units_ = self._read(y, X, len(x))
        self.single_ = not isinstance(y, Table) and np.asarray(y).ndim == 1
        x = self._scale(x)
        self.y_mean_, self.y_scale_ = standard(values)
        reference = np.random.default_rng(0).permutation(len(x))[:_REFERENCE]
        self.reference_ = x[reference].astype(np.float32)
        self.familiar_ = np.array(np.quantile(self._distance(self.reference_, 1), _FAMILIAR))
        if hasattr(self, "calibration_"):
            del self.calibration_
        self._learn(x, (values - self.y_mean_) / self.y_scale_)
        return self

    def distribution(self, X):
        """Predictive distributions of all quantities, calibrated if `calibrate` was called.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of the same model, or plain vectors. Objects without a vector are left out.

        Returns
        -------
        Predictive
            In the units of `units_`.

        Raises
        ------
        ProvenanceError
            If they are of another model than those learned from.
        """
        return self._believed(self._standardised(self._vectors(X)), X)[1]

    def predict(self, X, samples=0, seed=0):
        """Predict.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of the same model, or plain vectors.
        samples : int
            How many joint samples to add for each object.
        seed : int
            Of the samples.

        Returns
        -------
        astropy.table.QTable or numpy.ndarray
            Of embeddings: a row per object, in order, with ``object_id``, of each quantity the
            percentiles ``_p16``, ``_p50`` and ``_p84``, with its unit, on request ``_samples``,
            shape (object, sample), and ``quality`` and ``reason`` why the row is masked. Sample i
            of one quantity goes with sample i of the others. Of plain vectors: the medians, in the
            shape of `y`.

        Raises
        ------
        ProvenanceError
            If they are of another model than those learned from.
        InputError
            If samples of plain vectors are asked for.
        """
        x = self._standardised(self._vectors(X))
        believed, found = self._believed(x, X)
        if names_of(X) is None:
            if samples:
                raise InputError(
                    "samples go into a table, and plain vectors are answered with an array: give "
                    "embeddings, or use distribution()"
                )
            middle = found.values[..., _MEDIAN]
            return middle[:, 0] if self.single_ else middle
        percentiles = found.quantile(list(PERCENTILES.values()))
        drawn = np.empty((len(x), samples, len(self.names_)))
        if drawn.size:
            drawn = self._draw(x, samples, np.random.default_rng(seed))
            drawn = believed.transported(drawn, found)
        units = [u.Unit(unit) for unit in self.units_]
        columns = {}
        for j, (name, unit) in enumerate(zip(self.names_, units, strict=True)):
            for i, label in enumerate(PERCENTILES):
                columns[f"{name}_{label}"] = percentiles[:, j, i] * unit
        if samples:
            for j, (name, unit) in enumerate(zip(self.names_, units, strict=True)):
                columns[f"{name}_samples"] = drawn[..., j] * unit
        return self._answer(X, columns)

    def calibrate(self, X, y):
        """Let the stated probabilities be those found with objects not learned from.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of objects that had no part in the fit.
        y : astropy.table.Table, astropy.units.Quantity or array_like
            The truth, as in `fit`.

        Returns
        -------
        CalibrationReport
            What to expect, for printing and plotting: each half of these objects calibrated with
            the other half.

        Raises
        ------
        InputError
            If there are fewer than 40 objects, or one has no vector or no value.
        """
        x = self._standardised(self._vectors(X, complete=True))
        values = self._truth(X, y, len(x))
        if len(x) < _FEWEST_TO_CALIBRATE:
            raise InputError(
                f"{len(x)} objects to calibrate with: expected at least {_FEWEST_TO_CALIBRATE}"
            )
        plain = self._widened(x, self._believe(x), X)
        zscores = plain.zscore(values)
        half = np.arange(len(x)) % 2 == 0
        crossed = np.empty(plain.values.shape)
        for one, other in ((half, ~half), (~half, half)):
            learned = np.sort(zscores[other], axis=0).T
            crossed[one] = Predictive(plain.values[one]).recalibrated(learned).values
        self.calibration_ = np.sort(zscores, axis=0).T.astype(np.float32)
        return CalibrationReport.of(Predictive(crossed), values, self.names_, self.units_)

    def report(self, X, y):
        """Compare predictions with the truth: coverage, PIT, CRPS and more.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of objects that had no part in the fit nor in the calibration.
        y : astropy.table.Table, astropy.units.Quantity or array_like
            The truth, as in `fit`.

        Returns
        -------
        CalibrationReport
            For printing and plotting.

        Raises
        ------
        InputError
            If an object has no vector or no value.
        """
        truth = self._truth(X, y, len(self._vectors(X, complete=True)))
        return CalibrationReport.of(self.distribution(X), truth, self.names_, self.units_)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination of the medians.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings.
        y : astropy.table.Table, astropy.units.Quantity or array_like
            The truth, as in `fit`.
        sample_weight : array_like, optional
            Shape (n,).

        Returns
        -------
        float
            Mean R² of the quantities.
        """
        truth = self._truth(X, y, len(self._vectors(X, complete=True)))
        middle = self.distribution(X).values[..., _MEDIAN]
        return float(r2_score(truth, middle, sample_weight=sample_weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _widened(self, x, believed, X):
        """Widen what is strange, and undo the standardisation."""
        # Where all that was learned from is in one place, no distance can be called large.
        factor = np.maximum(self._distance(x) / (float(self.familiar_) or np.inf), 1)
        quality = quality_of(X)
        if quality is not None:
            factor[(quality & int(Quality.OUT_OF_TRAINING_RANGE)) > 0] *= _OUT_OF_RANGE
        middle = believed.values[..., [_MEDIAN]]
        values = middle + factor[:, None, None] * (believed.values - middle)
        return Predictive(values * self.y_scale_[:, None] + self.y_mean_[:, None])

    def _believed(self, x, X):
        """What is believed of standardised numbers; and the same widened and calibrated."""
        if not len(x):
            nothing = Predictive(np.empty((0, len(self.names_), len(LEVELS))))
            return nothing, nothing
        believed = self._believe(x)
        found = self._widened(x, believed, X)
        calibration = getattr(self, "calibration_", None)
        return believed, found if calibration is None else found.recalibrated(calibration)

    def _distance(self, x, itself=0):
        """Mean distance to the nearest reference objects, of which `itself` is the first or not."""
        k = min(_NEAREST + itself, len(self.reference_))
        found = NearestNeighbors(n_neighbors=k).fit(self.reference_).kneighbors(x)[0]
        return found[:, itself:].mean(1)

    def _read(self, y, X, n):
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        found = read_targets(y, names_of(X))
        if len(found[0]) != n:
            raise InputError(
                f"X has {n} objects and y {len(found[0])}: inconsistent numbers of samples"
            )
        return found

    def _truth(self, X, y, n):
        """Values (n, quantity) in the units of the head; only tables are held to their names."""
        values, names, units = self._read(y, X, n)
        if len(names) != len(self.names_) or (isinstance(y, Table) and names != self.names_):
            raise InputError(f"y has the quantities {names}, the head {self.names_}")
        try:
            converted = [
                (column * u.Unit(given)).to_value(u.Unit(wanted))
                for column, given, wanted in zip(values.T, units, self.units_, strict=True)
            ]
        except u.UnitConversionError as error:
            raise InputError(f"y is in {units}, expected {self.units_}") from error
        return np.stack(converted, axis=1)

    def _arrays(self):
        calibration = getattr(self, "calibration_", None)
        return super()._arrays() | ({} if calibration is None else {"calibration_": calibration})

    def _about(self):
        names = ("names_", "units_", "single_")
        return super()._about() | {name: getattr(self, name) for name in names}

    def _restore(self, arrays, about):
        super()._restore(arrays, about)
        if "calibration_" in arrays:
            self.calibration_ = arrays["calibration_"].numpy()
