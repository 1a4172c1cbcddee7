"""Cutouts of SDSS corrected frames: files as `astroclip_sdss.frames.cut_frames` makes them."""

import re
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.ndimage import gaussian_filter

from astroclip_astro.adapters.planes import header_wcs
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import images as legacy
from astroclip_astro.surveys import ByNameOnly, Survey
from astroclip_sdss.frames import BANDS, FRAME_SHAPE, PIXEL_SCALE, frame_band

__all__ = ["SDSSImage", "SDSSImageLegacyDepth"]

_FRAME_NAME = re.compile(r"frame-[ugriz]-\d{6}-\d-\d{4}\.fits(\.bz2|\.gz)?")


class SDSSImage(Survey):
    """Cutouts of SDSS's corrected frames, all bands of one object in one FITS file.

    Such a file comes from `~astroclip_sdss.frames.cut_frames`, or from what the source "sdss-image"
    fetches: RA and DEC of the object are in its first header, and each further HDU is the image of
    one band, named by FILTER, in nanomaggies, with a WCS of its own.

    A frame as SDSS distributes it is recognised, and refused: it shows hundreds of objects and
    does not say which one is meant.

    Notes
    -----
    *Flux.* Frames are sky-subtracted and calibrated, in nanomaggies per pixel of 0.396", within a
    few per cent of AB. Nothing is corrected.

    *Missing.* Frames come without a mask and without noise: saturated pixels and cosmic rays that
    are left are not flagged, and the signal-to-noise ratio is estimated from the sky around the
    object.

    *Filters.* Fluxes are used as they are, without colour terms between SDSS's filters and those
    that the model was trained with.

    *Resolution.* Seeing and depth are left as they are: SDSS's images are blurred more, and
    shallower, in z most of all.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> aa.embed("ngc5227.fits")  # doctest: +SKIP
    """

    modality = "image"
    bands = BANDS
    zeropoint = 22.5
    pixel_scale = PIXEL_SCALE

    def identify(self, path, hdulist):
        """Whether a file is a cutout of frames, or a whole frame; see `Survey.identify`.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        hdulist : astropy.io.fits.HDUList or None
            The open file if it is FITS; only headers are read.

        Returns
        -------
        bool
        """
        if _FRAME_NAME.fullmatch(path.name):
            return True
        return bool(hdulist) and (_is_cutout(hdulist) or _is_frame(hdulist))

    def read(self, path):
        """Read a file; see `Survey.read`.

        Parameters
        ----------
        path : path-like
            The file.

        Yields
        ------
        astropy.io.fits.HDUList
            As `convert` yields it; the object is named by the file.

        Raises
        ------
        InputError
            As for `convert`.
        """
        path = Path(path)
        with fits.open(path) as hdulist:
            yield from self.convert(hdulist, object_id=path.stem)

    def convert(self, hdulist, *, object_id=""):
        """Check an open cutout.

        Parameters
        ----------
        hdulist : astropy.io.fits.HDUList
            The cutout.
        object_id : str, optional
            Name of the object where OBJECT in the first header has none.

        Yields
        ------
        astropy.io.fits.HDUList
            One, in memory: the first header with RA, DEC and OBJECT_ID, then an image per band.

        Raises
        ------
        InputError
            If it is a whole frame, no cutout of frames, truncated, or lacks g, r or z.
        """
        if isinstance(hdulist, fits.HDUList) and _is_frame(hdulist):
            raise InputError(
                "an SDSS frame shows many objects: expected a cutout of one; make it with "
                "astroclip_sdss.frames.cut_frames(frames of g, r and z, coordinate)",
                object_id=object_id,
            )
        if not isinstance(hdulist, fits.HDUList) or not _is_cutout(hdulist):
            raise InputError(
                f"{type(hdulist).__name__} is no cutout of SDSS frames: expected SURVEY 'SDSS', RA "
                "and DEC in its first header and an image with FILTER per band, as "
                "astroclip_sdss.frames.cut_frames makes them",
                object_id=object_id,
            )
        primary = hdulist[0].copy()
        # What the object is called in the file comes before the name of the file.
        names = (primary.header.get(key) for key in ("OBJECT_ID", "OBJECT"))
        primary.header["HIERARCH OBJECT_ID"] = next(filter(None, names), object_id)
        bands = {}
        for hdu in hdulist[1:]:
            band = frame_band(hdu.header, object_id=object_id)
            if band in bands:
                raise InputError(f"two images are of band {band}", object_id=object_id)
            try:
                bands[band] = fits.ImageHDU(hdu.data.copy(), hdu.header, name=band)
            except (TypeError, ValueError, OSError, AttributeError) as error:
                raise InputError(
                    f"band {band} cannot be read, the file may be truncated: {error}",
                    object_id=object_id,
                ) from error
        if missing := [band for band in "grz" if band not in bands]:
            raise InputError(
                f"band {', '.join(missing)} is missing: expected g, r and z; cut it out of the "
                "frames of all of them",
                object_id=object_id,
                quality=Quality.MISSING_BAND,
            )
        yield fits.HDUList([primary, *bands.values()])


