"""What every head for numbers promises: scikit-learn's checks, tables, errors, files, coverage."""

import copy
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import QTable
from astropy.utils.masked import Masked
from safetensors.torch import load_file, save_file
from scipy.stats import kstest, norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from astroclip_astro.errors import InputError, PluginError, ProvenanceError, WeightsError
from astroclip_astro.tasks import (
    FlowHead,
    LinearHead,
    MLPHead,
    NeighborsHead,
    RegressionHead,
    load_head,
)

HEADS = {
    "neighbors": NeighborsHead(k=16),
    "linear": LinearHead(),
    "mlp": MLPHead(hidden=(16,), components=5, max_epochs=20),
    "flow": FlowHead(transforms=1, hidden=(16,), bins=4, max_epochs=20),
}

CHECKED = [
    NeighborsHead(k=3),
    LinearHead(),
    MLPHead(hidden=(16,), components=1, max_epochs=30, patience=5),
    FlowHead(transforms=1, hidden=(16,), bins=4, max_epochs=20, patience=5),
]

FEW = "networks refuse to learn from fewer than 20 objects"
SINGLE = "in single precision, last digits depend on how many objects are asked about at once"
NETWORKS_FAIL = {
    "check_n_features_in_after_fitting": FEW,
    "check_estimators_nan_inf": FEW,
    "check_regressor_multioutput": FEW,
    "check_regressors_no_decision_function": FEW,
    "check_fit2d_1feature": FEW,
    "check_methods_subset_invariance": SINGLE,
}


def expected_failures(head):
    return NETWORKS_FAIL if isinstance(head, MLPHead | FlowHead) else {}


# Whether single precision shows is up to the processor.
@parametrize_with_checks(CHECKED, expected_failed_checks=expected_failures, xfail_strict=False)
def test_scikit_learn(estimator, check):
    check(estimator)


ATTRS = {"model": "toy", "weights_sha256": "ab" * 32, "preprocessing": "0123456789abcdef"}


def quantities(x, rng):
    """Three, of which age and mass are off their lines together."""
    noise = rng.multivariate_normal([0, 0, 0], [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], len(x))
    return QTable(
        {
            "age": (5 + x[:, 0] + 0.5 * noise[:, 0]) * u.Gyr,
            "log_mass": u.Dex(10 + 0.3 * x[:, 1] + 0.15 * noise[:, 1], u.dex(u.solMass)),
            "redshift": 0.5 + 0.1 * x[:, 2] + 0.02 * noise[:, 2],
        }
    )


@pytest.fixture(scope="module")
def sky(embedded):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    new = rng.normal(size=(90, 5)).astype(np.float32)
    return SimpleNamespace(
        x=x, y=quantities(x, rng), new=new, truth=quantities(new, rng), X=embedded(x),
        asked=embedded(new),
    )  # fmt: skip


@pytest.fixture(scope="module", params=HEADS)
def head(request, sky):
    """Fitted; tests that change it take a copy."""
    return clone(HEADS[request.param]).fit(sky.X, sky.y)


@pytest.fixture(params=HEADS)
def unfitted(request):
    return clone(HEADS[request.param])


# Tables


def test_the_answer_is_a_table_in_the_order_of_the_objects(head, sky):
    table = head.predict(sky.asked)
    columns = [f"{name}_{p}" for name in sky.y.colnames for p in ("p16", "p50", "p84")]
    assert table.colnames == ["object_id", *columns, "quality", "reason"]
    assert table["object_id"].tolist() == [f"g{i}" for i in range(90)]
    assert set(table["reason"]) == {""}
    for name, unit in (("age", u.Gyr), ("log_mass", u.dex(u.solMass)), ("redshift", u.one)):
        low, middle, high = (table[f"{name}_{p}"] for p in ("p16", "p50", "p84"))
        assert low.unit == middle.unit == high.unit == unit
        assert (low < middle).all()
        assert (middle < high).all()
    assert table.meta["head"] == head.kind
    assert ATTRS.items() <= table.meta.items()
    backwards = head.predict(sky.asked[::-1])
    assert backwards["object_id"][0] == "g89"
    np.testing.assert_allclose(backwards["age_p50"][::-1].value, table["age_p50"].value, rtol=1e-5)


