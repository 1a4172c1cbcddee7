"""What tests of several heads share."""

import numpy as np
import pytest

from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.quality import Quality


@pytest.fixture(scope="session")
def embedded():
    """Function that makes embeddings of vectors (n, feature); those in `lost` have none."""

    def make(x, prefix="g", lost=(), names=None, **attrs):
        x, quality = np.array(x, np.float32), np.zeros(len(x), int)
        x[list(lost)] = np.nan
        quality[list(lost)] = Quality.NO_DATA | Quality.NOT_EMBEDDED
        columns = {
            "object_id": [f"{prefix}{i}" for i in range(len(x))] if names is None else names,
            "ra": np.zeros(len(x)),
            "dec": np.zeros(len(x)),
            "modality": ["image"] * len(x),
            "survey": [""] * len(x),
            "coverage": np.ones(len(x)),
            "snr": np.ones(len(x)),
            "quality": quality,
        }
        about = {"model": "toy", "weights_sha256": "ab" * 32, "preprocessing": "0123456789abcdef"}
        return make_embeddings(x, columns, about | attrs)

    return make
