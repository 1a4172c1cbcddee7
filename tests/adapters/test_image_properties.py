"""Properties that hold for any image: units, layout in memory, holes, orientation, scale."""

import astropy.units as u
import numpy as np
from astropy.nddata import NDData
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astroclip_astro.adapters.image import ImagePreprocessing, image_batch, image_records
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.quality import Quality

# Small, so that many images are tried in little time.
SMALL = ImagePreprocessing(size=48, crop=48)
SHAPE = (56, 52)
RECORDED = np.s_[:, 4:52, 2:50]

#: Written out by hand: 3631 Jy is AB magnitude 0, a nanomaggy 22.5, and a pixel 0.262" wide. None
#: where the zeropoint says it.
PER_NANOMAGGY = {
    "nmgy": 1,
    "mgy": 1e-9,
    "Jy": 3.631e-6,
    "uJy": 3.631,
    "nJy": 3631,
    "erg s-1 cm-2 Hz-1": 3.631e-29,
    "nJy / pix": 3631,
    "nmgy / arcsec2": 1 / 0.262**2,
    "MJy / sr": 3.631e-12 / (0.262 * np.pi / 180 / 3600) ** 2,
    "adu": None,
    "electron / s": None,
    "": None,
}

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
fluxes = hnp.arrays(
    np.float32, (3, *SHAPE), elements=st.floats(-1, 100, width=32), fill=st.floats(-1, 1, width=32)
)
scales = st.floats(0.09, 0.9)


def record_of(image):
    (record,) = image_records(image, preprocessing=SMALL)
    return record


@few
@given(flux=fluxes, unit=st.sampled_from(sorted(PER_NANOMAGGY)), zeropoint=st.floats(15, 35))
def test_units_agree(sky, flux, unit, zeropoint):
    per_nanomaggy = PER_NANOMAGGY[unit] or 10 ** (0.4 * (zeropoint - 22.5))
    given_flux = flux.astype(float) * per_nanomaggy
    image = sky.cutout(
        given_flux,
        shape=SHAPE,
        wcs=sky.wcs(0.262, SHAPE),
        unit=u.Unit(unit),
        meta={"zeropoint": zeropoint},
    )
    record = record_of(image)
    np.testing.assert_allclose(record.flux, flux[RECORDED], rtol=1e-6, atol=1e-12)


@few
@given(
    flux=fluxes,
    dtype=st.sampled_from([">f4", "<f4", ">f8", "<f8", ">i2", "<i4", "<u2", "<f2"]),
    layout=st.sampled_from(["C", "F", "reversed", "strided", "swapped", "read-only"]),
)
def test_layout_in_memory_does_not_matter(sky, flux, dtype, layout):
    values = np.round(np.abs(flux)).astype(dtype)
    plain = np.ascontiguousarray(values, np.float64)
    if layout == "F":
        values = np.asfortranarray(values)
    elif layout == "reversed":
        values = values[:, ::-1].copy()[:, ::-1]
    elif layout == "strided":
        values = np.repeat(values, 2, axis=2)[:, :, ::2]
    elif layout == "swapped":
        values = np.moveaxis(np.moveaxis(values, 0, -1).copy(), -1, 0)
    elif layout == "read-only":
        values.setflags(write=False)
    before = values.copy()
    wcs = sky.wcs(0.31, SHAPE)
    record = record_of(sky.cutout(values, wcs=wcs))
    expected = record_of(sky.cutout(plain, wcs=wcs))
    np.testing.assert_array_equal(record.flux, expected.flux)
    assert record.quality == expected.quality
    np.testing.assert_array_equal(values, before)


@few
@given(
    flux=fluxes,
    mask=hnp.arrays(bool, (3, *SHAPE)),
    rubbish=st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e12, 0.0]),
    scale=st.sampled_from([0.15, 0.262, 0.3]),
)
def test_what_is_masked_has_no_influence(sky, flux, mask, rubbish, scale):
    wcs = sky.wcs(scale, SHAPE, angle=0 if scale == 0.262 else 20)
    values = flux.astype(float)
    clean = record_of(sky.cutout(values, wcs=wcs, mask=mask))
    dirty = record_of(sky.cutout(np.where(mask, rubbish, values), wcs=wcs, mask=mask))
    assert type(clean) is type(dirty)
    if isinstance(clean, FailedRecord):
        assert Quality.NOT_EMBEDDED in clean.quality
        return
    np.testing.assert_array_equal(clean.flux, dirty.flux)
    assert np.isfinite(dirty.flux).all()
    assert clean.coverage == dirty.coverage <= 1
    assert dirty.quality & ~Quality.NON_FINITE == clean.quality
    if scale == 0.262:
        kept = ~mask[RECORDED]
        np.testing.assert_array_equal(dirty.flux[kept], flux[RECORDED][kept])
        assert dirty.coverage == kept.mean()


