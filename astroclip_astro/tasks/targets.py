"""Quantities to be predicted: their names, units and values."""

import numpy as np
from astropy import units as u
from astropy.table import Table

from astroclip_astro.errors import InputError

__all__ = ["read_targets"]


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
        Of the columns; ``"value"`` for a single quantity without a name, ``"value_0"`` and so on
        for several.
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
        names, columns = list(y.colnames), [y[name] for name in y.colnames]
        units = [_unit(column) for column in columns]
        columns = [_plain(column) for column in columns]
        odd = [name for name, c in zip(names, columns, strict=True) if c.ndim != 1]
        if odd or not names:
            raise InputError(f"y: columns {odd or 'none'}: expected one number per object in each")
        values = np.stack(columns, axis=1)
    else:
        values = _plain(y)
        if values.ndim not in (1, 2):
            raise InputError(f"y of shape {values.shape}: expected (n,) or (n, quantity)")
        single = values.ndim == 1
        values = values[:, None] if single else values
        names = ["value"] if single else [f"value_{i}" for i in range(values.shape[1])]
        units = [_unit(y)] * len(names)
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


def _unit(values):
    return str(u.Unit(getattr(values, "unit", None) or ""))


def _plain(values):
    """Plain float64, NaN where masked."""
    mask = getattr(values, "mask", None)
    values = getattr(values, "unmasked", values)
    values = np.ma.getdata(values)
    values = np.asarray(getattr(values, "value", values))
    if values.dtype.kind not in "fiub":
        try:
            values = values.astype(float)
        except (TypeError, ValueError) as error:
            raise InputError(f"y holds {values.dtype}: expected numbers") from error
    values = np.array(values, float)
    if mask is not None and np.any(mask):
        values[np.broadcast_to(mask, values.shape)] = np.nan
    return values
