"""Tractor catalogues of the DESI Legacy Imaging Surveys."""

from astropy.table import Table

from astroclip_astro.surveys import Survey

__all__ = ["Tractor"]

#: Columns that are used, in the units that the data model states.
_UNITS = {f"flux_{band}": "nmgy" for band in "grz"}
_UNITS |= {f"flux_ivar_{band}": "nmgy-2" for band in "grz"}


class Tractor(Survey):
    """FITS catalogues with ``flux_g``, ``flux_ivar_g``, … in nanomaggies, and ``type``.

    Objects are named ``release-brickid-objid``. Rows of point sources (type PSF) and of bricks'
    borders are read like all others: cut the table, and embed what is left, where they are not
    wanted. Data model: https://www.legacysurvey.org/dr9/catalogs.
    """

    modality = "photometry"

    def identify(self, path, hdulist):
        wanted = {"release", "brickid", "objid", "flux_r", "flux_ivar_r"}
        return hdulist is not None and any(
            wanted <= {name.lower() for name in hdu.columns.names}
            for hdu in hdulist[1:]
            if hasattr(hdu, "columns")
        )

    def read(self, path):
        table = Table.read(path)
        table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
        names = zip(table["release"], table["brickid"], table["objid"], strict=True)
        table["object_id"] = ["-".join(map(str, name)) for name in names]
        table.keep_columns(["object_id", "ra", "dec", *_UNITS])
        for name, unit in _UNITS.items():
            table[name].unit = table[name].unit or unit
        yield table
