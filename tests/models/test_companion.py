"""A companion: one more modality in the space of a model, and nothing of the model changed."""

import copy
import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from astropy.table import Table

import astroclip_astro as aa
from astroclip_astro.adapters.modality import Modality
from astroclip_astro.adapters.records import Batch, FailedRecord, Record
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import InputError, PluginError, ProvenanceError, WeightsError
from astroclip_astro.models import Companion
from astroclip_astro.plugins import ModalityEntry, ModelEntry, get_manager
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import NeighborsHead, attention
from astroclip_astro.training.companion import align_companion
from astroclip_astro.training.fine_tuning import fine_tune
from astroclip_astro.training.mini.companion import train_companion
from astroclip_astro.weights import load_companion, save_companion, save_model

BOTH = ("spectrum", "image")


@dataclass(frozen=True, kw_only=True)
class ToyPreprocessing:
    factor: float = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ToyRecord(Record):
    modality: ClassVar[str] = "toy"
    values: np.ndarray


class Toy(Modality):
    """Tables with a column ``toy`` of three numbers."""

    preprocessing = ToyPreprocessing

    def accepts(self, obj):
        return isinstance(obj, Table) and "toy" in obj.colnames

    def is_single(self, obj):
        return False

    def records(self, obj, *, preprocessing, survey=None, survey_name="", object_id=""):
        for i, row in enumerate(obj):
            if np.isfinite(row["toy"]).all():
                yield ToyRecord(values=row["toy"], object_id=f"toy {i}")
            else:
                yield FailedRecord(reason="not finite", object_id=f"toy {i}")

    def batch(self, records, preprocessing, device="cpu"):
        failed = [isinstance(record, FailedRecord) for record in records]
        flux = [getattr(record, "values", np.zeros(3)) for record in records]
        return Batch(
            flux=torch.tensor(np.array(flux), dtype=torch.float32, device=device),
            coverage=np.ones(len(records)),
            snr=np.ones(len(records)),
            quality=np.where(failed, int(Quality.NOT_EMBEDDED), 0),
            **Batch.columns(records),
        )

    def model_input(self, flux, preprocessing):
        return flux * preprocessing.factor


@pytest.fixture
def toy(monkeypatch):
    """The modality, registered for one test."""
    entry = ModalityEntry(name="toy", summary="three numbers", factory=f"{__name__}:Toy")
    manager = get_manager()
    monkeypatch.setitem(manager._entries["modality"], "toy", entry)
    monkeypatch.setitem(manager._owners, ("modality", "toy"), manager.found[0])


@pytest.fixture(scope="module")
def base():
    return aa.load_model(device="cpu")


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


