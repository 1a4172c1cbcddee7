"""Query class for image cutouts of the DESI Legacy Imaging Surveys."""

from functools import partial
from pathlib import Path

import astropy.units as u
from astroquery import cache_conf
from astroquery.exceptions import InvalidQueryError
from astroquery.query import BaseQuery

from . import conf
from .bricks import Bricks
from .cache import FitsCache
from .download import Downloader
from .hips import Hips
from .payload import NATIVE_PIXSCALE, parse_positions, to_payload
from .viewer import Viewer

__all__ = ["LegacySurveyClass", "RemoteImage"]


class RemoteImage:
    """An image that is fetched when it is asked for.

    Parameters
    ----------
    fetch : callable
        Returns it as an `~astropy.io.fits.HDUList`.
    payload : dict
        What is asked.
    """

    def __init__(self, fetch, payload):
        self._fetch = fetch
        self.payload = payload

    def __repr__(self):
        return f"<RemoteImage {self.payload}>"

    def get_fits(self):
        """Fetch the image.

        Returns
        -------
        astropy.io.fits.HDUList
        """
        return self._fetch(self.payload)


class LegacySurveyClass(BaseQuery):
    """
    Images of the DESI Legacy Imaging Surveys (https://www.legacysurvey.org).

    All that comes is compared to what was asked before it is returned or kept: shape, bands,
    position and scale. Requests that fail for a passing reason are repeated, as `conf` says. What
    has come is kept as FITS files in `cache_location`, so that many images can be fetched in
    several attempts.

    Notes
    -----
    The keyword ``route`` says from where images come:

    - ``"cutout"``, the viewer: resampled to a grid centred on the place, north up; nanomaggies per
      pixel of 0.262 arcsec whatever the pixel scale.
    - ``"bricks"``, the coadds of the data releases, files of several MB, from which images are cut
      in their own pixels of 0.262 arcsec: the place is within half a pixel of the middle, and
      images are turned by a fraction of a degree. Pixels beyond the brick come from the nearest
      pixel of the next one. Layers ``ls-drN``, ``ls-drN-north`` and ``ls-drN-south``.
    - ``"hips"``, CDS hips2fits, layer ``"ls-dr10"`` only: the unit of these images is not
      documented; their BUNIT is ``UNKNOWN``.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.sources.legacysurvey import LegacySurvey
    >>> place = SkyCoord(150.1, 2.2, unit="deg")
    >>> LegacySurvey.get_image_list(place, size=20 * u.arcsec)
    ['https://www.legacysurvey.org/viewer/cutout.fits?ra=150.1&dec=2.2&layer=ls-dr9&pixscale=0.262&bands=grz&size=76']
    >>> images = LegacySurvey.get_images(place, size=152)  # doctest: +REMOTE_DATA
    >>> images[0][0].header["BANDS"]  # doctest: +REMOTE_DATA
    'grz'
    """

    def __init__(self):
        super().__init__()
        self._downloader = Downloader(self._session)
        routes = {"cutout": Viewer, "bricks": Bricks, "hips": Hips}
        self._routes = {name: route(self._read) for name, route in routes.items()}

    @property
    def cache_location(self):
        """Folder of the cache (`pathlib.Path`); set it for this instance, or `conf` for all."""
        folder = self._cache_location or conf.cache_location
        return Path(folder) if folder else super().cache_location

    @cache_location.setter
    def cache_location(self, folder):
        self._cache_location = Path(folder)

    def clear_cache(self):
        """Remove all files that were kept."""
        FitsCache(self.cache_location).clear()

    def get_images(
        self,
        coordinates,
        *,
        layer=None,
        bands="grz",
        size=256,
        pixscale=NATIVE_PIXSCALE * u.arcsec,
        invvar=False,
        maskbits=False,
        route="cutout",
        cache=True,
        get_query_payload=False,
    ):
        """
        Fetch images around one or many places.

        Parameters
        ----------
        coordinates : str, `~astropy.coordinates.SkyCoord`, or sequence of these
            The places. Text is taken as ICRS, or as a name to be resolved.
        layer : str, optional
            Layer of the viewer, e.g. ``"ls-dr9"``, ``"ls-dr10"``, ``"ls-dr10-south"``; by default
            that of the configuration.
        bands : str or sequence of str, optional
            One letter each, in the order in which planes are wanted.
        size : int or `~astropy.units.Quantity`, optional
            Width and height in pixels (at most 3000), or as an angle.
        pixscale : float or `~astropy.units.Quantity`, optional
            Arcsec per pixel.
        invvar : bool, optional
            Whether inverse variances come along, as an HDU with IMAGETYP INVVAR.
        maskbits : bool, optional
            Whether the mask bits come along, as an HDU with IMAGETYP MASKBITS.
        route : {"cutout", "bricks", "hips"}, optional
            From where they come; see the notes on the class.
        cache : bool, optional
            Whether files in the cache are used, and what comes is kept. `False` does neither; so
            does astroquery's ``cache_conf.cache_active = False``.
        get_query_payload : bool, optional
            Whether to return what would be asked of the viewer, and ask nothing.

        Returns
        -------
        list of `~astropy.io.fits.HDUList`, or dict or list of dict
            One for each place, in the order given: an image (band, row, column), or (row, column)
            of a single band. With ``get_query_payload`` a dict for a single place, or a list.

        Raises
        ------
        astroquery.exceptions.InvalidQueryError
            If this cannot be asked, or the layer does not exist or has no such bands.
        astroquery.exceptions.EmptyResponseError
            If there is no image of the place.
        astroquery.exceptions.RemoteServiceError
            If the server fails for good: a place outside of the layer is an error 500 of the
            viewer.
        astroquery.exceptions.TimeoutError
            If the server is too slow again and again.
        """
        images = self.get_images_async(
            coordinates,
            layer=layer,
            bands=bands,
            size=size,
            pixscale=pixscale,
            invvar=invvar,
            maskbits=maskbits,
            route=route,
            cache=cache,
            get_query_payload=get_query_payload,
        )
        return images if get_query_payload else [image.get_fits() for image in images]

    def get_images_async(
        self, coordinates, *, route="cutout", cache=True, get_query_payload=False, **kwargs
    ):
        """
        Make handles on images that are fetched one by one; see `get_images`.

        Parameters
        ----------
        coordinates : str, `~astropy.coordinates.SkyCoord`, or sequence of these
            The places.
        route : {"cutout", "bricks", "hips"}, optional
            From where they come.
        cache : bool, optional
            Whether the cache is used.
        get_query_payload : bool, optional
            Whether to return what would be asked of the viewer.
        **kwargs : dict
            Keywords ``layer``, ``bands``, ``size``, ``pixscale``, ``invvar`` and ``maskbits``.

        Returns
        -------
        list of RemoteImage, or dict or list of dict
            Their ``get_fits()`` fetches.
        """
        fetch = partial(self._route(route).fetch, cache=cache)
        payload = self._args_to_payload(coordinates, **kwargs)
        if get_query_payload:
            return payload
        return [RemoteImage(fetch, one) for one in _as_list(payload)]

    def get_image_list(
        self, coordinates, *, route="cutout", cache=True, get_query_payload=False, **kwargs
    ):
        """
        List the URLs of images; see `get_images`.

        Parameters
        ----------
        coordinates : str, `~astropy.coordinates.SkyCoord`, or sequence of these
            The places.
        route : {"cutout", "bricks", "hips"}, optional
            From where they come. The viewer has one URL for each place, the others one for each
            file or band.
        cache : bool, optional
            Whether the cache is used.
        get_query_payload : bool, optional
            Whether to return what would be asked of the viewer.
        **kwargs : dict
            Keywords ``layer``, ``bands``, ``size``, ``pixscale``, ``invvar`` and ``maskbits``.

        Returns
        -------
        list of str, or dict or list of dict
        """
        urls = self._route(route).urls
        payload = self._args_to_payload(coordinates, **kwargs)
        if get_query_payload:
            return payload
        return [url for one in _as_list(payload) for url in urls(one, cache)]

    def _args_to_payload(
        self,
        coordinates,
        *,
        layer=None,
        bands="grz",
        size=256,
        pixscale=NATIVE_PIXSCALE * u.arcsec,
        invvar=False,
        maskbits=False,
    ):
        positions, scalar = parse_positions(coordinates)
        payload = [
            to_payload(
                position,
                layer=layer,
                bands=bands,
                size=size,
                pixscale=pixscale,
                invvar=invvar,
                maskbits=maskbits,
            )
            for position in positions
        ]
        return payload[0] if scalar else payload

    def _route(self, name):
        if name not in self._routes:
            raise InvalidQueryError(f"route {name!r}: expected one of {', '.join(self._routes)}")
        return self._routes[name]

    def _read(self, url, params, parse, cache, **kwargs):
        """What `parse` makes of an answer, from the cache if it is there."""
        if not (cache and cache_conf.cache_active):
            return self._downloader.get(url, params, parse, **kwargs)[1]
        kept = FitsCache(self.cache_location)
        path = kept.path(url, params)
        parsed = kept.read(path, parse)
        if parsed is None:
            content, parsed = self._downloader.get(url, params, parse, **kwargs)
            kept.write(path, content)
        return parsed


def _as_list(payload):
    return [payload] if isinstance(payload, dict) else payload


LegacySurvey = LegacySurveyClass()
