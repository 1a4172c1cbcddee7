"""What is found, as text and pictures for the browser: plain values that JSON has."""

import base64
import io
import math

import numpy as np
from astropy import units as u
from PIL import Image

from astroclip_astro.explorer.portrait import Picture, Trace
from astroclip_astro.explorer.raster import CLASS_COLOURS

__all__ = ["columns", "distance", "legend", "neighbours", "predicted", "small", "source"]

_POINTS = 120  # of the small picture of a spectrum


def legend(colouring):
    """What colours mean.

    Parameters
    ----------
    colouring : Colouring or None
        As for `raster`.

    Returns
    -------
    dict
        ``label``, and ``classes`` with their colours or the ``limits`` of numbers.
    """
    if colouring is None:
        return {"label": "number of objects"}
    if colouring.classes:
        classes = list(zip(colouring.classes, CLASS_COLOURS, strict=False))
        return {"label": colouring.label, "classes": classes}
    low, high = (f"{limit:.3g}" for limit in colouring.limits)
    return {"label": colouring.label, "limits": [low, high]}


def neighbours(found, redshift):
    """A list of neighbours.

    Parameters
    ----------
    found : Neighbours
        Of an object.
    redshift : float
        Of the object, or NaN.

    Returns
    -------
    dict
        ``title``, ``modality`` that was ranked, ``reason`` why there are none, and ``rows`` with
        ``object``, ``score`` and ``offset``: redshift of the neighbour minus that of the object.
    """
    told = {"title": f"{found.modality} → {found.ranked}", "modality": found.ranked}
    told |= {"reason": found.reason, "rows": []}
    if found.table is not None:
        for row in found.table:
            offset = float(row["redshift"]) - redshift
            told["rows"].append(
                {
                    "object": str(row["object_id"]),
                    "score": f"{float(row['score']):.3f}",
                    "offset": "Δz unknown" if math.isnan(offset) else f"Δz {offset:+.3f}",
                }
            )
    return told


def columns(row, units):
    """What a catalog says of an object.

    Parameters
    ----------
    row : astropy.table.Row
        Of its columns.
    units : dict
        Theirs, by name.

    Returns
    -------
    list of dict
        ``name``, ``text`` and ``unit`` of each but the ``object_id``.
    """
    told = []
    for name in row.colnames:
        value = getattr(row[name], "value", row[name])
        number = isinstance(value, float | np.floating)
        if np.ma.is_masked(value) or (number and np.isnan(value)):
            text = "unknown"
        elif number:
            text = f"{value:.7g}" if name in ("ra", "dec") else f"{value:.4g}"
        else:
            text = str(value)
        if name != "object_id":
            told.append({"name": name, "text": text, "unit": str(units.get(name, ""))})
    return told


def predicted(predictions):
    """What heads say of an object, a row for each property.

    Parameters
    ----------
    predictions : list of Prediction
        From any modalities.

    Returns
    -------
    list of dict
        ``name`` with unit, ``column`` of catalogs that has the same, its ``unit``, and a text for
        each modality.
    """
    rows = {}
    for one in predictions:
        unit = f" [{u.Unit(one.unit).to_string('unicode')}]" if one.unit else ""
        name = f"{one.name}?" if one.answer else f"{one.name}{unit}"
        row = rows.setdefault(one.name, {"name": name, "column": one.name, "unit": one.unit})
        if one.answer:
            row[one.modality] = f"{one.answer} ({one.fraction:.0%})"
        else:
            row[one.modality] = f"{one.median:.3g} +{one.above:.2g} −{one.below:.2g}"
    return list(rows.values())


def source(picture):
    """A picture as an address that holds it.

    Parameters
    ----------
    picture : Picture or None
        What is to be seen.

    Returns
    -------
    str
        For ``src``; "" if there is none.
    """
    return "" if picture is None else _png(picture.pixels)


def small(portrait):
    """A small picture of an object.

    Parameters
    ----------
    portrait : Picture, Trace or None
        What there is to be seen.

    Returns
    -------
    dict or None
        ``picture`` as for `source`, or ``points`` of a spectrum within a unit square, downwards.
    """
    if isinstance(portrait, Picture):
        return {"picture": _png(portrait.pixels[::2, ::2])}
    if not isinstance(portrait, Trace):
        return None
    step = max(len(portrait.mean) // _POINTS, 1)
    low, high = portrait.limits
    flux = np.clip((portrait.mean[::step] - low) / (high - low), 0, 1)
    points = np.column_stack([np.linspace(0, 1, len(flux)), 1 - flux])
    return {"points": points[np.isfinite(flux)].round(3).tolist()}


def distance(arcsec):
    """A distance on the sky as text.

    Parameters
    ----------
    arcsec : float
        The distance.

    Returns
    -------
    str

    Examples
    --------
    >>> from astroclip_astro.explorer.answers import distance
    >>> distance(3.21), distance(90), distance(7200)
    ('3.2″', '1.5′', '2.00°')
    """
    if arcsec < 60:
        return f"{arcsec:.1f}″"
    return f"{arcsec / 60:.1f}′" if arcsec < 3600 else f"{arcsec / 3600:.2f}°"


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
