"""What a survey has to say about its files: the class that survey plugins subclass."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from astropy.io import fits

__all__ = ["ByNameOnly", "Survey", "opened"]


class Survey:
    """One survey's files: how to recognise them, and how to read them as Astropy objects.

    Subclass it, set the attributes that apply, and write `identify` and `read`.

    Attributes
    ----------
    modality : {"spectrum", "image"}
        What its files hold.
    medium : {"vacuum", "air"}
        Spectra: the medium in which its wavelengths are given. Air wavelengths are converted.
    bands : tuple of str
        Images: names of the bands in the order of the planes.
    zeropoint : float or None
        Images: AB magnitude of one count in its files; 22.5 means nanomaggies. None where each
        object carries a unit or zeropoint of its own.
    pixel_scale : float or None
        Images: arcsec per pixel, for files without a WCS.

    Notes
    -----
    `read` yields one Astropy object per galaxy: a `specutils.Spectrum` with flux and spectral
    units, uncertainty and mask (True is bad); an `astropy.nddata.NDData` (or `CCDData`) of shape
    (band, row, column) with a unit and a WCS; an `HDUList` of one image per band, each with its own
    WCS; or, of another modality, what that accepts. ``meta`` may hold, all optional: ``object_id``
    (str), ``ra`` and ``dec`` (deg), ``redshift``, ``quality`` (`astroclip_astro.quality.Quality`
    bits known from the file), ``bands`` (overrides the attribute).

    ``read(path, hdulist=None)`` may take the open FITS file that `identify` has been shown, which
    spares opening it anew: see `opened`.

    A survey may also have ``convert(obj, *, object_id="")``, which yields the same for an object in
    memory: `image_records` calls it for an open `HDUList`, whose layout only the survey knows.
    """

    modality: str
    medium: str = "vacuum"
    bands: tuple[str, ...] = ()
    zeropoint: float | None = None
    pixel_scale: float | None = None

    def identify(self, path: Path, hdulist) -> bool:
        """Whether a file is one of this survey's.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        hdulist : astropy.io.fits.HDUList or None
            The open file if it is FITS, with its data not yet read.

        Returns
        -------
        bool
        """
        raise NotImplementedError(f"{type(self).__name__} has no identify(path, hdulist)")

    def read(self, path: Path) -> Iterator:
        """Read a file, yielding one Astropy object per galaxy, in the order of the file.

        Parameters
        ----------
        path : pathlib.Path
            The file.

        Yields
        ------
        specutils.Spectrum or astropy.nddata.NDData or astropy.io.fits.HDUList
        """
        raise NotImplementedError(f"{type(self).__name__} has no read(path)")


class ByNameOnly(Survey):
    """A survey that is never chosen by itself: only ``survey=`` asks for it.

    For files that do not say where they come from, and for another way to read those of a survey
    that recognises them: ``class Smoothed(ByNameOnly, Mine)``.
    """

    def identify(self, path, hdulist):
        """Never; see `Survey.identify`.

        Parameters
        ----------
        path : pathlib.Path
            Not used.
        hdulist : astropy.io.fits.HDUList or None
            Not used.

        Returns
        -------
        bool
            False.
        """
        return False


def opened(path, hdulist=None):
    """Open a FITS file, unless that is done.

    Parameters
    ----------
    path : path-like
        The file.
    hdulist : astropy.io.fits.HDUList, optional
        The same if it is open; whoever opened it closes it.

    Returns
    -------
    context manager
        Gives the open file.
    """
    return nullcontext(hdulist) if hdulist is not None else fits.open(path)
