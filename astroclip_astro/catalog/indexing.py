"""The index of the vectors of a modality, with partitions that are found in float32.

On its own Lance computes with the stored float16, for which most processors have no arithmetic:
the partitions of 60,000 vectors then take it 17 times as long as those of float32.
"""

import shutil

import lance
import numpy as np
import pyarrow as pa
import torch
from sklearn.cluster import MiniBatchKMeans

from astroclip_astro.catalog.engines.exact import vectors_of
from astroclip_astro.catalog.schema import has_vector
from astroclip_astro.embeddings import directions

__all__ = ["make_index"]

_PER_PARTITION = 512  # vectors: 2,000 partitions for a million
_MOST = 4096  # partitions, or finding them takes longer than everything else
_LEARNED_FROM = 64  # vectors for each partition
_BLOCK = 16384


def make_index(dataset, modality, aside):
    """Make the index, IVF with RaBitQ codes.

    Parameters
    ----------
    dataset : lance.LanceDataset
        Rows of a catalog; it has a new version afterwards.
    modality : str
        Which vectors.
    aside : pathlib.Path
        Folder to make meanwhile, which is gone afterwards; what a killed process left is replaced.
    """
    there = has_vector(modality)
    count = dataset.count_rows(filter=there)
    partitions = int(np.clip(count // _PER_PARTITION, 1, _MOST))
    share = _LEARNED_FROM * partitions / count
    rng = np.random.default_rng(0)
    some = [unit[rng.random(len(unit)) < share] for _, unit in _units(dataset, modality, there)]
    means = MiniBatchKMeans(partitions, batch_size=4096, max_iter=10, n_init=1, random_state=0)
    centres = directions(means.fit(np.concatenate(some)).cluster_centers_)
    left = torch.from_numpy(centres.T.copy())
    rowids, nearest = [], []
    for ids, unit in _units(dataset, modality, there):
        rowids.append(ids)
        nearest.append((torch.from_numpy(unit) @ left).argmax(1).numpy())
    shutil.rmtree(aside, ignore_errors=True)
    try:
        table = {
            "row_id": pa.array(np.concatenate(rowids), pa.uint64()),
            "partition": pa.array(np.concatenate(nearest), pa.uint32()),
        }
        lance.write_dataset(pa.table(table), aside, max_rows_per_file=count)
        dataset.create_index(
            modality,
            "IVF_RQ",
            metric="cosine",
            num_partitions=partitions,
            ivf_centroids=centres.astype(np.float16),
            precomputed_partition_dataset=str(aside),
        )
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _units(dataset, modality, there):
    """Row ids and unit vectors, float32, some at a time."""
    scanner = dataset.scanner(columns=[modality], filter=there, with_row_id=True, batch_size=_BLOCK)
    for batch in scanner.to_batches():
        if len(batch):
            yield (
                batch["_rowid"].to_numpy(),
                directions(vectors_of(batch[modality]).astype(np.float32)),
            )
