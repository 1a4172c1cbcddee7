"""Images cut from the coadds that the data releases hold, brick by brick."""

import re
import threading

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from astroquery.exceptions import EmptyResponseError, InvalidQueryError

from . import conf
from .download import NotFoundError, PassingError
from .fits_content import open_fits
from .payload import NATIVE_PIXSCALE

__all__ = ["Bricks"]

_LAYER = re.compile(r"ls-dr(\d+)(?:-(north|south))?")
_NAME = re.compile(r"\d{4}[mp]\d{3}")

#: Of MASKBITS: outside of the primary region of any brick (NPRIMARY,
#: www.legacysurvey.org/dr9/bitmasks). 0 would say that all is well.
_NOT_PRIMARY = 1

#: North of it, and of the Galactic plane, is BASS and MzLS, "north" in the data releases.
_NORTH = 32.375

#: The release whose table of bricks is read; they are the same in all.
_GRID = 9


class Bricks:
    """The route by the bricks of 0.25 deg, for when the viewer has a bad day.

    Parameters
    ----------
    read : callable
        ``read(url, params, parse, cache)`` gives what `parse` makes of a file.
    """

    def __init__(self, read):
        self._read = read
        self._grid = None
        # Who waits for a brick finds it in the cache.
        self._lock = threading.Lock()

    def fetch(self, payload, cache):
        """Cut an image out of the brick that holds its centre.

        Parameters
        ----------
        payload : dict
            What would be asked of the viewer.
        cache : bool
            Whether files are kept.

        Returns
        -------
        astropy.io.fits.HDUList
            In the layout of the viewer, but in the pixels of the brick.
        """
        with self._lock:
            folder, name = self._locate(payload, cache)
            bands = payload["bands"]
            planes, wcs = zip(
                *(self._cut(folder, name, "image", band, payload, cache) for band in bands),
                strict=True,
            )
            hdus = [
                fits.PrimaryHDU(_stack(planes), _header(payload, folder, name, wcs[0], "IMAGE"))
            ]
            if "invvar" in payload:
                planes = [
                    self._cut(folder, name, "invvar", band, payload, cache)[0] for band in bands
                ]
                header = _header(payload, folder, name, wcs[0], "INVVAR")
                hdus.append(fits.ImageHDU(_stack(planes), header))
            if "maskbits" in payload:
                plane, _ = self._cut(folder, name, "maskbits", None, payload, cache)
                header = _header(payload, folder, name, wcs[0], "MASKBITS")
                hdus.append(fits.ImageHDU(plane, header))
        return fits.HDUList(hdus)

    def urls(self, payload, cache):
        """Coadds from which an image is cut, if it does not cross the border of the brick.

        Parameters
        ----------
        payload : dict
            What would be asked of the viewer.
        cache : bool
            Whether the table of bricks is kept.

        Returns
        -------
        list of str
        """
        with self._lock:
            folder, name = self._locate(payload, cache)
        files = [(kind, b) for kind in ("image", "invvar") for b in payload["bands"]]
        return [
            _url(folder, name, kind, band)
            for kind, band in [*files, ("maskbits", None)]
            if kind == "image" or kind in payload
        ]

    def _locate(self, payload, cache):
        """Folder and name of the brick that holds the centre."""
        match = _LAYER.fullmatch(payload["layer"])
        if not match:
            raise InvalidQueryError(
                f"layer {payload['layer']!r} is not a data release with bricks: expected 'ls-dr9', "
                "'ls-dr10', …"
            )
        if abs(payload["pixscale"] / NATIVE_PIXSCALE - 1) > 1e-3:
            raise InvalidQueryError(
                f"bricks have pixels of {NATIVE_PIXSCALE} arcsec, not {payload['pixscale']}: ask "
                "for these, or take route='cutout'"
            )
        release, region = int(match[1]), match[2]
        position = _position(payload)
        if region is None:
            north = payload["dec"] > _NORTH and position.galactic.b.deg > 0
            region = "north" if north else "south"
        if release == 10 and region == "north":
            release = 9  # it has no north of its own
        names = self._find(position, cache)
        if not names:
            raise EmptyResponseError(f"no brick holds ({payload['ra']}, {payload['dec']})")
        return f"dr{release}/{region}", names.pop()

    def _find(self, positions, cache):
        """Names of the bricks that hold one or many positions."""
        if self._grid is None:
            url = f"{conf.brick_server}/dr{_GRID}/survey-bricks.fits.gz"
            self._grid = self._read(url, {}, _parse_grid, cache)
        ra, dec = np.ravel(positions.ra.deg), np.ravel(positions.dec.deg)
        dec1, dec2 = self._grid[3:]
        rows = (dec1 <= dec.max()) & (dec2 > dec.min())
        names, ra1, ra2, dec1, dec2 = (column[rows] for column in self._grid)
        found = set()
        for x, y in zip(ra, dec, strict=True):
            found.update(names[(ra1 <= x) & (x < ra2) & (dec1 <= y) & (y < dec2)])
        return found

    def _cut(self, folder, name, kind, band, payload, cache):
        """One plane and its WCS; what lies beyond the brick is filled from the next ones."""
        try:
            data, wcs = self._brick(folder, name, kind, band, cache)
        except NotFoundError as error:
            raise EmptyResponseError(
                f"{folder} has no {kind} {band or ''} of brick {name}, which is there"
            ) from error
        size = payload["size"]
        blank = _NOT_PRIMARY if kind == "maskbits" else 0
        cut = Cutout2D(
            data, _position(payload), size, wcs=wcs, mode="partial", fill_value=blank, copy=True
        )
        missing = np.ones((size, size), bool)
        missing[cut.slices_cutout] = False
        if missing.any():
            rows, columns = np.nonzero(missing)
            sky = cut.wcs.pixel_to_world(columns, rows)
            # Neighbours overlap: the first one that has a pixel gives it.
            for other in sorted(self._neighbours(sky, cache) - {name}):
                try:
                    data, wcs = self._brick(folder, other, kind, band, cache)
                except NotFoundError:
                    continue  # the edge of the survey: what is blank stays so
                x, y = (np.round(axis).astype(int) for axis in wcs.world_to_pixel(sky))
                inside = (x >= 0) & (x < data.shape[1]) & (y >= 0) & (y < data.shape[0])
                inside &= missing[rows, columns]
                cut.data[rows[inside], columns[inside]] = data[y[inside], x[inside]]
                missing[rows[inside], columns[inside]] = False
        return cut.data, cut.wcs

    def _neighbours(self, sky, cache):
        # Some positions are enough to meet all bricks, which are larger than what they miss.
        return self._find(sky[:: max(1, sky.size // 500)], cache)

    def _brick(self, folder, name, kind, band, cache):
        return self._read(_url(folder, name, kind, band), {}, _parse_brick, cache)


def _position(payload):
    return SkyCoord(payload["ra"], payload["dec"], unit="deg")


def _url(folder, name, kind, band):
    file = f"legacysurvey-{name}-{kind}{f'-{band}' if band else ''}.fits.fz"
    return f"{conf.brick_server}/{folder}/coadd/{name[:3]}/{name}/{file}"


def _parse_grid(content):
    with open_fits(content) as hdulist:
        rows = hdulist[1].data
        names = np.char.strip(np.asarray(rows["BRICKNAME"], str))
        edges = [np.array(rows[name], float) for name in ("RA1", "RA2", "DEC1", "DEC2")]
    if not all(_NAME.fullmatch(name) for name in names):
        raise PassingError("no table of bricks: names are malformed")
    return names, *edges


def _parse_brick(content):
    with open_fits(content) as hdulist:
        try:
            data, header = hdulist[1].data, hdulist[1].header
        except Exception as error:  # whatever a decompressor says of damaged tiles
            raise PassingError(f"a damaged coadd ({error})") from error
        if data is None or data.ndim != 2:
            raise PassingError("no coadd: expected a compressed image")
        return data, WCS(header)


def _stack(planes):
    return planes[0] if len(planes) == 1 else np.stack(planes)


def _header(payload, folder, name, wcs, kind):
    header = wcs.to_header()
    header.update(SURVEY="LegacySurvey", VERSION=folder.split("/")[0].upper(), IMAGETYP=kind)
    header.update(
        BRICK=name, BANDS=payload["bands"], IMAGEW=payload["size"], IMAGEH=payload["size"]
    )
    header.update({f"BAND{i}": band for i, band in enumerate(payload["bands"])})
    return header
