"""XP_SAMPLED products of the Gaia archive."""

import logging
import re
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import is_votable, parse
from astropy.nddata import StdDevUncertainty
from astropy.table import Table
from specutils import Spectrum

from astroclip_astro.errors import InputError
from astroclip_astro.surveys import Survey

__all__ = ["SampledXP"]

log = logging.getLogger(__name__)

#: Of the archive's products: De Angeli et al. 2023, A&A 674, A2.
_GRID = np.arange(336.0, 1021.0, 2.0) * u.nm
_FLUX_UNIT = u.W / u.m**2 / u.nm
_WANTED = {"flux", "flux_error"}
_TEXT = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
_VOTABLE = (".xml", ".vot")
_EXPECTED = (
    "expected wavelength, flux and flux_error, one number per row, of one source or with "
    "source_id; or source_id and arrays flux and flux_error"
)


class SampledXP(Survey):
    """Sampled mean spectra, as the archive's DataLink service gives them (FITS, VOTable, CSV).

    Three layouts are read. INDIVIDUAL: one file per source with the columns ``wavelength`` (nm),
    ``flux`` and ``flux_error`` (W m-2 nm-1); the source is named by a column ``source_id``, by a
    FITS keyword or a parameter of the VOTable of that name, or else by the file, ``XP_SAMPLED-Gaia
    DR3 <source_id>``. COMBINED: the same columns and ``source_id``, with the rows of many sources
    below each other; sources come in the order in which they first appear. RAW: one row per source
    with ``source_id`` and arrays ``flux`` and ``flux_error`` of 343 numbers, on the grid of the
    archive from 336 to 1020 nm. The first table that has the columns is read. Text and VOTables are
    recognised by names that begin with XP_SAMPLED and end in .csv, .ecsv, .xml or .vot, also with
    .gz behind it.

    Fluxes without a unit, as in CSV, are in that of the archive; errors are converted to the unit
    of the fluxes, and are in that if they have none. Pixels without a positive error have no
    weight, and rows without a wavelength are left out. A source without numbers, or one
    that cannot be read among others, becomes a spectrum with all pixels masked, and a warning is
    logged. A file where some cannot be read and all others are empty is refused. Spectra that were
    sampled otherwise, by GaiaXPy for one, can be passed as `specutils.Spectrum` with
    ``survey="gaia-xp"``.
    """

    modality = "gaia_xp"

    def identify(self, path, hdulist):
        if hdulist is not None:
            return _sampled_hdu(hdulist) is not None
        suffix = _suffix(path)
        if not path.name.upper().startswith("XP_SAMPLED"):
            return False
        return suffix in _TEXT or (suffix in _VOTABLE and is_votable(path))

    def read(self, path):
        path = Path(path)
        table = _table(path)
        if len(table) == 0:
            raise InputError(
                "the table has no rows: expected one source at least", object_id=path.name
            )
        unit = table["flux"].unit or _FLUX_UNIT
        try:
            scale = (table["flux_error"].unit or unit).to(unit)
        except (u.UnitsError, ValueError) as error:
            raise InputError(
                f"flux_error is in {table['flux_error'].unit}, flux in {unit}: expected units that "
                "convert into each other",
                object_id=path.name,
            ) from error
        if "wavelength" in table.colnames and _is_numeric(table):
            sources = _long(table, path)
        elif "source_id" in table.colnames:
            sources = _wide(table, path)
        else:
            raise InputError(
                f"no arrays can be read without source_id: {_EXPECTED}", object_id=path.name
            )
        for name, wavelength, flux, error in sources:
            yield _spectrum(name, wavelength, flux * unit, error * scale)


def _suffix(path):
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _is_sampled(names):
    names = {name.lower() for name in names}
    return names >= _WANTED and bool({"wavelength", "source_id"} & names)


def _sampled_hdu(hdulist):
    """Number of the first HDU with the columns wanted, or None."""
    for number, hdu in enumerate(hdulist):
        if isinstance(hdu, fits.BinTableHDU) and _is_sampled(hdu.columns.names):
            return number
    return None


def _table(path):
    """The first table of a file that has the columns wanted, names in lower case."""
    suffix = _suffix(path)
    table, names = None, ()
    if suffix in _VOTABLE:
        for one in parse(path).iter_tables():
            names = [field.name for field in one.fields]
            if _is_sampled(names):
                table = one.to_table(use_names_over_ids=True)
                table.meta |= {param.name: param.value for param in one.params}
                break
    elif suffix in _TEXT:
        options = {"fill_values": [("", "0"), ("null", "0")]} if suffix == ".csv" else {}
        table = Table.read(path, format=_TEXT[suffix], **options)
        names = table.colnames
    else:
        with fits.open(path) as hdulist:
            number = _sampled_hdu(hdulist)
            tables = [hdu for hdu in hdulist if isinstance(hdu, fits.BinTableHDU)]
            names = [name for hdu in tables for name in hdu.columns.names]
        if number is not None:
            table = Table.read(path, format="fits", hdu=number)
    if table is None or not _is_sampled(names):
        raise InputError(f"columns {', '.join(names) or 'none'}: {_EXPECTED}", object_id=path.name)
    table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    return table


