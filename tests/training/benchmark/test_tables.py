"""Tables: what is counted, what is left out, and that nothing of the test is learnt."""

import json

import numpy as np
import pytest
from astropy.table import Table

from astroclip_astro.errors import InputError
from astroclip_astro.training.benchmark import heads
from astroclip_astro.training.benchmark.morphology import mock_labels, vote_labels
from astroclip_astro.training.benchmark.published import (
    MORPHOLOGY_ACCURACY,
    PROPERTY_R2,
    published_accuracy,
    published_r2,
)
from astroclip_astro.training.benchmark.tables import (
    PROPERTIES,
    Embedded,
    Predicted,
    paper_tables,
)

N = 200


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    truth = {name: rng.normal(size=N) for name in PROPERTIES}
    truth["redshift"] = np.abs(truth["redshift"]) / 2
    x = np.stack(list(truth.values()), 1)
    image, spectrum = x + 0.3 * rng.normal(size=x.shape), x + 0.1 * rng.normal(size=x.shape)
    embeddings = [
        Embedded(source="image", model="toy", vectors=image, published="AstroCLIP"),
        Embedded(source="spectrum", model="toy", vectors=spectrum, published="AstroCLIP"),
    ]
    return embeddings, truth, np.arange(0, 150), np.arange(150, N)


def row(table, **wanted):
    (found,) = [r for r in table if all(r[k] == v for k, v in wanted.items())]
    return found


def test_scores_are_those_of_the_heads(data):
    embeddings, truth, train, test = data
    report = paper_tables(*data, k=8, pool=50, n_resamples=20)
    x, y = embeddings[1].vectors, truth["age"]
    predicted = heads.regress(x[train], y[train], x[test], k=8)
    cell = row(
        report.tables["properties"], input="spectrum", head="kNN", property="age", model="toy"
    )
    assert cell["r2"] == pytest.approx(heads.r2(y[test], predicted))
    assert (cell["k"], cell["n_train"], cell["n_test"], cell["left_out"]) == (8, 150, 50, 0)
    assert cell["published"] == 0.43
    assert cell["r2_error"] > 0
    mean = row(report.tables["properties"], input="image", head="kNN", property="mean of 4")
    four = [
        row(report.tables["properties"], input="image", head="kNN", property=p)["r2"]
        for p in PROPERTIES[1:]
    ]
    assert mean["r2"] == pytest.approx(np.mean(four))


def test_objects_without_vector_or_value_are_counted(data):
    embeddings, truth, _train, _test = data
    embeddings[0].vectors[[3, 160, 161]] = np.nan
    truth["age"][[4, 5, 170]] = np.nan
    report = paper_tables(*data, k=8, pool=50, n_resamples=20)
    cell = row(report.tables["properties"], input="image", head="kNN", property="age")
    assert (cell["n_train"], cell["n_test"], cell["left_out"]) == (147, 47, 6)
    found = row(report.tables["retrieval"], direction="image → spectrum")
    assert found["n_test"] == 48
    assert found["left_out"] == 2


def test_nothing_is_learnt_from_the_test(data):
    _embeddings, truth, _train, test = data
    before = paper_tables(*data, k=8, pool=50, n_resamples=20).predictions
    for values in truth.values():
        values[test] += 100
    after = paper_tables(*data, k=8, pool=50, n_resamples=20).predictions
    for key, (_, predicted) in before.items():
        np.testing.assert_array_equal(after[key][1], predicted)


def test_what_is_refused(data):
    embeddings, truth, train, test = data
    with pytest.raises(InputError, match="1 objects are both learnt from and tested on"):
        paper_tables(embeddings, truth, train, np.append(test, 3))
    with pytest.raises(InputError, match="different lengths"):
        paper_tables(embeddings, {"redshift": np.zeros(3)}, train, test)
    with pytest.raises(InputError, match="expected indices"):
        paper_tables(embeddings, truth, train, np.zeros(N, bool))
    with pytest.raises(InputError, match=r"same input and name: \[\('image', 'toy'\)\]"):
        paper_tables([*embeddings, embeddings[0]], truth, train, test)
    embeddings[1].vectors[test] = np.nan
    with pytest.raises(InputError, match="none of 50 test objects has a spectrum embedding"):
        paper_tables(embeddings, truth, train, test, k=8, n_resamples=2)


