"""Making the catalog of a recipe: what was embedded is kept, so that a killed build goes on."""

import hashlib
import json
import os
import shutil
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from astroclip_astro.api import embed
from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.catalog.recipes.gathering import aligned, gather
from astroclip_astro.catalog.recipes.recipe import Recipe, find_recipe
from astroclip_astro.catalog.recipes.sources import Found
from astroclip_astro.catalog.schema import CatalogSchema
from astroclip_astro.catalog.store import Store
from astroclip_astro.embedding_schema import COLUMNS, unknown_columns
from astroclip_astro.errors import AstroclipError, CatalogError, InputError
from astroclip_astro.inputs import is_single
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.weights import load_model

__all__ = ["REPORT", "build"]

#: File in the folder of the catalog that lists what could not be used, and why.
REPORT = "report.ecsv"

_EMBEDDED, _FINGERPRINT, _LOCK = "embedded.lance", "build.json", "lock"
_BATCH = 256  # objects that are embedded, and kept, at a time


def build(recipe, path, *, sources=None, overwrite=False, progress=None):
    """Make the catalog of a recipe, or finish one that was interrupted.

    Parameters
    ----------
    recipe : str, path-like or Recipe
        A registered name, a file or folder, or what `read_recipe` returned.
    path : path-like
        Folder of the catalog. It appears when the catalog is complete; until then, what was
        embedded is in a folder beside, ``<name>.building``, from which the next call goes on.
    sources : dict of path-like, optional
        By name of the source, where its data are.
    overwrite : bool
        Replace a catalog that is there.
    progress : bool, optional
        Show a progress bar; by default only when the work takes more than two seconds and the
        terminal is interactive.

    Returns
    -------
    EmbeddingCatalog
        With an index, in the order of the sky. Beside its rows are a copy of the recipe, and
        ``report.ecsv``: what could not be used, and why; its ``meta`` counts objects.

    Raises
    ------
    InputError
        If the recipe or the data of a source are missing, or not as they have to be.
    CatalogError
        If no object can be embedded, another process is building the same, what is there was begun
        with another recipe or other data, or the disk is full.
    FileExistsError
        If there is something already and `overwrite` is not set, or it is no catalog.
    WeightsError
        If the model cannot be had.

    Notes
    -----
    Where the data of each object are, `Objects` knows.

    Of several spectra (or images) of one object, the one with the highest signal-to-noise ratio is
    taken. Objects of one name that are more than 5 arcsec apart (or the largest ``match``) are not
    one: all but one of them are reported.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.catalog.recipes import build
    >>> from astroclip_astro.simulate import MockSurvey
    >>> with TemporaryDirectory() as folder:
    ...     data = {"mocks": MockSurvey.bundled().path}
    ...     catalog = build("mocks", Path(folder, "mocks"), sources=data, progress=False)
    ...     len(catalog), catalog.modalities
    (40, ['image', 'spectrum'])
    """
    path = Path(path)
    recipe = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    places = recipe.places(sources or {})
    _check_target(path, overwrite)
    work = path.with_name(f"{path.name}.building")
    with _alone(work):
        entries = [
            source.open(places[source.name], work, recipe.modalities) for source in recipe.sources
        ]
        weights = recipe.folder / recipe.model
        model = load_model(weights if weights.is_file() else recipe.model)
        empty = _check_sense(recipe, entries, model)
        _check_begun(work, recipe, model)
        embedded = _embed(recipe, entries, model, work, progress, empty)
        made, report = gather(recipe, entries, embedded, work)
        (made / "recipe.toml").write_text(recipe.text, encoding="utf-8")
        report.write(made / REPORT, format="ascii.ecsv", overwrite=True)
        if path.exists():
            shutil.rmtree(path)
        os.rename(made, path)
        shutil.rmtree(work)
    return EmbeddingCatalog.open(path, model=model)


def _check_target(path, overwrite):
    if not path.parent.is_dir():
        raise CatalogError(f"{path.parent} is no folder to make a catalog in")
    if path.exists():
        if not overwrite:
            raise FileExistsError(f"{path} exists: choose another name, or allow to overwrite it")
        try:
            Store(path)
        except CatalogError as error:
            raise FileExistsError(f"{path} exists and is no catalog") from error


