"""Vectors like those of galaxies, as many as are wanted: clusters of all sizes, few directions.

2,000 clusters whose sizes fall as a power law, on a smooth spectrum of directions; a second
modality sees the same objects with noise of its own. Every block of 100,000 has its own seed.
"""

import numpy as np
from astropy import units as u
from astropy.table import QTable

from astroclip_astro.embeddings import concat, make_embeddings

__all__ = ["BLOCK", "block", "queries"]

BLOCK = 100_000
_CLUSTERS, _SPREAD, _NOISE = 2000, 0.5, 0.3
ABOUT = {"model": "clustered", "weights_sha256": "0" * 64, "preprocessing": "none"}


def _vectors(rng, n, features, own):
    """Vectors (n, features), and how another modality sees them."""
    common = np.random.default_rng(own)  # the clusters are those of all blocks
    scale = np.arange(1, features + 1) ** -0.5
    centres = common.normal(size=(_CLUSTERS, features)).astype(np.float32) * scale
    share = np.arange(1, _CLUSTERS + 1) ** -0.8
    which = rng.choice(_CLUSTERS, n, p=share / share.sum())
    first = centres[which] + _SPREAD * scale * rng.normal(size=(n, features)).astype(np.float32)
    second = first + _NOISE * scale * rng.normal(size=(n, features)).astype(np.float32)
    return first.astype(np.float32), second.astype(np.float32)


def block(number, n=BLOCK, features=512, modalities=("spectrum",), seed=0):
    """One block of objects.

    Returns
    -------
    embeddings : xarray.DataArray
        Of all modalities.
    columns : astropy.table.QTable
        ``log_mass`` (dex(solMass)) and ``field`` (0 to 99).
    """
    rng = np.random.default_rng([seed, number])
    vectors = dict(zip(("spectrum", "image"), _vectors(rng, n, features, seed), strict=True))
    ids = np.array([f"object-{number * BLOCK + i:09d}" for i in range(n)])
    about = {
        "object_id": ids,
        "ra": rng.uniform(0, 360, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
        "survey": np.full(n, "mock"),
        "redshift": rng.uniform(0, 1, n),
        "coverage": np.ones(n),
        "snr": rng.uniform(1, 30, n),
        "quality": np.zeros(n, int),
    }
    columns = QTable({"object_id": ids, "field": rng.integers(0, 100, n)})
    columns["log_mass"] = rng.normal(10.5, 0.6, n) * u.dex(u.Msun)
    parts = [make_embeddings(vectors[m], about | {"modality": [m] * n}, ABOUT) for m in modalities]
    return (parts[0] if len(parts) == 1 else concat(parts)), columns


def queries(n, features=512, seed=0):
    """Unit vectors of other objects of the same kind, shape (n, features), float32."""
    first, _ = _vectors(np.random.default_rng([seed, 10**6]), n, features, seed)
    return first / np.linalg.norm(first, axis=1, keepdims=True)
