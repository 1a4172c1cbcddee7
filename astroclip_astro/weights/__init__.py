"""Models with their weights: registry, verified download, safe conversion, bundled weights."""

from astroclip_astro.weights.layout import save_model
from astroclip_astro.weights.registry import as_model, list_models, load_model

__all__ = ["as_model", "list_models", "load_model", "save_model"]