def test_what_was_learned_is_found_again(head, sky):
    table = head.predict(sky.asked)
    error = np.abs(table["age_p50"] - sky.truth["age"])
    assert np.median(error) < 0.8 * u.Gyr
    assert 0.3 < head.score(sky.asked, sky.truth) < 1
    # The interval is a fair statement of it: three standard deviations of a binomial share.
    inside = (table["age_p16"] < sky.truth["age"]) & (sky.truth["age"] < table["age_p84"])
    assert abs(inside.mean() - 0.68) < 0.15 + 3 * np.sqrt(0.68 * 0.32 / 90)


def test_arrays_are_answered_with_the_medians(head, sky):
    array, table = head.predict(sky.new), head.predict(sky.asked)
    for j, name in enumerate(sky.y.colnames):
        np.testing.assert_allclose(array[:, j], table[f"{name}_p50"].value, rtol=1e-6)
    with pytest.raises(InputError, match=r"samples go into a table.*or use distribution\(\)"):
        head.predict(sky.new, samples=3)


def test_samples_are_columns_with_units(head, sky):
    table = head.predict(sky.asked[:20], samples=30)
    assert table.colnames[-5:-2] == [f"{name}_samples" for name in sky.y.colnames]
    for name, unit in (("age", u.Gyr), ("log_mass", u.dex(u.solMass)), ("redshift", u.one)):
        assert table[f"{name}_samples"].shape == (20, 30)
        assert table[f"{name}_samples"].unit == unit


def test_samples_are_joint(unfitted, sky):
    rng = np.random.default_rng(1)
    first = sky.x[:, 0] + rng.normal(size=400)
    second = -2 * first + 0.3 * rng.normal(size=400)
    third = rng.normal(size=400)
    if "max_epochs" in unfitted.get_params():
        unfitted.set_params(max_epochs=60)
    unfitted.fit(sky.X, np.stack([first, second, third], axis=1))
    table = unfitted.predict(sky.asked[:20], samples=2000)
    draws = np.stack([table[f"value_{j}_samples"].value for j in range(3)])
    correlation = np.median([np.corrcoef(draws[:, i]) for i in range(20)], axis=0)
    assert correlation[0, 1] < -0.6
    assert abs(correlation[0, 2]) < 0.25


def test_samples_of_different_objects_are_independent(head, sky):
    # Sums over objects would be far too uncertain if all were off in the same direction.
    draws = head.predict(sky.asked[:20], samples=3000)["age_samples"].value
    between = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(between).max() < 5 / np.sqrt(3000)


def test_samples_have_the_stated_percentiles(head, sky):
    head = copy.deepcopy(head)
    for _ in range(2):  # as it is, then calibrated
        table = head.predict(sky.asked[:20], samples=3000)
        for name in sky.y.colnames:
            samples = table[f"{name}_samples"].value
            below = {
                p: (samples < table[f"{name}_{p}"].value[:, None]).mean()
                for p in ("p16", "p50", "p84")
            }
            # The quantiles of a flow are those of 256 points.
            for p, level in (("p16", 0.16), ("p50", 0.5), ("p84", 0.84)):
                assert below[p] == pytest.approx(level, abs=0.03)
        head.calibrate(sky.asked[20:], sky.truth[20:])


def test_the_seed_decides_the_samples(head, sky):
    asked = sky.asked[:4]
    one, two = (head.predict(asked, samples=6, seed=s)["age_samples"] for s in (1, 2))
    assert (one == head.predict(asked, samples=6, seed=1)["age_samples"]).all()
    assert (one != two).all()
    np.testing.assert_array_equal(
        head.predict(asked, samples=6)["age_p50"], head.predict(asked)["age_p50"]
    )


