"""Cutouts of the DESI Legacy Imaging Surveys: calibrated FITS files, and pictures of them."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, NDData
from astropy.wcs.utils import proj_plane_pixel_scales

from astroclip_astro.adapters.meta import band_names
from astroclip_astro.adapters.planes import REFUSED_RGB, header_wcs
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.base import ByNameOnly, Survey, opened

__all__ = ["LegacySurvey", "LegacySurveyRGB"]

#: Arcsec per pixel of the surveys' coadds.
_NATIVE = 0.262

#: SURVEY in the headers of the layers that are the surveys' own; other layers of the viewer (SDSS,
#: unWISE, …) have other bands and native pixels.
_SURVEYS = ("DECaLS", "LegacySurvey", "MzLS", "BASS", "MzLS+BASS", "BASS+MzLS")

#: MASKBITS SATUR_G, SATUR_R, SATUR_Z and SATUR_I (www.legacysurvey.org/dr10/bitmasks).
_SATURATED = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 14

#: Arcsec around the centre in which saturation counts as the object's.
_FOOTPRINT = 5.0

_PICTURES = (".jpg", ".jpeg", ".png")


class LegacySurvey(Survey):
    """FITS cutouts of the Legacy Surveys' viewer, ``viewer/cutout.fits?ra=…&dec=…&layer=ls-dr9``.

    One file is one object, a cube (band, row, column) of nanomaggies with the target in the
    middle, north up. The bands are those of its header, which the viewer chooses by itself if it
    was asked for one that the layer does not have. With ``&invvar`` the inverse variances and with
    ``&maskbits`` the bit mask come along and are used. A ``&subimage`` file, one image per band
    and brick, is read if one brick holds it all.

    Notes
    -----
    *Flux.* The viewer resamples to another pixel scale than 0.262" without rescaling: its values
    stay nanomaggies per pixel of 0.262". They are multiplied here by (pixel scale / 0.262")² to be
    nanomaggies per pixel of the file. Beyond 0.37" the viewer also smooths the image.

    *Missing data.* Where a band was not observed, the coadds hold an exact 0: such pixels are
    masked.

    *Saturation.* The ``SATURATED`` bit is set if a pixel within 5" of the centre is flagged SATUR
    in any band.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astroclip_astro.surveys.legacysurvey import LegacySurvey
    >>> header = fits.Header({"SURVEY": "LegacySurvey", "BANDS": "grz", "IMAGEW": 8, "IMAGEH": 8,
    ...                       "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0,
    ...                       "CRVAL2": 2.0, "CRPIX1": 4.5, "CRPIX2": 4.5,
    ...                       "CD1_1": -0.524 / 3600, "CD2_2": 0.524 / 3600})
    >>> cutout = fits.HDUList(fits.PrimaryHDU(np.full((3, 8, 8), 0.5, "f4"), header))
    >>> image, = LegacySurvey().convert(cutout, object_id="mine")
    >>> image.unit, image.meta["bands"], float(image.data[0, 0, 0])
    (Unit("nmgy"), ('g', 'r', 'z'), 2.0)
    """

    modality = "image"

    def identify(self, path, hdulist):
        """Whether a file is a FITS cutout of the viewer; see `Survey.identify`.

        Parameters
        ----------
        path : pathlib.Path
            Not used: the viewer's file names are the user's.
        hdulist : astropy.io.fits.HDUList or None
            The open file if it is FITS.

        Returns
        -------
        bool
        """
        if hdulist is None:
            return False
        header = hdulist[0].header
        if header.get("SURVEY", _SURVEYS[0]) not in _SURVEYS:
            return False
        if header["NAXIS"] == 0:
            return len(hdulist) > 1 and {"BRICK", "BAND", "IMAGETYP"} <= set(hdulist[1].header)
        return header["NAXIS"] in (2, 3) and {"BANDS", "IMAGEW", "IMAGEH"} <= set(header)

    def read(self, path, hdulist=None):
        """Read a file; see `Survey.read`.

        Parameters
        ----------
        path : pathlib.Path
            FITS cutout.
        hdulist : astropy.io.fits.HDUList, optional
            The same if it is open already.

        Yields
        ------
        astropy.nddata.CCDData
            As `convert` yields them; the object is named by the file.

        Raises
        ------
        InputError
            If the file is a picture, or no FITS cutout of the viewer.
        """
        path = Path(path)
        if path.suffix.lower() in _PICTURES:
            raise InputError(REFUSED_RGB, object_id=str(path))
        with opened(path, hdulist) as hdulist:
            yield from self.convert(hdulist, object_id=path.stem)

    def convert(self, hdulist, *, object_id=""):
        """Convert an open cutout.

        Parameters
        ----------
        hdulist : astropy.io.fits.HDUList
            The cutout.
        object_id : str, optional
            Name of the object.

        Yields
        ------
        astropy.nddata.CCDData
            One, nanomaggies per pixel of the file, shape (band, row, column), with mask, WCS,
            uncertainty where the file has inverse variances, and ``meta`` as `Survey` says.

        Raises
        ------
        InputError
            If it is no cutout of the viewer, or its target cannot be told.
        """
        if not isinstance(hdulist, fits.HDUList) or not self.identify(Path(object_id), hdulist):
            raise InputError(
                f"{type(hdulist).__name__} is no FITS cutout of the Legacy Surveys' viewer: "
                f"expected SURVEY {' or '.join(_SURVEYS)}, BANDS, IMAGEW and IMAGEH in the first "
                "header; pass other images as CCDData with a unit and meta['bands']",
                object_id=object_id,
            )
        if hdulist[0].header["NAXIS"]:
            bands, image, invvar, maskbits, header = _cutout(hdulist)
        else:
            bands, image, invvar, maskbits, header = _subimage(hdulist, object_id)
        wcs = header_wcs(header).celestial
        scale = np.sqrt(np.prod(proj_plane_pixel_scales(wcs))) * 3600
        factor = (scale / _NATIVE) ** 2
        data = np.asarray(image, np.float64).reshape((-1, *np.shape(image)[-2:]))
        if invvar is not None:
            invvar = np.asarray(invvar, np.float64).reshape(data.shape) / factor**2
        rows, columns = data.shape[-2:]
        centre = wcs.pixel_to_world((columns - 1) / 2, (rows - 1) / 2).icrs
        flagged = maskbits is not None and _near_centre(maskbits & _SATURATED, scale)
        meta = {
            "object_id": object_id,
            "ra": centre.ra.deg,
            "dec": centre.dec.deg,
            "bands": bands,
            "quality": Quality.SATURATED if flagged else Quality.GOOD,
        }
        yield CCDData(
            data * factor,
            unit=u.nmgy,
            mask=data == 0,
            uncertainty=None if invvar is None else InverseVariance(invvar),
            wcs=wcs,
            meta=meta,
        )


class LegacySurveyRGB(ByNameOnly):
    r"""Pictures (JPEG, PNG) from the Legacy Surveys' viewer, turned back into rough fluxes.

    For want of anything better only: a FITS cutout of the same place is free. It is never chosen
    by itself, ``survey="legacysurvey-rgb"`` asks for it.

    Parameters
    ----------
    pixel_scale : float
        Arcsec per pixel; pictures do not say.

    Notes
    -----
    The viewer's colours for g, r, z (its ``dr2_rgb``, releases up to DR9) are those of
    `astroclip_astro.adapters.image.to_rgb`: with :math:`x_b = s_b f_b + m` and
    :math:`I = \langle\max(0, x_b)\rangle`, a channel is
    :math:`c_b = x_b\,\mathrm{asinh}(Q I) / (\sqrt{Q}\,I)`. Their mean is
    :math:`\mathrm{asinh}(Q I) / \sqrt{Q}`, hence
    :math:`I = \sinh(\sqrt{Q} \langle c\rangle) / Q` and
    :math:`x_b = c_b\,I / \langle c\rangle`.

    What the picture has lost stays lost: a channel at 255 is only a lower limit (``SATURATED`` is
    set if there is one within 5" of the centre), one at 0 an upper limit, and rounding to 8 bits
    and JPEG compression cost a few per cent where the image is bright and the noise of the sky
    where it is not. Every object has ``OUT_OF_TRAINING_RANGE`` set.

    The picture has north up and east left, so its first row is the northernmost. Its flux is per
    pixel of 0.262" whatever its scale, as in `LegacySurvey`.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.surveys.legacysurvey import LegacySurveyRGB
    >>> image, = LegacySurveyRGB().convert(np.full((8, 8, 3), 128, np.uint8))
    >>> image.data[:, 0, 0]  # g, r, z in nanomaggies
    array([0.03388721, 0.05980096, 0.09241967])
    """

    modality = "image"
    bands = ("g", "r", "z")

    _scales = (6.0, 3.4, 2.2)
    _offset = 0.03
    _softening = 20.0

    def __init__(self, pixel_scale=_NATIVE):
        self.pixel_scale = pixel_scale

    def read(self, path):
        """Read a picture; see `Survey.read`.

        Parameters
        ----------
        path : pathlib.Path
            JPEG or PNG.

        Yields
        ------
        astropy.nddata.NDData
            As `convert` yields them; the object is named by the file.

        Raises
        ------
        InputError
            If Pillow is not installed, or the file is no picture in colour.
        """
        path = Path(path)
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError:
            raise InputError(
                "JPEG and PNG files are read with Pillow: install it with 'pip install pillow'",
                object_id=str(path),
            ) from None
        try:
            with Image.open(path) as picture:
                if picture.mode not in ("RGB", "RGBA", "P"):
                    raise InputError(
                        f"picture of mode {picture.mode!r}: expected colours (RGB)",
                        object_id=str(path),
                    )
                pixels = np.asarray(picture.convert("RGB"))
        except UnidentifiedImageError:
            raise InputError("no picture: expected JPEG or PNG", object_id=str(path)) from None
        yield from self.convert(pixels, object_id=path.stem)

    def convert(self, picture, *, object_id=""):
        """Convert a picture.

        Parameters
        ----------
        picture : numpy.ndarray
            Shape (row, column, 3) for red, green, blue (or 4, the last not used), uint8, first
            row north.
        object_id : str, optional
            Name of the object.

        Yields
        ------
        astropy.nddata.NDData
            One, nanomaggies per pixel, shape (band, row, column), last row north.

        Raises
        ------
        InputError
            If it is no such array.
        """
        shape = np.shape(picture)
        if getattr(picture, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] not in (3, 4):
            raise InputError(
                f"{type(picture).__name__} of shape {shape}: expected a picture, uint8 of shape "
                "(row, column, 3)",
                object_id=object_id,
            )
        # Channels from blue to red are bands from g to z; FITS rows grow northwards.
        pixels = np.moveaxis(picture[::-1, :, 2::-1], -1, 0)
        channels = pixels / 255
        mean = channels.mean(0)
        intensity = np.sinh(np.sqrt(self._softening) * mean) / self._softening
        scaled = channels * intensity / np.where(mean > 0, mean, 1)
        flux = (scaled - self._offset) / np.reshape(self._scales, (3, 1, 1))
        quality = Quality.OUT_OF_TRAINING_RANGE
        if _near_centre((pixels == 255).any(0), self.pixel_scale):
            quality |= Quality.SATURATED
        meta = {
            "object_id": object_id,
            "bands": self.bands,
            "pixel_scale": self.pixel_scale,
            "quality": quality,
        }
        yield NDData(flux * (self.pixel_scale / _NATIVE) ** 2, unit=u.nmgy, meta=meta)


def _cutout(hdulist):
    """Bands, image, inverse variance, mask bits and header of a cutout."""
    extra = {str(hdu.header.get("IMAGETYP", "")).lower(): hdu.data for hdu in hdulist[1:]}
    header = hdulist[0].header
    return (
        band_names(header),
        hdulist[0].data,
        extra.get("invvar"),
        extra.get("maskbits"),
        header,
    )


def _subimage(hdulist, object_id):
    """Do the same for one image HDU per band of one brick."""
    bricks = {hdu.header["BRICK"] for hdu in hdulist[1:]}
    if len(bricks) != 1:
        raise InputError(
            f"the sub-images are of {len(bricks)} bricks, {', '.join(sorted(bricks))}, and do not "
            "say where the target is: fetch the cutout without 'subimage'",
            object_id=object_id,
        )
    kinds = {"image": {}, "invvar": {}}
    for hdu in hdulist[1:]:
        kinds[hdu.header["IMAGETYP"].lower()][hdu.header["BAND"]] = hdu.data
    images, invvars = kinds.values()
    if invvars.keys() != images.keys():
        invvars = {}
    return (
        tuple(images),
        np.stack(list(images.values())),
        np.stack([invvars[band] for band in images]) if invvars else None,
        None,
        hdulist[1].header,
    )


def _near_centre(flags, pixel_scale):
    """Whether anything is flagged (…, row, column) within the footprint of the object."""
    slices = tuple(
        slice(
            max(0, int(n / 2 - _FOOTPRINT / pixel_scale)), int(n / 2 + _FOOTPRINT / pixel_scale) + 1
        )
        for n in flags.shape[-2:]
    )
    return bool(np.any(flags[(..., *slices)]))
