"""Images from the HiPS of the surveys at CDS; their unit is not known."""

import json

import numpy as np
from astropy.io import fits
from astroquery.exceptions import EmptyResponseError, InvalidQueryError, RemoteServiceError

from . import conf
from .fits_content import open_fits, pixel_scales
from .viewer import full_url, planes_shape

__all__ = ["Hips"]

#: Releases of which CDS has HiPS by band.
_RELEASES = {"ls-dr10": "CDS/P/DESI-Legacy-Surveys/DR10"}


class Hips:
    """The route by CDS hips2fits, for a look at a place when the surveys' own servers are down.

    `astroquery.hips2fits` is not used: it needs Pillow and Matplotlib, and asks once.

    Parameters
    ----------
    read : callable
        ``read(url, params, parse, cache)`` gives what `parse` makes of an answer.
    """

    def __init__(self, read):
        self._read = read

    def fetch(self, payload, cache):
        """Fetch an image, band by band.

        Parameters
        ----------
        payload : dict
            What would be asked of the viewer.
        cache : bool
            Whether answers are kept.

        Returns
        -------
        astropy.io.fits.HDUList
            One cube as the viewer's, with BUNIT UNKNOWN and the HiPS as its SURVEY.
        """
        planes = []
        for params in self._queries(payload):
            plane = self._read(conf.hips2fits_server, params, _parser(payload), cache)
            if not np.isfinite(plane).any():
                raise EmptyResponseError(f"{params['hips']} has no image there")
            planes.append(plane)
        data = np.stack(planes).reshape(planes_shape(payload))
        header = _wcs(payload)
        header.update(SURVEY=_RELEASES[payload["layer"]], IMAGETYP="IMAGE", BUNIT="UNKNOWN")
        header.update(BANDS=payload["bands"])
        header.update({f"BAND{i}": band for i, band in enumerate(payload["bands"])})
        header["COMMENT"] = (
            "Resampled from a HiPS whose unit is not documented: these are not known"
        )
        header["COMMENT"] = "to be nanomaggies, and must not be used as calibrated fluxes."
        return fits.HDUList([fits.PrimaryHDU(data, header)])

    def urls(self, payload, cache):
        """URLs of an image, one per band.

        Parameters
        ----------
        payload : dict
            What would be asked of the viewer.
        cache : bool
            Not used.

        Returns
        -------
        list of str
        """
        return [full_url(conf.hips2fits_server, params) for params in self._queries(payload)]

    def _queries(self, payload):
        release = _RELEASES.get(payload["layer"])
        if release is None:
            raise InvalidQueryError(
                f"CDS has no HiPS by band of layer {payload['layer']!r}: pass layer="
                f"{' or '.join(map(repr, _RELEASES))}"
            )
        if not set(payload["bands"]) <= set("griz"):
            raise InvalidQueryError(f"bands {payload['bands']!r}: the HiPS have g, r, i and z")
        if "invvar" in payload or "maskbits" in payload:
            raise InvalidQueryError("HiPS have no invvar and no maskbits: take another route")
        wcs = json.dumps(dict(_wcs(payload)))
        return [
            {"hips": f"{release}/{band}", "wcs": wcs, "format": "fits"} for band in payload["bands"]
        ]


def _wcs(payload):
    """Header with the WCS that the viewer's cutout would have."""
    size, scale = payload["size"], payload["pixscale"] / 3600
    header = fits.Header({"NAXIS": 2, "NAXIS1": size, "NAXIS2": size})
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CUNIT1="deg", CUNIT2="deg")
    header.update(CRVAL1=payload["ra"], CRVAL2=payload["dec"], CDELT1=-scale, CDELT2=scale)
    header.update(CRPIX1=(size + 1) / 2, CRPIX2=(size + 1) / 2)
    return header


def _parser(payload):
    shape = (payload["size"], payload["size"])

    def parse(content):
        with open_fits(content) as hdulist:
            data, scales = hdulist[0].data, pixel_scales(hdulist[0].header)
        if np.shape(data) != shape or not np.allclose(scales, payload["pixscale"], rtol=1e-3):
            raise RemoteServiceError(
                f"asked hips2fits for {shape} pixels of {payload['pixscale']} arcsec, got "
                f"{np.shape(data)} of {scales}"
            )
        return data

    return parse
