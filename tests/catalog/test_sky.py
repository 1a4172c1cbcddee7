"""Parts of the sky: no object inside is missed by the cells that are looked up."""

import cdshealpix
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle, Latitude, Longitude, SkyCoord
from hats.pixel_math.spatial_index import compute_spatial_index
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC

from astroclip_astro.catalog.sky import Cone, Region, healpix_29
from astroclip_astro.errors import InputError
from astroclip_astro.sky import position, separation

WHOLE = 12 * 4**29
# Corners and edges of HEALPix's twelve base cells, the poles, and where right ascension starts.
SPECIAL = [
    (0.0, 0.0),
    (45.0, 0.0),
    (360.0, 0.0),
    (np.nextafter(360, 0), -1e-12),
    (90.0, np.degrees(np.arcsin(2 / 3))),
    (135.0, -np.degrees(np.arcsin(2 / 3))),
    (0.0, 90.0),
    (123.4, 90.0),
    (0.0, -90.0),
    (10.0, np.nextafter(90, 0)),
]
positions = st.one_of(
    st.sampled_from(SPECIAL),
    st.tuples(st.floats(0, 360), st.floats(-90, 90)),
    st.tuples(st.sampled_from([0.0, 1e-9, 359.999999]), st.floats(-90, 90)),
    st.tuples(st.floats(0, 360), st.sampled_from([89.9999, -89.99999, 0.0])),
)
radii = st.one_of(
    st.floats(-7, np.log10(180)).map(lambda power: 10**power),
    st.sampled_from([1 / 3600, 60.0, np.nextafter(60, 61), 90.0, 95.0, 150.0, 179.9, 180.0]),
)


def spread(rng, n):
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def around(rng, ra, dec, radius):
    """Positions at all distances from a centre, most of them near the edge."""
    center = SkyCoord(ra * u.deg, dec * u.deg)
    share = np.concatenate([rng.uniform(0, 1, 100), 1 + rng.normal(0, 1e-3, 200), np.ones(20)])
    apart = np.clip(radius * share, 0, 180) * u.deg
    here = center.directional_offset_by(rng.uniform(0, 360, len(share)) * u.deg, apart)
    return here.ra.deg, here.dec.deg


def in_ranges(ranges, cells):
    at = np.searchsorted(ranges[:, 0], cells, side="right") - 1
    return (at >= 0) & (cells < ranges[at, 1])


def check_ranges(ranges):
    assert ranges.dtype == np.int64
    assert 1 <= len(ranges) <= 64
    assert (ranges[:, 0] < ranges[:, 1]).all()
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
    assert ranges[0, 0] >= 0
    assert ranges[-1, 1] <= WHOLE


@settings(max_examples=200, deadline=None)
@given(center=positions, radius=radii, seed=st.integers(0, 2**32))
def test_cells_of_a_cone_miss_nothing_inside(center, radius, seed):
    rng = np.random.default_rng(seed)
    cone = Cone(SkyCoord(*center, unit="deg"), radius * u.deg)
    ra, dec = (
        np.concatenate(pair)
        for pair in zip(
            around(rng, *center, radius),
            spread(rng, 200),
            tuple(np.array(SPECIAL).T),
            strict=True,
        )
    )
    inside = cone.contains(ra, dec)
    ranges = cone.ranges()
    check_ranges(ranges)
    assert in_ranges(ranges, healpix_29(ra, dec).data)[inside].all()


@settings(max_examples=200, deadline=None)
@given(center=positions, radius=radii, seed=st.integers(0, 2**32))
def test_inside_a_cone_as_astropy_measures(center, radius, seed):
    rng = np.random.default_rng(seed)
    ra, dec = around(rng, *center, radius)
    middle = SkyCoord(*center, unit="deg")
    apart = middle.separation(SkyCoord(ra, dec, unit="deg")).deg
    cone = Cone(middle, radius * u.deg)
    np.testing.assert_allclose(cone.separation(ra, dec), apart, rtol=1e-9, atol=1e-12)
    clear = np.abs(apart - radius) > 1e-9 * radius + 1e-12
    np.testing.assert_array_equal(cone.contains(ra, dec)[clear], (apart <= radius)[clear])


