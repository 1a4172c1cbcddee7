"""Embedding catalogs: galaxies asked by sky position, by column, and by similarity."""

from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.catalog.predicate import predicate
from astroclip_astro.catalog.store import Damage, verify

__all__ = ["Damage", "EmbeddingCatalog", "predicate", "verify"]
