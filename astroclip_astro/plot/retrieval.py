"""How soon a galaxy is found by its other modality."""

from itertools import cycle

import numpy as np

from astroclip_astro.errors import InputError
from astroclip_astro.plot.style import COLOURS, new_axes
from astroclip_astro.training.benchmark.retrieval import recall_curve

__all__ = ["recall_curves"]


def recall_curves(ranks, ax=None, *, title=""):
    """Draw how many galaxies are found among the first n results, and what chance would find.

    Parameters
    ----------
    ranks : dict of tuple
        By name of the curve: ranks from 1, shape (n,), and the size of the pool.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.
    title : str
        Above the axes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is nothing to draw, or a rank is not one of the pool's.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.plot import recall_curves
    >>> ax = recall_curves({"image → spectrum": (np.array([1, 2, 7]), 10)})
    >>> [line.get_label() for line in ax.lines]
    ['image → spectrum', 'chance, pool of 10']
    """
    if not ranks:
        raise InputError("ranks is empty: expected ranks and the size of the pool by name")
    for name, (rank, pool) in ranks.items():
        rank = np.asarray(rank)
        if not (rank.size and (rank >= 1).all() and (rank <= pool).all()):
            raise InputError(f"{name}: expected ranks from 1 to {pool}, the size of the pool")
    ax = new_axes(ax, 4.7, 3.9)
    styles = zip(cycle(COLOURS), cycle(("-", "--", "-.")))
    for (name, (rank, pool)), (colour, line) in zip(ranks.items(), styles, strict=False):
        curve = recall_curve(rank, pool)
        ax.plot(np.arange(1, pool + 1), curve, line, color=colour, label=name)
    for pool in sorted({pool for _, pool in ranks.values()}):
        n = np.arange(1, pool + 1)
        ax.plot(n, n / pool, "k:", linewidth=0.8, label=f"chance, pool of {pool}")
    ax.set(xscale="log", xlabel="results looked at", ylabel="recall", ylim=(0, 1.02))
    ax.set_title(title)
    ax.legend()
    return ax
