"""Made images of known sources, shared by the tests of the adapters."""

from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.wcs import WCS

TARGET = SkyCoord(150.1, 32.2, unit="deg")


def wcs(pixel_scale, shape, *, angle=0.0, mirror=False, offset=(0.0, 0.0)):
    """Tangent-plane WCS turned by an angle, with the target off the middle by (row, column)."""
    made = WCS(naxis=2)
    made.wcs.ctype = "RA---TAN", "DEC--TAN"
    made.wcs.crval = TARGET.ra.deg, TARGET.dec.deg
    made.wcs.crpix = (shape[1] + 1) / 2 + offset[1], (shape[0] + 1) / 2 + offset[0]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[c, -s], [s, c]])
    if mirror:
        turn = turn @ np.diag([-1, 1])
    made.wcs.cd = np.diag([-1, 1]) @ turn * pixel_scale / 3600
    return made


def sources(frame, shape, pixel_scale, sigma=1.2):
    """Three Gaussian sources of 30, 20 and 10 nanomaggies around the target, on any pixels."""
    rows, columns = np.indices(shape)
    ra, dec = frame.all_pix2world(columns, rows, 0)
    east = (ra - TARGET.ra.deg) * np.cos(TARGET.dec.rad) * 3600
    north = (dec - TARGET.dec.deg) * 3600
    image = np.zeros(shape)
    for flux, dx, dy in ((30, 0, 0), (20, 6, 3), (10, -4, 7)):
        r2 = (east - dx) ** 2 + (north - dy) ** 2
        image += flux * np.exp(-r2 / (2 * sigma**2)) / (2 * np.pi * sigma**2) * pixel_scale**2
    return image


def cutout(flux=None, *, pixel_scale=0.262, shape=(160, 160), unit=u.nmgy, meta=None, **kwargs):
    """CCDData of the sources, each band twice the one before, with a little noise."""
    frame = kwargs.pop("wcs", None) or wcs(pixel_scale, shape)
    if flux is None:
        flux = sources(frame, shape, pixel_scale) * np.array([1, 2, 4])[:, None, None]
        flux = flux + np.random.default_rng(5).normal(0, 1e-4, flux.shape)
    return CCDData(flux, unit=unit, wcs=frame, meta={"bands": "grz"} | (meta or {}), **kwargs)


@pytest.fixture(scope="session")
def sky():
    """Target and makers of WCS, images and CCDData around it."""
    return SimpleNamespace(target=TARGET, wcs=wcs, sources=sources, cutout=cutout)
