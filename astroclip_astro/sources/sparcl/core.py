"""The client of SPARCL, in astroquery's conventions."""

import threading
from uuid import UUID

import numpy as np
from astropy import units as u
from astropy.table import Table
from astroquery.query import BaseQuery

from astroclip_astro.errors import InputError
from astroclip_astro.sky import angle, position, separation
from astroclip_astro.sources.http import Pace, fetch
from astroclip_astro.sources.sparcl import conf
from astroclip_astro.sources.sparcl.records import FIELDS, object_id, spectrum

__all__ = ["SPARCLClass"]

_CHUNK = 50  # spectra per request, of about half a megabyte each as JSON

#: Columns of what is found, and their types; `object_id` and `separation` are ours.
_COLUMNS = {
    "sparcl_id": str,
    "specid": np.int64,
    "ra": float,
    "dec": float,
    "redshift": float,
    "redshift_warning": int,
    "spectype": str,
    "specprimary": bool,
    "data_release": str,
}


class SPARCLClass(BaseQuery):
    """SPARCL, the SPectra Analysis and Retrievable Catalog Lab at NOIRLab.

    It serves the coadded spectra of DESI (EDR, DR1), SDSS and BOSS. This client asks its HTTP
    interface (https://astrosparcl.datalab.noirlab.edu) for JSON; sparclclient, NOIRLab's own,
    fetches pickles, which are never opened here.

    Notes
    -----
    Juneau et al. 2024, arXiv:2401.05576. Flux is in 1e-17 erg s-1 cm-2 Å-1 and wavelengths are in
    vacuum Å, as in the surveys' own files; where the answer states units, those count.

    Nothing is cached but the list of fields. Tries, waits and time limits are those of
    `astroclip_astro.sources.sparcl.conf`.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.sources.sparcl import SPARCL
    >>> place = SkyCoord(60.007777, -0.877601, unit="deg")
    >>> found = SPARCL.query_region(place, 1 * u.arcsec)  # doctest: +SKIP
    >>> found["data_release", "redshift"]  # doctest: +SKIP
    data_release redshift
    ------------ --------
        DESI-DR1 0.782049
    >>> spectrum, = SPARCL.get_spectra(found)  # doctest: +SKIP
    """

    def __init__(self):
        super().__init__()
        self._fields = {}  # by server: by data release: the names on the wire, and what they mean
        self._lock = threading.Lock()
        self._pace = Pace()

    def query_region(self, coordinates, radius=1 * u.arcsec, *, limit=500):
        """Find the spectra within a radius of a position.

        Parameters
        ----------
        coordinates : astropy.coordinates.SkyCoord
            One position, in any frame that transforms to ICRS.
        radius : astropy.units.Quantity or str
            Angle.
        limit : int
            How many spectra are expected at most.

        Returns
        -------
        astropy.table.Table
            One row per spectrum, the nearest first; without rows if there is none. Columns
            ``sparcl_id``, ``object_id`` (as in `get_spectra`), ``ra`` and ``dec`` (deg, ICRS),
            ``redshift`` (NaN where unknown), ``redshift_warning``, ``spectype`` (GALAXY, QSO,
            STAR), ``specprimary`` (whether it is the best of its object in its release),
            ``data_release``, ``separation`` (arcsec). An object that several releases hold has
            several rows.

        Raises
        ------
        InputError
            If the position or the radius is none, if there are as many as the limit, or if SPARCL
            gives no usable answer in the end.
        """
        ra, dec = position(coordinates)
        radius = angle(radius)
        fields = self._names()
        rows = {}
        for ranges in boxes(ra, dec, radius.deg):
            asked = {
                "outfields": self._on_the_wire(_COLUMNS),
                "search": [
                    [*self._on_the_wire([name]), *limits]
                    for name, limits in zip(("ra", "dec"), ranges, strict=True)
                ],
            }
            found = self._ask(
                "POST",
                "find",
                lambda answer: [_row(record) for record in _records(answer, fields)[1]],
                params={"limit": limit},
                json=asked,
            )
            if len(found) >= limit:
                raise InputError(
                    f"SPARCL has {limit} spectra or more within {radius.arcsec:g} arcsec of "
                    f"{ra:.5f}, {dec:+.5f} deg: ask for a smaller radius or set limit="
                )
            rows.update({row["sparcl_id"]: row for row in found})
        table = Table(
            rows=[list(row.values()) for row in rows.values()] or None,
            names=list(_COLUMNS),
            dtype=list(_COLUMNS.values()),
        )
        table["separation"] = 3600 * separation(ra, dec, table["ra"].data, table["dec"].data)
        table = table[table["separation"] <= radius.arcsec]
        table.sort(["separation", "data_release", "sparcl_id"])
        names = [object_id(*row) for row in table.iterrows("specid", "data_release")]
        table.replace_column("specid", np.array(names, str))
        table.rename_column("specid", "object_id")
        for name, unit in (("ra", u.deg), ("dec", u.deg), ("separation", u.arcsec)):
            table[name].unit = unit
        return table

    def get_spectra(self, matches):
        """Retrieve spectra.

        Parameters
        ----------
        matches : astropy.table.Table or sequence of str
            What `query_region` found, or any table with a column ``sparcl_id``, or such
            identifiers.

        Returns
        -------
        list of specutils.Spectrum
            In the order given. Flux with `~astropy.nddata.InverseVariance`, vacuum Å; pixels are
            masked where ivar is 0, flux is not finite, or the survey's mask says so: any bit for
            DESI, those of `astroclip_astro.surveys.sdss.BAD_PIXEL` for SDSS and BOSS. ``meta``
            holds ``object_id`` (TARGETID, or plate-mjd-fiber), ``sparcl_id``, ``ra``, ``dec``,
            ``redshift`` (NaN where unknown), ``quality`` (NOT_A_GALAXY for spectype STAR or QSO,
            SURVEY_WARNING, NON_FINITE), ``medium``, ``data_release``, ``citation``.

        Raises
        ------
        InputError
            If an identifier is none, if SPARCL has no such spectrum, or if it gives no usable
            answer in the end.
        """
        if isinstance(matches, Table):
            if "sparcl_id" not in matches.colnames:
                raise InputError(
                    f"a table with columns {', '.join(matches.colnames)}: expected sparcl_id, as "
                    "query_region gives it"
                )
            matches = matches["sparcl_id"]
        ids = [_uuid(name) for name in ([matches] if isinstance(matches, str) else matches)]
        if not ids:
            return []
        fields = self._names()
        found = {}
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            found |= self._ask(
                "POST",
                "spectras",
                lambda answer: _spectra(answer, fields),
                params={"include": ",".join(self._on_the_wire(FIELDS)), "format": "json"},
                json=chunk,
            )
        missing = [name for name in wanted if name not in found]
        if missing:
            raise InputError(
                f"SPARCL has no spectrum {', '.join(missing[:3])}"
                + (f" and {len(missing) - 3} others" if len(missing) > 3 else "")
                + ": expected identifiers that query_region finds",
                object_id=missing[0] if len(missing) == 1 else "",
            )
        return [found[name] for name in ids]

    def _ask(self, method, endpoint, make, **kwargs):
        def validate(response):
            try:
                answer = response.json()
            except ValueError:
                kind = response.headers.get("Content-Type", "no stated type")
                raise ValueError(f"{len(response.content)} bytes of {kind}, no JSON") from None
            try:
                return make(answer)
            except (KeyError, TypeError, AttributeError, OverflowError) as error:
                raise ValueError(f"not what it should hold ({error!r})") from error

        return fetch(
            self._session,
            method,
            f"{conf.server.rstrip('/')}/sparc/{endpoint}/",
            validate=validate,
            pace=self._pace,
            retries=conf.retries,
            backoff=conf.backoff,
            timeout=conf.timeout,
            **kwargs,
        )

    def _names(self):
        """What each data release means by the names of fields that go over the wire."""
        with self._lock:
            if conf.server not in self._fields:
                self._fields[conf.server] = self._ask("GET", "datafields", _field_names)
            return self._fields[conf.server]

    def _on_the_wire(self, fields):
        """Names over the wire of fields, those of all data releases together."""
        known = {
            (meaning, wire)
            for release in self._names().values()
            for wire, meaning in release.items()
        }
        lost = set(fields) - {meaning for meaning, _ in known}
        if lost:
            raise InputError(
                f"SPARCL has no field {', '.join(sorted(lost))} any more: its interface has "
                "changed, and this client must follow"
            )
        return sorted({wire for meaning, wire in known if meaning in fields})


