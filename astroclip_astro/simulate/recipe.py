"""From a seed and a number to one simulated object: the recipe that a mock survey repeats."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from astropy import units as u

from astroclip_astro.simulate import contaminants, images, noise, population, spectra, structure

__all__ = [
    "RECIPE_VERSION",
    "TRUTH",
    "MockGalaxy",
    "generator",
    "recipe_hash",
    "simulate_galaxy",
    "simulate_image",
]

__doctest_requires__ = {
    ("simulate_galaxy", "simulate_image"): ["dust_extinction", "galsim", "speclite"]
}

# To be raised whenever a change of code, rather than of a constant, changes what is simulated.
RECIPE_VERSION = 3

# Independent random streams of one object.
PHYSICS, SPECTRUM_NOISE, IMAGE_NOISE = range(3)

# Truth columns: type, unit, what it is. Logarithms are to base ten.
TRUTH = {
    "object_id": ("S24", None, "identifier, made of seed and number"),
    "kind": ("S6", None, "galaxy, star or qso; what only galaxies have is NaN for the others"),
    "sample": ("S9", None, "sample that it was drawn from"),
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
    "ebv": ("f4", u.mag, "Milky Way reddening E(B-V), not corrected for"),
    "r_half": ("f4", u.arcsec, "r-band half-light radius along the major axis"),
    "bulge_to_total": ("f4", None, "bulge fraction of the r-band light"),
    "axis_ratio": ("f4", None, "minor over major axis of the disc"),
    "bulge_axis_ratio": ("f4", None, "minor over major axis of the bulge"),
    "position_angle": ("f4", u.deg, "of the major axis, north through east"),
    "n_knots": ("i4", None, "number of star-forming knots"),
    "n_arms": ("i4", None, "number of spiral arms"),
    "arm_fraction": ("f4", None, "fraction of the r-band disc light in spiral arms"),
    "arm_pitch": ("f4", u.deg, "pitch angle of the spiral arms"),
    "bar_fraction": ("f4", None, "fraction of the r-band disc light in a bar"),
    "n_neighbours": ("i4", None, "other galaxies and stars in the cutout"),
    "fibre_fraction": ("f4", None, "fraction of the r-band light in the fibre"),
    "exposure_time": ("f4", u.s, "exposure time of the spectrum"),
    "sky_brightness": ("f4", None, "sky flux during it over that of a dark night"),
    "snr_spectrum": ("f4", None, "median signal-to-noise ratio per 0.8 Å pixel"),
    "snr_image": ("f4", None, "signal-to-noise ratio of the r-band flux in the fibre"),
    "seeing_g": ("f4", u.arcsec, "PSF FWHM in g"),
    "seeing_r": ("f4", u.arcsec, "PSF FWHM in r"),
    "seeing_z": ("f4", u.arcsec, "PSF FWHM in z"),
}

# Median E(B-V) of the Legacy Surveys' footprint is near 0.04 (Dey et al. 2019, AJ 157, 168, chose
# it to be low); drawn from an exponential.
MEAN_EBV = 0.05

# Where the fibre's share of the light is measured: DECam's g, r and z, Å (Abbott et al. 2018, ApJS
# 239, 18, rounded).
BAND_CENTRES = (4830.0, 6430.0, 9260.0)

# Declinations of the Legacy Surveys (Dey et al. 2019, AJ 157, 168).
DECLINATION = (-18.0, 84.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class MockGalaxy:
    """One simulated galaxy: its noiseless data, their noise and the truth.

    Parameters
    ----------
    spectrum : numpy.ndarray
        Noiseless flux in the fibre, calibrated as for a point source, shape (7781,), float32, 1e-17
        erg s-1 cm-2 Å-1.
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
        name: value
        for module in (population, spectra, structure, images, noise, contaminants)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, np.ndarray | dict | tuple | float | int)
    }
    text = json.dumps([RECIPE_VERSION, constants], sort_keys=True, default=np.ndarray.tolist)
    return hashlib.sha256(text.encode()).hexdigest()


