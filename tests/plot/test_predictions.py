"""Predictions against the truth, and whether their uncertainties hold."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from astropy.utils.masked import Masked
from matplotlib.figure import Figure
from scipy.stats import norm

from astroclip_astro.errors import InputError
from astroclip_astro.plot import pit_and_coverage, predicted_against_true
from astroclip_astro.plot.style import BLUE
from astroclip_astro.tasks import LinearHead
from astroclip_astro.tasks.calibration import CalibrationReport


def test_points_are_the_pairs_in_the_unit_of_the_truth():
    age = np.linspace(1, 10, 9) * u.Gyr
    figure = Figure()
    axes = predicted_against_true({"age": (age, 1.1 * age.to(u.Myr))}, title="it", figure=figure)
    above, below = axes[:, 0]
    np.testing.assert_allclose(
        above.collections[0].get_offsets(), np.stack([age.value, 1.1 * age.value], 1)
    )
    np.testing.assert_allclose(
        below.collections[0].get_offsets(), np.stack([age.value, 0.1 * age.value], 1)
    )
    assert above.get_ylabel() == "predicted age [Gyr]"
    assert below.get_xlabel() == "true age [Gyr]"
    assert below.get_ylabel() == "difference [Gyr]"
    assert above.figure is figure
    assert figure.get_suptitle() == "it"


def test_what_is_not_known_is_left_out_and_said():
    z, nothing = np.linspace(0, 1, 9), np.full(9, np.nan)
    masked = Masked(z * u.Gyr, mask=z > 0.5)
    axes = predicted_against_true({"z": (z, z), "age": (z, nothing), "t": (masked, z * u.Gyr)})
    assert [len(ax.collections) for ax in axes[0]] == [1, 0, 1]
    assert [text.get_text() for text in axes[0, 1].texts] == ["not known"]
    assert axes[1, 1].get_xlabel() == "true age [Gyr]"
    assert len(axes[0, 2].collections[0].get_offsets()) == 5


@pytest.mark.parametrize(
    ("predictions", "match"),
    [
        ({}, "is empty"),
        ({"age": ([1, 2], [1])}, "age: 2 true and 1 predicted"),
        ({"age": ([1] * u.Gyr, [1])}, "predicted age is in no unit, expected Gyr"),
        ({"age": ([1] * u.Gyr, [1] * u.km)}, "predicted age is in km, expected Gyr"),
        ({"age": (["old"], [1])}, "true age holds"),
        ({"age": ([[1]], [1])}, "one number for each object"),
    ],
)
def test_predictions_that_make_no_sense(predictions, match):
    with pytest.raises(InputError, match=match):
        predicted_against_true(predictions)


def report(pit, name="age", unit="Gyr"):
    pit = np.asarray(pit, float)[:, None]
    return CalibrationReport([name], [unit], pit, pit, pit, pit)


def test_pit_and_coverage_of_intervals_too_narrow():
    # Normal errors stated half as large as they are.
    pit = norm.cdf(2 * norm.ppf((np.arange(1000) + 0.5) / 1000))
    ((left, right),) = pit_and_coverage(report(pit))
    heights = [bar.get_height() for bar in left.patches[:20]]
    np.testing.assert_array_equal(heights, np.histogram(pit, 20, (0, 1))[0])
    levels, covered = right.lines[0].get_data()
    expected = 2 * norm.cdf(norm.ppf((1 + levels[1:-1]) / 2) / 2) - 1
    np.testing.assert_allclose(covered[1:-1], expected, atol=0.002)
    assert (left.get_xlabel(), left.get_ylabel()) == ("PIT", "objects")
    assert right.get_xlabel() == "stated probability"
    assert left.get_title() == "age"
    assert right.lines[0].get_color() == BLUE


def test_the_band_holds_an_even_histogram():
    ((left, _),) = pit_and_coverage(report((np.arange(1000) + 0.5) / 1000))
    band = left.patches[-1].get_extents().transformed(left.transData.inverted())
    assert band.y0 < 1000 / 20 < band.y1


def test_a_report_draws_the_same():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = QTable({"age": x[:, 0] * u.Gyr, "redshift": x[:, 1]})
    axes = LinearHead().fit(x[:100], y[:100]).report(x[100:], y[100:]).plot()
    assert axes.shape == (2, 2)
    assert [ax.get_title() for ax in axes[:, 0]] == ["age", "redshift"]


@pytest.mark.parametrize("pit", [[], [0.5, np.nan]])
def test_no_pit_no_figure(pit):
    with pytest.raises(InputError, match="is not known"):
        pit_and_coverage(report(pit))
