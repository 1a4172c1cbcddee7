"""Distributions against SciPy's, closed forms, and integrals by brute force."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import gamma, kstest, multivariate_normal, norm

from astroclip_astro.tasks import predictive
from astroclip_astro.tasks.predictive import LEVELS, Predictive, draw_mixture

# Weights, means and standard deviations of some mixtures.
MIXTURES = {
    "normal": ([1.0], [2.0], [0.5]),
    "two modes": ([0.3, 0.7], [-2.0, 1.0], [0.3, 0.4]),
    "narrow on wide": ([0.5, 0.5], [0.2, 0.0], [1e-3, 1.0]),
    "far apart": ([0.6, 0.4], [-100.0, 100.0], [0.01, 1.0]),
    "faint and wide": ([0.99, 0.01], [0.0, 0.0], [0.1, 5.0]),
    "many": (np.arange(1.0, 65), np.sin(np.arange(64)), np.full(64, 0.2)),
}


def mixture(name, n=1):
    weights, means, sigmas = (np.array(one) for one in MIXTURES[name])
    return weights[None].repeat(n, 0), means[None, :, None], sigmas[None, :, None]


def exact_cdf(name, x):
    weights, means, sigmas = (np.array(one) for one in MIXTURES[name])
    return float(weights / weights.sum() @ norm.cdf((x - means) / sigmas))


def made(name):
    weights, means, sigmas = mixture(name)
    return Predictive.from_mixture(weights, means, sigmas)


def of_normal(mean, sigma):
    """Predictive of normal distributions, of arrays (object, quantity)."""
    return Predictive(norm.ppf(LEVELS) * np.asarray(sigma)[..., None] + np.asarray(mean)[..., None])


def test_levels():
    assert (np.diff(LEVELS) > 0).all()
    np.testing.assert_allclose(LEVELS + LEVELS[::-1], 1, rtol=1e-15)
    assert {0.16, 0.5, 0.84, 0.025, 0.975} <= set(LEVELS)


def test_a_normal_distribution_is_that_of_scipy():
    found = made("normal")
    assert len(found) == 1
    p = np.array([1e-7, 1e-4, 0.003, 0.025, 0.16, 0.5, 0.613, 0.84, 0.975, 0.9993, 1 - 1e-7])
    np.testing.assert_allclose(found.quantile(p)[0, 0], norm(2, 0.5).ppf(p), atol=1e-6)
    for x in (-3.0, 0.9, 2.0, 2.3, 4.0, 9.0):
        z = found.zscore(np.array([[x]]))[0, 0]
        assert z == pytest.approx((x - 2) / 0.5, abs=1e-6)
        assert found.cdf(np.array([[x]]))[0, 0] == pytest.approx(norm(2, 0.5).cdf(x), abs=1e-7)


@pytest.mark.parametrize("name", MIXTURES)
def test_quantiles_of_mixtures_against_root_finding(name):
    found = made(name).values[0, 0]
    weights, means, sigmas = (np.array(one) for one in MIXTURES[name])
    weights = weights / weights.sum()
    mean = weights @ means
    spread = np.sqrt(weights @ (sigmas**2 + (means - mean) ** 2))
    low, high = (means - 9 * sigmas).min(), (means + 9 * sigmas).max()
    exact = [brentq(lambda x, p=p: exact_cdf(name, x) - p, low, high, xtol=1e-9) for p in LEVELS]
    # Between modes that are far apart, values far from each other have the same probability.
    in_gap = np.abs(found - exact) > 0.005 * spread
    assert in_gap.sum() <= (1 if name == "far apart" else 0)
    np.testing.assert_allclose([exact_cdf(name, x) for x in found], LEVELS, atol=3e-4)
    # The ends of the 95 % interval, to better than a hundredth of a standard deviation.
    ends = made(name).quantile([0.025, 0.975])[0, 0]
    np.testing.assert_allclose(ends, np.interp([0.025, 0.975], LEVELS, exact), atol=0.005 * spread)


@pytest.mark.parametrize("name", MIXTURES)
def test_probabilities_of_mixtures(name):
    found = made(name)
    for x in found.quantile(np.linspace(0.005, 0.995, 37))[0, 0]:
        assert found.cdf(np.array([[x]]))[0, 0] == pytest.approx(exact_cdf(name, x), abs=0.006)


def test_every_object_and_quantity_has_its_own_mixture():
    rng = np.random.default_rng(0)
    weights, means = rng.random((4, 3)), rng.normal(size=(4, 3, 2))
    sigmas = rng.uniform(0.1, 2, (4, 3, 2))
    whole = Predictive.from_mixture(weights, means, sigmas).values
    for i, j in np.ndindex(4, 2):
        one = Predictive.from_mixture(
            weights[[i]], means[[i]][..., [j]], sigmas[[i]][..., [j]]
        ).values
        np.testing.assert_allclose(whole[i, j], one[0, 0], rtol=1e-12)
    # What is the same for all need not be repeated.
    same = Predictive.from_mixture(weights, means, sigmas[0, 0]).values
    spelled = Predictive.from_mixture(weights, means, np.broadcast_to(sigmas[0, 0], means.shape))
    np.testing.assert_array_equal(same, spelled.values)


def test_pieces_give_what_all_at_once_gives(monkeypatch):
    rng = np.random.default_rng(1)
    given = rng.random((23, 5)), rng.normal(size=(23, 5, 2)), rng.uniform(0.1, 2, (23, 5, 2))
    whole = Predictive.from_mixture(*given).values
    for cells in (1, 3 * 5 * 2 * 511, 2**30):
        monkeypatch.setattr(predictive, "_CELLS", cells)
        np.testing.assert_allclose(Predictive.from_mixture(*given).values, whole, rtol=1e-12)


def test_no_objects():
    none = Predictive.from_mixture(np.empty((0, 2)), np.empty((0, 2, 3)), np.empty((0, 2, 3)))
    assert len(none) == 0
    assert none.quantile([0.1, 0.9]).shape == (0, 3, 2)
    assert none.cdf(np.empty((0, 3))).shape == (0, 3)


def test_samples_against_quantiles_of_numpy():
    samples = gamma(2).rvs((3, 4000, 2), random_state=0)
    found = Predictive.from_samples(samples)
    p = [0.025, 0.16, 0.5, 0.84, 0.975]
    wanted = np.moveaxis(np.quantile(samples, p, axis=1, method="hazen"), 0, -1)
    np.testing.assert_allclose(found.quantile(p), wanted, rtol=2e-3)
    assert (np.diff(found.values) >= 0).all()


def test_a_few_samples_have_tails():
    samples = norm.ppf((np.arange(50) + 0.5) / 50)[None, :, None]
    found = Predictive.from_samples(samples)
    np.testing.assert_allclose(found.quantile([1e-4, 0.999])[0, 0], norm.ppf([1e-4, 0.999]), 1e-6)
    one = Predictive.from_samples(np.full((1, 1, 1), 3.0))
    assert (one.values == 3).all()


@pytest.mark.parametrize("y", [-4.0, -0.7, 0.0, 0.1, 1.0, 2.5, 12.0])
def test_crps_of_a_normal_distribution(y):
    mean, sigma = 0.3, 1.7
    z = (y - mean) / sigma
    # Gneiting & Raftery 2007, JASA 102, 359, eq. 21, with the sign of a penalty.
    wanted = sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    found = of_normal([[mean]], [[sigma]]).crps(np.array([[y]]))
    np.testing.assert_allclose(found, wanted, rtol=2e-3)


@pytest.mark.parametrize("name", ["two modes", "narrow on wide", "many"])
@pytest.mark.parametrize("y", [-2.3, 0.2, 0.9])
def test_crps_of_mixtures_against_its_definition(name, y):
    def integrand(x):
        return (exact_cdf(name, x) - (x >= y)) ** 2

    points = [y, 0.19, 0.2, 0.21]
    wanted = quad(integrand, -9, 9, points=points, limit=500, epsabs=1e-8)[0]
    assert made(name).crps(np.array([[y]]))[0, 0] == pytest.approx(wanted, rel=5e-3, abs=1e-4)


def test_an_unknown_truth_has_no_score():
    found = of_normal(np.zeros((2, 2)), np.ones((2, 2)))
    truth = np.array([[0.0, np.nan], [np.nan, 0.0]])
    for scores in (found.crps(truth), found.cdf(truth), found.zscore(truth)):
        np.testing.assert_array_equal(np.isnan(scores), np.isnan(truth))


def test_certainty_is_no_error():
    certain = Predictive(np.full((3, 1, len(LEVELS)), 2.0))
    truth = np.array([[1.0], [2.0], [3.0]])
    assert (certain.quantile([0.0, 0.3, 1.0]) == 2).all()
    assert certain.cdf(truth)[[0, 2], 0].tolist() == [0, 1]
    np.testing.assert_allclose(certain.crps(truth)[:, 0], [1, 0, 1], atol=1e-3)


def test_samples_are_carried_over_level_by_level():
    rng = np.random.default_rng(2)
    covariance = np.array([[1, 0.8], [0.8, 1]])
    samples = multivariate_normal([0, 0], covariance).rvs(500, random_state=rng)[None]
    before, after = of_normal([[0, 0]], [[1, 1]]), of_normal([[5, -1]], [[2, 0.5]])
    carried = before.transported(samples, after)
    # Also those beyond the outermost level.
    samples[0, 0] = [-9, 9]
    carried = before.transported(samples, after)
    np.testing.assert_allclose(carried, samples * [2, 0.5] + [5, -1], atol=1e-8)


@pytest.mark.parametrize("factor", [0.05, 0.5, 1.0, 3.0])
def test_recalibration_undoes_a_wrong_width_and_bias(factor):
    # Stated are distributions of the wrong width that are off by half a standard deviation.
    rng = np.random.default_rng(3)
    centre, sigma = rng.normal(size=(2, 4000, 1)) ** 2
    truth = centre + sigma * rng.normal(size=(4000, 1))
    stated = of_normal(centre + 0.5 * sigma, factor * sigma)
    learned, new = slice(2000), slice(2000, None)
    zscores = np.sort(stated.zscore(truth)[learned], axis=0).T
    found = Predictive(stated.values[new]).recalibrated(zscores)
    assert (np.diff(found.values) >= 0).all()
    pit = found.cdf(truth[new])[:, 0]
    assert kstest(pit, "uniform").pvalue > 0.01
    wanted = centre[new] + sigma[new] * norm.ppf([0.025, 0.16, 0.5, 0.84, 0.975])
    error = (found.quantile([0.025, 0.16, 0.5, 0.84, 0.975])[:, 0] - wanted) / sigma[new]
    assert np.abs(np.median(error, axis=0)).max() < 0.15


def test_recalibration_with_the_ranks_of_conformal_prediction():
    # The truth was at these levels of 9 objects: so is, stated, every tenth per cent.
    zscores = norm.ppf(np.array([[0.02, 0.1, 0.15, 0.4, 0.45, 0.6, 0.7, 0.95, 0.99]]))
    found = of_normal([[0.0]], [[1.0]]).recalibrated(zscores)
    np.testing.assert_allclose(found.quantile(np.arange(1, 10) / 10)[0, 0], zscores[0], atol=1e-9)
    # Outside of them, the distribution is what it was, moved.
    beyond = found.quantile([0.001, 0.999])[0, 0]
    moved = norm.ppf([0.001, 0.999]) + zscores[0][[0, -1]] - norm.ppf([0.1, 0.9])
    np.testing.assert_allclose(beyond, moved, atol=1e-9)


def test_quantities_are_recalibrated_each_by_its_own():
    zscores = np.stack([np.linspace(-1, 1, 21), np.linspace(-4, 8, 21)])
    stated = of_normal([[1.0, 2.0]], [[1.0, 3.0]])
    both = stated.recalibrated(zscores).values
    for j in range(2):
        one = Predictive(stated.values[:, [j]]).recalibrated(zscores[[j]])
        np.testing.assert_array_equal(both[:, j], one.values[:, 0])


def test_draws_of_mixtures():
    weights = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    means = np.array([[[0.0, 0.0], [5.0, -5.0], [9.0, 9.0]]]).repeat(2, 0)
    draws = draw_mixture(weights, means, 0.1, 20_000, np.random.default_rng(4))
    assert draws.shape == (2, 20_000, 2)
    nearest = np.abs(draws[..., None, 0] - means[:, None, :, 0]).argmin(-1)
    shares = np.stack([(nearest == k).mean(1) for k in range(3)], axis=1)
    # Four standard deviations of a binomial share.
    np.testing.assert_allclose(shares, weights, atol=4 * np.sqrt(0.25 / 20_000))
    chosen = np.take_along_axis(means, nearest[..., None], axis=1)
    assert kstest((draws - chosen).ravel() / 0.1, "norm").pvalue > 0.01
    again = draw_mixture(weights, means, 0.1, 20_000, np.random.default_rng(4))
    np.testing.assert_array_equal(draws, again)
