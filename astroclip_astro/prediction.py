"""From galaxies to answers in one step: embedding, and the head that goes with the modality."""

import os

import numpy as np
import xarray as xr
from astropy.table import vstack

from astroclip_astro.api import embed
from astroclip_astro.errors import InputError
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.tasks import Head, RegressionHead, load_head

__all__ = ["predict"]


def predict(obj, *, task, samples=0, **embedding):
    """Predict something of galaxies, such as redshifts, properties or morphology.

    Parameters
    ----------
    obj : object
        What `astroclip_astro.embed` takes, or embeddings that it made.
    task : str, path-like or Head
        "redshift", "properties", "morphology", or another name of `list_tasks` that stands for
        fitted heads, one for each modality; a file that `Head.save` wrote; or a fitted head. Those
        three are for the bundled model, and fitted to simulated galaxies only.
    samples : int
        How many joint samples to add for each object, where the task predicts numbers.
    **embedding : dict
        Passed to `astroclip_astro.embed`: ``model``, ``survey``, ``device``, ``batch_size``,
        ``progress``, ``errors``.

    Returns
    -------
    astropy.table.QTable
        A row per object, in the order given: ``object_id``, ``modality``, what the head says, with
        units, ``quality`` and ``reason``. A row without a vector is masked, and the reason says
        why. Numbers come as ``_p16``, ``_p50`` and ``_p84``: the 68 % interval and the median.

    Raises
    ------
    InputError
        If an object cannot be embedded, in the "raise" mode, a task is no fitted head, or samples
        are asked of one that predicts no numbers.
    ProvenanceError
        If the head was fitted to another model.
    PluginError
        If there is no such task.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> found = aa.predict(mocks.spectrum(0), task="redshift")
    >>> found.colnames[:4]
    ['object_id', 'modality', 'redshift_p16', 'redshift_p50']
    >>> bool(abs(found["redshift_p50"][0] - mocks.truth["redshift"][0]) < 0.02)
    True
    """
    if isinstance(obj, xr.DataArray):
        if embedding:
            raise TypeError(f"obj is embeddings already: {', '.join(embedding)} is of no use")
        embeddings = obj
    else:
        embeddings = embed(obj, **embedding)
    rows = embeddings.astroclip.rows()
    modality = rows.coords["modality"].values
    present = sorted(set(modality[rows.astroclip.valid.values]))
    if not present:
        raise InputError(
            f"none of the {len(rows)} objects has a vector: "
            + "; ".join(sorted({", ".join(names) for names in rows.astroclip.flags}))
        )
    # What could not be embedded has no modality: any head gives it a masked row.
    asked = np.where(np.isin(modality, present), modality, present[0])
    parts, order = [], []
    for one in present:
        index = np.flatnonzero(asked == one)
        head = _head(task, one)
        if samples and not isinstance(head, RegressionHead):
            raise InputError(
                f"samples are of numbers, which a head of kind {head.kind!r} does not give"
            )
        table = head.predict(rows[index], **({"samples": samples} if samples else {}))
        table.add_column(modality[index], index=1, name="modality")
        parts.append(table)
        order.append(index)
    table = vstack(parts, metadata_conflicts="silent") if len(parts) > 1 else parts[0]
    return table[np.argsort(np.concatenate(order))]


def _head(task, modality):
    """The fitted head for what is asked."""
    if isinstance(task, Head):
        return task
    text = os.fspath(task)
    if text.endswith(".safetensors"):
        return load_head(text)
    entry = get_manager().get("task", text)
    if not entry.fitted:
        fitted = [name for name, e in get_manager().entries("task").items() if e.fitted]
        raise InputError(
            f"task {text!r} is a kind of head that has to be fitted first; ready for use are "
            f"{', '.join(fitted) or 'none'}, and your own files of heads, .safetensors"
        )
    return get_manager().load("task", text)(modality)
