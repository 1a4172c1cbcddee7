"""Maps of embeddings."""

import numpy as np

from astroclip_astro.errors import InputError
from astroclip_astro.plot.style import COLOUR_MAP, label, new_figure, numbers
from astroclip_astro.projection import projector

__all__ = ["embedding_map"]

_PANEL = 2.6  # inches


def embedding_map(vectors, values, *, seed=0, title="", figure=None):
    """Draw embeddings in two dimensions, coloured by properties.

    Parameters
    ----------
    vectors : xarray.DataArray or numpy.ndarray
        Embeddings, shape (n, feature); those with a NaN, which are of objects without a vector,
        are left out, and the figure says how many. At least 4 must be left.
    values : dict or astropy.table.Table
        By property, what to colour by, shape (n,), plain or with a unit; grey where NaN or masked.
        Colours span the percentiles 2 to 98.
    seed : int
        Of the projection.
    title : str
        Above the figure.
    figure : matplotlib.figure.Figure or matplotlib.figure.SubFigure, optional
        Where to draw; by default a new one.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Shape (property,).

    Raises
    ------
    InputError
        If there is nothing to colour by, values are no numbers or not as many as vectors, there
        are too few of these, or umap-learn is not installed.

    Notes
    -----
    UMAP (McInnes, Healy & Melville 2018, https://arxiv.org/abs/1802.03426) with 15 neighbours and
    cosine distances. Its axes have no meaning, nor have distances between far groups.
    """
    vectors = np.asarray(vectors)
    there = np.isfinite(vectors).all(-1)
    if vectors.ndim != 2 or there.sum() < 4:
        raise InputError(
            f"vectors of shape {vectors.shape}, {there.sum()} without NaN: expected (n, feature), "
            "at least 4 without"
        )
    columns = {name: numbers(name, values[name]) for name in values.keys()}  # noqa: SIM118, a table
    if not columns:
        raise InputError("values is empty: expected something to colour by")
    for name, (colour, _) in columns.items():
        if len(colour) != len(vectors):
            raise InputError(f"{len(colour)} values of {name} for {len(vectors)} vectors")
    x, y = projector(int(there.sum()), seed).fit_transform(vectors[there]).T
    figure = new_figure(figure, 2 * _PANEL * len(columns), 1.7 * _PANEL)
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for ax, (name, (colour, unit)) in zip(axes, columns.items(), strict=True):
        colour = colour[there]
        known = np.isfinite(colour)
        style = {"s": max(4, 600 / len(x)), "linewidths": 0, "rasterized": True}
        ax.scatter(x[~known], y[~known], color="0.8", **style)
        ax.set(xticks=[], yticks=[], xlabel="UMAP 1")
        if known.any():
            low, high = np.percentile(colour[known], [2, 98])
            limits = {"vmin": low, "vmax": high, "cmap": COLOUR_MAP}
            points = ax.scatter(x[known], y[known], c=colour[known], **limits, **style)
            figure.colorbar(points, ax=ax, label=label(name, unit), extend="both")
        if not known.all():
            unknown = f"grey: {label(name)} not known"
            ax.set_title(unknown, fontsize="small")
    axes[0].set_ylabel("UMAP 2")
    lost = f"{(~there).sum()} objects without a vector are not shown" if not there.all() else ""
    figure.suptitle("\n".join(filter(None, (title, lost))))
    return axes
