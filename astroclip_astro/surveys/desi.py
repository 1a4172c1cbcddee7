"""DESI spectra: coadd and spectra files, and tables of concatenated arms."""

import re
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance
from specutils import Spectrum

from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.base import Survey, opened

__all__ = ["DESI"]

_FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"


class DESI(Survey):
    """The Dark Energy Spectroscopic Instrument: one merged spectrum per target.

    Reads three kinds of file (data model: https://desidatamodel.readthedocs.io).

    - ``coadd-*.fits``: one row per target in FIBERMAP and in {B,R,Z}_WAVELENGTH, _FLUX, _IVAR and
      _MASK.
    - ``spectra-*.fits``: the same with one row per exposure. Exposures of one TARGETID are
      averaged, and the target takes the place of its first one.
    - A table with a column WAVELENGTH or WAVE and one column ``TARGET<id>`` of flux per target,
      the arms concatenated, overlaps kept twice, without uncertainty.

    Arms and exposures share one lattice of wavelengths (0.8 Å, 3600 to 9824 Å: 7781 pixels when
    merged). Where several values fall on one of its pixels they are averaged, weighted by ivar, or
    equally if the file has none. Pixels with a nonzero MASK have no weight; in exposures that the
    pipeline considers unusable all pixels have ivar 0. A row without any data is yielded with every
    pixel masked.

    Redshifts come from a REDSHIFTS or ZBEST table in the file itself or in a sibling file named
    alike: ``redrock-*.fits`` or ``zbest-*.fits``.

    ``meta`` holds ``object_id`` (TARGETID), ``ra``, ``dec``, ``redshift`` (NaN where unknown) and
    ``quality``: NOT_A_GALAXY if OBJTYPE is not TGT or SPECTYPE is STAR or QSO; SURVEY_WARNING if
    FIBERSTATUS or ZWARN is not 0; NON_FINITE if a pixel with weight has no finite flux.

    Stacked spectra (HDU STACKINFO) are in the rest frame and are refused.

    Notes
    -----
    Files are read with `astropy.io.fits`, row by row. specutils' "DESI coadd" and "DESI spectra"
    loaders give three separate arms without redshifts, and load whole files with their resolution
    matrices, eleven times the size of the flux.

    Examples
    --------
    >>> from astroclip_astro.surveys.desi import DESI
    >>> for spectrum in DESI().read("coadd-main-dark-27247.fits"):  # doctest: +SKIP
    ...     print(spectrum.meta["object_id"], spectrum.meta["redshift"])
    """

    modality = "spectrum"
    medium = "vacuum"

    def identify(self, path, hdulist):
        """Whether a file has one of the layouts that `read` knows, or is a stack.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        hdulist : astropy.io.fits.HDUList or None
            The open file if it is FITS; only headers are read.

        Returns
        -------
        bool
        """
        return hdulist is not None and bool(
            _is_stack(hdulist) or _is_table(hdulist) or _arms(hdulist)
        )

    def read(self, path, hdulist=None):
        """Read the targets of a file.

        Parameters
        ----------
        path : path-like
            The file. It stays open until the last target is read.
        hdulist : astropy.io.fits.HDUList, optional
            The same if it is open already.

        Yields
        ------
        specutils.Spectrum
            One per target, in the order of the file.

        Raises
        ------
        InputError
            If the file is a stack or has none of the known layouts, or if its arms do not share
            one lattice of wavelengths.
        """
        path = Path(path)
        with opened(path, hdulist) as hdulist:
            if _is_stack(hdulist):
                raise InputError(
                    "this stack of many galaxies is in the rest frame: expected observed-frame "
                    "spectra of single targets; to embed it at a redshift of your choice, make a "
                    "Spectrum of it with meta={'frame': 'rest', 'redshift': z}",
                    object_id=path.name,
                )
            redshifts = _redshifts(path, hdulist)
            if _is_table(hdulist):
                yield from _read_table(hdulist[1], redshifts, path)
            elif _arms(hdulist):
                yield from _read_arms(hdulist, redshifts, path)
            else:
                raise InputError(
                    "expected a DESI coadd or spectra file (HDUs FIBERMAP and B_, R_, "
                    "Z_WAVELENGTH, _FLUX, _IVAR) or a table with columns WAVELENGTH and "
                    "TARGET<id>",
                    object_id=path.name,
                )


def _is_stack(hdulist):
    return "STACKINFO" in hdulist


def _is_table(hdulist):
    if len(hdulist) < 2 or not isinstance(hdulist[1], fits.BinTableHDU):
        return False
    first, *others = hdulist[1].columns.names
    return (
        first in ("WAVELENGTH", "WAVE")
        and len(others) > 0
        and all(re.fullmatch(r"TARGET-?\d+", name) for name in others)
    )


def _arms(hdulist):
    """Names of the spectrograph arms, e.g. ["B", "R", "Z"]; none if this is not a DESI file."""
    names = {hdu.name for hdu in hdulist}
    arms = [name.removesuffix("_WAVELENGTH") for name in names if name.endswith("_WAVELENGTH")]
    complete = all({f"{arm}_FLUX", f"{arm}_IVAR"} <= names for arm in arms)
    return sorted(arms) if "FIBERMAP" in names and complete else []


