"""SPARCL at NOIRLab: spectra of DESI, SDSS and BOSS."""

from astropy import config as _config

__all__ = ["SPARCL", "Conf", "SPARCLClass", "SPARCLSource", "conf"]


class Conf(_config.ConfigNamespace):
    """Configuration parameters of `astroclip_astro.sources.sparcl`."""

    server = _config.ConfigItem("https://astrosparcl.datalab.noirlab.edu", "Where SPARCL is.")
    timeout = _config.ConfigItem(60.0, "Seconds to wait for each piece of an answer.")
    retries = _config.ConfigItem(3, "How many times to try again what may pass.")
    backoff = _config.ConfigItem(1.0, "Seconds before the first retry; then twice as long.")


conf = Conf()

from astroclip_astro.sources.sparcl.core import SPARCL, SPARCLClass  # noqa: E402
from astroclip_astro.sources.sparcl.source import SPARCLSource  # noqa: E402
