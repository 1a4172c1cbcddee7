"""Arms, bars and knots measured back from their maps, and the numbers of the field."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from astroclip_astro.simulate.structure import arms_map, bar_map, field_map, knots_map

SIZE, SCALE = 152, 0.262
OFFSET = (np.arange(SIZE) - (SIZE - 1) / 2) * SCALE
X, Y = np.meshgrid(OFFSET, OFFSET)
RADIUS, AZIMUTH = np.hypot(X, Y), np.arctan2(Y, X)


@pytest.fixture
def disc(galaxy):
    """A face-on disc with its major axis along X, so that its azimuths are those of X and Y."""
    return replace(galaxy, disc_axis_ratio=1.0, position_angle=-90.0, bulge_to_total=0.0, n_arms=2)


def fourier(plane, order, ring):
    return (plane * np.exp(1j * order * AZIMUTH))[ring].sum() / plane[ring].sum()


def moments(plane):
    return np.array([[(plane * a * b).sum() for a in (X, Y)] for b in (X, Y)]) / plane.sum()


@pytest.mark.parametrize("n_arms", [1, 2, 3, 4])
def test_number_of_arms(disc, n_arms):
    plane = arms_map(replace(disc, n_arms=n_arms, arm_pitch=25.0), 4.0, 0.3, SIZE, SCALE)
    ring = (RADIUS > 4) & (RADIUS < 4.6)
    strength = [abs(fourier(plane, order, ring)) for order in range(1, 9)]
    assert 1 + np.argmax(strength) == n_arms
    assert max(strength) > 0.5


@pytest.mark.parametrize("pitch", [12.0, 20.0, 30.0])
@pytest.mark.parametrize("n_arms", [2, 3])
def test_arms_are_logarithmic_spirals_of_the_pitch_asked_for(disc, n_arms, pitch):
    plane = arms_map(replace(disc, n_arms=n_arms, arm_pitch=pitch), 4.0, 0.3, SIZE, SCALE)
    edges = np.geomspace(3.0, 16.0, 25)
    middle, phase = [], []
    for inner, outer in pairwise(edges):
        ring = (inner < RADIUS) & (outer > RADIUS)
        phase.append(np.angle(fourier(plane, n_arms, ring)))
        middle.append((plane * np.log(RADIUS))[ring].sum() / plane[ring].sum())
    # r = r0 exp(azimuth tan(pitch)), so that azimuth rises with ln r as 1 / tan(pitch).
    slope, _ = np.polyfit(middle, np.unwrap(phase) / n_arms, 1)
    assert np.degrees(np.arctan(1 / slope)) == pytest.approx(pitch, abs=0.3)
    straight = np.polyval(np.polyfit(middle, np.unwrap(phase), 1), middle)
    assert np.abs(np.unwrap(phase) - straight).max() < 0.15


def test_arms_have_the_profile_of_the_disc_outside_its_centre(disc):
    plane = arms_map(disc, 3.0, 0.0, SIZE, SCALE)
    rings = [(r < RADIUS) & (r + 1 > RADIUS) for r in (5, 11)]
    inner, outer = (plane[ring].mean() for ring in rings)
    assert inner / outer == pytest.approx(np.exp((11 - 5) / 3.0), rel=0.05)
    assert plane[RADIUS < 1].mean() < 0.2 * plane[(RADIUS > 2.5) & (RADIUS < 3.5)].mean()


@pytest.mark.parametrize("position_angle", [0.0, 35.0, 120.0])
def test_arms_lie_in_the_plane_of_the_disc(disc, position_angle):
    # Three arms have no quadrupole of their own: seen inclined, the second moments are the disc's.
    tilted = replace(disc, n_arms=3, disc_axis_ratio=0.4, position_angle=position_angle)
    values, vectors = np.linalg.eigh(moments(arms_map(tilted, 2.0, 0.7, SIZE, SCALE)))
    assert np.sqrt(values[0] / values[1]) == pytest.approx(0.4, abs=0.01)
    # North is up and east left: from Y towards -X.
    angle = np.degrees(np.arctan2(-vectors[0, 1], vectors[1, 1]))
    assert (angle - position_angle + 90) % 180 - 90 == pytest.approx(0, abs=1)


def test_bar_has_the_shape_asked_for_and_the_arms_start_at_its_ends(disc):
    plane = bar_map(disc, 5.0, 0.4, SIZE, SCALE)
    values, vectors = np.linalg.eigh(moments(plane))
    assert np.sqrt(values[1]) == pytest.approx(0.45 * 5.0, rel=0.01)
    assert np.sqrt(values[0]) == pytest.approx(0.15 * 5.0, rel=0.01)
    bar = np.arctan2(vectors[1, 1], vectors[0, 1])
    ring = np.abs(RADIUS - 0.8 * 5.0) < SCALE
    arms = np.angle(fourier(arms_map(disc, 5.0, 0.4, SIZE, SCALE), 2, ring)) / 2
    assert (arms - bar + np.pi / 2) % np.pi - np.pi / 2 == pytest.approx(0, abs=0.05)


def test_bar_lies_in_the_plane_of_the_disc(disc):
    face_on = moments(bar_map(disc, 5.0, 0.4, SIZE, SCALE))
    ratio, position_angle = 0.5, 35.0
    tilted = replace(disc, disc_axis_ratio=ratio, position_angle=position_angle)
    turn = np.radians(90 + position_angle)
    project = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(
        [1, ratio]
    )
    found = moments(bar_map(tilted, 5.0, 0.4, SIZE, SCALE))
    np.testing.assert_allclose(found, project @ face_on @ project.T, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("n_arms", [0, 2, 3])
def test_knots_follow_the_arms_where_there_are_any(disc, n_arms):
    knotty = replace(disc, n_arms=n_arms, arm_pitch=20.0, n_knots=3000)
    plane = knots_map(knotty, 3.0, 0.3, SIZE, SCALE, np.random.default_rng(0))
    # Turned back along the spiral, the knots gather at the phases of the arms.
    phase = np.log(RADIUS / 3.0) / np.tan(np.radians(20.0)) + 0.3
    ring = (RADIUS > 1.5) & (RADIUS < 12)
    weight = plane[ring] / plane[ring].sum()
    order = n_arms or 2
    gathered = (weight * np.exp(1j * order * (AZIMUTH - phase)[ring])).sum()
    # Gaussian scatter of 0.25 rad leaves exp(-(order 0.25)^2 / 2) of the amplitude.
    expected = np.exp(-((order * 0.25) ** 2) / 2) if n_arms else 0
    assert gathered.real == pytest.approx(expected, abs=0.08)
    assert gathered.imag == pytest.approx(0, abs=0.08)


def test_knots_are_spread_as_the_disc(disc):
    tilted = replace(disc, n_arms=0, n_knots=20_000, disc_axis_ratio=0.4, position_angle=35.0)
    plane = knots_map(tilted, 2.0, 0.0, SIZE, SCALE, np.random.default_rng(0))
    values, vectors = np.linalg.eigh(moments(plane))
    assert np.sqrt(values[0] / values[1]) == pytest.approx(0.4, abs=0.02)
    angle = np.degrees(np.arctan2(-vectors[0, 1], vectors[1, 1]))
    assert (angle - 35 + 90) % 180 - 90 == pytest.approx(0, abs=2)
    # <x^2> along the major axis of an exponential disc is 3 scale lengths squared, a little less
    # for the cut at 4.5 scale lengths.
    assert 0.8 < values[1] / (3 * 2.0**2) < 1.0


def test_every_map_holds_all_of_its_light(disc):
    rng = np.random.default_rng(0)
    for ratio in (1.0, 0.3):
        galaxy = replace(disc, disc_axis_ratio=ratio, position_angle=20.0, n_knots=30)
        for scale_length in (0.3, 2.0, 4.0):
            where = (galaxy, scale_length, 0.3, SIZE, SCALE)
            for plane in (arms_map(*where), bar_map(*where), knots_map(*where, rng)):
                assert plane.shape == (SIZE, SIZE)
                assert (plane >= 0).all()
                assert plane.sum() == pytest.approx(1, abs=1e-9)
    huge = knots_map(galaxy, 30.0, 0.3, SIZE, SCALE, rng)
    assert 0 < huge.sum() < 1


def test_same_generator_same_field():
    first, second = (field_map(np.random.default_rng(3), SIZE, SCALE) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


def counts(magnitude):
    """Galaxies and stars per square degree between r = 16 and a magnitude, as documented."""
    galaxies = 1200 * (10 ** (0.4 * (magnitude - 19)) - 10 ** (0.4 * (16 - 19)))
    stars = 2000 * (10 ** (0.12 * (magnitude - 20)) - 10 ** (0.12 * (16 - 20)))
    return galaxies + stars


def test_numbers_of_neighbours():
    rng = np.random.default_rng(0)
    found = [field_map(rng, 152, 0.262)[1] for _ in range(400)]
    side = 152 * 0.262
    expected = counts(23) * (side**2 - np.pi * 2.5**2) / 3600**2
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.sqrt(expected / 400))
    assert np.var(found) == pytest.approx(expected, rel=0.3)  # Poisson


def test_magnitudes_and_distances_of_neighbours():
    # Lone neighbours in small fields can be measured: by the brightest pixel and by the sum.
    size = 40
    rng = np.random.default_rng(0)
    offset = (np.arange(size) - (size - 1) / 2) * SCALE
    distance, magnitude, colour = [], [], []
    for _ in range(4000):
        flux, n = field_map(rng, size, SCALE)
        row, column = np.unravel_index(flux[1].argmax(), flux[1].shape)
        if n == 1:
            distance.append(np.hypot(offset[row], offset[column]))
            if min(row, column, size - 1 - row, size - 1 - column) > 4:
                g, r, z = 22.5 - 2.5 * np.log10(flux.sum((1, 2)))
                magnitude.append(r)
                colour.append((g - r, r - z))
    assert len(magnitude) > 400
    assert min(distance) > 2.5 - SCALE
    assert np.mean(np.array(distance) < 3) > 0.02
    magnitude = np.array(magnitude)
    assert magnitude.min() > 16
    for limit in (21.0, 22.0):
        share = counts(limit) / counts(23)
        error = np.sqrt(share / len(magnitude))
        assert np.mean(magnitude < limit) == pytest.approx(share, abs=4 * error + 0.01)
    g_r, r_z = np.transpose(colour)
    assert np.mean(g_r) == pytest.approx(0.8, abs=0.06)
    assert np.corrcoef(g_r, r_z)[0, 1] > 0.5
