"""UMAP as maps of embeddings are made with it, in figures and of catalogs."""

import warnings

from astroclip_astro.errors import InputError

__all__ = ["projector"]

_NEIGHBOURS = 15


def projector(n, seed, **options):
    """Prepare UMAP for some vectors, with cosine distances and repeatably.

    Parameters
    ----------
    n : int
        How many vectors it will be fitted to, at least 4.
    seed : int
        Of the projection.
    **options : dict
        Passed to `umap.UMAP`.

    Returns
    -------
    umap.UMAP
        Not yet fitted; in two dimensions, with 15 neighbours where there are as many others.

    Raises
    ------
    InputError
        If umap-learn is not installed.

    Notes
    -----
    UMAP: McInnes, Healy & Melville 2018, https://arxiv.org/abs/1802.03426.

    Examples
    --------
    >>> from astroclip_astro.projection import projector
    >>> projector(9, seed=0).n_neighbors
    8
    """
    try:
        with warnings.catch_warnings():
            # It says so at import that it lacks what is not needed here.
            warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
            from umap import UMAP
    except ImportError as error:
        raise InputError(
            "umap-learn is missing: pip install 'astroclip_astro[explorer]'"
        ) from error
    return UMAP(
        n_neighbors=min(_NEIGHBOURS, n - 1),
        metric="cosine",
        random_state=seed,
        n_jobs=1,  # is what makes it repeatable; said here, or umap-learn warns that it had to
        disconnection_distance=float("inf"),  # or what is opposite to all others gets no place
        **options,
    )