def test_objects_without_a_vector_are_masked_and_say_why(head, sky, embedded):
    whole = head.predict(sky.asked, samples=3)
    table = head.predict(embedded(sky.new, lost=[2, 5]), samples=3)
    wanted = np.isin(np.arange(90), [2, 5])
    for name in table.colnames[1:-2]:
        mask = table[name].mask
        np.testing.assert_array_equal(mask.reshape(90, -1).all(1), wanted)
        np.testing.assert_array_equal(mask.reshape(90, -1).any(1), wanted)
        assert table[name].unit == whole[name].unit
        if "samples" not in name:
            kept = table[name].unmasked[~wanted].value
            np.testing.assert_allclose(kept, whole[name][~wanted].value, rtol=1e-5)
    assert table["object_id"].tolist() == whole["object_id"].tolist()
    assert set(table["reason"][wanted]) == {"NO_DATA, NOT_EMBEDDED"}
    assert set(table["reason"][~wanted]) == {""}
    # The same when there are no others, or none at all.
    none = head.predict(embedded(sky.new[:3], lost=[0, 1, 2]), samples=4)
    assert none["age_samples"].shape == (3, 4)
    assert none["age_p50"].mask.all()
    assert len(head.predict(sky.asked[:0], samples=4)) == 0


def test_a_table_of_embeddings_is_as_good(head, sky):
    wanted = head.predict(sky.asked, samples=2)
    for given in (sky.asked.astroclip.to_table(), sky.asked.transpose("feature", "object")):
        table = head.predict(given, samples=2)
        assert table.colnames == wanted.colnames
        assert all((table[name] == wanted[name]).all() for name in wanted.colnames)
        assert head.score(given, sky.truth) == head.score(sky.asked, sky.truth)
    again = clone(head).fit(sky.X.astroclip.to_table(), sky.y)
    assert (again.predict(sky.asked)["age_p50"] == wanted["age_p50"]).all()


def test_one_object_is_a_table_of_one_row(head, sky):
    table = head.predict(sky.asked[7], samples=2)
    assert table["object_id"].tolist() == ["g7"]
    wanted = head.predict(sky.asked)["age_p50"][7].value
    assert table["age_p50"][0].value == pytest.approx(wanted, rel=1e-5)
    report = head.report(sky.asked[7], sky.truth[7:8])
    assert len(report.pit) == 1


# Refusals


@pytest.mark.parametrize(
    "other",
    [
        {"model": "astroclip"},
        {"weights_sha256": "cd" * 32},
        {"preprocessing": "fedcba"},
        {"normalization": "unit length"},
    ],
)
def test_embeddings_of_another_model_are_refused(head, sky, other):
    asked = sky.asked.assign_attrs(other)
    for use in (
        lambda: head.predict(asked),
        lambda: head.distribution(asked),
        lambda: head.score(asked, sky.truth),
        lambda: head.report(asked, sky.truth),
        lambda: copy.deepcopy(head).calibrate(asked, sky.truth),
    ):
        with pytest.raises(ProvenanceError) as error:
            use()
        (value,) = other.values()
        assert value[:16] in str(error.value)
        assert "'toy' (weights abababababababab, preprocessing 0123456789abcdef" in str(error.value)


def test_embeddings_that_do_not_say_what_made_them_are_refused(unfitted, sky):
    nameless = sky.X.copy()
    del nameless.attrs["weights_sha256"]
    with pytest.raises(ProvenanceError, match="without weights_sha256: an operation dropped"):
        unfitted.fit(nameless, sky.y)
    unfitted.fit(sky.X, sky.y)
    with pytest.raises(ProvenanceError, match="without weights_sha256: an operation dropped"):
        unfitted.predict(nameless)
    # What was learned from plain vectors is up to the user.
    np.testing.assert_allclose(
        unfitted.fit(sky.x, sky.y).predict(nameless)["age_p50"].value,
        unfitted.predict(sky.x)[:, 0],
        rtol=1e-5,
    )


def test_vectors_of_another_length_are_refused(head, sky, embedded):
    with pytest.raises(InputError, match="vectors of 4 numbers: expected 5"):
        head.predict(embedded(sky.new[:, :4]))
    with pytest.raises(ValueError, match=r"X has 4 features.*expecting 5 features"):
        head.predict(sky.new[:, :4])


