"""The Sloan Digital Sky Survey's spectra, through astroquery."""

from astropy import config as _config

__all__ = ["SDSS", "Conf", "SDSSClass", "SDSSSource", "conf"]


class Conf(_config.ConfigNamespace):
    """Configuration parameters of `astroclip_astro.sources.sdss`.

    Where SkyServer and the Science Archive Server are is configured by `astroquery.sdss.conf`.
    """

    interval = _config.ConfigItem(1.0, "Seconds between two queries of SkyServer, at least.")
    timeout = _config.ConfigItem(60.0, "Seconds to wait for each piece of an answer.")
    retries = _config.ConfigItem(3, "How many times to try again what may pass.")
    backoff = _config.ConfigItem(1.0, "Seconds before the first retry; then twice as long.")


conf = Conf()

from astroclip_astro.sources.sdss.core import SDSS, SDSSClass  # noqa: E402
from astroclip_astro.sources.sdss.source import SDSSSource  # noqa: E402