def linear(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Linear(3, 128)


def table(n=4, seed=0):
    return Table({"toy": np.random.default_rng(seed).normal(size=(n, 3))})


def test_what_the_model_embeds_it_embeds_as_before(toy, base, mocks):
    companion = Companion(base, linear(), "toy").eval()
    objects = [mocks.spectrum(0), mocks.cutout(1)]
    both = aa.embed(objects, model=companion)
    alone = aa.embed(objects, model=base)
    np.testing.assert_array_equal(both.values, alone.values)
    both.astroclip.check_same_space(alone)


def test_the_further_modality_is_embedded_by_the_encoder(toy, base):
    encoder = linear()
    companion = Companion(base, encoder, "toy").eval()
    data = table()
    found = aa.embed(data, model=companion)
    expected = encoder(torch.tensor(data["toy"] * 2.0, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.modality.values.tolist() == ["toy"] * 4


def test_a_row_that_cannot_be_used_keeps_its_place(toy, base):
    data = table()
    data["toy"][1, 2] = np.nan
    found = aa.embed(data, model=Companion(base, linear(), "toy").eval())
    assert np.isnan(found.values).all(1).tolist() == [False, True, False, False]
    assert found.object_id.values.tolist() == [f"toy {i}" for i in range(4)]


def test_a_model_without_the_modality_does_not_take_it(toy, base):
    with pytest.raises(InputError, match="of toy data, and this model embeds spectrum and image"):
        aa.embed(table(), model=base, errors="raise")


def test_a_model_with_the_modality_gets_no_companion_of_it(base):
    with pytest.raises(ValueError, match="embeds spectrum already"):
        Companion(base, linear(), "spectrum")


def test_training_leaves_the_model_alone(toy, base):
    companion = Companion(base, linear(), "toy").train()
    assert companion.encoder.training
    assert not base.training


def test_saved_and_loaded_it_is_the_same(toy, base, tmp_path):
    companion = Companion(base, linear(), "toy").eval()
    companion.preprocessing["toy"] = ToyPreprocessing(factor=3.0)
    companion.training_range["toy"] = [-1.0, 1.0]
    path = tmp_path / "toy.safetensors"
    checksum = save_companion(companion, path, config={"in_features": 3, "out_features": 128})
    loaded = load_companion(path, torch.nn.Linear)
    data = table()
    np.testing.assert_array_equal(
        aa.embed(data, model=loaded).values, aa.embed(data, model=companion).values
    )
    assert loaded.preprocessing["toy"].factor == 3.0
    assert loaded.training_range["toy"] == [-1.0, 1.0]
    found = aa.embed(data, model=loaded)
    assert found.attrs["companion_toy"] == checksum[:16]
    assert found.attrs["model"] == "astroclip-mini"
    assert found.attrs["weights_sha256"] == base.weights_sha256
    # A few of these random numbers are beyond what it is said to be trained on.
    flagged = [("OUT_OF_TRAINING_RANGE" in flags) for flags in found.astroclip.flags]
    assert flagged == (np.abs(data["toy"].mean(1)) > 1).tolist()


def test_an_encoder_for_other_weights_is_refused(toy, base, tmp_path, monkeypatch):
    companion = Companion(base, linear(), "toy")
    monkeypatch.setattr(base, "weights_sha256", "ff" * 32)
    path = tmp_path / "toy.safetensors"
    save_companion(companion, path, config={"in_features": 3, "out_features": 128})
    with pytest.raises(WeightsError, match="was aligned to 'astroclip-mini' with weights ffff"):
        load_companion(path, torch.nn.Linear)


def test_an_encoder_of_another_shape_is_refused(toy, base, tmp_path):
    path = tmp_path / "toy.safetensors"
    companion = Companion(base, linear(), "toy")
    save_companion(companion, path, config={"in_features": 4, "out_features": 128})
    with pytest.raises(WeightsError, match="weight has shape"):
        load_companion(path, torch.nn.Linear)
    save_companion(companion, path, config={"width": 4})
    with pytest.raises(WeightsError, match="Linear does not take the configuration"):
        load_companion(path, torch.nn.Linear)


def test_it_searches_catalogs_of_the_model(toy, base, mocks, tmp_path):
    spectra = aa.embed([mocks.spectrum(i) for i in range(6)], model=base)
    catalog = EmbeddingCatalog.create(tmp_path / "six", spectra)
    query = aa.embed(table(1), model=Companion(base, linear(), "toy").eval())
    found = catalog.search(query, k=6, modality="spectrum")
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query.values, spectra.values)]
    cosine = (unit[0] @ unit[1].T)[0]
    expected = spectra.object_id.values[np.argsort(-cosine)]
    assert list(found["object_id"]) == expected.tolist()


def test_vectors_of_different_companions_are_not_mixed(toy, base, tmp_path):
    vectors = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.safetensors"
        companion = Companion(base, linear(seed), "toy")
        save_companion(companion, path, config={"in_features": 3, "out_features": 128})
        vectors.append(aa.embed(table(), model=load_companion(path, torch.nn.Linear)))
    with pytest.raises(ProvenanceError, match="companion_toy"):
        vectors[0].astroclip.check_same_space(vectors[1])
    catalog = EmbeddingCatalog.create(tmp_path / "toys", vectors[0])
    with pytest.raises(ProvenanceError, match="companion_toy"):
        catalog.append(vectors[1])


def cosines(model, data, targets):
    mine = model.encode(torch.from_numpy(data), "toy").numpy()
    mine, targets = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (mine, targets))
    return (mine * targets).sum(1)


def saved(base, path, seed=0):
    """Embeddings of the further modality by a companion with a file."""
    save_companion(
        Companion(base, linear(seed), "toy"), path, config={"in_features": 3, "out_features": 128}
    )
    return load_companion(path, torch.nn.Linear)


