"""Every object is read once, in an order and with noise that a resumed run continues."""

import warnings
from itertools import islice

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import distributed

from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.batch import TrainingBatch
from astroclip_astro.training.data import GalaxyDataModule
from astroclip_astro.training.sources.base import Source
from astroclip_astro.training.sources.mocks import MockSource


class Numbers(Source):
    """Spectra of one pixel that hold the number of their object."""

    simulated = True

    def __init__(self, n, name="numbers", broken=(), errors="raise"):
        super().__init__({"spectrum": SpectrumPreprocessing(n_pixels=1)}, errors=errors)
        self._offer(("spectrum",))
        self.name, self.broken = name, np.asarray(broken, int)
        self.object_id = np.array([f"{name}-{i}" for i in range(n)])
        self.ra, self.dec = np.linspace(0, 350, n), np.linspace(-60, 60, n)
        self.targets = {name: np.arange(n, dtype=float)}

    def read(self, rows, generator):
        for row in rows[np.isin(rows, self.broken)]:
            self._cannot_read(row, "nowhere", "broken")
        rows = rows[~np.isin(rows, self.broken)]
        noise = 0.1 * torch.rand(len(rows), generator=generator)
        flux = (torch.from_numpy(rows) + noise).float()[:, None, None]
        return self._batch(rows, spectrum=flux, spectrum_ivar=torch.ones(len(rows), 1))


def names(batches):
    return [name for batch in batches for name in batch.object_id]


def loaders(monkeypatch, world_size, part="train", n=37, **options):
    """Loaders of all processes of a run."""
    share = {"test": 0, "validation": 0} if part == "train" else {"test": 0, "validation": 0.5}
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: world_size)
    found = []
    for rank in range(world_size):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        data = GalaxyDataModule([Numbers(n)], **{"batch_size": 4, "seed": 3} | share | options)
        found.append(data.train_dataloader() if part == "train" else data.val_dataloader())
    return data, found


