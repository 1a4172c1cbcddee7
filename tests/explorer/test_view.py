"""Views survive being written into a link, and links of others are read with care."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroclip_astro.errors import InputError
from astroclip_astro.explorer.view import Dropped, View

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


@given(name=names, where=names, colour=names, fixed=st.booleans())
def test_whatever_is_typed_comes_back(name, where, colour, fixed):
    view = View(map="image", object=name, where=where, colour=colour, fixed=fixed)
    assert View.parse(view.query) == view
    assert View.parse(f"?{view.query}") == view
    assert view.query.isascii()


@pytest.mark.parametrize("redshift", [0.25, math.nan])
def test_vector_comes_back_as_float16_has_it(redshift):
    vector = np.random.default_rng(0).normal(size=128).astype(np.float16).astype(float)
    dropped = Dropped("image", tuple(vector), redshift)
    found = View.parse(View(dropped=dropped).query).dropped
    assert found.vector == dropped.vector
    assert found.modality == "image"
    np.testing.assert_equal(found.redshift, redshift)


def test_outline_and_window_come_back():
    view = View(window=(-1.5, 2, 0.25, 3)).within([0, 1, 1, 0], [0, 0, 1, 1])
    assert view.outline == ((0, 0), (1, 0), (1, 1), (0, 1))
    assert View.parse(view.query) == view


def test_a_small_part_of_the_map_comes_back():
    view = View(window=(12.3451, 12.34515, -3.00001, -3))
    np.testing.assert_allclose(View.parse(view.query).window, view.window, rtol=1e-11)
    corners = np.float32([12.3451, 12.34515, 12.3452]), np.float32([3, 3, 3.00001])
    view = View().within(*corners)
    np.testing.assert_array_equal(np.float32(View.parse(view.query).outline).T, corners)


def test_a_long_outline_keeps_its_shape():
    angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    view = View().within(np.cos(angle), np.sin(angle))
    assert 3 <= len(view.outline) <= 64
    x, y = np.array(view.outline).T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert area == pytest.approx(np.pi, rel=0.01)
    np.testing.assert_allclose(View.parse(view.query).outline, view.outline, atol=1e-3)


def test_two_corners_are_no_outline():
    assert View(outline=((0, 0), (1, 0), (1, 1))).within([0, 1], [0, 1]).outline == ()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("window=1 2 3", "window"),
        ("window=1 2 3 nan", "window"),
        ("window=2 1 0 1", "nothing to be seen"),
        ("outline=0,0 1,1", "corners"),
        ("outline=0,0 1,1 1", "outline"),
        ("outline=" + " ".join(["0,0"] * 65), "corners"),
        ("dropped=image", "damaged"),
        ("dropped=image 0.1 !!!", "damaged"),
        ("dropped=image 0.1 AAA=", "without a direction"),
        ("dropped=image x AAAA", "damaged"),
        ("dropped=image 0.1 AHw=", "without a direction"),  # infinite
        ("object=" + "x" * 20_000, "characters"),
    ],
)
def test_damaged_links_are_refused(query, said):
    with pytest.raises(InputError, match=said):
        View.parse(query)


def test_strange_parameters_are_ignored():
    assert View.parse("object=a&theme=dark&_view=1") == View(object="a")


def test_nothing_is_no_query():
    assert View().query == ""
    assert View.parse("") == View()
    assert replace(View(), fixed=True).query == "fixed=1"
