"""From an object of a catalog back to its data: where they came from, and reading them again."""

from copy import copy
from dataclasses import replace
from functools import lru_cache
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.catalog.recipes.recipe import find_recipe, read_recipe
from astroclip_astro.errors import AstroclipError, CatalogError, InputError
from astroclip_astro.plugins import get_manager

__all__ = ["ORIGINS", "Objects", "write_origins"]

#: File in the folder of a catalog that says where each object came from.
ORIGINS = "origins.parquet"

_TEXT = ("object_id", "modality", "source", "key")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXT), ("number", pa.int32())])
_GROUP = 16384  # rows that are read to find one
_KEPT = 64  # objects, of half a megabyte or less
_ENTRIES = 2  # the modalities of an object are mostly asked for one after the other


class Objects:
    """The spectra and images that a catalog was built of.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        One that `build` made.
    sources : dict of path-like, optional
        By name of the source of its recipe, where the data are, as for `build`. Catalogs do not
        keep that; without it there are mocks, and what is part of an installed recipe.

    Raises
    ------
    InputError
        If the catalog has no such source, or its recipe cannot be read.

    Notes
    -----
    Nothing is read before it is asked for. A source is listed once, and of what it has only the
    entries that are asked for are read; the last few objects are kept. It may be asked from several
    threads, which wait for each other.

    Mocks that were simulated for the catalog are simulated again, one by one.

    What a folder of a catalog holds never decides which file is read: an entry is looked up among
    those that its source lists. So files have to be what they were, by name, size and time; rows of
    tables are known by their name only, as are objects that were deleted from the catalog and added
    again.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.catalog.recipes import Objects, build
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> with TemporaryDirectory() as folder:
    ...     data = {"mocks": mocks.path}
    ...     catalog = build("mocks", Path(folder, "mocks"), sources=data, progress=False)
    ...     objects = Objects(catalog, data)
    ...     cutout = objects.get("mock-2024-0000019", "image")
    >>> cutout.shape, bool((cutout.data == mocks.cutout(1).data).all())
    ((3, 152, 152), True)
    """

    def __init__(self, catalog, sources=None):
        self.catalog = catalog
        self._file = catalog.path / ORIGINS
        self._recipe, self._places = None, {}
        if self._file.is_file():
            self._recipe = _without_places(read_recipe(catalog.path))
            self._places = self._recipe.places(sources or {})
        elif sources:
            raise InputError(f"sources is {', '.join(sources)}: {self._none()}")
        self._readers, self._lock = {}, Lock()
        self._entry = lru_cache(_ENTRIES)(lambda source, key: self._reader(source)(key))
        self._object = lru_cache(_KEPT)(self._find)

    def __repr__(self):
        return f"<Objects of {str(self.catalog.path)!r}>"

    def get(self, object_id, modality):
        """Get the data that a vector was made of.

        Parameters
        ----------
        object_id : str
            An object of the catalog.
        modality : str
            Which of its data.

        Returns
        -------
        specutils.Spectrum or astropy.nddata.NDData
            What `astroclip_astro.embed` takes, with this ``object_id`` in its ``meta``. It is kept
            for the next call: do not change it.

        Raises
        ------
        InputError
            If there is none, it is not known where it came from, or it is not there or has changed
            since; the message says what to do.
        CatalogError
            If what the catalog keeps of that is damaged.
        """
        return self.find(object_id, modality).obj

    def find(self, object_id, modality):
        """Get the data that a vector was made of, and what the source knows of them.

        Parameters
        ----------
        object_id, modality : str
            As for `get`.

        Returns
        -------
        Found
            ``obj`` is what `get` returns, and ``survey`` what `embed` has to be told with it.

        Raises
        ------
        InputError, CatalogError
            As `get` does.
        """
        with self._lock:
            return self._object(str(object_id), modality)

    def _none(self):
        return (
            f"{self.catalog.path} does not know where its objects came from, as it was not built "
            "by a recipe: see 'astroclip catalog build'"
        )

    def _find(self, object_id, modality):
        source, key, number = self._origin(object_id, modality)
        changed = f"{key!r} of source {source!r} is gone, or has changed since the catalog was made"
        found, one, reason = [], None, changed
        try:
            found = self._entry(source, key)
        except KeyError:
            pass
        except (AstroclipError, OSError) as error:
            reason = str(error)
        if number in range(len(found)):
            one = found[number]
            reason = one.reason or changed
        if one is None or one.obj is None or not get_modality(modality).accepts(one.obj):
            if "--source" not in reason:
                reason += f": pass where it is as it was, --source {source}=PATH, or build anew"
            raise InputError(f"no {modality}: {reason}", object_id=object_id)
        known = one.known | {"object_id": object_id}
        return replace(one, obj=_named(one.obj, object_id), known=known)

    def _origin(self, object_id, modality):
        """Source, key of the entry, and number in that."""
        if self._recipe is None:
            raise InputError(self._none(), object_id=object_id)
        try:
            rows = pq.read_table(
                self._file,
                schema=_SCHEMA,
                filters=[("object_id", "==", object_id)],
                partitioning=None,
                page_checksum_verification=True,
            ).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(
                f"{self._file} cannot be read ({error}): build the catalog anew"
            ) from error
        if not rows:
            raise InputError(
                f"it is not known where it came from: it is none of the objects that "
                f"{self.catalog.path} was built of",
                object_id=object_id,
            )
        for row in rows:
            if row["modality"] == modality:
                return row["source"], row["key"], row["number"]
        there = " and ".join(str(row["modality"]) for row in rows)
        raise InputError(f"it has no {modality!r}: it has {there}", object_id=object_id)

    def _reader(self, name):
        """What reads the entries of a source."""
        if name not in self._readers:
            for source in self._recipe.sources:
                if source.name == name:
                    opened = source.reopen(self._places[name], self._recipe.modalities)
                    self._readers[name] = opened.read
        return self._readers[name]


def write_origins(path, origins):
    """Write down where the objects of a catalog came from.

    Parameters
    ----------
    path : pathlib.Path
        Folder of the catalog.
    origins : dict of numpy.ndarray
        ``object_id``, ``modality``, ``source``, ``key`` of the entry, and ``number`` in that, in
        the order of the first, in which one is found quickly.
    """
    table = pa.table({name: pa.array(origins[name]) for name in _SCHEMA.names}, _SCHEMA)
    pq.write_table(table, path / ORIGINS, row_group_size=_GROUP, write_page_checksum=True)


def _without_places(recipe):
    """A recipe from the folder of a catalog, which may be somebody else's: its paths are not used.

    Those of an installed recipe are, if it is the same.
    """
    if not any(source.path for source in recipe.sources):
        return recipe
    if recipe.name in get_manager().entries("catalog"):
        try:
            installed = find_recipe(recipe.name)
        except AstroclipError:
            installed = None
        if installed is not None and installed.text == recipe.text:
            return installed
    return replace(recipe, sources=tuple(replace(one, path="") for one in recipe.sources))


def _named(obj, object_id):
    """An object under the name that it has in the catalog."""
    meta = getattr(obj, "meta", None)
    if not isinstance(meta, dict) or meta.get("object_id") == object_id:
        return obj
    obj = copy(obj)
    obj.meta = {**meta, "object_id": object_id}
    return obj
