"""The archive my-plugin: spectra for coordinates."""

from http.client import HTTPException
from io import BytesIO
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from astropy.nddata import InverseVariance
from astropy.table import QTable
from specutils import Spectrum

from astroclip_astro.errors import InputError
from astroclip_astro.sources import Source


class MyPluginSource(Source):
    """Answers ``?ra=…&dec=…&radius=…`` (deg) with a FITS table, or with status 404."""

    modality = "spectrum"
    # Registered name of the survey whose reader knows what the answers mean; none is needed here.
    survey = ""
    connections = 2

    url = "https://archive.example/spectrum"
    radius = 1 / 3600

    def fetch(self, coordinate):
        """The spectrum nearest to a place."""
        place = coordinate.icrs
        name = place.to_string("hmsdms")
        query = urlencode({"ra": place.ra.deg, "dec": place.dec.deg, "radius": self.radius})
        try:
            with urlopen(f"{self.url}?{query}", timeout=60) as answer:
                content = answer.read()
        except HTTPError as error:
            error.close()
            if error.code == 404:
                raise InputError("the archive has no spectrum there", object_id=name) from error
            raise InputError(f"the archive answers {error.code}", object_id=name) from error
        except (OSError, HTTPException) as error:  # such as IncompleteRead
            raise InputError(f"the archive is not reached: {error}", object_id=name) from error
        # An archive in trouble may send a page that says so, with status 200.
        if not content.startswith(b"SIMPLE"):
            raise InputError("the archive's answer is not FITS", object_id=name)
        try:
            table = QTable.read(BytesIO(content), format="fits", mask_invalid=False)
        except (
            OSError,
            TypeError,
            ValueError,
        ) as error:  # what Astropy raises if a part is missing
            raise InputError(
                f"the archive's FITS is unreadable: {error}", object_id=name
            ) from error
        return Spectrum(
            flux=table["flux"],
            spectral_axis=table["wavelength"],
            uncertainty=InverseVariance(table["ivar"]),
            meta={
                "object_id": table.meta["OBJECT"],
                "ra": table.meta["RA"],
                "dec": table.meta["DEC"],
            },
        )
