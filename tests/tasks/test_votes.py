"""The head for votes: against scipy's distributions, and fractions that are known."""

import copy

import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn, Table
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.tasks import GALAXY_ZOO, VotesHead, load_head, votes_from_labels
from astroclip_astro.tasks.questions import checked_questions
from astroclip_astro.tasks.votes import _log_likelihood

TREE = {
    "smooth": ["yes", "no"],
    "arms": {"answers": ["1", "2", "many"], "asked_if": ["smooth", "no"]},
    "odd": {"answers": ["yes", "no"], "asked_if": ["arms", "1", "many"]},
}
COLUMNS = ["smooth_yes", "smooth_no", "arms_1", "arms_2", "arms_many", "odd_yes", "odd_no"]


def true_fractions(x):
    """What share of the volunteers gives each answer, by question."""
    yes = 0.1 + 0.8 / (1 + np.exp(-2 * x[:, 0]))
    arms = np.exp(np.stack([x[:, 1], 0 * x[:, 1], -x[:, 1]], axis=1))
    odd = np.where(x[:, 2] > 0, 0.7, 0.2)
    return [
        np.stack([yes, 1 - yes], axis=1),
        arms / arms.sum(1, keepdims=True),
        np.stack([odd, 1 - odd], axis=1),
    ]


def vote(x, rng):
    smooth, arms, odd = true_fractions(x)
    first = rng.multinomial(40, smooth)
    second = rng.multinomial(first[:, 1], arms)
    third = rng.multinomial(second[:, 0] + second[:, 2], odd)
    return Table(np.concatenate([first, second, third], axis=1), names=COLUMNS)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 4)).astype(np.float32)
    return x, vote(x, rng)


@pytest.fixture(scope="module")
def head(data, embedded):
    x, y = data
    return VotesHead(TREE).fit(embedded(x[:1200]), y[:1200])


def test_likelihood_is_scipys():
    rng = np.random.default_rng(1)
    concentrations = rng.uniform(1, 101, (50, 4))
    votes = rng.integers(0, 40, (50, 4))
    votes[:5] = 0
    expected = [
        stats.dirichlet_multinomial.logpmf(v, a, v.sum())
        for v, a in zip(votes, concentrations, strict=True)
    ]
    found = _log_likelihood(torch.tensor(concentrations), torch.tensor(votes).double())
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert (found[:5] == 0).all()


def test_loss_sums_questions_and_averages_objects(head, data):
    x, y = data[0][:30], data[1][:30]
    votes = np.stack([y[name] for name in COLUMNS], axis=1)
    alpha = head._concentrations(x.astype(float))
    expected = -np.mean(
        [
            sum(
                stats.dirichlet_multinomial.logpmf(v[part], a[part], v[part].sum())
                for part in (slice(0, 2), slice(2, 5), slice(5, 7))
            )
            for v, a in zip(votes, alpha, strict=True)
        ]
    )
    tensors = torch.tensor(head._standardised(x)).float(), torch.tensor(votes).float()
    assert head._loss(head.network_, *tensors).item() == pytest.approx(expected, rel=1e-3)


def test_fractions_that_depend_on_the_vector_are_recovered(head, data, embedded):
    x, y = data[0][1200:], data[1][1200:]
    found = head.predict(x.astype(float))
    assert found.shape == (300, 7)
    truth = np.concatenate(true_fractions(x), axis=1)
    assert (np.abs(found - truth).mean(0) < 0.06).all()
    assert (np.abs(found - truth).mean(0) < 0.5 * np.abs(truth - truth.mean(0)).mean(0)).all()
    votes = [np.stack([y[name] for name in COLUMNS[part]], axis=1) for part in
             (slice(0, 2), slice(2, 5), slice(5, 7))]  # fmt: skip
    best = [
        np.mean(v[np.arange(300), t.argmax(1)][v.any(1)] == v.max(1)[v.any(1)])
        for v, t in zip(votes, true_fractions(x), strict=True)
    ]
    assert head.score(embedded(x), y) == pytest.approx(np.mean(best), abs=0.04)


