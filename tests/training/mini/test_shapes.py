"""Shapes of pictures: against products of Gaussians, and whichever way the picture is turned."""

import numpy as np
import pytest
import torch

from astroclip_astro.training.mini.shapes import APERTURES, shapes

PER_APERTURE = 8  # before the turns
Y, X = np.mgrid[:96, :96] - 47.5


def picture(plane, colours=(0.5, 1.0, 2.0)):
    planes = [colour * plane for colour in colours]
    return torch.from_numpy(np.stack(planes)[None].astype(np.float32))


def by_aperture(found):
    starts = [max(0, PER_APERTURE + (PER_APERTURE + 1) * (i - 1)) for i in range(len(APERTURES))]
    return [found[start : start + PER_APERTURE].tolist() for start in starts]


def test_sizes_and_ellipticities_are_those_of_a_product_of_gaussians():
    wide, narrow, angle = 6.0, 3.0, 0.4
    along, across = X * np.cos(angle) + Y * np.sin(angle), Y * np.cos(angle) - X * np.sin(angle)
    plane = np.exp(-0.5 * ((along / wide) ** 2 + (across / narrow) ** 2))
    found = by_aperture(shapes(picture(plane))[0])
    for aperture, (r, g_r, r_z, size, ellipticity, *_) in zip(APERTURES, found, strict=True):
        a, b = (1 / (1 / s**2 + 1 / aperture**2) for s in (wide, narrow))
        assert r == pytest.approx(np.log10(2 * np.pi * np.sqrt(a * b)), abs=1e-3)
        assert g_r == pytest.approx(np.log10(0.5), abs=1e-5)
        assert r_z == pytest.approx(np.log10(0.5), abs=1e-5)
        assert size == pytest.approx(np.log10((a + b) / aperture**2), abs=1e-3)
        assert ellipticity == pytest.approx((a - b) / (a + b), abs=1e-3)


def test_angular_moments_are_the_amplitudes_of_waves():
    angle = np.arctan2(Y, X)
    plane = np.exp(-0.5 * (X**2 + Y**2) / 64) * (1 + 0.6 * np.cos(3 * (angle - 0.2)))
    for *_, two, three, _four in by_aperture(shapes(picture(plane))[0]):
        assert two == pytest.approx(0, abs=1e-3)
        assert three == pytest.approx(0.3, abs=3e-3)


def test_a_bar_does_not_turn_and_a_spiral_does():
    angle, radius = np.arctan2(Y, X), np.hypot(X, Y)
    disc = np.exp(-radius / 10)
    bar, spiral = (
        shapes(picture(disc * (1 + 0.5 * np.cos(2 * (angle - pitch * radius)))))[0]
        for pitch in (0, 0.25)
    )
    # From the last but one aperture to the last: the smaller ones suffer from the pixels.
    assert bar[-1] == pytest.approx(0.25, abs=0.01)
    assert spiral[-1] < 0.1


def test_turns_and_mirrors_change_nothing_and_what_is_dark_is_finite():
    galaxy = torch.from_numpy(np.random.default_rng(0).random((1, 3, 96, 96), dtype=np.float32))
    wanted = shapes(galaxy)
    for turn in range(4):
        turned = torch.rot90(galaxy, turn, (-2, -1))
        torch.testing.assert_close(shapes(turned), wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(shapes(turned.flip(-1)), wanted, atol=1e-4, rtol=0)
    assert torch.isfinite(shapes(torch.zeros(1, 3, 96, 96))).all()
