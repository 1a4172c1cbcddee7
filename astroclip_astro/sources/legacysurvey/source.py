"""The client as a source of images for `astroclip_astro.embed`."""

from astroquery import exceptions

from astroclip_astro.errors import InputError
from astroclip_astro.sources.base import Source
from astroclip_astro.sources.legacysurvey import LegacySurvey

__all__ = ["LegacySurveySource"]

_FAILURES = (
    exceptions.EmptyResponseError,
    exceptions.InvalidQueryError,
    exceptions.RemoteServiceError,
    exceptions.TimeoutError,
)


class LegacySurveySource(Source):
    """Cutouts of the Legacy Surveys as the image models take them: g, r, z, 152 pixels of 0.262".

    Parameters
    ----------
    layer : str, optional
        Layer of the viewer; by default that of the client's configuration, ``"ls-dr9"``.
    invvar : bool, optional
        Whether to fetch inverse variances too, for a signal-to-noise ratio per pixel.
    route : {"cutout", "bricks"}, optional
        From the viewer, or cut from the coadds of the data releases.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.sources.legacysurvey.source import LegacySurveySource
    >>> source = LegacySurveySource()
    >>> cutout = source.fetch(SkyCoord(150.1, 2.2, unit="deg"))  # doctest: +REMOTE_DATA
    >>> aa.embed(cutout, survey=source.survey).sizes["feature"]  # doctest: +REMOTE_DATA
    128
    """

    modality = "image"
    survey = "legacysurvey"

    def __init__(self, layer=None, *, invvar=False, route="cutout"):
        if route == "hips":
            raise InputError(
                "the unit of the HiPS of the Legacy Surveys is not known, and models need fluxes: "
                "take route='cutout' or 'bricks'"
            )
        self.layer = layer
        self.invvar = invvar
        self.route = route

    def fetch(self, coordinate):
        """Fetch a cutout; see `Source.fetch`.

        Parameters
        ----------
        coordinate : astropy.coordinates.SkyCoord
            One position.

        Returns
        -------
        astropy.io.fits.HDUList
            Nanomaggies, shape (3, 152, 152), the position in the middle.

        Raises
        ------
        InputError
            If there is no such image, or it cannot be had in the end.
        """
        if not getattr(coordinate, "isscalar", False):
            raise InputError(
                f"{type(coordinate).__name__} is not one position: expected a SkyCoord"
            )
        try:
            (image,) = LegacySurvey.get_images(
                coordinate,
                layer=self.layer,
                bands="grz",
                size=152,
                invvar=self.invvar,
                route=self.route,
            )
        except _FAILURES as error:
            # Of coordinates of which some are masked, the text of one is a list.
            name = "".join(coordinate.to_string("hmsdms")).strip()
            raise InputError(
                f"the Legacy Surveys gave no image: {error}", object_id=name
            ) from error
        return image
