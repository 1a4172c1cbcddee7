"""How a HATS catalog of embeddings lies on disk, and how it is opened.

HATS (https://www.ivoa.net/documents/Notes/HATS/) is a folder of Parquet files, one for each HEALPix
pixel of the sky, of larger and smaller pixels where there are fewer and more objects. Their columns
are those of `CatalogSchema`, which is kept as a property of the catalog: LSDB carries properties
along when it filters a catalog or writes it anew.
"""

import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from pyarrow import dataset, parquet

from astroclip_astro.catalog.rows import table_of
from astroclip_astro.catalog.schema import HEALPIX, CatalogSchema
from astroclip_astro.errors import CatalogError, InputError
from astroclip_astro.table_files import voparquet

__all__ = [
    "PROPERTIES",
    "ROW_GROUP",
    "finish",
    "opened",
    "partition",
    "partition_file",
    "require_lsdb",
    "schema_from",
    "schema_of",
    "text_of",
]

#: The file that makes a folder a HATS catalog; it is written last.
PROPERTIES = "hats.properties"
#: Rows that are written, and can be read, at a time.
ROW_GROUP = 16384

_PROPERTY = "astroclip_astro"
_UNFINISHED = "unfinished"
_MAP_ORDER = 8  # of the pixels, of 14 arcmin, that objects are counted in