def simulate_galaxy(seed, index):
    """Simulate one object of the survey: a galaxy, or now and then a star or a quasar.

    A sample is drawn, then galaxies until the model spectrum of one is brighter than the sample's
    limit in r. The spectrum is that of the whole galaxy times the fraction of its light that falls
    into the fibre, over that of a point source, interpolated between the bands: it has the colour
    of the aperture, and the scale of surveys, which calibrate with stars (DESI: Guy et al. 2023, AJ
    165, 144; SDSS: Adelman-McCarthy et al. 2008, ApJS 175, 297).

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
        If bagpipes, speclite, dust_extinction or GalSim is not installed.

    Examples
    --------
    >>> from astroclip_astro.simulate.recipe import simulate_galaxy
    >>> simulate_galaxy(seed=0, index=1).image.shape
    (3, 152, 152)
    """
    rng = generator(seed, index, PHYSICS)
    kind, sample, ebv, exposure, conditions, model, drawn, truth = _object(rng)
    target, surroundings, n_neighbours = drawn
    image = target + surroundings
    totals = model.nanomaggies
    fractions = images.fibre_fractions(image, totals)
    calibrated = np.log(fractions / images.point_fractions(conditions))
    colour = np.interp(np.log(spectra.wavelength_grid()), np.log(BAND_CENTRES), calibrated)
    spectrum = model.flux * np.exp(colour)
    spectrum_sigma = noise.spectrum_sigma(spectrum, exposure)
    image_sigma = images.pixel_sigma(conditions)
    fibre_area = np.pi / 4 * (images.FIBRE_DIAMETER / images.PIXEL_SCALE) ** 2  # pixels
    magnitude = 22.5 - 2.5 * np.log10(totals)
    sine = rng.uniform(*np.sin(np.radians(DECLINATION)))
    truth = {
        **{name: _missing(kind_) for name, (kind_, _, _) in TRUTH.items()},
        **truth,
        "object_id": f"mock-{seed}-{index:07d}".encode(),
        "kind": str(kind).encode(),
        "sample": sample.encode(),
        "ra": rng.uniform(0, 360),
        "dec": np.degrees(np.arcsin(sine)),
        "ebv": ebv,
        **{f"mag_{band}": magnitude[i] for i, band in enumerate(spectra.BANDS)},
        "n_neighbours": n_neighbours,
        "fibre_fraction": fractions[1],
        "exposure_time": exposure.time,
        "sky_brightness": exposure.sky_brightness,
        "snr_spectrum": np.median(spectrum / spectrum_sigma),
        "snr_image": fractions[1] * totals[1] / (image_sigma[1] * np.sqrt(fibre_area)),
        **{f"seeing_{band}": conditions.seeing[i] for i, band in enumerate(spectra.BANDS)},
    }
    for name, data in (("spectrum", spectrum), ("noise", spectrum_sigma), ("image", image)):
        if not np.isfinite(data).all():
            raise ArithmeticError(f"object {index} of seed {seed}: its {name} is not finite")
    return MockGalaxy(
        spectrum=spectrum.astype(np.float32),
        spectrum_sigma=spectrum_sigma.astype(np.float32),
        image=image.astype(np.float32),
        image_sigma=image_sigma.astype(np.float32),
        truth=truth,
    )


def simulate_image(seed, index, conditions=None, *, finer=1):
    """Draw the image of an object of the survey again, as another camera would see it.

    Parameters
    ----------
    seed, index : int
        Which object, as for `simulate_galaxy`.
    conditions : ObservingConditions, optional
        The seeing; by default that of the object's own image. The depth is not used.
    finer : int
        Pixels along each side of one of 0.262 arcsec, a power of two.

    Returns
    -------
    numpy.ndarray
        Noiseless g, r, z cutout of the same 39.8 arcsec, shape (3, 152 finer, 152 finer), float32,
        nanomaggies per pixel.

    Raises
    ------
    ImportError
        If bagpipes, speclite, dust_extinction or GalSim is not installed.

    Examples
    --------
    >>> from astroclip_astro.simulate.recipe import simulate_image
    >>> simulate_image(seed=0, index=1, finer=2).shape
    (3, 304, 304)
    """
    *_, (target, surroundings, _), _ = _object(generator(seed, index, PHYSICS), conditions, finer)
    return target + surroundings


def _object(rng, conditions=None, finer=1):
    """Draw an object: what it is, how it is observed, its light, its picture and its truth."""
    sample = population.draw_sample(rng)
    ebv = min(rng.exponential(MEAN_EBV), 0.3)
    # Drawn in any case: what is drawn next must not depend on it.
    own = images.draw_conditions(rng)
    conditions = own if conditions is None else conditions
    exposure = noise.draw_exposure(rng, sample)
    shares = contaminants.CONTAMINANT_SHARE
    kind = rng.choice(["galaxy", *shares], p=[1 - sum(shares.values()), *shares.values()])
    if kind == "galaxy":
        truth, model, drawn = _galaxy(sample, ebv, conditions, rng, finer)
    else:
        truth, model, drawn = _point(kind, ebv, conditions, rng, finer)
    return kind, sample, ebv, exposure, conditions, model, drawn, truth


def _missing(kind):
    """Value of a truth column for an object that has no such property."""
    return {"S": b"", "f": np.nan}.get(kind[0], 0)


def _galaxy(sample, ebv, conditions, rng, finer):
    """Truth, light and picture of a galaxy."""
    limit = population.SAMPLES[sample][0]
    nanomaggies = np.zeros(3)
    while not nanomaggies[1] > 10 ** (0.4 * (22.5 - limit)):
        galaxy = population.draw_galaxy(rng, sample)
        model = spectra.model_spectrum(galaxy, ebv)
        nanomaggies = model.nanomaggies
    truth = {
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
        "r_half": images.half_light_angle(galaxy),
        "bulge_to_total": galaxy.bulge_to_total,
        "axis_ratio": galaxy.disc_axis_ratio,
        "bulge_axis_ratio": galaxy.bulge_axis_ratio,
        "position_angle": galaxy.position_angle,
        "n_knots": galaxy.n_knots,
        "n_arms": galaxy.n_arms,
        "arm_fraction": galaxy.arm_fraction,
        "arm_pitch": galaxy.arm_pitch,
        "bar_fraction": galaxy.bar_fraction,
    }
    return truth, model, images.draw_image(galaxy, nanomaggies, conditions, rng, finer=finer)


def _point(kind, ebv, conditions, rng, finer):
    """Truth, light and picture of a star or quasar."""
    drawn = contaminants.draw_contaminant(rng, kind)
    model = contaminants.contaminant_spectrum(drawn, ebv)
    truth = {"redshift": drawn.redshift}
    return truth, model, images.draw_point(model.nanomaggies, conditions, rng, finer=finer)
