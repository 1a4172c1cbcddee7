"""Which rows of a catalog may be found: what fulfils a condition and is in a part of the sky."""

from functools import cached_property

import numpy as np

from astroclip_astro.catalog.predicate import predicate
from astroclip_astro.catalog.schema import HEALPIX, has_vector
from astroclip_astro.catalog.sky import Cone, Region
from astroclip_astro.catalog.store import reading
from astroclip_astro.errors import InputError

__all__ = ["Selection"]


class Selection:
    """Rows that have a vector, fulfil a condition, and are in a part of the sky.

    Parameters
    ----------
    store : Store
        Of the catalog.
    modality : str, optional
        Of which there has to be a vector.
    where : str, optional
        As for `predicate`.
    cone : tuple, optional
        Position and radius, as for `Cone`.
    region : mocpy.MOC or regions.SkyRegion, optional
        As for `Region`; not together with a cone.

    Attributes
    ----------
    sql : str or None
        Filter that lets pass all that is selected; None lets pass everything.
    everything : bool
        Whether all that has a vector is selected.
    sky : Cone, Region or None
        What else has to be checked, as the filter is only as fine as its cells of the sky.

    Raises
    ------
    InputError
        If one of them makes no sense.
    """

    def __init__(self, store, modality=None, *, where=None, cone=None, region=None):
        if cone is not None and region is not None:
            raise InputError("cone and region: expected one of them")
        if cone is not None:
            try:
                center, radius = cone
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"cone is {cone!r}: expected a position and a radius, (SkyCoord, angle)"
                ) from error
        self.store = store
        self.modality = modality
        self.sky = None
        if region is not None:
            self.sky = Region(region)
        elif cone is not None:
            self.sky = Cone(center, radius)
        self.everything = where is None and self.sky is None
        parts = [] if where is None else [predicate(where, store.schema.kinds)]
        if self.sky is not None:
            ranges = " OR ".join(
                f"({HEALPIX} >= {low} AND {HEALPIX} < {high})" for low, high in self.sky.ranges()
            )
            parts.append(f"({ranges})")
        if modality is not None:
            parts.append(has_vector(modality))
        self.sql = " AND ".join(parts) or None

    @classmethod
    def of_sql(cls, store, modality, sql):
        """Rows that have a vector and pass a filter.

        Parameters
        ----------
        store : Store
            Of the catalog.
        modality : str
            Of which there has to be a vector.
        sql : str
            As `predicate` or `text_in` writes it, never a user's own.

        Returns
        -------
        Selection
        """
        selection = cls(store, modality)
        selection.sql, selection.everything = f"{sql} AND {selection.sql}", False
        return selection

    @cached_property
    def rowids(self):
        """The rows that are selected, in rising order (numpy.ndarray of int64)."""
        found = [ids for ids, _ in self.batches([])]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def count(self):
        """How many rows are selected.

        Returns
        -------
        int
        """
        if self.sky is None:
            with reading(self.store.dataset):
                return self.store.dataset.count_rows(filter=self.sql)
        return len(self.rowids)

    def batches(self, columns, *, size=16384):
        """Read the rows that are selected.

        Parameters
        ----------
        columns : list of str
            Which.
        size : int
            Most rows at a time.

        Yields
        ------
        rowids : numpy.ndarray
            Shape (n,), int64.
        batch : pyarrow.RecordBatch
            Of the columns.
        """
        extra = [] if self.sky is None else [c for c in ("ra", "dec") if c not in columns]
        scanner = self.store.dataset.scanner(
            columns=[*columns, *extra], filter=self.sql, with_row_id=True, batch_size=size
        )
        batches = scanner.to_batches()
        while True:
            with reading(self.store.dataset):
                batch = next(batches, None)
            if batch is None:
                return
            if self.sky is not None and len(batch):
                ra, dec = (batch[name].to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
                batch = batch.filter(self.sky.contains(ra, dec))
            if len(batch):
                yield batch["_rowid"].to_numpy().astype(np.int64), batch.select(columns)
