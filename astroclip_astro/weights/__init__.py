"""Models with their weights: registry, verified download, safe conversion, bundled weights."""

from astroclip_astro.weights.companion import load_companion, save_companion
from astroclip_astro.weights.layout import save_model
from astroclip_astro.weights.registry import as_model, list_models, load_model

__all__ = [
    "as_model",
    "list_models",
    "load_companion",
    "load_model",
    "save_companion",
    "save_model",
]
