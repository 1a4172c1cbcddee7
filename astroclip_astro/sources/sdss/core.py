"""The client of SDSS's spectra: astroquery's addresses and queries, every answer checked."""

import csv
import operator
import re
from functools import partial

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astroquery import sdss as _astroquery
from astroquery.query import BaseQuery

from astroclip_astro.errors import InputError
from astroclip_astro.sky import angle, position, separation
from astroclip_astro.sources.http import BusyError, Pace, fetch
from astroclip_astro.sources.legacysurvey.fits_content import check_whole
from astroclip_astro.sources.sdss import conf
from astroclip_astro.surveys.sdss import SDSS as SDSSFiles

__all__ = ["SDSSClass"]

#: Columns of what is found: how they are called in SpecObj, and their types. `object_id` and
#: `separation` are ours.
_COLUMNS = {
    "ra": ("ra", float),
    "dec": ("dec", float),
    "redshift": ("z", float),
    "redshift_warning": ("zWarning", int),
    "spectype": ("class", str),
    "plate": ("plate", int),
    "mjd": ("mjd", int),
    "fiberID": ("fiberID", int),
    "run2d": ("run2d", str),
}

_CITATION = "Abdurro'uf et al. 2022, ApJS 259, 35, doi:10.3847/1538-4365/ac4414"
_RELEASE = 17
_MINUTE = 60.0  # s, for which SkyServer counts queries


class SDSSClass(BaseQuery):
    """The spectra of SDSS, BOSS and eBOSS, as of data release 17.

    Queries and addresses are those of `astroquery.sdss`. It takes any answer for a good one and
    keeps it for days, pickled; here what comes back is checked, asked for again where that helps,
    and not cached.

    Notes
    -----
    SkyServer takes 60 queries a minute, and is asked once a second at most, whatever the number of
    threads; retries count. If it says that these were too many it is left alone for a minute.
    Files, from another server, are fetched without an interval. Intervals, tries and time limits
    are those of `astroclip_astro.sources.sdss.conf`. Abdurro'uf et al. 2022, ApJS 259, 35.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.sources.sdss import SDSS
    >>> found = SDSS.query_region(SkyCoord("0h8m05.63s +14d50m23.3s"))  # doctest: +SKIP
    >>> found["object_id"]  # doctest: +SKIP
    0751-52251-0160
    >>> spectrum, = SDSS.get_spectra(found)  # doctest: +SKIP
    """

    def __init__(self):
        super().__init__()
        self._queries, self._files = Pace(), Pace()

    def query_region(self, coordinates, radius=1 * u.arcsec):
        """Find the objects with spectra within a radius of a position.

        Parameters
        ----------
        coordinates : astropy.coordinates.SkyCoord
            One position, in any frame that transforms to ICRS.
        radius : astropy.units.Quantity or str
            Angle.

        Returns
        -------
        astropy.table.Table
            One row per object, of its best spectrum (SpecObj), the nearest first; without rows if
            there is none. Columns ``object_id`` (plate-mjd-fiber), ``ra`` and ``dec`` (deg, ICRS),
            ``redshift``, ``redshift_warning``, ``spectype`` (GALAXY, QSO, STAR), ``plate``,
            ``mjd``, ``fiberID``, ``run2d``, ``separation`` (arcsec).

        Raises
        ------
        InputError
            If the position or the radius is none, or if SkyServer gives no usable answer in the
            end.
        """
        ra, dec = position(coordinates)
        radius = angle(radius)
        columns = ", ".join(f"s.{name} AS {ours}" for ours, (name, _) in _COLUMNS.items())
        # The cone is a little wider than asked for: what is inside is decided here.
        query = _astroquery.SDSS.query_sql_async(
            f"SELECT {columns} "
            f"FROM dbo.fGetNearbySpecObjEq({ra:.9f}, {dec:.9f}, {radius.arcmin * 1.001:.9f}) AS n "
            "JOIN SpecObj AS s ON s.specObjID = n.specObjID",
            data_release=_RELEASE,
            get_query_payload=True,
        )
        rows = self._ask(
            _astroquery.conf.skyserver_baseurl
            + _astroquery.SDSS.QUERY_URL_SUFFIX_DR_NEW.format(dr=_RELEASE),
            _rows,
            pace=self._queries,
            interval=conf.interval,
            params=query,
        )
        table = Table(
            rows=rows or None,
            names=list(_COLUMNS),
            dtype=[kind for _, kind in _COLUMNS.values()],
        )
        table["separation"] = 3600 * separation(ra, dec, table["ra"].data, table["dec"].data)
        table = table[table["separation"] <= radius.arcsec]
        names = [_name(*row) for row in table.iterrows("plate", "mjd", "fiberID")]
        table.add_column(np.array(names, str), index=0, name="object_id")
        table.sort(["separation", "object_id"])
        for name, unit in (("ra", u.deg), ("dec", u.deg), ("separation", u.arcsec)):
            table[name].unit = unit
        return table

    def get_spectra(self, matches):
        """Download spectra.

        Parameters
        ----------
        matches : astropy.table.Table
            What `query_region` found, or any table with columns ``plate``, ``mjd``, ``fiberID``,
            ``run2d``.

        Returns
        -------
        list of specutils.Spectrum
            One per row, as `astroclip_astro.surveys.sdss.SDSS` reads them; ``meta`` also holds
            ``medium``, ``data_release``, ``citation``.

        Raises
        ------
        InputError
            If a row names no spectrum, if there is no such spectrum, or if the archive gives no
            usable file of it in the end.
        """
        if not isinstance(matches, Table) or not {"plate", "mjd", "fiberID", "run2d"} <= set(
            matches.colnames
        ):
            raise InputError(
                "matches have no columns plate, mjd, fiberID and run2d: expected a table that "
                "query_region gives"
            )
        if len(matches) == 0:
            return []
        names = [_checked(row) for row in matches]
        # astroquery's own download knows no status and no retries; what it knows is the address.
        files = _astroquery.SDSS.get_spectra_async(
            matches=matches, data_release=_RELEASE, cache=False, show_progress=False
        )
        return [
            self._ask(file._target, partial(_spectrum, name=name), pace=self._files)
            for file, name in zip(files, names, strict=True)
        ]

    def _ask(self, url, validate, **kwargs):
        return fetch(
            self._session,
            "GET",
            url,
            validate=validate,
            retries=conf.retries,
            backoff=conf.backoff,
            timeout=conf.timeout,
            **kwargs,
        )


