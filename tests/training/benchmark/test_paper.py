"""The whole benchmark on a small source: splits, labels, rows of encoders, figures."""

import numpy as np
import pytest
from astropy.table import Table

from astroclip_astro.errors import InputError
from astroclip_astro.training.benchmark import paper
from astroclip_astro.training.benchmark.heads import regress
from astroclip_astro.training.benchmark.paper import paper_benchmark
from astroclip_astro.training.split import split


class NoMap:
    """Stands in for the projection, which takes seconds."""

    def __init__(self):
        self.asked = []

    def __call__(self, vectors, values, **options):
        self.asked.append((len(vectors), values))


@pytest.fixture
def drawn(monkeypatch):
    fake = NoMap()
    monkeypatch.setattr(paper, "embedding_map", fake)
    return fake


def bench(source, model, out, **options):
    options = {"k": 3, "pool": 5, "baselines": False, "progress": False} | options
    return paper_benchmark(source, model, out, **options)


def test_objects_kept_aside_are_the_test(make_source, make_toy, tmp_path, drawn):
    source = make_source()
    source.held_out = np.arange(60) % 4 == 3
    report = bench(source, make_toy(), tmp_path, n=40)
    assert report.settings["training objects"] == 30
    assert report.settings["test objects"] == 10
    true, predicted = report.predictions["spectrum", "toy", "kNN", "redshift"]
    np.testing.assert_array_equal(true, source.targets["redshift"][:40][source.held_out[:40]])
    with np.load(next(tmp_path.glob("cache/toy-*/*.npz"))) as kept:
        vectors = kept["spectrum"]
    train, test = ~source.held_out[:40], source.held_out[:40]
    y = source.targets["redshift"][:40]
    np.testing.assert_allclose(predicted, regress(vectors[train], y[train], vectors[test], k=3))
    assert "keeps aside" in report.settings["data"]
    assert [size for size, _ in drawn.asked] == [10, 10]
    assert sorted(drawn.asked[0][1]) == ["log_mass", "redshift"]
    for name in ("predicted-image", "predicted-spectrum", "recall", "map-image", "map-spectrum"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_other_data_are_split_by_name(make_source, make_toy, tmp_path, drawn):
    source = make_source()
    report = bench(source, make_toy(), tmp_path, seed=4)
    part = split(source.object_id, validation=0, seed=4)
    true, _ = report.predictions["image", "toy", "kNN", "age"]
    np.testing.assert_array_equal(true, source.targets["age"][part == 2])
    assert report.settings["training objects"] == (part == 0).sum()
    with pytest.raises(InputError, match="have no position"):
        bench(source, make_toy(), tmp_path, by="sky")


def test_rows_of_encoders_before_alignment(make_source, make_toy, make_encoders, tmp_path, drawn):
    model, (spectra, images) = make_toy(), make_encoders()
    spectra.name = "toy"  # the same name as the model's is no confusion
    report = bench(make_source(), model, tmp_path, unaligned=[spectra, images, images])
    table = report.tables["properties"]
    rows = {(row["input"], row["model"]) for row in table}
    assert rows == {
        ("image", "toy"),
        ("spectrum", "toy"),
        ("spectrum", "toy, unaligned"),
        ("image", "plain, unaligned 2, class token"),
        ("image", "plain, unaligned 2, mean of patches"),
        ("image", "plain, unaligned 3, class token"),
        ("image", "plain, unaligned 3, mean of patches"),
    }
    published = {
        (row["input"], row["model"].rpartition(" ")[2]): row["published"]
        for row in table
        if row["property"] == "redshift" and row["head"] == "kNN"
    }
    assert published["image", "token"] == 0.63
    assert published["spectrum", "unaligned"] == 0.99
    assert published["image", "toy"] == 0.79
    assert published["image", "patches"] is np.ma.masked
    # Encoders that were not aligned with each other are not searched by each other.
    assert set(report.tables["retrieval"]["model"]) == {"toy"}


def test_votes_are_joined_by_name(make_source, make_toy, tmp_path, drawn):
    source = make_source()
    bright = source.value > np.median(source.value)
    order = np.random.default_rng(0).permutation(60)
    votes = Table(
        {
            "object_id": source.object_id[order],
            "bar_total-votes": np.where(order == 7, 3, 50),
            "bar_strong_fraction": bright[order] * 0.8,
            "bar_no_fraction": 0.8 - bright[order] * 0.8,
        }
    )
    votes.write(tmp_path / "votes.ecsv")
    report = bench(source, make_toy(), tmp_path / "out", labels=tmp_path / "votes.ecsv")
    row = report.tables["morphology"][0]
    assert (row["question"], row["head"]) == ("bar", "kNN")
    assert row["accuracy"] > 0.8
    assert row["left_out"] == 1
    votes["object_id"] = [f"star {i}" for i in range(60)]
    votes.write(tmp_path / "other.ecsv")
    with pytest.raises(InputError, match="is one of the data's, such as galaxy 0"):
        bench(source, make_toy(), tmp_path / "out", labels=tmp_path / "other.ecsv")
    (tmp_path / "votes.unknown").write_text("no table")
    with pytest.raises(InputError, match=r"votes\.unknown: not a table"):
        bench(source, make_toy(), tmp_path / "out", labels=tmp_path / "votes.unknown")
    votes["bar_total-votes", "bar_no_fraction"].write(tmp_path / "nameless.ecsv")
    with pytest.raises(InputError, match="no column object_id"):
        bench(source, make_toy(), tmp_path / "out", labels=tmp_path / "nameless.ecsv")


def test_mocks_are_also_asked_as_bright_as_volunteers_saw_them(
    make_source, make_toy, tmp_path, drawn
):
    source = make_source()
    source.targets |= {
        "bulge_to_total": np.where(source.value > np.median(source.value), 0.9, 0.1),
        "axis_ratio": np.full(60, 0.8),
        "mag_r": np.where(np.arange(60) < 40, 17.0, 18.0),
    }
    table = bench(source, make_toy(), tmp_path).tables["morphology"]
    rows = [row for row in table if (row["head"], row["question"]) == ("kNN", "smooth")]
    asked = {row["sample"]: row["n_train"] + row["n_test"] for row in rows}
    assert asked == {"all": 60, "r < 17.77": 40}


def test_a_property_unknown_of_all_test_objects_spoils_no_figure(
    make_source, make_toy, tmp_path, drawn
):
    source = make_source()
    source.held_out = np.arange(60) % 4 == 3
    source.targets["age"][source.held_out] = np.nan
    report = bench(source, make_toy(), tmp_path)
    (age,) = (
        row
        for row in report.tables["properties"]
        if (row["input"], row["head"], row["property"]) == ("image", "kNN", "age")
    )
    assert age["r2"] is np.ma.masked
    assert (age["n_test"], age["left_out"]) == (0, 15)
    assert (tmp_path / "predicted-image.png").exists()
