"""Embedding the objects of a HATS catalog, partition by partition, as often as it takes."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from astroclip_astro.api import embed
from astroclip_astro.catalog.hats.cluster import RETRIES, partitions, running
from astroclip_astro.catalog.hats.layout import (
    PROPERTIES,
    ROW_GROUP,
    finish,
    opened,
    partition,
    partition_file,
    schema_from,
    text_of,
)
from astroclip_astro.catalog.rows import rows_of, table_of
from astroclip_astro.catalog.schema import CatalogSchema
from astroclip_astro.catalog.sky import healpix_29
from astroclip_astro.embedding_schema import COMPANION
from astroclip_astro.embeddings import concat, make_embeddings
from astroclip_astro.errors import CatalogError, InputError
from astroclip_astro.models import GalaxyModel
from astroclip_astro.output import replacing
from astroclip_astro.weights import as_model

__all__ = ["embed_hats"]

__doctest_requires__ = {"*": ["lsdb"]}

_MANIFEST = "embedding.json"
_MOST_LISTED = 10  # failures
_AT_A_TIME = 256  # objects in memory: 50 MB of spectra, 70 MB of cutouts


def embed_hats(
    catalog,
    path,
    objects,
    *,
    modality,
    model=None,
    object_id="object_id",
    columns=(),
    client=None,
):
    """Embed the objects of a HATS catalog, on a cluster, into a HATS catalog of embeddings.

    Partitions that were written are kept, whatever happens to the others: the same call again goes
    on where the last one ended. Until all are there, the folder is no HATS catalog.

    Parameters
    ----------
    catalog : path-like or lsdb.catalog.Catalog
        What to embed; it decides the partitions, the positions and the identifiers.
    path : path-like
        Folder to make or to go on with, which all workers see.
    objects : callable
        Takes a `pandas.DataFrame`, some rows of the catalog, and returns what
        `astroclip_astro.embed` takes, one object for each row in their order; None where there is
        none. The workers import it: it is a function of a module, and opens files itself.
    modality : str
        What the objects are: "spectrum" or "image".
    model : str or path-like, optional
        As `astroclip_astro.embed` takes it, and the workers find it; by default the bundled one.
    object_id : str
        Column that identifies the objects; text or integers.
    columns : sequence of str
        Columns of the catalog to keep beside the embeddings: numbers, truths or text.
    client : dask.distributed.Client, optional
        The cluster to work on; by default the current one, or else threads of this process.

    Returns
    -------
    lsdb.catalog.Catalog
        The embeddings. An object that could not be embedded has quality bits that say why, and no
        vector.

    Raises
    ------
    InputError
        If LSDB or a column is missing, the model does not embed the modality, or it is no name.
    ProvenanceError
        If the folder was begun with another model, weights or preprocessing.
    FileExistsError
        If there is something else.
    CatalogError
        If partitions failed twice, each with its reason; or the folder was begun with another
        catalog or columns.

    Notes
    -----
    A worker holds the columns of a partition, and of 256 objects at a time what `objects` returns.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import lsdb  # doctest: +IGNORE_WARNINGS
    >>> from astroclip_astro.catalog.hats import embed_hats
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> def spectra(rows):  # in a module, where there is more than one process
    ...     return [mocks.spectrum(i) for i in rows["row"]]
    >>> table = mocks.truth["object_id", "ra", "dec"][:8].to_pandas()
    >>> table["row"] = range(8)
    >>> with TemporaryDirectory() as folder:  # doctest: +IGNORE_WARNINGS
    ...     survey = lsdb.from_dataframe(table)
    ...     embedded = embed_hats(survey, Path(folder, "hats"), spectra, modality="spectrum")
    >>> len(embedded)
    8
    """
    found, path = opened(catalog), Path(path)
    if isinstance(model, GalaxyModel):
        raise InputError(
            f"model {model.name!r} is in the memory of this process: give its name or file"
        )
    if model is not None and Path(model).is_file():
        model = Path(model).resolve()  # workers may be elsewhere
    loaded, columns = as_model(model), list(columns)
    if modality not in loaded.modalities:
        raise InputError(
            f"modality is {modality!r}: {loaded.name!r} embeds {' and '.join(loaded.modalities)}"
        )
    opened(catalog, list(dict.fromkeys([object_id, *columns])))
    nothing = embed([], model=model)
    nothing.attrs |= {
        name: text
        for name, text in loaded.provenance.items()
        if name.removeprefix(COMPANION) == modality
    }
    example = _columns_of(found.meta, columns) if columns else None
    schema = CatalogSchema.of(nothing, example, modalities=[modality])
    begun = {
        "catalog": found.name,
        "pixels": [[int(one.order), int(one.pixel)] for one in found.get_ordered_healpix_pixels()],
        "objects": getattr(objects, "__qualname__", type(objects).__name__),
        "object_id": object_id,
        "columns": columns,
        "modality": modality,
    }
    schema = _begin(path, begun, schema, nothing)
    if not (path / PROPERTIES).is_file():
        info = found.hc_structure.catalog_info
        task = {
            "path": path.resolve(),
            "objects": objects,
            "modality": modality,
            "model": model,
            "schema": schema,
            "object_id": object_id,
            "columns": columns,
            "position": (info.ra_column, info.dec_column),
        }
        with running(client) as cluster:
            pixels = _written(found, task, cluster)
        finish(path, path.name, schema, pixels)
    return opened(path)


def _begin(path, begun, schema, nothing):
    """Make the folder with its manifest, or check that it is of the same work."""
    manifest = path / _MANIFEST
    if manifest.is_file():
        there = json.loads(manifest.read_text(encoding="utf-8"))
        schema = schema_from(there.pop("schema"))
        schema.check(nothing)
        differing = [name for name, value in begun.items() if there.get(name) != value]
        if differing:
            raise CatalogError(
                f"{path} was begun with another {' and '.join(differing)}: give the same again, or "
                "another folder"
            )
        return schema
    if path.exists():
        raise FileExistsError(f"{path} exists, and was not begun here: give another folder")
    if not path.parent.is_dir():
        raise CatalogError(f"{path.parent} is no folder to make a catalog in")
    with replacing(path) as aside:
        aside.mkdir()
        text = json.dumps(begun | {"schema": text_of(schema)})
        (aside / _MANIFEST).write_text(text, encoding="utf-8")
    return schema


def _written(found, task, cluster):
    """Write the partitions that are missing, and say which there are."""
    from dask import delayed

    path, schema, parts = task["path"], task["schema"], partitions(found)
    todo = {one: part for one, part in parts.items() if not _is_written(path, one, schema)}
    shared = delayed(task, traverse=False)
    futures = cluster.compute(
        [delayed(_write)(part, one.order, one.pixel, shared) for one, part in todo.items()],
        retries=RETRIES,
    )
    reasons = [future.exception() for future in futures]
    problems = [
        f"{partition_file(path, one).relative_to(path / 'dataset')}: {type(why).__name__}: {why}"
        for one, why in zip(todo, reasons, strict=True)
        if why is not None
    ]
    if problems:
        listed = "\n".join(problems[:_MOST_LISTED])
        raise CatalogError(
            f"{len(problems)} of {len(parts)} partitions could not be embedded. The others are "
            f"kept: the same call again goes on with what is missing.\n{listed}"
        )
    there = [one for one in parts if partition_file(path, one).is_file()]
    if not there:
        raise InputError(f"catalog {found.name!r} has no rows: expected some to embed")
    return there


def _is_written(path, pixel, schema):
    """Whether a partition is there, and whole."""
    try:
        found = parquet.read_schema(partition_file(path, pixel))
    except (OSError, pa.ArrowInvalid):
        return False
    return found.metadata == schema.arrow.metadata


def _write(rows, order, pixel, task):
    """Embed a partition and write it; what a worker does."""
    from hats.pixel_math import HealpixPixel

    if not len(rows):
        return
    rows = rows.iloc[np.argsort(healpix_29(*_position(rows, task)), kind="stable")]
    twice = rows[task["object_id"]].duplicated().to_numpy(bool)
    if twice.any():
        raise InputError(
            "it is in the partition twice",
            object_id=str(rows[task["object_id"]].iloc[twice.argmax()]),
        )
    with partition(task["path"], HealpixPixel(order, pixel), task["schema"]) as writer:
        for group in _split(rows, ROW_GROUP):
            embeddings = concat([_embedded(some, task) for some in _split(group, _AT_A_TIME)])
            columns = None
            if task["columns"]:
                columns = _columns_of(group, task["columns"])
                columns["object_id"] = embeddings.coords["object_id"].values
            writer.write_table(rows_of(task["schema"], embeddings, columns))


def _embedded(rows, task):
    """Embeddings of some rows, in their order, which decide where and what an object is."""
    modality = task["modality"]
    made = embed(task["objects"](rows), model=task["model"], progress=False, errors="flag")
    made = made.astroclip.rows()
    if len(made) != len(rows):
        raise InputError(
            f"objects() gave {len(made)} objects for {len(rows)} rows: expected one for each, "
            "None where there is none"
        )
    strange = set(made.coords["modality"].values) - {modality, ""}
    if strange:
        raise InputError(f"objects() gave something else than modality {modality!r}: {strange}")
    columns = {name: values.values for name, values in made.coords.items()}
    columns["object_id"] = rows[task["object_id"]].to_numpy()
    columns["ra"], columns["dec"] = _position(rows, task)
    columns["modality"] = [modality] * len(rows)
    return make_embeddings(made.values, columns, made.attrs)


def _position(rows, task):
    """Right ascension and declination of rows, deg."""
    return tuple(rows[name].to_numpy(float) for name in task["position"])


def _split(rows, size):
    """Rows, so many at a time."""
    return [rows.iloc[start : start + size] for start in range(0, len(rows), size)]


def _columns_of(rows, names):
    """Columns of rows as a table of Astropy, without units."""
    stored = rows.to_pyarrow().select(names)
    plain = [
        (field.name, pa.string() if pa.types.is_large_string(field.type) else field.type)
        for field in stored.schema
    ]
    bare = CatalogSchema({"provenance": {}, "modalities": [], "features": 0, "columns": {}})
    return table_of(bare, stored.cast(pa.schema(plain)))
