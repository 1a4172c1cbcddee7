"""What a catalog can be searched with: embeddings, identifiers, and whatever can be embedded."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xarray as xr
from astropy import units as u

from astroclip_astro.api import embed
from astroclip_astro.catalog.rows import table_of
from astroclip_astro.catalog.sky import Cone
from astroclip_astro.embeddings import directions
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.sky import separation

__all__ = ["Query", "answer", "resolve"]


@dataclass
class Query:
    """What is searched for: vectors, and what is known of their objects.

    Parameters
    ----------
    vectors : numpy.ndarray
        Shape (q, feature), float32.
    object_id, modality : numpy.ndarray
        Shape (q,), str.
    ra, dec : numpy.ndarray
        ICRS, deg, shape (q,); NaN where unknown.
    redshift : numpy.ndarray
        Shape (q,); NaN where unknown.
    single : bool
        Whether it is one object and no collection.
    """

    vectors: np.ndarray
    object_id: np.ndarray
    modality: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    redshift: np.ndarray
    single: bool = False

    @classmethod
    def of(cls, embeddings, schema):
        """Look at embeddings.

        Parameters
        ----------
        embeddings : xarray.DataArray
            As `astroclip_astro.embed` returns it.
        schema : CatalogSchema
            Of the catalog.

        Returns
        -------
        Query

        Raises
        ------
        InputError
            If it is no embedding, or an object has no vector.
        ProvenanceError
            If it is of another model.
        """
        names = ("object_id", "modality", "ra", "dec", "redshift", "quality")
        dims = embeddings.dims
        if dims not in (("feature",), ("object", "feature")) or any(
            name not in embeddings.coords for name in names
        ):
            embeddings = embeddings.astroclip.rows()  # of other dims, or none at all
        schema.check(embeddings)
        found = {name: np.atleast_1d(embeddings.coords[name].values) for name in names}
        quality = found.pop("quality")
        lost = np.flatnonzero(quality & int(Quality.NOT_EMBEDDED))
        if lost.size:
            flags = ", ".join(Quality(int(quality[lost[0]])).names)
            raise InputError(
                f"it has no vector to search with ({flags})",
                object_id=str(found["object_id"][lost[0]]) or f"query {lost[0]}",
            )
        return cls(np.atleast_2d(embeddings.values), **found, single=dims == ("feature",))

    @classmethod
    def joined(cls, parts):
        """Several one after the other.

        Parameters
        ----------
        parts : sequence of Query
            At least one.

        Returns
        -------
        Query
        """
        names = ("vectors", "object_id", "modality", "ra", "dec", "redshift")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def directions(self):
        """Unit vectors, shape (q, feature), float32 (numpy.ndarray)."""
        unit = directions(self.vectors)
        lost = np.flatnonzero(np.isnan(unit).any(1))
        if lost.size:
            raise InputError(
                "its vector has no direction",
                object_id=str(self.object_id[lost[0]]) or f"query {lost[0]}",
            )
        return unit


def resolve(query, catalog, modality=None):
    """Turn whatever a catalog is searched with into vectors.

    Parameters
    ----------
    query : object
        As for `EmbeddingCatalog.search`.
    catalog : EmbeddingCatalog
        What is searched.
    modality : str, optional
        Which vectors are ranked: of an object of the catalog, its vector of this modality is
        taken, or another that it has.

    Returns
    -------
    Query
        Of at least one object.

    Raises
    ------
    InputError
        If there is nothing to search with, an object of the catalog is not there, or something
        has no vector.
    ProvenanceError
        If an embedding is of another model.
    TypeError
        If it can neither be found nor embedded.
    """
    found = _resolved(query, catalog, modality)
    if not len(found.vectors):
        raise InputError("the query is empty: expected something to search for")
    return found


def answer(schema, stored, scores, number, asked, sky):
    """What was found as a table.

    Parameters
    ----------
    schema : CatalogSchema
        Of the catalog.
    stored : pyarrow.Table
        The columns of the n rows that were found.
    scores : numpy.ndarray
        Their cosines, shape (n,), float32.
    number : numpy.ndarray
        Which of the queries found them, shape (n,), int64.
    asked : Query
        The queries.
    sky : Cone, Region or None
        What was searched.

    Returns
    -------
    astropy.table.QTable
        As `EmbeddingCatalog.search` returns it.
    """
    if ((scores[1:] == scores[:-1]) & (number[1:] == number[:-1])).any():
        # In the order of their names, whichever part of a catalog they were found in first.
        names = np.array(stored["object_id"].to_pylist())
        order = np.lexsort((names, -scores, number))
        stored, scores, number = stored.take(pa.array(order)), scores[order], number[order]
    ra, dec = (stored[name].to_numpy() for name in ("ra", "dec"))
    if isinstance(sky, Cone):
        apart = sky.separation(ra, dec)
    else:
        apart = separation(asked.ra[number], asked.dec[number], ra, dec)
    first = {}
    if not asked.single:
        first = {"query": number, "query_id": asked.object_id[number]}
    first["object_id"] = None  # its place
    first |= {"score": scores, "separation": (3600 * apart) * u.arcsec}
    return table_of(schema, stored, first)


def _resolved(query, catalog, modality):
    if isinstance(query, xr.DataArray):
        return Query.of(query, catalog.schema)
    if isinstance(query, str):
        return Query.of(catalog.stored([query], modality)[0], catalog.schema)
    if isinstance(query, list | tuple | np.ndarray):
        query = list(query)
        if not query:
            raise InputError("the query is empty: expected something to search for")
        if all(isinstance(one, str) for one in query):
            return Query.of(catalog.stored(query, modality), catalog.schema)
        if any(isinstance(one, str | xr.DataArray) for one in query):
            return Query.joined([_resolved(one, catalog, modality) for one in query])
    return Query.of(embed(query, model=catalog.model), catalog.schema)
