"""A figure of an object with what a model looks at in it, and what its answer hangs on."""

import numpy as np

from astroclip_astro.adapters.image import encoder_input
from astroclip_astro.errors import InputError
from astroclip_astro.plot.lines import mark_lines
from astroclip_astro.plot.panels import flux_limits
from astroclip_astro.plot.style import BLUE, COLOUR_MAP, FLUX_DENSITY, ORANGE, new_figure
from astroclip_astro.tasks.explain import described, one_object

__all__ = ["plot_explanation"]


def plot_explanation(
    obj, attention, occlusion, *, model=None, survey=None, redshift=None, figure=None
):
    """Draw an object with what the model attends to in it and what its answer hangs on.

    Parameters
    ----------
    obj : object
        The spectrum or the cutout that the two others are of.
    attention, occlusion : xarray.DataArray
        What the functions of these names return of it.
    model : str, path-like or GalaxyModel, optional
        The model that they were made with.
    survey : str, optional
        How the object is to be read, as for `astroclip_astro.embed`.
    redshift : float, optional
        Where to mark the lines of a spectrum; by default as the object states it, and if it does
        not, none is marked.
    figure : matplotlib.figure.Figure or matplotlib.figure.SubFigure, optional
        Where to draw; by default a new one.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Three. Of a spectrum: flux on the model's grid, mean attention of the heads, and occlusion.
        Of an image: the picture that the encoder sees, and maps of the two.

    Raises
    ------
    InputError
        If there is not exactly one object, or the arrays are not of it and of the model.

    Examples
    --------
    >>> from astroclip_astro.plot import plot_explanation
    >>> from astroclip_astro.simulate import MockSurvey
    >>> from astroclip_astro.tasks import attention, occlusion
    >>> image = MockSurvey.bundled().cutout(0)
    >>> axes = plot_explanation(image, attention(image), occlusion(image))
    >>> [ax.get_title() for ax in axes]
    ['What the encoder sees', 'Attention (mean of 4 heads)', 'Occlusion']
    """
    model, modality, batch = one_object(obj, model, survey)
    about = described(model, modality, batch)
    for name, array in (("attention", attention), ("occlusion", occlusion)):
        given = {key: getattr(array, "attrs", {}).get(key) for key in about}
        if getattr(array, "name", None) != name or given != about:
            raise InputError(
                f"what was given as {name} is of {given}, expected what {name}() returns of "
                f"{about}: pass the same object and model to all three functions",
                object_id=batch.object_id[0],
            )
    if redshift is None:
        redshift = batch.redshift[0]
    size, draw = ((10, 7), _draw_spectrum) if modality == "spectrum" else ((12, 4.2), _draw_image)
    figure = new_figure(figure, *size)
    axes = draw(figure, model, batch, attention, occlusion, redshift)
    known = f"z = {redshift:.4f}" if np.isfinite(redshift) else ""
    figure.suptitle("   ".join(filter(None, (batch.object_id[0], known))))
    return axes


def _draw_spectrum(figure, model, batch, attention, occlusion, redshift):
    edges = model.preprocessing["spectrum"].edges
    flux, ivar = batch.flux[0, :, 0].cpu().numpy(), batch.ivar[0].cpu().numpy()
    above, middle, below = axes = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    # What was filled was not seen.
    above.stairs(np.where(ivar > 0, flux, np.nan), edges, baseline=None, color="0.2", linewidth=0.5)
    above.set(ylabel=FLUX_DENSITY, ylim=flux_limits(flux, ivar))

    mean = attention.mean("head")
    middle.fill_between(mean.wavelength, mean, step="mid", color=BLUE, alpha=0.8)
    middle.set(ylabel=f"Attention\n(mean of {attention.sizes['head']} heads)", ylim=(0, None))
    statistics = float(attention.statistics.mean())
    _remark(middle, f"token of mean and standard deviation: {statistics:.2g}")

    below.fill_between(occlusion.wavelength, occlusion, step="mid", color=ORANGE, alpha=0.8)
    below.set_ylabel(f"Occlusion\n{_label(occlusion)}")
    below.set(xlim=edges[[0, -1]], xlabel="Observed wavelength in vacuum [Å]")
    _remark(below, _as_it_is(occlusion))
    mark_lines(axes, redshift, edges[[0, -1]])
    return axes


def _draw_image(figure, model, batch, attention, occlusion, _):
    picture = encoder_input(batch.flux, model.preprocessing["image"])[0].movedim(0, -1)
    left, middle, right = axes = figure.subplots(1, 3, sharex=True, sharey=True)
    east, north = attention.east.values, attention.north.values
    half = (north[1] - north[0]) / 2
    extent = (east[0] + half, east[-1] - half, north[0] - half, north[-1] + half)
    left.imshow(picture.cpu().numpy(), origin="lower", extent=extent)
    left.set(title="What the encoder sees", ylabel="Offset to the north [arcsec]")
    for panel in axes:
        panel.set_xlabel("Offset to the east [arcsec]")

    shown = middle.imshow(
        attention.mean("head"), origin="lower", extent=extent, cmap=COLOUR_MAP, vmin=0
    )
    middle.set_title(f"Attention (mean of {attention.sizes['head']} heads)")
    figure.colorbar(shown, ax=middle, label="weight", shrink=0.8)

    most = float(abs(occlusion).max())
    signed = (
        {"cmap": "RdBu_r", "vmin": -most}
        if "median" in occlusion.attrs
        else {"cmap": COLOUR_MAP, "vmin": 0}
    )
    shown = right.imshow(occlusion, origin="lower", extent=extent, vmax=most, **signed)
    right.set_title("Occlusion")
    figure.colorbar(shown, ax=right, label=_label(occlusion), shrink=0.8)
    right.text(0.02, 0.98, _as_it_is(occlusion), va="top", size="small", transform=right.transAxes)
    return axes


def _remark(panel, text):
    panel.set_title(text, loc="right", fontsize="small")


def _label(array):
    """What an array holds, with its unit."""
    unit = array.attrs.get("units")
    return array.attrs["long_name"] + (f" [{unit}]" if unit else "")


def _as_it_is(occlusion):
    """What the head says of the object with all its parts."""
    if "median" not in occlusion.attrs:
        return ""
    median, half_width, unit = (occlusion.attrs[k] for k in ("median", "half_width", "units"))
    return f"nothing occluded: {median:#.3g} ± {half_width:#.2g} {unit}".rstrip()