def test_objects_to_learn_from_need_a_vector(head, sky, embedded):
    asked = embedded(sky.new, lost=[3, 4])
    message = "^g3: it has no vector, as 2 of 90 objects; leave them out of X and y"
    for use in (
        lambda: clone(head).fit(asked, sky.truth),
        lambda: head.score(asked, sky.truth),
        lambda: head.report(asked, sky.truth),
        lambda: copy.deepcopy(head).calibrate(asked, sky.truth),
    ):
        with pytest.raises(InputError, match=message):
            use()


def test_objects_to_learn_from_need_a_value(unfitted, sky):
    lost = QTable(sky.y)
    lost["age"] = Masked(lost["age"], mask=np.isin(np.arange(400), [17, 18]))
    message = "its age is masked, NaN or infinite, as is some value of 2 of 400 objects"
    with pytest.raises(InputError, match=f"^g17: {message}"):
        unfitted.fit(sky.X, lost)
    with pytest.raises(InputError, match=f"^row 17: {message}"):
        unfitted.fit(sky.x, lost)
    lost["age"] = np.where(np.arange(400) == 17, np.nan, sky.y["age"].value)
    with pytest.raises(InputError, match=r"^g17: its age is masked, NaN or infinite"):
        unfitted.fit(sky.X, lost)


def test_as_many_values_as_objects(head, sky):
    message = "X has 90 objects and y 89"
    for X in (sky.asked, sky.new):
        for use in (clone(head).fit, head.score, head.report, copy.deepcopy(head).calibrate):
            with pytest.raises(InputError, match=message):
                use(X, sky.truth[:-1])
    with pytest.raises(InputError, match="1 sample: expected at least 2 objects"):
        clone(head).fit(sky.X[:1], sky.y[:1])


def test_units_are_converted_or_refused(head, sky):
    score = head.score(sky.asked, sky.truth)
    other = QTable(sky.truth)
    other["age"] = other["age"].to(u.Myr)
    other["log_mass"] = other["log_mass"].to(u.dex(u.kg))
    other["redshift"] = (other["redshift"] * u.one).to(u.percent)
    assert head.score(sky.asked, other) == pytest.approx(score, rel=1e-9)
    one, two = (head.report(sky.asked, y).pit for y in (sky.truth, other))
    np.testing.assert_allclose(one, two, atol=1e-9)
    calibrated = copy.deepcopy(head)
    calibrated.calibrate(sky.asked, other)
    learned = calibrated.calibration_
    calibrated.calibrate(sky.asked, sky.truth)
    np.testing.assert_allclose(calibrated.calibration_, learned, atol=1e-6)
    other["age"] = other["age"].value * u.kpc
    for use in (head.score, head.report, calibrated.calibrate):
        with pytest.raises(InputError, match=r"y is in \['kpc', .* expected \['Gyr', "):
            use(sky.asked, other)


def test_quantities_are_held_to_their_names(head, sky):
    swapped = sky.truth["log_mass", "age", "redshift"]
    with pytest.raises(InputError, match=r"y has the quantities \['log_mass', 'age', 'redshift'\]"):
        head.score(sky.asked, swapped)
    with pytest.raises(InputError, match=r"y has the quantities \['value'\], the head \['age', "):
        head.score(sky.asked, sky.truth["age"].value)
    # Arrays have none to be held to.
    alone = clone(head).fit(sky.X, sky.y["redshift"])
    assert alone.predict(sky.asked[:1]).colnames[1] == "redshift_p16"
    wanted = alone.score(sky.asked, QTable({"redshift": sky.truth["redshift"]}))
    assert alone.score(sky.asked, np.array(sky.truth["redshift"])) == wanted


def test_calibration_needs_objects(head, sky):
    head = copy.deepcopy(head)
    with pytest.raises(InputError, match="39 objects to calibrate with: expected at least 40"):
        head.calibrate(sky.asked[:39], sky.truth[:39])
    assert not hasattr(head, "calibration_")
    head.calibrate(sky.asked[:40], sky.truth[:40])
    assert head.calibration_.shape == (3, 40)
    # What is learned anew is not calibrated.
    assert not hasattr(head.fit(sky.X, sky.y), "calibration_")


