"""One stream of training batches from any number of sources."""

from bisect import bisect_right
from itertools import accumulate, count

import lightning as L
import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, Sampler

from astroclip_astro.errors import InputError
from astroclip_astro.training.batch import TrainingBatch
from astroclip_astro.training.chance import noise_generator
from astroclip_astro.training.split import PARTS, split

__all__ = ["GalaxyDataModule"]

_TRAINING, _VALIDATION = 0, 1  # streams of chance


class GalaxyDataModule(L.LightningDataModule):
    """Training and validation batches from several sources.

    Batches are numbered, and the number decides the objects and the noise: pass after pass through
    all training objects, each pass in an order of its own. There is no end; the trainer's number of
    steps says when to stop. A run that is resumed goes on with the batch after the last step, and
    so sees what it would have seen.

    Parameters
    ----------
    sources : sequence of Source
        Where objects come from; each batch is a random mixture of all.
    batch_size : int
        Objects per batch and process.
    by : {"object", "sky"}
        How objects are dealt, see `astroclip_astro.training.split.split`.
    test, validation : float
        Shares that are not trained on. Of a source that keeps objects for tests itself
        (``held_out``), those are the test part.
    seed : int
        Of order, noise and split.
    repeat : float
        Share of each batch of which a second observation of the spectrum comes along, from sources
        that are simulated.
    num_workers : int
        Processes that read.

    Attributes
    ----------
    rows : dict of numpy.ndarray
        By part ("train", "validation", "test"), which objects of the sources, counted through.
    batches_per_pass : int
        Training batches, per process, in one pass.

    Raises
    ------
    InputError
        If there is no source, they have no modality in common, there are no spectra to repeat, two
        objects of one source have the same name, or there are fewer training objects than fill one
        batch on each process.

    Notes
    -----
    Every process reads its own share of each pass. The few objects that fill no batch at the end of
    a pass come in another order, and so earlier, in the next. In validation each object comes
    once, but for the first ones, which come again where processes would have unequal numbers.

    Processes are shared out here: give the trainer ``use_distributed_sampler=False``.

    Examples
    --------
    >>> from astroclip_astro.simulate import MockSurvey
    >>> from astroclip_astro.training.data import GalaxyDataModule
    >>> from astroclip_astro.training.sources.mocks import MockSource
    >>> data = GalaxyDataModule([MockSource(MockSurvey.bundled())], batch_size=8)
    >>> len(next(iter(data.train_dataloader()))), data.batches_per_pass
    (8, 3)
    """

    def __init__(
        self,
        sources,
        *,
        batch_size,
        by="object",
        test=0.1,
        validation=0.05,
        seed=0,
        repeat=0.0,
        num_workers=0,
    ):
        super().__init__()
        if not sources:
            raise InputError("no source of training data: give at least one")
        self.sources = list(sources)
        self.modalities = frozenset.intersection(*(s.modalities for s in self.sources))
        if not self.modalities:
            have = "; ".join(f"{s.name}: {', '.join(sorted(s.modalities))}" for s in self.sources)
            raise InputError(f"the sources have no modality in common ({have})")
        self.sources = [source.only(self.modalities) for source in self.sources]
        if repeat and "spectrum" not in self.modalities:
            raise InputError(f"repeat={repeat}: there are no spectra to repeat, expected 0")
        self.batch_size, self.seed = batch_size, seed
        self.repeat, self.num_workers = repeat, num_workers
        parts = []
        for source in self.sources:
            names, times = np.unique(source.object_id, return_counts=True)
            if (times > 1).any():
                raise InputError(
                    f"{source.name} has {times.max()} objects of this name: expected other names",
                    object_id=str(names[times.argmax()]),
                )
            parts.append(
                split(
                    source.object_id,
                    source.ra,
                    source.dec,
                    by=by,
                    test=test,
                    validation=validation,
                    seed=seed,
                    kept=getattr(source, "held_out", None),
                )
            )
        part = np.concatenate(parts)
        self.rows = {name: np.flatnonzero(part == i) for i, name in enumerate(PARTS)}
        if len(self.rows["train"]) < batch_size:
            raise InputError(
                f"{len(self.rows['train'])} training objects are fewer than a batch of "
                f"{batch_size}: take a smaller batch_size"
            )

    @property
    def object_id(self):
        """Names of all objects of all sources, shape (n,), str."""
        return np.concatenate([source.object_id for source in self.sources])

    @property
    def batches_per_pass(self):
        """Training batches, per process, in one pass (int)."""
        return len(self._batches("train"))

    def _batches(self, part):
        together = distributed.is_available() and distributed.is_initialized()
        rank = distributed.get_rank() if together else 0
        world = distributed.get_world_size() if together else 1
        kind = _Passes if part == "train" else _OnePass
        return kind(
            _Reader(self.sources, self.modalities, self.repeat if part == "train" else 0.0),
            self.rows[part],
            self.batch_size,
            self.seed,
            rank,
            world,
        )

    def _loader(self, part, start=None):
        batches = self._batches(part)
        if not len(batches):
            return []
        return DataLoader(
            batches,
            batch_size=None,
            sampler=None if start is None else _From(start),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            multiprocessing_context="spawn" if self.num_workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self):
        """Make the stream of training batches.

        Returns
        -------
        torch.utils.data.DataLoader
            Without end.
        """
        start = 0
        if self.trainer is not None:
            start = self.trainer.global_step * self.trainer.accumulate_grad_batches
        return self._loader("train", start)

    def val_dataloader(self):
        """Make the validation batches.

        Returns
        -------
        torch.utils.data.DataLoader
            Always the same batches.
        """
        return self._loader("validation")

    def test_dataloader(self):
        """Make the test batches.

        Returns
        -------
        torch.utils.data.DataLoader
            Always the same batches.
        """
        return self._loader("test")


