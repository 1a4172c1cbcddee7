"""Which engine ranks what: by how many queries there are, what is selected, and what is loaded."""

import numpy as np
import pyarrow as pa

from astroclip_astro.catalog.engines.exact import vectors_of
from astroclip_astro.catalog.engines.faiss import FaissEngine
from astroclip_astro.catalog.selection import Selection
from astroclip_astro.catalog.store import reading
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import get_manager
from astroclip_astro.tasks import FixedRedshift

__all__ = ["Ranking"]

# From so many queries on, comparing all vectors beats asking the index for each.
_MANY_QUERIES = 64
_MANY_QUERIES_ON_DISK = 512
# So few rows are compared one by one, sooner than an index finds them among all others.
_FEW_ROWS = 2000
# Objects that the trend with redshift is learned from.
_TREND = 20_000


class Ranking:
    """The engines of a catalog, made when they are needed and anew when the catalog has changed.

    Parameters
    ----------
    store : Store
        Of the catalog.
    """

    def __init__(self, store):
        self._store = store
        self._made, self._version = {}, None

    def load(self, modality, engine):
        """Read vectors into memory, and all columns.

        Parameters
        ----------
        modality : str
            Which.
        engine : {"faiss", "exact"}
            What is to search them.

        Raises
        ------
        InputError
            If it is another engine.
        """
        if engine not in ("faiss", "exact"):
            raise InputError(f"engine is {engine!r}, expected 'faiss' or 'exact'")
        self._exact(modality)
        if engine == "faiss":
            self.engine("faiss", modality)
        if "rows" not in self._current():
            names = self._store.schema.names
            rows = self._store.dataset.to_table(columns=names, with_row_id=True)
            rows = rows.sort_by("_rowid").combine_chunks()
            rowids = rows["_rowid"].to_numpy().astype(np.int64)
            self._current()["rows"] = rowids, rows.drop_columns(["_rowid"])

    def rows(self, rowids):
        """All columns of some rows, from memory where they are.

        Parameters
        ----------
        rowids : numpy.ndarray
            Shape (n,), int64.

        Returns
        -------
        pyarrow.Table
            In this order.
        """
        if "rows" in self._current():
            known, rows = self._current()["rows"]
            return rows.take(np.searchsorted(known, rowids))
        if not len(rowids):
            schema = self._store.schema.arrow
            return pa.schema(
                [schema.field(name) for name in self._store.schema.names]
            ).empty_table()
        with reading(self._store.dataset):
            return self._store.dataset._take_rows(rowids.tolist(), columns=self._store.schema.names)

    def engine(self, name, modality):
        """An engine for the catalog as it is now.

        Parameters
        ----------
        name : str
            Registered.
        modality : str
            What it ranks.

        Returns
        -------
        Engine
        """
        made = self._current()
        if (name, modality) not in made:
            if name == "faiss":
                found = FaissEngine(self._store, modality, self._exact(modality))
            else:
                found = get_manager().load("engine", name)(self._store, modality)
            made[name, modality] = found
        return made[name, modality]

    def search(self, queries, k, selection, engine="auto", *, at_fixed_redshift=False):
        """Find the most similar rows, by the engine that suits.

        Parameters
        ----------
        queries : numpy.ndarray
            Unit vectors, shape (q, feature), float32.
        k : int
            How many to find for each.
        selection : Selection
            Which rows may be found, and which of their vectors are ranked.
        engine : str
            "auto", or the name of a registered engine.
        at_fixed_redshift : bool
            Whether the queries are residuals, and are compared with residuals.

        Returns
        -------
        rowids, scores : numpy.ndarray
            As `Engine.search` returns them; not less than `k` where so many are selected, unless an
            engine was named.

        Raises
        ------
        InputError
            If the engine is of no use.
        """
        modality = selection.modality
        if at_fixed_redshift:
            if engine not in ("auto", "exact"):
                raise InputError(f"engine is {engine!r}: at_fixed_redshift is for 'exact'")
            return self._residuals(modality).search(queries, k, selection)
        if engine != "auto":
            return self.engine(engine, modality).search(queries, k, selection)
        found = self._suitable(len(queries), selection).search(queries, k, selection)
        least = int((found[0] >= 0).sum(1).min())
        if least < k and least < selection.count():
            # An index looks at some partitions only, and may find fewer than there are.
            return self.engine("exact", modality).search(queries, k, selection)
        return found

    def residual(self, vectors, redshift, modality):
        """Take the mean trend with redshift off vectors.

        Parameters
        ----------
        vectors : numpy.ndarray
            Shape (n, feature), float32.
        redshift : numpy.ndarray
            Shape (n,).
        modality : str
            What they are vectors of.

        Returns
        -------
        numpy.ndarray
            Shape (n, feature), float32.

        Raises
        ------
        InputError
            If a redshift is unknown or out of the range of the catalog.
        """
        return self._trend(modality).transform(vectors, redshift).astype(np.float32)

    def _current(self):
        """What was made for the version that the catalog is at."""
        if self._version != self._store.dataset.version:
            self._made, self._version = {}, self._store.dataset.version
        return self._made

    def _exact(self, modality):
        """All vectors in memory."""
        engine = self.engine("exact", modality)
        return engine if engine.loaded else engine.load()

    def _trend(self, modality):
        """How vectors change with redshift, learned from some of them."""
        made = self._current()
        if ("trend", modality) not in made:
            known = Selection(self._store, modality, where="redshift IS NOT NULL")
            some = np.random.default_rng(0).permutation(known.rowids)[:_TREND]
            names = ["redshift", modality]
            with reading(self._store.dataset):
                stored = self._store.dataset._take_rows(np.sort(some).tolist(), columns=names)
            vectors = vectors_of(stored[modality].combine_chunks())
            made["trend", modality] = FixedRedshift().fit(vectors, stored["redshift"].to_numpy())
        return made["trend", modality]

    def _residuals(self, modality):
        """All residuals in memory, of what has a redshift."""
        made = self._current()
        if ("residuals", modality) not in made:
            low, high = self._trend(modality).redshift_range_

            def residuals(vectors, redshift):
                there = (redshift >= low) & (redshift <= high)
                found = np.zeros_like(vectors)
                if there.any():
                    found[there] = self.residual(vectors[there], redshift[there], modality)
                return found, there

            engine = get_manager().load("engine", "exact")(self._store, modality)
            made["residuals", modality] = engine.load(residuals)
        return made["residuals", modality]

    def _suitable(self, queries, selection):
        """The engine for so many queries."""
        modality, made = selection.modality, self._current()
        exact = self.engine("exact", modality)
        many = _MANY_QUERIES if exact.loaded else _MANY_QUERIES_ON_DISK
        if queries >= many or selection.sky is not None:
            return exact
        if not selection.everything and selection.count() <= _FEW_ROWS:
            return exact
        if ("faiss", modality) in made:
            return made["faiss", modality]
        return self.engine("lance", modality) if self._store.indexed(modality) else exact
