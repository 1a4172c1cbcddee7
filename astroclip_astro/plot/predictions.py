"""How good predictions are, and whether their stated uncertainties hold."""

import numpy as np
from scipy.stats import binom

from astroclip_astro.errors import InputError
from astroclip_astro.plot.style import BLUE, label, new_figure, numbers

__all__ = ["pit_and_coverage", "predicted_against_true"]

_PANEL = 2.6  # inches


def predicted_against_true(predictions, *, title="", figure=None):
    """Draw predicted against true values, and predicted less true below, a column per property.

    Parameters
    ----------
    predictions : dict of tuple
        By property: true and predicted values, shape (n,), plain or with units, which are
        converted; pairs with a NaN or a masked value are left out, and the panels of a property
        without any other pair stay empty.
    title : str
        Above the figure.
    figure : matplotlib.figure.Figure or matplotlib.figure.SubFigure, optional
        Where to draw; by default a new one.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Shape (2, property).

    Raises
    ------
    InputError
        If there is nothing to draw, the true and predicted values are not as many, not numbers, or
        one has a unit that the other cannot be converted to.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astroclip_astro.plot import predicted_against_true
    >>> age = np.linspace(1, 10, 20) * u.Gyr
    >>> axes = predicted_against_true({"age": (age, age.to(u.Myr))})
    >>> axes.shape, axes[1, 0].get_xlabel()
    ((2, 1), 'true age [Gyr]')
    """
    n = len(predictions)
    if not n:
        raise InputError("predictions is empty: expected true and predicted values by property")
    figure = new_figure(figure, (_PANEL + 0.6) * n, 1.7 * _PANEL)
    axes = figure.subplots(2, n, sharex="col", height_ratios=(3, 1), squeeze=False)
    for (name, (true, predicted)), (above, below) in zip(predictions.items(), axes.T, strict=True):
        true, unit = numbers(f"true {name}", true)
        predicted, _ = numbers(f"predicted {name}", predicted, unit)
        if len(true) != len(predicted):
            raise InputError(f"{name}: {len(true)} true and {len(predicted)} predicted values")
        above.set_ylabel(f"predicted {label(name, unit)}")
        below.set_xlabel(f"true {label(name, unit)}")
        below.set_ylabel(label(name, unit, text="difference"))
        both = np.isfinite(true) & np.isfinite(predicted)
        if not both.any():
            for ax in (above, below):
                ax.text(0.5, 0.5, "not known", ha="center", va="center", transform=ax.transAxes)
            continue
        true, predicted = true[both], predicted[both]
        low, high = true.min(), true.max()
        style = {
            "s": max(4, 600 / len(true)),
            "alpha": 0.5,
            "linewidths": 0,
            "rasterized": True,
            "color": BLUE,
        }
        above.scatter(true, predicted, **style)
        above.plot([low, high], [low, high], "k--", linewidth=0.8)
        below.scatter(true, predicted - true, **style)
        below.axhline(0, color="k", linestyle="--", linewidth=0.8)
    figure.align_ylabels(axes)
    figure.suptitle(title)
    return axes


def pit_and_coverage(report, *, figure=None):
    """Draw PIT histograms, with the 95 % range of an even one, and coverage by level.

    Parameters
    ----------
    report : CalibrationReport
        What `report` and `calibrate` of a head return; ``CalibrationReport.of`` makes one of any
        predictive distributions and the truth.
    figure : matplotlib.figure.Figure or matplotlib.figure.SubFigure, optional
        Where to draw; by default a new one.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Shape (quantity, 2).

    Raises
    ------
    InputError
        If there is no object in the report, or a PIT is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.plot import pit_and_coverage
    >>> from astroclip_astro.tasks import LinearHead
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 3))
    >>> head = LinearHead().fit(x[:200], x[:200, 0] + 0.1 * rng.normal(size=200))
    >>> axes = pit_and_coverage(head.report(x[200:], x[200:, 0]))
    >>> axes.shape, axes[0, 1].get_ylabel()
    ((1, 2), 'share inside')
    """
    pit = np.asarray(report.pit, float)
    if not (pit.size and np.isfinite(pit).all()):
        raise InputError(
            f"the PIT of {(~np.isfinite(pit)).any(1).sum()} of {len(pit)} objects is not known: "
            "make the report of objects with a known truth"
        )
    n, quantities = pit.shape
    bins = int(np.clip(n // 50, 5, 20))
    figure = new_figure(figure, 7, 2.6 * quantities)
    grid = figure.subplots(quantities, 2, squeeze=False)
    low, high = binom.ppf([0.025, 0.975], n, 1 / bins)
    levels = np.linspace(0, 1, 101)
    for j, (left, right) in enumerate(grid):
        left.hist(pit[:, j], bins, range=(0, 1), facecolor="none", edgecolor=BLUE, linewidth=1.2)
        left.axhspan(low, high, color="0.88", linewidth=0, zorder=0)
        left.set(xlim=(0, 1), xlabel="PIT", ylabel="objects", title=report.names[j])
        covered = [np.mean(np.abs(pit[:, j] - 0.5) <= level / 2) for level in levels]
        right.plot(levels, covered, color=BLUE)
        right.plot([0, 1], [0, 1], color="0.5", linestyle=":")
        right.set(xlim=(0, 1), ylim=(0, 1), xlabel="stated probability", ylabel="share inside")
        right.set_title("central intervals")
    return grid