def test_spread_is_that_of_the_fractions(embedded):
    rng = np.random.default_rng(2)
    fractions = rng.dirichlet([8, 4], 1500)
    votes = rng.multinomial(40, fractions)
    x = rng.normal(size=(1500, 2))
    head = VotesHead({"bar": ["yes", "no"]})
    found = head.fit(x, {"bar_yes": votes[:, 0], "bar_no": votes[:, 1]}).predict(embedded(x))
    assert np.mean(found["bar_yes_fraction"]) == pytest.approx(8 / 12, abs=0.015)
    assert np.mean(found["bar_yes_error"]) == pytest.approx(fractions[:, 0].std(), rel=0.1)


def test_table_of_predictions(head, data, embedded):
    x = data[0][:6]
    found = head.predict(embedded(x))
    assert found.colnames == [
        "object_id",
        "smooth_yes_fraction", "smooth_yes_error", "smooth_no_fraction", "smooth_no_error",
        "smooth", "smooth_asked",
        "arms_1_fraction", "arms_1_error", "arms_2_fraction", "arms_2_error",
        "arms_many_fraction", "arms_many_error", "arms", "arms_asked",
        "odd_yes_fraction", "odd_yes_error", "odd_no_fraction", "odd_no_error",
        "odd", "odd_asked",
        "quality", "reason",
    ]  # fmt: skip
    assert found["object_id"].tolist() == [f"g{i}" for i in range(6)]
    alpha = head._concentrations(x.astype(float))
    assert ((alpha >= 1) & (alpha <= 101)).all()
    for question, part in (("smooth", slice(0, 2)), ("arms", slice(2, 5)), ("odd", slice(5, 7))):
        answers = [name.removeprefix(f"{question}_") for name in COLUMNS[part]]
        for i in range(6):
            truth = stats.dirichlet(alpha[i, part])
            np.testing.assert_allclose(
                [found[f"{question}_{a}_fraction"][i] for a in answers], truth.mean()
            )
            np.testing.assert_allclose(
                [found[f"{question}_{a}_error"][i] for a in answers], np.sqrt(truth.var())
            )
            assert found[question][i] == answers[truth.mean().argmax()]
    np.testing.assert_allclose(found["smooth_asked"], 1)
    np.testing.assert_allclose(found["arms_asked"], found["smooth_no_fraction"])
    np.testing.assert_allclose(
        found["odd_asked"], found["smooth_no_fraction"] * (1 - found["arms_2_fraction"])
    )
    assert found.meta["head"] == "votes"
    fractions = [name for name in found.colnames if name.endswith("_fraction")]
    np.testing.assert_allclose(
        head.predict(x.astype(float)), np.stack([found[name] for name in fractions], axis=1)
    )


def test_objects_without_vector_are_masked_in_order(head, data, embedded):
    x = data[0][:5]
    found, whole = head.predict(embedded(x, lost=[1, 3])), head.predict(embedded(x))
    assert found["object_id"].tolist() == ["g0", "g1", "g2", "g3", "g4"]
    assert found["reason"].tolist() == ["", *["NO_DATA, NOT_EMBEDDED", ""] * 2]
    for name in found.colnames[1:-2]:
        assert found[name].mask.tolist() == [False, True, False, True, False]
        kept = found[name].unmasked[[0, 2, 4]]
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(kept, whole[name][[0, 2, 4]], rtol=1e-5)
        else:
            assert kept.tolist() == whole[name][[0, 2, 4]].tolist()
    nothing = head.predict(embedded(x, lost=range(5)))
    assert nothing["arms"].mask.all()


def test_other_model_is_refused(head, data, embedded):
    with pytest.raises(ProvenanceError, match=r"'toy'.*'other'"):
        head.predict(embedded(data[0][:3], model="other"))


