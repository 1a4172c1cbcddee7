"""Micro-batches give the vectors and the gradient of the whole batch."""

import pytest
import torch
from torch import nn

from astroclip_astro.models import clip_loss
from astroclip_astro.training.grad_cache import encode_in_micro_batches


def encoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 5)).double()


@pytest.mark.parametrize("micro_batch", [1, 4, 5, 12, 100])
def test_gradient_is_that_of_the_whole_batch(micro_batch):
    x, other = torch.randn(2, 12, 7, dtype=torch.float64)
    whole, cached = encoder(), encoder()
    clip_loss(whole(x), whole(other))[0].backward()
    vectors = encode_in_micro_batches(cached, x, micro_batch)
    torch.testing.assert_close(vectors, whole(x))
    clip_loss(vectors, encode_in_micro_batches(cached, other, micro_batch))[0].backward()
    for a, b in zip(whole.parameters(), cached.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_dropout_hides_the_same_units_in_both_passes():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(7, 64, bias=False), nn.Dropout(0.5))
    x = torch.ones(6, 7)
    vectors = encode_in_micro_batches(network, x, 2)
    vectors.sum().backward()
    used = (vectors != 0).double().sum(0)[:, None] * 2
    torch.testing.assert_close(network[0].weight.grad.double(), used.expand(-1, 7))


def test_no_more_activations_than_those_of_a_micro_batch_are_kept():
    sizes = []

    def count(x):
        sizes.append(len(x))
        return x.square()

    x = torch.randn(10, 3, requires_grad=True)
    encode_in_micro_batches(count, x, 4).sum().backward()
    assert sizes[:3] == [4, 4, 2]
    assert sorted(sizes[3:]) == [2, 4, 4]


def test_micro_batch_of_nothing():
    with pytest.raises(ValueError, match="micro_batch is 0"):
        encode_in_micro_batches(nn.Identity(), torch.ones(3, 2), 0)
