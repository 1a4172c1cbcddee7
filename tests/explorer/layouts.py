"""Maps of catalogs without UMAP, which takes long."""

import numpy as np
import pyarrow as pa

from astroclip_astro.catalog.map_files import map_path, write_map_file
from astroclip_astro.embedding_schema import compared

__all__ = ["scatter"]


def scatter(catalog, modality, names):
    """Give a catalog a map on which these objects are somewhere."""
    places = np.random.default_rng(0).normal(size=(len(names), 2)).astype(np.float32)
    notes = {key: catalog.provenance[key] for key in compared(catalog.provenance, {})}
    write_map_file(map_path(catalog.path, modality), pa.array(names), places, notes)
