"""Images of the DESI Legacy Imaging Surveys by coordinates, as an astroquery module."""

from astropy import config as _config


class Conf(_config.ConfigNamespace):
    """
    Configuration of the client, in astropy's configuration system; read at every request.

    Examples
    --------
    >>> from astroclip_astro.sources.legacysurvey import conf
    >>> with conf.set_temp("timeout", 10):
    ...     conf.timeout
    10.0
    """

    server = _config.ConfigItem(
        "https://www.legacysurvey.org/viewer", "URL of the Legacy Surveys' sky viewer."
    )
    brick_server = _config.ConfigItem(
        "https://portal.nersc.gov/cfs/cosmo/data/legacysurvey",
        "URL of the folder that has the data releases (dr9, dr10, ...), for route='bricks'.",
    )
    hips2fits_server = _config.ConfigItem(
        "https://alasky.cds.unistra.fr/hips-image-services/hips2fits",
        "URL of the hips2fits service, for route='hips'.",
    )
    layer = _config.ConfigItem("ls-dr9", "Layer of the viewer if none is given.")
    timeout = _config.ConfigItem(
        60.0, "Seconds to wait for a connection, and for the next bytes of an answer."
    )
    retries = _config.ConfigItem(
        12, "How many times a request is repeated at most if it fails for a passing reason."
    )
    backoff = _config.ConfigItem(
        0.5, "Seconds to wait before the first repetition; doubled for each further one."
    )
    max_wait = _config.ConfigItem(
        120.0, "Seconds to wait at most before a repetition, whatever the server asks for."
    )
    cache_location = _config.ConfigItem(
        "", "Folder of the cache; if empty, astroquery/LegacySurvey in astropy's cache folder."
    )


conf = Conf()

from .core import LegacySurvey, LegacySurveyClass  # noqa: E402 (it reads conf)

__all__ = ["Conf", "LegacySurvey", "LegacySurveyClass", "conf"]