def _is_numeric(table):
    columns = [table[name] for name in ("wavelength", *_WANTED)]
    return all(column.ndim == 1 and column.dtype.kind in "iuf" for column in columns)


def _numbers(values):
    return np.ma.filled(np.ma.asarray(values, float), np.nan)


def _long(table, path):
    """Name, wavelengths, fluxes and errors of each source, from one row per pixel."""
    unit = table["wavelength"].unit or u.nm
    wavelength, flux, error = (_numbers(table[n]) for n in ("wavelength", "flux", "flux_error"))
    rows, unnamed = {}, _name(table.meta, path)
    if "source_id" in table.colnames:
        for row, name in enumerate(table["source_id"].tolist()):  # None where masked
            rows.setdefault(unnamed if name is None else str(name), []).append(row)
    else:
        rows[unnamed] = range(len(table))
    for name, mine in rows.items():
        mine = np.array(mine)
        mine = mine[np.isfinite(wavelength[mine])]
        mine = mine[np.argsort(wavelength[mine], kind="stable")]
        if len(mine) < 2 or (np.diff(wavelength[mine]) == 0).any():
            reason = "expected two rows or more, each with a wavelength of its own"
            if len(rows) == 1:
                raise InputError(reason, object_id=name)
            yield _lost(name, reason)
        else:
            yield name, wavelength[mine] * unit, flux[mine], error[mine]


def _name(meta, path):
    named = [str(meta[name]) for name in ("source_id", "SOURCE_ID") if name in meta]
    found = re.search(r"(\d{6,})", path.name)
    return (named or [found[1] if found else path.name.split(".")[0]])[0]


def _wide(table, path):
    """Name, wavelengths, fluxes and errors of each source, from one row per source."""
    sources, broken, readable = [], [], False
    for i, row in enumerate(table):
        unnamed = np.ma.is_masked(row["source_id"])
        name = f"{path.name}[{i}]" if unnamed else str(row["source_id"])
        try:
            flux, error = (_array(row[column]) for column in ("flux", "flux_error"))
            if not np.isfinite(flux).any() or not np.isfinite(error).any():
                sources.append((name, "its fluxes or their errors are empty"))
            elif len(flux) != len(_GRID) or len(error) != len(_GRID):
                raise ValueError(
                    f"{len(flux)} fluxes and {len(error)} errors: expected {len(_GRID)}, on the "
                    "archive's grid; pass other samplings as Spectrum with survey='gaia-xp'"
                )
            else:
                readable = True
                sources.append((name, (flux, error)))
        except (TypeError, ValueError) as problem:
            broken.append((name, str(problem)))
            sources.append(broken[-1])
    if broken and not readable:
        raise InputError(broken[0][1], object_id=broken[0][0])
    for name, found in sources:
        yield _lost(name, found) if isinstance(found, str) else (name, _GRID, *found)


def _lost(name, reason):
    """A source that keeps its place without any numbers."""
    log.warning("%s: no spectrum: %s", name, reason)
    nothing = np.full(len(_GRID), np.nan)
    return name, _GRID, nothing, nothing


def _array(cell):
    """Numbers of a cell; CSV has them as text, ``(1.0, 2.0)`` or ``[1.0, 2.0]``."""
    if cell is None or cell is np.ma.masked:
        return np.array([])
    if not isinstance(cell, str):
        return np.atleast_1d(_numbers(cell))
    text = cell.strip("()[] ")
    if text.lower() in ("", "null"):
        return np.array([])
    try:
        return np.array([float(word) for word in text.replace("null", "nan").split(",")])
    except ValueError:
        raise ValueError(f"{cell[:40]!r}: expected numbers, separated by commas") from None


def _spectrum(source_id, wavelength, flux, error):
    bad = ~(np.isfinite(flux.value) & np.isfinite(error) & (error > 0))
    return Spectrum(
        spectral_axis=wavelength,
        flux=np.where(bad, 0, flux.value) * flux.unit,
        uncertainty=StdDevUncertainty(np.where(bad, 1, error)),
        mask=bad,
        meta={"object_id": source_id},
    )
