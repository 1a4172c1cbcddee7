"""HATS catalogs of embeddings: written, made and searched partition by partition, on Dask."""

from astroclip_astro.catalog.hats.convert import read_hats, write_hats
from astroclip_astro.catalog.hats.crossmatch import crossmatch_hats
from astroclip_astro.catalog.hats.embed import embed_hats
from astroclip_astro.catalog.hats.search import search_hats

__all__ = ["crossmatch_hats", "embed_hats", "read_hats", "search_hats", "write_hats"]
