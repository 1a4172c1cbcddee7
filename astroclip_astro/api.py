"""The front door: embed() turns galaxies into vectors, load_model() loads what does it."""

import logging
from datetime import UTC, datetime
from itertools import chain, islice

import numpy as np
from astropy.table import Table

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.embedding_schema import COMPANION
from astroclip_astro.embeddings import make_embeddings  # with the accessor .astroclip
from astroclip_astro.errors import InputError
from astroclip_astro.inputs import is_single, records
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.quality import Quality
from astroclip_astro.weights import as_model, list_models, load_model

__all__ = ["embed", "list_models", "list_surveys", "list_tasks", "load_model"]

log = logging.getLogger(__name__)

_COLUMNS = ("object_id", "ra", "dec", "survey", "redshift", "coverage", "snr", "quality")


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
        further modality of the model takes; or an iterable of any mix of these, which is consumed
        lazily.
    model : str, path-like or GalaxyModel, optional
        A name of `list_models`, a checkpoint, or a loaded model; by default the bundled one.
    survey : str, optional
        A name of `list_surveys`: how the objects are to be read and understood. By default files
        are recognised; objects in memory are taken to be on vacuum wavelengths in the observed
        frame.
    device : str or torch.device
        ``"auto"`` takes CUDA or MPS where there is one; ignored for a model already loaded.
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
    TypeError, ValueError
        If an argument is of no use.

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
    if errors not in (None, "raise", "flag"):
        raise ValueError(f"errors is {errors!r}, expected 'raise' or 'flag'")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    model = as_model(model, str(device), str(dtype))
    made_in, wanted = model.provenance["dtype"], str(dtype).removeprefix("torch.")
    if wanted not in ("auto", made_in):
        raise ValueError(
            f"dtype is {wanted!r} and model {model.name!r} was loaded in {made_in}: pass its name, "
            f"or load it by load_model(…, dtype={wanted!r})"
        )
    single = is_single(obj, model.modalities)
    batch_size = batch_size or (32 if model.device.type == "cpu" else 128)
    stream = records(obj, preprocessing=model.preprocessing, survey=survey)
    if single:
        # A file can hold one object or many; only the first two need to be seen to know.
        head = list(islice(stream, 2))
        single = len(head) == 1
        stream = chain(head, stream)
    raising = errors == "raise" or (errors is None and single)
    rows = _Rows(raising)
    pending = {modality: [] for modality in model.modalities}
    total = None if single or not hasattr(obj, "__len__") else len(obj)
    bar = progress_bar(stream, progress=progress, total=total, unit="object")
    for index, record in enumerate(bar):
        if isinstance(record, FailedRecord):
            rows.fail(index, record, record.reason)
            continue
        modality = record.modality
        if modality not in pending:
            known = " and ".join(pending)
            rows.fail(index, record, f"model {model.name!r} embeds {known}, not {modality}")
            continue
        pending[modality].append((index, record))
        if len(pending[modality]) == batch_size:
            rows.add(model, modality, pending[modality])
            pending[modality] = []
    for modality, rest in pending.items():
        if rest:
            rows.add(model, modality, rest)
    embeddings = rows.assemble(model)
    return embeddings.isel(object=0) if single else embeddings


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


class _Rows:
    """Vectors and their coordinates as they come in, out of order by modality."""

    def __init__(self, raising):
        self.raising = raising
        self.parts = []

    def fail(self, index, record, reason):
        """Raise for an object, or keep its place with a NaN row."""
        quality = record.quality | Quality.NOT_EMBEDDED
        if self.raising:
            raise InputError(reason, object_id=record.object_id, quality=quality)
        log.warning("not embedded: %s: %s", record.object_id or f"object {index}", reason)
        columns = {name: [getattr(record, name, np.nan)] for name in _COLUMNS}
        columns["quality"] = [int(quality)]
        columns["modality"] = [""]
        self.parts.append(([index], None, columns))

    def add(self, model, modality, indexed):
        """Embed a batch."""
        indices, batch_records = zip(*indexed, strict=True)
        batch = get_modality(modality).batch(
            batch_records, model.preprocessing[modality], model.device
        )
        vectors = model.encode(batch.flux, modality).numpy().astype(np.float32, copy=False)
        usable = (batch.quality & Quality.NOT_EMBEDDED) == 0
        quality = batch.quality | np.where(usable, model.out_of_range(batch.flux, modality), 0)
        broken = usable & ~np.isfinite(vectors).all(1)
        if broken.any():
            names = ", ".join(batch.object_id[broken][:5])
            raise InputError(
                f"model {model.name!r} returned non-finite vectors from finite input: its weights "
                "or their precision are at fault",
                object_id=names,
            )
        for i in np.flatnonzero(~usable):
            bits = Quality(int(quality[i]))
            reason = f"no vector can be made of it ({', '.join(bits.names)})"
            if self.raising:
                raise InputError(reason, object_id=batch.object_id[i], quality=bits)
            log.warning(
                "not embedded: %s: %s", batch.object_id[i] or f"object {indices[i]}", reason
            )
        vectors[~usable] = np.nan
        columns = {name: getattr(batch, name) for name in _COLUMNS} | {"quality": quality}
        columns["modality"] = [modality] * len(batch)
        self.parts.append((indices, vectors, columns))

    def assemble(self, model):
        """All rows in the order given, as one DataArray."""
        order = np.argsort(np.concatenate([np.asarray(p[0], int) for p in self.parts] or [[]]))
        width = model.embed_dim
        vectors = [
            np.full((len(index), width), np.nan, np.float32) if v is None else v
            for index, v, _ in self.parts
        ]
        columns = {
            name: np.concatenate([np.asarray(c[name]) for *_, c in self.parts] or [[]])[order]
            for name in (*_COLUMNS, "modality")
        }
        # A companion has made the vectors of its own modality only.
        attrs = {
            name: text
            for name, text in model.provenance.items()
            if not name.startswith(COMPANION) or name.removeprefix(COMPANION) in columns["modality"]
        }
        attrs |= {
            "versions": ";".join(f"{k}={v}" for k, v in sorted(get_manager().versions().items())),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        stacked = np.concatenate(vectors)[order] if vectors else np.empty((0, width), np.float32)
        return make_embeddings(stacked, columns, attrs)
