"""faiss as the accelerator of a catalog in memory: an inverted file of quantised vectors."""

import hashlib
import os

import numpy as np

from astroclip_astro.catalog.engines.contract import Engine
from astroclip_astro.catalog.engines.exact import ExactEngine, cosines
from astroclip_astro.errors import InputError

__all__ = ["FaissEngine"]

# Inverted file over 2,048 cells for a million vectors, with RaBitQ codes (Gao & Long 2024,
# https://arxiv.org/abs/2405.12497); cells looked at, and how many times k candidates are compared
# exactly.
_PER_CELL, _MOST_CELLS = 512, 4096
_CELLS, _CELLS_FILTERED = 32, 256
_CANDIDATES, _FEWEST_CANDIDATES = 20, 200
_LEARNED_FROM = 64  # vectors for each cell
_BLOCK = 65536
_QUERIES = 256  # whose candidates, 200 of 512 numbers each, take 150 MB
_SUFFIX = ".faiss"


class FaissEngine(Engine):
    """Looks at the most similar cells in memory, and compares the best exactly.

    The index is kept in the folder ``cache`` of the catalog, with its checksum; it is no part of
    the catalog and made anew when it is missing, damaged, or of another version.

    Parameters
    ----------
    store : Store
        Of the catalog.
    modality : str
        Which vectors are ranked.
    exact : ExactEngine, optional
        The vectors in memory; by default they are loaded.
    """

    def __init__(self, store, modality, exact=None):
        super().__init__(store, modality)
        try:
            import faiss  # noqa: F401
        except ImportError as error:
            raise InputError(
                "faiss is missing: pip install 'astroclip_astro[faiss]', or take engine='exact'"
            ) from error
        self.exact = exact or ExactEngine(store, modality, "cpu").load()
        self.vectors = self.exact.vectors.cpu().numpy()
        self.index = self._cached() or self._built()

    def search(self, queries, k, selection):
        """Find the most similar rows, as `Engine.search`."""
        import faiss

        cells = _CELLS if selection.everything else _CELLS_FILTERED
        inner = faiss.extract_index_ivf(self.index)
        parameters = {"nprobe": min(cells, inner.nlist)}
        if not selection.everything:
            chosen = np.zeros(len(self.exact.rowids), bool)
            chosen[self.exact.positions(selection)] = True
            # Objects of faiss do not keep what they point to alive.
            bits = np.packbits(chosen, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            parameters["sel"] = selector
        cells = faiss.IVFRaBitQSearchParameters(**parameters)
        parameters = faiss.SearchParametersPreTransform(index_params=cells)
        parts = [
            self._ranked(part, k, parameters)
            for part in np.split(queries, range(_QUERIES, len(queries), _QUERIES))
        ]
        rowids, scores = zip(*parts, strict=True)
        return np.concatenate(rowids), np.concatenate(scores)

    def _ranked(self, queries, k, parameters):
        """The best of some queries, whose candidates are held in memory at a time."""
        wanted = min(max(_CANDIDATES * k, _FEWEST_CANDIDATES), len(self.exact.rowids))
        _, at = self.index.search(queries, wanted, params=parameters)
        vectors = self.vectors[at]  # of -1, the last one, which is struck off below
        scores = np.where(at < 0, -np.inf, cosines(queries, vectors)).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        at, scores = (np.take_along_axis(one, order, axis=1) for one in (at, scores))
        return np.where(at < 0, -1, self.exact.rowids[at]), scores

    def _path(self):
        name = f"{self.modality}-{self.store.dataset.version}{_SUFFIX}"
        return self.store.path / "cache" / name

    def _cached(self):
        """The index that was written for this version, or None."""
        import faiss

        path = self._path()
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.with_suffix(".sha256").read_text():
                return None
            index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        except (OSError, RuntimeError, ValueError):
            return None
        return index if index.ntotal == len(self.exact.rowids) else None

    def _built(self):
        """A new index, written aside, renamed into place, and its checksum after it."""
        import faiss

        vectors, scale = self.exact.vectors.cpu(), self.exact.inverse_norms.cpu()
        count, features = vectors.shape
        cells = int(np.clip(count // _PER_CELL, 1, _MOST_CELLS))
        # Turned at random, since a bit for each direction tells little where few matter.
        kind = f"RR{features},IVF{cells},RaBitQ"
        index = faiss.index_factory(features, kind, faiss.METRIC_INNER_PRODUCT)
        some = np.random.default_rng(0).permutation(count)[: _LEARNED_FROM * cells]
        index.train((vectors[some].float() * scale[some, None]).numpy())
        for part, factor in zip(vectors.split(_BLOCK), scale.split(_BLOCK), strict=True):
            index.add((part.float() * factor[:, None]).numpy())
        data = faiss.serialize_index(index).tobytes()
        path = self._path()
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(exist_ok=True)
            for old in path.parent.glob(f"{self.modality}-*"):
                old.unlink()
            aside.write_bytes(data)
            os.replace(aside, path)
            path.with_suffix(".sha256").write_text(hashlib.sha256(data).hexdigest())
        except OSError:  # a catalog on a full or read-only disk can be searched all the same
            aside.unlink(missing_ok=True)
        return index