def test_saved_head_says_the_same(head, data, tmp_path, embedded):
    head.save(tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert isinstance(again, VotesHead)
    assert again.questions == TREE
    found, before = again.predict(embedded(data[0][:9])), head.predict(embedded(data[0][:9]))
    assert found.colnames == before.colnames
    assert all((found[name] == before[name]).all() for name in found.colnames)


def test_parameters_stay_and_are_cloned(data):
    questions = copy.deepcopy(TREE)
    head = VotesHead(questions, hidden=(4,), max_epochs=2, patience=3, seed=4)
    first = clone(head).fit(data[0][:60], data[1][:60])
    assert head.questions is questions
    assert first.questions == questions == TREE
    assert first.get_params() == head.get_params()
    second = clone(first).fit(data[0][:60], data[1][:60])
    assert (second.predict(data[0]) == first.predict(data[0])).all()
    other = clone(first).set_params(seed=5).fit(data[0][:60], data[1][:60])
    assert (other.predict(data[0]) != first.predict(data[0])).any()


def test_cross_validation_takes_a_structured_array(data):
    x, y = data[0][:300], data[1][:300].as_array()
    scores = cross_val_score(VotesHead(TREE, hidden=(8,), max_epochs=5), x, y, cv=2)
    assert ((scores > 0.3) & (scores <= 1)).all()


def test_score_counts_questions_alike_and_only_where_there_are_votes(head, data, embedded):
    x = data[0][:4]
    won = [head.predict(embedded(x))[q].tolist() for q in TREE]
    y = Table(np.zeros((4, 7), int), names=COLUMNS)
    for i, answer in enumerate(won[0]):  # right, wrong, right, and nobody asked
        if i < 3:
            y[f"smooth_{answer if i != 1 else {'yes': 'no', 'no': 'yes'}[answer]}"][i] = 3
    y[f"arms_{won[1][2]}"][2] = 5
    assert head.score(embedded(x), y) == pytest.approx((2 / 3 + 1) / 2)
    y["arms_1"][3] = y["arms_2"][3] = y["arms_many"][3] = 2  # a tie, of which any is right
    assert head.score(embedded(x), y) == pytest.approx((2 / 3 + 1) / 2)
    with pytest.raises(InputError, match="y has no votes"):
        head.score(embedded(x), Table(np.zeros((4, 7), int), names=COLUMNS))


def altered(table, name, row, value):
    table = table.copy()
    table[name] = table[name].astype(float)
    table[name][row] = value
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: altered(y, "arms_2", 3, np.nan), r"g3: its arms_2 is masked, NaN.*votes are 0"),
        (lambda y: altered(y, "arms_2", 3, -1), r"row 3 of y has -1 votes in arms_2"),
        (lambda y: altered(y, "arms_2", 3, np.inf), r"g3: its arms_2 .* infinite"),
        (lambda y: Table({**y, "odd_yes": ["many"] * 60}), r"expected numbers"),
        (
            lambda y: Table({**y, "odd_yes": MaskedColumn(y["odd_yes"], mask=np.arange(60) == 7)}),
            r"g7: its odd_yes is masked",
        ),
        (lambda y: y["smooth_yes", "smooth_no"], r"y has no column arms_1, arms_2, arms_many, odd"),
        (
            lambda y: Table({**y, "arms_1": np.zeros(60), "arms_2": np.zeros(60)}),
            r"arms: one class only, many: expected",
        ),
        (
            lambda y: Table({**y, "odd_yes": np.zeros(60), "odd_no": np.zeros(60)}),
            r"odd: no votes: expected",
        ),
        (lambda y: y[:50], r"X has 60 objects and y 50"),
        (lambda y: None, r"requires y to be passed"),
        (lambda y: 7, r"y is a int: expected a table"),
    ],
)
def test_votes_that_cannot_be_learned(data, change, message, embedded):
    head = VotesHead(TREE)
    with pytest.raises(InputError, match=message):
        head.fit(embedded(data[0][:60]), change(data[1][:60]))


