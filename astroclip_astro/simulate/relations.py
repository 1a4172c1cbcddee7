"""Scaling relations of galaxies that the mock population follows, each with its source.

Masses are log10 of solar masses of surviving stars; metallicities are relative to the Sun.
"""

import numpy as np

__all__ = [
    "gas_metallicity",
    "h_alpha_attenuation",
    "half_light_radius",
    "main_sequence",
    "quiescent_fraction",
    "stellar_mass_function",
    "stellar_metallicity",
    "velocity_dispersion",
]


def stellar_mass_function(log_mass):
    """Galaxies per Mpc3 and dex: the double Schechter function of GAMA.

    Baldry et al. (2012, MNRAS 421, 621), equation 6, for H0 = 70 km/s/Mpc.

    Parameters
    ----------
    log_mass : array_like
        log10 of stellar mass in solar masses.

    Returns
    -------
    numpy.ndarray
        Number density, Mpc-3 dex-1.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import stellar_mass_function
    >>> stellar_mass_function(10.66).round(5)
    np.float64(0.00402)
    """
    x = 10 ** (np.asarray(log_mass, dtype=float) - 10.66)
    return np.log(10) * np.exp(-x) * (3.96e-3 * x ** (1 - 0.35) + 0.79e-3 * x ** (1 - 1.47))


def quiescent_fraction(log_mass, redshift):
    """Fraction of galaxies off the main sequence, by mass and environment quenching.

    The separable form of Peng et al. (2010, ApJ 721, 193). Their characteristic mass is 10^10.56 in
    SDSS and 10^10.78 in zCOSMOS, joined linearly between z = 0 and 0.6; their environment term is
    replaced by 0.15 everywhere, a choice.

    Parameters
    ----------
    log_mass, redshift : array_like

    Returns
    -------
    numpy.ndarray
        Between 0 and 1.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import quiescent_fraction
    >>> quiescent_fraction([9.0, 11.5], 0.05).round(2)
    array([0.2, 1. ])
    """
    log_mass, redshift = np.asarray(log_mass, dtype=float), np.asarray(redshift, dtype=float)
    quenching_mass = 10.56 + 0.22 * redshift / 0.6
    by_mass = -np.expm1(-(10 ** (0.80 * (log_mass - quenching_mass))))
    by_environment = 0.15
    return 1 - (1 - by_mass) * (1 - by_environment)


def main_sequence(log_mass, redshift):
    """Specific star-formation rate of the main sequence.

    The SDSS sequence of Renzini & Peng (2015, ApJ 801, L29), log SFR = 0.76 log M - 7.64 near
    z = 0.05, brought to other redshifts as (1 + z)^2.8 (Sargent et al. 2014, ApJ 793, 19).

    Parameters
    ----------
    log_mass, redshift : array_like

    Returns
    -------
    numpy.ndarray
        log10 of SFR / mass in yr-1.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import main_sequence
    >>> main_sequence(10.0, 0.05).round(2)
    np.float64(-10.04)
    """
    log_mass, redshift = np.asarray(log_mass, dtype=float), np.asarray(redshift, dtype=float)
    return 0.76 * log_mass - 7.64 - log_mass + 2.8 * np.log10((1 + redshift) / 1.05)


def stellar_metallicity(log_mass):
    """Median log10 stellar metallicity in solar units, and its scatter.

    The median is that of Gallazzi et al. (2005, MNRAS 362, 41), Table 2. Their 16-84 per cent range
    holds large measurement errors; the intrinsic scatter taken here, 0.30 dex at 10^9 falling to
    0.12 dex at 10^11 solar masses, is a choice well inside it.

    Parameters
    ----------
    log_mass : array_like

    Returns
    -------
    median, scatter : numpy.ndarray
        dex.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import stellar_metallicity
    >>> [float(v) for v in stellar_metallicity(10.91)]
    [0.07, 0.1281]
    """
    mass = [8.91, 9.31, 9.72, 9.91, 10.11, 10.31, 10.51, 10.72, 10.91, 11.11, 11.51]
    median = [-0.60, -0.65, -0.52, -0.41, -0.23, -0.11, -0.01, 0.04, 0.07, 0.10, 0.13]
    return np.interp(log_mass, mass, median), np.interp(log_mass, [9.0, 11.0], [0.30, 0.12])


def gas_metallicity(log_mass):
    """Gas-phase metallicity, log10 in solar units.

    Curti et al. (2020, MNRAS 491, 944), their fit to SDSS, with 12 + log(O/H) = 8.69 for the Sun
    (Asplund et al. 2009, ARA&A 47, 481).

    Parameters
    ----------
    log_mass : array_like

    Returns
    -------
    numpy.ndarray
        dex.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import gas_metallicity
    >>> gas_metallicity([8.5, 11.0]).round(2)
    array([-0.32,  0.1 ])
    """
    mass_ratio = 10 ** (np.asarray(log_mass, dtype=float) - 10.02)
    return 8.793 - 0.28 / 1.2 * np.log10(1 + mass_ratio**-1.2) - 8.69


def half_light_radius(log_mass, redshift, quiescent):
    """Median half-light radius along the major axis.

    van der Wel et al. (2014, ApJ 788, 28): the slopes of Table 1 at z = 0.25 and the evolution of
    Table 2 (R at 5e10 solar masses against 1 + z). Early types flatten below 2e10 solar masses
    (their Figure 5).

    Parameters
    ----------
    log_mass, redshift : array_like
    quiescent : bool

    Returns
    -------
    numpy.ndarray
        kpc.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import half_light_radius
    >>> half_light_radius(10.7, 0.1, quiescent=False).round(1)
    np.float64(8.3)
    """
    log_mass, stretch = np.asarray(log_mass, dtype=float), 1 + np.asarray(redshift, dtype=float)
    if not quiescent:
        return 8.9 * stretch**-0.75 * 10 ** (0.25 * (log_mass - np.log10(5e10)))
    knee = 10.3
    slope = 0.75 * (np.maximum(log_mass, knee) - np.log10(5e10))
    return 5.6 * stretch**-1.48 * 10 ** (slope + 0.2 * np.minimum(log_mass - knee, 0))


def velocity_dispersion(log_mass):
    """Central stellar velocity dispersion.

    Zahid et al. (2016, ApJ 832, 203), equation 5 and Table 1.

    Parameters
    ----------
    log_mass : array_like

    Returns
    -------
    numpy.ndarray
        km/s.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import velocity_dispersion
    >>> velocity_dispersion(10.26).round(1)
    np.float64(118.3)
    """
    offset = np.asarray(log_mass, dtype=float) - 10.26
    return 118.3 * 10 ** (np.where(offset < 0, 0.403, 0.293) * offset)


def h_alpha_attenuation(log_mass):
    """Median attenuation of Hα in star-forming galaxies.

    Garn & Best (2010, MNRAS 409, 421), their cubic in log M - 10.

    Parameters
    ----------
    log_mass : array_like

    Returns
    -------
    numpy.ndarray
        mag.

    Examples
    --------
    >>> from astroclip_astro.simulate.relations import h_alpha_attenuation
    >>> h_alpha_attenuation([9.0, 10.0])
    array([0.34, 0.91])
    """
    m = np.asarray(log_mass, dtype=float) - 10
    return 0.91 + 0.77 * m + 0.11 * m**2 - 0.09 * m**3
