"""Records of SPARCL, one per spectrum, to specutils."""

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance
from specutils import Spectrum

from astroclip_astro.adapters.flux_density import FLUX_UNIT
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.sdss import BAD_PIXEL

__all__ = ["FIELDS", "object_id", "spectrum"]

#: What is retrieved of each spectrum.
FIELDS = (
    "sparcl_id",
    "specid",
    "ra",
    "dec",
    "redshift",
    "redshift_warning",
    "spectype",
    "wavelength",
    "flux",
    "ivar",
    "mask",
)

#: By survey, the bits of its mask that spoil a pixel; all of DESI's do.
_BAD = {"DESI": -1, "SDSS": BAD_PIXEL, "BOSS": BAD_PIXEL}

_SPARCL = "Juneau et al. 2024, arXiv:2401.05576"
_DR16 = "Ahumada et al. 2020, ApJS 249, 3, doi:10.3847/1538-4365/ab929e"
_DR17 = "Abdurro'uf et al. 2022, ApJS 259, 35, doi:10.3847/1538-4365/ac4414"
_CITATIONS = {
    "DESI-EDR": "DESI Collaboration 2024, AJ 168, 58, doi:10.3847/1538-3881/ad3217",
    "DESI-DR1": "DESI Collaboration 2025, arXiv:2503.14745",
    "SDSS-DR16": _DR16,
    "BOSS-DR16": _DR16,
    "SDSS-DR17": _DR17,
    "BOSS-DR17": _DR17,
}


def object_id(specid, data_release):
    """Name of a spectrum as in its survey's files.

    Parameters
    ----------
    specid : int
        DESI's TARGETID, or SDSS's SPECOBJID as a signed integer of 64 bits.
    data_release : str
        Such as ``"DESI-DR1"``.

    Returns
    -------
    str
        TARGETID, or plate-mjd-fiber; of other surveys the number itself.

    Notes
    -----
    SPECOBJID holds, from its highest bit, 14 bits of plate, 12 of fibre, 14 of MJD - 50000, and 24
    of the reduction.

    Examples
    --------
    >>> from astroclip_astro.sources.sparcl.records import object_id
    >>> object_id(2634622337315530752, "SDSS-DR16")
    '2340-53733-0060'
    """
    if data_release.partition("-")[0] not in ("SDSS", "BOSS"):
        return str(specid)
    bits = int(specid) % 2**64
    return f"{bits >> 50:04d}-{(bits >> 24 & 0x3FFF) + 50000:05d}-{bits >> 38 & 0xFFF:04d}"


def spectrum(record, units):
    """Make a spectrum of a record.

    Parameters
    ----------
    record : dict
        Values of `FIELDS`, and ``data_release``.
    units : dict
        Units of its fields as text; where there is none, flux is in 1e-17 erg s-1 cm-2 Å-1 and
        wavelength in Å.

    Returns
    -------
    specutils.Spectrum
        As `SPARCLClass.get_spectra` says.

    Raises
    ------
    ValueError
        If arrays are missing, no numbers, or of different lengths, if wavelengths do not increase,
        or if a unit is of something else.
    InputError
        If it is of a survey whose masks are not known.
    """
    name, release = record["sparcl_id"], record["data_release"]
    survey = release.partition("-")[0]
    if survey not in _BAD:
        raise InputError(
            f"data release {release}: expected one of {', '.join(_BAD)}, whose masks are known",
            object_id=name,
        )
    wavelength, flux, ivar = (
        np.array(record[field], np.float64) for field in ("wavelength", "flux", "ivar")
    )
    mask = np.array(record["mask"], np.int64)
    shapes = {array.shape for array in (wavelength, flux, ivar, mask)}
    if len(shapes) != 1 or wavelength.ndim != 1 or wavelength.size < 2:
        raise ValueError(
            f"wavelength, flux, ivar and mask of {name} have the shapes {wavelength.shape}, "
            f"{flux.shape}, {ivar.shape}, {mask.shape}, expected one length"
        )
    if not (
        np.isfinite(wavelength).all() and wavelength[0] > 0 and (np.diff(wavelength) > 0).all()
    ):
        raise ValueError(f"wavelengths of {name} do not increase from above 0")
    observed = (ivar != 0) & (mask & _BAD[survey] == 0)
    finite = np.isfinite(flux) & np.isfinite(ivar)
    good = observed & finite & (ivar > 0)
    unit = _unit(units.get("flux"), FLUX_UNIT)
    return Spectrum(
        flux=np.where(np.isfinite(flux), flux, 0) * unit,
        spectral_axis=wavelength * _unit(units.get("wavelength"), u.AA),
        uncertainty=InverseVariance(np.where(good, ivar, 0), unit=unit**-2),
        mask=~good,
        meta={
            "object_id": object_id(record["specid"], release),
            "sparcl_id": name,
            "ra": float(record["ra"]),
            "dec": float(record["dec"]),
            "redshift": np.nan if record["redshift"] is None else float(record["redshift"]),
            "quality": _quality(record, bool((observed & ~finite).any())),
            "medium": "vacuum",
            "data_release": release,
            "citation": "; ".join(filter(None, (_CITATIONS.get(release), _SPARCL))),
        },
    )


def _unit(text, expected):
    if text is None:
        return expected
    unit = u.Unit(text)
    if not unit.is_equivalent(expected):
        raise ValueError(f"unit {text!r}, expected one like {expected}")
    return unit


def _quality(record, non_finite):
    quality = Quality.NON_FINITE if non_finite else Quality.GOOD
    if record["spectype"] in ("STAR", "QSO"):
        quality |= Quality.NOT_A_GALAXY
    if record["redshift_warning"] != 0:
        quality |= Quality.SURVEY_WARNING
    return quality
