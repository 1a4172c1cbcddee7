"""Built-in surveys, registered through the same hooks as anybody's."""

from astroclip_astro.surveys.base import Survey

__all__ = ["Survey"]
