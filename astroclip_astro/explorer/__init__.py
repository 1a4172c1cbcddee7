"""The web page of an embedding catalog: look at it, select, and find what is alike."""

from importlib import import_module

__all__ = ["explore", "serve"]


# On first use, as the process that reads dropped files needs no web server.
def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.server"), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is missing: pip install 'astroclip_astro[explorer]'", name=error.name
        ) from error


def __dir__():
    return sorted({*globals(), *__all__})
