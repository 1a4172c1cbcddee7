"""Pictures of points show the points, and nothing else."""

import numpy as np
import pytest
from astropy.table import Column, MaskedColumn
from matplotlib.colors import to_rgb

from astroclip_astro.explorer.colouring import Colouring
from astroclip_astro.explorer.raster import CLASS_COLOURS, GRADIENT, limits, raster

WINDOW, SIZE = (0.0, 10.0, 0.0, 10.0), (100, 100)


def draw(x, y, *, shown=None, chosen=None, colouring=None):
    x, y = np.array(x, float), np.array(y, float)
    everything = np.ones(len(x), bool)
    picture = raster(
        x,
        y,
        WINDOW,
        SIZE,
        shown=everything if shown is None else np.array(shown),
        chosen=everything if chosen is None else np.array(chosen),
        colouring=colouring,
    )
    assert picture.shape == SIZE[::-1]
    assert picture.dtype == np.uint32
    return picture.view(np.uint8).reshape(*SIZE[::-1], 4)


def colour(text):
    return [round(255 * c) for c in to_rgb(text)]


def test_points_are_where_they_are_and_nowhere_else():
    picture = draw([2.05, 9.05], [3.05, 1.05])
    rows, columns = np.nonzero(picture[..., 3])
    near = np.minimum(np.hypot(rows - 30, columns - 20), np.hypot(rows - 10, columns - 90))
    assert near.max() <= 6
    assert picture[30, 20, 3] == picture[10, 90, 3] == 255


def test_lowest_and_highest_have_the_ends_of_the_gradient():
    numbers = Colouring("z", np.array([0.0, 1.0]), (0.0, 1.0))
    picture = draw([2.05, 9.05], [3.05, 1.05], colouring=numbers)
    assert picture[30, 20, :3].tolist() == colour(GRADIENT[0])
    assert picture[10, 90, :3].tolist() == colour(GRADIENT[-1])


def test_number_of_a_pixel_is_the_mean_of_its_points():
    numbers = Colouring("z", np.array([0.0, 0.0, 1.0, 1.0]), (0.0, 1.0))
    picture = draw([2.05] * 4, [3.05] * 4, colouring=numbers)
    assert picture[30, 20, :3].tolist() == colour(GRADIENT[127])


def test_class_of_a_pixel_is_that_of_most_points():
    classes = Colouring.of("kind", Column(["b", "a", "b"]))
    picture = draw([2.05] * 3, [3.05] * 3, colouring=classes)
    assert classes.classes == ("a", "b")
    assert picture[30, 20, :3].tolist() == colour(CLASS_COLOURS[1])


def test_what_is_hidden_unknown_or_not_chosen_has_no_colour():
    numbers = Colouring("z", np.array([0.5, np.nan, 0.5, 0.5]), (0.0, 1.0))
    picture = draw(
        [2.05, 4.05, 6.05, 8.05],
        [5.05] * 4,
        shown=[True, True, True, False],
        chosen=[True, True, False, True],
        colouring=numbers,
    )
    assert len(set(picture[50, 20, :3])) > 1
    for column in (40, 60):
        assert len(set(picture[50, column, :3])) == 1
        assert picture[50, column, 3] == 255
    assert picture[50, 80, 3] == 0


def test_points_without_a_place_are_not_drawn():
    assert not draw([np.nan, 2], [1, np.nan]).any()
    assert not draw([], []).any()


def test_limits_hold_all_that_is_shown():
    x, y = np.array([0, 5, 100, np.nan]), np.array([1, 2, 3, 4.0])
    low_x, high_x, low_y, high_y = limits(x, y, np.array([True, True, False, True]))
    assert low_x < 0 < 5 < high_x < 6
    assert low_y < 1 < 2 < high_y < 3
    assert limits(x[:1], y[:1], np.array([True])) == (-0.5, 0.5, 0.5, 1.5)
    assert limits(x, y, np.zeros(4, bool)) == (-1, 1, -1, 1)


@pytest.mark.parametrize("dtype", [float, np.float32, int])
def test_limits_of_colours_leave_outliers_out(dtype):
    values = np.arange(101).astype(dtype)
    values[-1] = 10_000
    assert Colouring.of("x", Column(values)).limits == (2, 98)


def test_masked_numbers_are_unknown():
    column = MaskedColumn([1, 2, 3], mask=[False, True, False])
    np.testing.assert_array_equal(Colouring.of("x", column).values, [1, np.nan, 3])


def test_same_numbers_everywhere():
    assert Colouring.of("x", Column([4.0, 4.0])).limits == (4, 4)
    assert Colouring.of("x", Column([np.nan, np.nan])).limits == (0, 1)


def test_many_classes_share_the_last_colour():
    names = [f"kind {i}" for i in range(20) for _ in range(20 - i)]
    found = Colouring.of("kind", Column(names))
    assert len(found.classes) == len(CLASS_COLOURS)
    assert found.classes[:2] == ("kind 0", "kind 1")
    assert found.classes[-1] == "14 others"
    assert found.values[names.index("kind 19")] == len(found.classes) - 1


def test_truths_are_classes_and_unknown_ones_none():
    column = MaskedColumn([True, False, True], mask=[False, False, True])
    found = Colouring.of("quiescent", column)
    assert found.classes == ("False", "True")
    assert found.values.tolist() == [1, 0, -1]
