"""The head for oddities: against distances by hand, and outliers that were put there."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.tasks import AnomalyHead, load_head

METHODS = ["density", "forest"]


@pytest.fixture(scope="module")
def normal():
    # More numbers than a tree is searched with, of different scales.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 24)) * np.linspace(0.1, 10, 24) + 5
    return x.astype(np.float32)


@pytest.fixture(scope="module", params=METHODS)
def head(request, normal, embedded):
    return AnomalyHead(method=request.param, k=4).fit(embedded(normal))


def distances(x, normal):
    """All with all, in standard deviations of the normal ones."""
    x, normal = x.astype(float), normal.astype(float)
    scaled, known = ((one - normal.mean(0)) / normal.std(0) for one in (x, normal))
    return np.sqrt(((scaled[:, None] - known[None]) ** 2).sum(-1))


def asked(normal):
    """From the middle of the normal objects to far away."""
    middle, rng = normal.mean(0), np.random.default_rng(5)
    away = rng.normal(size=(20, 24)) * normal.std(0) * np.linspace(0.2, 1.5, 20)[:, None]
    return (middle + away).astype(np.float32)


def test_density_is_the_mean_distance_to_the_nearest(normal, embedded):
    x = asked(normal)
    found = AnomalyHead(k=4).fit(embedded(normal)).predict(embedded(x, "q"))
    expected = np.sort(distances(x, normal), axis=1)[:, :4].mean(1)
    np.testing.assert_allclose(found["score"], expected, rtol=1e-5)
    among = distances(normal, normal)
    np.fill_diagonal(among, np.inf)
    own = np.sort(among, axis=1)[:, :4].mean(1)
    share = (own[None] < expected[:, None]).mean(1)
    assert len(np.unique(share)) > 5
    np.testing.assert_allclose(found["percentile"], share)


def test_forest_is_scikit_learns(normal, embedded):
    x = asked(normal)
    found = AnomalyHead(method="forest", seed=7).fit(embedded(normal)).predict(embedded(x))
    scaled = [((one - normal.mean(0)) / normal.std(0)).astype(np.float32) for one in (normal, x)]
    forest = IsolationForest(random_state=7).fit(scaled[0])
    expected = -forest.score_samples(scaled[1])
    np.testing.assert_allclose(found["score"], expected, atol=0.02)
    own = -forest.score_samples(scaled[0])
    share = (own[None] < expected[:, None]).mean(1)
    np.testing.assert_allclose(found["percentile"], share, atol=0.1)


def test_table_of_answers(head, normal, embedded):
    x = asked(normal)
    found = head.predict(embedded(x, "q"))
    assert found.colnames == [
        "object_id", "score", "percentile", "nearest", "nearest_distance", "quality", "reason",
    ]  # fmt: skip
    assert found["object_id"].tolist() == [f"q{i}" for i in range(20)]
    apart = distances(x, normal)
    order = np.argsort(apart, axis=1)[:, :3]
    assert found["nearest"].tolist() == [[f"g{i}" for i in row] for row in order]
    np.testing.assert_allclose(
        found["nearest_distance"], np.take_along_axis(apart, order, 1), rtol=1e-5
    )
    assert found.meta["head"] == "anomaly"
    np.testing.assert_array_equal(head.predict(x.astype(float)), found["score"])
    np.testing.assert_array_equal(head.score_samples(embedded(x)), -found["score"])


def test_planted_outliers_are_found(head, normal, embedded):
    rng = np.random.default_rng(1)
    more = rng.normal(size=(60, 24)) * np.linspace(0.1, 10, 24) + 5
    more[:10, :8] += 4 * np.linspace(0.1, 10, 24)[:8]
    found = head.predict(embedded(more))
    odd = np.arange(60) < 10
    assert roc_auc_score(odd, found["score"]) > 0.95
    assert found["percentile"][odd].min() > 0.8
    # Those like the ones learned from are evenly spread among these.
    assert found["percentile"][~odd].mean() == pytest.approx(0.5, abs=0.15)


def test_an_object_learned_from_is_its_own_nearest(head, normal, embedded):
    found = head.predict(embedded(normal[:5], "q"))
    assert found["nearest"][:, 0].tolist() == ["g0", "g1", "g2", "g3", "g4"]
    assert found["nearest_distance"][:, 0].tolist() == [0] * 5
    assert (found["nearest_distance"][:, 1] > 0).all()
    if head.method == "density":
        assert (found["percentile"] < 0.5).all()


def test_duplicates_among_those_learned_from(normal, embedded):
    twice = np.concatenate([normal[:50], normal[:50]])
    head = AnomalyHead(k=1).fit(embedded(twice))
    assert head.scores_.tolist() == [0] * 100
    assert head.predict(embedded(normal[:50]))["percentile"].tolist() == [0] * 50


def test_objects_without_vector_are_masked_in_order(head, normal, embedded):
    x = asked(normal)[:5]
    found, whole = head.predict(embedded(x, lost=[1, 3])), head.predict(embedded(x))
    assert found["object_id"].tolist() == ["g0", "g1", "g2", "g3", "g4"]
    assert found["reason"].tolist() == ["", *["NO_DATA, NOT_EMBEDDED", ""] * 2]
    for name in ("score", "percentile", "nearest", "nearest_distance"):
        lost = found[name].mask.reshape(5, -1)
        assert (lost == np.array([False, True, False, True, False])[:, None]).all()
        assert (found[name].unmasked[[0, 2, 4]] == whole[name][[0, 2, 4]]).all()
    nothing = head.predict(embedded(x, lost=range(5)))
    assert nothing["nearest"].mask.all()
    assert len(head.score_samples(embedded(x, lost=range(5)))) == 0


def test_other_model_is_refused(head, normal, embedded):
    with pytest.raises(ProvenanceError, match=r"'toy'.*'other'"):
        head.predict(embedded(normal[:3], model="other"))


def test_saved_head_says_the_same(head, normal, tmp_path, embedded):
    head.save(tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert isinstance(again, AnomalyHead)
    assert again.get_params() == head.get_params()
    found, before = (one.predict(embedded(asked(normal))) for one in (again, head))
    assert found.colnames == before.colnames
    assert all((found[name] == before[name]).all() for name in found.colnames)


def test_objects_without_name_are_called_by_their_row(normal, tmp_path, embedded):
    names = ["a", "", *map(str, range(2, 200))]
    head = AnomalyHead().fit(embedded(normal, names=names))
    assert head.object_id_[:3].tolist() == ["a", "row 1", "2"]
    plain = AnomalyHead().fit(normal)
    assert plain.predict(embedded(normal[:1]))["nearest"][0, 0] == "row 0"


@pytest.mark.parametrize("method", METHODS)
def test_parameters_stay_and_are_cloned(normal, method):
    head = AnomalyHead(method=method, k=3, seed=2)
    first, second = clone(head).fit(normal), clone(head).fit(normal, None)
    assert first.get_params() == {"method": method, "k": 3, "seed": 2}
    assert (first.predict(normal) == second.predict(normal)).all()
    assert not hasattr(head, "vectors_")
    steps = make_pipeline(FunctionTransformer(), head).fit(normal)
    assert (steps.predict(normal) == first.predict(normal)).all()


def test_numbers_that_are_always_the_same_do_not_count(normal):
    flat = np.concatenate([normal, np.full((200, 2), 3.0)], axis=1)
    found = AnomalyHead().fit(flat).predict(flat)
    np.testing.assert_allclose(found, AnomalyHead().fit(normal).predict(normal), rtol=1e-5)


def test_what_cannot_be_learned(normal, embedded):
    with pytest.raises(InputError, match=r"k is 10, expected 1 to 7, as each of the 8 objects"):
        AnomalyHead().fit(embedded(normal[:8]))
    for k in (0, 8):
        with pytest.raises(InputError, match=rf"k is {k}, expected 1 to 7"):
            AnomalyHead(k=k).fit(embedded(normal[:8]))
    AnomalyHead(k=7).fit(embedded(normal[:8]))
    AnomalyHead(method="forest").fit(embedded(normal[:8]))
    with pytest.raises(InputError, match=r"2 objects to learn from: expected at least 3"):
        AnomalyHead(method="forest").fit(embedded(normal[:2]))
    with pytest.raises(ValueError, match=r"method is 'trees', expected 'density' or 'forest'"):
        AnomalyHead(method="trees").fit(normal)
    with pytest.raises(InputError, match=r"g2: it has no vector"):
        AnomalyHead().fit(embedded(normal, lost=[2]))
    with pytest.raises(InputError, match=r"vectors of 5 numbers: expected 24"):
        AnomalyHead().fit(embedded(normal)).predict(embedded(normal[:, :5]))