def test_too_little_to_learn_from(data, embedded):
    x, y = embedded(data[0]), data[1]
    with pytest.raises(InputError, match=r"19 objects to learn from: expected at least 20"):
        VotesHead(TREE).fit(x[:19], y[:19])
    with pytest.raises(InputError, match=r"g2: it has no vector"):
        VotesHead(TREE).fit(embedded(data[0][:60], lost=[2]), y[:60])
    unseen = Table({name: np.where(np.arange(60) < 15, y[name][:60], 0) for name in COLUMNS})
    with pytest.raises(InputError, match=r"15 objects to learn from"):
        VotesHead(TREE).fit(x[:60], unseen)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ({}, r"questions is \{\}"),
        (["bar"], r"questions is \['bar'\]"),
        ({"bar": ["yes"]}, r"question 'bar' is .*two or more"),
        ({"bar": "yes"}, r"question 'bar'"),
        ({"bar": [1, 2]}, r"question 'bar'.*all text"),
        ({"bar": {"answers": ["a", "b"], "asked_after": ["x", "y"]}}, r"perhaps 'asked_if'"),
        (
            {"bar": {"answers": ["a", "b"], "asked_if": ["disc", "no"]}},
            r"asked if \['disc', 'no'\]",
        ),
        (
            {"disc": ["a", "b"], "bar": {"answers": ["a", "b"], "asked_if": ["disc", "c"]}},
            "asked if",
        ),
        ({"disc": ["a", "b"], "bar": {"answers": ["a", "b"], "asked_if": ["disc"]}}, "asked if"),
        ({"disc": ["a", "b"], "bar": {"answers": ["a", "b"], "asked_if": []}}, "asked if"),
        ({"bar": ["yes", "no", "yes"]}, r"two columns would be named 'bar_yes'"),
        ({"quality": ["good", "bad"]}, r"two columns would be named 'quality'"),
    ],
)
def test_questions_that_make_no_sense(data, questions, message):
    with pytest.raises(InputError, match=message):
        VotesHead(questions).fit(data[0][:60], data[1][:60])


def test_galaxy_zoo_is_the_default_and_its_tree_is_whole(embedded):
    tree = checked_questions(GALAXY_ZOO)
    assert len(tree) == 10
    assert sum(len(about["answers"]) for about in tree.values()) == 34
    assert [q for q, about in tree.items() if not about["asked_if"]] == ["smooth-or-featured"]
    rng = np.random.default_rng(3)
    y = {f"{q}_{a}": rng.integers(0, 9, 40) for q, about in tree.items() for a in about["answers"]}
    x = rng.normal(size=(40, 3))
    found = VotesHead(hidden=(4,), max_epochs=1).fit(x, y | {"ra": x[:, 0]}).predict(embedded(x))
    np.testing.assert_allclose(
        found["spiral-arm-count_asked"],
        found["smooth-or-featured_featured-or-disk_fraction"]
        * found["disk-edge-on_no_fraction"]
        * found["has-spiral-arms_yes_fraction"],
    )
    np.testing.assert_allclose(
        found["merging_asked"], 1 - found["smooth-or-featured_artifact_fraction"]
    )


def test_labels_are_one_vote_each():
    questions, votes = votes_from_labels(
        {"bar": np.array(["yes", "", "no", "yes"]), "arm count": ["2", "", "", "10"]}
    )
    assert questions == {"bar": ["no", "yes"], "arm count": ["10", "2"]}
    assert votes.colnames == ["bar_no", "bar_yes", "arm count_10", "arm count_2"]
    assert np.stack([votes[name] for name in votes.colnames]).tolist() == [
        [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0],
    ]  # fmt: skip
    with pytest.raises(InputError, match="'bar' are float64 of shape"):
        votes_from_labels({"bar": [0.5, np.nan]})
    with pytest.raises(InputError, match=r"'b' are <U1 of shape \(1,\): expected .* \(2,\)"):
        votes_from_labels({"a": ["x", "y"], "b": ["x"]})
    with pytest.raises(InputError, match="no labels"):
        votes_from_labels({})


def test_classes_are_learned_from_labels(embedded):
    x = np.random.default_rng(4).normal(size=(400, 2))
    questions, votes = votes_from_labels({"bar": np.where(x[:, 0] > 0, "yes", "no")})
    x = x * [1e-3, 1e3] + 7  # numbers of any scale
    head = VotesHead(questions).fit(x[:300], votes[:300])
    assert head.score(x[300:], votes[300:]) > 0.95
    # One vote each says nothing of how far volunteers disagree.
    columns = (
        VotesHead(questions, max_epochs=1).fit(embedded(x), votes).predict(embedded(x)).colnames
    )
    assert columns[1:5] == ["bar_no_fraction", "bar_yes_fraction", "bar", "bar_asked"]
