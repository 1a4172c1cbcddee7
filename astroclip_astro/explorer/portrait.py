"""What the page shows of one object: plain arrays, so that another process can make them."""

from dataclasses import dataclass

import numpy as np

from astroclip_astro.inputs import one_record
from astroclip_astro.plot.panels import flux_limits, picture, smoothed
from astroclip_astro.tasks import attention

__all__ = ["Picture", "Trace", "attended", "portrait"]


@dataclass(frozen=True)
class Picture:
    """A cutout.

    Parameters
    ----------
    object_id : str
        Of the object.
    redshift : float
        As it states it, or NaN.
    pixels : numpy.ndarray
        Shape (row, column, 4), uint8: red, green, blue, opacity; the first row is the northernmost,
        east is left.
    side : float
        Arcsec.
    """

    object_id: str
    redshift: float
    pixels: np.ndarray
    side: float


@dataclass(frozen=True)
class Trace:
    """A spectrum.

    Parameters
    ----------
    object_id : str
        Of the object.
    redshift : float
        As it states it, or NaN.
    wavelength, flux : numpy.ndarray
        Shape (n,), float32, of each pixel: Å in vacuum and 1e-17 erg s-1 cm-2 Å-1, NaN where there
        are no good data.
    mean_wavelength, mean : numpy.ndarray
        Shape (m,), the same of means of neighbouring pixels.
    limits : tuple of float
        Of a flux axis that residuals of sky lines do not set.
    """

    object_id: str
    redshift: float
    wavelength: np.ndarray
    flux: np.ndarray
    mean_wavelength: np.ndarray
    mean: np.ndarray
    limits: tuple


def portrait(obj, model, *, survey=None):
    """Make what the page shows of an object.

    Parameters
    ----------
    obj : object
        One, as `astroclip_astro.embed` takes it.
    model : GalaxyModel
        Whose surveys and modalities it is of.
    survey : str, optional
        How it is to be read.

    Returns
    -------
    Picture, Trace or None
        None if it is neither an image nor a spectrum.

    Raises
    ------
    InputError
        If there is not exactly one object, or it cannot be used.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.explorer.portrait import portrait
    >>> from astroclip_astro.simulate import MockSurvey
    >>> portrait(MockSurvey.bundled().cutout(0), aa.load_model()).pixels.shape
    (152, 152, 4)
    """
    record = one_record(obj, preprocessing=model.preprocessing, survey=survey)
    about = {"object_id": record.object_id, "redshift": float(record.redshift)}
    if record.modality == "image":
        grid = model.preprocessing["image"]
        pixels = np.rint(255 * picture(record)[::-1]).astype(np.uint8)
        return Picture(pixels=pixels, side=grid.size * grid.pixel_scale, **about)
    if record.modality != "spectrum":
        return None
    mean, ivar, edges = smoothed(record)
    return Trace(
        wavelength=_middles(record.edges),
        flux=np.where(record.ivar > 0, record.flux, np.nan).astype(np.float32),
        mean_wavelength=_middles(edges),
        mean=mean.astype(np.float32),
        limits=tuple(map(float, flux_limits(np.nan_to_num(mean), ivar))),
        **about,
    )


def attended(obj, model, *, survey=None):
    """How much the model attends to each part of an object, the mean of its attention heads.

    Parameters
    ----------
    obj : object
        One spectrum or cutout.
    model : GalaxyModel
        An AstroCLIP.
    survey : str, optional
        How the object is to be read.

    Returns
    -------
    dict
        ``weight`` (list of float; of an image list of rows, the northernmost first) relative to the
        largest. Of a spectrum also ``left`` and ``right`` of each section (Å, vacuum); of an image
        the ``side`` that the patches fill, arcsec.

    Raises
    ------
    InputError
        As `astroclip_astro.tasks.attention` does.
    """
    found = attention(obj, model=model, survey=survey)
    mean = found.mean("head")
    weight = mean.values / (mean.values.max() or 1)
    if "wavelength" in found.dims:
        half = found.width.values / 2
        return {
            "weight": weight.tolist(),
            "left": (found.wavelength.values - half).tolist(),
            "right": (found.wavelength.values + half).tolist(),
        }
    north = found.north.values
    side = abs(north[-1] - north[0]) * len(north) / (len(north) - 1)
    if north[0] < north[-1]:
        weight = weight[::-1]
    return {"weight": weight.tolist(), "side": float(side)}


def _middles(edges):
    return ((edges[1:] + edges[:-1]) / 2).astype(np.float32)
