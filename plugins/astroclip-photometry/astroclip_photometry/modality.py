"""Magnitudes and fluxes of catalogues as tensors."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from astropy import units as u
from astropy.table import Row, Table

from astroclip_astro.adapters.modality import Modality
from astroclip_astro.adapters.photometric import nanomaggies_per_unit
from astroclip_astro.adapters.records import Batch, FailedRecord, Record
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality

__all__ = ["Photometry", "PhotometryPreprocessing", "PhotometryRecord"]

#: Photometry with a smaller signal-to-noise ratio in all bands is flagged.
_LOW_SNR = 3.0

#: Magnitudes and their errors from here on, and up to 0, are marks of what was not measured.
_NO_MAGNITUDE = 50.0

# Tensors are float32, which ends at 3e38: sums and ratios of fluxes need room.
_LARGEST, _SMALLEST_ERROR = 1e37, float(np.finfo(np.float32).tiny)

#: Columns of tables that list objects; their magnitudes are further knowledge of these.
_OBJECTS = {"spectrum", "image", "cutout", "path", "filename", "file"}


@dataclass(frozen=True, kw_only=True)
class PhotometryPreprocessing:
    """The bands, and the scale on which magnitudes become linear in the flux.

    Parameters
    ----------
    bands : tuple of str
        From blue to red.
    softening : float
        *b* of the asinh magnitudes of Lupton, Gunn & Szalay (1999, AJ 118, 1406), nanomaggies:
        fluxes well below it are noise.
    """

    bands: tuple[str, ...] = ("g", "r", "z")
    softening: float = 0.3

    def __post_init__(self):
        object.__setattr__(self, "bands", tuple(self.bands))  # JSON has lists only


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotometryRecord(Record):
    """Fluxes of one object and their errors, nanomaggies (AB 22.5), shape (band,)."""

    modality: ClassVar[str] = "photometry"

    flux: np.ndarray
    sigma: np.ndarray


class Photometry(Modality):
    """Tables, or rows of them, with magnitudes or fluxes of each band and their errors.

    For a band ``g``, either ``mag_g`` and ``mag_err_g``, or ``flux_g`` and ``flux_ivar_g`` as the
    Legacy Surveys' Tractor catalogues have them; magnitudes are taken where a table has both.
    Magnitudes are AB magnitudes and say so (``u.ABmag``), their errors are in mag, with or without
    that unit; fluxes are in nanomaggies, maggies or a flux density per frequency. Total fluxes, not
    corrected for the extinction by the Milky Way, as images are not. Further columns that are
    used: ``object_id``, ``ra``, ``dec`` (deg), ``redshift``. A row whose ``object_id`` is masked is
    named as those of tables without that column are.

    A row without a positive, finite error in each band has no vector. What is masked or NaN counts
    as missing, and so do magnitudes, or errors of them, that are not above 0 and below 50 mag
    (catalogues write 0, 99 or -99 for what they have not measured), fluxes beyond ±1e37
    nanomaggies, and errors of fluxes above 1e37 or below 1.2e-38 nanomaggies, where float32 ends.

    Tables of objects (a column ``spectrum``, ``image``, ``cutout``, ``path``, ``filename`` or
    ``file``) are not photometry, and tables with ``ra`` and ``dec`` are only if they have all bands
    with errors: others are lists of places.
    """

    preprocessing = PhotometryPreprocessing

    def accepts(self, obj):
        if not isinstance(obj, (Table, Row)):
            return False
        names, bands = set(obj.colnames), PhotometryPreprocessing().bands
        if _OBJECTS & names:
            return False
        if all(any(names.issuperset(pair) for pair in _pairs(band)) for band in bands):
            return True
        # What is incomplete is refused by the name of what is missing, unless it may be meant
        # as something else.
        some = any(value in names for band in bands for value, _ in _pairs(band))
        return some and not {"ra", "dec"} <= names

    def is_single(self, obj):
        return isinstance(obj, Row)

    def records(self, obj, *, preprocessing, survey=None, survey_name="", object_id=""):
        table = obj.table[obj.index : obj.index + 1] if isinstance(obj, Row) else obj
        flux, sigma = (
            np.stack(values, axis=1)
            for values in zip(*(_measured(table, b) for b in preprocessing.bands), strict=True)
        )
        about = {
            name: _plain(table, name, unit)
            for name, unit in (("ra", u.deg), ("dec", u.deg), ("redshift", u.one))
            if name in table.colnames
        }
        for i in range(len(table)):
            known = {name: float(values[i]) for name, values in about.items()}
            known |= {"object_id": _name(table, i, object_id), "survey": survey_name}
            good = np.isfinite(flux[i]) & np.isfinite(sigma[i]) & (sigma[i] > 0)
            if not good.all():
                lost = ", ".join(np.array(preprocessing.bands)[~good])
                yield FailedRecord(
                    reason=f"no flux with a positive, finite error in {lost}",
                    quality=Quality.MISSING_BAND,
                    **known,
                )
            else:
                low = (flux[i] < _LOW_SNR * sigma[i]).all()
                yield PhotometryRecord(
                    flux=flux[i],
                    sigma=sigma[i],
                    quality=Quality.LOW_SNR if low else Quality.GOOD,
                    **known,
                )

    def batch(self, records, preprocessing, device="cpu"):
        flux = np.zeros((len(records), 2, len(preprocessing.bands)), np.float32)
        quality = np.array([int(record.quality) for record in records], np.int64)
        failed = np.array([isinstance(record, FailedRecord) for record in records])
        quality[failed] |= int(Quality.NOT_EMBEDDED)
        for i in np.flatnonzero(~failed):
            flux[i] = records[i].flux, records[i].sigma
        with np.errstate(invalid="ignore"):
            snr = np.median(np.divide(flux[:, 0], flux[:, 1], dtype=float), axis=1)
        return Batch(
            flux=torch.from_numpy(flux).to(device),
            coverage=np.where(failed, 0.0, 1.0),
            snr=snr,
            quality=quality,
            **Batch.columns(records),
        )

    def level(self, flux):
        """Mean of the fluxes over the bands, shape (B,), without their errors."""
        return flux[:, 0].mean(1)

    def model_input(self, flux, preprocessing):
        b = preprocessing.softening
        measured, sigma = flux.unbind(1)
        return torch.cat([torch.asinh(measured / (2 * b)), torch.log(sigma.clamp(min=1e-6))], 1)


def _pairs(band):
    """Names of the columns of a band that go together."""
    return (f"mag_{band}", f"mag_err_{band}"), (f"flux_{band}", f"flux_ivar_{band}")


def _measured(table, band):
    """Fluxes and errors of a band in nanomaggies, NaN where there are none."""
    magnitudes, fluxes = _pairs(band)
    if set(magnitudes) <= set(table.colnames):
        flux, sigma = _from_magnitudes(table, *magnitudes)
    elif set(fluxes) <= set(table.colnames):
        flux, sigma = _from_fluxes(table, *fluxes)
    else:
        errors = [error for value, error in (magnitudes, fluxes) if value in table.colnames]
        if errors:
            raise InputError(
                f"column {' or '.join(errors)} is missing: magnitudes and fluxes need their errors"
            )
        raise InputError(
            f"band {band} is missing: expected columns {' and '.join(magnitudes)}, or "
            f"{' and '.join(fluxes)}; the table has {', '.join(table.colnames)}"
        )
    return (
        np.where(abs(flux) <= _LARGEST, flux, np.nan),
        np.where((sigma >= _SMALLEST_ERROR) & (sigma <= _LARGEST), sigma, np.nan),
    )


def _from_magnitudes(table, mag, mag_err):
    values, unit = _values(table, mag)
    if unit != u.ABmag:
        raise InputError(
            f"column {mag} is in {str(unit) or 'no unit'}: expected AB magnitudes, u.ABmag"
        )
    errors, unit = _values(table, mag_err)
    # Other logarithmic units convert to mag, and change the sign.
    if unit not in (u.mag, u.dimensionless_unscaled):
        raise InputError(f"column {mag_err} is in {unit}: expected mag")
    values, errors = (
        np.where((each > 0) & (each < _NO_MAGNITUDE), each, np.nan) for each in (values, errors)
    )
    flux = 10 ** (-0.4 * (values - 22.5))  # AB 22.5 is one nanomaggy
    return flux, np.log(10) / 2.5 * flux * errors  # d f = ln 10 / 2.5 f d m


def _from_fluxes(table, flux, flux_ivar):
    values, unit = _values(table, flux)
    ivar, ivar_unit = _values(table, flux_ivar)
    try:
        factors = [nanomaggies_per_unit(each) for each in (unit, ivar_unit**-0.5)]
    except (u.UnitsError, ValueError) as error:  # units without powers raise them as well
        raise InputError(f"columns {flux} and {flux_ivar}: {error}") from error
    with np.errstate(all="ignore"):  # what overflows is infinite, and out of range
        return values * factors[0], np.where(ivar > 0, ivar**-0.5 * factors[1], np.nan)


def _values(table, name):
    """Numbers of a column, float64, NaN where masked, and its unit."""
    column = table[name]
    values = np.asarray(getattr(column, "unmasked", getattr(column, "value", column)))
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        what = "text" if values.dtype.kind in "SU" else values.dtype.name
        shape = f" of shape {values.shape[1:]} per row" if values.ndim > 1 else ""
        raise InputError(f"column {name} holds {what}{shape}: expected one number per row")
    masked = np.asarray(getattr(column, "mask", False))
    unit = getattr(column, "unit", None) or u.dimensionless_unscaled
    return np.where(masked, np.nan, values.astype(float)), unit


def _plain(table, name, unit):
    """Values of a column in a unit, which they are taken to be in if they have none."""
    values, given = _values(table, name)
    if given == u.dimensionless_unscaled:
        return values
    try:
        return given.to(unit, values)
    except (u.UnitsError, ValueError) as error:  # the latter of units that are not known
        raise InputError(f"column {name} is in {given}: expected {unit}") from error


def _name(table, i, object_id):
    if "object_id" in table.colnames and not np.ma.is_masked(table["object_id"][i]):
        return str(table["object_id"][i])
    return object_id if len(table) == 1 else f"{object_id}[{i}]"
