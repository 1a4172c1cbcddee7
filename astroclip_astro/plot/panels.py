"""One object in one panel: a spectrum with its lines, or the picture of a cutout."""

import numpy as np
import torch
from matplotlib.patheffects import withStroke

from astroclip_astro.adapters.image import ImagePreprocessing, to_rgb
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.inputs import one_record
from astroclip_astro.plot.lines import mark_lines
from astroclip_astro.plot.style import BLUE, FLUX_DENSITY, new_axes

__all__ = [
    "draw",
    "flux_limits",
    "image_panel",
    "picture",
    "read",
    "show_missing",
    "smoothed",
    "spectrum_panel",
]

_PREPROCESSING = {"spectrum": SpectrumPreprocessing(), "image": ImagePreprocessing()}
# So many means of neighbouring pixels show the lines that the noise of single pixels hides.
_MEANS = 800
_BAR = 10  # arcsec


def spectrum_panel(obj, ax=None, *, survey=None, redshift=None):
    """Draw a spectrum and the lines of galaxies at its redshift.

    Parameters
    ----------
    obj : object
        One spectrum, as `astroclip_astro.embed` takes it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.
    survey : str, optional
        How the object is to be read, as for `astroclip_astro.embed`.
    redshift : float, optional
        Where to mark the lines; by default as the object states it, and if it does not, none is
        marked.

    Returns
    -------
    matplotlib.axes.Axes
        In grey the flux density of each pixel (1e-17 erg s-1 cm-2 Å-1) by observed wavelength (Å,
        vacuum), with gaps where there are no good data; over it, means of neighbouring pixels,
        weighted by inverse variance.

    Raises
    ------
    InputError
        If there is not exactly one spectrum, or it cannot be used.

    Examples
    --------
    >>> from astroclip_astro.plot import spectrum_panel
    >>> from astroclip_astro.simulate import MockSurvey
    >>> spectrum_panel(MockSurvey.bundled().spectrum(0)).get_xlabel()
    'Observed wavelength in vacuum [Å]'
    """
    record = _of("spectrum", obj, survey)
    ax = new_axes(ax, 9, 3.2)
    draw(record, ax, redshift=redshift)
    ax.set(xlabel="Observed wavelength in vacuum [Å]", ylabel=FLUX_DENSITY)
    return ax


def image_panel(obj, ax=None, *, survey=None):
    """Draw the picture of a cutout as the sky viewer of the Legacy Surveys would show it.

    Parameters
    ----------
    obj : object
        One cutout, as `astroclip_astro.embed` takes it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.
    survey : str, optional
        How the object is to be read, as for `astroclip_astro.embed`.

    Returns
    -------
    matplotlib.axes.Axes
        40 arcsec on a side, north up and east left, the colours those of
        `astroclip_astro.adapters.image.to_rgb`; hatched where a band has no data. Its coordinates
        are offsets to the east and to the north in arcsec, and the bar is of 10 arcsec.

    Raises
    ------
    InputError
        If there is not exactly one cutout, or it cannot be used.

    Examples
    --------
    >>> from astroclip_astro.plot import image_panel
    >>> from astroclip_astro.simulate import MockSurvey
    >>> ax = image_panel(MockSurvey.bundled().cutout(0))
    >>> ax.images[0].get_array().shape
    (152, 152, 4)
    """
    record = _of("image", obj, survey)
    ax = new_axes(ax, 3.5, 3.5)
    draw(record, ax)
    return ax


def _of(modality, obj, survey):
    record = read(obj, survey)
    if record.modality != modality:
        raise InputError(
            f"this is of {record.modality} data, expected {modality} data: take "
            f"{record.modality}_panel()",
            object_id=record.object_id,
        )
    return record


def read(obj, survey=None):
    """Read a spectrum or a cutout.

    Parameters
    ----------
    obj : object
        One, as `astroclip_astro.embed` takes it.
    survey : str, optional
        How it is to be read.

    Returns
    -------
    SpectrumRecord or ImageRecord

    Raises
    ------
    InputError
        If there is not exactly one object, or it cannot be used.
    """
    return one_record(obj, preprocessing=_PREPROCESSING, survey=survey)


def draw(record, ax, *, redshift=None, named=True):
    """Draw what was read, without labels of the axes.

    Parameters
    ----------
    record : SpectrumRecord or ImageRecord
        As `read` returns it.
    ax : matplotlib.axes.Axes
        Where.
    redshift : float, optional
        Of the lines of a spectrum; by default its own.
    named : bool
        Whether the names of lines are written above.
    """
    if record.modality == "spectrum":
        z = record.redshift if redshift is None else redshift
        _draw_spectrum(record, ax, z, named)
    else:
        _draw_image(record, ax)