class SDSSImageLegacyDepth(ByNameOnly, SDSSImage):
    """The same files, smoothed until they are no noisier than the Legacy Surveys.

    A model that learnt from the Legacy Surveys' images takes the noise of SDSS's for structure.
    Each band is smoothed with a Gaussian of the width that brings the noise of its pixels down to
    that at the median depth and seeing of DECaLS (Dey et al. 2019, AJ 157, 168), by some 0.35" in
    g, 0.2" in r and 0.6" in z (standard deviation): what is gained in noise is lost in resolution.
    It is never chosen by itself: ``survey="sdss-image-legacy-depth"`` asks for it.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> aa.embed("ngc5227.fits", survey="sdss-image-legacy-depth")  # doctest: +SKIP
    """

    def convert(self, hdulist, *, object_id=""):
        """Check an open cutout and smooth it; see `SDSSImage.convert`.

        Parameters
        ----------
        hdulist : astropy.io.fits.HDUList
            The cutout.
        object_id : str, optional
            Name of the object where OBJECT in the first header has none.

        Yields
        ------
        astropy.io.fits.HDUList
            SMOOTHED in the header of a band is the standard deviation in pixels.

        Raises
        ------
        InputError
            As for `SDSSImage.convert`, or if SKYSIG, the noise, is not in the header of a band.
        """
        median = legacy.ObservingConditions(seeing=legacy.SEEING, depth=legacy.DEPTH)
        wanted = dict(zip("grz", legacy.pixel_sigma(median) / legacy.PIXEL_SCALE, strict=True))
        for image in super().convert(hdulist, object_id=object_id):
            for hdu in image[1:]:
                band = hdu.header["FILTER"].strip()
                # What `read` yields comes here again.
                if band not in wanted or "SMOOTHED" in hdu.header:
                    continue
                noise = hdu.header.get("SKYSIG", 0)
                if not noise > 0:
                    raise InputError(
                        f"SKYSIG of band {band} is {noise}: expected the noise of its frame in "
                        "nanomaggies, which astroclip_sdss.frames.cut_frames writes",
                        object_id=object_id,
                    )
                wcs = header_wcs(hdu.header)
                scale = np.mean(proj_plane_pixel_scales(wcs)) * 3600
                # Noise of the sky per pixel goes with the side of a pixel. A Gaussian of s pixels
                # leaves 1 / (2 sqrt(pi) s) of white noise.
                excess = noise / (wanted[band] * scale)
                width = excess / (2 * np.sqrt(np.pi)) if excess > 1 else 0.0
                hdu.data = gaussian_filter(hdu.data, width)
                hdu.header["SMOOTHED"] = width
            yield image


def _is_cutout(hdulist):
    header = hdulist[0].header
    return (
        header["NAXIS"] == 0
        and header.get("SURVEY") == "SDSS"
        and {"RA", "DEC"} <= set(header)
        and len(hdulist) > 1
        and all("FILTER" in hdu.header for hdu in hdulist[1:])
    )


def _is_frame(hdulist):
    header = hdulist[0].header
    return (
        header["NAXIS"] == 2
        and (header["NAXIS2"], header["NAXIS1"]) == FRAME_SHAPE
        and {"FILTER", "RUN", "CAMCOL"} <= set(header)
    )
