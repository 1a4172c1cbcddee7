"""What an archive has to offer: the class that source plugins subclass, and asking it for many."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.plugins.manager import get_manager

__all__ = ["Source", "fetch_all", "get_source"]


class Source:
    """One archive: what it has at a place on the sky.

    Subclass it, set the attributes that apply, and write `fetch`. Constructing it contacts nobody.

    Attributes
    ----------
    modality : str
        Registered name of the modality of what it gives.
    survey : str
        Registered name of the survey by which that is to be understood; "" if it says all itself.
    connections : int
        How many objects are fetched at a time at most; archives limit those who ask for many.
    """

    modality: str
    survey: str = ""
    connections: int = 2

    def fetch(self, coordinate):
        """Fetch the object at a place.

        Parameters
        ----------
        coordinate : astropy.coordinates.SkyCoord
            One position, in any frame that transforms to ICRS.

        Returns
        -------
        specutils.Spectrum or astropy.nddata.NDData or astropy.io.fits.HDUList
            What `astroclip_astro.embed` takes. Its ``meta`` may hold what `Survey` says.

        Raises
        ------
        AstroclipError
            If the archive has nothing there, or cannot be reached in the end. Any call may come
            from another thread.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fetch(coordinate)")


def get_source(name):
    """Get a registered source.

    Parameters
    ----------
    name : str
        Its registered name, e.g. ``"legacysurvey"``.

    Returns
    -------
    Source
        An instance.

    Raises
    ------
    PluginError
        If no plugin registers this name; the message lists those that are.
    """
    return get_manager().load("source", name)()


def fetch_all(source, coordinates):
    """Fetch what a source has at many places, a few at a time, in the order given.

    Parameters
    ----------
    source : Source
        The archive.
    coordinates : astropy.coordinates.SkyCoord or iterable of it
        Positions, one each; an iterable is consumed as results are taken, a few ahead.

    Yields
    ------
    object or AstroclipError
        For each position what `Source.fetch` returns, or the error that it raises: one object that
        cannot be had does not take the others down.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.errors import InputError
    >>> from astroclip_astro.sources import Source, fetch_all
    >>> class North(Source):
    ...     def fetch(self, coordinate):
    ...         if coordinate.dec < 0:
    ...             raise InputError("north only")
    ...         return coordinate.to_string()
    >>> list(fetch_all(North(), SkyCoord([1, 2], [3, -4], unit="deg")))
    ['1 3', InputError('north only')]
    """
    if getattr(coordinates, "isscalar", False):
        coordinates = [coordinates]
    pending = deque()
    pool = ThreadPoolExecutor(source.connections, thread_name_prefix="astroclip-fetch")
    try:
        for coordinate in coordinates:
            pending.append(pool.submit(_fetch, source, coordinate))
            if len(pending) > 2 * source.connections:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _fetch(source, coordinate):
    try:
        return source.fetch(coordinate)
    except AstroclipError as error:
        return error
    except Exception as error:  # a broken client must not take the other objects down
        named = getattr(coordinate, "to_string", lambda _: str(coordinate))
        # The text of one element of a masked array of coordinates is a list of one.
        return InputError(
            f"{type(source).__name__} could not fetch it ({type(error).__name__}: {error})",
            object_id="".join(named("hmsdms")).strip(),
        )
