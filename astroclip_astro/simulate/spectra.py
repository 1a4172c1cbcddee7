"""Noiseless observed spectra of simulated galaxies, with their broad-band fluxes and true physics.

Stars and nebular emission are those of bagpipes (Carnall et al. 2018, MNRAS 480, 4379): the 2016
update of Bruzual & Charlot (2003, MNRAS 344, 1000) with the MILES library and a Kroupa (2001) mass
function, and Cloudy models for gas around stars younger than 10 Myr.

Both grids give air wavelengths (Ca II K at 3933.7 Å, Hα at 6562.8 Å); they are moved to vacuum
here. MILES has a resolution of 2.5 Å FWHM in the rest frame, which is coarser than DESI's, so the
continuum is broadened by the stars' velocity dispersion only. Emission lines are not taken from
bagpipes' pixels but drawn as Gaussians of the gas dispersion and the instrument's resolution.
"""

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy import constants
from astropy import units as u
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr
from specutils.utils.wcs_utils import air_to_vac

__all__ = [
    "BANDS",
    "ModelSpectrum",
    "load_bagpipes",
    "model_spectrum",
    "observe_model",
    "require",
    "wavelength_grid",
]

__doctest_requires__ = {("model_spectrum", "observe_model"): ["dust_extinction", "speclite"]}

BANDS = ("g", "r", "z")

WAVELENGTH_START, WAVELENGTH_STEP, N_PIXELS = 3600.0, 0.8, 7781

# DESI resolves 1.5 to 2 Å FWHM in its three arms (Abareshi et al. 2022, AJ 164, 207).
LSF_SIGMA = 1.8 / 2.3548

C_KMS = constants.c.to_value(u.km / u.s)

# Gas to star attenuation, 1/0.44 (Calzetti et al. 2000, ApJ 533, 682).
BIRTH_CLOUD_RATIO = 1 / 0.44

# Sampling of the model: R = 4000 gives steps of 37 km/s.
MODEL_RESOLUTION = 4000.0
MODEL_RANGE = (3300.0, 11_100.0)  # Å observed: the reach of the DECam filter curves
MAX_REDSHIFT = 0.85

