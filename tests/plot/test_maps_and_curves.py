"""Maps of embeddings, and recall curves."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from matplotlib import colormaps
from matplotlib.figure import Figure

from astroclip_astro.errors import InputError
from astroclip_astro.plot import embedding_map, recall_curves
from astroclip_astro.plot.style import COLOUR_MAP, COLOURS


@pytest.fixture(scope="module")
def groups():
    """Vectors of two groups."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(30, 4)) + 20, rng.normal(size=(30, 4)) - 20])


def test_map_keeps_neighbours_together(groups):
    z = np.repeat([0.1, 0.9], 30)
    z[3] = np.nan
    left, right = embedding_map(groups, {"redshift": z, "log_mass": np.full(60, np.nan)})
    assert [len(points.get_offsets()) for points in right.collections] == [60]
    assert right.get_title() == r"grey: $\log_{10}(M_\star / M_\odot)$ not known"
    grey, coloured = left.collections[:2]
    assert len(grey.get_offsets()) == 1
    assert len(coloured.get_offsets()) == 59
    xy, colour = np.asarray(coloured.get_offsets()), coloured.get_array()
    low, high = xy[colour < 0.5], xy[colour > 0.5]
    between = np.linalg.norm(low.mean(0) - high.mean(0))
    spread = max(np.linalg.norm(one - one.mean(0), axis=1).max() for one in (low, high))
    assert between > spread


def test_map_names_units_and_says_what_it_leaves_out(groups):
    vectors = groups[::2].copy()
    vectors[4] = np.nan
    table = QTable({"age": np.arange(30.0) * u.Myr})
    (ax,) = embedding_map(vectors, table, title="mini")
    assert len(ax.collections[1].get_offsets()) == 29
    assert 4 not in ax.collections[1].get_array()
    assert ax.figure.axes[1].get_ylabel() == "age [Myr]"
    assert ax.figure.get_suptitle() == "mini\n1 objects without a vector are not shown"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP 1", "UMAP 2")


@pytest.mark.parametrize(
    ("vectors", "values", "match"),
    [
        (np.ones((3, 2)), {"z": np.ones(3)}, "at least 4"),
        (np.full((9, 2), np.nan), {"z": np.ones(9)}, "0 without NaN"),
        (np.ones(9), {"z": np.ones(9)}, r"expected \(n, feature\)"),
        (np.ones((9, 2)), {}, "values is empty"),
        (np.ones((9, 2)), {"z": np.ones(8)}, "8 values of z for 9 vectors"),
        (np.ones((9, 2)), {"kind": ["star"] * 9}, "expected numbers"),
    ],
)
def test_maps_of_what_makes_no_sense(vectors, values, match):
    with pytest.raises(InputError, match=match):
        embedding_map(vectors, values)


def test_recall_is_the_share_found_by_then():
    figure = Figure()
    ranks = {"image → spectrum": (np.array([1, 2, 7]), 10), "back": (np.array([3, 3, 3]), 20)}
    ax = recall_curves(ranks, figure.add_subplot(), title="it")
    assert ax.figure is figure
    one, two, chance, less = ax.lines
    np.testing.assert_allclose(one.get_ydata(), np.repeat([1, 2, 3], [1, 5, 4]) / 3)
    np.testing.assert_allclose(two.get_ydata(), np.repeat([0, 1], [2, 18]))
    np.testing.assert_allclose(chance.get_ydata(), np.arange(1, 11) / 10)
    assert less.get_label() == "chance, pool of 20"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("results looked at", "recall")
    # Told apart by the line as well as by the colour.
    assert {line.get_linestyle() for line in (one, two, chance)} == {"-", "--", ":"}
    assert one.get_color() != two.get_color()


@pytest.mark.parametrize("ranks", [{}, {"a": ([], 3)}, {"a": ([0], 3)}, {"a": ([4], 3)}])
def test_ranks_that_make_no_sense(ranks):
    with pytest.raises(InputError, match=r"ranks (is empty|from 1 to 3)"):
        recall_curves(ranks)


def luminance(rgb):
    """Relative luminance of sRGB (IEC 61966-2-1)."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_the_colour_map_is_even_in_lightness():
    lightness = 116 * np.cbrt(luminance(colormaps[COLOUR_MAP](np.linspace(0, 1, 256))[:, :3])) - 16
    steps = np.diff(lightness)
    assert (steps > 0).all()
    assert steps.std() < 0.2 * steps.mean()


# Machado, Oliveira & Fernandes (2009, doi:10.1109/TVCG.2009.113), severity 1.0, of linear RGB.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


@pytest.mark.parametrize("kind", BLIND)
def test_colours_are_told_apart_by_the_colour_blind(kind):
    from matplotlib.colors import to_rgb

    rgb = np.array([to_rgb(colour) for colour in COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(BLIND[kind])).clip(0, 1)
    xyz = seen @ np.transpose(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(len(lab), 1)]
    assert apart.min() > 10  # CIE 1976; about 2.3 are just noticed
