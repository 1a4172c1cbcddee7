"""The models: one file each, readable from top to bottom."""

from astroclip_astro.models.astroclip import AstroCLIP, clip_loss
from astroclip_astro.models.base import GalaxyModel
from astroclip_astro.models.companion import Companion
from astroclip_astro.models.specformer import SpecFormer
from astroclip_astro.models.vit import VisionTransformer

__all__ = [
    "AstroCLIP",
    "Companion",
    "GalaxyModel",
    "SpecFormer",
    "VisionTransformer",
    "clip_loss",
]
