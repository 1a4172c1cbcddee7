"""Drawn galaxies and points measured back: flux, size, orientation, colours, PSF and noise."""

from dataclasses import replace

import astropy.units as u
import galsim
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from astroclip_astro.adapters.planes import tangent_wcs
from astroclip_astro.simulate import images
from astroclip_astro.simulate.images import (
    ObservingConditions,
    draw_image,
    draw_point,
    fibre_fractions,
    point_fractions,
)
from astroclip_astro.simulate.population import arcsec_per_kpc
from astroclip_astro.simulate.recipe import simulate_galaxy, simulate_image

FLUX = np.array([50.0, 100.0, 150.0])


def draw(galaxy, conditions):
    """The galaxy alone, without its surroundings."""
    return draw_image(galaxy, FLUX, conditions, np.random.default_rng(0))[0]


def test_total_flux_and_centre(galaxy, sharp):
    small = replace(galaxy, r_half=1.5)
    image = draw(small, sharp)
    np.testing.assert_allclose(image.sum(axis=(1, 2)), FLUX, rtol=5e-3)
    rows, columns = np.indices(image.shape[1:])
    for plane in image:
        assert (plane * rows).sum() / plane.sum() == pytest.approx(75.5, abs=0.02)
        assert (plane * columns).sum() / plane.sum() == pytest.approx(75.5, abs=0.02)


def half_light_radius(plane, ratio):
    """Along the rows, of ellipses of an axis ratio, arcsec."""
    offset = (np.arange(152) - 75.5) * images.PIXEL_SCALE
    along, across = np.meshgrid(offset, offset, indexing="ij")
    radius = np.hypot(along, across / ratio).ravel()
    order = np.argsort(radius)
    growth = np.cumsum(plane.ravel()[order]) / FLUX[1]
    return np.interp(0.5, growth, radius[order])


@pytest.mark.parametrize("bulge_to_total", [0.0, 0.4, 0.95])
def test_half_light_radius_along_the_major_axis(galaxy, bulge_to_total):
    crisp = ObservingConditions(seeing=np.full(3, 0.3), depth=np.full(3, 24.0))
    ratio = 0.6
    asked = replace(
        galaxy,
        bulge_to_total=bulge_to_total,
        disc_axis_ratio=ratio,
        bulge_axis_ratio=ratio,
        position_angle=0.0,
        r_half=3.0 / arcsec_per_kpc(galaxy.redshift),
    )
    measured = half_light_radius(draw(asked, crisp)[1], ratio)
    assert measured == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    "structure", [{"arm_fraction": 0.35}, {"arm_fraction": 0.08, "bar_fraction": 0.25}]
)
def test_arms_enlarge_the_half_light_radius_and_bars_lessen_it_within_bounds(galaxy, structure):
    crisp = ObservingConditions(seeing=np.full(3, 0.3), depth=np.full(3, 24.0))
    spiral = replace(
        galaxy,
        n_arms=2,
        bulge_to_total=0.1,
        disc_axis_ratio=0.6,
        position_angle=0.0,
        r_half=3.0 / arcsec_per_kpc(galaxy.redshift),
        **structure,
    )
    measured = half_light_radius(draw(spiral, crisp)[1], 0.6)
    assert measured == pytest.approx(3.0, rel=0.27)
    assert (measured > 3.0) == ("bar_fraction" not in structure)


@pytest.mark.parametrize("position_angle", [0.0, 30.0, 120.0])
def test_position_angle_on_the_sky(galaxy, sharp, position_angle):
    thin = replace(galaxy, bulge_to_total=0.0, position_angle=position_angle)
    plane = draw(thin, sharp)[1]
    row, column = (axis - 75.5 for axis in np.indices(plane.shape))
    moments = [[(plane * a * b).sum() for a in (column, row)] for b in (column, row)]
    dx, dy = np.linalg.eigh(moments)[1][:, 1] * 20  # pixels along the major axis
    wcs = tangent_wcs(SkyCoord("150d 40d"), images.PIXEL_SCALE, (152, 152))
    centre, end = (wcs.pixel_to_world(75.5 + k * dx, 75.5 + k * dy) for k in (0, 1))
    assert isinstance(centre, SkyCoord)
    angle = centre.position_angle(end).to_value(u.deg) % 180
    assert (angle - position_angle + 90) % 180 - 90 == pytest.approx(0, abs=0.5)


def test_bulge_is_redder_than_disc(galaxy, sharp):
    image = draw(replace(galaxy, bulge_size=0.2), sharp)
    core = image[:, 74:78, 74:78].sum(axis=(1, 2))
    ring = image[:, 70:82, 90:100].sum(axis=(1, 2))
    colour = -2.5 * np.log10(core[:-1] / core[1:]) + 2.5 * np.log10(ring[:-1] / ring[1:])
    assert (colour > 0.03).all()