def boxes(ra, dec, radius):
    """Ranges of ra and dec, without wrap, that hold a cone.

    Parameters
    ----------
    ra, dec : float
        Its centre, deg.
    radius : float
        Its radius, deg.

    Returns
    -------
    list of tuple
        ``((first, last), (south, north))``, deg: one, or two where it crosses ra 0.
    """
    radius *= 1 + 1e-9  # rounding must not cut off the edge
    south, north = max(dec - radius, -90.0), min(dec + radius, 90.0)
    if south == -90 or north == 90:
        return [((0.0, 360.0), (south, north))]
    half = np.degrees(np.arcsin(np.sin(np.radians(radius)) / np.cos(np.radians(dec))))
    first, last = float(ra - half), float(ra + half)
    if first < 0:
        ranges = [(first + 360, 360.0), (0.0, last)]
    elif last > 360:
        ranges = [(first, 360.0), (0.0, last - 360)]
    else:
        ranges = [(first, last)]
    return [(each, (south, north)) for each in ranges]


def _uuid(name):
    try:
        return str(UUID(str(name)))
    except ValueError:
        raise InputError(
            f"sparcl_id {str(name)!r}: expected an identifier such as "
            "000003e8-8a05-11ef-a71d-525400f334e1"
        ) from None


def _field_names(answer):
    names = {}
    for field in answer:
        names.setdefault(field["data_release"], {})[field["origdp"]] = field["newdp"]
    if not names:
        raise ValueError("a list of no fields")
    return names


def _records(answer, fields):
    """Header and records of an answer, fields by the names that users know."""
    if not isinstance(answer, list) or not answer:
        raise ValueError(f"{type(answer).__name__}, expected a list of a header and records")
    header, *records = answer
    renamed = []
    for record in records:
        meanings = fields[record["_dr"]]
        known = {meanings[name]: value for name, value in record.items() if name in meanings}
        renamed.append({**known, "data_release": record["_dr"]})
    return header, renamed


def _row(record):
    values = {**record, "redshift": np.nan} if record["redshift"] is None else record
    lost = [name for name in _COLUMNS if values[name] is None]
    if lost:
        raise ValueError(f"a record without {', '.join(lost)}")
    row = {name: kind(values[name]) for name, kind in _COLUMNS.items()}
    if not (0 <= row["ra"] <= 360 and -90 <= row["dec"] <= 90):
        raise ValueError(f"a position of {row['ra']}, {row['dec']} deg")
    row["sparcl_id"] = str(UUID(row["sparcl_id"]))
    return row


def _spectra(answer, fields):
    header, records = _records(answer, fields)
    units = header.get("UNITS") or {}
    return {
        str(UUID(record["sparcl_id"])): spectrum(record, units.get(record["data_release"]) or {})
        for record in records
    }


#: The client that everybody uses.
SPARCL = SPARCLClass()
