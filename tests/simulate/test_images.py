"""Drawn galaxies measured back: flux, size, orientation, PSF and noise."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from astroclip_astro.adapters.planes import tangent_wcs
from astroclip_astro.simulate import images
from astroclip_astro.simulate.images import ObservingConditions, draw_image, fibre_fraction
from astroclip_astro.simulate.population import arcsec_per_kpc

FLUX = np.array([50.0, 100.0, 150.0])


def test_total_flux_and_centre(galaxy, sharp):
    small = replace(galaxy, r_half=1.5)
    image = draw_image(small, FLUX, sharp, np.random.default_rng(0))
    np.testing.assert_allclose(image.sum(axis=(1, 2)), FLUX, rtol=5e-3)
    rows, columns = np.indices(image.shape[1:])
    for plane in image:
        assert (plane * rows).sum() / plane.sum() == pytest.approx(75.5, abs=0.02)
        assert (plane * columns).sum() / plane.sum() == pytest.approx(75.5, abs=0.02)


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
    plane = draw_image(asked, FLUX, crisp, np.random.default_rng(0))[1]
    offset = (np.arange(152) - 75.5) * images.PIXEL_SCALE
    along, across = np.meshgrid(offset, offset, indexing="ij")
    radius = np.hypot(along, across / ratio).ravel()
    order = np.argsort(radius)
    growth = np.cumsum(plane.ravel()[order]) / FLUX[1]
    measured = np.interp(0.5, growth, radius[order])
    assert measured == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("position_angle", [0.0, 30.0, 120.0])
def test_position_angle_on_the_sky(galaxy, sharp, position_angle):
    thin = replace(galaxy, bulge_to_total=0.0, position_angle=position_angle)
    plane = draw_image(thin, FLUX, sharp, np.random.default_rng(0))[1]
    row, column = (axis - 75.5 for axis in np.indices(plane.shape))
    moments = [[(plane * a * b).sum() for a in (column, row)] for b in (column, row)]
    dx, dy = np.linalg.eigh(moments)[1][:, 1] * 20  # pixels along the major axis
    wcs = tangent_wcs(SkyCoord("150d 40d"), images.PIXEL_SCALE, (152, 152))
    centre, end = (wcs.pixel_to_world(75.5 + k * dx, 75.5 + k * dy) for k in (0, 1))
    assert isinstance(centre, SkyCoord)
    angle = centre.position_angle(end).to_value(u.deg) % 180
    assert (angle - position_angle + 90) % 180 - 90 == pytest.approx(0, abs=0.5)


def test_bulge_is_redder_than_disc(galaxy, sharp):
    image = draw_image(replace(galaxy, bulge_size=0.2), FLUX, sharp, np.random.default_rng(0))
    core = image[:, 74:78, 74:78].sum(axis=(1, 2))
    ring = image[:, 70:82, 90:100].sum(axis=(1, 2))
    colour = -2.5 * np.log10(core[:-1] / core[1:]) + 2.5 * np.log10(ring[:-1] / ring[1:])
    assert (colour > 0.03).all()


def test_knots_add_structure_but_no_flux(galaxy, sharp):
    small = replace(galaxy, r_half=3.0)
    smooth = draw_image(small, FLUX, sharp, np.random.default_rng(0))
    knotty = draw_image(
        replace(small, n_knots=20, knot_fraction=0.3), FLUX, sharp, np.random.default_rng(0)
    )
    np.testing.assert_allclose(knotty.sum(axis=(1, 2)), smooth.sum(axis=(1, 2)), rtol=0.01)
    assert np.abs(knotty - smooth).max() > 0.1 * smooth.max()


def test_seeing_of_a_point_source(galaxy):
    seeing = np.array([1.5, 1.2, 0.9])
    conditions = ObservingConditions(seeing=seeing, depth=np.full(3, 24.0))
    point = replace(galaxy, r_half=1e-6, bulge_to_total=0.0)  # drawn at the least size, 0.15"
    image = draw_image(point, FLUX, conditions, np.random.default_rng(0))
    offset = (np.arange(152) - 75.5) * images.PIXEL_SCALE
    for plane, fwhm in zip(image, seeing, strict=True):
        profile = plane[75:77].mean(axis=0)
        half = np.interp(-profile.max() / 2, -profile[76:], offset[76:])
        # The pixel and the disc of exponential scale 0.15" / 1.678 widen it, added in quadrature.
        widening = 2.355 * np.hypot(images.PIXEL_SCALE / np.sqrt(12), 0.15 / 1.678 * np.sqrt(3))
        assert 2 * half == pytest.approx(np.hypot(fwhm, widening), rel=0.07)


def test_fibre_fraction_of_a_gaussian():
    sigma = 8.0  # pixels
    row, column = (axis - 75.5 for axis in np.indices((152, 152)))
    plane = np.exp(-(row**2 + column**2) / (2 * sigma**2))
    radius = 0.75 / images.PIXEL_SCALE
    expected = 1 - np.exp(-(radius**2) / (2 * sigma**2))
    assert fibre_fraction(plane, plane.sum()) == pytest.approx(expected, rel=3e-3)


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
