"""The front door: embed() turns galaxies into vectors, load_model() loads what does it."""

import math
from contextlib import closing
from itertools import chain, islice

from astropy.table import Table

from astroclip_astro.embeddings import concat  # with the accessor .astroclip
from astroclip_astro.inputs import is_single, records
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.pipeline.batches import embedded, now
from astroclip_astro.pipeline.processes import embed_in_processes, resized, several
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.weights import as_model, list_models, load_model

__all__ = ["embed", "embed_parts", "list_models", "list_surveys", "list_tasks", "load_model"]


def embed(
    obj,
    *,
    model=None,
    survey=None,
    device="auto",
    dtype="auto",
    batch_size=None,
    progress=None,
    errors=None,
    workers=None,
):
    """Embed galaxies: spectra, cutouts, or files of either.

    Parameters
    ----------
    obj : object
        A `specutils.Spectrum` (several rows of flux count as several objects), `SpectrumList` or
        `SpectrumCollection`; a cutout (`HDUList`, `CCDData`, `NDData`); a `SkyCoord`, whose cutouts
        are fetched from the Legacy Surveys, or from the archive of `survey`; a path; a `Table` or
        `QTable` with one of the columns ``spectrum``, ``image``, ``cutout``, ``path``,
        ``filename``, ``file``, or with ``ra`` and ``dec`` (deg), where to fetch them; what a
        further modality of the model takes; or an iterable of any mix of these, which a thread of
        its own consumes lazily, at most two batches ahead of the network.
    model : str, path-like or GalaxyModel, optional
        A name of `list_models`, a checkpoint, or a loaded model; by default the bundled one.
    survey : str, optional
        A name of `list_surveys`: how the objects are to be read and understood. By default files
        are recognised; objects in memory are taken to be on vacuum wavelengths in the observed
        frame.
    device : str or torch.device or list of these
        ``"auto"`` takes CUDA or MPS where there is one; ignored for a model already loaded. A list
        gives a process to each, as `workers` does: ``["cuda:0", "cuda:1"]``.
    dtype : {"auto", "float32", "bfloat16", "int8"}
        Type of the large matrix products, as `GalaxyModel.compute_in` takes it. ``"auto"`` is
        bfloat16 for large models, not the bundled one, on processors that are faster with it; a
        model already loaded stays as it is. Vectors of all types can be compared with each other.
    batch_size : int, optional
        Objects per forward pass; by default 32 on the CPU and 128 elsewhere.
    progress : bool, optional
        Show a progress bar; by default only when the work takes more than two seconds, in a
        notebook or in an interactive terminal.
    errors : {"raise", "flag"}, optional
        What to do with an object that cannot be embedded: raise, or keep its place as a row of NaN
        with its quality bits set and the reason logged. By default a single object raises and the
        objects of a collection are flagged.
    workers : int, optional
        Processes that read, adapt and embed, each with a model of its own and its share of torch's
        threads. For an iterable of paths, and a model given by name or file. Scripts need the guard
        ``if __name__ == "__main__":``, since each process imports them.

    Returns
    -------
    xarray.DataArray
        Vectors, float32. One object gives dims ``("feature",)``; a collection, also of one, gives
        ``("object", "feature")`` in the order given. Coordinates: ``object_id``, ``ra`` and ``dec``
        (deg), ``modality``, ``survey``, ``redshift`` (as the file states it), ``coverage``,
        ``snr``, ``quality`` (see `Quality`). Attributes say which model, weights, preprocessing,
        dtype and versions made them.

    Raises
    ------
    InputError
        If an object cannot be embedded, in the "raise" mode; the message names it. In both modes,
        if a table is of no use as a whole.
    PluginError, WeightsError
        If the survey or the model is unknown or does not load.
    AstroclipError
        If one of the processes ends, such as for lack of memory; the message names the files. If
        ``dtype="auto"`` is not the same to all of them.
    TypeError, ValueError
        If an argument is of no use.

    See Also
    --------
    embed_parts : The same for more objects than their vectors have room in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from specutils import Spectrum
    >>> import astroclip_astro as aa
    >>> wavelength = np.linspace(3600, 9824, 7781) * u.AA
    >>> flux = (5 + np.exp(-((wavelength.value - 7200) / 3) ** 2)) * u.Unit("1e-17 erg/(s cm2 AA)")
    >>> vector = aa.embed(Spectrum(spectral_axis=wavelength, flux=flux))
    >>> vector.dims, vector.dtype
    (('feature',), dtype('float32'))
    >>> vector.astroclip.flags
    ['NO_UNCERTAINTY']
    """
    if several(workers, device):
        parts = embed_parts(
            obj,
            model=model,
            survey=survey,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            progress=progress,
            errors=errors,
            workers=workers,
        )
        found = list(parts)
        return concat(found) if found else embed([], model=model, dtype=dtype)
    _check(batch_size, errors)
    model = _ready(model, device, dtype)
    alone = single = is_single(obj, model.modalities)
    stream = records(obj, preprocessing=model.preprocessing, survey=survey)
    if single:
        # A file can hold one object or many; only the first two need to be seen to know.
        head = list(islice(stream, 2))
        single = len(head) == 1
        stream = chain(head, stream)
    with _progress(obj, progress) as bar:
        ((_, embeddings),) = embedded(
            [stream],
            model,
            size=math.inf,
            batch_size=batch_size,
            raising=errors == "raise" or (errors is None and single),
            date=now(),
            alone=alone,
            done=bar.update,
        )
    return embeddings.isel(object=0) if single else embeddings


