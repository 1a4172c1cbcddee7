"""Tractor catalogues of the DESI Legacy Imaging Surveys."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from astroclip_astro.errors import InputError
from astroclip_astro.surveys import Survey

__all__ = ["Tractor"]

#: Columns that are used, in the units that the data model states.
_UNITS = {f"flux_{band}": "nmgy" for band in "grz"}
_UNITS |= {f"flux_ivar_{band}": "nmgy-2" for band in "grz"}


_NAMES = ("release", "brickid", "objid")
_WANTED = {*_NAMES, "ra", "dec", *_UNITS}


class Tractor(Survey):
    """FITS catalogues with fluxes and their inverse variances in nanomaggies.

    The first table is read that has ``release``, ``brickid``, ``objid``, ``ra``, ``dec``, and
    ``flux_g``, ``flux_ivar_g`` and so on for g, r and z, in either case. Objects are named
    ``release-brickid-objid``. Rows of point sources (type PSF) and of bricks' borders are read like
    all others: cut the table, and embed what is left, where they are not wanted. Data model:
    https://www.legacysurvey.org/dr9/catalogs.
    """

    modality = "photometry"

    def identify(self, path, hdulist):
        return hdulist is not None and _catalogue(hdulist) is not None

    def read(self, path):
        with fits.open(path) as hdulist:
            number = _catalogue(hdulist)
        if number is None:
            raise InputError(
                f"expected a table with the columns {', '.join(sorted(_WANTED))}",
                object_id=Path(path).name,
            )
        table = Table.read(path, format="fits", hdu=number)
        table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
        names = zip(*(table[name] for name in _NAMES), strict=True)
        unnamed = np.any([np.ma.getmaskarray(table[name]) for name in _NAMES], axis=0)
        table["object_id"] = MaskedColumn(["-".join(map(str, n)) for n in names], mask=unnamed)
        table.keep_columns(["object_id", "ra", "dec", *_UNITS])
        for name, unit in _UNITS.items():
            table[name].unit = table[name].unit or unit
        yield table


def _catalogue(hdulist):
    """Number of the first HDU with the columns wanted, or None."""
    for number, hdu in enumerate(hdulist):
        names = hdu.columns.names if isinstance(hdu, fits.BinTableHDU) else ()
        if {name.lower() for name in names} >= _WANTED:
            return number
    return None
