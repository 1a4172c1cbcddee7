"""What all pages of a catalog share: columns and maps in memory, and the data of its objects."""

import threading
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import SkyCoord

from astroclip_astro.catalog.maps import read_map
from astroclip_astro.catalog.recipes.sources import Found
from astroclip_astro.catalog.selection import Selection
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.explorer.colouring import Colouring
from astroclip_astro.explorer.portrait import attended, portrait
from astroclip_astro.explorer.search import named
from astroclip_astro.sky import separation
from astroclip_astro.weights import as_model

__all__ = ["Atlas"]

_CONDITIONS = 32  # whose answers are kept


class Atlas:
    """A catalog as it is when it is opened, for any number of pages and threads.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        What is looked at.
    objects : callable
        Takes an ``object_id`` and a modality and returns what `astroclip_astro.embed` takes, or
        a `Found` as `Objects.find` does; raises InputError if there is nothing.

    Raises
    ------
    CatalogError
        If there is no map of one of its modalities.

    Examples
    --------
    >>> from astroclip_astro.catalog import EmbeddingCatalog
    >>> from astroclip_astro.catalog.recipes import Objects
    >>> from astroclip_astro.explorer.atlas import Atlas
    >>> catalog = EmbeddingCatalog.open("mocks")  # doctest: +SKIP
    >>> atlas = Atlas(catalog, Objects(catalog).find)  # doctest: +SKIP
    >>> atlas.find("150.1 2.2")  # doctest: +SKIP
    """

    def __init__(self, catalog, objects):
        self.catalog = catalog
        self._objects = objects
        self._lock = threading.Lock()
        self._answers = {}
        rows = [(ids, batch) for ids, batch in Selection(catalog.store).batches(["object_id"])]
        self._rowids = np.concatenate([ids for ids, _ in rows]) if rows else np.empty(0, np.int64)
        self.names = pd.Index(
            [name for _, batch in rows for name in batch["object_id"].to_pylist()], dtype=object
        )
        # Rows are looked up by their number, which need not rise from one to the next.
        self._order = np.argsort(self._rowids)
        place = catalog.table(columns=["ra", "dec", "redshift"])
        self.ra, self.dec, self.redshift = (
            np.asarray(getattr(place[name], "value", place[name]), float) for name in place.colnames
        )
        self.maps, self.unplaced = {}, {}
        for modality in catalog.modalities:
            if catalog.store.count(modality):
                self.maps[modality], self.unplaced[modality] = self._placed(modality)
        self._column = lru_cache(maxsize=8)(self._read_column)
        self._portrait = lru_cache(maxsize=256)(self._read_portrait)

    def __len__(self):
        return len(self.names)

    @property
    def model(self):
        """What embeds what is dropped on the page, and explains what is looked at (GalaxyModel)."""
        model, error = self._loaded
        if error is not None:
            raise error
        return model

    @cached_property
    def _loaded(self):
        """The model, or why there is none, which is not tried again with every object."""
        with self._lock:
            try:
                return as_model(self.catalog.model), None
            except AstroclipError as error:
                return None, error

    def row(self, object_id):
        """Which row an object is.

        Parameters
        ----------
        object_id : str
            Of an object of the catalog.

        Returns
        -------
        int

        Raises
        ------
        InputError
            If there is no such object.
        """
        try:
            return int(self.names.get_loc(object_id))
        except KeyError as error:
            raise InputError("there is no such object in the catalog", object_id=object_id) from (
                error
            )

    def find(self, text):
        """Look for an object by what somebody typed.

        Parameters
        ----------
        text : str
            An ``object_id``, or a position in degrees or in hours and degrees.

        Returns
        -------
        row : int
            Which it is.
        separation : float
            Arcsec from the position given; 0 for a name.

        Raises
        ------
        InputError
            If it is neither.
        """
        text = text.strip()
        if text in self.names:
            return self.row(text), 0.0
        try:
            hours = any(mark in text for mark in "hms:")
            place = SkyCoord(text, unit=(u.hourangle if hours else u.deg, u.deg)).icrs
            if place.shape:
                raise ValueError("several positions")
        except (ValueError, TypeError, u.UnitsError) as error:
            raise InputError(
                f"{text[:60]!r} is no object of the catalog and no position: expected an "
                "object_id, or right ascension and declination such as 150.1 2.2 or 10h00m24s "
                "+2d12m"
            ) from error
        apart = separation(place.ra.deg, place.dec.deg, self.ra, self.dec)
        if np.isnan(apart).all():
            raise InputError("no object of the catalog has a position: search by object_id")
        nearest = int(np.nanargmin(apart))
        return nearest, 3600 * float(apart[nearest])

    def passing(self, where):
        """Which rows fulfil a condition.

        Parameters
        ----------
        where : str
            As for `EmbeddingCatalog.search`; "" for none.

        Returns
        -------
        numpy.ndarray
            Shape (n,), bool.

        Raises
        ------
        InputError
            If it is no condition.
        """
        if not where.strip():
            return np.ones(len(self), bool)
        with self._lock:
            if where in self._answers:
                return self._answers[where]
        found = Selection(self.catalog.store, where=where).rowids
        passing = np.zeros(len(self), bool)
        passing[self._order[np.searchsorted(self._rowids, found, sorter=self._order)]] = True
        with self._lock:
            while len(self._answers) >= _CONDITIONS:
                self._answers.pop(next(iter(self._answers)))
            self._answers[where] = passing
        return passing

    def inside(self, modality, outline):
        """Which rows are within an outline on a map.

        Parameters
        ----------
        modality : str
            Which map.
        outline : sequence of tuple of float
            Corners; none stand for everything.

        Returns
        -------
        numpy.ndarray
            Shape (n,), bool.
        """
        if not outline:
            return np.ones(len(self), bool)
        from matplotlib.path import Path

        return Path(np.asarray(outline)).contains_points(np.column_stack(self.maps[modality]))

    def nearest(self, xs, ys, x, y, shown):
        """The point next to a place.

        Parameters
        ----------
        xs, ys : numpy.ndarray
            Of all rows, shape (n,), in units of what can be told apart.
        x, y : float
            The place, in the same.
        shown : numpy.ndarray
            Which rows count, shape (n,), bool.

        Returns
        -------
        int or None
            Which row; None if there is none within 12 of these units.
        """
        with np.errstate(invalid="ignore"):
            apart = np.where(shown, (xs - x) ** 2 + (ys - y) ** 2, np.inf)
        apart = np.nan_to_num(apart, nan=np.inf)
        row = int(np.argmin(apart)) if len(apart) else 0
        return row if len(apart) and apart[row] <= 12**2 else None

    def colouring(self, name):
        """What to colour points by.

        Parameters
        ----------
        name : str
            Of a column.

        Returns
        -------
        Colouring

        Raises
        ------
        InputError
            If there is no such column.
        """
        if name not in self.catalog.columns:
            raise InputError(f"there is no column {name!r} to colour by")
        return self._column(name)

    def table(self, rows):
        """Some rows with all columns.

        Parameters
        ----------
        rows : numpy.ndarray
            Shape (n,), bool.

        Returns
        -------
        astropy.table.QTable
        """
        return self.catalog.table()[rows]

    def values(self, object_id):
        """What the catalog says of an object.

        Parameters
        ----------
        object_id : str
            Of an object of the catalog.

        Returns
        -------
        astropy.table.Row
        """
        return self.catalog.table(where=named(object_id))[0]

    def portrait(self, object_id, modality):
        """What there is to be seen of an object.

        Parameters
        ----------
        object_id : str
            Of an object of the catalog.
        modality : str
            Of which data.

        Returns
        -------
        Picture, Trace or None
            None if they are neither an image nor a spectrum.

        Raises
        ------
        InputError
            If there are no data, or they cannot be used.
        """
        return self._portrait(object_id, modality)

    def attended(self, object_id, modality):
        """What the model attends to in an object.

        Parameters
        ----------
        object_id : str
            Of an object of the catalog.
        modality : str
            Of which data.

        Returns
        -------
        dict or None
            As `astroclip_astro.explorer.portrait.attended` returns it; None if there are no data,
            or the model does not pool by attention.
        """
        try:
            obj, survey = self._object(object_id, modality)
            return attended(obj, self.model, survey=survey)
        except AstroclipError:
            return None

    def _read_portrait(self, object_id, modality):
        obj, survey = self._object(object_id, modality)
        return portrait(obj, self.model, survey=survey)

    def _object(self, object_id, modality):
        """The data of an object, and how they are to be read."""
        found = self._objects(object_id, modality)
        return (found.obj, found.survey or None) if isinstance(found, Found) else (found, None)

    def _placed(self, modality):
        """Places on a map, NaN where an object has none; and how many vectors are not on it."""
        points = read_map(self.catalog, modality)
        x, y = (np.full(len(self), np.nan, np.float32) for _ in "xy")
        rows = self.names.get_indexer(np.asarray(points["object_id"]).astype(object))
        there = rows >= 0
        x[rows[there]], y[rows[there]] = points["x"][there], points["y"][there]
        return (x, y), points.meta["missing"]

    def _read_column(self, name):
        unit = str(self.catalog.schema.units.get(name, ""))
        return Colouring.of(name, self.catalog.table(columns=[name])[name], unit)