def embed_parts(
    objects,
    *,
    size=1024,
    model=None,
    survey=None,
    device="auto",
    dtype="auto",
    batch_size=None,
    progress=None,
    errors=None,
    workers=None,
):
    """Embed any number of galaxies, also an endless stream of them, in constant memory.

    Parameters
    ----------
    objects : object
        As for `embed`.
    size : int
        Most objects in a part.
    model, survey, device, dtype, batch_size, progress : object
        As for `embed`. A `size` that is a multiple of `batch_size` wastes no batches.
    errors : {"flag", "raise"}, optional
        As for `embed`, "flag" by default.
    workers : int, optional
        As for `embed`.

    Returns
    -------
    generator of xarray.DataArray
        As of `embed`, dims ``("object", "feature")``, in order: `size` objects in each part, and
        what remains in the last one. Nothing is read before the first part is asked for, and at
        most two batches more than what was asked for; with `workers`, eight times `batch_size`
        files more for each of them. Closing it ends the thread or the processes.

    Raises
    ------
    InputError, PluginError, WeightsError, AstroclipError, TypeError
        As for `embed`.
    ValueError
        If an argument is of no use.

    Examples
    --------
    >>> from itertools import count, islice
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> endless = (mocks.spectrum(i % 60) for i in count())
    >>> for part in islice(aa.embed_parts(endless, size=8, batch_size=8), 2):
    ...     print(part.shape)
    (8, 128)
    (8, 128)
    """
    if size < 1:
        raise ValueError(f"size is {size}, expected at least 1")
    _check(batch_size, errors)
    date, raising = now(), errors == "raise"
    if several(workers, device):
        settings = {"survey": survey, "dtype": str(dtype), "batch_size": batch_size}
        work = embed_in_processes(
            objects, model, device, workers, raising=raising, date=date, **settings
        )
        work = resized(work, size)
    else:
        model = _ready(model, device, dtype)
        stream = records(objects, preprocessing=model.preprocessing, survey=survey)
        work = embedded(
            ([record] for record in stream),
            model,
            size=size,
            batch_size=batch_size,
            raising=raising,
            date=date,
        )
    return _shown(work, objects, progress)


def _shown(work, objects, progress):
    """The parts that have objects, beside a bar that says how many there were."""
    with _progress(objects, progress) as bar, closing(work):
        for _, part in work:
            bar.update(len(part))
            if len(part):
                yield part


def _progress(objects, progress):
    counted = hasattr(objects, "__len__") and not is_single(objects)
    total = len(objects) if counted else None
    return progress_bar(progress=progress, total=total, unit="object")


def _check(batch_size, errors):
    if errors not in (None, "raise", "flag"):
        raise ValueError(f"errors is {errors!r}, expected 'raise' or 'flag'")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")


def _ready(model, device, dtype):
    """The model, in the type that is asked for."""
    model = as_model(model, str(device), str(dtype))
    made_in, wanted = model.provenance["dtype"], str(dtype).removeprefix("torch.")
    if wanted not in ("auto", made_in):
        raise ValueError(
            f"dtype is {wanted!r} and model {model.name!r} was loaded in {made_in}: pass its name, "
            f"or load it by load_model(…, dtype={wanted!r})"
        )
    return model


def list_surveys():
    """List the surveys whose files and objects can be embedded.

    Returns
    -------
    astropy.table.Table
        Columns name, modality, summary, citation, licence.

    Examples
    --------
    >>> from astroclip_astro import list_surveys
    >>> list_surveys()["name"].tolist()
    ['desi', 'legacysurvey', 'legacysurvey-rgb', 'sdss']
    """
    entries = get_manager().entries("survey")
    columns = ("name", "modality", "summary", "citation", "licence")
    return Table({c: [getattr(entries[n], c) for n in sorted(entries)] for c in columns})


def list_tasks():
    """List what can be predicted, and the kinds of heads that can be fitted.

    Returns
    -------
    astropy.table.Table
        Columns name, fitted (whether `predict` takes it as it is), summary, citation.

    Examples
    --------
    >>> from astroclip_astro import list_tasks
    >>> tasks = list_tasks()
    >>> tasks["name"][tasks["fitted"]].tolist()
    ['morphology', 'properties', 'redshift']
    """
    entries = get_manager().entries("task")
    columns = ("name", "fitted", "summary", "citation")
    return Table({c: [getattr(entries[n], c) for n in sorted(entries)] for c in columns})
