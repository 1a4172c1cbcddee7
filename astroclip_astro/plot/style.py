"""What all figures have in common: colours, new axes, quantities with their units."""

from astropy import units as u
from matplotlib import pyplot as plt

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.targets import plain_numbers, unit_of

__all__ = [
    "BLUE",
    "COLOURS",
    "COLOUR_MAP",
    "FLUX_DENSITY",
    "ORANGE",
    "PROPERTIES",
    "label",
    "new_axes",
    "new_figure",
    "numbers",
]

#: Told apart whatever the colour vision: Okabe & Ito (2008, https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

#: Of the data, and of what is to be set off against them.
BLUE, ORANGE = COLOURS[:2]

#: Of numbers: even steps of it look even, also in grey.
COLOUR_MAP = "viridis"

#: What the flux axis of a spectrum is labelled with.
FLUX_DENSITY = "Flux density\n[$10^{-17}$ erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$]"

#: What properties are called in figures, and their units where the values carry none.
PROPERTIES = {
    "log_mass": (r"$\log_{10}(M_\star / M_\odot)$", ""),
    "log_z": (r"$\log_{10}(Z / Z_\odot)$", ""),
    "age": ("age", "Gyr"),
    "log_ssfr": (r"$\log_{10}(\mathrm{sSFR} / \mathrm{yr}^{-1})$", ""),
}


def new_figure(figure, width, height):
    """The figure to draw into.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or matplotlib.figure.SubFigure or None
        The caller's.
    width, height : float
        Inches of a new one, of pyplot, if there is none.

    Returns
    -------
    matplotlib.figure.Figure or matplotlib.figure.SubFigure
    """
    if figure is None:
        return plt.figure(figsize=(width, height), layout="constrained")
    return figure


def new_axes(ax, width, height):
    """The axes to draw into.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
        The caller's.
    width, height : float
        Inches of a new figure with one, if there is none.

    Returns
    -------
    matplotlib.axes.Axes
    """
    return new_figure(None, width, height).add_subplot() if ax is None else ax


def label(name, unit="", *, text=None):
    """A quantity with its unit, for an axis.

    Parameters
    ----------
    name : str
        Of the quantity, or of one of `PROPERTIES`.
    unit : str
        Of the values; if empty, that of the property.
    text : str, optional
        What is written instead of the name.

    Returns
    -------
    str

    Examples
    --------
    >>> from astroclip_astro.plot.style import label
    >>> label("age"), label("velocity", "km/s"), label("redshift")
    ('age [Gyr]', 'velocity [km s⁻¹]', 'redshift')
    """
    usual, default = PROPERTIES.get(name, (name, ""))
    # Of what the name states already, such as dex of solar masses, nothing is said twice.
    unit = default if name in PROPERTIES and not default else unit or default
    shown = u.Unit(unit).to_string("unicode")
    text = usual if text is None else text
    return f"{text} [{shown}]" if shown else text


def numbers(name, values, unit=None):
    """Values of a quantity, one for each object, as plain numbers.

    Parameters
    ----------
    name : str
        Of the quantity, for errors.
    values : array_like, astropy.units.Quantity or astropy.table.Column
        Shape (n,).
    unit : str, optional
        What they are wanted in; by default as they are.

    Returns
    -------
    values : numpy.ndarray
        Shape (n,), float64, NaN where masked.
    unit : str
        Theirs, empty if they have none.

    Raises
    ------
    InputError
        If they are no numbers, not one for each object, or cannot be converted to the unit wanted.
    """
    plain, own = plain_numbers(values, name), unit_of(values)
    if plain.ndim != 1:
        raise InputError(f"{name} has shape {plain.shape}: expected one number for each object")
    if unit is None or unit == own:
        return plain, own
    try:
        return u.Quantity(plain, own).to_value(unit), unit
    except u.UnitConversionError as error:
        have, wanted = own or "no unit", unit or "no unit"
        raise InputError(f"{name} is in {have}, expected {wanted}: give both the same") from error