def test_nothing_is_answered_before_it_is_learned(unfitted, sky, tmp_path):
    for use in (
        lambda: unfitted.predict(sky.asked),
        lambda: unfitted.distribution(sky.new),
        lambda: unfitted.calibrate(sky.asked, sky.truth),
        lambda: unfitted.save(tmp_path / "head.safetensors"),
    ):
        with pytest.raises(NotFittedError):
            use()


# Degenerate samples


def test_what_is_the_same_for_all_objects_breaks_nothing(unfitted, sky):
    # A mean of many times 0.1 is not 0.1.
    x = sky.x[:60].astype(float)
    x[:, 2] = 0.1
    y = np.stack([np.full(60, 0.1), x[:, 0]], axis=1)
    head = unfitted.fit(x, y)
    found = head.distribution(x).values
    assert np.isfinite(found).all()
    np.testing.assert_allclose(head.predict(x)[:, 0], 0.1, atol=0.2)
    x[0, 2] += 1e-9  # rounding of a number that never mattered
    np.testing.assert_allclose(head.distribution(x).values, found, atol=1e-3)
    everywhere = clone(head).fit(np.full((60, 5), 0.1), y)
    assert np.abs(everywhere.distribution(x).values).max() < 100


def test_one_quantity_in_the_shape_of_what_was_learned(unfitted, sky):
    y = sky.y["age"].value
    for given, shape in (
        (y, (90,)),
        (y.tolist(), (90,)),
        (sky.y["age"], (90,)),
        (pd.Series(y), (90,)),
        (y[:, None], (90, 1)),
        (sky.y["age",], (90, 1)),
    ):
        assert unfitted.fit(sky.x, given).predict(sky.new).shape == shape


# Files


