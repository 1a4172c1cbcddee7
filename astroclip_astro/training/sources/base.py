"""The contract of a source of training data."""

from abc import ABC, abstractmethod

import numpy as np

__all__ = ["Source"]


class Source(ABC):
    """Galaxies that can be read in any order, a batch at a time.

    Attributes
    ----------
    name : str
        For messages and tables.
    modalities : frozenset of str
        What each object has: ``"image"``, ``"spectrum"`` or both.
    object_id : numpy.ndarray
        Names, shape (N,), str, all different.
    ra, dec : numpy.ndarray
        ICRS positions in degrees, shape (N,), float64; NaN where unknown.
    targets : dict of numpy.ndarray
        Known properties by name (`astroclip_astro.training.batch.TARGETS` and others), shape (N,),
        float64; NaN where unknown.
    """

    name: str
    modalities: frozenset
    object_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    targets: dict

    def __len__(self):
        return len(self.object_id)

    @abstractmethod
    def read(self, rows, generator):
        """Read objects.

        Parameters
        ----------
        rows : numpy.ndarray
            Which, shape (B,), int64, in any order.
        generator : torch.Generator
            Source of noise and other chance; used by simulated sources only.

        Returns
        -------
        astroclip_astro.training.batch.TrainingBatch
            In the order of `rows`. A source that was made with ``errors="skip"`` may leave out
            what cannot be read, and logs each; the names tell which remain.

        Raises
        ------
        InputError
            If an object cannot be read, naming it and its file.
        """
