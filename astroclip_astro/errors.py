"""The errors that astroclip_astro raises, each saying what was given, expected, and what to do."""

from astroclip_astro.quality import Quality

__all__ = [
    "AstroclipError",
    "CatalogError",
    "InputError",
    "OfflineError",
    "PluginError",
    "ProvenanceError",
    "WeightsError",
]


class AstroclipError(Exception):
    """Base class of every error raised on purpose by astroclip_astro."""


class InputError(AstroclipError, ValueError):
    """An object that cannot be turned into model input.

    Parameters
    ----------
    message : str
        What was given, what was expected and what to do.
    object_id : str, optional
        The object at fault; it is put in front of the message.
    quality : Quality, optional
        The quality bits that the object's row carries when errors are flagged rather than raised.

    Examples
    --------
    >>> from astroclip_astro.errors import InputError
    >>> raise InputError("flux has no unit", object_id="NGC 5227")
    Traceback (most recent call last):
        ...
    astroclip_astro.errors.InputError: NGC 5227: flux has no unit
    """

    def __init__(self, message, *, object_id="", quality=Quality.GOOD):
        super().__init__(f"{object_id}: {message}" if object_id else message)
        self.object_id = object_id
        self.quality = Quality(quality) | Quality.NOT_EMBEDDED


class PluginError(AstroclipError):
    """A plugin that broke, or a name that no plugin (or more than one) provides."""


class WeightsError(AstroclipError):
    """Weights that are missing, corrupt, unsafe, or do not fit the model."""


class OfflineError(WeightsError):
    """Weights that are not in the local cache and cannot be fetched now."""


class ProvenanceError(AstroclipError):
    """Embeddings of different models, weights or preprocessing brought together."""


class CatalogError(AstroclipError):
    """A catalog that is missing, damaged, being written by another, or out of disk space."""
