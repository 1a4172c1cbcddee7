"""Any number of points as one picture, by datashader."""

import datashader as ds
import numpy as np
import pandas as pd
from datashader import transfer_functions as tf
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from astroclip_astro.explorer.colouring import Colouring
from astroclip_astro.plot.style import COLOUR_MAP, COLOURS

__all__ = ["CLASS_COLOURS", "GRADIENT", "limits", "raster", "warm"]

#: Of classes, as hexadecimal colours: those of the figures, and grey for all others.
CLASS_COLOURS = (*COLOURS, "#666666")

#: Of numbers, from the lowest to the highest, hexadecimal colours.
GRADIENT = tuple(to_hex(colormaps[COLOUR_MAP](i)) for i in range(256))

_MARGIN = 0.03
_GREY = (0.82, 0.82, 0.82)
_PALEST = 0.25  # of colours that say how many points there are
_WIDEST, _WIDEST_OF_FEW = 3, 5  # pixels by which lonely points are widened
_FEW = 20_000


def limits(x, y, shown):
    """What part of a plane shows all points.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shape (n,), NaN where there is none.
    shown : numpy.ndarray
        Which count, shape (n,), bool.

    Returns
    -------
    tuple of float
        Lower and upper limits of x and of y, with a margin.
    """
    there = shown & np.isfinite(x) & np.isfinite(y)
    if not there.any():
        return (-1.0, 1.0, -1.0, 1.0)
    found = []
    for values in (x[there], y[there]):
        low, high = float(values.min()), float(values.max())
        margin = _MARGIN * (high - low) or 0.5
        found += [low - margin, high + margin]
    return tuple(found)


def raster(x, y, window, size, *, shown, chosen, colouring=None):
    """Draw points.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shape (n,), NaN where there is none.
    window : tuple of float
        Lower and upper limits of x and of y.
    size : tuple of int
        Pixels across and down.
    shown, chosen : numpy.ndarray
        Shape (n,), bool: which are drawn at all, and which of these in colour; the others are grey.
    colouring : Colouring, optional
        By default colours say how many points there are.

    Returns
    -------
    numpy.ndarray
        Shape (down, across), uint32: red, green, blue, opacity in the order of bytes; the lowest y
        first. Numbers are means of the points of a pixel, and classes those of most of them; of
        what is unknown, grey.
    """
    widest = _WIDEST if shown.sum() > _FEW else _WIDEST_OF_FEW
    canvas = ds.Canvas(size[0], size[1], x_range=window[:2], y_range=window[2:])
    empty = np.zeros((size[1], size[0]), np.uint32)
    layers = [empty]
    if shown.any():
        layers.append(_spread(_packed(np.array(_GREY), _counts(canvas, x, y, shown) > 0), widest))
    coloured = shown & chosen
    if colouring is not None:
        known = colouring.values >= 0 if colouring.classes else np.isfinite(colouring.values)
        coloured = coloured & known
    if coloured.any():
        layers.append(_spread(_coloured(canvas, x, y, coloured, colouring), widest))
    found = layers[0]
    for layer in layers[1:]:
        found = np.where(layer >> 24, layer, found)
    return found


def warm():
    """Draw something in every way, as datashader compiles what it draws with when it first does."""
    both = np.ones(2, bool)
    values = np.array([0.0, 1.0])
    ways = (None, Colouring("", values, (0, 1)), Colouring("", values, classes=("a", "b")))
    for place in (values.astype(np.float32), values):  # as maps have them, and the sky
        for way in ways:
            raster(place, place, (0, 1, 0, 1), (8, 8), shown=both, chosen=both, colouring=way)


def _coloured(canvas, x, y, coloured, colouring):
    if colouring is None:
        counts = _counts(canvas, x, y, coloured)
        steps = np.log1p(counts) / np.log1p(counts.max() or 1)
        place = 255 * (_PALEST + (1 - _PALEST) * steps)
        return _packed(_gradient()[place.astype(int)], counts > 0)
    values = colouring.values[coloured]
    points = pd.DataFrame({"x": x[coloured], "y": y[coloured], "value": values})
    if not colouring.classes:
        mean = canvas.points(points, "x", "y", ds.mean("value")).values
        low, high = colouring.limits
        place = np.clip((np.nan_to_num(mean) - low) / ((high - low) or 1), 0, 1) * 255
        return _packed(_gradient()[place.astype(int)], np.isfinite(mean))
    points["value"] = pd.Categorical.from_codes(values.astype(int), range(len(colouring.classes)))
    counts = canvas.points(points, "x", "y", ds.count_cat("value")).values
    colours = np.array([to_rgb(one) for one in CLASS_COLOURS])
    return _packed(colours[counts.argmax(-1)], counts.sum(-1) > 0)


def _counts(canvas, x, y, rows):
    points = pd.DataFrame({"x": x[rows], "y": y[rows]})
    return canvas.points(points, "x", "y", ds.count()).values


def _gradient():
    return np.array([to_rgb(one) for one in GRADIENT])


def _packed(colours, opaque):
    """Colours from 0 to 1 as integers, transparent elsewhere."""
    bytes_ = np.empty((*opaque.shape, 4), np.uint8)
    bytes_[..., :3] = np.rint(255 * colours)
    bytes_[..., 3] = 255 * opaque
    return bytes_.view(np.uint32)[..., 0]


def _spread(layer, widest):
    """The same with lonely points made wider."""
    return np.asarray(tf.dynspread(tf.Image(layer), threshold=0.6, max_px=widest).data)
