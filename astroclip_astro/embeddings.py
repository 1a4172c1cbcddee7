"""Embeddings as xarray: their ``.astroclip`` accessor, putting them together, opening files."""

import numpy as np
import xarray as xr
from astropy import units as u
from astropy.table import QTable

from astroclip_astro.embedding_files import check_output, read_table, write_rows
from astroclip_astro.embedding_schema import (
    COLUMNS,
    COMPANION,
    PROVENANCE,
    compared,
    from_table,
    make_embeddings,
)
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.quality import Quality

__all__ = [
    "EmbeddingAccessor",
    "check_output",
    "concat",
    "directions",
    "from_table",
    "make_embeddings",
    "open_embeddings",
]

# Similarities held at a time in a search: with their order, a quarter of a gigabyte.
_CELLS = 2**24


@xr.register_dataarray_accessor("astroclip")
class EmbeddingAccessor:
    """What embeddings can do, as ``embeddings.astroclip``.

    Parameters
    ----------
    array : xarray.DataArray
        As `astroclip_astro.embed` returns it, of one object or several.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.embeddings import make_embeddings
    >>> vectors = make_embeddings(
    ...     [[3, 4], [4, 3], [np.nan, np.nan]],
    ...     {"object_id": ["a", "b", "c"], "ra": [150.0, 151.0, 152.0], "dec": [2.0, 2.0, 2.0],
    ...      "modality": ["image"] * 3, "survey": [""] * 3, "coverage": [1.0, 0.9, 0.0],
    ...      "snr": [9.0, 8.0, np.nan], "quality": [0, 1, 192]},
    ...     {"model": "toy", "weights_sha256": "", "preprocessing": ""})
    >>> vectors.astroclip.flags
    [[], ['PARTIAL_COVERAGE'], ['NO_DATA', 'NOT_EMBEDDED']]
    >>> good = vectors[vectors.astroclip.valid.values]
    >>> good.astroclip.similarity().values
    array([[1.  , 0.96],
           [0.96, 1.  ]], dtype=float32)
    >>> print(vectors.astroclip.neighbors(good[1], k=2)["rank", "object_id", "similarity"])
    rank object_id similarity
    ---- --------- ----------
       1         b        1.0
       2         a       0.96
    >>> good.astroclip.normalized().values[0]
    array([0.6, 0.8], dtype=float32)
    >>> vectors.astroclip.to_table()["ra"].unit
    Unit("deg")
    """

    def __init__(self, array):
        self._array = array

    def rows(self):
        """The same with dims ("object", "feature"), also of a single object.

        Returns
        -------
        xarray.DataArray
            One row per object.

        Raises
        ------
        InputError
            If this is no embedding.
        """
        array = self._array
        if set(array.dims) not in ({"feature"}, {"object", "feature"}) or any(
            name not in array.coords for name in COLUMNS
        ):
            raise InputError(
                f"an array with dims {array.dims} is no embedding: expected what embed() returns, "
                "with dims ('object', 'feature') or ('feature',) and its coordinates"
            )
        if "object" in array.dims:
            return array.transpose("object", "feature")
        values = {
            name: ("object", [array.coords[name].values[()]], array.coords[name].attrs)
            for name in COLUMNS
        }
        return array.expand_dims("object").assign_coords(values)

    @property
    def provenance(self):
        """What made the vectors: model, weights_sha256 and preprocessing (dict of str)."""
        return {name: self._array.attrs[name] for name in PROVENANCE if name in self._array.attrs}

    @property
    def valid(self):
        """Which objects have a vector (xarray.DataArray of bool)."""
        return (self._array.coords["quality"] & int(Quality.NOT_EMBEDDED)) == 0

    @property
    def flags(self):
        """Names of the quality bits that are set: a list of str per object, or for one object."""
        quality = self._array.coords["quality"].values
        names = [Quality(int(bits)).names for bits in np.atleast_1d(quality)]
        return names if quality.ndim else names[0]

    def check_same_space(self, other):
        """Refuse embeddings that another model, weights or preprocessing made.

        Parameters
        ----------
        other : xarray.DataArray
            Other embeddings.

        Raises
        ------
        ProvenanceError
            If they cannot be compared; the message names both. Also if one of them does not say
            what made it.
        """
        mine, others = self.provenance, other.astroclip.provenance
        missing = [name for name in PROVENANCE if not (name in mine and name in others)]
        if missing:
            raise ProvenanceError(
                f"embeddings without {', '.join(missing)}: an operation dropped their attributes. "
                "Keep them (xarray.set_options(keep_attrs=True)), or copy them from the original"
            )
        names = compared(self._array.attrs, other.attrs)
        mine, others = ({n: a.attrs[n] for n in names} for a in (self._array, other))
        mine["features"] = str(self._array.sizes["feature"])
        others["features"] = str(other.sizes["feature"])
        differing = [name for name in mine if mine[name] != others[name]]
        if differing:
            pairs = "; ".join(f"{name} {mine[name]!r} and {others[name]!r}" for name in differing)
            raise ProvenanceError(
                f"these embeddings are of different spaces: {pairs}. Embed both with one model"
            )

    def normalized(self):
        """Scale every vector to unit length.

        Returns
        -------
        xarray.DataArray
            The same with unit vectors, NaN where there is none, and the attribute ``normalization``
            saying so.

        Raises
        ------
        InputError
            If a vector is zero, so that it has no direction.
        """
        rows = self.rows()
        unit = directions(rows.values)
        lost = np.isnan(unit).any(1) & rows.astroclip.valid.values
        if lost.any():
            name = rows.coords["object_id"].values[lost][0] or f"row {np.flatnonzero(lost)[0]}"
            raise InputError("a vector without direction cannot be normalised", object_id=name)
        found = rows.copy(data=unit).assign_attrs(normalization="unit length")
        return _with_dims(found, self._array.dims)

    def similarity(self, other=None):
        """Cosine similarity of every object with every other.

        Parameters
        ----------
        other : xarray.DataArray, optional
            Embeddings to compare with; by default these themselves.

        Returns
        -------
        xarray.DataArray
            Dims ("object", "other"), float32, with coordinates ``object_id`` and ``other_id``; NaN
            where one of the two has no vector.

        Raises
        ------
        ProvenanceError
            If `other` is of another model, weights or preprocessing.
        """
        if other is not None:
            self.check_same_space(other)
        mine = self.rows()
        others = mine if other is None else other.astroclip.rows()
        return xr.DataArray(
            _cosine(directions(mine.values), directions(others.values)),
            dims=("object", "other"),
            coords={
                "object_id": ("object", mine.coords["object_id"].values),
                "other_id": ("other", others.coords["object_id"].values),
            },
            name="cosine",
        )

    def neighbors(self, query, k=10):
        """Find the objects here that are most similar to each object of a query, exactly.

        Parameters
        ----------
        query : xarray.DataArray
            One embedding or several. An object that is also here is its own first neighbour:
            nothing is left out.
        k : int
            How many neighbours each object of the query gets.

        Returns
        -------
        astropy.table.QTable
            `k` rows per object of the query, the nearest first: ``query`` and ``object`` (positions
            in the query and here), ``query_id``, ``rank`` (from 1), ``similarity`` (cosine), and of
            the neighbour ``object_id``, ``ra``, ``dec``, ``modality``, ``survey``, ``redshift``.
            Equally similar objects come in the order that they have here.

        Raises
        ------
        ProvenanceError
            If the query is of another model, weights or preprocessing.
        InputError
            If an object of the query has no vector, or there are fewer than `k` objects here that
            have one.
        """
        self.check_same_space(query)
        mine, asked = self.rows(), query.astroclip.rows()
        here, wanted = directions(mine.values), directions(asked.values)
        ids = asked.coords["object_id"].values
        lost = np.flatnonzero(np.isnan(wanted).any(1))
        if lost.size:
            raise InputError(
                "it has no vector to search with; select with .astroclip.valid",
                object_id=ids[lost[0]] or f"query {lost[0]}",
            )
        most = int(np.isfinite(here).all(1).sum())
        if not 1 <= k <= most:
            raise InputError(f"k is {k}, expected 1 to {most}, the number of objects with a vector")
        found, scores = np.empty((len(ids), k), np.int64), np.empty((len(ids), k), np.float32)
        step = max(1, _CELLS // len(here))
        for start in range(0, len(ids), step):
            block = slice(start, start + step)
            cosine = _cosine(wanted[block], here)
            found[block] = np.argsort(-cosine, axis=1, kind="stable")[:, :k]  # NaN comes last
            scores[block] = np.take_along_axis(cosine, found[block], axis=1)
        table = QTable(meta=dict(mine.attrs))
        table["query"] = np.repeat(np.arange(len(ids)), k)
        table["query_id"] = np.repeat(ids, k)
        table["rank"] = np.tile(np.arange(1, k + 1), len(ids))
        table["similarity"] = scores.ravel()
        table["object"] = found.ravel()
        for name in ("object_id", "ra", "dec", "modality", "survey", "redshift"):
            unit = COLUMNS[name][1]
            values = mine.coords[name].values[found.ravel()]
            table[name] = values * u.Unit(unit) if unit else values
        return table

    def to_table(self):
        """All of it as a table.

        Returns
        -------
        astropy.table.QTable
            One row per object: the coordinates with their units, and ``embedding``, float32 of
            shape (object, feature). The attributes are in ``meta``.

        Raises
        ------
        InputError
            If there are coordinates that embeddings do not have.
        """
        rows = self.rows()
        odd = [str(name) for name in rows.coords if name not in COLUMNS]
        if odd:
            raise InputError(
                f"coordinates that embeddings do not have: {', '.join(odd)}. Take them off with "
                "drop_vars() and keep them in a table of their own"
            )
        table = QTable(meta=dict(rows.attrs))
        for name, (_, unit, description, ucd) in COLUMNS.items():
            values = np.array(rows.coords[name].values)
            table[name] = values * u.Unit(unit) if unit else values
            table[name].info.description = description
            table[name].info.meta = {"ucd": ucd}
        table["embedding"] = np.array(rows.values)
        table["embedding"].info.description = "vector that the model gives the object"
        table["embedding"].info.meta = {"ucd": "stat.value"}
        return table

    def save(self, path, *, overwrite=False):
        """Write the embeddings to a file, as a whole or not at all.

        Parameters
        ----------
        path : path-like
            The suffix decides the format: ``.parquet``, ``.nc`` (netCDF-4), ``.zarr``, ``.fits``,
            ``.vot`` (VOTable), or ``.ecsv``. `open_embeddings` reads each of them back.
        overwrite : bool
            Replace what is there.

        Raises
        ------
        InputError
            If the suffix is unknown, the folder does not exist, there is a coordinate that
            embeddings do not have, or text with control characters.
        ValueError
            If these are no longer what `make_embeddings` accepts, e.g. an attribute is no text.
        FileExistsError
            If there is something already and `overwrite` is not set.
        """
        path = check_output(path, overwrite=overwrite)
        # Nothing is written that open_embeddings would refuse.
        write_rows(from_table(self.to_table()), self._array.dims, path)


def directions(vectors):
    """Scale vectors to unit length.

    Parameters
    ----------
    vectors : numpy.ndarray
        Shape (n, feature), float32.

    Returns
    -------
    numpy.ndarray
        Shape (n, feature), float32; NaN for what has no direction, be it missing or zero.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.embeddings import directions
    >>> directions(np.array([[3, 4], [0, 0]], np.float32))
    array([[0.6, 0.8],
           [nan, nan]], dtype=float32)
    """
    # In float64, in which no square of a float32 overflows or vanishes.
    norm = np.sqrt(np.einsum("of,of->o", vectors, vectors, dtype=np.float64))[:, None]
    return np.divide(
        vectors,
        norm,
        out=np.full(vectors.shape, np.nan, np.float32),
        where=norm > 0,
        casting="same_kind",
    )


def _cosine(a, b):
    # Rounding may lead beyond 1, which has no arc cosine.
    return np.clip(a @ b.T, -1, 1)


def _with_dims(rows, dims):
    """Give rows the dims that an array had."""
    return rows.transpose(*dims) if "object" in dims else rows.isel(object=0)


def concat(parts):
    """Put embeddings of one model together, one after the other.

    Parameters
    ----------
    parts : iterable of xarray.DataArray
        Embeddings of several objects or of one.

    Returns
    -------
    xarray.DataArray
        Dims ("object", "feature"). Attributes that differ, such as the date, are joined by " | ".

    Raises
    ------
    ProvenanceError
        If they are of different models, weights or preprocessing, or some are normalised and some
        are not.
    ValueError
        If there are none.

    Examples
    --------
    >>> from astroclip_astro.embeddings import concat, make_embeddings
    >>> one = make_embeddings(
    ...     [[0.6, 0.8]],
    ...     {"object_id": ["a"], "ra": [150.0], "dec": [2.0], "modality": ["image"],
    ...      "survey": [""], "coverage": [1.0], "snr": [9.0], "quality": [0]},
    ...     {"model": "toy", "weights_sha256": "", "preprocessing": ""})
    >>> concat([one, one[0]]).shape
    (2, 2)
    """
    parts = list(parts)
    if not parts:
        raise ValueError("no embeddings to put together")
    companions = {}
    for part in parts:
        parts[0].astroclip.check_same_space(part)
        for name in part.attrs:
            if name.startswith(COMPANION):
                companions.setdefault(name, part).astroclip.check_same_space(part)
        if parts[0].attrs.get("normalization") != part.attrs.get("normalization"):
            raise ProvenanceError("some of these embeddings are normalised and some are not")
    tables = [part.astroclip.to_table() for part in parts]
    names = dict.fromkeys(name for table in tables for name in table.meta)
    attrs = {
        name: " | ".join(dict.fromkeys(t.meta[name] for t in tables if name in t.meta))
        for name in names
    }
    columns = {name: np.concatenate([t[name] for t in tables]) for name in tables[0].colnames}
    return make_embeddings(columns.pop("embedding"), columns, attrs)


def open_embeddings(path):
    """Read embeddings that ``.astroclip.save`` wrote.

    Parameters
    ----------
    path : path-like
        A file (or zarr folder) of any of the formats.

    Returns
    -------
    xarray.DataArray
        Identical to what was saved.

    Raises
    ------
    InputError
        If it is missing, damaged, or holds something else.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.embeddings import make_embeddings, open_embeddings
    >>> one = make_embeddings(
    ...     [[0.6, 0.8]],
    ...     {"object_id": ["a"], "ra": [150.0], "dec": [2.0], "modality": ["image"],
    ...      "survey": [""], "coverage": [1.0], "snr": [9.0], "quality": [0]},
    ...     {"model": "toy", "weights_sha256": "", "preprocessing": ""})
    >>> with TemporaryDirectory() as folder:
    ...     one.astroclip.save(Path(folder, "one.parquet"))
    ...     open_embeddings(Path(folder, "one.parquet")).identical(one)
    True
    """
    table, dims = read_table(path)
    try:
        return _with_dims(from_table(table), dims)
    except ValueError as error:
        raise InputError(
            f"no embeddings file, or a damaged one ({error})", object_id=str(path)
        ) from error