def passes(loader, data, n=1):
    """Names in the first passes of a process."""
    length = data.batches_per_pass
    batches = list(islice(loader, n * length))
    return [names(batches[i * length : (i + 1) * length]) for i in range(n)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_pass_reads_every_object_once(monkeypatch, world_size):
    data, processes = loaders(monkeypatch, world_size, n=48)
    shares = [passes(one, data)[0] for one in processes]
    together = [name for share in shares for name in share]
    assert len({len(share) for share in shares}) == 1
    assert sorted(together) == sorted(f"numbers-{i}" for i in range(48))


def test_leftovers_of_one_pass_come_in_another(monkeypatch):
    data, (loader,) = loaders(monkeypatch, 1)
    seen = passes(loader, data, 4)
    assert all(len(one) == len(set(one)) == 36 for one in seen)
    assert seen[0] != seen[1]
    assert len(set().union(*seen)) == 37


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_validation_takes_all_and_few_twice(monkeypatch, world_size):
    data, processes = loaders(monkeypatch, world_size, "validation")
    shares = [[len(batch) for batch in one] for one in processes]
    assert all(share == shares[0] for share in shares)
    together = [name for one in processes for name in names(one)]
    wanted = {f"numbers-{i}" for i in data.rows["validation"]}
    assert set(together) == wanted
    assert len(together) - len(wanted) == -len(wanted) % world_size


def same(one, two):
    return (
        one.object_id.tolist() == two.object_id.tolist()
        and torch.equal(one.spectrum, two.spectrum)
        and torch.equal(one.image, two.image)
        and torch.equal(one.repeat.spectrum, two.repeat.spectrum)
    )


def test_workers_change_nothing():
    small = {"spectrum": SpectrumPreprocessing(), "image": ImagePreprocessing(size=24, crop=12)}

    def batches(num_workers):
        source = MockSource(MockSurvey.bundled(), small)
        data = GalaxyDataModule([source], batch_size=5, repeat=0.4, num_workers=num_workers)
        return list(islice(data.train_dataloader(), 8))  # more than one pass

    alone, shared = batches(0), batches(2)
    assert len(alone) == len(shared) == 8
    assert all(same(one, two) for one, two in zip(alone, shared, strict=True))


def test_noise_is_of_seed_batch_and_process_alone(monkeypatch):
    def noise(world_size=1, **options):
        _, processes = loaders(monkeypatch, world_size, **options)
        found = [torch.cat([b.spectrum.flatten() for b in islice(one, 18)]) for one in processes]
        return [flux.remainder(1) for flux in found]

    (one,), (same,), (other,) = noise(), noise(), noise(seed=4)
    assert torch.equal(one, same)
    assert len(one.unique()) > 0.97 * len(one)  # float32 rounds 36 × 0.1 onto few thousand steps
    assert torch.isin(one, other).float().mean() < 0.05
    two = noise(2)
    assert torch.isin(*two).float().mean() < 0.05


def test_batches_are_mixtures_of_all_sources():
    data = GalaxyDataModule(
        [Numbers(60, "a"), Numbers(40, "b")],
        batch_size=20,
        test=0,
        validation=0,
        repeat=0.5,
    )
    for batch in islice(data.train_dataloader(), 5):
        assert len(batch) == 20
        kind = np.array([name[0] for name in batch.object_id])
        assert set(kind) == {"a", "b"}
        number = np.array([int(name[2:]) for name in batch.object_id])
        np.testing.assert_array_equal(batch.spectrum[:, 0, 0].floor(), number)
        np.testing.assert_array_equal(batch.targets["a"], np.where(kind == "a", number, np.nan))
        again = batch.repeat
        assert abs(len(again) - 10) <= 1
        place = [batch.object_id.tolist().index(name) for name in again.object_id]
        assert torch.equal(again.spectrum.floor(), batch.spectrum[place].floor())
        assert not torch.isin(again.spectrum, batch.spectrum).any()


def test_only_common_modalities_are_read():
    mocks = MockSource(MockSurvey.bundled())
    data = GalaxyDataModule([mocks, mocks.only({"spectrum"})], batch_size=10)
    assert all(source.modalities == {"spectrum"} for source in data.sources)
    assert mocks.modalities == {"spectrum", "image"}
    assert next(iter(data.train_dataloader())).image is None


@pytest.mark.parametrize("by", ["object", "sky"])
def test_parts_are_disjoint_and_complete(by):
    data = GalaxyDataModule(
        [Numbers(300)],
        batch_size=10,
        by=by,
        test=0.2,
        validation=0.2,
    )
    rows = np.concatenate(list(data.rows.values()))
    assert sorted(rows) == list(range(300))
    assert all(len(part) > 20 for part in data.rows.values())
    validation = names(data.val_dataloader())
    assert validation == [f"numbers-{i}" for i in data.rows["validation"]]
    assert names(data.test_dataloader()) == [f"numbers-{i}" for i in data.rows["test"]]
    again = [batch.spectrum for batch in data.val_dataloader()]
    assert all(map(torch.equal, again, (batch.spectrum for batch in data.val_dataloader())))
    assert not set(validation) & set(names(islice(data.train_dataloader(), data.batches_per_pass)))


def test_held_out_mocks_are_the_test_part():
    data = GalaxyDataModule([MockSource(MockSurvey.bundled())], batch_size=4)
    assert data.rows["test"].tolist() == [9, 19, 29, 39]


def test_objects_that_cannot_be_read_are_left_out():
    def data(**options):
        sources = [Numbers(30, broken=[4, 7], **options), Numbers(30, "b")]
        return GalaxyDataModule(sources, batch_size=60, test=0, validation=0)

    with pytest.raises(InputError, match=r"numbers-\d: nowhere: broken"):
        next(iter(data().train_dataloader()))
    module = data(errors="skip")
    batch = next(iter(module.train_dataloader()))
    assert len(batch) == 58
    number = [int(name.split("-")[1]) for name in batch.object_id]
    np.testing.assert_array_equal(batch.spectrum[:, 0, 0].floor(), number)
    nothing = [Numbers(3, broken=[0, 1, 2], errors="skip")]
    with pytest.raises(InputError, match="none of the 2 objects of a batch can be read"):
        next(iter(GalaxyDataModule(nothing, batch_size=2, test=0, validation=0).train_dataloader()))


class Pairs(Numbers):
    """Has images, too, and some of its files are broken: of images, or of second spectra."""

    def __init__(self, n, images=(), second=()):
        super().__init__(n, errors="skip")
        self.preprocessing["image"] = ImagePreprocessing(size=1, crop=1)
        self.modalities = frozenset(self.preprocessing)
        self.images, self.second = images, second

    def read(self, rows, generator):
        both = "image" in self.modalities
        self.broken = self.images if both else self.second
        batch = super().read(rows, generator)
        batch.image = torch.zeros(len(batch), 3, 1, 1) if both else None
        return batch


@pytest.mark.parametrize(("images", "second"), [([2, 5], []), ([2], [5])])
def test_what_was_left_out_is_not_repeated_and_counted_once(images, second):
    data = GalaxyDataModule(
        [Pairs(12, images, second)], batch_size=12, test=0, validation=0, repeat=1.0
    )
    batch = next(iter(data.train_dataloader()))
    assert set(batch.object_id) == {f"numbers-{i}" for i in range(12) if i not in images}
    left = {*images, *second}
    assert set(batch.repeat.object_id) == {f"numbers-{i}" for i in range(12) if i not in left}
    assert data.sources[0].skipped == 2


def test_sources_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match="at least one"):
        GalaxyDataModule([], batch_size=2)
    image = MockSource(MockSurvey.bundled()).only({"image"})
    with pytest.raises(InputError, match="no modality in common"):
        GalaxyDataModule([Numbers(3), image], batch_size=2)
    with pytest.raises(InputError, match="no spectra to repeat"):
        GalaxyDataModule([image], batch_size=2, repeat=0.5)
    with pytest.raises(InputError, match="fewer than a batch of 64"):
        GalaxyDataModule([Numbers(9)], batch_size=64)
    twice = Numbers(3)
    twice.object_id[1] = "numbers-0"
    with pytest.raises(InputError, match="numbers-0: numbers has 2 objects"):
        GalaxyDataModule([twice], batch_size=2)


