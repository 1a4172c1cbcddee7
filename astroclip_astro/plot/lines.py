"""Spectral lines of galaxies, and how they are marked in a figure."""

import numpy as np
from sklearn.isotonic import isotonic_regression

__all__ = ["LINES", "apart", "mark_lines", "observed"]

#: Lines of galaxies, rest wavelengths in vacuum (Å): table of spectral lines of the SDSS, data
#: release 6 (http://classic.sdss.org/dr6/algorithms/linestable.html); [O II] is the middle of its
#: two lines, Mg b and Na D are blends.
LINES = (
    ("[O II]", 3728.48),
    ("Ca K", 3934.78),
    ("Ca H", 3969.59),
    ("Hδ", 4102.89),
    ("G band", 4305.61),
    ("Hγ", 4341.68),
    ("Hβ", 4862.68),
    ("[O III]", 4960.30),
    ("[O III]", 5008.24),
    ("Mg b", 5176.7),
    ("Na D", 5895.6),
    ("[N II]", 6549.86),
    ("Hα", 6564.61),
    ("[N II]", 6585.27),
    ("[S II]", 6718.29),
    ("[S II]", 6732.67),
)

#: Inches that a name takes along the wavelength axis.
_APART = 0.16


def observed(redshift, limits):
    """The `LINES` that lie within the limits at a redshift.

    Parameters
    ----------
    redshift : float
        Of the object; there are none if it is NaN.
    limits : sequence of float
        Shortest and longest wavelength, Å, vacuum, observed frame.

    Returns
    -------
    list of tuple
        Names, and wavelengths in the observed frame, in rising order.
    """
    found = [(name, rest * (1 + redshift)) for name, rest in LINES]
    return [(name, at) for name, at in found if limits[0] < at < limits[1]]


def apart(at, least, limits):
    """Move places apart in their order, by least squares, and keep them within the limits.

    Parameters
    ----------
    at : array_like
        Rising, shape (n,).
    least : float
        How far two of them have to be from each other.
    limits : sequence of float
        Where they have to stay, if there is room for all.

    Returns
    -------
    numpy.ndarray
        Shape (n,).

    Examples
    --------
    >>> from astroclip_astro.plot.lines import apart
    >>> apart([4.0, 4.0, 8.0], 1, (0, 10))
    array([3.5, 4.5, 8. ])
    """
    if not len(at):
        return np.empty(0)
    steps = least * np.arange(len(at))
    last = limits[1] - steps[-1]
    bounds = {"y_min": limits[0], "y_max": last} if last > limits[0] else {}
    return isotonic_regression(np.asarray(at) - steps, **bounds) + steps


def mark_lines(axes, redshift, limits, *, named=True):
    """Mark the `LINES` that lie within the limits.

    Parameters
    ----------
    axes : sequence of matplotlib.axes.Axes
        Of the same wavelengths, one above the other; their names are put above the first.
    redshift : float
        Of the object; nothing is marked if it is NaN.
    limits : sequence of float
        Shortest and longest wavelength, Å, vacuum, observed frame.
    named : bool
        Whether their names are written.
    """
    seen = observed(redshift, limits)
    for _, wavelength in seen:
        for panel in axes:
            panel.axvline(wavelength, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    if not (seen and named):
        return
    width = axes[0].get_window_extent().width / axes[0].get_figure(root=True).dpi
    least = _APART / width * (limits[1] - limits[0])
    places = apart([wavelength for _, wavelength in seen], least, limits)
    for (name, wavelength), place in zip(seen, places, strict=True):
        axes[0].annotate(
            name,
            xy=(wavelength, 1),
            xytext=(place, 1.08),
            xycoords=axes[0].get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6},
        )
