"""Quantities to be predicted: their names, units and values."""

import numpy as np
from astropy import units as u
from astropy.table import Column, Table
from astropy.utils.masked import Masked

from astroclip_astro.errors import InputError

__all__ = ["plain_numbers", "read_targets", "unit_of"]


def read_targets(y, object_id=None):
    """Take numbers to learn out of what the user has.

    Parameters
    ----------
    y : astropy.table.Table, astropy.units.Quantity or array_like
        One number per object, shape (n,), several, shape (n, quantity), or a table with a column
        for each quantity.
    object_id : numpy.ndarray, optional
        Names of the objects, for messages, shape (n,).

    Returns
    -------
    values : numpy.ndarray
        Shape (n, quantity), float64, finite.
    names : list of str
        Of the columns, also of a single one; ``"value"`` for a quantity without a name,
        ``"value_0"`` and so on for several.
    units : list of str
        As astropy writes them; empty where there is none.

    Raises
    ------
    InputError
        If a value is masked or not finite, or something is no number.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astroclip_astro.tasks.targets import read_targets
    >>> read_targets([1.0, 3.0] * u.Gyr)
    (array([[1.],
           [3.]]), ['value'], ['Gyr'])
    """
    if isinstance(y, Table):
        names = list(y.colnames)
        units = [unit_of(y[name]) for name in names]
        columns = [plain_numbers(y[name], name) for name in names]
        odd = [name for name, c in zip(names, columns, strict=True) if c.ndim != 1]
        if odd or not names:
            raise InputError(f"y: columns {odd or 'none'}: expected one number per object in each")
        values = np.stack(columns, axis=1)
    else:
        values = plain_numbers(y, "y")
        if values.ndim not in (1, 2) or values.shape[1:] == (0,):
            raise InputError(f"y of shape {values.shape}: expected (n,) or (n, quantity)")
        single = values.ndim == 1
        values = values[:, None] if single else values
        name = getattr(getattr(y, "info", None), "name", None) or "value"
        names = [name] if single else [f"{name}_{i}" for i in range(values.shape[1])]
        units = [unit_of(y)] * len(names)
    lost = ~np.isfinite(values)
    if lost.any():
        row, column = np.argwhere(lost)[0]
        raise InputError(
            f"its {names[column]} is masked, NaN or infinite, as is some value of "
            f"{lost.any(1).sum()} of {len(values)} objects (Input y contains NaN or infinity); "
            "leave them out of both X and y",
            object_id=f"row {row}" if object_id is None else object_id[row] or f"row {row}",
        )
    return values, names, units


def unit_of(values):
    """The unit of values, or that they have none.

    Parameters
    ----------
    values : astropy.units.Quantity, astropy.table.Column or array_like
        Of a quantity.

    Returns
    -------
    str
        As astropy writes it; empty if there is none.
    """
    return str(u.Unit((isinstance(values, u.Quantity | Column) and values.unit) or ""))


def plain_numbers(values, name):
    """Take values out of what they come in, without their unit.

    Parameters
    ----------
    values : astropy.units.Quantity, astropy.table.Column or array_like
        Of a quantity, masked or not.
    name : str
        Of the quantity, for errors.

    Returns
    -------
    numpy.ndarray
        Float64, NaN where masked.

    Raises
    ------
    InputError
        If they are no numbers.
    """
    mask = values.mask if isinstance(values, Masked) else np.ma.getmask(values)
    values = values.unmasked if isinstance(values, Masked) else np.ma.getdata(values)
    values = np.asarray(values.value if isinstance(values, u.Quantity) else values)
    if values.dtype.kind not in "fiubO":
        raise InputError(f"{name} holds {values.dtype}: expected numbers")
    try:
        values = np.array(values, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} holds {values.dtype}: expected numbers") from error
    if np.any(mask):
        values[np.broadcast_to(mask, values.shape)] = np.nan
    return values
