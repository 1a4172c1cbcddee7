"""The figure of attention and occlusion."""

from itertools import pairwise

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from specutils import Spectrum
from specutils.utils.wcs_utils import air_to_vac

import astroclip_astro as aa
from astroclip_astro import tasks
from astroclip_astro.errors import InputError
from astroclip_astro.plot import LINES, plot_explanation
from astroclip_astro.tasks import LinearHead, attention, occlusion

GRID = 3600 + 0.8 * np.arange(7781)


@pytest.fixture(scope="module")
def explained(survey):
    """A mock spectrum and a mock cutout, with their attention and occlusion."""
    objects = {"spectrum": survey.spectrum(3), "image": survey.cutout(3)}
    return {name: (one, attention(one), occlusion(one)) for name, one in objects.items()}


@pytest.fixture(scope="module")
def age_head(survey):
    vectors = aa.embed([survey.spectrum(i) for i in range(len(survey))], progress=False)
    return LinearHead().fit(vectors, QTable({"age": survey.truth["age"]}))


def test_the_name_among_the_tasks_is_the_same_function():
    assert tasks.plot_explanation is plot_explanation


def test_lines_are_at_their_wavelengths_in_vacuum():
    # Wavelengths in air of the NIST Atomic Spectra Database, and what they are in vacuum.
    air = {
        "Ca K": 3933.66, "Ca H": 3968.47, "Hδ": 4101.73, "Hγ": 4340.46, "Hβ": 4861.32,
        "[O III]": 5006.84, "Hα": 6562.79, "[N II]": 6583.45, "[S II]": 6730.82,
    }  # fmt: skip
    found = dict(LINES)  # of two lines, the latter
    for name, wavelength in air.items():
        expected = air_to_vac(wavelength * u.AA).value
        np.testing.assert_allclose(found[name], expected, atol=0.05)
    oxygen = air_to_vac([3726.03, 3728.82] * u.AA).value.mean()
    np.testing.assert_allclose(found["[O II]"], oxygen, atol=0.05)


def assert_nothing_is_cut_off(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height


def labels(figure):
    return [text for text in figure.axes[0].texts if text.get_rotation() == 90]


@pytest.mark.parametrize("redshift", [None, 0.01, 0.35, 0.75])
def test_lines_are_marked_at_the_redshift_and_their_names_do_not_overlap(explained, redshift):
    axes = plot_explanation(*explained["spectrum"], redshift=redshift)
    figure = axes[0].figure
    z = explained["spectrum"][0].meta["redshift"] if redshift is None else redshift
    observed = [(name, rest * (1 + z)) for name, rest in LINES]
    expected = [(name, w) for name, w in observed if GRID[0] < w < GRID[-1]]
    assert [text.get_text() for text in labels(figure)] == [name for name, _ in expected]
    wavelengths = [wavelength for _, wavelength in expected]
    np.testing.assert_allclose([text.xy[0] for text in labels(figure)], wavelengths)
    for ax in axes:
        marked = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"]
        np.testing.assert_allclose(marked, wavelengths)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # Of the text alone: that of an annotation includes its arrow.
    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in labels(figure)]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    title = figure._suptitle.get_window_extent(canvas.get_renderer())
    assert all(box.y1 < title.y0 and box.y0 > figure.axes[0].bbox.y1 for box in boxes)
    assert_nothing_is_cut_off(figure)


def test_no_line_is_marked_where_no_redshift_is_known():
    flux = np.sin(GRID / 100) * u.Unit("1e-17 erg / (s cm2 Angstrom)")
    one = Spectrum(spectral_axis=GRID * u.AA, flux=flux, meta={"object_id": "it"})
    axes = plot_explanation(one, attention(one), occlusion(one))
    assert labels(axes[0].figure) == []
    assert axes[0].figure.get_suptitle() == "it"


def test_figure_of_a_spectrum_shows_both_with_units(explained, age_head):
    one, weights, _ = explained["spectrum"]
    axes = plot_explanation(one, weights, occlusion(one, head=age_head))
    above, middle, below = axes
    assert below.get_xlabel() == "Observed wavelength in vacuum [Å]"
    assert "erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$" in above.get_ylabel()
    assert middle.get_ylabel() == "Attention\n(mean of 4 heads)"
    assert below.get_ylabel() == "Occlusion\nchange of age [Gyr]"
    drawn = middle.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose(drawn.max(), weights.mean("head").max())


def test_figure_of_an_image_puts_maps_beside_the_picture(explained):
    axes = plot_explanation(*explained["image"])
    picture, middle, right = axes
    _, weights, change = explained["image"]
    for ax, expected in ((middle, weights.mean("head")), (right, change)):
        np.testing.assert_allclose(ax.images[0].get_array(), expected)
    half = 96 * 0.262 / 2
    for ax in axes:
        np.testing.assert_allclose(ax.images[0].get_extent(), [half, -half, -half, half])
        assert ax.images[0].origin == "lower"
    assert picture.images[0].get_array().shape == (96, 96, 3)


def test_figures_of_predictions_fit_on_the_page(explained, survey, age_head):
    vectors = aa.embed([survey.cutout(i) for i in range(len(survey))], progress=False)
    image_head = LinearHead().fit(vectors, QTable({"age": survey.truth["age"]}))
    for name, head in (("spectrum", age_head), ("image", image_head)):
        one, weights, _ = explained[name]
        change = occlusion(one, head=head)
        axes = plot_explanation(one, weights, change)
        assert_nothing_is_cut_off(axes[0].figure)
        text = f"nothing occluded: {change.attrs['median']:.2f} ± {change.attrs['half_width']:.1f}"
        right = axes[2]
        shown = [t.get_text() for t in right.texts] + [right.get_title(loc="right")]
        assert any(one.startswith(text) and one.endswith("Gyr") for one in shown)


def test_figure_refuses_arrays_of_something_else(explained, survey):
    one, weights, change = explained["spectrum"]
    with pytest.raises(InputError, match="what was given as attention"):
        plot_explanation(one, change, weights)
    with pytest.raises(InputError, match="pass the same object and model"):
        plot_explanation(survey.spectrum(4), weights, change)