@pytest.mark.parametrize("radius", [1e-4, 0.01, 0.3, 2, 20, 59])
def test_cells_of_a_cone_are_few_more_than_it_needs(radius):
    cone = Cone(SkyCoord(150 * u.deg, 30 * u.deg), radius * u.deg)
    area = (1 - np.cos(np.radians(radius))) / 2  # of the whole sky
    ranges = cone.ranges()
    assert area <= (ranges[:, 1] - ranges[:, 0]).sum() / WHOLE < 3 * area


def test_a_cone_that_is_the_whole_sky():
    rng = np.random.default_rng(0)
    ra, dec = spread(rng, 1000)
    assert Cone(SkyCoord(1 * u.deg, 2 * u.deg), 180 * u.deg).contains(ra, dec).all()


def test_what_has_no_position_is_nowhere():
    unknown = np.array([np.nan, 10.0, np.nan]), np.array([np.nan, np.nan, 10.0])
    assert not Cone(SkyCoord(10 * u.deg, 10 * u.deg), 180 * u.deg).contains(*unknown).any()
    assert not Region(MOC.from_string("0/0-11")).contains(*unknown).any()
    assert healpix_29(*unknown).mask.all()


def test_frames_and_radii():
    galactic = SkyCoord(120 * u.deg, 40 * u.deg, frame="galactic")
    cone = Cone(galactic, "3 arcmin")
    assert cone.contains(np.array([galactic.icrs.ra.deg]), np.array([galactic.icrs.dec.deg]))[0]
    assert cone.radius.deg == pytest.approx(0.05)
    assert Cone(galactic, Angle(0.05, u.deg)).radius == cone.radius
    assert Cone(galactic, 0.05 * np.pi / 180 * u.rad).radius.deg == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("center", "radius", "message"),
    [
        ((150, 2), 1 * u.deg, "is no position"),
        ("M31", 1 * u.deg, "is no position"),
        (SkyCoord([1, 2] * u.deg, [1, 2] * u.deg), 1 * u.deg, "is no position"),
        (SkyCoord(np.nan * u.deg, 2 * u.deg), 1 * u.deg, "expected finite coordinates"),
        (SkyCoord(1 * u.deg, 2 * u.deg), 1.0, "radius is 1.0: expected an angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), "1", "expected an angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), "wide", "expected an angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), 1 * u.m, "expected an angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), 0 * u.deg, "expected one angle above 0"),
        (SkyCoord(1 * u.deg, 2 * u.deg), -1 * u.deg, "expected one angle above 0"),
        (SkyCoord(1 * u.deg, 2 * u.deg), 181 * u.deg, "up to 180 deg"),
        (SkyCoord(1 * u.deg, 2 * u.deg), np.nan * u.deg, "expected one angle above 0"),
        (SkyCoord(1 * u.deg, 2 * u.deg), [1, 2] * u.deg, "expected one angle"),
    ],
)
def test_what_is_no_cone(center, radius, message):
    with pytest.raises(InputError, match=message):
        Cone(center, radius)


def mocs():
    corners = SkyCoord([359, 1.5, 1, 358.5] * u.deg, [-1, -1.5, 1, 2] * u.deg)
    cap = {"lon": Longitude(0 * u.deg), "lat": Latitude(90 * u.deg)}
    rng = np.random.default_rng(3)
    scattered = Longitude(rng.uniform(0, 360, 400), u.deg), Latitude(rng.uniform(-9, 9, 400), u.deg)
    return {
        "polygon": MOC.from_polygon_skycoord(corners, max_depth=14),
        "cap": MOC.from_cone(**cap, radius=7 * u.deg, max_depth=9),
        "scattered": MOC.from_lonlat(*scattered, max_norder=8),
        "tiny": MOC.from_lonlat(Longitude([12.3] * u.deg), Latitude([45.6] * u.deg), max_norder=29),
        "coarse": MOC.from_string("0/3 1/21 5/10000-10020"),
        "all": MOC.from_string("0/0-11"),
    }


