"""Lines are where their redshift puts them, and their names do not touch."""

import numpy as np
import pytest

from astroclip_astro.plot.lines import LINES, apart, observed


def test_lines_within_the_limits_and_no_others():
    found = observed(0.3, (5000, 8000))
    expected = [(name, 1.3 * rest) for name, rest in LINES if 5000 < 1.3 * rest < 8000]
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([at for _, at in found], [at for _, at in expected])
    assert 0 < len(found) < len(LINES)
    assert observed(np.nan, (4000, 9000)) == []


def test_places_that_are_far_apart_stay():
    np.testing.assert_allclose(apart([1, 5, 9], 1, (0, 10)), [1, 5, 9])


@pytest.mark.parametrize("at", [[5.0] * 6, [0.1, 0.2, 9.9, 9.95], list(np.linspace(0, 10, 9))])
def test_places_are_moved_apart_in_order_and_within_the_limits(at):
    found = apart(at, 1, (0, 10))
    assert (np.diff(found) > 1 - 1e-9).all()
    assert found[0] > -1e-9
    assert found[-1] < 10 + 1e-9


def test_nothing_is_moved_where_there_is_nothing():
    assert apart([], 1, (0, 10)).size == 0
