"""The file that a map of a catalog is kept in: Parquet, with checksums of all that is in it."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_astro.errors import CatalogError
from astroclip_astro.output import replacing

__all__ = ["damaged_maps", "map_path", "read_map_file", "write_map_file"]

_SCHEMA = pa.schema({"object_id": pa.string(), "x": pa.float32(), "y": pa.float32()})
_NOTES, _DIGEST = b"map", b"sha256"


def map_path(folder, modality):
    """Where the map of a modality is.

    Parameters
    ----------
    folder : pathlib.Path
        Of the catalog.
    modality : str
        Whose vectors.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> from pathlib import Path
    >>> from astroclip_astro.catalog.map_files import map_path
    >>> map_path(Path("mine"), "image").name
    'map-image.parquet'
    """
    return folder / f"map-{modality}.parquet"


def write_map_file(path, object_id, xy, notes):
    """Write a map, as a whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        As `map_path` gives it; what is there is replaced.
    object_id : pyarrow.Array or pyarrow.ChunkedArray
        Which objects, shape (n,).
    xy : numpy.ndarray
        Their places, shape (n, 2), float32.
    notes : dict
        How it was made, as JSON can say it.
    """
    table = pa.table([object_id, xy[:, 0], xy[:, 1]], schema=_SCHEMA)
    text = json.dumps(notes)
    table = table.replace_schema_metadata({_NOTES: text, _DIGEST: _digest(table, text)})
    with replacing(path) as aside:
        pq.write_table(table, aside, compression="zstd", write_page_checksum=True)


def read_map_file(path):
    """Read a map.

    Parameters
    ----------
    path : pathlib.Path
        As `map_path` gives it.

    Returns
    -------
    table : pyarrow.Table
        ``object_id``, ``x`` and ``y``.
    notes : dict
        How it was made.

    Raises
    ------
    CatalogError
        If there is none, or it is damaged.
    """
    if not path.exists():
        raise CatalogError(f"there is no {path}")
    try:
        with path.open("rb") as file:
            table = pq.read_table(file, page_checksum_verification=True)
        about = table.schema.metadata
        # Checksums of pages say nothing of what stands around the pages.
        text = about[_NOTES].decode()
        if table.schema != _SCHEMA or about[_DIGEST].decode() != _digest(table, text):
            raise ValueError("its checksum is another")
        return table, json.loads(text)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # Parquet has many ways to be damaged
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CatalogError(f"{path} is damaged ({reason})") from error


def damaged_maps(folder):
    """Find the maps of a catalog that are damaged.

    Parameters
    ----------
    folder : pathlib.Path
        Of the catalog.

    Returns
    -------
    list of str
        Names of their files.
    """
    damaged = []
    for path in sorted(folder.glob(map_path(folder, "*").name)):
        try:
            read_map_file(path)
        except CatalogError:
            damaged.append(path.name)
    return damaged


def _digest(table, text):
    """SHA-256 of a map's rows and notes."""
    digest = hashlib.sha256(text.encode())
    digest.update("\n".join(table["object_id"].to_pylist()).encode())
    for name in ("x", "y"):
        digest.update(table[name].to_numpy().astype(np.dtype("<f4")).tobytes())
    return digest.hexdigest()
