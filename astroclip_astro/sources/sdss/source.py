"""SDSS as a source of spectra."""

from astroclip_astro.sources.nearest import NearestSpectrum
from astroclip_astro.sources.sdss.core import SDSS

__all__ = ["SDSSSource"]


class SDSSSource(NearestSpectrum):
    """Spectra of SDSS, BOSS and eBOSS from the survey's own archive: the nearest within 1 arcsec.

    One at a time: SkyServer takes 60 queries a minute.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.sources.sdss import SDSSSource
    >>> source = SDSSSource()
    >>> spectrum = source.fetch(SkyCoord("0h8m05.63s +14d50m23.3s"))  # doctest: +SKIP
    """

    client = SDSS
    survey = "sdss"
    connections = 1