def test_different_companions_are_told_apart_however_they_are_put_together(
    toy, base, mocks, tmp_path
):
    first, second = (saved(base, tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    spectra = aa.embed([mocks.spectrum(0)], model=base)
    parts = [spectra, aa.embed(table(), model=first), aa.embed(table(), model=second)]
    for order in itertools.permutations(parts):
        with pytest.raises(ProvenanceError, match="companion_toy"):
            concat(order)
    assert len(concat(parts[:2])) == 5


def test_a_head_knows_the_companion_of_what_it_learned(toy, base, mocks, tmp_path):
    first, second = (saved(base, tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    head = NeighborsHead(k=2).fit(aa.embed(table(8), model=first), Table({"redshift": np.ones(8)}))
    assert np.allclose(head.predict(aa.embed(table(), model=first))["redshift_p50"], 1)
    with pytest.raises(ProvenanceError):
        head.predict(aa.embed(table(), model=second))
    # A head of spectra takes those that any companion's model has made.
    spectra = aa.embed([mocks.spectrum(i) for i in range(3)], model=base)
    head = NeighborsHead(k=2).fit(spectra, Table({"redshift": np.ones(3)}))
    assert len(head.predict(aa.embed([mocks.spectrum(1)], model=second))) == 1


def test_spectra_say_nothing_of_a_companion_that_did_not_make_them(toy, base, mocks, tmp_path):
    model = saved(base, tmp_path / "toy.safetensors")
    assert "companion_toy" not in aa.embed([mocks.spectrum(0)], model=model).attrs
    assert "companion_toy" in aa.embed(table(), model=model).attrs


def test_a_catalog_of_the_further_modality_finds_its_model(toy, base, tmp_path, monkeypatch):
    """Not the images at the places of the table, which its base model would fetch."""
    path = tmp_path / "toy.safetensors"
    saved(base, path)
    entry = ModelEntry(
        name="mini-toy", summary="toy", factory=f"{__name__}:load", modalities=(*BOTH, "toy"),
        embed_dim=128, parameters=1, options={"path": str(path)},
    )  # fmt: skip
    monkeypatch.setitem(get_manager()._entries["model"], "mini-toy", entry)
    data = table()
    data["ra"], data["dec"] = [1.0, 2, 3, 4], [0.0] * 4
    catalog = EmbeddingCatalog.create(tmp_path / "toys", aa.embed(data, model="mini-toy"))
    assert catalog.model == "mini-toy"
    found = catalog.search(data[2:3], k=1, modality="toy")
    assert found["object_id"].tolist() == ["toy 2"]
    assert found["score"][0] == pytest.approx(1, abs=1e-3)
    with pytest.raises(InputError, match="of toy data, and this model embeds spectrum and image"):
        aa.embed(data, model=base)


def load(entry, *, revision=None):
    return load_companion(entry.options["path"], torch.nn.Linear)


def test_explanations_and_fine_tuning_are_those_of_the_model(toy, base, mocks):
    companion = Companion(base, linear(), "toy").eval()
    np.testing.assert_array_equal(
        attention(mocks.spectrum(0), model=companion), attention(mocks.spectrum(0), model=base)
    )
    with pytest.raises(InputError, match="not toy data"):
        attention(table(1), model=companion)
    with pytest.raises(InputError, match="is a companion"):
        fine_tune([mocks.spectrum(0)], [0.1], "tuned.safetensors", model=companion)
    with pytest.raises(TypeError, match="save_companion"):
        save_model(companion, "toy.safetensors", name="toy")


def test_what_is_not_asked_for_is_refused(toy, base):
    companion = Companion(base, linear(), "toy").eval()
    with pytest.raises(ValueError, match="embeds spectrum and image and toy, not 'sound'"):
        companion.encode(torch.zeros(1, 3), "sound")
    with pytest.raises(ValueError, match="is a companion itself"):
        Companion(companion, linear(), "toys")
    with pytest.raises(TypeError, match="of its file and of its model"):
        companion.set_preprocessing({})


def test_a_companion_of_a_model_in_a_file(toy, base, tmp_path):
    other = copy.deepcopy(base)
    other.name = "mine"
    other.weights_sha256 = save_model(other, tmp_path / "mine.safetensors", name="mine")
    path = tmp_path / "toy.safetensors"
    config = {"in_features": 3, "out_features": 128}
    checksum = save_companion(Companion(other, linear(), "toy"), path, config=config, base="x")
    assert load_companion(path, torch.nn.Linear, base=other).companion_sha256 == checksum
    loaded = load_companion(path, torch.nn.Linear, base=tmp_path / "mine.safetensors")
    assert loaded.base.name == "mine"
    with pytest.raises(PluginError, match="no model named 'mine'"):
        load_companion(path, torch.nn.Linear)
    with pytest.raises(WeightsError, match="was aligned to 'mine'"):
        load_companion(path, torch.nn.Linear, base=base)


def test_the_encoder_follows_the_model(toy, base):
    companion = Companion(copy.deepcopy(base).double(), linear(), "toy").eval()
    assert companion.encode(torch.zeros(2, 3), "toy").dtype == torch.float64


def test_alignment_finds_the_space(toy, base):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(300, 3)).astype(np.float32)
    # What is to be reached can be reached by a linear map.
    targets = data @ rng.normal(size=(3, 128)).astype(np.float32)
    before = [p.clone() for p in base.parameters()]
    assert np.median(cosines(Companion(base, linear(), "toy").eval(), data, targets)) < 0.2
    model = align_companion(
        base,
        linear(),
        "toy",
        lambda rows, rng: data[rows],
        [targets],
        steps=150,
        batch_size=200,
        learning_rate=0.02,
        progress=False,
    )
    assert np.median(cosines(model, data, targets)) > 0.8
    assert not model.training
    assert all(torch.equal(a, b) for a, b in zip(before, base.parameters(), strict=True))
    low, high = model.training_range["toy"]
    assert low < -1 < 1 < high


def test_alignment_refuses_what_it_cannot_learn_from(toy, base):
    def align(targets, batch_size=2):
        align_companion(base, linear(), "toy", None, targets, batch_size=batch_size)

    with pytest.raises(ValueError, match="not finite"):
        align([np.full((4, 128), np.nan)])
    with pytest.raises(ValueError, match="expected"):
        align([np.zeros((4, 128)), np.zeros((5, 128))])
    with pytest.raises(ValueError, match=r"observe\(\) returned what is not finite"):
        align_companion(
            base,
            linear(),
            "toy",
            lambda rows, rng: np.full((2, 3), np.nan),
            [np.zeros((4, 128))],
            batch_size=2,
            progress=False,
        )
    with pytest.raises(ValueError, match="at least 8 galaxies"):
        align([np.zeros((4, 128))], batch_size=8)


class Scaled(torch.nn.Linear):
    """A linear encoder that knows the scale of its input, as `train_companion` wants it."""

    def __init__(self, **config):
        super().__init__(**config)
        self.register_buffer("mean", torch.zeros(self.in_features))
        self.register_buffer("scale", torch.ones(self.in_features))

    def forward(self, x):
        return super().forward((x - self.mean) / self.scale)


def test_a_companion_is_trained_on_the_mocks_of_its_model_and_measured(toy, base, tmp_path):
    asked = []

    def known(survey, rows, name):
        asked.append((name, rows.tolist()))
        return np.stack([survey.truth_array[f"mag_{b}"][rows] for b in "grz"], axis=1)

    made = tmp_path / "toy.safetensors"
    found = train_companion(
        MockSurvey.bundled().path,
        made,
        tmp_path / "vectors",
        "toy",
        Scaled,
        config={"in_features": 3, "out_features": 128},
        known=known,
        observe=lambda magnitudes, rng: magnitudes + 0.01 * rng.standard_normal(magnitudes.shape),
        steps=40,
        batch_size=16,
        progress=False,
    )
    assert len(found) == 6
    learned, test = (set(rows) for _, rows in asked)
    assert [name for name, _ in asked] == ["learned", "test"]
    assert not learned & test
    assert found["toy", "image"].n_queries == len(test)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "vectors").iterdir()}
    assert set(kept) == {f"{n}-{m}.nc" for n in ("learned", "test") for m in BOTH}
    loaded = load_companion(made, Scaled)
    assert not torch.equal(loaded.encoder.scale, torch.ones(3))
    # Brightness is what a linear map of magnitudes can tell.
    data = Table({"toy": known(MockSurvey.bundled(), np.arange(40), "all")[:4]})
    assert np.isfinite(aa.embed(data, model=loaded).values).all()
