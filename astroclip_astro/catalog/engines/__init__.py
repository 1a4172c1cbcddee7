"""Engines of similarity search behind one small contract; plugins may register others."""

from astroclip_astro.catalog.engines.contract import Engine

__all__ = ["Engine"]
