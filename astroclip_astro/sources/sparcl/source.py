"""SPARCL as a source of spectra."""

from astroclip_astro.sky import separation
from astroclip_astro.sources.nearest import NearestSpectrum
from astroclip_astro.sources.sparcl.core import SPARCL

__all__ = ["SPARCLSource"]

#: The model's own survey before others, later reductions before earlier ones.
_PREFERENCE = ("DESI-DR1", "DESI-EDR", "SDSS-DR17", "BOSS-DR17", "SDSS-DR16", "BOSS-DR16")

_SAME_OBJECT = 1.0  # arcsec


class SPARCLSource(NearestSpectrum):
    """Spectra of DESI, SDSS and BOSS from SPARCL at NOIRLab: the nearest within 1 arcsec.

    Of several spectra of the nearest object, those within 1 arcsec of its position, the latest of
    DESI is taken, else the latest of SDSS or BOSS; of several in one data release, the one that
    the survey calls primary.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.sources.sparcl import SPARCLSource
    >>> source = SPARCLSource(radius="2 arcsec")
    >>> spectrum = source.fetch(SkyCoord(60.007777, -0.877601, unit="deg"))  # doctest: +SKIP
    >>> spectrum.meta["redshift"]  # doctest: +SKIP
    0.782049
    """

    client = SPARCL

    def choose(self, table):
        """Which of the spectra found is taken; see the class.

        Parameters
        ----------
        table : astropy.table.Table
            What SPARCL found, sorted by separation; at least one row.

        Returns
        -------
        int
            Its row.
        """
        ra, dec = table["ra"].data, table["dec"].data
        apart = 3600 * separation(ra[0], dec[0], ra, dec)

        def order(row):
            release = table["data_release"][row]
            rank = _PREFERENCE.index(release) if release in _PREFERENCE else len(_PREFERENCE)
            return rank, not table["specprimary"][row], row

        return min((row for row in range(len(table)) if apart[row] < _SAME_OBJECT), key=order)
