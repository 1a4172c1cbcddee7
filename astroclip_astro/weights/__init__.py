"""Models with their weights: registry, verified download, safe conversion, bundled weights."""

from astroclip_astro.weights.layout import save_model
from astroclip_astro.weights.registry import list_models, load_model

__all__ = ["list_models", "load_model", "save_model"]
