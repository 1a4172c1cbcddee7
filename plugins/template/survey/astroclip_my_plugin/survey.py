from astropy.nddata import InverseVariance
from astropy.table import QTable
from specutils import Spectrum

from astroclip_astro.surveys import Survey

KEYWORDS = {"object_id": "OBJECT", "ra": "RA", "dec": "DEC", "redshift": "Z"}


class MyPluginSurvey(Survey):
    """FITS files of one galaxy each: a table of wavelength (in vacuum), flux and ivar."""

    modality, medium = "spectrum", "vacuum"

    def identify(self, path, hdulist):
        return hdulist is not None and hdulist[-1].header.get("SURVEY") == "my-plugin"

    def read(self, path):
        table = QTable.read(path, mask_invalid=False)
        yield Spectrum(
            flux=table["flux"],
            spectral_axis=table["wavelength"],
            uncertainty=InverseVariance(table["ivar"]),
            meta={name: table.meta[keyword] for name, keyword in KEYWORDS.items()},
        )
