"""Embedding catalogs: galaxies asked by sky position, by column, and by similarity."""

from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.catalog.maps import make_map, read_map
from astroclip_astro.catalog.predicate import predicate
from astroclip_astro.catalog.store import Damage, verify

__all__ = ["Damage", "EmbeddingCatalog", "make_map", "predicate", "read_map", "verify"]
