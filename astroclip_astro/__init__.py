"""Galaxy images and spectra in one embedding space.

>>> import astroclip_astro as aa
>>> "embed" in dir(aa)
True
"""

from importlib import import_module

# Where each public name is. They are imported on first use (PEP 562), so that importing this
# package imports none of torch, specutils and xarray.
_NAMES = {
    "Quality": "astroclip_astro.quality",
    "embed": "astroclip_astro.api",
    "embed_parts": "astroclip_astro.api",
    "list_models": "astroclip_astro.api",
    "list_surveys": "astroclip_astro.api",
    "list_tasks": "astroclip_astro.api",
    "load_model": "astroclip_astro.api",
    "open_embeddings": "astroclip_astro.embeddings",
    "predict": "astroclip_astro.prediction",
}

__all__ = [
    "Quality",
    "__version__",
    "embed",
    "embed_parts",
    "errors",
    "list_models",
    "list_surveys",
    "list_tasks",
    "load_model",
    "open_embeddings",
    "predict",
]


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version

        value = version("astroclip_astro")
    elif name == "errors":
        value = import_module("astroclip_astro.errors")
    elif name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