def flux_limits(flux, ivar):
    """Limits of a flux axis that residuals of sky lines do not set.

    Parameters
    ----------
    flux, ivar : numpy.ndarray
        Shape (n,); pixels of more than three times the usual noise count only where they are 10 σ
        above zero, as bright lines are.

    Returns
    -------
    tuple of float
        Lower and upper; 0 and 1 if there are no data.
    """
    seen = ivar > 0
    if not seen.any():
        return 0.0, 1.0
    usual = flux[(ivar > np.median(ivar[seen]) / 10) | (flux * np.sqrt(ivar) > 10)]
    margin = 0.05 * np.ptp(usual) or 1.0
    return usual.min() - margin, usual.max() + margin


def show_missing(ax, text="no data"):
    """Make axes look like there is nothing to be shown.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Which.
    text : str
        What is said in the middle.
    """
    _hatch(ax)
    ax.set(xticks=[], yticks=[])
    box = {"facecolor": "w", "edgecolor": "none", "pad": 2}
    ax.text(0.5, 0.5, text, ha="center", va="center", bbox=box, transform=ax.transAxes)


def _hatch(ax):
    ax.patch.set(facecolor="0.92", edgecolor="0.6", hatch="////")


def smoothed(record):
    """Means of neighbouring pixels, weighted by inverse variance.

    Parameters
    ----------
    record : SpectrumRecord
        As `read` returns it.

    Returns
    -------
    mean : numpy.ndarray
        Shape (n,), some 800; NaN where there are no good data.
    ivar : numpy.ndarray
        Shape (n,): inverse variances of the means.
    edges : numpy.ndarray
        Shape (n + 1,), wavelengths between them.
    """
    each = max(len(record.flux) // _MEANS, 1)
    whole = len(record.flux) // each * each
    weight = record.ivar[:whole].reshape(-1, each)
    total = weight.sum(1)
    weighted = (weight * record.flux[:whole].reshape(-1, each)).sum(1)
    return weighted / np.where(total > 0, total, np.nan), total, record.edges[: whole + 1 : each]


def picture(record):
    """The picture of a cutout, as the sky viewer of the Legacy Surveys would show it.

    Parameters
    ----------
    record : ImageRecord
        As `read` returns it.

    Returns
    -------
    numpy.ndarray
        Red, green, blue and opacity from 0 to 1, shape (row, column, 4), rows to the north;
        transparent where a band has no data.
    """
    flux = torch.from_numpy(record.flux)
    colours = to_rgb(flux, _PREPROCESSING["image"]).movedim(0, -1).numpy()
    good = np.ones(colours.shape[:2]) if record.good is None else record.good.all(0)
    return np.dstack([colours, good])


def _draw_spectrum(record, ax, redshift, named):
    edges, flux, ivar = record.edges, record.flux, record.ivar
    if not (ivar > 0).any():
        show_missing(ax)
        return
    mean, total, mean_edges = smoothed(record)
    if len(mean) < len(flux):
        seen = np.where(ivar > 0, flux, np.nan)
        ax.stairs(seen, edges, baseline=None, color="0.75", linewidth=0.4)
    ax.stairs(mean, mean_edges, baseline=None, color=BLUE, linewidth=0.8)
    ax.set(xlim=edges[[0, -1]], ylim=flux_limits(np.nan_to_num(mean), total))
    mark_lines([ax], redshift, edges[[0, -1]], named=named)


def _draw_image(record, ax):
    grid = _PREPROCESSING["image"]
    half = grid.size * grid.pixel_scale / 2
    ax.imshow(picture(record), origin="lower", extent=(half, -half, -half, half))
    _hatch(ax)  # behind the picture, to be seen where there is none
    ax.set(xticks=[], yticks=[], xlim=(half, -half), ylim=(-half, half))

    # White on the sky, with something dark behind for where it is hatched.
    rim = [withStroke(linewidth=2, foreground="0.2")]
    box = {"facecolor": "0.1", "edgecolor": "none", "alpha": 0.5, "pad": 0.5}
    text = {"color": "w", "fontsize": "x-small", "ha": "center", "va": "center", "bbox": box}
    arrow = {"arrowstyle": "->", "color": "w", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    left, right, bottom = 0.9 * half, -0.9 * half, -0.88 * half
    ax.plot([left, left - _BAR], [bottom, bottom], color="w", linewidth=1.5, path_effects=rim)
    ax.text(left - _BAR / 2, bottom + 0.11 * half, f"{_BAR}″", **text)
    for name, east, north in (("N", 0, 0.3 * half), ("E", 0.3 * half, 0)):
        tip = (right + east, bottom + north)
        ax.annotate("", xy=tip, xytext=(right, bottom), arrowprops=arrow | {"path_effects": rim})
        ax.text(tip[0] + east * 0.3, tip[1] + north * 0.3, name, **text)
