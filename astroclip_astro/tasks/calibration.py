"""Whether stated uncertainties hold: coverage, PIT and CRPS, as a table and as a figure."""

from dataclasses import dataclass

import numpy as np
from astropy.table import QTable
from scipy.stats import kstest
from sklearn.metrics import r2_score

from astroclip_astro.tasks import metrics

__all__ = ["CalibrationReport"]

_INTERVALS = {"68 %": 0.68, "95 %": 0.95}


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """What became of predictions when the truth was looked at.

    Parameters
    ----------
    names, units : list of str
        Of the quantities.
    truth, median, pit, crps : numpy.ndarray
        Of each object, shape (n, quantity).

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import LinearHead
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(600, 3))
    >>> y = x[:, 0] + 0.1 * rng.normal(size=600)
    >>> head = LinearHead().fit(x[:200], y[:200])
    >>> _ = head.calibrate(x[200:400], y[200:400])
    >>> report = head.report(x[400:], y[400:])
    >>> bool(abs(report.table["68 %"][0] - 0.68) < 0.1)
    True
    """

    names: list
    units: list
    truth: np.ndarray
    median: np.ndarray
    pit: np.ndarray
    crps: np.ndarray

    @classmethod
    def of(cls, distribution, truth, names, units):
        """Compare distributions with the truth.

        Parameters
        ----------
        distribution : Predictive
            Of n objects.
        truth : numpy.ndarray
            Shape (n, quantity).
        names, units : list of str
            Of the quantities.

        Returns
        -------
        CalibrationReport
        """
        median = distribution.quantile([0.5])[..., 0]
        pit, crps = distribution.cdf(truth), distribution.crps(truth)
        return cls(list(names), list(units), truth, median, pit, crps)

    @property
    def table(self):
        """A row per quantity (astropy.table.QTable).

        ``n``; ``68 %`` and ``95 %``, the shares of truths inside those central intervals; ``ks_p``,
        how probable a PIT as uneven as this is if all is right (Kolmogorov-Smirnov); ``crps``, its
        mean, in the ``unit``; ``r2`` of the medians; and where the quantity is called redshift,
        ``sigma_nmad``, ``bias`` and ``outliers`` of `astroclip_astro.tasks.metrics`, else NaN.
        """
        rows = []
        for j, name in enumerate(self.names):
            pit, truth, median = self.pit[:, j], self.truth[:, j], self.median[:, j]
            row = {"quantity": name, "unit": self.units[j], "n": len(pit)}
            for label, level in _INTERVALS.items():
                row[label] = np.mean(np.abs(pit - 0.5) <= level / 2)
            row["ks_p"] = kstest(pit, "uniform").pvalue
            row["crps"] = self.crps[:, j].mean()
            row["r2"] = r2_score(truth, median)
            is_redshift = name == "redshift"
            row["sigma_nmad"] = metrics.sigma_nmad(truth, median) if is_redshift else np.nan
            row["bias"] = metrics.bias(truth, median) if is_redshift else np.nan
            row["outliers"] = metrics.outlier_fraction(truth, median) if is_redshift else np.nan
            rows.append(row)
        table = QTable(rows=rows)
        for name in ("68 %", "95 %", "ks_p", "r2", "outliers"):
            table[name].info.format = ".3f"
        for name in ("crps", "sigma_nmad", "bias"):
            table[name].info.format = ".4g"
        return table

    def __str__(self):
        return "\n".join(self.table.pformat(max_width=-1))

    __repr__ = __str__

    def plot(self):
        """Draw PIT histograms and coverage by level.

        Returns
        -------
        numpy.ndarray of matplotlib.axes.Axes
            As `astroclip_astro.plot.pit_and_coverage` returns them.
        """
        from astroclip_astro.plot import pit_and_coverage

        return pit_and_coverage(self)
