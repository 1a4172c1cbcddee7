"""Exact ranking with torch: every vector is compared, on disk or in memory, on any device."""

import numpy as np
import torch

from astroclip_astro.catalog.engines.contract import Engine
from astroclip_astro.devices import as_device

__all__ = ["ExactEngine", "cosines", "vectors_of"]

_QUERIES = 1024  # ranked at a time
_BLOCK = 16384  # vectors compared with them at a time: 64 MB of cosines
_GROUP = 64  # cosines of which only the best is looked at first


class ExactEngine(Engine):
    """Compares every vector.

    Parameters
    ----------
    store : Store
        Of the catalog.
    modality : str
        Which vectors are ranked.
    device : str or torch.device
        Where to compare; "auto" takes CUDA or MPS where there is one.
    """

    def __init__(self, store, modality, device="auto"):
        super().__init__(store, modality)
        self.device = as_device(device)
        self.rowids = self.vectors = self.inverse_norms = None

    @property
    def loaded(self):
        """Whether the vectors are in memory, or read from disk at each search (bool)."""
        return self.vectors is not None

    def load(self, transform=None):
        """Read all vectors into memory: for a million of 512 numbers, 1 GB.

        Parameters
        ----------
        transform : callable, optional
            Takes vectors, shape (n, feature), float32, and redshifts, shape (n,), NaN where
            unknown, and returns others to rank instead, and which of them there are.

        Returns
        -------
        ExactEngine
            Itself.
        """
        from astroclip_astro.catalog.selection import Selection

        wanted = [self.modality] if transform is None else [self.modality, "redshift"]
        count = self.store.count(self.modality)
        vectors = np.empty((count, self.store.schema.features), np.float16)
        rowids, at = np.empty(count, np.int64), 0
        for ids, batch in Selection(self.store, self.modality).batches(wanted):
            found = vectors_of(batch[self.modality])
            if transform is not None:
                redshift = batch["redshift"].to_numpy(zero_copy_only=False)
                found, there = transform(found.astype(np.float32), redshift)
                found, ids = found[there], ids[there]
            vectors[at : at + len(ids)], rowids[at : at + len(ids)] = found, ids
            at += len(ids)
        order = np.argsort(rowids[:at], kind="stable")
        sorted_already = (order == np.arange(at)).all()
        self.rowids = rowids[:at] if sorted_already else rowids[order]
        kept = vectors[:at] if sorted_already else vectors[order]
        self.vectors = torch.from_numpy(kept).to(self.device)
        norms = [block.float().norm(dim=1) for block in self.vectors.split(_BLOCK)]
        self.inverse_norms = 1 / torch.cat(norms) if norms else torch.empty(0)
        return self

    def search(self, queries, k, selection):
        """Find the most similar rows, as `Engine.search`."""
        parts = [
            self._ranked(torch.from_numpy(part).to(self.device), k, selection)
            for part in np.split(queries, range(_QUERIES, len(queries), _QUERIES))
        ]
        rowids, scores = zip(*parts, strict=True)
        return np.concatenate(rowids), np.concatenate(scores)

    def _ranked(self, queries, k, selection):
        best = torch.full((len(queries), 0), -torch.inf, device=self.device)
        rows = torch.full((len(queries), 0), -1, device=self.device)
        for ids, vectors, inverse_norms in self._blocks(selection):
            scores = queries @ vectors.T
            scores *= inverse_norms
            found, at = _largest(scores, k)
            best = torch.cat([best, found], dim=1)
            rows = torch.cat([rows, ids[at]], dim=1)
            best, order = best.topk(min(k, best.shape[1]), dim=1)
            rows = rows.gather(1, order)
        return rows.cpu().numpy(), best.cpu().numpy().clip(-1, 1)

    def _blocks(self, selection):
        """Row ids, vectors in float32, and inverse norms, of what is selected."""
        if not self.loaded:
            for ids, batch in selection.batches([self.modality], size=_BLOCK):
                found = torch.from_numpy(vectors_of(batch[self.modality]).copy())
                found = found.to(self.device, torch.float32)
                yield torch.from_numpy(ids).to(self.device), found, 1 / found.norm(dim=1)
            return
        if selection.everything:
            chosen = torch.arange(len(self.rowids))
        else:
            chosen = torch.from_numpy(self.positions(selection))
        ids = torch.from_numpy(self.rowids)
        for part in chosen.split(_BLOCK):
            # A slice is not copied, unlike what is picked.
            at = slice(int(part[0]), int(part[-1]) + 1) if selection.everything else part
            found = self.vectors[at].to(self.device, torch.float32)
            yield ids[at].to(self.device), found, self.inverse_norms[at].to(self.device)

    def positions(self, selection):
        """Where in memory the selected rows are.

        Parameters
        ----------
        selection : Selection
            Which rows.

        Returns
        -------
        numpy.ndarray
            Positions in ``rowids``, rising, int64.
        """
        wanted = selection.rowids
        at = np.searchsorted(self.rowids, wanted)
        at, wanted = at[at < len(self.rowids)], wanted[at < len(self.rowids)]
        return at[self.rowids[at] == wanted]


def vectors_of(column):
    """The numbers behind a column of vectors.

    Parameters
    ----------
    column : pyarrow.FixedSizeListArray
        None of them null.

    Returns
    -------
    numpy.ndarray
        Shape (n, feature), float16.
    """
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)


def cosines(queries, vectors):
    """Cosines of queries with vectors of their own.

    Parameters
    ----------
    queries : numpy.ndarray
        Unit vectors, shape (q, feature), float32.
    vectors : numpy.ndarray
        Shape (q, m, feature), of any length and any floating-point type.

    Returns
    -------
    numpy.ndarray
        Shape (q, m), float32.
    """
    vectors = vectors.astype(np.float32)
    found = np.einsum("qmf,qf->qm", vectors, queries)
    return (found / np.linalg.norm(vectors, axis=-1)).clip(-1, 1)


def _largest(scores, k):
    """The k largest of each row, and where: those are in the k groups whose largest are largest."""
    width = scores.shape[1]
    if width % _GROUP or width // _GROUP < 4 * k:
        return scores.topk(min(k, width), dim=1)
    groups = scores.unflatten(1, (-1, _GROUP))
    chosen = groups.amax(2).topk(k, dim=1).indices
    members = groups.gather(1, chosen[..., None].expand(-1, -1, _GROUP)).flatten(1)
    found, at = members.topk(k, dim=1)
    return found, chosen.gather(1, at // _GROUP) * _GROUP + at % _GROUP