# Line ratios to Hβ = 1 of nuclei that young stars do not power, chosen within the Seyfert and
# LINER regions of Kewley et al. (2006, MNRAS 372, 961): air wavelength (Å), Seyfert, LINER.
NUCLEAR_LINES = np.array(
    [
        (3726.03, 1.2, 2.5),
        (3728.81, 1.4, 3.0),
        (3868.76, 0.8, 0.6),
        (4340.46, 0.47, 0.47),
        (4861.32, 1.0, 1.0),
        (4958.91, 3.0, 0.8),
        (5006.84, 9.0, 2.4),
        (6300.30, 0.4, 0.6),
        (6548.05, 0.95, 1.2),
        (6562.80, 3.1, 3.1),
        (6583.45, 2.85, 3.6),
        (6716.44, 1.0, 1.6),
        (6730.82, 0.9, 1.4),
    ]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelSpectrum:
    """The light of one galaxy and the physics behind it.

    Parameters
    ----------
    flux : numpy.ndarray
        Total flux on `wavelength_grid`, shape (7781,), float64, 1e-17 erg s-1 cm-2 Å-1.
    nanomaggies : numpy.ndarray
        Total flux through DECam g, r, z, shape (3,), AB zeropoint 22.5.
    age : float
        Mass-weighted age, Gyr.
    log_z : float
        log10 of the mass-weighted stellar metallicity in solar units.
    log_ssfr : float
        log10 of the star-formation rate over the last 100 Myr per surviving mass, yr-1.
    """

    flux: np.ndarray
    nanomaggies: np.ndarray
    age: float
    log_z: float
    log_ssfr: float


def require(module):
    """Import one of the packages that only simulations need.

    Parameters
    ----------
    module : str
        Name to import.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed, saying how to install it.

    Examples
    --------
    >>> from astroclip_astro.simulate.spectra import require
    >>> require("numpy").__name__
    'numpy'
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"simulating galaxies needs {module.partition('.')[0]}, which cannot be imported "
            f"({error}); install it with: pip install astroclip_astro[simulate]"
        ) from error


def load_bagpipes():
    """Import bagpipes without its messages and with no warning of the files it leaves open.

    The first import on a machine computes a table and writes it beside bagpipes' own grids.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed, saying how to install it.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return require("bagpipes")


def wavelength_grid():
    """Vacuum wavelengths of the spectra, the grid of DESI's coadds.

    Returns
    -------
    numpy.ndarray
        Pixel centres, shape (7781,), float64, Å: 3600 to 9824 in steps of 0.8.

    Examples
    --------
    >>> from astroclip_astro.simulate.spectra import wavelength_grid
    >>> wavelength_grid()[[0, -1]]
    array([3600., 9824.])
    """
    return WAVELENGTH_START + WAVELENGTH_STEP * np.arange(N_PIXELS)


def model_spectrum(galaxy, ebv=0.0):
    """Compute the spectrum, the g, r, z fluxes and the true physics of a galaxy.

    Parameters
    ----------
    galaxy : `~astroclip_astro.simulate.population.Galaxy`
    ebv : float
        Milky Way reddening E(B-V), mag.

    Returns
    -------
    ModelSpectrum

    Raises
    ------
    ImportError
        If bagpipes or speclite is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.population import draw_galaxy
    >>> from astroclip_astro.simulate.spectra import model_spectrum
    >>> galaxy = draw_galaxy(np.random.default_rng(1), "sdss-main")
    >>> model_spectrum(galaxy).flux.shape
    (7781,)
    """
    synthesis = _synthesis()
    components = _components(galaxy)
    synthesis.model.update(components)
    history = synthesis.model.sfh
    # The model is linear in mass: it forms 10^10 solar masses and is scaled to the mass wanted.
    scale = 10 ** (galaxy.log_mass - history.stellar_mass) * 1e17

    stretch = 1 + galaxy.redshift
    wavelength = synthesis.vacuum * stretch
    step = 0.5 / MODEL_RESOLUTION * C_KMS
    full = synthesis.model.spectrum_full[synthesis.window] * scale
    continuum = gaussian_filter1d(full, galaxy.stellar_dispersion / step)

    centre, line_flux = _lines(galaxy, synthesis, wavelength, continuum, scale)
    sigma = np.hypot(centre * galaxy.gas_dispersion / C_KMS, LSF_SIGMA)

    seen = observe_model(wavelength, continuum, ebv, lines=(centre, line_flux, sigma))
    return ModelSpectrum(
        flux=seen.flux,
        nanomaggies=seen.nanomaggies,
        age=float(history.mass_weighted_age),
        log_z=float(np.log10(history.mass_weighted_zmet)),
        log_ssfr=float(history.ssfr),
    )


def observe_model(wavelength, continuum, ebv=0.0, lines=None):
    """Put a model on the survey's wavelength grid and through the g, r, z filters.

    Parameters
    ----------
    wavelength : array_like
        Observed vacuum wavelengths, shape (n,), Å, covering the filters.
    continuum : array_like
        Flux density, shape (n,), 1e-17 erg s-1 cm-2 Å-1.
    ebv : float
        Milky Way reddening E(B-V), mag, with the law of Fitzpatrick (1999, PASP 111, 63) for
        R_V = 3.1.
    lines : tuple of numpy.ndarray, optional
        Centres (Å), fluxes (1e-17 erg s-1 cm-2) and Gaussian widths (Å) of emission lines.

    Returns
    -------
    ModelSpectrum
        Without physics.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.simulate.spectra import observe_model
    >>> wavelength = np.arange(3300.0, 11100.0)
    >>> plain, dusty = (observe_model(wavelength, np.ones(7800), e).nanomaggies for e in (0, 0.1))
    >>> (-2.5 * np.log10(dusty / plain)).round(2)
    array([0.36, 0.24, 0.14])
    """
    dust = 10 ** (-0.4 * ebv * _extinction(wavelength))
    continuum = continuum * dust
    edges = _edges(wavelength)
    integral = np.concatenate([[0.0], np.cumsum(continuum * np.diff(edges))])
    grid_edges = _edges(wavelength_grid())
    flux = np.diff(np.interp(grid_edges, edges, integral)) / np.diff(grid_edges)
    total = continuum
    if lines is not None:
        centre, line_flux, sigma = lines
        line_flux = line_flux * np.interp(centre, wavelength, dust)
        flux += _gaussian_lines(grid_edges, centre, line_flux, sigma)
        total = continuum + _gaussian_lines(edges, centre, line_flux, sigma)
    filters = _filters()
    maggies = filters.get_ab_maggies(total * 1e-17, wavelength)
    return ModelSpectrum(
        flux=flux,
        nanomaggies=1e9 * np.array([maggies[0][name] for name in filters.names]),
        age=np.nan,
        log_z=np.nan,
        log_ssfr=np.nan,
    )


@lru_cache
def _filters():
    return require("speclite.filters").load_filters(*(f"decam2014-{b}" for b in BANDS))


def _extinction(wavelength):
    """Milky Way extinction A over E(B-V) at observed wavelengths in Å."""
    return np.interp(wavelength, *_extinction_curve())


@lru_cache
def _extinction_curve():
    law = require("dust_extinction.parameter_averages").F99(Rv=3.1)
    wavelength = np.arange(3200.0, 11_200.0, 20.0)
    return wavelength, 3.1 * law(wavelength * u.AA)


@dataclass(frozen=True, eq=False)
class _Synthesis:
    """bagpipes' model without its emission lines, and what goes with its wavelengths."""

    model: object
    window: slice
    vacuum: np.ndarray
    line_vacuum: np.ndarray
    line_names: list


@lru_cache
def _synthesis():
    bagpipes = load_bagpipes()
    config = bagpipes.config
    before = config.max_redshift, config.R_spec
    config.max_redshift, config.R_spec = MAX_REDSHIFT, MODEL_RESOLUTION
    components = {
        "redshift": 0.1,
        "t_bc": 0.01,
        "delayed": {"age": 8.0, "tau": 3.0, "massformed": 10.0, "metallicity": 1.0},
        "constant": {"age_min": 0.0, "age_max": 0.1, "massformed": 3.0, "metallicity": 1.0},
        "nebular": {"logU": -3.0, "metallicity": 1.0},
        "dust": {"type": "Calzetti", "Av": 0.1, "eta": BIRTH_CLOUD_RATIO},
    }
    try:
        with warnings.catch_warnings():
            # It rebins onto the two ends of the range, which is not used and not quite covered.
            warnings.filterwarnings("ignore", "Spectres: new_wavs contains values outside")
            model = bagpipes.model_galaxy(components, spec_wavs=np.array(MODEL_RANGE))
    finally:
        config.max_redshift, config.R_spec = before
    model.spec_wavs = None  # its own broadening and rebinning are not used
    _remove_lines(model, config.line_wavs)
    blue, red = MODEL_RANGE[0] / (1 + MAX_REDSHIFT), MODEL_RANGE[1]
    start, stop = np.searchsorted(model.wavelengths, [blue, red])
    return _Synthesis(
        model=model,
        window=slice(start, stop),
        vacuum=_to_vacuum(model.wavelengths[start:stop]),
        line_vacuum=_to_vacuum(config.line_wavs),
        line_names=[str(name) for name in config.line_names],
    )


def _remove_lines(model, line_wavelengths):
    """Undo the addition of line luminosities to single pixels of the nebular continuum grid."""
    nebular, wavelength = model.nebular, model.wavelengths
    for i, line in enumerate(line_wavelengths):
        pixel = np.abs(wavelength - line).argmin()
        if 0 < pixel < wavelength.size - 1:
            width = (wavelength[pixel + 1] - wavelength[pixel - 1]) / 2
            nebular.combined_grid[pixel] -= nebular.line_grid[i] / width


def _components(galaxy):
    """Bagpipes' description of a galaxy that forms 10^10 solar masses."""
    shared = {"metallicity": galaxy.metallicity}
    end, start = galaxy.episode_ages
    fraction = galaxy.episode_fraction
    return {
        "redshift": galaxy.redshift,
        "t_bc": 0.01,
        "delayed": {
            "age": galaxy.start_age,
            "tau": galaxy.tau,
            "massformed": 10 + np.log10(1 - fraction),
            **shared,
        },
        "constant": {
            "age_min": end,
            "age_max": start,
            "massformed": 10 + np.log10(fraction),
            **shared,
        },
        "nebular": {"logU": galaxy.log_u, "metallicity": galaxy.gas_metallicity, "velshift": 0.0},
        "dust": {"type": "Calzetti", "Av": galaxy.a_v, "eta": BIRTH_CLOUD_RATIO},
    }


def _lines(galaxy, synthesis, wavelength, continuum, scale):
    """Observed vacuum wavelengths and fluxes of the emission lines."""
    stretch = 1 + galaxy.redshift
    centre = synthesis.line_vacuum * stretch
    flux = np.array([synthesis.model.line_fluxes[name] for name in synthesis.line_names])
    flux *= scale * galaxy.ionising_fraction
    if galaxy.nuclear_lines:
        column = 1 if galaxy.nuclear_lines == "seyfert" else 2
        nuclear_centre = _to_vacuum(NUCLEAR_LINES[:, 0]) * stretch
        ratio = NUCLEAR_LINES[:, column]
        is_h_alpha = NUCLEAR_LINES[:, 0] == 6562.80
        level = np.interp(nuclear_centre[is_h_alpha], wavelength, continuum)
        h_alpha = galaxy.nuclear_width * stretch * level
        centre = np.concatenate([centre, nuclear_centre])
        flux = np.concatenate([flux, h_alpha * ratio / ratio[is_h_alpha]])
    inside = (centre > wavelength[0]) & (centre < wavelength[-1])
    return centre[inside], flux[inside]


def _gaussian_lines(edges, centre, flux, sigma):
    """Mean flux density in each pixel of lines with Gaussian profiles."""
    density = np.zeros(edges.size - 1)
    first = np.searchsorted(edges, centre - 6 * sigma)
    last = np.searchsorted(edges, centre + 6 * sigma)
    for i, (start, stop) in enumerate(zip(first, last, strict=True)):
        if stop - start > 1:
            window = edges[start:stop]
            share = np.diff(ndtr((window - centre[i]) / sigma[i]))
            density[start : stop - 1] += flux[i] * share / np.diff(window)
    return density


def _edges(centres):
    """Pixel edges half way between pixel centres."""
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _to_vacuum(angstrom):
    """Air to vacuum, Å; below 2000 Å wavelengths are vacuum already by convention."""
    angstrom = np.asarray(angstrom, dtype=float)
    vacuum = angstrom.copy()
    air = angstrom > 2000
    vacuum[air] = air_to_vac(angstrom[air] * u.AA).to_value(u.AA)
    return vacuum
