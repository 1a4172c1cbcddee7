"""The drawn population: samples, mixtures and star-formation histories."""

from itertools import pairwise

import numpy as np
import pytest

from astroclip_astro.simulate import population
from astroclip_astro.simulate.population import SAMPLES, draw_galaxy, draw_sample


def draw(n, sample):
    return [draw_galaxy(np.random.default_rng([7, i]), sample) for i in range(n)]


def test_same_generator_same_galaxy():
    first, second = (draw_galaxy(np.random.default_rng(3), "bgs") for _ in range(2))
    assert first == second
    assert first != draw_galaxy(np.random.default_rng(4), "bgs")


def test_samples_are_drawn_in_their_shares():
    rng = np.random.default_rng(0)
    drawn = np.array([draw_sample(rng) for _ in range(4000)])
    shares = {"nearby": 0.10, "sdss-main": 0.20, "bgs": 0.25, "faint": 0.25, "lrg": 0.20}
    assert set(SAMPLES) == set(shares)
    for sample, share in shares.items():
        assert np.mean(drawn == sample) == pytest.approx(share, abs=0.03)


def test_values_are_physical():
    for galaxy in draw(400, "faint") + draw(200, "nearby"):
        age_of_universe = population.COSMOLOGY.age(galaxy.redshift).value
        assert population.REDSHIFT_RANGE[0] <= galaxy.redshift <= population.REDSHIFT_RANGE[1]
        assert 0 < galaxy.start_age < age_of_universe
        assert galaxy.tau > 0
        assert 0 <= galaxy.bulge_to_total < 1
        assert 0.1 <= galaxy.disc_axis_ratio <= 1
        assert 0 <= galaxy.a_v <= 3
        assert galaxy.r_half > 0
        assert galaxy.knot_fraction + galaxy.arm_fraction + galaxy.bar_fraction < 1
        assert 0 < galaxy.episode_ages[0] + galaxy.episode_ages[1] < 2


def test_fainter_samples_reach_farther_and_massive_galaxies_are_quiescent():
    bright, faint = draw(500, "nearby"), draw(500, "faint")
    assert np.median([g.redshift for g in faint]) > 2 * np.median([g.redshift for g in bright])

    massive = [g.quiescent for g in faint if g.log_mass > 11]
    light = [g.quiescent for g in faint if g.log_mass < 10]
    assert np.mean(massive) > 0.7 > 0.35 > np.mean(light)


def test_luminous_red_galaxies_are_quiescent_and_far():
    red = draw(300, "lrg")
    assert all(g.quiescent for g in red)
    assert min(g.redshift for g in red) >= 0.35
    assert 0.6 < max(g.redshift for g in red) <= 0.8


def test_only_star_forming_discs_have_arms_and_only_spirals_have_bars():
    drawn = draw(2000, "bgs")
    quiescent = [g for g in drawn if g.quiescent]
    assert not any(g.n_arms or g.bar_fraction or g.arm_fraction for g in quiescent)
    massive = [g for g in drawn if not g.quiescent and g.log_mass > 10.3]
    spirals = [g for g in drawn if g.n_arms]
    assert np.mean([g.n_arms > 0 for g in massive]) == pytest.approx(0.73, abs=0.06)
    assert {g.n_arms for g in spirals} == {1, 2, 3, 4}
    assert np.mean([g.n_arms == 2 for g in spirals]) == pytest.approx(0.55, abs=0.08)
    assert not any(g.bar_fraction for g in drawn if not g.n_arms)
    assert np.mean([g.bar_fraction > 0 for g in spirals]) == pytest.approx(0.4, abs=0.08)
    assert all(8 <= g.arm_pitch <= 35 and 0.08 <= g.arm_fraction <= 0.35 for g in spirals)
    # Arms are wound more tightly around larger bulges.
    bulge, pitch = np.transpose([(g.bulge_to_total, g.arm_pitch) for g in spirals])
    assert np.corrcoef(bulge, pitch)[0, 1] < -0.3


def test_mass_follows_the_mass_function_in_a_thin_shell():
    # In one redshift cell and above the limit the drawn masses must follow the mass function.
    faint = draw(6000, "faint")
    masses = np.array([g.log_mass for g in faint if g.redshift < 0.12 and g.log_mass > 9.8])
    edges = np.array([9.8, 10.2, 10.6, 11.0, 11.4])
    found = np.histogram(masses, edges)[0]
    fine = np.linspace(9.8, 11.4, 1601)
    density = population.stellar_mass_function(fine)
    expected = np.array([density[(fine >= a) & (fine < b)].sum() for a, b in pairwise(edges)])
    expected *= found.sum() / expected.sum()
    assert (np.abs(found - expected) < 4 * np.sqrt(expected)).all()


def test_delayed_history_ends_with_the_rate_asked_for():
    for log_ssfr in (-9.0, -10.0, -11.5, -13.0):
        start_age, tau = population._delayed_history(8.0, log_ssfr)
        t = np.linspace(0, start_age, 400_001)
        rate = t * np.exp(-t / tau)
        per_formed_mass = rate[-1] / np.trapezoid(rate, t) / 1e9
        wanted = log_ssfr + np.log10(population.SURVIVING_FRACTION)
        assert np.log10(per_formed_mass) == pytest.approx(wanted, abs=0.02)
        assert start_age <= 8.0


def test_discs_are_seen_from_random_directions():
    # Uniform in the cosine c of inclination, q^2 = c^2 + t^2 (1 - c^2) with thickness t = 0.22:
    # q > 0.6 where c > 0.572.
    ratios = [g.disc_axis_ratio for g in draw(1500, "bgs")]
    assert np.mean(np.array(ratios) > 0.6) == pytest.approx(1 - 0.572, abs=0.04)
