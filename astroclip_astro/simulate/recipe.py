"""From a seed and a number to one simulated galaxy: the recipe that a mock survey repeats."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from astropy import units as u

from astroclip_astro.simulate import images, noise, population, spectra

__all__ = ["RECIPE_VERSION", "TRUTH", "MockGalaxy", "generator", "recipe_hash", "simulate_galaxy"]

__doctest_requires__ = {"simulate_galaxy": ["galsim", "speclite"]}

# To be raised whenever a change of code, rather than of a constant, changes what is simulated.
RECIPE_VERSION = 1

# Independent random streams of one object.
PHYSICS, SPECTRUM_NOISE, IMAGE_NOISE = range(3)

# Truth columns: type, unit, what it is. Logarithms are to base ten.
TRUTH = {
    "object_id": ("S24", None, "identifier, made of seed and number"),
    "ra": ("f8", u.deg, "ICRS right ascension"),
    "dec": ("f8", u.deg, "ICRS declination"),
    "redshift": ("f8", None, "redshift"),
    "log_mass": ("f4", u.dex(u.Msun), "surviving stellar mass"),
    "age": ("f4", u.Gyr, "mass-weighted age"),
    "log_z": ("f4", u.dex, "mass-weighted stellar metallicity over solar"),
    "log_ssfr": ("f4", u.dex(1 / u.yr), "specific star-formation rate over the last 100 Myr"),
    "a_v": ("f4", u.mag, "V-band attenuation of the stars outside birth clouds"),
    "log_u": ("f4", None, "log of the ionisation parameter"),
    "ionising_fraction": ("f4", None, "fraction of the ionising photons that reach the gas"),
    "gas_log_z": ("f4", u.dex, "gas metallicity over solar"),
    "stellar_dispersion": ("f4", u.km / u.s, "stellar velocity dispersion"),
    "nuclear_lines": ("S8", None, "emission not powered by young stars: liner, seyfert or none"),
    "quiescent": ("?", None, "whether it was drawn off the star-forming main sequence"),
    "mag_g": ("f4", u.ABmag, "total DECam g magnitude"),
    "mag_r": ("f4", u.ABmag, "total DECam r magnitude"),
    "mag_z": ("f4", u.ABmag, "total DECam z magnitude"),
    "magnitude_limit": ("f4", u.ABmag, "r-band limit of the sample it was drawn from"),
    "r_half": ("f4", u.arcsec, "r-band half-light radius along the major axis"),
    "bulge_to_total": ("f4", None, "bulge fraction of the r-band light"),
    "axis_ratio": ("f4", None, "minor over major axis of the disc"),
    "bulge_axis_ratio": ("f4", None, "minor over major axis of the bulge"),
    "position_angle": ("f4", u.deg, "of the major axis, north through east"),
    "n_knots": ("i4", None, "number of star-forming knots"),
    "fibre_fraction": ("f4", None, "fraction of the r-band light in the fibre"),
    "exposure_time": ("f4", u.s, "exposure time of the spectrum"),
    "sky_brightness": ("f4", None, "sky flux during it over that of a dark night"),
    "snr_spectrum": ("f4", None, "median signal-to-noise ratio per 0.8 Å pixel"),
    "snr_image": ("f4", None, "signal-to-noise ratio of the r-band flux in the fibre"),
    "seeing_g": ("f4", u.arcsec, "PSF FWHM in g"),
    "seeing_r": ("f4", u.arcsec, "PSF FWHM in r"),
    "seeing_z": ("f4", u.arcsec, "PSF FWHM in z"),
}

# Declinations of the Legacy Surveys (Dey et al. 2019, AJ 157, 168).
DECLINATION = (-18.0, 84.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class MockGalaxy:
    """One simulated galaxy: its noiseless data, their noise and the truth.

    Parameters
    ----------
    spectrum : numpy.ndarray
        Noiseless flux in the fibre, shape (7781,), float32, 1e-17 erg s-1 cm-2 Å-1.
    spectrum_sigma : numpy.ndarray
        Its noise, shape (7781,), float32.
    image : numpy.ndarray
        Noiseless g, r, z cutout, shape (3, 152, 152), float32, nanomaggies.
    image_sigma : numpy.ndarray
        Noise per pixel in g, r, z, shape (3,), float32, nanomaggies.
    truth : dict
        A value for every key of `TRUTH`, in its unit.
    """

    spectrum: np.ndarray
    spectrum_sigma: np.ndarray
    image: np.ndarray
    image_sigma: np.ndarray
    truth: dict


def generator(seed, index, *stream):
    """Random generator of one object's stream, the same however many objects there are.

    Parameters
    ----------
    seed : int
        Of the survey.
    index : int
        Number of the object.
    *stream : int
        What the numbers are for, and further numbers that set streams apart.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> from astroclip_astro.simulate.recipe import generator
    >>> generator(0, 5, 1).random() == generator(0, 5, 1).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, *stream)))


