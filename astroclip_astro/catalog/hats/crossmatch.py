"""Cross-match of a HATS catalog of embeddings with any other HATS catalog."""

import warnings

from astropy import units as u

from astroclip_astro.catalog.hats.layout import opened, schema_of
from astroclip_astro.errors import InputError
from astroclip_astro.sky import angle

__all__ = ["crossmatch_hats"]

__doctest_requires__ = {"*": ["lsdb"]}

_SUFFIX = "_other"
_MATCHED = "_matched"  # in the meantime


def crossmatch_hats(embeddings, other, radius=1 * u.arcsec):
    """Find the nearest object of another catalog on the sky for each object with embeddings.

    Vectors take no part in the match: they are joined to what it found.

    Parameters
    ----------
    embeddings : path-like or lsdb.catalog.Catalog
        HATS catalog of embeddings.
    other : path-like or lsdb.catalog.Catalog
        Any HATS catalog, with a margin cache of at least the radius: without, matches across the
        edges of its partitions would be missing.
    radius : astropy.units.Quantity or str
        Farther than that, it is another object.

    Returns
    -------
    lsdb.catalog.Catalog
        A row per match, not computed yet: the columns of the embeddings, those of the other
        catalog, with ``_other`` after names that both have, and ``_dist_arcsec``. It can be
        searched as the embeddings can.

    Raises
    ------
    InputError
        If LSDB is missing, the radius is no angle, or the other catalog has no such margin cache.
    CatalogError
        If one of them is no HATS catalog, or the first none of embeddings.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import astroclip_astro as aa
    >>> import lsdb  # doctest: +IGNORE_WARNINGS
    >>> from astropy import units as u
    >>> from astroclip_astro.catalog import EmbeddingCatalog
    >>> from astroclip_astro.catalog.hats import crossmatch_hats, write_hats
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> embeddings = aa.embed([mocks.spectrum(i) for i in range(8)])
    >>> truth = mocks.truth["object_id", "ra", "dec", "age"][4:].to_pandas()
    >>> with TemporaryDirectory() as folder:  # doctest: +IGNORE_WARNINGS
    ...     catalog = EmbeddingCatalog.create(Path(folder, "mocks"), embeddings)
    ...     written = write_hats(catalog, Path(folder, "hats"))
    ...     other = lsdb.from_dataframe(truth, margin_threshold=5)
    ...     matches = crossmatch_hats(Path(folder, "hats"), other, 1 * u.arcsec).compute()
    >>> len(matches), "age" in matches.columns
    (4, True)
    """
    whole, right = opened(embeddings), opened(other)
    schema_of(whole)
    limit = angle(radius).to_value(u.arcsec)
    reach = 0 if right.margin is None else right.margin.hc_structure.catalog_info.margin_threshold
    if reach < limit:
        raise InputError(
            f"catalog {right.name!r} has a margin cache of {reach:g} arcsec, expected at least "
            f"{limit:g}: lsdb.open_catalog(…, margin_cache=…) opens it with one"
        )
    with warnings.catch_warnings():
        # Of joining by identifier, which is of rows at one place: no margin is needed.
        warnings.filterwarnings("ignore", "Right catalog does not have a margin", RuntimeWarning)
        left = opened(embeddings, ["object_id", "ra", "dec"])
        suffixes = {"suffixes": ("", _SUFFIX), "suffix_method": "overlapping_columns"}
        try:
            found = left.crossmatch(
                right, radius_arcsec=float(limit), log_changes=False, **suffixes
            )
        except RuntimeError as error:
            raise InputError(
                f"catalogs {whole.name!r} and {right.name!r} have no part of the sky in common"
            ) from error
        mine = {name: f"{name}{_MATCHED}" for name in left.columns}
        joined = whole.join(
            found.rename(mine),
            left_on="object_id",
            right_on=mine["object_id"],
            log_changes=False,
            **suffixes,
        )
    return joined[[name for name in joined.columns if name not in mine.values()]]
