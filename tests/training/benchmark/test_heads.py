"""Heads against scikit-learn and brute force, and measures against what they mean."""

import numpy as np
import pytest

from astroclip_astro.errors import InputError
from astroclip_astro.training.benchmark import heads
from astroclip_astro.training.benchmark.heads import bootstrap_error, classify, known, regress


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)) * [1, 10, 0.1, 3]
    return x, 2 * x[:, 0] + x[:, 1] / 5, x[:40] + 0.01


def test_neighbours_by_brute_force(cloud):
    x, y, test = cloud
    scaled, asked = ((a - x.mean(0)) / x.std(0) for a in (x, test))
    wanted = []
    for row in asked:
        distance = np.linalg.norm(scaled - row, axis=1)
        near = np.argsort(distance)[:7]
        wanted.append(np.average(y[near], weights=1 / distance[near]))
    np.testing.assert_allclose(regress(x, y, test, k=7), wanted)


def test_values_that_are_not_known_are_not_learnt(cloud):
    x, y, test = cloud
    spoilt = y.copy()
    spoilt[::2] = np.nan
    np.testing.assert_array_equal(
        regress(x, spoilt, test, k=5), regress(x[1::2], y[1::2], test, k=5)
    )


def test_perceptron_learns_and_is_repeatable(cloud):
    x, y, test = cloud
    made = regress(x, y, test, head="MLP", seed=3)
    assert heads.r2(2 * test[:, 0] + test[:, 1] / 5, made) > 0.8
    np.testing.assert_array_equal(made, regress(x, y, test, head="MLP", seed=3))


@pytest.mark.parametrize("head", ["kNN", "MLP"])
def test_classes(cloud, head):
    x, y, test = cloud
    labels = np.where(y > 1, "disc", "smooth")
    labels[:5] = ""
    labels[7] = "merger"  # one alone is no class
    made = classify(x, labels, test, head=head, k=5)
    true = np.where(2 * test[:, 0] + test[:, 1] / 5 > 1, "disc", "smooth")
    assert heads.accuracy(true, made) > 0.85
    assert set(made) == {"disc", "smooth"}


def test_what_cannot_be_learnt(cloud):
    x, y, test = cloud
    with pytest.raises(InputError, match="expected at least 400 for kNN"):
        regress(x, y, test, k=400)
    with pytest.raises(InputError, match="train embeddings are not finite"):
        regress(np.where(x > 5, np.nan, x), y, test)
    with pytest.raises(ValueError, match="head is 'forest'"):
        regress(x, y, test, head="forest")
    with pytest.raises(InputError, match="training objects for"):
        classify(x[:25], np.repeat(list("abcde"), 5), test, head="MLP")


def test_known():
    assert known(np.ma.array([1, 2], mask=[True, False])).tolist() == [False, True]
    assert known([True, False]).all()
    with pytest.raises(InputError, match="expected numbers"):
        known(np.array([None]))


def test_bootstrap_error_of_a_mean():
    x = np.random.default_rng(1).normal(size=900)
    error = bootstrap_error(lambda rows: x[rows].mean(), 900, n_resamples=800)
    assert error == pytest.approx(x.std() / 30, rel=0.1)
    assert bootstrap_error(lambda rows: 1.0, 900) == 0
    assert np.isnan(bootstrap_error(lambda rows: 1.0, 1))
