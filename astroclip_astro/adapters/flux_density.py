"""Flux densities in any unit, and uncertainties of any kind, to one unit and to ivar."""

import numpy as np
from astropy import units as u

from astroclip_astro.errors import InputError

__all__ = ["FLUX_UNIT", "LARGEST_FLUX", "flux_scale", "to_ivar_function"]

#: Unit of flux on every model's wavelength grid.
FLUX_UNIT = u.Unit(1e-17 * u.erg / u.s / u.cm**2 / u.AA)

#: Fluxes of which no vector is made, in this unit or in nanomaggies: the squares of larger ones
#: pass the range of float32, and networks make plausible numbers of what follows.
LARGEST_FLUX = 1e15

_DENSITIES = (
    FLUX_UNIT,
    u.Jy,
    u.photon / u.s / u.cm**2 / u.AA,
    u.photon / u.s / u.cm**2 / u.Hz,
)
# Per kind of uncertainty: the power of the flux unit that it has, and its power that is ivar.
_POWERS = {"std": (1, -2), "var": (2, -1), "ivar": (-2, 1)}


def flux_scale(unit, wavelength):
    """Find what to multiply a flux by to have it in FLUX_UNIT.

    Parameters
    ----------
    unit : astropy.units.UnitBase
        Flux density per wavelength or frequency, of energy or photons.
    wavelength : array_like
        Vacuum wavelengths of the pixels, Å.

    Returns
    -------
    float or numpy.ndarray
        One factor, or one per wavelength where that matters.

    Raises
    ------
    InputError
        If the unit is none of a flux density.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astroclip_astro.adapters.flux_density import flux_scale
    >>> flux_scale(u.Unit("W / (m2 um)"), [5000, 6000])
    1e+16
    >>> flux_scale(u.mJy, [5000, 6000])
    array([119.9169832 ,  83.27568278])
    """
    plain = isinstance(unit, u.UnitBase)  # not a magnitude or another logarithm
    if not plain or not any(unit.is_equivalent(density) for density in _DENSITIES):
        given = "has no unit" if str(unit) in ("", "None") else f"is in {str(unit)!r}"
        raise InputError(
            f"flux {given}: expected a flux density per wavelength or frequency, e.g. "
            "'1e-17 erg / (s cm2 Angstrom)' or 'Jy'. Give the flux its unit; counts, magnitudes, "
            "surface brightness and continuum-normalised flux must be calibrated first"
        )
    if unit.is_equivalent(FLUX_UNIT):
        return unit.to(FLUX_UNIT)
    return unit.to(FLUX_UNIT, 1.0, u.spectral_density(wavelength * u.AA))


def to_ivar_function(uncertainty, flux_unit):
    """Find how to turn the values of an uncertainty into inverse variance.

    Parameters
    ----------
    uncertainty : astropy.nddata.NDUncertainty or None
        Standard deviation, variance or inverse variance; without unit it has that of the flux.
    flux_unit : astropy.units.UnitBase
        Unit of the flux.

    Returns
    -------
    callable or None
        Takes values of the uncertainty's array and gives inverse variances per flux_unit**2, 0
        where the values are not positive. None if there is no uncertainty.

    Raises
    ------
    InputError
        If the uncertainty is of another kind, or its unit does not fit that of the flux.

    Examples
    --------
    >>> import astropy.units as u, numpy as np
    >>> from astropy.nddata import StdDevUncertainty
    >>> from astroclip_astro.adapters.flux_density import to_ivar_function
    >>> to_ivar = to_ivar_function(StdDevUncertainty([500], unit=u.mJy), u.Jy)
    >>> to_ivar(np.array([500.0, -1.0]))
    array([4., 0.])
    """
    if uncertainty is None:
        return None
    if uncertainty.uncertainty_type not in _POWERS:
        raise InputError(
            f"uncertainty is a {type(uncertainty).__name__}: expected StdDevUncertainty, "
            "VarianceUncertainty, InverseVariance or None"
        )
    of_flux, power = _POWERS[uncertainty.uncertainty_type]
    factor = 1.0
    if uncertainty.unit is not None:
        try:
            factor = uncertainty.unit.to(flux_unit**of_flux)
        except u.UnitConversionError as error:
            raise InputError(
                f"uncertainty is in {uncertainty.unit}, which does not fit flux in {flux_unit}"
            ) from error

    def to_ivar(values):
        scaled = np.where(values > 0, values * factor, np.inf if power < 0 else 0)
        return scaled**power

    return to_ivar
