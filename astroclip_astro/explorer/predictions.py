"""Properties of an object with their uncertainties, by the heads that are ready for use."""

from dataclasses import dataclass

import numpy as np

from astroclip_astro.errors import AstroclipError
from astroclip_astro.plugins import get_manager

__all__ = ["Prediction", "predictions"]

# Questions of volunteers that would be asked of less than half of such galaxies are left out.
_ASKED = 0.5


@dataclass(frozen=True)
class Prediction:
    """What a head says of one property.

    Parameters
    ----------
    task : str
        Registered name of the head.
    name : str
        Of the property, as columns of catalogs have it.
    modality : str
        What it was predicted from.
    unit : str
        Of the numbers.
    median, below, above : float
        Of a number: the median, and how far the 68 % interval reaches to both sides; NaN of an
        answer.
    answer : str
        To a question; "" of a number.
    fraction : float
        Of votes that the answer would get.
    """

    task: str
    name: str
    modality: str
    unit: str = ""
    median: float = np.nan
    below: float = np.nan
    above: float = np.nan
    answer: str = ""
    fraction: float = np.nan


def predictions(vectors):
    """Ask all heads that are ready for use.

    Parameters
    ----------
    vectors : list of xarray.DataArray
        Of one object, one for each modality, dims ("object", "feature").

    Returns
    -------
    list of Prediction
        Of heads that were fitted to the model of the vectors; of a property that several heads
        predict, what the one for it alone says.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.explorer.predictions import predictions
    >>> from astroclip_astro.simulate import MockSurvey
    >>> found = predictions([aa.embed([MockSurvey.bundled().spectrum(0)])])
    >>> sorted({one.name for one in found if not one.answer})
    ['age', 'log_mass', 'log_ssfr', 'log_z', 'redshift']
    """
    found = {}
    entries = [entry for entry in get_manager().entries("task").values() if entry.fitted]
    for entry in entries:
        for rows in vectors:
            modality = str(rows.coords["modality"].values[0])
            try:
                (row,) = get_manager().load("task", entry.name)(modality).predict(rows)
            except AstroclipError:  # of another model, or there is none for this modality
                continue
            for one in _said(entry.name, modality, row):
                key = one.name, modality
                if key not in found or entry.name == one.name:
                    found[key] = one
    return list(found.values())


def _said(task, modality, row):
    names = row.colnames
    for name in names:
        if name.endswith("_p50"):
            name = name.removesuffix("_p50")
            low, median, high = (row[f"{name}_{p}"] for p in ("p16", "p50", "p84"))
            unit = str(getattr(median, "unit", "") or "")
            low, median, high = (float(getattr(q, "value", q)) for q in (low, median, high))
            if np.isfinite(median):
                yield Prediction(
                    task, name, modality, unit, median, below=median - low, above=high - median
                )
        elif name.endswith("_asked") and row[name] >= _ASKED:
            name = name.removesuffix("_asked")
            answer = str(row[name])
            share = float(row[f"{name}_{answer}_fraction"])
            yield Prediction(task, name, modality, answer=answer, fraction=share)
