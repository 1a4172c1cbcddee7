"""Image units as nanomaggies per pixel."""

import astropy.units as u
from astropy.units.function import FunctionUnitBase

from astroclip_astro.errors import InputError

__all__ = ["nanomaggies_per_unit"]

#: A maggy is the flux of an AB magnitude of 0, 3631 Jy (Oke & Gunn 1983, ApJ 266, 713).
_AB = u.zero_point_flux(3631 * u.Jy)

#: AB magnitude of one nanomaggy.
_NANOMAGGY_ZEROPOINT = 22.5

_COUNTS = (u.adu, u.ct, u.electron, u.photon, u.DN)


def nanomaggies_per_unit(unit, *, zeropoint=None, pixel_area=None):
    """Nanomaggies per pixel that a value of 1 in an image is worth.

    Parameters
    ----------
    unit : astropy.units.UnitBase or None
        Maggies, a flux density per frequency, either of them per solid angle or per pixel; or
        counts or no unit, with a zeropoint.
    zeropoint : float, optional
        AB magnitude of a value of 1, for counts and for images without a unit. It is not used
        where the unit is a calibrated one.
    pixel_area : astropy.units.Quantity, optional
        Solid angle of a pixel, needed for surface brightness.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If the unit cannot be converted without guessing.

    Notes
    -----
    AB magnitudes: 3631 Jy is magnitude 0, and a nanomaggy is magnitude 22.5.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astroclip_astro.adapters.photometric import nanomaggies_per_unit
    >>> nanomaggies_per_unit(u.uJy)
    0.27540622
    >>> nanomaggies_per_unit(u.adu, zeropoint=25.0)
    0.1
    """
    if unit is None or unit == u.dimensionless_unscaled or _is_count(unit):
        if zeropoint is None:
            raise InputError(
                f"{'no unit' if unit is None else f'unit {str(unit)!r}'} and no zeropoint: "
                "expected a flux unit (BUNIT, or the unit of the NDData) such as nanomaggy or nJy, "
                "or the AB magnitude of one count as zeropoint (meta['zeropoint'] or the "
                "survey's), or survey='legacysurvey' for a cutout of that survey's viewer"
            )
        return 10 ** (0.4 * (_NANOMAGGY_ZEROPOINT - zeropoint))
    if isinstance(unit, FunctionUnitBase):
        raise InputError(
            f"unit {str(unit)!r} is logarithmic: expected linear flux; convert the image with "
            "Quantity.to(u.nmgy) first, and mind the pixels of negative flux"
        )
    for per, value in ((u.dimensionless_unscaled, 1), (u.pix, 1), (u.sr, pixel_area)):
        try:
            factor = (unit * per).to(u.nmgy, equivalencies=_AB)
        except u.UnitConversionError:
            continue
        if value is None:
            raise InputError(
                f"unit {str(unit)!r} is a surface brightness: the pixel scale is needed"
            )
        return float(factor * (value.to_value(u.sr) if per is u.sr else value))
    raise InputError(
        f"unit {str(unit)!r} cannot be converted to nanomaggies: expected maggies or a flux "
        "density per frequency (nmgy, Jy, erg s-1 cm-2 Hz-1), per pixel or per solid angle, or "
        "counts with a zeropoint; a flux density per wavelength needs the bandpass"
    )


def _is_count(unit):
    return any(unit.is_equivalent(count) or unit.is_equivalent(count / u.s) for count in _COUNTS)