def require_lsdb():
    """Import LSDB, which is optional.

    Returns
    -------
    module
        ``lsdb``.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import lsdb
    except ImportError as error:
        raise InputError("lsdb is missing: pip install 'astroclip_astro[hats]'") from error
    return lsdb


def opened(catalog, columns=None):
    """Open a HATS catalog, any that LSDB can read.

    Parameters
    ----------
    catalog : path-like or lsdb.catalog.Catalog
        Where it is, or the catalog itself.
    columns : list of str, optional
        What to read; by default what the catalog suggests, or was opened with.

    Returns
    -------
    lsdb.catalog.Catalog

    Raises
    ------
    CatalogError
        If there is none.
    InputError
        If it is something else, or a column is missing.
    """
    lsdb = require_lsdb()
    on_disk = isinstance(catalog, str | os.PathLike)
    if on_disk:
        try:
            found = lsdb.open_catalog(catalog)
        except FileNotFoundError as error:
            raise CatalogError(f"{catalog}: no HATS catalog") from error
    else:
        found = catalog
    if not isinstance(found, lsdb.catalog.Catalog):
        raise InputError(
            f"catalog is a {type(found).__name__}: expected an lsdb Catalog of objects, or the "
            "path of one"
        )
    if columns is None:
        return found
    there = found.all_columns if on_disk else found.columns
    missing = [name for name in columns if name not in there]
    if missing:
        raise InputError(
            f"catalog {found.name!r} has no column {', '.join(missing)}"
            + ("" if on_disk else ", or was opened without: columns=… of lsdb.open_catalog")
        )
    return lsdb.open_catalog(catalog, columns=columns) if on_disk else found[columns]


def schema_of(catalog):
    """What a HATS catalog of embeddings says of itself.

    Parameters
    ----------
    catalog : lsdb.catalog.Catalog
        As `opened` returns it.

    Returns
    -------
    CatalogSchema

    Raises
    ------
    CatalogError
        If it is of something else.
    """
    about = catalog.hc_structure.catalog_info.extra_dict().get(_PROPERTY)
    if about is None:
        raise CatalogError(
            f"{catalog.name}: a HATS catalog, but none of embeddings: it does not say what made "
            "its vectors"
        )
    return schema_from(unquote(about))


def text_of(schema):
    """A schema as text.

    Parameters
    ----------
    schema : CatalogSchema
        Of a catalog.

    Returns
    -------
    str
        As Arrow keeps it.
    """
    return schema.arrow.metadata[_PROPERTY.encode()].decode()


def schema_from(text):
    """A schema from its text.

    Parameters
    ----------
    text : str
        As `text_of` returns it.

    Returns
    -------
    CatalogSchema
    """
    metadata = {_PROPERTY.encode(): text.encode()}
    return CatalogSchema.from_arrow(pa.schema([], metadata=metadata))


def partition_file(path, pixel):
    """Where a partition is.

    Parameters
    ----------
    path : path-like
        Folder of the catalog.
    pixel : hats.pixel_math.HealpixPixel
        Which.

    Returns
    -------
    pathlib.Path
    """
    from hats.io import paths

    return Path(paths.pixel_catalog_file(path, pixel).path)


@contextmanager
def partition(path, pixel, schema):
    """Write a partition, whose file appears when it is whole.

    Parameters
    ----------
    path : path-like
        Folder of the catalog.
    pixel : hats.pixel_math.HealpixPixel
        Which.
    schema : CatalogSchema
        Of the catalog.

    Yields
    ------
    pyarrow.parquet.ParquetWriter
        To be given tables with the schema, in the order of the sky.
    """
    # Not beside the file itself, where readers would take it for a partition.
    folder = Path(path, _UNFINISHED)
    folder.mkdir(exist_ok=True)
    aside, arrow = folder / f"{uuid.uuid4()}.parquet", schema.arrow
    numbers = [name for name in arrow.names if name not in schema.modalities]
    text = [name for name in numbers if arrow.field(name).type == pa.string()]
    try:
        with open(aside, "wb") as file:
            # Vectors are noise to a compressor, and their smallest numbers tell nothing.
            with parquet.ParquetWriter(
                file,
                arrow,
                compression="none",
                use_dictionary=text,
                write_statistics=numbers,
            ) as writer:
                yield writer
            file.flush()
            os.fsync(file.fileno())
        target = partition_file(path, pixel)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def finish(path, name, schema, pixels):
    """Write what makes partitions a catalog, its properties last.

    Parameters
    ----------
    path : pathlib.Path
        Folder of the partitions.
    name : str
        Of the catalog.
    schema : CatalogSchema
        Of the catalog.
    pixels : list of hats.pixel_math.HealpixPixel
        All partitions.
    """
    from hats.catalog import PartitionInfo, TableProperties
    from hats.io import file_io, paths, write_parquet_metadata
    from hats.io.skymap import write_skymap

    total = write_parquet_metadata(path, create_per_partition_stats=True)
    described = schema.arrow.with_metadata(schema.arrow.metadata | _votable(schema))
    parquet.write_metadata(described, path / "dataset" / "_common_metadata")
    partitions = PartitionInfo(pixels)
    partitions.write_to_file(path / "partition_info.csv")
    counts = np.zeros(12 * 4**_MAP_ORDER, np.int64)
    for batch in dataset.dataset(path / "dataset", format="parquet").to_batches(columns=[HEALPIX]):
        np.add.at(counts, batch[HEALPIX].to_numpy() >> 2 * (29 - _MAP_ORDER), 1)
    write_skymap(counts, path)
    file_io.write_fits_image(counts, paths.get_point_map_file_pointer(path))
    largest = max(parquet.read_metadata(partition_file(path, one)).num_rows for one in pixels)
    properties = TableProperties(
        catalog_name=name,
        catalog_type="object",
        total_rows=total,
        ra_column="ra",
        dec_column="dec",
        healpix_column=HEALPIX,
        healpix_order=29,
        skymap_order=_MAP_ORDER,
        hats_order=partitions.get_highest_order(),
        hats_max_rows=largest,
        moc_sky_fraction=partitions.calculate_fractional_coverage(),
        # Without the characters that such files escape, and readers unescape each in its own way.
        **{_PROPERTY: quote(text_of(schema), safe=" {}[]:,")},
        **TableProperties.new_provenance_dict(path, builder="astroclip_astro"),
    )
    folder = path / _UNFINISHED
    folder.mkdir(exist_ok=True)
    properties.to_properties_file(folder)
    for file in ("properties", PROPERTIES):
        os.replace(folder / file, path / file)
    shutil.rmtree(folder)


def _votable(schema):
    """Units and descriptions as other programs read them."""
    rows = schema.arrow.empty_table()
    table = table_of(schema, rows.drop_columns(schema.modalities))
    for modality in schema.modalities:
        table[modality] = np.empty((0, schema.features), np.float32)
    return voparquet(table[schema.arrow.names], "")
