"""Figures of objects, of what is found, and of how good predictions are."""

from importlib import import_module

try:
    import matplotlib as mpl  # noqa: F401
except ImportError as error:
    raise ImportError(
        "astroclip_astro.plot draws with matplotlib: pip install 'astroclip_astro[plot]'",
        name="matplotlib",
    ) from error

# Where each name is; imported on first use, as what one figure needs is of no use to another.
_NAMES = {
    "LINES": "lines",
    "cross_modal_sheet": "sheets",
    "embedding_map": "embedding",
    "image_panel": "panels",
    "neighbors_sheet": "sheets",
    "pit_and_coverage": "predictions",
    "plot_explanation": "explanation",
    "predicted_against_true": "predictions",
    "recall_curves": "retrieval",
    "spectrum_panel": "panels",
}

__all__ = [
    "LINES",
    "cross_modal_sheet",
    "embedding_map",
    "image_panel",
    "neighbors_sheet",
    "pit_and_coverage",
    "plot_explanation",
    "predicted_against_true",
    "recall_curves",
    "spectrum_panel",
]


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})
