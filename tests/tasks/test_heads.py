"""What is special to each head, against the same done by hand."""

import copy
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.table import QTable
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal, norm

from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.tasks import FlowHead, LinearHead, MLPHead, NeighborsHead
from astroclip_astro.tasks import flow as flow_module
from astroclip_astro.tasks.mlp import _loss, _MixtureDensity
from astroclip_astro.tasks.network import fit_network


def scaled(x, like):
    return (x - like.mean(0)) / like.std(0)


@pytest.fixture(scope="module")
def data():
    """Vectors and two quantities to learn from, and vectors to ask about."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, -3]
    y = np.stack([x[:, 0] + 0.1 * x[:, 1], 20 * x[:, 2]], axis=1)
    noise = multivariate_normal([0, 0], [[0.09, 0.2], [0.2, 1.0]]).rvs(150, random_state=1)
    return x, y + noise, rng.normal(size=(25, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, -3]


# Neighbours


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("weights", ["distance", "uniform"])
def test_neighbours_by_hand(data, metric, weights):
    x, y, asked = data
    k = 7
    # The farthest of the normal ones: without widening what is strange, to compare the bare head.
    head = NeighborsHead(k=k, weights=weights, metric=metric).fit(x, y)
    head.familiar_ = np.array(np.inf)
    known, query = scaled(x, x), scaled(asked, x)
    if metric == "euclidean":
        distance = np.sqrt(((query[:, None] - known) ** 2).sum(-1))
    else:
        known, query = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (known, query))
        distance = 1 - query @ known.T
    near = np.argsort(distance, axis=1)[:, :k]
    found = head.distribution(asked)
    for i, rows in enumerate(near):
        w = 1 / distance[i, rows] if weights == "distance" else np.ones(k)
        w = w / w.sum()
        values = scaled(y, y)[rows]
        mean = w @ values
        deviation = np.sqrt(w @ (values - mean) ** 2 / (1 - (w**2).sum()))
        q25, q75 = np.percentile(values, [25, 75], axis=0)
        kernel = 0.9 * np.minimum(deviation, (q75 - q25) / 1.34) * (w**2).sum() ** 0.2
        for j in range(2):
            at = found.quantile([0.025, 0.16, 0.5, 0.84, 0.975])[i, j]
            at = (at - y[:, j].mean()) / y[:, j].std()
            cdf = norm.cdf((at[:, None] - values[:, j]) / kernel[j]) @ w
            np.testing.assert_allclose(cdf, [0.025, 0.16, 0.5, 0.84, 0.975], atol=2e-3)


def test_one_neighbour_is_believed():
    x = np.arange(10.0)[:, None]
    head = NeighborsHead(k=1).fit(x, 2 * x[:, 0])
    np.testing.assert_allclose(head.predict(x + 0.2), 2 * x[:, 0], atol=1e-6)


def test_the_very_same_object_does_not_make_certain(data):
    # Its weight is a million times that of the others, whose values differ as before.
    x, y, _ = data
    head = NeighborsHead(k=20).fit(x, y)
    low, high = np.moveaxis(head.distribution(x).quantile([0.16, 0.84]), -1, 0)
    noise = np.sqrt([0.09, 1.0])
    assert (np.median(high - low, axis=0) > 0.5 * noise).all()


def test_the_number_of_neighbours(data):
    x, y, _ = data
    for k in (0, 151):
        with pytest.raises(InputError, match=f"k is {k}, expected 1 to 150, the number of objects"):
            NeighborsHead(k=k).fit(x, y)
    with pytest.raises(ValueError, match="weights is 'inverse', expected 'distance' or 'uniform'"):
        NeighborsHead(k=3, weights="inverse").fit(x, y)
    assert NeighborsHead(k=150, weights="uniform").fit(x, y).predict(x[:2]).shape == (2, 2)


# The line


def ridge(x, y, strength):
    """Coefficients and intercept by the normal equations, the intercept free."""
    design = np.column_stack([x, np.ones(len(x))])
    penalty = strength * np.diag([1.0] * x.shape[1] + [0.0])
    solved = np.linalg.solve(design.T @ design + penalty, design.T @ y)
    return solved[:-1], solved[-1]


def test_the_line_by_refits_without_each_object(data):
    x, y, asked = data
    x, y = x[:40], y[:40]
    head = LinearHead().fit(x, y)
    head.familiar_ = np.array(np.inf)
    known, query, values = scaled(x, x), scaled(asked, x), scaled(y, y)
    strengths = np.logspace(-3, 5, 17)
    found = head.distribution(asked).quantile([0.16, 0.5, 0.84])
    residuals, sigmas = [], []
    for j in range(2):
        errors = np.empty((len(strengths), len(x)))
        for s, strength in enumerate(strengths):
            for i in range(len(x)):
                rest = np.arange(len(x)) != i
                slope, zero = ridge(known[rest], values[rest, j], strength)
                errors[s, i] = values[i, j] - known[i] @ slope - zero
        best = (errors**2).mean(1).argmin()
        assert 0 < best < len(strengths) - 1
        slope, zero = ridge(known, values[:, j], strengths[best])
        sigmas.append(np.sqrt((errors[best] ** 2).mean()))
        residuals.append(values[:, j] - known @ slope - zero)
        wanted = (query @ slope + zero)[:, None] + sigmas[-1] * norm.ppf([0.16, 0.5, 0.84])
        wanted = wanted * y[:, j].std() + y[:, j].mean()
        np.testing.assert_allclose(found[:, j], wanted, rtol=1e-5)
    correlation = np.corrcoef(residuals)[0, 1]
    assert head.covariance_[0, 1] / np.prod(sigmas) == pytest.approx(correlation, rel=1e-6)


def test_a_line_through_fewer_objects_than_numbers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 50))
    head = LinearHead().fit(x, x[:, 0])
    assert np.isfinite(head.distribution(rng.normal(size=(5, 50))).values).all()


# Networks


def test_the_loss_of_mixtures_is_their_likelihood():
    torch.manual_seed(0)
    module = _MixtureDensity(4, (8,), 3, 2)
    x, y = torch.randn(20, 4), torch.randn(20, 2)
    weights, means, sigmas = (a.detach().double().numpy() for a in module(x))
    np.testing.assert_allclose(np.exp(weights).sum(1), 1, rtol=1e-6)
    normal = norm(means, sigmas).logpdf(y.double().numpy()[:, None]).sum(-1)
    wanted = -logsumexp(weights + normal, axis=1).mean()
    assert _loss(module, x, y).item() == pytest.approx(wanted, rel=1e-5)


def test_a_perceptron_tells_two_answers_apart():
    # As likely one as the other, and both quantities together: no single normal distribution.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    sign = rng.choice([-1, 1], (600, 1))
    y = sign * [3, 1] + x + 0.2 * rng.normal(size=(600, 2))
    head = MLPHead(hidden=(32,), components=3, max_epochs=60).fit(x, y)
    asked = np.array([[0.0, 0.0]])
    inside = head.distribution(asked).cdf(np.array([[1.5, 0.5]])) - head.distribution(asked).cdf(
        np.array([[-1.5, -0.5]])
    )
    assert (inside < 0.1).all()
    draws = head._draw(head._standardised(asked), 2000, rng)[0]
    assert np.corrcoef(draws.T)[0, 1] > 0.8


@pytest.fixture(scope="module")
def posterior():
    """A flow that learned a normal posterior of two quantities, and what it is."""
    rng = np.random.default_rng(0)
    covariance = np.array([[0.25, 0.3], [0.3, 0.64]])
    slope = np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 0.3]])
    x = rng.normal(size=(2000, 3))
    y = x @ slope + rng.multivariate_normal([0, 0], covariance, 2000)
    head = FlowHead(transforms=1, hidden=(32, 32), bins=4, max_epochs=80).fit(x, y)
    return head, slope, covariance


def test_a_flow_recovers_a_normal_posterior(posterior):
    head, slope, covariance = posterior
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3)) * 0.7
    y = x @ slope + rng.multivariate_normal([0, 0], covariance, 300)
    # The mean logarithm of the ratio of densities is the Kullback-Leibler divergence.
    with torch.no_grad():
        at = torch.tensor((y - head.y_mean_) / head.y_scale_).float()
        density = head.network_(torch.tensor(head._standardised(x)).float()).log_prob(at)
    density = density.double().numpy() - np.log(head.y_scale_).sum()
    exact = multivariate_normal([0, 0], covariance).logpdf(y - x @ slope)
    assert np.mean(exact - density) < 0.06
    sigma = np.sqrt(np.diag(covariance))
    quantiles = head.distribution(x).quantile([0.025, 0.16, 0.5, 0.84, 0.975])
    off = (quantiles - (x @ slope)[..., None]) / sigma[:, None]
    wanted = np.broadcast_to(norm.ppf([0.025, 0.16, 0.5, 0.84, 0.975]), off.shape[1:])
    np.testing.assert_allclose(off.mean(0)[:, 1:4], wanted[:, 1:4], atol=0.13)
    np.testing.assert_allclose(off.mean(0), wanted, atol=0.35)  # 50 of 2,000 objects are beyond
    draws = head._draw(head._standardised(x), 400, rng) * head.y_scale_
    correlation = [np.corrcoef(one.T)[0, 1] for one in draws]
    assert np.mean(correlation) == pytest.approx(0.75, abs=0.07)
    np.testing.assert_allclose(draws.std(1).mean(0), sigma, rtol=0.15)


def test_quantiles_of_a_flow_are_those_of_its_density(posterior):
    head = copy.deepcopy(posterior[0])
    standard = head._standardised(np.zeros((1, 3)))
    draws = head._draw(standard, 100_000, np.random.default_rng(2))[0]
    levels = [0.025, 0.16, 0.5, 0.84, 0.975]
    wanted = np.quantile(draws, levels, axis=0).T
    errors = []
    for seed in range(12):  # of the points that quantiles are taken from
        head.set_params(seed=seed)
        found = head._believe(standard).quantile(levels)[0]
        errors.append((found - wanted) / draws.std(0)[:, None])
    # Half of what as many random points would be off, which is 0.17 at the ends.
    rms = np.sqrt(np.mean(np.square(errors), axis=(0, 1)))
    np.testing.assert_array_less(rms, [0.12, 0.05, 0.04, 0.05, 0.12])


def test_a_flow_of_one_quantity():
    # Never below zero, with a long tail: no normal distribution.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 2))
    y = np.exp(0.5 * x[:, 0]) * rng.gamma(2, size=1000)
    head = FlowHead(transforms=1, hidden=(32,), max_epochs=60).fit(x[:800], y[:800])
    pit = head.distribution(x[800:]).cdf(y[800:, None])[:, 0]
    assert kstest(pit, "uniform").pvalue > 0.01
    low, middle, high = head.distribution(x[800:]).quantile([0.16, 0.5, 0.84])[:, 0].T
    assert np.median((high - middle) / (middle - low)) > 1.3
    standard = head._standardised(x[:1])
    draws = head._draw(standard, 100_000, rng)[0]
    levels = [0.025, 0.16, 0.5, 0.84, 0.975]
    found = head._believe(standard).quantile(levels)[0, 0]
    np.testing.assert_allclose(found, np.quantile(draws, levels), atol=0.03 * draws.std())


def test_pieces_of_a_flow_give_what_all_at_once_gives(posterior, monkeypatch):
    head = posterior[0]
    x = np.random.default_rng(3).normal(size=(11, 3))
    whole = head.predict(x)
    draws = head._draw(x, 5, np.random.default_rng(0))
    monkeypatch.setattr(flow_module, "_CELLS", 600)
    np.testing.assert_allclose(head.predict(x), whole, atol=1e-5)
    np.testing.assert_allclose(head._draw(x, 5, np.random.default_rng(0)), draws, atol=1e-5)
    np.testing.assert_allclose(head.predict(x[:1]), whole[:1], atol=1e-5)


NETWORKS = [MLPHead(hidden=(8,), max_epochs=3), FlowHead(transforms=1, hidden=(8,), max_epochs=3)]


@pytest.mark.parametrize("head", NETWORKS, ids=["mlp", "flow"])
def test_networks_need_twenty_objects(head, data):
    x, y, _ = data
    with pytest.raises(InputError, match="19 objects to learn from: expected at least 20"):
        head.fit(x[:19], y[:19])
    assert np.isfinite(head.fit(x[:20], y[:20]).predict(x)).all()


@pytest.mark.parametrize("head", NETWORKS, ids=["mlp", "flow"])
def test_the_seed_decides_and_nothing_else_changes(head, data):
    x, y, asked = data
    torch.manual_seed(3)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = head.set_params(seed=0).fit(x, y).predict(asked)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    torch.manual_seed(4)
    np.testing.assert_array_equal(head.fit(x, y).predict(asked), first)
    assert (head.set_params(seed=1).fit(x, y).predict(asked) != first).all()


def test_training_ends_with_the_best_and_not_the_last():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

    seen = []

    def loss(module, rows):
        # What is held out gets better for four passes, then worse.
        if not module.training:
            seen.append(module.weight.item())
            return torch.tensor(float(abs(len(seen) - 4)))
        return (module.weight - 1).square().sum() * len(rows)

    made = fit_network(
        Counting(), loss, (torch.zeros(60, 1),), max_epochs=50, patience=3, seed=0
    )  # fmt: skip
    assert len(seen) == 7
    assert made.weight.item() == seen[3]
    assert not made.training
    assert not made.weight.requires_grad


def test_a_few_objects_are_gone_through_in_enough_steps():
    steps = []

    def loss(module, rows):
        if module.training:
            steps.append(len(rows))
        return module(rows).square().mean()

    for n, wanted in ((20, [8, 8, 2]), (200, [18] * 10), (5000, [256] * 17 + [148])):
        steps.clear()
        fit_network(
            torch.nn.Linear(1, 1), loss, (torch.ones(n, 1),), max_epochs=1, patience=1, seed=0
        )
        assert steps == wanted


def test_a_saved_head_is_for_all_to_read(tmp_path):
    path = tmp_path / "head.safetensors"
    x = np.random.default_rng(0).normal(size=(50, 3))
    LinearHead().fit(x, x[:, 0]).save(path)
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["head.safetensors", "other"]


def test_what_the_encoder_was_not_trained_for_gets_wider_intervals(embedded):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = x[:, 0] + 0.1 * rng.normal(size=300)
    head = LinearHead().fit(embedded(x[:200]), y[:200])
    head.calibrate(embedded(x[200:]), y[200:])
    plain = embedded(x[:20])
    beyond = plain.assign_coords(
        quality=plain.quality | np.where(np.arange(20) < 10, int(Quality.OUT_OF_TRAINING_RANGE), 0)
    )
    one, two = (head.distribution(X).quantile([0.16, 0.5, 0.84])[:, 0] for X in (plain, beyond))
    width = (two[:, 2] - two[:, 0]) / (one[:, 2] - one[:, 0])
    np.testing.assert_allclose(width, np.where(np.arange(20) < 10, 3, 1), rtol=1e-6)
    np.testing.assert_allclose(two[10:], one[10:])


# In a notebook


def test_html_says_what_was_learned_and_no_name_of_a_table_is_markup(data):
    x, y, _ = data
    evil = "<script>alert(1)</script>"
    head = NeighborsHead(metric=evil)
    shown = head._repr_mimebundle_()
    assert shown["text/plain"] == repr(head)
    tree = ET.fromstring(f"<div>{shown['text/html']}</div>")
    assert tree.findtext(".//caption") == "NeighborsHead 'neighbors'"
    assert ["metric", repr(evil)] in [[cell.text for cell in row] for row in tree.iter("tr")]
    head = LinearHead().fit(x, QTable({evil: y[:, 0] * u.Gyr, "mass": y[:, 1]}))
    tree = ET.fromstring(f"<div>{head._repr_html_()}</div>")
    rows = [[cell.text for cell in row] for row in tree.iter("tr")]
    assert ["learned from", "plain vectors of 4 numbers"] in rows
    assert ["answers", f"{evil} (Gyr), mass"] in rows
    assert list(tree.iter("script")) == []
