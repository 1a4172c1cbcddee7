"""Small sources that tests of several modules read."""

import h5py
import numpy as np
import pytest

from astroclip_astro.simulate import MockSurvey

SHARD_SIZE = 9


@pytest.fixture(scope="session")
def survey(tmp_path_factory):
    """The bundled mocks in shards of nine, the last one shorter; two are not galaxies."""
    path = tmp_path_factory.mktemp("mocks")
    (bundled,) = MockSurvey.bundled().path.glob("shard-*.h5")
    with h5py.File(bundled) as source:
        for number, start in enumerate(range(0, len(source["truth"]), SHARD_SIZE)):
            with h5py.File(path / f"shard-{number:05d}.h5", "w") as shard:
                shard.attrs.update(source.attrs)
                for name in source:
                    rows = source[name][start : start + SHARD_SIZE]
                    if name == "truth" and number == 1:
                        rows["kind"][[0, 4]] = b"star", b"qso"
                    shard[name] = rows
    return MockSurvey.open(path)


@pytest.fixture
def generator():
    """Function that makes a generator of a seed."""
    import torch

    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def rng():
    return np.random.default_rng(5)
