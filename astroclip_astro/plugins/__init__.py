"""Plugin contract: entries, hook specifications and the manager that loads plugins."""

from astroclip_astro.plugins.entries import (
    API_VERSION,
    CatalogEntry,
    EngineEntry,
    Entry,
    ModalityEntry,
    ModelEntry,
    SourceEntry,
    SurveyEntry,
    TaskEntry,
)
from astroclip_astro.plugins.hookspecs import hookimpl
from astroclip_astro.plugins.manager import Manager, get_manager

__all__ = [
    "API_VERSION",
    "CatalogEntry",
    "EngineEntry",
    "Entry",
    "Manager",
    "ModalityEntry",
    "ModelEntry",
    "SourceEntry",
    "SurveyEntry",
    "TaskEntry",
    "get_manager",
    "hookimpl",
]
