"""SDSS images for coordinates, by astroquery."""

import time
import urllib.error
from math import isfinite

import requests
from astropy.table import Table
from astroquery.exceptions import RemoteServiceError
from astroquery.sdss import SDSSClass

from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.sources import Source
from astroclip_sdss.frames import FRAME_SHAPE, PIXEL_SCALE, cut_frames

__all__ = ["SDSSImages"]

#: The last release with new imaging was DR8; DR17 is the newest that has its frames as they are.
_RELEASE = 17

#: Arcsec within which an object of the catalogue tells which frames show a place.
_NEAR = 10.0

#: Arcsec from the edge of a frame at which all of a model's image fits.
_MARGIN = 28.0

#: Seconds to wait before asking again.
_WAITS = (1.0, 5.0)

_TIMEOUT = 60

_COLUMNS = ("run", "rerun", "camcol", "field", "mode", "rowc_r", "colc_r")

#: What an archive that is down, busy or cut off in the middle looks like from here.
_FAILURES = (
    OSError,  # of urllib, requests and sockets, and of FITS and bzip2 that are none
    EOFError,
    TypeError,  # astroquery's for an empty file
    ValueError,  # of tables that are none
    RemoteServiceError,
    AstroclipError,
)


class SDSSImages(Source):
    """g, r and z of SDSS's corrected frames, cut out around a position.

    SDSS has no service of FITS cutouts, so three whole frames, some 10 MB, are downloaded for each
    object, through `astroquery.sdss`. A place that was imaged several times is taken from a frame
    on which all of the cutout fits, the primary one if it is among them. Nothing is kept on disk:
    astroquery's caches keep whatever came, error pages included, and grow with every frame.

    Notes
    -----
    Which frames show a place is told by the objects that SDSS catalogued within 10" of it.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.sources import get_source
    >>> cutout = get_source("sdss-image").fetch(SkyCoord("13h35m24s 13d24m40s"))  # doctest: +SKIP
    """

    modality = "image"
    survey = "sdss-image"

    def fetch(self, coordinate):
        """Fetch the image of an object; see `Source.fetch`.

        Parameters
        ----------
        coordinate : astropy.coordinates.SkyCoord
            One position, in any frame that transforms to ICRS.

        Returns
        -------
        astropy.io.fits.HDUList
            Of `astroclip_sdss.frames.cut_frames`: bands g, r, z.

        Raises
        ------
        InputError
            If SDSS has no image there, or cannot be reached, or what it sends is no such frame.
        """
        name = coordinate.to_string("hmsdms")
        # Of its own: a session of requests is not for several threads.
        archive = SDSSClass()
        fields = _persistently(lambda: _fields(archive, coordinate.icrs), name)
        if not len(fields):
            raise InputError(
                f'SDSS has no image there: its catalogue has no object within {_NEAR:.0f}"',
                object_id=name,
            )
        best = fields[[max(range(len(fields)), key=lambda i: _preference(fields[i]))]]
        frames = _persistently(lambda: _frames(archive, best), name)
        return cut_frames(frames, coordinate)


def _fields(archive, position):
    """Table of the frames that show a position."""
    # query_region asks for the names of all columns first, and believes an error page for a week.
    found = archive.query_sql(
        f"SELECT {', '.join(f'p.{column}' for column in _COLUMNS)} "
        f"FROM dbo.fGetNearbyObjAllEq({position.ra.deg:.7f}, {position.dec.deg:.7f}, "
        f"{_NEAR / 60:.5f}) AS n JOIN PhotoObjAll AS p ON p.objID = n.objID",
        data_release=_RELEASE,
        timeout=_TIMEOUT,
        cache=False,
    )
    if found is None:
        return Table(names=_COLUMNS)
    numbers = all(name in found.colnames and found[name].dtype.kind in "if" for name in _COLUMNS)
    if not numbers:
        raise InputError(
            f"answer with columns {', '.join(found.colnames)[:80]}: expected {', '.join(_COLUMNS)}"
        )
    return found


def _preference(field):
    """Order of frames: those that hold all of the cutout, then primary ones, then central ones."""
    rows, columns = FRAME_SHAPE
    row, column = float(field["rowc_r"]), float(field["colc_r"])
    edge = min(row, rows - row, column, columns - column)
    edge = edge * PIXEL_SCALE if isfinite(edge) else -1.0
    return edge >= _MARGIN, field["mode"] == 1, edge


def _frames(archive, field):
    """Frames of g, r and z of a field, whole."""
    files = archive.get_images_async(
        matches=field,
        band="grz",
        data_release=_RELEASE,
        timeout=_TIMEOUT,
        cache=False,
        show_progress=False,
    )
    run, camcol, number = (int(field[key][0]) for key in ("run", "camcol", "field"))
    frames = []
    for band, file in zip("grz", files, strict=True):
        start = file.get_string()[:40]
        if not start.startswith(b"SIMPLE"):
            raise InputError(f"a file that begins with {start} came: expected FITS")
        frame = file.get_fits()
        header = frame[0].header
        came = tuple(header.get(key) for key in ("FILTER", "RUN", "CAMCOL", "FRAME"))
        if came != (band, run, camcol, number):
            raise InputError(
                f"a frame of filter, run, camcol, field {came} came: expected "
                f"{(band, run, camcol, number)}"
            )
        frame[0].data  # noqa: B018 - read now, when what is missing can be asked for again
        frames.append(frame)
    return frames


def _persistently(ask, name):
    """Ask the archive, and again where asking again may help."""
    for wait in (*_WAITS, None):
        try:
            return ask()
        except _FAILURES as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # its connection
            if wait is None or _is_final(error):
                raise InputError(
                    f"SDSS's archive did not send it ({type(error).__name__}: {error}); try again "
                    "later, or give frames of your own to astroclip_sdss.frames.cut_frames",
                    object_id=name,
                ) from error
        time.sleep(wait)
    return None


def _is_final(error):
    """Whether the archive said no, rather than nothing or nonsense."""
    status = None
    if isinstance(error, urllib.error.HTTPError):
        status = error.code
    elif isinstance(error, requests.HTTPError):
        status = error.response.status_code
    return status is not None and 400 <= status < 500 and status != 429