def test_supervised_rows_and_unknown_properties(data, caplog):
    _embeddings, truth, _train, test = data
    truth["log_z"][:] = np.nan
    made = Predicted(
        source="image",
        model="ResNet18",
        values={"redshift": truth["redshift"][test]},
        n_train={"redshift": 150},
        training="1 step",
        published="ResNet18",
    )
    report = paper_tables(*data, supervised=[made], k=8, pool=50, n_resamples=20)
    cell = row(report.tables["properties"], head="supervised", property="redshift")
    assert cell["r2"] == 1
    assert cell["published"] == 0.77
    assert cell["training"] == "1 step"
    assert "log_z is known of no object" in caplog.text
    assert "mean of 4" not in set(report.tables["properties"]["property"])


def test_questions_of_too_few_objects_are_left_out(data, caplog):
    _embeddings, truth, _train, _test = data
    labels = {
        "smooth": np.where(truth["age"] > 0, "disc", "smooth"),
        "bar": np.where(np.arange(N) < 5, "yes", ""),
    }
    report = paper_tables(*data, labels=labels, k=8, pool=50, n_resamples=20)
    table = report.tables["morphology"]
    assert "bar by MLP of all is left out" in caplog.text
    assert row(table, head="kNN", question="smooth")["accuracy"] > 0.7
    assert 0.4 < row(table, head="kNN", question="smooth")["commonest"] < 0.7


def test_classes_that_are_counted(data):
    _embeddings, truth, train, _test = data
    shape = np.where(truth["age"] > 0, "disc", "smooth")
    shape[train[:2]] = ["merger", ""]  # one alone is no class, and is not learnt
    labels = {"smooth": shape, "merging": np.where(truth["age"] > 0.5, "yes", "no")}
    report = paper_tables(*data, labels=labels, k=8, pool=50, n_resamples=20)
    table = report.tables["morphology"]
    cell = row(table, head="kNN", question="smooth")
    assert (cell["classes"], cell["n_train"], cell["n_test"], cell["left_out"]) == (2, 148, 50, 2)
    mean = row(table, head="MLP", question="mean")
    pair = [row(table, head="MLP", question=q) for q in labels]
    assert mean["accuracy"] == pytest.approx(np.mean([r["accuracy"] for r in pair]))
    assert mean["commonest"] == pytest.approx(np.mean([r["commonest"] for r in pair]))
    # That of the same questions, not of the ten that the paper has.
    assert mean["published"] == pytest.approx((0.83 + 0.80) / 2)
    assert row(table, head="kNN", question="mean")["published"] is np.ma.masked
    assert set(table["sample"]) == {"all"}
    before = Embedded(
        source="image", model="plain", vectors=_embeddings[0].vectors, published="before alignment"
    )
    report = paper_tables([before], *data[1:], labels=labels, k=8, n_resamples=20)
    assert report.tables["morphology"]["published"].mask.all()


def test_questions_to_some_objects_only(data):
    embeddings, truth, train, test = data
    labels = {"smooth": np.where(truth["age"] > 0, "disc", "smooth")}
    bright = np.arange(N) % 2 == 0
    samples = {"all": np.ones(N, bool), "bright": bright}
    report = paper_tables(*data, labels=labels, samples=samples, k=8, pool=50, n_resamples=20)
    table = report.tables["morphology"]
    assert [row(table, head="kNN", sample=s)["n_train"] for s in samples] == [150, 75]
    cell = row(table, head="kNN", sample="bright")
    x = embeddings[0].vectors
    learnt, asked = train[bright[train]], test[bright[test]]
    predicted = heads.classify(x[learnt], labels["smooth"][learnt], x[asked], k=8)
    assert cell["accuracy"] == pytest.approx((predicted == labels["smooth"][asked]).mean())
    published = [row(table, head="MLP", sample=s)["published"] for s in samples]
    assert published == [np.ma.masked, 0.83]
    with pytest.raises(InputError, match="different lengths"):
        paper_tables(*data, labels=labels, samples={"few": bright[:9]})


