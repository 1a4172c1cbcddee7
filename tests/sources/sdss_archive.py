"""A local server that plays SDSS: SkyServer's SQL search, and the archive of files."""

import re
from contextlib import ExitStack, contextmanager

import numpy as np
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.table import Table
from astroquery.sdss import conf as astroquery_conf

from astroclip_astro.sources import sdss
from tests.sources.archive import Archive

TOO_MANY = b'#Table1\n"ERROR: Maximum 60 queries allowed per minute. Rejected query: SELECT s.ra"\n'


class SDSSArchive(Archive):
    """Plays both services; `objects` are what `described` returns."""

    def __init__(self, objects, *args, **kwargs):
        super().__init__(self.play, *args, **kwargs)
        self.objects = objects
        self.queries = []

    def play(self, path, query, body):
        if path == "/dr17/en/tools/search/x_results.aspx":
            assert query["format"] == "csv"
            self.queries.append(query["cmd"])
            return 200, "text/plain", self.search(query["cmd"]).encode()
        for each in self.objects:
            folder = "spectra/full" if each["run2d"].startswith("v") else "spectra"
            plate, mjd, fibre = each["plate"], each["mjd"], each["fiberID"]
            if path == (
                f"/sas/dr17/sdss/spectro/redux/{each['run2d']}/{folder}/{plate:04d}/"
                f"spec-{plate:04d}-{mjd}-{fibre:04d}.fits"
            ):
                return 200, "application/fits", each["file"].read_bytes()
        return 404, "text/html", b"<html>Not Found</html>"

    def search(self, sql):
        columns = re.findall(r"s\.(\w+) AS (\w+)", sql)
        cone = re.search(r"fGetNearbySpecObjEq\(([-\d.]+), ([-\d.]+), ([-\d.]+)\)", sql)
        ra, dec, arcmin = map(float, cone.groups())
        lines = ["#Table1", ",".join(name for _, name in columns)]
        for each in self.objects:
            if 60 * degrees(ra, dec, each["ra"], each["dec"]) <= arcmin:
                lines.append(",".join(str(each[name]) for name, _ in columns))
        return "\n".join(lines) + "\n"


def degrees(*angles):
    """Distance of two positions, all in deg."""
    return float(np.degrees(angular_separation(*np.radians(angles))))


def described(path, ra, dec, *, mjd=55555, run2d="v5_13_0", z=0.1, **changes):
    """Complete a made file as SDSS does, with its SPECOBJ; return what SkyServer says of it."""
    fibre = int(path.stem.rpartition("-")[2])
    entry = {"plate": 1, "mjd": mjd, "fiberID": fibre, "z": z, "zWarning": 0, "class": "GALAXY"}
    entry |= changes
    names = {name.upper(): [value] for name, value in entry.items()}
    table = Table(names | {"PLUG_RA": [ra], "PLUG_DEC": [dec], "ZWARNING": [entry["zWarning"]]})
    with fits.open(path, mode="append") as hdulist:
        hdulist.append(fits.BinTableHDU(table, name="SPECOBJ"))
    return entry | {"ra": ra, "dec": dec, "run2d": run2d, "file": path}


@contextmanager
def sdss_archive(objects, *args, timeout=20.0, retries=2, **kwargs):
    """A server that plays SDSS, and the client configured to ask it without waiting."""
    with ExitStack() as stack:
        archive = stack.enter_context(SDSSArchive(objects, *args, **kwargs))
        for configuration, name, value in (
            (astroquery_conf, "skyserver_baseurl", archive.url),
            (astroquery_conf, "sas_baseurl", f"{archive.url}/sas"),
            (sdss.conf, "interval", 0.0),
            (sdss.conf, "backoff", 0.0),
            (sdss.conf, "retries", retries),
            (sdss.conf, "timeout", timeout),
        ):
            stack.enter_context(configuration.set_temp(name, value))
        yield archive