@pytest.mark.parametrize("calibrated", [False, True])
def test_files_give_back_the_same_head(head, sky, tmp_path, calibrated, embedded):
    head = copy.deepcopy(head)
    if calibrated:
        head.calibrate(sky.asked, sky.truth)
    head.save(tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert type(again) is type(head)
    given = embedded(sky.new, lost=[1])
    one, two = (h.predict(given, samples=7, seed=3) for h in (head, again))
    assert one.meta == two.meta
    for name in one.colnames[:-1]:
        if name not in ("object_id", "quality"):
            np.testing.assert_array_equal(one[name].unmasked, two[name].unmasked)
            assert one[name].unit == two[name].unit
    assert again.score(sky.asked, sky.truth) == head.score(sky.asked, sky.truth)
    assert hasattr(again, "calibration_") == calibrated
    with pytest.raises(ProvenanceError, match="'other'"):
        again.predict(sky.asked.assign_attrs(model="other"))
    # A head that was read can be written over what is there, and learns as one that was made.
    again.save(tmp_path / "head.safetensors")
    third = load_head(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(third.predict(sky.new), again.predict(sky.new))
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]
    np.testing.assert_array_equal(
        again.fit(sky.X, sky.y).predict(sky.new), clone(head).fit(sky.X, sky.y).predict(sky.new)
    )


def test_files_hold_numbers_and_text_only(head, tmp_path):
    head.save(tmp_path / "head.safetensors")
    content = (tmp_path / "head.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    about = header.pop("__metadata__")
    assert {type(value) for value in about.values()} == {str}
    assert json.loads(about["parameters"]).keys() == head.get_params().keys()
    assert {tensor["dtype"] for tensor in header.values()} <= {"F32", "F64", "I64", "BOOL"}
    assert max(tensor["data_offsets"][1] for tensor in header.values()) == len(content) - 8 - size


def test_a_head_of_named_columns_keeps_their_names(unfitted, sky, tmp_path):
    frame = pd.DataFrame(sky.x, columns=list("abcde"))
    unfitted.fit(frame, sky.y["age"]).save(tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(again.predict(frame), unfitted.predict(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        again.predict(frame.rename(columns={"a": "z"}))


def test_parameters_of_numpy_can_be_saved(sky, tmp_path):
    search = GridSearchCV(NeighborsHead(), {"k": np.arange(4, 12, 4)}, cv=3)
    best = search.fit(sky.x, sky.y["age"].value).best_estimator_
    best.save(tmp_path / "head.safetensors")
    assert load_head(tmp_path / "head.safetensors").k == best.k


def test_pickles_are_the_same_head(head, sky):
    again = pickle.loads(pickle.dumps(head))
    np.testing.assert_array_equal(again.predict(sky.new), head.predict(sky.new))


def test_heads_are_saved_in_folders_that_exist(head, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder to save a head in"):
        head.save(tmp_path / "nowhere" / "head.safetensors")


def changed(path, **about):
    """Rewrite a file with a header that says something else."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    save_file(load_file(path), path, metadata={**header, **about})


def test_what_is_no_head_is_refused(head, tmp_path):
    path = tmp_path / "head.safetensors"
    head.save(path)
    whole = path.read_bytes()

    with pytest.raises(WeightsError, match=r"none\.safetensors is no readable safetensors file"):
        load_head(tmp_path / "none.safetensors")
    for content in (whole[:-10], whole[:40], b"", pickle.dumps({})):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="is no readable safetensors file"):
            load_head(path)

    save_file(load_file_of(whole, path), path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="is no head: its format is 'pt', expected"):
        load_head(path)

    for about, error, message in (
        ({"kind": "horoscope"}, PluginError, "no task named 'horoscope'"),
        ({"kind": "votes"}, WeightsError, "holds no votes head, or a damaged one"),
        ({"parameters": "{"}, WeightsError, "or a damaged one"),
        ({"parameters": '{"luck": 1}'}, WeightsError, "or a damaged one"),
        ({"fitted": "{}"}, WeightsError, "or a damaged one"),
        ({"fitted": "[]"}, WeightsError, "or a damaged one"),
    ):
        path.write_bytes(whole)
        changed(path, **about)
        with pytest.raises(error, match=message):
            load_head(path)


def load_file_of(content, path):
    path.write_bytes(content)
    return load_file(path)


def test_damaged_numbers_are_refused(head, tmp_path):
    path = tmp_path / "head.safetensors"
    head.save(path)
    whole = path.read_bytes()
    about = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    arrays = load_file(path)
    for name, array in arrays.items():
        if array.is_floating_point():
            broken = {**arrays, name: array.clone().fill_(float("nan"))}
            save_file(broken, path, metadata=about)
            with pytest.raises(WeightsError, match=f"is damaged: {name} is not finite"):
                load_head(path)
        save_file({k: v for k, v in arrays.items() if k != name}, path, metadata=about)
        with pytest.raises(WeightsError, match=f"(?s)or a damaged one.*{name.split('.')[-1]}"):
            load_head(path)


# Uncertainties


@pytest.fixture(scope="module")
def noisy():
    """One quantity whose noise depends on the object, to learn, to calibrate and to test."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4300, 3))
    sigma = 0.2 * np.exp(x[:, 1])
    y = x[:, 0] + sigma * rng.standard_normal(4300)
    parts = slice(300), slice(300, 2300), slice(2300, None)
    return [(x[part], y[part]) for part in parts]


class Boastful(LinearHead):
    """States a tenth of the errors that it found, and is off by as much as these."""

    def _learn(self, x, y):
        super()._learn(x, y)
        self.intercept_ = self.intercept_ + np.sqrt(np.diag(self.covariance_))
        self.covariance_ = self.covariance_ / 100


@pytest.mark.parametrize("name", [*HEADS, "boastful"])
def test_calibrated_intervals_hold_what_they_promise(noisy, name):
    head = Boastful() if name == "boastful" else clone(HEADS[name])
    learn, spare, test = noisy
    head.fit(*learn)
    before = head.report(*test)
    promised = head.calibrate(*spare)
    after = head.report(*test)
    n, m = len(test[0]), len(spare[0])
    for level in (0.68, 0.95):
        held = np.mean(np.abs(after.pit - 0.5) <= level / 2)
        # Three standard deviations of a binomial share, on both sides of the comparison.
        assert abs(held - level) < 3 * np.sqrt(level * (1 - level) * (1 / n + 1 / m))
        held = np.mean(np.abs(promised.pit - 0.5) <= level / 2)
        assert abs(held - level) < 3 * np.sqrt(level * (1 - level) * (4 / m))
    assert kstest(after.pit[:, 0], "uniform").pvalue > 0.01
    assert kstest(promised.pit[:, 0], "uniform").pvalue > 0.01
    found = head.distribution(test[0])
    assert (np.diff(found.values) >= 0).all()
    if name in ("linear", "boastful"):  # whose distributions have the same width everywhere
        assert kstest(before.pit[:, 0], "uniform").pvalue < 1e-6
    assert after.crps.mean() < 1.02 * before.crps.mean()


def test_strange_objects_get_wider_intervals_in_proportion(head, sky, embedded):
    way = sky.x[0] / np.linalg.norm(sky.x[0])
    asked = np.stack([0 * way, 6 * way, 12 * way, 60 * way])
    # Of all learned from: the mean distance to the five nearest others, 99 % below.
    known, far = ((a - sky.x.mean(0)) / sky.x.std(0) for a in (sky.x, asked))
    among = np.sort(np.linalg.norm(known[:, None] - known, axis=-1), axis=1)[:, 1:6].mean(1)
    away = np.sort(np.linalg.norm(far[:, None] - known, axis=-1), axis=1)[:, :5].mean(1)
    factor = np.maximum(away / np.quantile(among, 0.99), 1)
    assert factor[0] == 1
    assert factor[3] > 10

    plain = copy.deepcopy(head)
    plain.familiar_ = np.array(np.inf)  # nothing is strange
    wide, narrow = (h.distribution(asked).quantile([0.025, 0.5, 0.975]) for h in (head, plain))
    np.testing.assert_allclose(wide[..., 1], narrow[..., 1], rtol=1e-9)
    width = (wide[..., 2] - wide[..., 0]) / (narrow[..., 2] - narrow[..., 0])
    np.testing.assert_allclose(width, factor[:, None].repeat(3, 1), rtol=1e-3)
    # Samples as well, those of embeddings.
    table = head.predict(embedded(asked), samples=4000)
    spread = table["age_p84"] - table["age_p16"]
    low, high = np.quantile(table["age_samples"].value, [0.16, 0.84], axis=1)
    np.testing.assert_allclose(high - low, spread.value, rtol=0.15)


def test_reports_agree_with_closed_forms(sky):
    head = LinearHead().fit(sky.X, sky.y)
    head.familiar_ = np.array(np.inf)
    report = head.report(sky.asked, sky.truth)
    sigma = np.sqrt(np.diag(head.covariance_)) * head.y_scale_
    truth = np.stack([np.array(sky.truth[name]) for name in sky.y.colnames], axis=1)
    np.testing.assert_allclose(report.truth, truth)
    z = (truth - head.predict(sky.new)) / sigma
    np.testing.assert_allclose(report.pit, norm.cdf(z), atol=1e-5)
    # Gneiting & Raftery 2007, JASA 102, 359, eq. 21.
    crps = sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(report.crps, crps, rtol=5e-3)


def test_every_head_is_registered_under_its_name(unfitted):
    from astroclip_astro.plugins import get_manager

    assert isinstance(unfitted, RegressionHead)
    assert get_manager().load("task", unfitted.kind) is type(unfitted)


def test_another_modality_is_answered_with_a_warning(head, sky, caplog):
    head.predict(sky.asked)
    assert not caplog.records
    other = sky.asked.assign_coords(modality=("object", ["spectrum"] * len(sky.asked)))
    head.predict(other)
    assert "fitted on embeddings of image is asked about those of spectrum" in caplog.text


def test_a_file_cannot_replace_methods(head, tmp_path):
    path = tmp_path / "head.safetensors"
    head.save(path)
    fitted = head._about() | {"predict": "hello"}
    changed(path, fitted=json.dumps(fitted))
    with pytest.raises(WeightsError, match="predict is nothing that a head learns"):
        load_head(path)