def test_knots_add_structure_but_no_flux(galaxy, sharp):
    small = replace(galaxy, r_half=3.0)
    smooth = draw(small, sharp)
    knotty = draw(replace(small, n_knots=20, knot_fraction=0.3), sharp)
    np.testing.assert_allclose(knotty.sum(axis=(1, 2)), smooth.sum(axis=(1, 2)), rtol=0.01)
    assert np.abs(knotty - smooth).max() > 0.1 * smooth.max()


def test_seeing_of_a_point_source(galaxy):
    seeing = np.array([1.5, 1.2, 0.9])
    conditions = ObservingConditions(seeing=seeing, depth=np.full(3, 24.0))
    point = replace(galaxy, r_half=1e-6, bulge_to_total=0.0)  # drawn at the least size, 0.15"
    image = draw(point, conditions)
    offset = (np.arange(152) - 75.5) * images.PIXEL_SCALE
    for plane, fwhm in zip(image, seeing, strict=True):
        profile = plane[75:77].mean(axis=0)
        half = np.interp(-profile.max() / 2, -profile[76:], offset[76:])
        # The pixel and the disc of exponential scale 0.15" / 1.678 widen it, added in quadrature.
        widening = 2.355 * np.hypot(images.PIXEL_SCALE / np.sqrt(12), 0.15 / 1.678 * np.sqrt(3))
        assert 2 * half == pytest.approx(np.hypot(fwhm, widening), rel=0.07)


def test_fibre_fractions_of_gaussians():
    row, column = (axis - 75.5 for axis in np.indices((152, 152)))
    widths = np.array([8.0, 11.0, 14.0])  # pixels
    image = np.exp(-(row**2 + column**2) / (2 * widths[:, None, None] ** 2))
    radius = 0.75 / images.PIXEL_SCALE
    expected = 1 - np.exp(-(radius**2) / (2 * widths**2))
    found = fibre_fractions(image, 2 * np.pi * widths**2)
    np.testing.assert_allclose(found, expected, rtol=3e-3)


def test_points_in_the_fibre():
    conditions = ObservingConditions(seeing=np.array([0.8, 1.2, 2.2]), depth=np.full(3, 24.0))
    fine = 0.01  # arcsec
    for fwhm, found in zip(conditions.seeing, point_fractions(conditions), strict=True):
        psf = galsim.Moffat(beta=images.MOFFAT_BETA, fwhm=fwhm)
        stamp = psf.drawImage(nx=151, ny=151, scale=fine, method="no_pixel").array
        row, column = np.indices(stamp.shape) - 75
        assert stamp[np.hypot(row, column) * fine < 0.75].sum() == pytest.approx(found, rel=5e-3)


def test_fibre_is_redder_than_a_galaxy_with_a_red_bulge(galaxy, sharp):
    fractions = {
        share: fibre_fractions(draw(replace(galaxy, bulge_to_total=share), sharp), FLUX)
        for share in (0.0, 0.4)
    }
    # The same seeing in all bands: a disc alone has one colour everywhere.
    np.testing.assert_allclose(fractions[0.0] / fractions[0.0][1], 1, rtol=1e-4)
    g, r, z = fractions[0.4]
    assert -2.5 * np.log10(g / r) > 0.03
    assert -2.5 * np.log10(r / z) > 0.02


SPIRAL = {"n_arms": 2, "arm_fraction": 0.35, "bar_fraction": 0.2}
KNOTS = {"n_knots": 20, "knot_fraction": 0.3}


@pytest.mark.parametrize("bulge_to_total", [0.0, 0.5])
@pytest.mark.parametrize("structure", [SPIRAL, KNOTS, SPIRAL | KNOTS], ids=["arms", "knots", "all"])
def test_structure_moves_light_but_adds_none(galaxy, sharp, structure, bulge_to_total):
    smooth = replace(galaxy, r_half=3.0, bulge_to_total=bulge_to_total)
    plain, structured = (draw(g, sharp) for g in (smooth, replace(smooth, **structure)))
    np.testing.assert_allclose(structured.sum((1, 2)), plain.sum((1, 2)), rtol=0.01)
    np.testing.assert_allclose(structured.sum((1, 2)), FLUX, rtol=0.03)
    moved = np.abs(structured - plain).sum((1, 2)) / FLUX
    assert (moved > 0.05).all()
    assert structured.min() > -1e-4 * structured.max()


@pytest.mark.parametrize("share", ["arm_fraction", "bar_fraction"])
def test_structure_holds_the_share_of_the_light_asked_for(galaxy, sharp, share):
    spiral = replace(galaxy, n_arms=2)
    none, half, full = (draw(replace(spiral, **{share: f}), sharp)[1] for f in (0.0, 0.12, 0.24))
    # What is taken from the disc is what the structure has: the image is linear in the share.
    np.testing.assert_allclose(full - none, 2 * (half - none), atol=1e-4 * none.max())


def test_knots_are_blue_and_bars_red(galaxy, sharp):
    disc = replace(galaxy, bulge_to_total=0.0, disc_axis_ratio=1.0)
    knotty = draw(replace(disc, **KNOTS), sharp)
    barred = draw(replace(disc, n_arms=2, bar_fraction=0.25), sharp)
    colour = {
        name: -2.5 * np.log10(image[0] / image[1]) for name, image in (("k", knotty), ("b", barred))
    }
    bright = (knotty - draw(disc, sharp))[1]
    assert colour["k"][np.unravel_index(bright.argmax(), bright.shape)] < np.median(colour["k"])
    assert colour["b"][75:77, 75:77].mean() > np.median(colour["b"][70:82, 110:120]) + 0.05


