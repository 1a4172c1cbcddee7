"""Task heads: what astronomers ask of embeddings, with uncertainties."""

from astroclip_astro.tasks.base import Head, load_head
from astroclip_astro.tasks.flow import FlowHead
from astroclip_astro.tasks.linear import LinearHead
from astroclip_astro.tasks.mlp import MLPHead
from astroclip_astro.tasks.neighbors import NeighborsHead
from astroclip_astro.tasks.regression import RegressionHead

__all__ = [
    "FlowHead",
    "Head",
    "LinearHead",
    "MLPHead",
    "NeighborsHead",
    "RegressionHead",
    "load_head",
]
