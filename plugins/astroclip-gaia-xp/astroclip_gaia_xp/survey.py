"""XP_SAMPLED products of the Gaia archive."""

import re
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import is_votable
from astropy.nddata import StdDevUncertainty
from astropy.table import Table
from specutils import Spectrum

from astroclip_astro.errors import InputError
from astroclip_astro.surveys import Survey

__all__ = ["SampledXP"]

#: Of the archive's products: De Angeli et al. 2023, A&A 674, A2.
_GRID = np.arange(336.0, 1021.0, 2.0) * u.nm
_FLUX_UNIT = u.W / u.m**2 / u.nm
_WANTED = {"flux", "flux_error"}
_TEXT = (".csv", ".ecsv")


class SampledXP(Survey):
    """Sampled mean spectra, as the archive's DataLink service gives them (FITS, VOTable, CSV).

    Two layouts are read. INDIVIDUAL: one file per source with the columns ``wavelength`` (nm),
    ``flux`` and ``flux_error`` (W m-2 nm-1); the source is named by a column or parameter
    ``source_id``, or else by the file, ``XP_SAMPLED-Gaia DR3 <source_id>``. RAW: one row per
    source with ``source_id`` and arrays ``flux`` and ``flux_error`` of 343 numbers, on the grid of
    the archive from 336 to 1020 nm.

    Fluxes without a unit, as in CSV, are in that of the archive. Pixels without a positive error
    have no weight. Spectra that were sampled otherwise, by GaiaXPy for one, can be passed as
    `specutils.Spectrum` with ``survey="gaia-xp"``.
    """

    modality = "gaia_xp"

    def identify(self, path, hdulist):
        if hdulist is not None:
            return any(
                _is_sampled([name.lower() for name in hdu.columns.names])
                for hdu in hdulist
                if isinstance(hdu, fits.BinTableHDU)
            )
        if not path.name.upper().startswith("XP_SAMPLED"):
            return False
        return path.suffix.lower() in _TEXT or (
            path.suffix.lower() in (".xml", ".vot") and is_votable(path)
        )

    def read(self, path):
        path = Path(path)
        formats = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".xml": "votable", ".vot": "votable"}
        table = Table.read(path, format=formats.get(path.suffix.lower(), "fits"))
        table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
        if not _is_sampled(table.colnames):
            raise InputError(
                f"columns {', '.join(table.colnames)}: expected wavelength, flux and flux_error of "
                "one source, or source_id and arrays flux and flux_error",
                object_id=path.name,
            )
        if "wavelength" in table.colnames and table["flux"].ndim == 1:
            wavelength = table["wavelength"].quantity if table["wavelength"].unit else None
            if wavelength is None:
                wavelength = np.asarray(table["wavelength"], float) * u.nm
            yield _spectrum(_source_id(table, path), wavelength, table["flux"], table["flux_error"])
            return
        for row in table:
            flux, error = (_array(row[name], path) for name in ("flux", "flux_error"))
            if len(flux) != len(_GRID) or len(error) != len(_GRID):
                raise InputError(
                    f"{len(flux)} fluxes and {len(error)} errors: expected {len(_GRID)}, on the "
                    "archive's grid; pass other samplings as Spectrum with survey='gaia-xp'",
                    object_id=str(row["source_id"]),
                )
            unit = table["flux"].unit
            yield _spectrum(str(row["source_id"]), _GRID, flux, error, unit)


def _is_sampled(names):
    return set(names) >= _WANTED and bool({"wavelength", "source_id"} & set(names))


def _source_id(table, path):
    if "source_id" in table.colnames:
        return str(table["source_id"][0])
    for name in ("source_id", "SOURCE_ID"):
        if name in table.meta:
            return str(table.meta[name])
    found = re.search(r"(\d{6,})", path.stem)
    return found[1] if found else path.stem


def _array(cell, path):
    """Numbers of a cell; CSV has them as text, ``(1.0, 2.0)`` or ``[1.0, 2.0]``."""
    if isinstance(cell, str):
        try:
            return np.array([float(word) for word in cell.strip("()[] ").split(",")])
        except ValueError:
            raise InputError(
                f"{cell[:40]!r}: expected numbers, separated by commas", object_id=path.name
            ) from None
    return np.ma.filled(np.ma.asarray(cell, float), np.nan)


def _spectrum(source_id, wavelength, flux, error, unit=None):
    unit = unit or getattr(flux, "unit", None) or _FLUX_UNIT
    flux, error = (np.ma.filled(np.ma.asarray(one, float), np.nan) for one in (flux, error))
    bad = ~(np.isfinite(flux) & np.isfinite(error) & (error > 0))
    return Spectrum(
        spectral_axis=wavelength,
        flux=np.where(bad, 0, flux) * u.Unit(unit),
        uncertainty=StdDevUncertainty(np.where(bad, 1, error)),
        mask=bad,
        meta={"object_id": source_id},
    )
