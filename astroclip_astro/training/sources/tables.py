"""Tables of positions and properties that come along with training data."""

from collections import Counter

import numpy as np
from astropy import units as u
from astropy.io.registry import IORegistryError
from astropy.table import Table

from astroclip_astro.errors import InputError

__all__ = ["different", "properties", "read_table"]

#: Units that known columns are brought to; without a unit of their own they are taken to be in it.
_UNITS = {
    "ra": u.deg,
    "dec": u.deg,
    "redshift": u.one,
    "log_mass": u.dex(u.Msun),
    "log_z": u.dex(u.one),
    "age": u.Gyr,
    "log_ssfr": u.dex(1 / u.yr),
}


def read_table(table):
    """Read a table of any format that Astropy knows.

    Parameters
    ----------
    table : path-like or astropy.table.Table
        The file; a table is passed through.

    Returns
    -------
    astropy.table.Table

    Raises
    ------
    InputError
        If it cannot be read.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroclip_astro.training.sources.tables import read_table
    >>> len(read_table(Table({"redshift": [0.1, 0.2]})))
    2
    """
    if isinstance(table, Table):
        return table
    try:
        return Table.read(table)
    except (OSError, ValueError, TypeError, IORegistryError) as error:
        raise InputError(
            f"{table}: not a table that astropy.table.Table.read understands ({error})"
        ) from error


def properties(table, exclude=()):
    """Take the numbers of a table, one per object.

    Parameters
    ----------
    table : astropy.table.Table
        One row per object.
    exclude : collection of str
        Columns to leave aside.

    Returns
    -------
    dict of numpy.ndarray
        Every numeric column with one value per row, shape (N,), float64, NaN where masked: ``ra``
        and ``dec`` in degrees, the properties of `astroclip_astro.training.batch.TARGETS` in the
        units given there, others as they are.

    Raises
    ------
    InputError
        If a column has a unit that is not convertible.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import Table
    >>> from astroclip_astro.training.sources.tables import properties
    >>> properties(Table({"name": ["a", "b"], "age": [4000, 9500] * u.Myr}))
    {'age': array([4. , 9.5])}
    """
    found = {}
    for name in table.colnames:
        column = table[name]
        if name in exclude or column.ndim != 1 or column.dtype.kind not in "fiub":
            continue
        values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), float), np.nan)
        unit = getattr(column, "unit", None)
        if unit is not None and name in _UNITS:
            try:
                values = (values * unit).to_value(_UNITS[name])
            except (u.UnitConversionError, TypeError, AttributeError) as error:
                raise InputError(
                    f"column {name} is in {unit}: expected {_UNITS[name] or 'no unit'}"
                ) from error
        found[name] = np.asarray(values, np.float64)
    return found


def different(names):
    """Make names differ.

    Parameters
    ----------
    names : iterable of str
        Names, of which some may come more than once.

    Returns
    -------
    numpy.ndarray
        Shape (N,), str: the second one of a name has ``[1]`` behind it, and so on.

    Examples
    --------
    >>> from astroclip_astro.training.sources.tables import different
    >>> different(["a", "b", "a"])
    array(['a', 'b', 'a[1]'], dtype='<U4')
    """
    seen = Counter()
    found = []
    for name in names:
        found.append(f"{name}[{seen[name]}]" if seen[name] else name)
        seen[name] += 1
    return np.array(found)
