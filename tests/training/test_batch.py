"""Batches keep what belongs together together."""

import numpy as np
import pytest
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.training.batch import TrainingBatch


def make(names, *, image=True, ivar=True, **targets):
    n = len(names)
    number = torch.arange(n, dtype=torch.float32)
    return TrainingBatch(
        object_id=np.array(names),
        spectrum=number[:, None, None].expand(n, 5, 1).clone(),
        spectrum_ivar=torch.ones(n, 5),
        image=number[:, None, None, None].expand(n, 3, 4, 4).clone() if image else None,
        image_ivar=torch.ones(n, 3, 4, 4) if image and ivar else None,
        targets={name: torch.tensor(values) for name, values in targets.items()},
    )


def test_objects_are_chosen_with_all_that_is_theirs():
    batch = make(["a", "b", "c"], redshift=[0.1, 0.2, 0.3])
    batch.repeat = make(["a"])
    wanted = [2, 0], torch.tensor([2, 0]), slice(None, None, 2), torch.tensor([True, False, True])
    for rows in wanted:
        chosen = batch[rows]
        order = ["c", "a"] if chosen.object_id[0] == "c" else ["a", "c"]
        assert chosen.object_id.tolist() == order
        number = {"a": 0, "c": 2}
        expected = torch.tensor([number[name] for name in order], dtype=torch.float32)
        assert torch.equal(chosen.image[:, 0, 0, 0], expected)
        assert torch.equal(chosen.targets["redshift"], (expected + 1) / 10)
        assert chosen.repeat is None


def test_moving_takes_everything_along():
    batch = make(["a", "b"], redshift=[0.1, 0.2])
    batch.repeat = make(["b"], image=False)
    moved = batch.to("meta")
    assert moved.image.is_meta
    assert moved.targets["redshift"].is_meta
    assert moved.repeat.spectrum.is_meta
    assert moved.repeat.image is None
    assert not batch.image.is_meta
    assert moved.object_id.tolist() == ["a", "b"]


def test_joining_keeps_what_is_common():
    joined = TrainingBatch.join(
        [make(["a", "b"], redshift=[0.1, 0.2]), make(["c"], ivar=False, age=[5.0])]
    )
    assert joined.object_id.tolist() == ["a", "b", "c"]
    assert joined.image.shape == (3, 3, 4, 4)
    assert joined.image_ivar is None
    torch.testing.assert_close(
        joined.targets["redshift"], torch.tensor([0.1, 0.2, torch.nan]), equal_nan=True
    )
    assert joined.targets["age"].isnan().tolist() == [True, True, False]
    assert TrainingBatch.join([make(["a"]), make(["b"], image=False)]).image is None


def test_lengths_that_differ_are_refused():
    with pytest.raises(InputError, match="redshift has 1 rows, object_id 2"):
        make(["a", "b"], redshift=[0.1])
    with pytest.raises(InputError, match="both of spectrum and spectrum_ivar"):
        TrainingBatch(object_id=np.array(["a"]), spectrum=torch.ones(1, 5, 1))
