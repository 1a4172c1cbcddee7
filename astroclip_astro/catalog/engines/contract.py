"""What an engine of similarity search has to do."""

from abc import ABC, abstractmethod

__all__ = ["Engine"]


class Engine(ABC):
    """Ranks the vectors of one modality of one catalog by their cosine with others.

    An engine is made for the catalog as it is, ``store.dataset.version``, and made anew when that
    has changed.

    Parameters
    ----------
    store : Store
        Of the catalog.
    modality : str
        Which vectors are ranked.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.catalog.engines import Engine
    >>> class Backwards(Engine):
    ...     def search(self, queries, k, selection):
    ...         rowids = selection.rowids[::-1][:k]
    ...         return np.tile(rowids, (len(queries), 1)), np.zeros((len(queries), len(rowids)))
    """

    def __init__(self, store, modality):
        self.store = store
        self.modality = modality

    @abstractmethod
    def search(self, queries, k, selection):
        """Find the most similar rows.

        Parameters
        ----------
        queries : numpy.ndarray
            Unit vectors, shape (q, feature), float32.
        k : int
            How many to find for each.
        selection : Selection
            Which rows may be found; filters apply before ranking.

        Returns
        -------
        rowids : numpy.ndarray
            Shape (q, m), int64, the most similar first; -1 where there are fewer than m. m may be
            less than `k` only if fewer rows are selected, or the engine could not find more.
        scores : numpy.ndarray
            Cosines with the vectors as stored, computed in float32, shape (q, m); -inf there.
        """
