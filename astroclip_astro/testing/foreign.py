"""Small made files that are none of a new survey's."""

from contextlib import contextmanager

import numpy as np
from astropy.io import fits
from astropy.table import Table

from astroclip_astro.surveys.files import is_fits

__all__ = ["foreign_files", "opened"]


def foreign_files(folder):
    """Write files that a survey has to leave to others.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.

    Returns
    -------
    dict of str
        By path, the registered name of the survey whose layout it has; "" for none.
    """
    numbers = Table({"ra": [150.1, 150.2], "dec": [2.1, 2.2], "flux": [1.0, 2.0]})
    numbers.write(folder / "foreign-table.fits")
    numbers.write(folder / "foreign-table.ecsv", format="ascii.ecsv")
    numbers.write(folder / "foreign-table.csv", format="ascii.csv")
    plane = np.ones((8, 8), np.float32)
    fits.PrimaryHDU(plane).writeto(folder / "foreign-image.fits")
    fits.PrimaryHDU().writeto(folder / "foreign-empty.fits")
    (folder / "foreign-notes.txt").write_text("Clouds from 2 h on.\n")
    (folder / "foreign-nothing.dat").write_bytes(b"")
    (folder / "foreign-picture.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture \xff\xd9")
    made = dict.fromkeys(sorted(folder.glob("foreign-*")), "")
    made[folder / "spec-0001-55555-0001.fits"] = "sdss"
    made[folder / "coadd-main-dark-1.fits"] = "desi"
    made[folder / "cutout.fits"] = "legacysurvey"
    _write_sdss(folder / "spec-0001-55555-0001.fits")
    _write_desi(folder / "coadd-main-dark-1.fits")
    _write_legacysurvey(folder / "cutout.fits")
    return made


@contextmanager
def opened(path):
    """Open a file as `identify` is given it.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Yields
    ------
    astropy.io.fits.HDUList or None
        None if its name is not that of a FITS file.
    """
    if not is_fits(path):
        yield None
        return
    with fits.open(path) as hdulist:
        yield hdulist


def _write_sdss(path):
    loglam = np.linspace(3.58, 3.96, 8, dtype=np.float32)
    one = np.ones(8, np.float32)
    coadd = Table({"flux": one, "loglam": loglam, "ivar": one, "and_mask": np.zeros(8, np.int32)})
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(coadd, name="COADD")]).writeto(path)


def _write_desi(path):
    targets = Table({"TARGETID": np.array([1]), "TARGET_RA": [150.0], "TARGET_DEC": [2.0]})
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(targets, name="FIBERMAP")]
    for arm, start in (("B", 3600), ("R", 5760), ("Z", 7520)):
        hdus.append(fits.ImageHDU(start + 0.8 * np.arange(8), name=f"{arm}_WAVELENGTH"))
        hdus.append(fits.ImageHDU(np.ones((1, 8), np.float32), name=f"{arm}_FLUX"))
        hdus.append(fits.ImageHDU(np.ones((1, 8), np.float32), name=f"{arm}_IVAR"))
    fits.HDUList(hdus).writeto(path)


def _write_legacysurvey(path):
    header = fits.Header({"SURVEY": "LegacySurvey", "VERSION": "DR9", "IMAGETYP": "IMAGE"})
    header.update({"BANDS": "grz", "BAND0": "g", "BAND1": "r", "BAND2": "z", "IMAGEW": 8})
    header.update({"IMAGEH": 8, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1})
    header.update({"CRVAL2": 2.2, "CRPIX1": 4.5, "CRPIX2": 4.5, "CD1_2": 0.0, "CD2_1": 0.0})
    header.update({"CD1_1": -0.262 / 3600, "CD2_2": 0.262 / 3600})
    fits.PrimaryHDU(np.ones((3, 8, 8), np.float32), header).writeto(path)
