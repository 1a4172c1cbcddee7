"""Retrieval by brute force; ties, pools and intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest

from astroclip_astro.errors import InputError
from astroclip_astro.training.benchmark.retrieval import recall_curve, retrieval, retrieval_ranks


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 5))
    return a, a + rng.normal(size=a.shape)


def test_ranks_by_brute_force(pair):
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in pair)
    wanted = [1 + sum(a[i] @ b[j] > a[i] @ b[i] for j in range(50)) for i in range(50)]
    np.testing.assert_array_equal(retrieval_ranks(*pair, pool=50), wanted)


def test_every_query_has_a_pool_of_the_size_said(pair):
    ranks = retrieval_ranks(*pair, pool=20)
    assert ranks.shape == (50,)
    assert ranks.min() >= 1
    assert ranks.max() <= 20
    easy = retrieval_ranks(*pair, pool=5)
    assert easy.mean() < ranks.mean() < retrieval_ranks(*pair, pool=50).mean()


def test_collapsed_vectors_find_what_chance_finds():
    ranks = retrieval_ranks(np.ones((40, 3)), np.ones((40, 3)), pool=40)
    assert (ranks == 20.5).all()
    assert retrieval(np.ones((40, 3)), np.ones((40, 3)), pool=40).recall[10] == 0


def test_vectors_that_differ_by_rounding_only_are_ties():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 64))
    keys = one * (1 + 1e-15 * rng.normal(size=(30, 64)))
    assert (retrieval_ranks(keys, keys[::-1], pool=30) == 15.5).all()


def test_galaxies_that_fill_up_a_pool_are_not_looked_for_twice():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(7, 3))
    found = retrieval(vectors, vectors, pool=5)
    assert (found.n_queries, found.pool) == (7, 5)
    assert found.recall[1] == 1


def test_recall_and_interval(pair):
    found = retrieval(*pair, pool=50)
    hits = (retrieval_ranks(*pair, pool=50) <= 5).sum()
    assert found.recall[5] == hits / 50
    assert found.n_queries == 50
    low, high = binomtest(int(hits), 50).proportion_ci(method="exact")
    assert found.recall_interval[5] == pytest.approx((low, high))
    assert found.recall_error[5] == pytest.approx(
        np.sqrt(found.recall[5] * (1 - found.recall[5]) / 50), rel=0.3
    )


def test_curve():
    np.testing.assert_allclose(recall_curve(np.array([1, 2, 2.5, 4]), 4), [0.25, 0.5, 0.75, 1])


def test_vectors_that_cannot_be_compared(pair):
    a, b = pair
    with pytest.raises(InputError, match="expected the same galaxies"):
        retrieval_ranks(a, b[:-1])
    with pytest.raises(InputError, match="zero or not finite"):
        retrieval_ranks(a, np.where(np.arange(50)[:, None] == 3, 0, b))
    with pytest.raises(ValueError, match="pool is 0"):
        retrieval_ranks(a, b, pool=0)
