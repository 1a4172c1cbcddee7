"""Positions and angles on the sky, as numbers, checked."""

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord, angular_separation

from astroclip_astro.errors import InputError

__all__ = ["angle", "position", "separation"]


def angle(radius):
    """A radius on the sky.

    Parameters
    ----------
    radius : astropy.units.Quantity or str
        Above 0 and up to 180 deg.

    Returns
    -------
    astropy.coordinates.Angle
        In deg.

    Raises
    ------
    InputError
        If it is something else.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astroclip_astro.sky import angle
    >>> angle(36 * u.arcsec)
    <Angle 0.01 deg>
    """
    if not isinstance(radius, u.Quantity | str):
        raise InputError(f"radius is {radius!r}: expected an angle, such as 1 * u.arcmin")
    try:
        found = Angle(radius).to(u.deg)
    except (u.UnitsError, TypeError, ValueError) as error:
        raise InputError(f"radius is {radius!r}: expected an angle") from error
    if found.shape or not 0 < found.value <= 180:
        raise InputError(f"radius is {radius}: expected one angle above 0 and up to 180 deg")
    return found


def position(center):
    """One position as numbers.

    Parameters
    ----------
    center : astropy.coordinates.SkyCoord
        A single position.

    Returns
    -------
    ra, dec : float
        ICRS, deg.

    Raises
    ------
    InputError
        If it is something else, not finite, or masked.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.sky import position
    >>> position(SkyCoord("10h00m00s", "+02d00m00s"))
    (150.0, 2.0)
    """
    if not isinstance(center, SkyCoord) or not center.isscalar:
        raise InputError(f"{center!r} is no position: expected one SkyCoord")
    if np.any(getattr(center, "mask", False)):
        raise InputError("the position is masked: select those that are known")
    icrs = center.icrs
    ra, dec = icrs.ra.deg, icrs.dec.deg
    if not np.isfinite([ra, dec]).all():
        raise InputError(f"position {ra}, {dec} deg: expected finite coordinates")
    return float(ra), float(dec)


def separation(ra1, dec1, ra2, dec2):
    """Distances on the sky, by Vincenty's formula.

    Parameters
    ----------
    ra1, dec1, ra2, dec2 : float or numpy.ndarray
        deg; they broadcast.

    Returns
    -------
    numpy.ndarray
        deg.

    Examples
    --------
    >>> from astroclip_astro.sky import separation
    >>> float(separation(359.5, 0.0, 0.5, 0.0).round(9))
    1.0
    """
    return np.degrees(angular_separation(*map(np.radians, (ra1, dec1, ra2, dec2))))
