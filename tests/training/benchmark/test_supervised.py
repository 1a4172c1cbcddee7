"""Baselines on a source: what they see, that they learn, and what is kept."""

import numpy as np
import pytest

from astroclip_astro.errors import InputError
from astroclip_astro.training.baselines import PhotometryMLP
from astroclip_astro.training.batch import TARGETS
from astroclip_astro.training.benchmark import supervised
from astroclip_astro.training.benchmark.heads import r2
from astroclip_astro.training.benchmark.supervised import supervised_baselines, train_supervised

TRAIN, TEST = np.arange(50), np.arange(50, 60)


@pytest.fixture
def small(monkeypatch):
    """Networks of the same kinds that a processor trains in a second."""

    def network(name, n_out, preprocessing):
        if name == "ResNet18":
            return supervised.ResNet18(n_out, width=4, preprocessing=preprocessing)
        if name == "Conv+Att":
            return supervised.ConvAttention(n_out, channels=(4, 4, 4))
        return PhotometryMLP(n_out)

    monkeypatch.setattr(supervised, "_network", network)


def test_photometry_learns_what_brightness_tells(make_source):
    source = make_source().only(["image"])
    source.read_rows = []
    module, said = train_supervised(
        PhotometryMLP(5), source, TRAIN, max_steps=150, batch_size=25, progress=False
    )
    assert "150 steps of 25" in said
    assert set(np.concatenate(source.read_rows)) <= set(TRAIN)
    predicted = supervised._over(source, TEST, 0, module, False)
    assert r2(source.targets["redshift"][TEST], predicted[:, 0]) > 0.9


def test_all_baselines(make_source, tmp_path, small):
    source = make_source()
    source.targets["age"][:10] = np.nan
    source.unreadable = [55]
    options = {"folder": tmp_path, "max_steps": 2, "progress": False}
    made = supervised_baselines(source, TRAIN, TEST, **options)
    assert [(one.source, one.model) for one in made] == [
        ("image", "ResNet18"),
        ("spectrum", "Conv+Att"),
        ("photometry", "MLP"),
        ("photometry", "gradient boosting"),
    ]
    for one in made:
        assert set(one.values) == set(TARGETS)
        assert np.isnan(one.values["redshift"]).nonzero()[0].tolist() == [5]
        assert one.n_train == dict.fromkeys(TARGETS, 50) | {"age": 40}
    boosted = made[-1].values["redshift"]
    assert r2(source.targets["redshift"][TEST], boosted) > 0.6
    again = make_source()
    again.targets["age"][:10] = np.nan
    kept = supervised_baselines(again, TRAIN, TEST, **options)
    assert len(again.read_rows) == 1  # the fingerprint: nothing is trained again
    np.testing.assert_array_equal(kept[0].values["redshift"], made[0].values["redshift"])
    assert kept[0].training == made[0].training


def test_test_values_are_not_seen(make_source, tmp_path, small):
    changed = make_source()
    for values in changed.targets.values():
        values[TEST] = 99.0
    options = {"max_steps": 2, "progress": False}
    one = supervised_baselines(make_source(), TRAIN, TEST, folder=tmp_path / "a", **options)
    two = supervised_baselines(changed, TRAIN, TEST, folder=tmp_path / "b", **options)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.values["redshift"], b.values["redshift"])


def test_images_or_spectra_alone(make_source, tmp_path, small):
    options = {"folder": tmp_path, "max_steps": 1, "progress": False}
    spectra = supervised_baselines(make_source().only(["spectrum"]), TRAIN, TEST, **options)
    assert [one.model for one in spectra] == ["Conv+Att"]
    nothing = make_source()
    nothing.targets = {"redshift": np.full(60, np.nan)}
    with pytest.raises(InputError, match="knows none of redshift"):
        supervised_baselines(nothing, TRAIN, TEST, **options)


def test_flux_that_is_not_finite_is_named(make_source):
    source = make_source(4).only(["image"])
    source.value[2] = np.nan
    source.targets = {"redshift": np.arange(4.0)}
    with pytest.raises(InputError, match=r"PhotometryMLP is nan; .* not finite: galaxy 2"):
        train_supervised(PhotometryMLP(1), source, np.arange(4), max_steps=1, progress=False)