@few
@given(flux=fluxes, turns=st.integers(0, 3), mirror=st.booleans(), odd=st.booleans())
def test_quarter_turns_and_mirrors_are_undone_exactly(sky, flux, turns, mirror, odd):
    # A turned image with the WCS turned alike shows the same sky. Square, and with the target in
    # the middle of a pixel or between two.
    side = 51 if odd else 52
    flux = flux[:, :side, :side].astype(float)
    upright = record_of(sky.cutout(flux, wcs=sky.wcs(0.262, (side, side))))
    turned = np.rot90(flux, turns, axes=(1, 2))
    wcs = sky.wcs(0.262, (side, side), angle=90 * turns)
    if mirror:
        turned = turned[:, :, ::-1]
        wcs.wcs.cd = wcs.wcs.cd @ np.diag([-1, 1])
    record = record_of(sky.cutout(turned, wcs=wcs))
    np.testing.assert_array_equal(record.flux, upright.flux)


@few
@given(
    scale=scales,
    angle=st.floats(-180, 180),
    mirror=st.booleans(),
    offset=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
def test_any_wcs_shows_the_same_sky(sky, scale, angle, mirror, offset):
    # The profile at the pixels of the grid is the oracle. Sources of 1.2" sigma are wider than the
    # coarsest pixel; cubic splines and, for fine pixels, the mean over one of the grid's leave
    # less than 2 % of the peak.
    shape = (round(40 / scale) + 8, round(42 / scale) + 8)
    wcs = sky.wcs(scale, shape, angle=angle, mirror=mirror, offset=offset)
    position = {"ra": sky.target.ra.deg, "dec": sky.target.dec.deg}
    image = sky.cutout(np.stack([sky.sources(wcs, shape, scale)] * 3), wcs=wcs, meta=position)
    big = ImagePreprocessing(size=100, crop=96)
    (record,) = image_records(image, preprocessing=big)
    truth = sky.sources(sky.wcs(0.262, (100, 100)), (100, 100), 0.262)
    shifted = np.abs(record.flux[0] - truth).max() / truth.max()
    # A grid that gave way by up to half a pixel (0.131") is off by that times the slope.
    on_pixels = abs(scale - 0.262) < 1e-4
    assert shifted < (0.1 if on_pixels else 0.02)
    # The total: 60 nanomaggies, of which the grid holds all but some 1e-5.
    np.testing.assert_allclose(record.flux.sum((1, 2)), 60, rtol=2e-3)


@few
@given(scale=scales, value=st.floats(0.01, 100))
def test_surface_brightness_is_kept(sky, scale, value):
    shape = (round(30 / scale),) * 2
    image = sky.cutout(np.full((3, *shape), value), wcs=sky.wcs(scale, shape, angle=10))
    record = record_of(image)
    middle = record.flux[:, 10:38, 10:38]
    np.testing.assert_allclose(middle, value * (0.262 / scale) ** 2, rtol=1e-5)


@few
@given(data=st.data())
def test_rows_of_a_batch_do_not_depend_on_each_other(sky, data):
    n = data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    records = []
    for i in range(n):
        meta = {"bands": "gr" if rng.random() < 0.3 else "grz", "pixel_scale": 0.262}
        flux = rng.normal(size=(len(meta["bands"]), *SHAPE))
        image = NDData(flux, unit=u.nmgy, meta=meta | {"object_id": str(i)})
        records += image_records(image, preprocessing=SMALL)
    whole = image_batch(records, SMALL)
    cut = data.draw(st.integers(1, n))
    assume(cut < n or n == 1)
    parts = [image_batch(records[s], SMALL) for s in (slice(cut), slice(cut, None)) if records[s]]
    for name in ("flux", "coverage", "snr", "quality", "object_id"):
        joined = np.concatenate([np.asarray(getattr(part, name)) for part in parts])
        np.testing.assert_array_equal(np.asarray(getattr(whole, name)), joined)
