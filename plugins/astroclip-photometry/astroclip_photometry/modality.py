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
    Legacy Surveys' Tractor catalogues have them. Magnitudes are AB magnitudes and say so
    (``u.ABmag``), errors are in mag; fluxes are in nanomaggies, maggies or a flux density per
    frequency. Total fluxes, not corrected for the extinction by the Milky Way, as images are not.
    Further columns that are used: ``object_id``, ``ra``, ``dec`` (deg), ``redshift``.

    A row without a positive, finite error in each band has no vector.
    """

    preprocessing = PhotometryPreprocessing

    def accepts(self, obj):
        if not isinstance(obj, (Table, Row)):
            return False
        names = set(obj.colnames)
        return any({f"mag_{b}", f"flux_{b}"} & names for b in PhotometryPreprocessing().bands)

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
            snr = np.median(flux[:, 0] / flux[:, 1], axis=1)
        return Batch(
            flux=torch.from_numpy(flux).to(device),
            coverage=np.where(failed, 0.0, 1.0),
            snr=snr.astype(float),
            quality=quality,
            **Batch.columns(records),
        )

    def model_input(self, flux, preprocessing):
        b = preprocessing.softening
        measured, sigma = flux.unbind(1)
        return torch.cat([torch.asinh(measured / (2 * b)), torch.log(sigma.clamp(min=1e-6))], 1)


def _measured(table, band):
    """Fluxes and errors of a band in nanomaggies, NaN where there are none."""
    mag, flux = f"mag_{band}", f"flux_{band}"
    if mag in table.colnames:
        values = _quantity(table, mag)
        if values.unit != u.ABmag:
            raise InputError(
                f"column {mag} is in {str(values.unit) or 'no unit'}: expected AB magnitudes, "
                "u.ABmag"
            )
        measured = 10 ** (-0.4 * (values.value - 22.5))  # AB 22.5 is one nanomaggy
        # d f = ln 10 / 2.5 f d m
        return measured, np.log(10) / 2.5 * measured * _plain(table, f"mag_err_{band}", u.mag)
    if flux in table.colnames:
        values, ivar = _quantity(table, flux), _quantity(table, f"flux_ivar_{band}")
        try:
            factors = [nanomaggies_per_unit(unit) for unit in (values.unit, ivar.unit**-0.5)]
        except InputError as error:
            raise InputError(f"columns {flux} and flux_ivar_{band}: {error}") from error
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma = ivar.value**-0.5
        return values.value * factors[0], np.where(ivar.value > 0, sigma * factors[1], np.nan)
    raise InputError(
        f"band {band} is missing: expected columns {mag} and mag_err_{band}, or {flux} and "
        f"flux_ivar_{band}; the table has {', '.join(table.colnames)}"
    )


def _quantity(table, name):
    """A column with its unit; what is masked is NaN."""
    if name not in table.colnames:
        raise InputError(f"column {name} is missing: magnitudes and fluxes need their errors")
    column = table[name]
    values = np.asarray(getattr(column, "unmasked", getattr(column, "value", column)), float)
    values = np.where(np.asarray(getattr(column, "mask", False)), np.nan, values)
    if column.unit == u.ABmag:
        return u.Magnitude(values, column.unit)
    return u.Quantity(values, column.unit or u.dimensionless_unscaled)


def _plain(table, name, unit):
    """Values of a column in a unit, which they are taken to be in if they have none."""
    values = _quantity(table, name)
    if values.unit == u.dimensionless_unscaled:
        return values.value
    try:
        return values.to_value(unit)
    except u.UnitConversionError as error:
        raise InputError(f"column {name} is in {values.unit}: expected {unit}") from error


def _name(table, i, object_id):
    if "object_id" in table.colnames:
        return str(table["object_id"][i])
    return object_id if len(table) == 1 else f"{object_id}[{i}]"
