import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.utils.masked import Masked

from astroclip_astro.adapters.image import ImagePreprocessing, image_records
from astroclip_astro.adapters.meta import sky_position, stated

MASKED = [
    np.ma.masked,
    Masked(150.0, mask=True),
    Masked(150.0 * u.deg, mask=True),
    Table({"ra": MaskedColumn([150.0], mask=[True])})["ra"][0],
]


@pytest.mark.parametrize("value", MASKED, ids=lambda value: type(value).__name__)
def test_what_is_masked_is_not_stated(value):
    assert stated({"ra": value}, "ra") is None
    assert stated({"ra": value, "RA": 1.5}, "ra") == 1.5
    assert sky_position({"ra": value, "dec": 2.0}) is None
    assert sky_position({"RA": 10.0, "DEC": value}) is None


@pytest.mark.parametrize("value", [150.0, Masked(150.0 * u.deg, mask=False), "10:00:00"], ids=str)
def test_what_is_not_masked_is_a_position(value):
    assert sky_position({"ra": value, "dec": 2.0}).ra.deg == pytest.approx(150)
    assert sky_position(fits.Header({"RA": 150.0, "DEC": 2.0})).ra.deg == 150


def test_an_image_of_masked_redshift_and_place(sky):
    meta = {"ra": np.ma.masked, "dec": 2.0, "redshift": np.ma.masked}
    (record,) = image_records(sky.cutout(meta=meta), preprocessing=ImagePreprocessing())
    assert np.isnan(record.redshift)
    # Not where declination 2 and no right ascension would be, but in its middle.
    assert (record.ra, record.dec) == pytest.approx((sky.target.ra.deg, sky.target.dec.deg))
