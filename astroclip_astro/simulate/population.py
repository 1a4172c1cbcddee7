"""Draw galaxies from a magnitude-limited population that follows published scaling relations.

Masses are in solar masses of surviving stars, metallicities in units of the solar value Z = 0.02,
and the cosmology is flat with H0 = 70 km/s/Mpc, Om0 = 0.3, the one that bagpipes uses. The mass
function is taken not to evolve over 0.005 < z < 0.8. What follows no publication is called a
choice.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.cosmology import FlatLambdaCDM
from scipy.special import expit

from astroclip_astro.simulate.relations import (
    gas_metallicity,
    h_alpha_attenuation,
    half_light_radius,
    main_sequence,
    quiescent_fraction,
    stellar_mass_function,
    stellar_metallicity,
    velocity_dispersion,
)

__all__ = [
    "REDSHIFT_RANGE",
    "SAMPLES",
    "Galaxy",
    "arcsec_per_kpc",
    "draw_galaxy",
    "draw_sample",
]

COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)

REDSHIFT_RANGE = (0.005, 0.8)
LOG_MASS_RANGE = (8.0, 12.0)

# Samples: r-band limit (AB), quiescent galaxies only, lowest redshift, share of the objects. A
# bright one for nearby galaxies, the SDSS main galaxy sample (Strauss et al. 2002, AJ 124, 1810),
# the bright sample of the DESI Bright Galaxy Survey (Hahn et al. 2023, AJ 165, 253), a fainter one,
# and luminous red galaxies as DESI picks them (Zhou et al. 2023, AJ 165, 58). The shares, and the
# limit of the last two, are choices.
SAMPLES = {
    "nearby": (16.0, False, 0.005, 0.10),
    "sdss-main": (17.77, False, 0.005, 0.20),
    "bgs": (19.5, False, 0.005, 0.25),
    "faint": (20.5, False, 0.005, 0.25),
    "lrg": (21.5, True, 0.35, 0.20),
}

# Typical fraction of the formed mass that is still in stars and remnants.
SURVIVING_FRACTION = 0.55

# The proposal is this much deeper than the limit, so that the cut on the magnitude of the actual
# model spectrum, and not the rough mass-to-light ratio, decides who is in.
PROPOSAL_MARGIN = 1.0


@dataclass(frozen=True, kw_only=True)
class Galaxy:
    """Everything that is drawn about one galaxy before light is computed.

    Parameters
    ----------
    redshift : float
        Cosmological redshift.
    log_mass : float
        log10 of the surviving stellar mass in solar masses.
    quiescent : bool
        Whether it is drawn off the star-forming main sequence.
    start_age : float
        Time since its first stars, Gyr.
    tau : float
        Time scale of the delayed exponential star-formation history, Gyr.
    episode_fraction : float
        Fraction of the formed mass made in a second, constant episode.
    episode_ages : tuple of float
        End and start of that episode, Gyr before observation.
    metallicity, gas_metallicity : float
        Stellar and gas-phase metallicity in solar units.
    log_u : float
        log10 of the ionisation parameter.
    ionising_fraction : float
        Fraction of the ionising photons that reach the gas.
    a_v : float
        V-band attenuation of the stars outside birth clouds, mag.
    stellar_dispersion, gas_dispersion : float
        Velocity dispersions, km/s.
    nuclear_lines : {"", "liner", "seyfert"}
        Kind of emission not powered by young stars.
    nuclear_width : float
        Rest-frame Hα equivalent width of that emission, Å, against the stellar spectrum at Hα.
    r_half : float
        Half-light radius in the r band along the major axis, kpc.
    bulge_to_total : float
        Bulge fraction of the r-band light.
    bulge_size : float
        Half-light radius of the bulge over that of the disc.
    disc_axis_ratio, bulge_axis_ratio : float
        Projected minor over major axis.
    position_angle : float
        Of the major axis, degrees, from the image's row axis (north) towards east.
    n_knots : int
        Number of star-forming knots.
    knot_fraction : float
        Fraction of the r-band disc light in knots.
    n_arms : int
        Number of spiral arms; 0 for a disc without.
    arm_fraction : float
        Fraction of the r-band disc light in spiral arms.
    arm_pitch : float
        Pitch angle of the arms, degrees.
    bar_fraction : float
        Fraction of the r-band disc light in a bar; 0 for a galaxy without.
    """

    redshift: float
    log_mass: float
    quiescent: bool
    start_age: float
    tau: float
    episode_fraction: float
    episode_ages: tuple[float, float]
    metallicity: float
    gas_metallicity: float
    log_u: float
    ionising_fraction: float
    a_v: float
    stellar_dispersion: float
    gas_dispersion: float
    nuclear_lines: str
    nuclear_width: float
    r_half: float
    bulge_to_total: float
    bulge_size: float
    disc_axis_ratio: float
    bulge_axis_ratio: float
    position_angle: float
    n_knots: int
    knot_fraction: float
    n_arms: int
    arm_fraction: float
    arm_pitch: float
    bar_fraction: float


def draw_sample(rng):
    """Draw the sample that an object belongs to.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    str
        One of `SAMPLES`.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.population import draw_sample
    >>> draw_sample(np.random.default_rng(0))
    'faint'
    """
    return str(rng.choice(list(SAMPLES), p=[share for *_, share in SAMPLES.values()]))


def draw_galaxy(rng, sample):
    """Draw one galaxy that may be brighter than the limit of a sample.

    Redshift and mass come from the comoving volume times the mass function, thinned to what a
    rough mass-to-light ratio puts above the limit (and somewhat below it: the caller cuts on the
    magnitude of the model spectrum).

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    sample : str
        One of `SAMPLES`.

    Returns
    -------
    Galaxy

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.population import draw_galaxy
    >>> galaxy = draw_galaxy(np.random.default_rng(1), "sdss-main")
    >>> 0.005 < galaxy.redshift < 0.8
    True
    """
    redshift, log_mass, quiescent = _draw_from_volume(rng, sample)
    age_of_universe = float(_at_redshift("age", redshift))

    sequence = float(main_sequence(log_mass, redshift))
    if not quiescent:
        # Scatter of the main sequence: 0.3 dex (Speagle et al. 2014, ApJS 214, 15).
        log_ssfr = sequence + 0.3 * rng.standard_normal()
    elif rng.random() < 0.2:  # the green valley, between the two sequences
        log_ssfr = rng.uniform(-11.8, sequence - 0.6)
    else:
        # Passive galaxies: Salim et al. (2016, ApJS 227, 2) and below.
        log_ssfr = max(-12.4 + 0.5 * rng.standard_normal(), -13.5)
    excess = log_ssfr - sequence

    # Massive galaxies formed earlier (Gallazzi et al. 2005; Thomas et al. 2010, MNRAS 404, 1775).
    mean = 0.6 + 0.07 * np.clip(log_mass - 9, 0, 2.5) + (0.08 if quiescent else 0)
    start_age = age_of_universe * np.clip(mean + 0.13 * rng.standard_normal(), 0.15, 0.98)
    start_age, tau = _delayed_history(start_age, log_ssfr)
    episode_fraction, episode_ages = _draw_episode(rng, quiescent, log_ssfr)

    median, scatter = stellar_metallicity(log_mass)
    metallicity = 10 ** np.clip(median + scatter * rng.standard_normal(), -2.0, 0.5)
    log_gas = gas_metallicity(log_mass) + 0.1 * rng.standard_normal()
    # Ionisation falls with metallicity (Dopita et al. 2006, ApJ 647, 244) and rises with the
    # specific star-formation rate (Kaasinen et al. 2018, MNRAS 477, 5568); coefficients rounded.
    log_u = -3.1 - 0.6 * log_gas + 0.3 * excess * (not quiescent) + 0.15 * rng.standard_normal()

    # Dust inside H II regions takes some 30 per cent of the ionising photons (Inoue 2001, AJ 122,
    # 1788); the scatter is a choice.
    ionising_fraction = np.clip(0.7 * 10 ** (0.12 * rng.standard_normal()), 0.2, 1.0)

    bulge_to_total, bulge_size, bulge_axis_ratio = _draw_bulge(rng, log_mass, quiescent)
    # Discs of intrinsic thickness 0.22 +- 0.05, seen from a random direction (Unterborn & Ryden
    # 2008, ApJ 687, 976).
    thickness = np.clip(0.22 + 0.05 * rng.standard_normal(), 0.1, 0.4)
    cosine = rng.random()
    disc_axis_ratio = np.sqrt(cosine**2 + thickness**2 * (1 - cosine**2))

    spread = 0.1 if quiescent else 0.16  # dex, van der Wel et al. (2014), Table 1
    r_half = half_light_radius(log_mass, redshift, quiescent) * 10 ** (
        spread * rng.standard_normal()
    )
    dispersion = velocity_dispersion(log_mass) * 10 ** (0.08 * rng.standard_normal())
    nuclear_lines, nuclear_width = _draw_nucleus(rng, log_mass, quiescent)
    n_knots, knot_fraction = 0, 0.0
    if not quiescent:
        n_knots = 1 + rng.poisson(30)
        knot_fraction = np.clip(0.12 * 10 ** (0.4 * excess + 0.2 * rng.standard_normal()), 0, 0.35)
    n_arms, arm_fraction, arm_pitch = _draw_arms(rng, log_mass, quiescent, bulge_to_total)
    # Two in five spirals are barred (Masters et al. 2011, MNRAS 411, 2026: 30 per cent strongly).
    bar_fraction = rng.uniform(0.08, 0.25) if n_arms and rng.random() < 0.4 else 0.0

    return Galaxy(
        redshift=redshift,
        log_mass=log_mass,
        quiescent=bool(quiescent),
        start_age=float(start_age),
        tau=float(tau),
        episode_fraction=float(episode_fraction),
        episode_ages=episode_ages,
        metallicity=float(metallicity),
        gas_metallicity=float(10 ** np.clip(log_gas, -2.0, 0.5)),
        log_u=float(np.clip(log_u, -3.9, -1.5)),
        ionising_fraction=float(ionising_fraction),
        a_v=_draw_attenuation(rng, log_mass, quiescent, disc_axis_ratio),
        stellar_dispersion=float(np.clip(dispersion, 35, 400)),
        gas_dispersion=float(np.clip(0.7 * dispersion, 30, 250)),
        nuclear_lines=nuclear_lines,
        nuclear_width=float(nuclear_width),
        r_half=float(r_half),
        bulge_to_total=float(bulge_to_total),
        bulge_size=float(bulge_size),
        disc_axis_ratio=float(disc_axis_ratio),
        bulge_axis_ratio=float(bulge_axis_ratio),
        position_angle=float(rng.uniform(0, 180)),
        n_knots=int(n_knots),
        knot_fraction=float(knot_fraction),
        n_arms=int(n_arms),
        arm_fraction=float(arm_fraction),
        arm_pitch=float(arm_pitch),
        bar_fraction=float(bar_fraction),
    )


def arcsec_per_kpc(redshift):
    """Angle that a proper kiloparsec subtends.

    Parameters
    ----------
    redshift : float
        Within `REDSHIFT_RANGE`.

    Returns
    -------
    float
    """
    return float(_at_redshift("arcsec_per_kpc", redshift))


@lru_cache
def _cosmology_table():
    z = np.geomspace(0.004, 0.85, 600)
    return {
        "z": z,
        "age": COSMOLOGY.age(z).to_value(u.Gyr),
        "distance_modulus": COSMOLOGY.distmod(z).to_value(u.mag),
        "arcsec_per_kpc": COSMOLOGY.arcsec_per_kpc_proper(z).to_value(u.arcsec / u.kpc),
        "volume": COSMOLOGY.differential_comoving_volume(z).to_value(u.Mpc**3 / u.sr),
    }


def _at_redshift(column, redshift):
    table = _cosmology_table()
    return np.interp(redshift, table["z"], table[column])


def _rough_magnitude(log_mass, redshift, quiescent):
    """Observed r magnitude for a typical mass-to-light ratio; steers the proposal only."""
    # A linear fit to the models of spectra.py themselves; its scatter is below PROPOSAL_MARGIN for
    # 98 per cent of them.
    zero, per_mass, per_z = (-19.79, -2.19, 1.05) if quiescent else (-20.24, -1.69, -0.22)
    absolute = zero + per_mass * (log_mass - 10) + per_z * redshift
    return absolute + _at_redshift("distance_modulus", redshift)


@lru_cache
def _proposal(sample):
    """Cumulative number of galaxies over cells of type, redshift and mass, and the cells."""
    limit, red_only, z_min, _ = SAMPLES[sample]
    z_edges = np.geomspace(z_min, REDSHIFT_RANGE[1], 151)
    mass_edges = np.linspace(*LOG_MASS_RANGE, 121)
    z, mass = (edges[:-1] + np.diff(edges) / 2 for edges in (z_edges, mass_edges))
    zz, mm = np.meshgrid(z, mass, indexing="ij")
    number = _at_redshift("volume", zz) * np.diff(z_edges)[:, None] * stellar_mass_function(mm)
    red = quiescent_fraction(mm, zz)
    depth = limit + PROPOSAL_MARGIN
    density = np.stack(
        [
            share * number * (_rough_magnitude(mm, zz, quiescent) < depth)
            for quiescent, share in ((False, (1 - red) * (not red_only)), (True, red))
        ]
    )
    cumulative = np.cumsum(density.ravel())
    return cumulative / cumulative[-1], density.shape, z_edges, mass_edges


def _draw_from_volume(rng, sample):
    cumulative, shape, z_edges, mass_edges = _proposal(sample)
    cell = min(np.searchsorted(cumulative, rng.random(), side="right"), cumulative.size - 1)
    quiescent, i, j = np.unravel_index(cell, shape)
    redshift = rng.uniform(z_edges[i], z_edges[i + 1])
    return float(redshift), float(rng.uniform(mass_edges[j], mass_edges[j + 1])), bool(quiescent)


@lru_cache
def _delayed_table():
    # For SFR ~ t exp(-t/tau): SFR * t / formed mass as a function of x = t/tau.
    x = np.geomspace(1e-2, 30, 600)
    return x, x**2 * np.exp(-x) / (1 - (1 + x) * np.exp(-x))


def _delayed_history(start_age, log_ssfr):
    """Start and time scale (Gyr) of the delayed history that ends with a specific SFR."""
    rate = 10 ** (log_ssfr + 9) * SURVIVING_FRACTION
    # The ratio cannot exceed 2, so that the most active galaxies have to be younger.
    start_age = min(start_age, 1.8 / rate)
    x, ratio = _delayed_table()
    return start_age, start_age / np.interp(-rate * start_age, -ratio, x)


def _draw_episode(rng, quiescent, log_ssfr):
    """Mass fraction and age range (Gyr) of a second episode: burst, post-starburst or nothing."""
    kind = rng.random()
    end, length, fraction = 0.0, rng.uniform(0.02, 0.3), 1e-7
    if quiescent and kind < 0.05:
        end, fraction = rng.uniform(0.1, 0.6), 10 ** rng.uniform(-2, -0.7)
    elif not quiescent and kind < 0.4:
        # Its rate over that of the underlying history: a flicker, or in a few a starburst.
        boost = rng.uniform(-1.0, 0.4) if kind < 0.36 else rng.uniform(0.4, 1.0)
        fraction = 10 ** (log_ssfr + 9) * SURVIVING_FRACTION * length * 10**boost
    return min(fraction, 0.3), (end, end + length)


def _draw_bulge(rng, log_mass, quiescent):
    """Bulge fraction, size relative to the disc, and axis ratio.

    Bulges dominate quiescent galaxies and grow with mass in star-forming ones, the trends of Bluck
    et al. (2014, MNRAS 441, 599); the numbers are choices.
    """
    mean = 0.68 if quiescent else 0.06 + 0.12 * np.clip(log_mass - 9.3, 0, 2)
    concentration = 5.0
    fraction = rng.beta(mean * concentration, (1 - mean) * concentration)
    size = 0.35 * 10 ** (0.12 * rng.standard_normal())
    if quiescent:
        size *= 1 + 1.2 * fraction  # an elliptical is all bulge: no small bulge in a large disc
    return np.clip(fraction, 0.0, 0.98), size, rng.uniform(0.6, 1.0)


def _draw_arms(rng, log_mass, quiescent, bulge_to_total):
    """Number, light fraction and pitch angle (degrees) of spiral arms.

    Two thirds of massive star-forming discs have them, two arms being the most frequent (Willett et
    al. 2013, MNRAS 435, 2835); pitch angles of 10 to 30 degrees, tighter around larger bulges
    (Kennicutt 1981, AJ 86, 1847). The numbers are choices.
    """
    spiral = 0.75 * expit((log_mass - 9.3) / 0.3)
    if quiescent or rng.random() > spiral:
        return 0, 0.0, 0.0
    n_arms = rng.choice([1, 2, 3, 4], p=[0.08, 0.55, 0.2, 0.17])
    fraction = np.clip(0.25 * 10 ** (0.2 * rng.standard_normal()), 0.08, 0.35)
    pitch = np.clip(24 - 20 * bulge_to_total + 5 * rng.standard_normal(), 8, 35)
    return n_arms, fraction, pitch


def _draw_nucleus(rng, log_mass, quiescent):
    """Kind and Hα equivalent width (Å) of emission that young stars do not power.

    Shares and strengths after Kauffmann et al. (2003, MNRAS 346, 1055), whose AGN live above
    10^10 solar masses, and Cid Fernandes et al. (2011, MNRAS 413, 1687), whose weak and retired
    galaxies have equivalent widths of 0.5 to 3 Å.
    """
    kind, width = rng.random(), 10 ** (0.3 * rng.standard_normal())
    massive = expit((log_mass - 10.3) / 0.15)
    if kind < 0.06 * massive:
        return "seyfert", 8.0 * width
    if quiescent and kind < 0.5:
        return "liner", 1.0 * width
    return "", 0.0


def _draw_attenuation(rng, log_mass, quiescent, axis_ratio):
    """V-band attenuation of the stars, mag.

    Star-forming: Hα's follows from the mass with 0.28 mag of scatter (Garn & Best 2010), is 0.82 of
    the gas's at V, and the stars' is 0.44 of the gas's (Calzetti et al. 2000, ApJ 533, 682).
    Inclination adds 0.6 mag per dex of axis ratio (Yip et al. 2010, ApJ 709, 780, rounded).
    Quiescent: an exponential of mean 0.1 mag, a choice.
    """
    if quiescent:
        return float(min(rng.exponential(0.1), 1.0))
    at_h_alpha = h_alpha_attenuation(log_mass) + 0.28 * rng.standard_normal()
    inclination = -0.6 * (np.log10(axis_ratio) + 0.25)
    return float(np.clip(0.44 / 0.82 * at_h_alpha + inclination, 0.02, 3.0))
