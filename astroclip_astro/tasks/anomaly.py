"""The head for oddities: how little an object resembles those that were learned from."""

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.base import Head, names_of

__all__ = ["AnomalyHead"]

_SHOWN = 3  # normal examples that go with each answer


class AnomalyHead(Head):
    """Scores that are the higher, the stranger an object is among those learned from.

    Parameters
    ----------
    method : {"density", "forest"}
        ``"density"``: the mean distance to the nearest objects learned from, large where these are
        sparse. ``"forest"``: how few random cuts isolate an object.
    k : int
        How many nearest objects the density is taken from.
    seed : int
        Of the forest.

    Attributes
    ----------
    object_id_ : numpy.ndarray
        Names of the objects learned from, shape (n,); ``"row 0"`` and so on where they have none.
    scores_ : numpy.ndarray
        Their own scores, sorted, shape (n,): for ``"density"``, each among the others.

    Notes
    -----
    Distances are Euclidean, between vectors whose numbers each have mean 0 and standard deviation 1
    among the objects learned from. Density: Angiulli & Pizzuti 2002 (LNCS 2431, 15). Forest: Liu et
    al. 2008 (ICDM, 413) as in `sklearn.ensemble.IsolationForest`, the scores between 0 and 1. A
    file holds the vectors and the seed, from which the forest grows again when it is loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import AnomalyHead
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> AnomalyHead().fit(x).predict(np.array([[0.0, 0.0], [9.0, 9.0]])).round(1)
    array([ 0.3, 10.8])
    """

    kind = "anomaly"
    _learned = ("x_mean_", "x_scale_", "vectors_", "scores_")

    def __init__(self, method="density", k=10, seed=0):
        self.method = method
        self.k = k
        self.seed = seed

    def fit(self, X, y=None):
        """Learn what is normal.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of normal objects, each with a vector, or plain vectors of shape (n,
            feature).
        y : None
            Ignored; scikit-learn's pipelines pass it.

        Returns
        -------
        AnomalyHead
            Itself.

        Raises
        ------
        InputError
            If there are not more than `k` objects, fewer than 3, or one has no vector.
        ValueError
            If there is no such method.
        """
        if self.method not in ("density", "forest"):
            raise ValueError(f"method is {self.method!r}, expected 'density' or 'forest'")
        x = self._start(X)
        n, density = len(x), self.method == "density"
        if n < _SHOWN:
            raise InputError(f"{n} objects to learn from: expected at least {_SHOWN}")
        if density and not 1 <= self.k < n:
            raise InputError(
                f"k is {self.k}, expected 1 to {n - 1}, as each of the {n} objects learned from "
                "has so many others: take more objects or a smaller k"
            )
        names = names_of(X)
        names = [""] * n if names is None else names
        self.object_id_ = np.array([str(name) or f"row {i}" for i, name in enumerate(names)])
        self.vectors_ = self._scale(x).astype(np.float32)
        if density:
            self.scores_ = np.sort(self._nearest(self.k)[0].mean(1))
        else:
            self._grow()
        return self

    def predict(self, X):
        """Tell how strange objects are.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of the same model, or plain vectors. An object that was learned from is its
            own nearest, at distance 0.

        Returns
        -------
        astropy.table.QTable or numpy.ndarray
            Of embeddings: a row per object, in order, with ``object_id``, ``score``, higher for
            stranger, ``percentile``, the share (0 to 1) of those learned from that are less
            strange, ``nearest``, the names of the 3 nearest of these, shape (n, 3),
            ``nearest_distance``, shape (n, 3), and ``quality`` and ``reason`` why the row is
            masked. Of plain vectors: the scores, shape (n,), float64.

        Raises
        ------
        ProvenanceError
            If they are of another model than those learned from.
        """
        score, distance, index = self._judged(self._vectors(X))
        if names_of(X) is None:
            return score
        columns = {
            "score": score,
            "percentile": np.searchsorted(self.scores_, score) / len(self.scores_),
            "nearest": self.object_id_[index[:, :_SHOWN]],
            "nearest_distance": distance[:, :_SHOWN],
        }
        return self._answer(X, columns)

    def score_samples(self, X):
        """Minus the score: as everywhere in scikit-learn, the lower, the stranger.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of the same model, or plain vectors. Objects without a vector are left out.

        Returns
        -------
        numpy.ndarray
            Shape (n,), float64.

        Raises
        ------
        ProvenanceError
            If they are of another model than those learned from.
        """
        return -self._judged(self._vectors(X))[0]

    def _judged(self, x):
        """Scores, and of at least 3 objects learned from the distances and which these are."""
        x, density = self._standardised(x).astype(np.float32), self.method == "density"
        distance, index = self._nearest(max(self.k, _SHOWN) if density else _SHOWN, x)
        if density:
            score = distance[:, : self.k].mean(1)
        else:
            score = -self.forest_.score_samples(x) if len(x) else np.zeros(0)
        return score, distance, index

    def _nearest(self, count, x=None):
        """Distances (n, count), rising, to the nearest objects learned from, and which these are.

        Without `x`, of the objects learned from, each to the others.
        """
        if x is not None and not len(x):
            return np.zeros((0, count)), np.zeros((0, count), int)
        search = NearestNeighbors(n_neighbors=count).fit(self.vectors_)
        index = search.kneighbors(x, return_distance=False)
        x = self.vectors_ if x is None else x
        # scikit-learn's own distances of many numbers are not quite 0 between equals.
        distance = np.stack(
            [np.linalg.norm(x - self.vectors_[one], axis=1) for one in index.T], axis=1
        )
        order = np.argsort(distance, axis=1, kind="stable")
        distance, index = (np.take_along_axis(a, order, axis=1) for a in (distance, index))
        return distance.astype(float), index

    def _grow(self):
        self.forest_ = IsolationForest(random_state=self.seed).fit(self.vectors_)
        self.scores_ = np.sort(-self.forest_.score_samples(self.vectors_))

    def _about(self):
        return super()._about() | {"object_id_": self.object_id_.tolist()}

    def _restore(self, arrays, about):
        super()._restore(arrays, about)
        self.object_id_ = np.array(self.object_id_)
        if self.method == "forest":
            self._grow()