def recipe_hash():
    """Fingerprint of everything that decides what is simulated, the seed excepted.

    Returns
    -------
    str
        SHA-256 of `RECIPE_VERSION` and of the constants of the recipe's modules.

    Examples
    --------
    >>> from astroclip_astro.simulate.recipe import recipe_hash
    >>> len(recipe_hash())
    64
    """
    constants = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for module in (population, spectra, images, noise)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, np.ndarray | dict | tuple | float | int)
    }
    text = json.dumps([RECIPE_VERSION, constants], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def simulate_galaxy(seed, index):
    """Simulate one galaxy.

    A sample (magnitude limit) is drawn, then galaxies until the model spectrum of one is brighter
    than the limit in r. The spectrum is that of the whole galaxy times the fraction of the r-band
    light that falls into the fibre: it has no aperture colour.

    Parameters
    ----------
    seed : int
        Of the survey.
    index : int
        Number of the object; with the seed it decides everything.

    Returns
    -------
    MockGalaxy

    Raises
    ------
    ImportError
        If bagpipes, speclite or GalSim is not installed.

    Examples
    --------
    >>> from astroclip_astro.simulate.recipe import simulate_galaxy
    >>> simulate_galaxy(seed=0, index=1).image.shape
    (3, 152, 152)
    """
    rng = generator(seed, index, PHYSICS)
    limit = population.draw_limit(rng)
    magnitude = np.full(3, np.inf)
    while not magnitude[1] < limit:
        galaxy = population.draw_galaxy(rng, limit)
        model = spectra.model_spectrum(galaxy)
        magnitude = 22.5 - 2.5 * np.log10(model.nanomaggies)

    conditions = images.draw_conditions(rng)
    exposure = noise.draw_exposure(rng)
    image = images.draw_image(galaxy, model.nanomaggies, conditions, rng)
    fraction = images.fibre_fraction(image[1], model.nanomaggies[1])
    spectrum = model.flux * fraction
    spectrum_sigma = noise.spectrum_sigma(spectrum, exposure)
    image_sigma = images.pixel_sigma(conditions)
    fibre_area = np.pi / 4 * (images.FIBRE_DIAMETER / images.PIXEL_SCALE) ** 2  # pixels

    sine = rng.uniform(*np.sin(np.radians(DECLINATION)))
    truth = {
        "object_id": f"mock-{seed}-{index:07d}".encode(),
        "ra": rng.uniform(0, 360),
        "dec": np.degrees(np.arcsin(sine)),
        "redshift": galaxy.redshift,
        "log_mass": galaxy.log_mass,
        "age": model.age,
        "log_z": model.log_z,
        "log_ssfr": model.log_ssfr,
        "a_v": galaxy.a_v,
        "log_u": galaxy.log_u,
        "ionising_fraction": galaxy.ionising_fraction,
        "gas_log_z": np.log10(galaxy.gas_metallicity),
        "stellar_dispersion": galaxy.stellar_dispersion,
        "nuclear_lines": galaxy.nuclear_lines.encode(),
        "quiescent": galaxy.quiescent,
        **{f"mag_{band}": magnitude[i] for i, band in enumerate(spectra.BANDS)},
        "magnitude_limit": limit,
        "r_half": images.half_light_angle(galaxy),
        "bulge_to_total": galaxy.bulge_to_total,
        "axis_ratio": galaxy.disc_axis_ratio,
        "bulge_axis_ratio": galaxy.bulge_axis_ratio,
        "position_angle": galaxy.position_angle,
        "n_knots": galaxy.n_knots,
        "fibre_fraction": fraction,
        "exposure_time": exposure.time,
        "sky_brightness": exposure.sky_brightness,
        "snr_spectrum": np.median(spectrum / spectrum_sigma),
        "snr_image": fraction * model.nanomaggies[1] / (image_sigma[1] * np.sqrt(fibre_area)),
        **{f"seeing_{band}": conditions.seeing[i] for i, band in enumerate(spectra.BANDS)},
    }
    for name, data in (("spectrum", spectrum), ("noise", spectrum_sigma), ("image", image)):
        if not np.isfinite(data).all():
            raise ArithmeticError(f"object {index} of seed {seed}: its {name} is not finite")
    return MockGalaxy(
        spectrum=spectrum.astype(np.float32),
        spectrum_sigma=spectrum_sigma.astype(np.float32),
        image=image,
        image_sigma=image_sigma.astype(np.float32),
        truth=truth,
    )
