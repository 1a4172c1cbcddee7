"""Spectral lines of galaxies, and how they are marked in a figure."""

import numpy as np
from sklearn.isotonic import isotonic_regression

__all__ = ["LINES", "mark_lines"]

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
    seen = [
        (name, rest * (1 + redshift))
        for name, rest in LINES
        if limits[0] < rest * (1 + redshift) < limits[1]
    ]
    for _, wavelength in seen:
        for panel in axes:
            panel.axvline(wavelength, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    if not (seen and named):
        return
    # Names are moved apart in order, by least squares, and kept within the axes if there is room.
    width = axes[0].get_window_extent().width / axes[0].get_figure(root=True).dpi
    at = np.array([wavelength for _, wavelength in seen])
    apart = _APART / width * (limits[1] - limits[0]) * np.arange(len(at))
    last = limits[1] - apart[-1]
    bounds = {"y_min": limits[0], "y_max": last} if last > limits[0] else {}
    places = isotonic_regression(at - apart, **bounds) + apart
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