@pytest.mark.parametrize("name", mocs())
def test_cells_of_a_region_miss_nothing_inside(name):
    moc, rng = mocs()[name], np.random.default_rng(5)
    region = Region(moc)
    ranges = region.ranges()
    check_ranges(ranges)
    near = moc.barycenter()
    ra, dec = (
        np.concatenate(pair)
        for pair in zip(
            spread(rng, 20000),
            around(rng, near.ra.deg, near.dec.deg, max(np.sqrt(moc.sky_fraction) * 200, 1e-9)),
            ([12.3], [45.6]),
            strict=True,
        )
    )
    inside = region.contains(ra, dec)
    assert inside.any()
    assert name == "all" or not inside.all()
    # As the definition of a MOC has it: cells of its own ranges.
    cells = compute_spatial_index(ra, dec)
    own = moc.to_depth29_ranges.astype(np.int64)
    np.testing.assert_array_equal(inside, in_ranges(own, cells))
    assert in_ranges(ranges, healpix_29(ra, dec).data)[inside].all()


def test_regions_of_the_package_regions():
    regions = pytest.importorskip("regions")
    rng = np.random.default_rng(6)
    ra, dec = rng.uniform(148, 152, 5000), rng.uniform(0, 4, 5000)
    center = SkyCoord(150 * u.deg, 2 * u.deg)
    region = Region(regions.CircleSkyRegion(center, 1 * u.deg))
    apart = center.separation(SkyCoord(ra, dec, unit="deg")).arcsec
    inside = region.contains(ra, dec)
    clear = np.abs(apart - 3600) > 10  # resolved to cells of 3.2 arcsec
    np.testing.assert_array_equal(inside[clear], (apart < 3600)[clear])
    with pytest.raises(InputError, match="expected a region on the sky"):
        Region(regions.CirclePixelRegion(regions.PixCoord(1, 2), 3))


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (MOC.from_string("3/"), "region is empty"),
        ("3/1-4", "region is a str: expected a mocpy.MOC or a SkyRegion"),
        (SkyCoord(1 * u.deg, 2 * u.deg), "region is a SkyCoord"),
        ((1, 2), "region is a tuple"),
    ],
)
def test_what_is_no_region(region, message):
    with pytest.raises(InputError, match=message):
        Region(region)


def test_cells_are_those_of_hats_and_cds():
    ra, dec = spread(np.random.default_rng(0), 20000)
    cells = healpix_29(ra, dec)
    assert cells.dtype == np.int64
    assert not np.ma.getmaskarray(cells).any()
    np.testing.assert_array_equal(cells.data, compute_spatial_index(ra, dec))
    cds = cdshealpix.lonlat_to_healpix(Longitude(ra, u.deg), Latitude(dec, u.deg), 29)
    np.testing.assert_array_equal(cells.data, cds.astype(np.int64))
    # What is on an edge to the last digit may be on either side of it.
    special = SkyCoord(SPECIAL, unit="deg")
    middle = cdshealpix.healpix_to_skycoord(healpix_29(special.ra.deg, special.dec.deg).data, 29)
    assert (middle.separation(special) < 1 * u.mas).all()


def test_distances():
    ra, dec = spread(np.random.default_rng(0), 100)
    one, other = (SkyCoord(*pair, unit="deg") for pair in ((ra, dec), (ra[::-1], dec[::-1])))
    np.testing.assert_allclose(
        separation(ra, dec, ra[::-1], dec[::-1]), one.separation(other).deg, rtol=1e-12
    )
    assert position(one[3]) == (one[3].ra.deg, one[3].dec.deg)
