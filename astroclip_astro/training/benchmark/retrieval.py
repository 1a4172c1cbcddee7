"""Finding a galaxy by its other modality: recall in pools of fixed size."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from astroclip_astro.errors import InputError
from astroclip_astro.training.benchmark.heads import bootstrap_error

__all__ = ["Retrieval", "recall_curve", "retrieval", "retrieval_ranks"]

# Cosines that differ by less are equal: products of the same vectors, summed up in another order,
# differ by some 1e-15.
_TIE = 1e-13


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """How well galaxies are found, in one direction.

    Parameters
    ----------
    n_queries : int
        Galaxies that were looked for.
    pool : int
        Galaxies among which each was looked for, itself included.
    recall : dict of float
        By n: share of the queries whose galaxy is among the first n.
    recall_error : dict of float
        Its bootstrap error.
    recall_interval : dict of tuple of float
        Its 95 % interval (Clopper & Pearson 1934, Biometrika 26, 404), which holds for any number
        of queries; a bootstrap of ten queries that all succeed would claim to be certain.
    median_rank, median_rank_error : float
        Median place of the galaxy sought, from 1, and its bootstrap error.
    """

    n_queries: int
    pool: int
    recall: dict
    recall_error: dict
    recall_interval: dict
    median_rank: float
    median_rank_error: float


def retrieval_ranks(queries, keys, *, pool=1000, seed=0):
    """Place of each query's own galaxy among the keys, by cosine similarity, in pools.

    The galaxies are dealt at random into disjoint pools. The last one, where it is not full, is
    filled up with others that only serve to be confused with, so that every galaxy is looked
    for exactly once in a pool of the same size.

    Parameters
    ----------
    queries, keys : numpy.ndarray
        Embeddings, shape (n, feature); row i of both is galaxy i.
    pool : int
        Size of the pools; all galaxies if there are fewer.
    seed : int
        Decides how they are dealt.

    Returns
    -------
    numpy.ndarray
        Ranks from 1, shape (n,), float64. Keys that are equally similar share their mean rank, so
        that vectors that are all alike find nothing.

    Raises
    ------
    InputError
        If the shapes differ, a vector is not finite or has no length, or there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.retrieval import retrieval_ranks
    >>> retrieval_ranks(np.eye(3), np.eye(3)), retrieval_ranks(np.ones((3, 2)), np.ones((3, 2)))
    (array([1., 1., 1.]), array([2., 2., 2.]))
    """
    queries, keys = (np.asarray(v, np.float64) for v in (queries, keys))
    if queries.ndim != 2 or queries.shape != keys.shape or not len(queries):
        raise InputError(
            f"queries of shape {queries.shape} and keys of shape {keys.shape}: expected the same "
            "galaxies in one space, (galaxy, feature) both"
        )
    if pool < 1:
        raise ValueError(f"pool is {pool}, expected at least 1")
    lengths = [np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, keys)]
    for length in lengths:
        if not (np.isfinite(length) & (length > 0)).all():
            raise InputError("vectors are zero or not finite: leave out what is not embedded")
    queries, keys = queries / lengths[0], keys / lengths[1]
    n = len(queries)
    pool = min(pool, n)
    dealt = np.random.default_rng(seed).permutation(n)
    ranks = np.empty(n)
    for start in range(0, n, pool):
        asked = dealt[start : start + pool]
        # What was dealt first fills up the last pool.
        members = np.concatenate([asked, dealt[: pool - len(asked)]])
        similarity = queries[asked] @ keys[members].T
        own = np.diagonal(similarity)[:, None]
        better = (similarity > own + _TIE).sum(1)
        equal = (np.abs(similarity - own) <= _TIE).sum(1)
        ranks[asked] = better + (equal + 1) / 2
    return ranks


def recall_curve(ranks, pool):
    """Recall as a function of how many results are looked at.

    Parameters
    ----------
    ranks : numpy.ndarray
        As `retrieval_ranks` returns them.
    pool : int
        Size of the pools.

    Returns
    -------
    numpy.ndarray
        Share of the queries found among the first 1, 2, … `pool`, shape (pool,).

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.retrieval import recall_curve
    >>> recall_curve(np.array([1, 3]), 4)
    array([0.5, 0.5, 1. , 1. ])
    """
    return np.searchsorted(np.sort(ranks), np.arange(1, pool + 1), side="right") / len(ranks)


def retrieval(queries, keys, *, pool=1000, at=(1, 5, 10), n_resamples=200, seed=0):
    """Measure how well galaxies are found by their other modality.

    Parameters
    ----------
    queries, keys : numpy.ndarray
        Embeddings of two modalities, shape (n, feature); row i of both is galaxy i.
    pool : int
        Size of the pools; all galaxies if there are fewer.
    at : tuple of int
        Numbers of results to look at.
    n_resamples : int
        Of the bootstrap over queries.
    seed : int
        Of the pools and of the bootstrap.

    Returns
    -------
    Retrieval

    Raises
    ------
    InputError
        As `retrieval_ranks` does.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.retrieval import retrieval
    >>> found = retrieval(np.eye(10), np.eye(10))
    >>> found.pool, found.recall[1], [round(x, 2) for x in found.recall_interval[1]]
    (10, 1.0, [0.69, 1.0])
    """
    ranks = retrieval_ranks(queries, keys, pool=pool, seed=seed)
    n = len(ranks)

    def error(statistic):
        return bootstrap_error(
            lambda drawn: statistic(ranks[drawn]), n, n_resamples=n_resamples, seed=seed
        )

    found = {first: ranks <= first for first in at}
    return Retrieval(
        n_queries=n,
        pool=min(pool, n),
        recall={first: float(hit.mean()) for first, hit in found.items()},
        recall_error={first: error(lambda r, first=first: np.mean(r <= first)) for first in at},
        recall_interval={
            first: tuple(map(float, binomtest(int(hit.sum()), n).proportion_ci(method="exact")))
            for first, hit in found.items()
        },
        median_rank=float(np.median(ranks)),
        median_rank_error=error(np.median),
    )