class Diary(L.LightningModule):
    """Writes down what it is given; it can be interrupted."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.stop_after = [], stop_after

    def training_step(self, batch, _):
        assert isinstance(batch, TrainingBatch)
        if self.stop_after == len(self.seen):
            raise ConnectionError("killed")
        self.seen.append((batch.object_id.tolist(), batch.spectrum.flatten().tolist()))
        return self.weight**2 + batch.spectrum.mean() * 0

    def validation_step(self, batch, _):
        self.log("val/loss", batch.spectrum.mean(), batch_size=len(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder, model, resume=None, **options):
    data = GalaxyDataModule([Numbers(30)], batch_size=4, test=0, validation=0.2, seed=1)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=1)],
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=4,
        use_distributed_sampler=False,
        **options,
    )
    with warnings.catch_warnings():
        # Lightning's own: few workers, a folder that is not empty, a call of torch out of date.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(model, data, ckpt_path=resume, weights_only=True if resume else None)
    assert data.batches_per_pass == 5


# A pass has five batches: cut after one, at the end of a pass and in the middle of others.
@pytest.mark.parametrize(
    ("batches", "accumulate"), [(1, 1), (4, 1), (5, 1), (7, 1), (10, 1), (6, 2), (10, 2), (12, 3)]
)
def test_a_resumed_run_sees_what_the_whole_one_saw(tmp_path, batches, accumulate):
    options = {"max_steps": 18 // accumulate, "accumulate_grad_batches": accumulate}
    whole = Diary()
    train(tmp_path / "whole", whole, **options)
    assert len(whole.seen) == 18
    interrupted = Diary(stop_after=batches)
    with pytest.raises(ConnectionError, match="killed"):
        train(tmp_path / "cut", interrupted, **options)
    last = max((tmp_path / "cut").glob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns)
    resumed = Diary()
    train(tmp_path / "cut", resumed, resume=last, **options)
    assert interrupted.seen == whole.seen[:batches]
    assert resumed.seen == whole.seen[batches:]