@contextmanager
def _alone(work):
    """Nobody else builds the same."""
    work.mkdir(exist_ok=True)
    lock = FileLock(work / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CatalogError(f"another process is building in {work}: wait for it") from error
    try:
        yield
    finally:
        if work.is_dir() and {child.name for child in work.iterdir()} <= {_LOCK}:
            shutil.rmtree(work)  # nothing was begun
        lock.release()


def _check_begun(work, recipe, model):
    """Refuse to go on with what another recipe or model began."""
    sources = [{"kind": source.kind, **asdict(source)} for source in recipe.sources]
    made_of = json.dumps([recipe.modalities, sources], sort_keys=True)
    mine = {
        "recipe": hashlib.sha256(made_of.encode()).hexdigest(),
        "model": model.weights_sha256,
        "preprocessing": model.preprocessing_hash,
    }
    file = work / _FINGERPRINT
    if (work / _EMBEDDED).exists():
        begun = json.loads(file.read_text())
        differing = [name for name in mine if begun.get(name) != mine[name]]
        if differing:
            raise CatalogError(
                f"{work} was begun with another {' and '.join(differing)}: remove it to begin "
                "anew, or choose another path"
            )
    else:
        file.write_text(json.dumps(mine))


def _check_sense(recipe, entries, model):
    """Refuse what would be refused when all is embedded; gives embeddings of nothing."""
    missing = [one for one in recipe.modalities if one not in model.modalities]
    if missing:
        raise InputError(f"model {model.name!r} does not embed {' and '.join(missing)}")
    for source, one in zip(recipe.sources, entries, strict=True):
        if source.match and not one.keys:
            raise InputError(f"source {source.name!r} has no files, and so nothing to match")
    if not any(one.keys for one in entries):
        raise InputError(f"recipe {recipe.name!r} has no source with something to embed")
    empty = embed([], model=model)
    tables = [one.columns for one in entries if one.columns is not None]
    columns = aligned(tables, np.empty(0, str))
    CatalogSchema.of(empty, columns, modalities=recipe.modalities)
    return empty


def _embed(recipe, entries, model, work, progress, empty):
    """Embed what has not been embedded; gives the data set of all that was."""
    schema = pa.schema(
        [
            *(pa.field(name, pa.string()) for name in ("source", "key", "reason")),
            pa.field("number", pa.int32()),
            *(
                pa.field(name, pa.string() if kind is str else pa.from_numpy_dtype(kind))
                for name, (kind, *_) in COLUMNS.items()
            ),
            pa.field("embedding", pa.list_(pa.float32(), model.embed_dim)),
        ],
        metadata={"attrs": json.dumps(empty.attrs)},
    )
    place = work / _EMBEDDED
    if not place.exists():
        lance.write_dataset(schema.empty_table(), place)
    done = lance.dataset(place).to_table(columns=["source", "key"]).to_pydict()
    done = set(zip(done["source"], done["key"], strict=True))
    wanted = [
        (s.name, key) for s, one in zip(recipe.sources, entries, strict=True) for key in one.keys
    ]
    lost = done - set(wanted)
    if lost:
        source, key = min(lost)
        raise CatalogError(
            f"{len(lost)} entries were embedded before, and are gone or changed since, such as "
            f"{key!r} of source {source!r}: bring them back, or remove {work} to begin anew"
        )
    read = {source.name: one.read for source, one in zip(recipe.sources, entries, strict=True)}
    missing = [one for one in wanted if one not in done]
    pending = []
    for source, key in progress_bar(missing, progress=progress, unit="entry"):
        pending += [(source, key, i, one) for i, one in enumerate(_read(read[source], key))]
        if len(pending) >= _BATCH:
            lance.write_dataset(_rows(pending, recipe, model, schema), place, mode="append")
            pending = []
    if pending:
        lance.write_dataset(_rows(pending, recipe, model, schema), place, mode="append")
    return lance.dataset(place)


def _read(read, key):
    """The objects of an entry, or the reason why there are none."""
    try:
        found = read(key)
    except (AstroclipError, OSError) as error:
        return [Found(None, reason=str(error))]
    several = "the reader of its survey gives several objects in one"
    return [
        one if one.obj is None or is_single(one.obj) else Found(None, reason=several)
        for one in found
    ]


def _rows(pending, recipe, model, schema):
    """Objects with their vectors, or the reasons why they have none."""
    sources, keys, numbers, found = zip(*pending, strict=True)
    vectors = np.zeros((len(found), model.embed_dim), np.float32)
    reasons = [one.reason for one in found]
    columns = unknown_columns(len(found))
    by_survey = defaultdict(list)
    for i, one in enumerate(found):
        if one.obj is not None:
            by_survey[one.survey].append(i)
    for survey, indices in by_survey.items():
        objects = [found[i].obj for i in indices]
        about = {"model": model, "survey": survey or None, "progress": False}
        rows = embed(objects, errors="flag", **about)
        vectors[indices] = rows.values
        for name, values in columns.items():
            for i, value in zip(indices, rows.coords[name].values.tolist(), strict=True):
                values[i] = value
        for i in np.array(indices)[~rows.astroclip.valid.values]:
            reasons[i] = _reason(found[i].obj, about)
    for i, one in enumerate(found):
        for name, value in one.known.items():
            columns[name][i] = value
        if not reasons[i]:
            half = vectors[i].astype(np.float16)
            if columns["modality"][i] not in recipe.modalities:
                reasons[i] = f"it is of {columns['modality'][i]} data, which the recipe has not"
            elif not np.isfinite(half).all() or not half.any():
                reasons[i] = "its vector is beyond what float16 can hold"
            elif not columns["object_id"][i]:
                reasons[i] = "it has no object_id"
            elif np.isinf(columns["ra"][i]) or abs(columns["dec"][i]) > 90:
                reasons[i] = f"it is at ra {columns['ra'][i]}, dec {columns['dec'][i]} deg"
    usable = np.array([not reason for reason in reasons])
    columns |= {"source": sources, "key": keys, "number": numbers, "reason": reasons}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), model.embed_dim, mask=pa.array(~usable)
    )
    # What is unknown has to be null, since NaN is larger than any number in comparisons.
    arrays = [
        columns[one.name]
        if one.name == "embedding"
        else pa.array(
            [v + 0.0 if isinstance(v, float) else v for v in columns[one.name]],  # no -0.0
            one.type,
            from_pandas=True,
        )
        for one in schema
    ]
    return pa.table(arrays, schema)


def _reason(obj, about):
    """Why an object cannot be embedded."""
    try:
        embed(obj, errors="raise", **about)
    except (AstroclipError, TypeError) as error:
        return str(error)
    return "it cannot be embedded"
