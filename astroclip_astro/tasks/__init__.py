"""Task heads: what astronomers ask of embeddings, with uncertainties."""

from importlib import import_module

from astroclip_astro.tasks.anomaly import AnomalyHead
from astroclip_astro.tasks.base import Head, load_head
from astroclip_astro.tasks.fixed_redshift import FixedRedshift
from astroclip_astro.tasks.flow import FlowHead
from astroclip_astro.tasks.linear import LinearHead
from astroclip_astro.tasks.mlp import MLPHead
from astroclip_astro.tasks.neighbors import NeighborsHead
from astroclip_astro.tasks.questions import GALAXY_ZOO, votes_from_labels
from astroclip_astro.tasks.regression import RegressionHead
from astroclip_astro.tasks.votes import VotesHead

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
_EXPLANATIONS = {
    "attention": "astroclip_astro.tasks.explain",
    "occlusion": "astroclip_astro.tasks.explain",
    "plot_explanation": "astroclip_astro.plot.explanation",
}


def __getattr__(name):
    if name not in _EXPLANATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPLANATIONS[name]), name)


def __dir__():
    return sorted({*globals(), *__all__})
