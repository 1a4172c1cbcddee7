"""Chance of numbers: the same for ever, so that runs go on and figures stay."""

import numpy as np
import pytest

from astroclip_astro.training.chance import noise_generator, seed_of


@pytest.mark.parametrize("numbers", [(0, 0, 1, 0), (42, 1, 7, 3), (5,)])
def test_seeds_are_numpys(numbers):
    wanted = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
    assert seed_of(*numbers) == seed_of(*np.array(numbers)) == wanted
    assert noise_generator(*numbers).initial_seed() == wanted


def test_seeds_stay_as_they_are():
    assert seed_of(0, 0, 1, 0) == 4324601099084218337
