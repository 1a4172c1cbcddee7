"""The Legacy Surveys' viewer, brick server and hips2fits, played on localhost with a made sky."""

import gzip
import io
import json
from contextlib import contextmanager
from functools import cache

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from astroclip_astro.sources.legacysurvey import conf
from tests.sources.archive import Archive

NATIVE = 0.262

#: Bands of the layers, the default ones first.
LAYERS = {"ls-dr9": "grz", "ls-dr10": "griz", "ls-dr10-south": "griz", "sdss": "gri"}

#: Side of a made brick in deg (140 pixels), and pixels by which its image is larger at each side.
BRICK, MARGIN = 140 * NATIVE / 3600, 10


def flux(band, ra, dec):
    """The made sky in nanomaggies: no two places near each other look the same."""
    return "griz".index(band) + 1 + np.asarray(ra) % 1 + 3 * (np.asarray(dec) % 1)


def invvar(band, ra, dec):
    return 4 * flux(band, ra, dec)


def maskbits(ra, dec):
    """Bits that follow the place, as a check of geometry."""
    return (np.floor(np.asarray(ra) * 36000) % 7).astype(np.int32)


def tan_header(ra, dec, size, pixscale=NATIVE):
    """WCS of the viewer's cutouts, in the form in which it writes them."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header.update(CRVAL1=ra, CRVAL2=dec, CRPIX1=(size + 1) / 2, CRPIX2=(size + 1) / 2)
    header.update(CD1_1=-pixscale / 3600, CD1_2=0.0, CD2_1=0.0, CD2_2=pixscale / 3600)
    return header


def sky_of(header, size):
    rows, columns = np.indices((size, size))
    sky = WCS(header).pixel_to_world(columns, rows)
    return sky.ra.deg, sky.dec.deg


def to_bytes(*hdus):
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return stream.getvalue()


@cache
def brick_files(ra, dec):
    """Compressed coadds of a brick by kind, without loss."""
    size = 140 + 2 * MARGIN
    header = tan_header(ra, dec, size)
    sky = sky_of(header, size)
    planes = {
        f"{kind}-{band}": function(band, *sky).astype("f4")
        for kind, function in (("image", flux), ("invvar", invvar))
        for band in "grz"
    } | {"maskbits": maskbits(*sky)}
    return {
        kind: to_bytes(
            fits.PrimaryHDU(),
            fits.CompImageHDU(data, header, quantize_level=0, compression_type="GZIP_2"),
        )
        for kind, data in planes.items()
    }


class Viewer:
    """What the services answer when nothing goes wrong; `footprint` says where there is data."""

    def __init__(self, footprint=lambda ra, dec: True):
        self.footprint = footprint
        self.bricks = {}

    def __call__(self, path, query, body):
        if path == "/viewer/cutout.fits":
            return self.cutout(query)
        if path == "/hips2fits":
            return self.hips(query)
        if path == "/data/dr9/survey-bricks.fits.gz":
            return 200, "application/gzip", gzip.compress(self.grid())
        if path.startswith("/data/") and path in self.bricks:
            return 200, "application/octet-stream", self.bricks[path]
        return 404, "text/html", b"<html>Not Found</html>"

    def cutout(self, query):
        available = LAYERS.get(query["layer"])
        if available is None:
            return 200, "text/html", b"no such layer"
        ra, dec, pixscale = (float(query[key]) for key in ("ra", "dec", "pixscale"))
        if not self.footprint(ra, dec):
            return 500, "text/html", b"<h1>Server Error (500)</h1>"
        size = min(int(query["size"]), 3000)
        bands = query.get("bands", available)
        if not set(bands) <= set(available):
            bands = available
        header = tan_header(ra, dec, size, pixscale)
        sky = sky_of(header, size)

        def planes(function):
            cube = np.array([function(band, *sky) for band in bands], ">f4")
            return cube[0] if len(bands) == 1 else cube

        def cards(kind):
            made = fits.Header({"SURVEY": "LegacySurvey", "VERSION": "DR9", "IMAGETYP": kind})
            made.update({"BANDS": bands} | {f"BAND{i}": band for i, band in enumerate(bands)})
            made.update(header)
            made.update(IMAGEW=size, IMAGEH=size)
            return made

        hdus = [fits.PrimaryHDU(planes(flux), cards("IMAGE"))]
        if "invvar" in query and query["layer"] != "sdss":
            hdus.append(fits.ImageHDU(planes(invvar), cards("INVVAR")))
        if "maskbits" in query and query["layer"] != "sdss":
            hdus.append(fits.ImageHDU(maskbits(*sky), cards("MASKBITS")))
        return 200, "image/fits", to_bytes(*hdus)

    def hips(self, query):
        asked = json.loads(query["wcs"])
        header = fits.Header(asked)
        size, band = header["NAXIS1"], query["hips"].rsplit("/", 1)[1]
        sky = sky_of(header, size)
        data = 17 * flux(band, *sky).astype(">f4")
        if not self.footprint(header["CRVAL1"], header["CRVAL2"]):
            data[:] = np.nan
        return 200, "image/fits", to_bytes(fits.PrimaryHDU(data, header))

    def add_bricks(self, ra, dec, folder="dr9/south", rows=(-1, 0, 1), columns=(-1, 0, 1)):
        """Put bricks around a place, of which the middle one is centred on it."""
        width = BRICK / np.cos(np.radians(dec))
        self.table = []
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                x, y = ra + column * width, dec + row * BRICK
                name = f"{1500 + column:04d}p{22 + row:03d}"
                edges = (x - width / 2, x + width / 2, y - BRICK / 2, y + BRICK / 2)
                self.table.append((name, *edges))
                if row not in rows or column not in columns:
                    continue
                for kind, content in brick_files(x, y).items():
                    file = f"legacysurvey-{name}-{kind}.fits.fz"
                    self.bricks[f"/data/{folder}/coadd/{name[:3]}/{name}/{file}"] = content

    def grid(self):
        columns = zip(*self.table, strict=True)
        names = ("BRICKNAME", "RA1", "RA2", "DEC1", "DEC2")
        table = fits.BinTableHDU.from_columns(
            [
                fits.Column(name, "8A" if name == "BRICKNAME" else "D", array=np.array(values))
                for name, values in zip(names, columns, strict=True)
            ]
        )
        return to_bytes(fits.PrimaryHDU(), table)


@contextmanager
def playing(viewer, folder, fault=lambda number, url: None, *, timeout=30, backoff=0, **kwargs):
    """Let the client ask a local archive and keep its cache in a folder; gives the archive."""
    with (
        Archive(viewer, fault, **kwargs) as archive,
        conf.set_temp("server", f"{archive.url}/viewer"),
        conf.set_temp("brick_server", f"{archive.url}/data"),
        conf.set_temp("hips2fits_server", f"{archive.url}/hips2fits"),
        conf.set_temp("cache_location", str(folder)),
        conf.set_temp("timeout", timeout),
        conf.set_temp("backoff", backoff),
    ):
        yield archive
