"""Objects are dealt by what they are, not by where they stand in a table."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from astroclip_astro.errors import InputError
from astroclip_astro.training.split import PARTS, held_out, split

NAMES = np.array([f"galaxy-{i}" for i in range(20_000)])


@pytest.fixture(scope="module")
def sky():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 360, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))


def test_every_tenth_is_held_out():
    assert held_out(25).nonzero()[0].tolist() == [9, 19]


@pytest.mark.parametrize("by", ["object", "sky"])
def test_parts_have_their_shares_and_do_not_depend_on_order(by, sky):
    settings = {"by": by, "test": 0.2, "validation": 0.1}
    part = split(NAMES, *sky, **settings)
    shares = np.bincount(part, minlength=len(PARTS)) / len(part)
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.015)
    some = np.random.default_rng(1).permutation(20_000)[:3000]
    again = split(NAMES[some], *(one[some] for one in sky), **settings)
    np.testing.assert_array_equal(again, part[some])
    other = split(NAMES, *sky, seed=1, **settings)
    assert 0.3 < (other != part).mean() < 0.6


def test_neighbours_stay_together():
    rng = np.random.default_rng(2)
    centres = SkyCoord(rng.uniform(0, 360, 300), rng.uniform(-80, 80, 300), unit="deg")
    near = centres.directional_offset_by(0 * u.deg, 5 * u.arcsec)
    names = NAMES[:300]
    parts = [split(names, one.ra.deg, one.dec.deg, by="sky", test=0.5) for one in (centres, near)]
    # Only a pair on both sides of the edge of a cell may differ.
    assert (parts[0] != parts[1]).sum() <= 2
    assert 0.3 < (parts[0] == 2).mean() < 0.7
    # By name they would be apart half of the time.
    apart = [split(NAMES[i : i + 300], test=0.5) for i in (0, 300)]
    assert (apart[0] != apart[1]).mean() > 0.3


def test_a_data_sets_own_test_objects_are_the_test_part():
    own = held_out(len(NAMES))
    part = split(NAMES, kept=own, validation=0.1)
    np.testing.assert_array_equal(part == 2, own)
    np.testing.assert_allclose((part == 1)[~own].mean(), 0.1, atol=0.01)


def test_impossible_splits_are_refused():
    with pytest.raises(ValueError, match="'position'"):
        split(NAMES, by="position")
    with pytest.raises(InputError, match="galaxy-1: 1 of 2 objects have no position"):
        split(NAMES[:2], [1.0, np.nan], [1.0, 2.0], by="sky")
    with pytest.raises(InputError, match="no position"):
        split(NAMES[:2], by="sky")
    with pytest.raises(InputError, match="below 1 in sum"):
        split(NAMES, test=0.6, validation=0.4)
    with pytest.raises(InputError, match="below 1 in sum"):
        split(NAMES, test=-0.1)
