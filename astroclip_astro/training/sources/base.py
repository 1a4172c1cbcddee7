"""The contract of a source of training data."""

import logging
from abc import ABC, abstractmethod
from copy import copy

import numpy as np
import torch

from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.training.batch import TrainingBatch

__all__ = ["Source"]

logger = logging.getLogger(__name__)

#: The grids of the published model.
_DEFAULT = {"image": ImagePreprocessing, "spectrum": SpectrumPreprocessing}


class Source(ABC):
    """Galaxies that can be read in any order, a batch at a time.

    Subclasses set the attributes and write `read`; a source holds no open file, so that it can be
    handed to worker processes by fork or by pickle.

    Parameters
    ----------
    preprocessing : dict, optional
        The grids to bring the data onto, `ImagePreprocessing` under ``"image"`` and
        `SpectrumPreprocessing` under ``"spectrum"``, as models have them in their attribute of
        this name. Only the modalities that are named are read. By default both on the grids of
        the published model, as far as the source has them.
    errors : {"raise", "skip"}
        What to do with an object that cannot be read: raise an error, or leave it out of the batch,
        log it and count it.

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
    simulated : bool
        Whether each reading is a new observation, with noise of its own.
    skipped : int
        Objects left out so far with ``errors="skip"``, in this process.
    """

    name: str
    modalities: frozenset
    object_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    targets: dict
    simulated = False

    def __init__(self, preprocessing=None, *, errors="raise"):
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors={errors!r}: expected 'raise' or 'skip'")
        self.errors = errors
        self.skipped = 0
        self.preprocessing = preprocessing

    def _offer(self, modalities):
        """Settle the modalities, of those that the data have."""
        if self.preprocessing is None:
            self.preprocessing = {name: _DEFAULT[name]() for name in modalities}
        self.modalities = frozenset(self.preprocessing)
        if missing := self.modalities - set(modalities):
            raise InputError(
                f"{self.name} has {' and '.join(modalities)} data only, and "
                f"{' and '.join(missing)} data were asked for"
            )

    def __len__(self):
        return len(self.object_id)

    def __repr__(self):
        what = " and ".join(sorted(self.modalities))
        return f"<{type(self).__name__} {self.name!r}: {len(self)} objects, {what}>"

    def only(self, modalities):
        """The same objects with some of their modalities, so that the others are not read.

        Parameters
        ----------
        modalities : collection of str
            Which of `modalities`.

        Returns
        -------
        Source
            Another one; what this one skips is counted by itself.
        """
        other = copy(self)
        other.skipped = 0
        other.preprocessing = {one: self.preprocessing[one] for one in modalities}
        other.modalities = frozenset(modalities)
        return other

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

    def _batch(self, rows, **tensors):
        """Make a batch of the objects of these rows."""
        return TrainingBatch(
            object_id=self.object_id[rows],
            targets={
                name: torch.from_numpy(values[rows].astype(np.float32))
                for name, values in self.targets.items()
            },
            **tensors,
        )

    def _cannot_read(self, row, path, reason):
        """Raise for an object that cannot be read, or log and count it."""
        error = InputError(f"{path}: {reason}", object_id=str(self.object_id[row]))
        if self.errors == "raise":
            raise error
        self.skipped += 1
        logger.warning("%s: left out %s", self.name, error)
