"""Where training data come from: one file per kind of data, one contract for all."""

from importlib import import_module

from astroclip_astro.errors import InputError
from astroclip_astro.training.sources.base import Source

__all__ = ["KINDS", "Source", "open_source"]

#: Kinds of sources and their classes, by module.
KINDS = {
    "mocks": "MockSource",
    "published": "PublishedSource",
    "multimodal_universe": "MultimodalUniverseSource",
    "folder": "FolderSource",
}


def open_source(kind, path, **options):
    """Open a source of training data by the name of its kind.

    Parameters
    ----------
    kind : {"mocks", "published", "multimodal_universe", "folder"}
        What lies there: a mock survey, the published pairs, a data set of the Multimodal Universe,
        or files of a registered survey.
    path : path-like
        File or folder.
    **options
        Of the class: ``preprocessing`` and ``errors`` of all, ``properties`` of published pairs,
        ``survey`` of folders.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        If there is no such kind or option, or the data cannot be opened.

    Examples
    --------
    >>> from astroclip_astro.simulate import MockSurvey
    >>> from astroclip_astro.training.sources import open_source
    >>> open_source("mocks", MockSurvey.bundled().path)
    <MockSource 'mocks': 40 objects, image and spectrum>
    """
    if kind not in KINDS:
        raise InputError(f"no source of kind {kind!r}: expected one of {', '.join(KINDS)}")
    cls = getattr(import_module(f"{__name__}.{kind}"), KINDS[kind])
    try:
        return cls(path, **options)
    except TypeError as error:
        raise InputError(f"source of kind {kind!r}: {error}") from error