class _From(Sampler):
    """All whole numbers from one on."""

    def __init__(self, start):
        self.start = start

    def __iter__(self):
        return count(self.start)


class _Reader:
    """Reads objects that are counted through all sources."""

    def __init__(self, sources, modalities, repeat):
        self.sources, self.modalities, self.repeat = sources, modalities, repeat
        self.starts = [0, *accumulate(len(source) for source in sources)]

    def __call__(self, rows, generator):
        """Read objects, shape (B,), in this order."""
        which = np.array([bisect_right(self.starts, row) - 1 for row in rows])
        parts, repeats = [], []
        for i in np.unique(which):
            source, own = self.sources[i], rows[which == i] - self.starts[i]
            parts.append(source.read(own, generator))
            second = own[: round(self.repeat * len(own))]
            # What was left out is not observed again: its image may be what cannot be read.
            second = second[np.isin(source.object_id[second], parts[-1].object_id)]
            if len(second) and source.simulated:
                spectra = source.only({"spectrum"})
                repeats.append(spectra.read(second, generator))
                source.skipped += spectra.skipped
        batch = TrainingBatch.join(parts, self.modalities)
        if not len(batch):
            raise InputError(
                f"none of the {len(rows)} objects of a batch can be read; the log says why"
            )
        if repeats:
            batch.repeat = TrainingBatch.join(repeats, {"spectrum"})
        return batch


class _Passes(Dataset):
    """Training batches by number, pass after pass; as long as one pass."""

    def __init__(self, read, rows, batch_size, seed, rank, world):
        self.read, self.rows, self.batch_size = read, rows, batch_size
        self.seed, self.rank, self.world = seed, rank, world
        self._turn = self._order = None
        if len(rows) < batch_size * world:
            raise InputError(
                f"{len(rows)} training objects do not fill a batch of {batch_size} on each of "
                f"{world} processes: take a smaller batch_size"
            )

    def __len__(self):
        return len(self.rows) // (self.batch_size * self.world)

    def __getitem__(self, number):
        turn, place = divmod(number, len(self))
        if turn != self._turn:
            self._turn = turn
            self._order = np.random.default_rng([self.seed, turn]).permutation(self.rows)
        first = (place * self.world + self.rank) * self.batch_size
        chance = noise_generator(self.seed, _TRAINING, turn, place, self.rank)
        return self.read(self._order[first : first + self.batch_size], chance)


class _OnePass(Dataset):
    """Batches in order, an equal number on each process."""

    def __init__(self, read, rows, batch_size, seed, rank, world):
        self.read, self.batch_size, self.seed, self.rank = read, batch_size, seed, rank
        padded = np.resize(rows, -(-len(rows) // world) * world) if len(rows) else rows
        self.rows = padded[rank::world]

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, number):
        if number >= len(self):
            raise IndexError(number)
        first = number * self.batch_size
        chance = noise_generator(self.seed, _VALIDATION, number, self.rank)
        return self.read(self.rows[first : first + self.batch_size], chance)
