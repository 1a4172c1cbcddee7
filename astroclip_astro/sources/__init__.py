"""Archives of spectra and images by coordinates, registered through the same hooks as anybody's."""

from astroclip_astro.sources.base import Source, fetch_all, get_source
from astroclip_astro.sources.pairs import match

__all__ = ["Source", "fetch_all", "get_source", "match"]
