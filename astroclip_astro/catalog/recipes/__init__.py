"""Recipes of catalogs: read, found by name, and built."""

from astroclip_astro.catalog.recipes.builder import build
from astroclip_astro.catalog.recipes.origins import Objects
from astroclip_astro.catalog.recipes.recipe import Recipe, find_recipe, read_recipe, shipped

__all__ = ["Objects", "Recipe", "build", "find_recipe", "read_recipe"]


def __getattr__(name):
    """Recipes that come with the package, as what their entries name."""
    return shipped(name)
