"""Figures of a benchmark: predicted against true values, recall curves, maps of the embeddings."""

import warnings

import numpy as np
from matplotlib.figure import Figure

from astroclip_astro.training.benchmark.retrieval import recall_curve

__all__ = ["embedding_map", "predicted_against_true", "recall_curves"]

_LABELS = {
    "redshift": "redshift",
    "log_mass": r"$\log_{10}(M_\star / M_\odot)$",
    "log_z": r"$\log_{10}(Z / Z_\odot)$",
    "age": "age (Gyr)",
    "log_ssfr": r"$\log_{10}(\mathrm{sSFR} / \mathrm{yr}^{-1})$",
}
_PANEL = 2.6  # inches


def predicted_against_true(predictions, title=""):
    """Draw predicted against true values, and the residuals below, one column per property.

    Parameters
    ----------
    predictions : dict of tuple
        By property: true and predicted values, shape (n,); pairs with a NaN are left out, and
        the panels of a property without any other pair stay empty.
    title : str
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.figures import predicted_against_true
    >>> z = np.linspace(0, 1, 20)
    >>> len(predicted_against_true({"redshift": (z, z)}).axes)
    2
    """
    n = len(predictions)
    figure = Figure(figsize=(_PANEL * n + 0.4, 1.5 * _PANEL), layout="constrained")
    axes = figure.subplots(2, n, sharex="col", height_ratios=(3, 1), squeeze=False)
    for (name, (true, predicted)), (above, below) in zip(predictions.items(), axes.T, strict=True):
        below.set_xlabel(_LABELS.get(name, name))
        both = np.isfinite(true) & np.isfinite(predicted)
        if not both.any():
            continue
        true, predicted = true[both], predicted[both]
        low, high = true.min(), true.max()
        style = {"s": 4, "alpha": 0.4, "linewidths": 0, "rasterized": True}
        above.scatter(true, predicted, **style)
        above.plot([low, high], [low, high], "k--", linewidth=0.8)
        below.scatter(true, predicted - true, **style)
        below.axhline(0, color="k", linestyle="--", linewidth=0.8)
    axes[0, 0].set_ylabel("predicted")
    axes[1, 0].set_ylabel("predicted - true")
    figure.suptitle(title)
    return figure


def recall_curves(ranks, title=""):
    """Draw how many galaxies are found among the first n results, and what chance would find.

    Parameters
    ----------
    ranks : dict of tuple
        By name of the curve: ranks from 1, shape (n,), and the size of the pool.
    title : str
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.figures import recall_curves
    >>> figure = recall_curves({"image → spectrum": (np.array([1, 2, 7]), 10)})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['image → spectrum', 'chance, pool of 10']
    """
    figure = Figure(figsize=(1.8 * _PANEL, 1.5 * _PANEL), layout="constrained")
    axes = figure.subplots()
    for name, (rank, pool) in ranks.items():
        axes.plot(np.arange(1, pool + 1), recall_curve(rank, pool), label=name)
    for pool in sorted({pool for _, pool in ranks.values()}):
        n = np.arange(1, pool + 1)
        axes.plot(n, n / pool, "k:", linewidth=0.8, label=f"chance, pool of {pool}")
    axes.set(xscale="log", xlabel="results looked at", ylabel="recall", ylim=(0, 1.02))
    axes.set_title(title)
    axes.legend()
    return figure


def embedding_map(vectors, values, *, seed=0, title=""):
    """Draw embeddings in two dimensions, coloured by properties.

    Parameters
    ----------
    vectors : numpy.ndarray
        Embeddings, shape (n, feature), finite, at least 4 of them.
    values : dict of numpy.ndarray
        By property, what to colour by, shape (n,); grey where NaN.
    seed : int
        Of the projection.
    title : str
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per property.

    Raises
    ------
    ImportError
        If umap-learn is not installed.

    Notes
    -----
    UMAP (McInnes, Healy & Melville 2018, https://arxiv.org/abs/1802.03426) with 15 neighbours and
    cosine distances.
    """
    try:
        with warnings.catch_warnings():
            # It says so at import that it lacks what is not needed here.
            warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
            from umap import UMAP
    except ImportError as error:
        raise ImportError("a map of embeddings needs umap-learn: pip install umap-learn") from error
    neighbours = min(15, len(vectors) - 1)
    # One job is what makes it repeatable; said here, or umap-learn warns that it had to.
    flat = UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    x, y = flat.fit_transform(vectors).T
    figure = Figure(figsize=(2 * _PANEL * len(values), 1.7 * _PANEL), layout="constrained")
    for axes, (name, colour) in zip(
        figure.subplots(1, len(values), squeeze=False)[0], values.items(), strict=True
    ):
        known = np.isfinite(colour)
        style = {"s": 4, "linewidths": 0, "rasterized": True}
        axes.scatter(x[~known], y[~known], color="0.8", **style)
        axes.set(xticks=[], yticks=[], title=_LABELS.get(name, name))
        if known.any():
            low, high = np.percentile(colour[known], [2, 98])
            points = axes.scatter(x[known], y[known], c=colour[known], vmin=low, vmax=high, **style)
            figure.colorbar(points)
    figure.suptitle(title)
    return figure