def _name(plate, mjd, fiber):
    return f"{plate:04d}-{mjd:05d}-{fiber:04d}"


def _checked(row):
    """Name of the spectrum of a row, whose values become part of an address."""
    try:
        name = _name(*(operator.index(row[column]) for column in ("plate", "mjd", "fiberID")))
    except TypeError as error:
        raise InputError(
            f"plate {row['plate']!r}, mjd {row['mjd']!r}, fiberID {row['fiberID']!r}: expected "
            "whole numbers"
        ) from error
    run2d = row["run2d"]
    text = run2d.decode("ascii", "replace") if isinstance(run2d, bytes) else str(run2d)
    if run2d is np.ma.masked or not re.fullmatch(r"(?!\.+$)[\w.-]+", text, re.ASCII):
        raise InputError(
            f"run2d {text!r}: expected the name of a reduction, such as '26' or 'v5_13_2'",
            object_id=name,
        )
    return name


def _rows(response):
    """Rows of a table as SkyServer writes it: CSV, below a line "#Table1"."""
    text = response.text.strip()
    if text.startswith("No objects have been found"):
        return []
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    header, *rows = list(csv.reader(lines)) or [[]]
    # Faults come as HTTP 200, and as tables, too.
    if "queries allowed per minute" in text:
        raise BusyError(" ".join(text.split())[:200], _MINUTE)
    if header != list(_COLUMNS) or any(len(row) != len(header) for row in rows):
        raise ValueError(f"not the table asked for: {' '.join(text.split())[:200]!r}")
    kinds = [kind for _, kind in _COLUMNS.values()]
    return [[kind(value) for kind, value in zip(kinds, row, strict=True)] for row in rows]


def _spectrum(response, name):
    content = response.content
    if not content.startswith(b"SIMPLE  ="):
        kind = response.headers.get("Content-Type", "no stated type")
        raise ValueError(f"{len(content)} bytes of {kind}, no FITS file")
    check_whole(content)
    try:
        hdulist = fits.HDUList.fromstring(content)
        # A file that was cut behind an HDU looks whole.
        if len(hdulist) < 3:
            raise ValueError("a FITS file without the table that describes the object, HDU 2")
        (spectrum,) = SDSSFiles().convert(hdulist, object_id=response.url.rpartition("/")[2])
    except (OSError, TypeError, IndexError, KeyError, fits.VerifyError) as error:
        raise ValueError(f"a FITS file that cannot be read ({error})") from error
    if spectrum.meta["object_id"] != name:
        raise ValueError(f"the spectrum {spectrum.meta['object_id']}, not {name}")
    if len(spectrum.flux) < 2:
        raise ValueError("a spectrum of fewer than two pixels")
    spectrum.meta |= {
        "medium": SDSSFiles.medium,
        "data_release": f"SDSS-DR{_RELEASE}",
        "citation": _CITATION,
    }
    return spectrum


#: The client that everybody uses.
SDSS = SDSSClass()
