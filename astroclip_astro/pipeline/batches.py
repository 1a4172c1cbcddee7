"""From records to embeddings, in order and part by part; adapting goes ahead of the network."""

import logging
from contextlib import closing
from datetime import UTC, datetime

import numpy as np

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.embedding_schema import COMPANION, make_embeddings
from astroclip_astro.errors import InputError
from astroclip_astro.pipeline.ahead import read_ahead
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.quality import Quality

__all__ = ["embedded", "now", "usual_batch", "versions"]

log = logging.getLogger(__name__)

_COLUMNS = ("object_id", "ra", "dec", "survey", "redshift", "coverage", "snr", "quality")


def now():
    """The date and time that embeddings carry.

    Returns
    -------
    str
        UTC, in ISO format.
    """
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions():
    """The versions that embeddings carry.

    Returns
    -------
    str
        Of this package and of each that brings a plugin, as ``name=version;…``.
    """
    return ";".join(f"{name}={v}" for name, v in sorted(get_manager().versions().items()))


def usual_batch(device):
    """Objects per forward pass, where nobody says how many.

    Parameters
    ----------
    device : str or torch.device
        Where the model is.

    Returns
    -------
    int
        32 on the CPU and 128 elsewhere.
    """
    return 32 if str(device).startswith("cpu") else 128


def embedded(groups, model, *, size, batch_size, raising, date, alone=False, done=lambda n: None):
    """Embed groups of records, such as those of one file each.

    Parameters
    ----------
    groups : iterable of iterable of Record
        Gone through lazily, by a thread that also makes the batches and is at most two batches
        ahead of the network.
    model : GalaxyModel
        In evaluation mode.
    size : float
        A part ends with the first group that makes it hold as many objects.
    batch_size : int or None
        Objects per forward pass; by default `usual_batch`. No batch reaches over the end of a part,
        so that vectors depend on nothing outside of it.
    raising : bool
        Whether to raise for an object that cannot be embedded.
    date : str
        For the attributes.
    alone : bool
        Whether to do without the thread.
    done : callable
        Is told how many objects were embedded since it was told last.

    Yields
    ------
    groups : int
        How many groups are in this part and those before it.
    part : xarray.DataArray
        Dims ("object", "feature"); the last one may be empty, and is where there is no object.
    """
    rows = _Rows(model, raising)
    batch_size = batch_size or usual_batch(model.device)
    work = _prepared(groups, model, size, batch_size)
    with closing(work if alone else read_ahead(work)) as steps:
        for what, *about in steps:
            if what == "end":
                yield about[0], rows.assemble(date)
                rows = _Rows(model, raising)
            elif what == "failed":
                rows.fail(*about)
                done(1)
            else:
                rows.add(what, *about)
                done(len(about[0]))


def _prepared(groups, model, size, batch_size):
    """What there is to do, one after the other: batches by modality, failures, ends of parts."""
    pending = {modality: [] for modality in model.modalities}
    number = count = start = 0

    def batch(modality):
        indices, records = zip(*pending[modality], strict=True)
        pending[modality] = []
        made = get_modality(modality).batch(records, model.preprocessing[modality], model.device)
        return modality, indices, made

    def rest():
        return (batch(modality) for modality, records in pending.items() if records)

    ended = False
    for number, records in enumerate(groups, start=1):
        ended = False
        for record in records:
            modality = record.modality
            if isinstance(record, FailedRecord):
                yield "failed", count, record, record.reason
            elif modality not in pending:
                known = " and ".join(pending)
                reason = f"model {model.name!r} embeds {known}, not {modality}"
                yield "failed", count, record, reason
            else:
                pending[modality].append((count, record))
                if len(pending[modality]) == batch_size:
                    yield batch(modality)
            count += 1
            del record
        if count - start >= size:
            yield from rest()
            yield "end", number
            ended, start = True, count
    if not ended:
        yield from rest()
        yield "end", number


class _Rows:
    """Vectors and their coordinates as they come in, out of order by modality."""

    def __init__(self, model, raising):
        self.model = model
        self.raising = raising
        self.parts = []

    def fail(self, index, record, reason):
        """Raise for an object, or keep its place with a NaN row."""
        quality = record.quality | Quality.NOT_EMBEDDED
        if self.raising:
            raise InputError(reason, object_id=record.object_id, quality=quality)
        log.warning("not embedded: %s: %s", record.object_id or f"object {index}", reason)
        columns = {name: [getattr(record, name, np.nan)] for name in _COLUMNS}
        columns["quality"] = [int(quality)]
        columns["modality"] = [""]
        self.parts.append(([index], None, columns))

    def add(self, modality, indices, batch):
        """Embed a batch."""
        vectors = self.model.encode(batch.flux, modality).numpy().astype(np.float32, copy=False)
        usable = (batch.quality & Quality.NOT_EMBEDDED) == 0
        outside = self.model.out_of_range(batch.flux, modality)
        quality = batch.quality | np.where(usable, outside, 0)
        broken = usable & ~np.isfinite(vectors).all(1)
        absurd = np.zeros_like(broken)
        largest = get_modality(modality).largest
        if broken.any():
            absurd = broken & (batch.flux.flatten(1).abs().amax(1) >= largest).cpu().numpy()
            quality[absurd] |= Quality.NOT_EMBEDDED
            usable, broken = usable & ~absurd, broken & ~absurd
        if broken.any():
            names = ", ".join(batch.object_id[broken][:5])
            raise InputError(
                f"model {self.model.name!r} returned non-finite vectors from finite input: its "
                "weights or their precision are at fault",
                object_id=names,
            )
        for i in np.flatnonzero(~usable):
            bits = Quality(int(quality[i]))
            reason = f"no vector can be made of it ({', '.join(bits.names)})"
            if absurd[i]:
                reason += f": flux of {largest:.0e} or more; mask bad pixels, check the unit"
            if self.raising:
                raise InputError(reason, object_id=batch.object_id[i], quality=bits)
            log.warning(
                "not embedded: %s: %s", batch.object_id[i] or f"object {indices[i]}", reason
            )
        vectors[~usable] = np.nan
        columns = {name: getattr(batch, name) for name in _COLUMNS} | {"quality": quality}
        columns["modality"] = [modality] * len(batch)
        self.parts.append((indices, vectors, columns))

    def assemble(self, date):
        """All rows in the order given, as one DataArray."""
        order = np.argsort(np.concatenate([np.asarray(p[0], int) for p in self.parts] or [[]]))
        width = self.model.embed_dim
        vectors = [
            np.full((len(index), width), np.nan, np.float32) if v is None else v
            for index, v, _ in self.parts
        ]
        columns = {
            name: np.concatenate([np.asarray(c[name]) for *_, c in self.parts] or [[]])[order]
            for name in (*_COLUMNS, "modality")
        }
        # A companion has made the vectors of its own modality only.
        attrs = {
            name: text
            for name, text in self.model.provenance.items()
            if not name.startswith(COMPANION) or name.removeprefix(COMPANION) in columns["modality"]
        }
        attrs |= {"versions": versions(), "date": date}
        stacked = np.concatenate(vectors)[order] if vectors else np.empty((0, width), np.float32)
        return make_embeddings(stacked, columns, attrs)
