"""Sources of spectra: the nearest one within a radius of the place asked for."""

from astropy import units as u

from astroclip_astro.errors import InputError
from astroclip_astro.sky import angle
from astroclip_astro.sources.base import Source

__all__ = ["NearestSpectrum"]


class NearestSpectrum(Source):
    """A source that asks a client for a table of spectra, and then for the best of them.

    Subclass it, and set ``client``, which has `query_region` and `get_spectra` in astroquery's
    conventions: a table sorted by separation, and a list of spectra of such a table.

    Parameters
    ----------
    radius : astropy.units.Quantity or str
        How far from the place asked for a spectrum may be. Fibres are 1.5 to 3 arcsec wide; the
        default of 1 arcsec allows for the errors of positions, and for hardly any neighbour.

    Attributes
    ----------
    client : object
        The archive's client.
    """

    modality = "spectrum"
    client = None

    def __init__(self, radius=1 * u.arcsec):
        self.radius = radius

    def fetch(self, coordinate):
        """Fetch the nearest spectrum; see `Source.fetch`.

        Parameters
        ----------
        coordinate : astropy.coordinates.SkyCoord
            One position, in any frame that transforms to ICRS.

        Returns
        -------
        specutils.Spectrum
            As the client's ``get_spectra`` gives it.

        Raises
        ------
        InputError
            If there is no spectrum within the radius, or the archive cannot be reached in the end.
        """
        try:
            found = self.client.query_region(coordinate, self.radius)
            if len(found) == 0:
                raise InputError(
                    f"{type(self.client).__name__.removesuffix('Class')} has no spectrum within "
                    f"{angle(self.radius).arcsec:g} arcsec"
                )
            (spectrum,) = self.client.get_spectra(found[[self.choose(found)]])
        except InputError as error:
            if error.object_id or not getattr(coordinate, "isscalar", False):
                raise
            # Of coordinates of which some are masked, the text of one is a list.
            name = "".join(coordinate.to_string("hmsdms")).strip()
            raise InputError(str(error), object_id=name) from error
        return spectrum

    def choose(self, table):
        """Which of the spectra found is taken: the nearest one.

        Parameters
        ----------
        table : astropy.table.Table
            What the client found, sorted by separation; at least one row.

        Returns
        -------
        int
            Its row.
        """
        return 0