def _read_arms(hdulist, redshifts, path):
    arms = _arms(hdulist)
    fibermap = hdulist["FIBERMAP"].data
    flux, ivar = ([hdulist[f"{arm}_{kind}"].data for arm in arms] for kind in ("FLUX", "IVAR"))
    mask = [
        hdulist[f"{arm}_MASK"].data if f"{arm}_MASK" in hdulist else np.zeros((len(f), 1), int)
        for arm, f in zip(arms, flux, strict=True)
    ]
    unit = u.Unit(hdulist[f"{arms[0]}_FLUX"].header.get("BUNIT", _FLUX_UNIT))
    lattice = _Lattice([hdulist[f"{arm}_WAVELENGTH"].data for arm in arms], path)
    rows = {}
    for row, targetid in enumerate(fibermap["TARGETID"].tolist()):
        rows.setdefault(targetid, []).append(row)
    for targetid, exposures in rows.items():
        weight = np.hstack(
            [i[exposures] * (m[exposures] == 0) for i, m in zip(ivar, mask, strict=True)]
        )
        spectrum, quality = lattice.merge(np.hstack([f[exposures] for f in flux]), weight)
        entry = {name: fibermap[name][exposures] for name in fibermap.names if name in _FIBERMAP}
        yield _spectrum(
            *spectrum, unit=unit, meta=_meta(targetid, entry, redshifts, quality), has_ivar=True
        )


_FIBERMAP = ("TARGET_RA", "TARGET_DEC", "OBJTYPE", "FIBERSTATUS", "COADD_FIBERSTATUS")


def _read_table(hdu, redshifts, path):
    wavelength, *targets = hdu.columns.names
    lattice = _Lattice([hdu.data[wavelength]], path)
    for name in targets:
        flux = hdu.data[name][None, :]
        spectrum, quality = lattice.merge(flux, np.ones(flux.shape))
        targetid = int(name.removeprefix("TARGET"))
        unit = u.Unit(hdu.columns[name].unit or _FLUX_UNIT)
        yield _spectrum(
            *spectrum, unit=unit, meta=_meta(targetid, {}, redshifts, quality), has_ivar=False
        )


class _Lattice:
    """The sorted, distinct wavelengths of arms that share one lattice, and averaging onto them."""

    def __init__(self, wavelengths, path):
        # Files hold 3600 + 0.8 k Å to 1e-9 Å; rounding makes equal what is meant to be equal.
        together = np.round(np.concatenate(wavelengths).astype(np.float64), 4)
        self.wavelength, self.pixel = np.unique(together, return_inverse=True)
        finest = min(np.median(np.diff(np.unique(np.round(w, 4)))) for w in wavelengths)
        if np.diff(self.wavelength).min() < 0.9 * finest:
            raise InputError(
                f"the arms' wavelengths interleave (steps of {np.diff(self.wavelength).min():.4f} "
                f"Å, {finest:.4f} Å within an arm): expected arms on one common lattice; resample "
                "them onto one",
                object_id=path.name,
            )

    def merge(self, flux, weight):
        """Average (row, pixel) arrays: (wavelength, flux, weight) and quality bits."""
        flux, weight = flux.astype(np.float64), weight.astype(np.float64)
        usable = weight > 0
        finite = np.isfinite(flux)
        weight = np.where(usable & finite, weight, 0)
        size = len(self.wavelength)
        total = np.bincount(self.pixel, weight.sum(axis=0), size)
        integral = np.bincount(self.pixel, (weight * np.where(finite, flux, 0)).sum(axis=0), size)
        mean = np.divide(integral, total, out=np.zeros(size), where=total > 0)
        quality = Quality.NON_FINITE if (usable & ~finite).any() else Quality.GOOD
        return (self.wavelength, mean, total), quality


def _spectrum(wavelength, flux, weight, *, unit, meta, has_ivar):
    return Spectrum(
        flux=flux * unit,
        spectral_axis=wavelength * u.AA,
        uncertainty=InverseVariance(weight, unit=unit**-2) if has_ivar else None,
        mask=~(weight > 0),
        meta=meta,
    )


def _redshifts(path, hdulist):
    """Redshift rows by TARGETID, from the file or the one named alike; empty if there is none."""
    for name in ("REDSHIFTS", "ZBEST"):
        if name in hdulist:
            return _by_target(hdulist[name].data)
    stem = re.fullmatch(r"(?:coadd|spectra)-(.+?)\.fits(?:\.gz)?", path.name)
    if stem:
        for kind in ("redrock", "zbest"):
            for suffix in (".fits", ".fits.gz"):
                sibling = path.with_name(f"{kind}-{stem[1]}{suffix}")
                if sibling.is_file():
                    with fits.open(sibling) as tables:
                        return _by_target(tables[1].data)
    return {}


def _by_target(table):
    columns = {
        name: table[name].tolist()
        for name in ("Z", "ZWARN", "SPECTYPE", "TARGET_RA", "TARGET_DEC")
        if name in table.names
    }
    rows = zip(*columns.values(), strict=True)
    return {
        targetid: dict(zip(columns, row, strict=True))
        for targetid, row in zip(table["TARGETID"].tolist(), rows, strict=True)
    }


def _meta(targetid, entry, redshifts, quality):
    """Metadata of one target: `entry` holds its FIBERMAP values, one per exposure."""
    found = redshifts.get(targetid, {})
    if any(kind.strip() != "TGT" for kind in entry.get("OBJTYPE", [])):
        quality |= Quality.NOT_A_GALAXY
    if found.get("SPECTYPE", "").strip() in ("STAR", "QSO"):
        quality |= Quality.NOT_A_GALAXY
    status = entry.get("COADD_FIBERSTATUS", entry.get("FIBERSTATUS", np.zeros(1)))
    if np.any(status) or found.get("ZWARN", 0) != 0:
        quality |= Quality.SURVEY_WARNING
    ra, dec = (
        float(entry[name][0]) if name in entry else found.get(name, np.nan)
        for name in ("TARGET_RA", "TARGET_DEC")
    )
    return {
        "object_id": str(targetid),
        "ra": ra,
        "dec": dec,
        "redshift": found.get("Z", np.nan),
        "quality": quality,
    }
