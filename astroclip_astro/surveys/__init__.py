"""Built-in surveys, registered through the same hooks as anybody's."""

from astroclip_astro.surveys.base import ByNameOnly, Survey

__all__ = ["ByNameOnly", "Survey"]