def test_error_of_a_mean_counts_that_its_terms_go_together(data):
    embeddings, truth, train, test = data
    for name in PROPERTIES[2:]:
        truth[name][:] = truth["log_mass"]
    report = paper_tables(embeddings, truth, train, test, k=8, pool=50, n_resamples=50)
    one = row(report.tables["properties"], input="image", head="kNN", property="log_mass")
    mean = row(report.tables["properties"], input="image", head="kNN", property="mean of 4")
    assert mean["r2"] == pytest.approx(one["r2"])
    assert mean["r2_error"] == pytest.approx(one["r2_error"])  # not half of it


def test_report_is_written_and_read_back(data, tmp_path):
    report = paper_tables(*data, k=8, pool=50, n_resamples=20)
    report.write(tmp_path)
    kept = json.loads((tmp_path / "benchmark.json").read_text())
    assert kept["settings"]["pool of the retrieval"] == 50
    first = kept["tables"]["properties"][0]
    assert first["r2"] == pytest.approx(report.tables["properties"]["r2"][0])
    for name, table in report.tables.items():
        for got, wanted in zip(kept["tables"][name], table, strict=True):
            for column in table.colnames:
                value = None if wanted[column] is np.ma.masked else wanted[column]
                assert got[column] == value, (name, column)
    latex = (tmp_path / "retrieval.tex").read_text()
    assert r"$\to$" in latex
    assert r"\pm" in latex
    assert len(Table.read(tmp_path / "properties.tex")) == len(report.tables["properties"])
    assert " ± " in str(report)
    assert "k = 8" in str(report)


def test_published_figures():
    assert published_r2("image", "AstroCLIP", "kNN", "redshift") == 0.79
    for key in (("image", "AstroCLIP", "kNN"), ("spectrum", "AstroCLIP", "kNN")):
        four = [PROPERTY_R2[key][name] for name in PROPERTIES[1:]]
        assert np.mean(four) == pytest.approx(PROPERTY_R2[key]["mean of 4"], abs=0.0051)
    ten = [v for name, v in MORPHOLOGY_ACCURACY.items() if name != "mean"]
    assert np.mean(ten) == pytest.approx(MORPHOLOGY_ACCURACY["mean"], abs=0.0051)
    assert np.isnan(published_r2("image", "mine", "kNN", "redshift"))
    assert np.isnan(published_accuracy("smooth", "kNN"))


def test_classes_of_mocks_are_asked_of_what_can_be_seen():
    nan = np.nan
    labels = mock_labels(
        {
            "bulge_to_total": np.array([0.9, 0.1, 0.1, 0.4, nan]),
            "axis_ratio": np.array([0.9, 0.2, 0.8, 0.8, nan]),
            "n_arms": np.array([0, 2, 2, 0, nan]),
            "bar_fraction": np.array([0.0, 0.1, 0.1, 0.0, nan]),
        }
    )
    assert labels["smooth"].tolist() == ["smooth", "disc", "disc", "disc", ""]
    assert labels["edge-on"].tolist() == ["", "yes", "no", "no", ""]
    assert labels["spiral"].tolist() == ["", "", "yes", "no", ""]
    assert labels["arm count"].tolist() == ["", "", "2", "", ""]
    assert labels["bulge size"].tolist() == ["", "", "small", "large", ""]
    assert mock_labels({"redshift": np.ones(3)}) == {}


def test_votes_need_numbers():
    table = Table({"bar_strong_fraction": [1.0]})
    with pytest.raises(InputError, match="bar_total-votes is missing"):
        vote_labels(table)
    with pytest.raises(InputError, match="no votes among the columns"):
        vote_labels(Table({"z": [1.0]}))
