"""Task heads: what astronomers ask of embeddings, with uncertainties."""

from astroclip_astro.tasks.anomaly import AnomalyHead
from astroclip_astro.tasks.base import Head, load_head
from astroclip_astro.tasks.fixed_redshift import FixedRedshift
from astroclip_astro.tasks.flow import FlowHead
from astroclip_astro.tasks.linear import LinearHead
from astroclip_astro.tasks.mlp import MLPHead
from astroclip_astro.tasks.neighbors import NeighborsHead
from astroclip_astro.tasks.regression import RegressionHead
from astroclip_astro.tasks.votes import GALAXY_ZOO, VotesHead, votes_from_labels

__all__ = [
    "GALAXY_ZOO",
    "AnomalyHead",
    "FixedRedshift",
    "FlowHead",
    "Head",
    "LinearHead",
    "MLPHead",
    "NeighborsHead",
    "RegressionHead",
    "VotesHead",
    "attention",
    "load_head",
    "occlusion",
    "plot_explanation",
    "votes_from_labels",
]

# Explanations need the models, whose spectra need specutils (and that matplotlib): heads do not.
_EXPLAIN = ("attention", "occlusion", "plot_explanation")


def __getattr__(name):
    if name not in _EXPLAIN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from astroclip_astro.tasks import explain

    return getattr(explain, name)
