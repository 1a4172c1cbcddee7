"""Files as the cutout service of the HSC-SSP data archive gives them."""

import numpy as np
import pytest
from astropy.io import fits

PIXEL_SCALE = 0.168

#: Numbers of the mask planes in a coadd of the second public release.
PLANES = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "SUSPECT": 7}
PLANES |= {"NO_DATA": 8, "BRIGHT_OBJECT": 9, "UNMASKEDNAN": 12, "SENSOR_EDGE": 15}


def gaussian(shape, magnitude, fwhm=0.7):
    """Image of a point source in the middle, in counts of zeropoint 27; fwhm in arcsec."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    sigma = fwhm / 2.3548 / PIXEL_SCALE
    profile = np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * sigma**2))
    return 10 ** (0.4 * (27 - magnitude)) * profile / profile.sum()


def make_file(
    path,
    band,
    image=None,
    *,
    mask=None,
    variance=None,
    planes=PLANES,
    ra=150.0,
    unit=None,
    **cards,
):
    """Write one band; without `mask` and `variance` only the image, as on request."""
    size = 241
    image = gaussian((size, size), 18.0) if image is None else image
    primary = fits.Header({"FILTER": f"HSC-{band}", "FLUXMAG0": 63095734448.0194})
    for key, value in cards.items():
        primary.remove(key) if value is None else primary.set(key, value)
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": 2.2}
    # Cutouts are cut from tracts, whose tangent point is far away.
    wcs |= {"CRPIX1": 5000.0, "CRPIX2": -3000.0}
    wcs |= {"CD1_1": -PIXEL_SCALE / 3600, "CD2_2": PIXEL_SCALE / 3600, "CD1_2": 0.0, "CD2_1": 0.0}
    hdus = [fits.PrimaryHDU(header=primary)]
    extra = [("IMAGE", image.astype(">f4"))]
    if mask is not None:
        extra.append(("MASK", mask.astype(">i4")))
    if variance is not None:
        extra.append(("VARIANCE", variance.astype(">f4")))
    for kind, data in extra:
        header = fits.Header({"EXTTYPE": kind} | wcs)
        if kind == "IMAGE" and unit:
            header["BUNIT"] = unit
        if kind == "MASK":
            for name, number in planes.items():
                key = f"MP_{name}"
                header.set(key if len(key) <= 8 else f"HIERARCH {key}", number)
        hdus.append(fits.ImageHDU(data, header))
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.fixture
def write():
    return make_file


@pytest.fixture
def point_source():
    return gaussian


@pytest.fixture
def galaxy(tmp_path):
    """Function that writes g, r, z of one object under the service's names; gives the r file."""

    def write_bands(bands="GRZ", stem="2-cutout-HSC-{}-9813-pdr2_wide.fits", **kwargs):
        for band in bands:
            make_file(tmp_path / stem.format(band), band, **kwargs)
        return tmp_path / stem.format(bands[1])

    return write_bands
