"""What a catalog can be searched with: embeddings, identifiers, and whatever can be embedded."""

import numpy as np
import xarray as xr

from astroclip_astro.api import embed
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import InputError

__all__ = ["resolve"]


def resolve(query, catalog, modality=None):
    """Turn a query into embeddings.

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
    embeddings : xarray.DataArray
        Dims ("object", "feature"), each with a vector.
    single : bool
        Whether the query was one object and no collection.

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
    asked, single = _resolved(query, catalog, modality)
    if not len(asked):
        raise InputError("the query is empty: expected something to search for")
    catalog.check(asked)
    lost = np.flatnonzero(~asked.astroclip.valid.values)
    if lost.size:
        row = asked[lost[0]]
        flags = ", ".join(row.astroclip.flags)
        name = str(row.coords["object_id"].values) or f"query {lost[0]}"
        raise InputError(f"it has no vector to search with ({flags})", object_id=name)
    return asked, single


def _resolved(query, catalog, modality):
    if isinstance(query, str):
        return catalog.stored([query], modality), True
    if isinstance(query, xr.DataArray):
        return query.astroclip.rows(), "object" not in query.dims
    if isinstance(query, list | tuple | np.ndarray):
        query = list(query)
        if query and all(isinstance(one, str) for one in query):
            return catalog.stored(query, modality), False
        if any(isinstance(one, str | xr.DataArray) for one in query):
            return concat([_resolved(one, catalog, modality)[0] for one in query]), False
    found = embed(query, model=catalog.model)
    return found.astroclip.rows(), "object" not in found.dims
