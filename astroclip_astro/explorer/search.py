"""From what is looked at to its neighbours, in every order there is."""

from dataclasses import dataclass

import numpy as np

from astroclip_astro.embedding_schema import unknown_columns
from astroclip_astro.embeddings import concat, make_embeddings
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.explorer.view import Dropped
from astroclip_astro.plugins import get_manager
from astroclip_astro.quality import Quality

__all__ = ["Neighbours", "named", "neighbours", "taken", "vectors_of", "vectors_of_dropped"]


@dataclass(frozen=True)
class Neighbours:
    """What one search found.

    Parameters
    ----------
    modality : str
        Of the vector that was searched with.
    ranked : str
        Of the vectors that were ranked.
    table : astropy.table.QTable or None
        As `EmbeddingCatalog.search` returns it.
    reason : str
        Why there is none.
    """

    modality: str
    ranked: str
    table: object = None
    reason: str = ""


def named(object_id):
    """The condition that a single object fulfils.

    Parameters
    ----------
    object_id : str
        Of the object.

    Returns
    -------
    str
        As for `EmbeddingCatalog.search`.

    Examples
    --------
    >>> from astroclip_astro.explorer.search import named
    >>> named("Barnard's")
    "object_id = 'Barnard''s'"
    """
    quoted = object_id.replace("'", "''")
    return f"object_id = '{quoted}'"


def vectors_of(catalog, object_id):
    """The vectors of an object.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        Which has it.
    object_id : str
        Of the object.

    Returns
    -------
    list of xarray.DataArray
        One for each modality that it has a vector of, dims ("object", "feature"); none if there is
        no such object.
    """
    found = [catalog.embeddings(one, where=named(object_id)) for one in catalog.modalities]
    return [rows for rows in found if len(rows)]


def vectors_of_dropped(catalog, dropped):
    """The vector of an object that is not in the catalog, as embeddings.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        Which is to be searched.
    dropped : Dropped
        From a link, or a file.

    Returns
    -------
    list of xarray.DataArray
        One, dims ("object", "feature").

    Raises
    ------
    InputError
        If it is of another length, or of an unknown modality.
    """
    features = catalog.schema.features
    if len(dropped.vector) != features or dropped.modality not in get_manager().entries("modality"):
        raise InputError(
            f"the link has {len(dropped.vector)} numbers of {dropped.modality[:40]!r}: this "
            f"catalog's vectors have {features}; drop the file again"
        )
    columns = unknown_columns(1)
    columns |= {"modality": [dropped.modality], "redshift": [dropped.redshift]}
    vectors = np.asarray([dropped.vector], np.float32)
    return [make_embeddings(vectors, columns, catalog.provenance)]


def taken(catalog, embedding):
    """Keep of an embedding what a link has room for.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        Which is to be searched.
    embedding : xarray.DataArray
        Of one object, dims ("feature",).

    Returns
    -------
    Dropped
        With the numbers of the vector as float16 has them.

    Raises
    ------
    InputError
        If it has no vector, or one that is too large for float16.
    ProvenanceError
        If it is of another model than the catalog.
    """
    catalog.schema.check(embedding)
    quality = Quality(int(embedding.coords["quality"]))
    if quality & Quality.NOT_EMBEDDED:
        raise InputError(f"no vector can be made of it ({', '.join(quality.names)})")
    vector = np.clip(embedding.values, *(np.finfo(np.float16).max * np.array([-1, 1])))
    if not np.array_equal(vector, embedding.values):
        raise InputError("its vector is too large to be searched with")
    modality, redshift = str(embedding.coords["modality"].item()), embedding.coords["redshift"]
    return Dropped(modality, tuple(vector.astype(np.float16).astype(float)), float(redshift))


def neighbours(catalog, vectors, *, k, where="", fixed=False, itself=""):
    """What is most similar, in every order there is.

    Parameters
    ----------
    catalog : EmbeddingCatalog
        What is searched.
    vectors : list of xarray.DataArray
        Of one object, one for each of its modalities, dims ("object", "feature").
    k : int
        How many neighbours.
    where : str
        Condition on columns; "" for none.
    fixed : bool
        Whether the trend with redshift is taken off first.
    itself : str
        ``object_id`` that is left out; "" for none.

    Returns
    -------
    list of Neighbours
        First those within a modality, then those across.
    """
    mine = {str(rows.coords["modality"].values[0]): rows for rows in vectors}
    pairs = [(one, one) for one in catalog.modalities if one in mine]
    pairs += [(one, other) for one in mine for other in catalog.modalities if other != one]
    if fixed and any(np.isnan(rows.coords["redshift"].values).any() for rows in vectors):
        reason = "its redshift is unknown, and so is what is alike at the same redshift"
        return [Neighbours(*pair, reason=reason) for pair in pairs]
    asked = {"k": k, "where": where.strip() or None, "at_fixed_redshift": fixed}
    asked |= {"exclude_self": bool(itself)}
    none = "nothing else fulfils the condition" if where.strip() else "there is nothing else"
    found = {}
    for ranked in catalog.modalities:
        queries = [one for one, other in pairs if other == ranked]
        if not queries:
            continue
        try:
            together = concat([mine[one] for one in queries])
            table = catalog.search(together, modality=ranked, **asked)
        except AstroclipError as error:
            found |= {(one, ranked): (None, str(error)) for one in queries}
            continue
        for i, one in enumerate(queries):
            part = table[table["query"] == i]
            part.remove_columns(["query", "query_id"])
            found[one, ranked] = (part, "" if len(part) else none)
    return [Neighbours(*pair, *found[pair]) for pair in pairs]
