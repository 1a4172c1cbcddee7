"""What points are coloured by: numbers, or classes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from astroclip_astro.plot.style import COLOURS, label

__all__ = ["Colouring"]

_CLASSES = len(COLOURS)  # that have a colour of their own
_PERCENTILES = (2, 98)  # that colours span, as in `astroclip_astro.plot.embedding_map`


@dataclass(frozen=True)
class Colouring:
    """What points are coloured by.

    Parameters
    ----------
    label : str
        Name, with its unit.
    values : numpy.ndarray
        Shape (n,): numbers, NaN where unknown; or, if there are classes, their positions, -1 where
        unknown.
    limits : tuple of float
        Between which the colours of numbers change.
    classes : tuple of str
        Of what is no number; the last one stands for all others, if there are many.
    """

    label: str
    values: np.ndarray
    limits: tuple = ()
    classes: tuple = ()

    @classmethod
    def of(cls, name, column, unit=""):
        """Look at a column.

        Parameters
        ----------
        name : str
            Its name.
        column : astropy.table.Column or astropy.units.Quantity
            Its values, masked or NaN where unknown.
        unit : str
            Of numbers.

        Returns
        -------
        Colouring

        Examples
        --------
        >>> from astropy.table import Column
        >>> from astroclip_astro.explorer.colouring import Colouring
        >>> Colouring.of("kind", Column(["star", "galaxy", "star"])).classes
        ('galaxy', 'star')
        """
        unknown = np.ma.getmaskarray(column)
        if unknown.all():  # text too, as there are no classes then
            return cls(label(name, unit), np.full(len(column), np.nan), (0.0, 1.0))
        values = np.ma.getdata(getattr(column, "value", column))
        if values.dtype.kind in "iuf":
            numbers = np.where(unknown, np.nan, values)
            known = numbers[np.isfinite(numbers)]
            limits = np.percentile(known, _PERCENTILES) if known.size else (0.0, 1.0)
            if known.size and limits[0] == limits[1]:
                limits = known.min(), known.max()
            return cls(label(name, unit), numbers, tuple(map(float, limits)))
        text = pd.Series(values).astype(str)
        counts = text[~unknown].value_counts()
        kept = sorted(counts.index[:_CLASSES])
        codes = pd.Index(kept).get_indexer(text).astype(float)
        if len(counts) > _CLASSES:
            codes[codes < 0] = len(kept)
            kept.append(f"{len(counts) - len(kept)} others")
        codes[unknown] = -1
        return cls(name, codes, classes=tuple(kept))
