"""Where training data come from: one file per kind of data, one contract for all."""

from astroclip_astro.training.sources.base import Source

__all__ = ["Source"]