@pytest.mark.parametrize("r_half", [0.6, 3.0, 9.0])
@pytest.mark.parametrize("bulge_to_total", [0.0, 0.9])
def test_accuracy_is_within_a_per_cent_of_galsims_own(galaxy, monkeypatch, r_half, bulge_to_total):
    conditions = ObservingConditions(seeing=np.array([1.6, 1.2, 0.9]), depth=np.full(3, 24.0))
    asked = replace(galaxy, r_half=r_half, bulge_to_total=bulge_to_total)
    fast = draw(asked, conditions)
    monkeypatch.setattr(images, "_accuracy", lambda galsim: galsim.GSParams())
    exact = draw(asked, conditions)
    assert (np.abs(fast - exact).max((1, 2)) < 0.01 * exact.max((1, 2))).all()
    assert (np.abs(fast - exact).sum((1, 2)) < 0.01 * FLUX).all()


def test_surroundings_are_kept_apart_from_the_galaxy(galaxy, sharp):
    seen = set()
    for seed in range(8):
        image, surroundings, n = draw_image(galaxy, FLUX, sharp, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, draw(galaxy, sharp))
        assert surroundings.shape == image.shape
        assert surroundings.dtype == image.dtype == np.float32
        assert (surroundings.sum((1, 2)) > 0).all() == (n > 0)
        seen.add(n)
    assert len(seen) > 2


def moffat(fwhm, oversampling=9):
    """Trujillo et al. (2001, MNRAS 328, 977), equation 2 with exponent 3, averaged over pixels."""
    n = 152 * oversampling
    offset = (np.arange(n) - (n - 1) / 2) * images.PIXEL_SCALE / oversampling
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
    profile = (1 + (offset**2 + offset[:, None] ** 2) / alpha**2) ** -3.0
    pixels = profile.reshape(152, oversampling, 152, oversampling).mean((1, 3))
    return pixels * 2 / (np.pi * alpha**2) * images.PIXEL_SCALE**2


def test_points_have_the_flux_and_the_shape_of_the_psf():
    seeing = np.array([1.5, 1.2, 0.9])
    conditions = ObservingConditions(seeing=seeing, depth=np.full(3, 24.0))
    image, _, _ = draw_point(FLUX, conditions, np.random.default_rng(0))
    np.testing.assert_allclose(image.sum((1, 2)), FLUX, rtol=5e-3)
    for plane, flux, fwhm in zip(image, FLUX, seeing, strict=True):
        expected = flux * moffat(fwhm)
        assert np.abs(plane - expected).max() < 0.01 * expected.max()


def test_pixel_noise_gives_the_depth():
    import galsim

    conditions = ObservingConditions(
        seeing=np.array([1.3, 1.2, 1.1]), depth=np.array([24.7, 23.9, 23.0])
    )
    for fwhm, depth, sigma in zip(
        conditions.seeing, conditions.depth, images.pixel_sigma(conditions), strict=True
    ):
        psf = galsim.Moffat(beta=images.MOFFAT_BETA, fwhm=fwhm)
        p = psf.drawImage(nx=101, ny=101, scale=images.PIXEL_SCALE, dtype=float).array
        detected = 5 * sigma / np.sqrt((p**2).sum())
        assert 22.5 - 2.5 * np.log10(detected) == pytest.approx(depth, abs=0.05)


def test_finer_pixels_show_the_same_things(galaxy, sharp):
    busy = replace(
        galaxy, n_arms=2, arm_fraction=0.3, arm_pitch=15.0, n_knots=20, knot_fraction=0.2
    )
    coarse, fine = (
        draw_image(busy, FLUX, sharp, np.random.default_rng(4), finer=finer) for finer in (1, 2)
    )
    assert coarse[2] == fine[2] > 0
    for one, other in zip(coarse[:2], fine[:2], strict=True):
        assert other.shape == (3, 304, 304)
        binned = other.reshape(3, 152, 2, 152, 2).sum((2, 4))
        np.testing.assert_allclose(binned.sum((1, 2)), one.sum((1, 2)), rtol=0.02)
        assert np.corrcoef(binned.ravel(), one.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("index", [3, 4])  # a star, a galaxy
def test_an_object_is_drawn_again_as_another_camera_sees_it(index, sharp):
    own = simulate_galaxy(88, index)
    np.testing.assert_array_equal(simulate_image(88, index), own.image)
    fine = simulate_image(88, index, sharp, finer=2)
    binned = fine.reshape(3, 152, 2, 152, 2).sum((2, 4))
    np.testing.assert_allclose(binned.sum((1, 2)), own.image.sum((1, 2)), rtol=0.02)
    assert (fine.max((1, 2)) * 4 > own.image.max((1, 2))).all()
