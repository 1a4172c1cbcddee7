"""The default engine: the index that lies beside the vectors on disk, read as far as needed."""

import numpy as np

from astroclip_astro.catalog.engines.contract import Engine
from astroclip_astro.catalog.engines.exact import cosines, vectors_of
from astroclip_astro.catalog.store import reading

__all__ = ["LanceEngine"]

# IVF with RaBitQ codes (Gao & Long 2024, https://arxiv.org/abs/2405.12497): partitions looked at,
# of some 512 vectors each, and how many times k candidates are compared exactly.
_PARTITIONS, _PARTITIONS_FILTERED = 32, 128
_CANDIDATES = 10


class LanceEngine(Engine):
    """Looks at the most similar partitions of the index, and compares the best exactly."""

    def search(self, queries, k, selection):
        """Find the most similar rows, as `Engine.search`."""
        found = [self._nearest(query, k, selection) for query in queries]
        width = max((len(rowids) for rowids, _ in found), default=0)
        rowids = np.full((len(queries), width), -1, np.int64)
        scores = np.full((len(queries), width), -np.inf, np.float32)
        for i, (ids, values) in enumerate(found):
            rowids[i, : len(ids)], scores[i, : len(ids)] = ids, values
        return rowids, scores

    def _nearest(self, query, k, selection):
        nearest = {
            "column": self.modality,
            "q": query,
            "k": k,
            "metric": "cosine",
            "nprobes": _PARTITIONS if selection.everything else _PARTITIONS_FILTERED,
            "refine_factor": _CANDIDATES,
        }
        if selection.sky is None:
            chosen = {"filter": None if selection.everything else selection.sql}
        elif not len(selection.rowids):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        else:
            chosen = {"filter": f"_rowid IN ({', '.join(map(str, selection.rowids))})"}
        with reading(self.store.dataset):
            table = self.store.dataset.to_table(
                columns=[self.modality, "_distance"],
                nearest=nearest,
                prefilter=True,
                with_row_id=True,
                **chosen,
            )
        vectors = vectors_of(table[self.modality].combine_chunks())
        scores = cosines(query[None], vectors[None])[0]
        order = np.argsort(-scores, kind="stable")
        return table["_rowid"].to_numpy().astype(np.int64)[order], scores[order]
