"""Cutouts of the Hyper Suprime-Cam Subaru Strategic Program: coadds, one FITS file per band."""

import zlib
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs.utils import proj_plane_pixel_scales

from astroclip_astro.adapters.photometric import nanomaggies_per_unit
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import images as legacy
from astroclip_astro.surveys import ByNameOnly, Survey
from astroclip_hsc.files import BANDS, ZEROPOINT, is_cutout, read_band, same_grid, sibling_files

__all__ = ["HSC", "HSCLegacyDepth"]

#: Arcsec around the centre in which mask planes count as the object's.
_FOOTPRINT = 5.0


class HSC(Survey):
    """FITS cutouts of coadds as the data archive's cutout service gives them, one file per band.

    HDU 1 of a file is the image, HDU 2 the mask and HDU 3 the variance; the latter two are used if
    they were asked for. Several files, one per band, are one object. Give any one of them, such as
    ``cutout-HSC-R-9813-pdr2_wide.fits``: the others are found beside it, see
    `~astroclip_hsc.files.sibling_files`. The object is in the middle of the cutout.

    Notes
    -----
    *Flux.* Coadds have an AB zeropoint of 27.0 in every band; where the header has FLUXMAG0, the
    counts of an object of magnitude 0, that counts.

    *Mask.* Planes are known by the numbers that the file's MP_ cards give them. Masked are BAD, CR,
    EDGE, NO_DATA and UNMASKEDNAN. SAT is not masked, for a galaxy without its centre would be no
    galaxy: if there is any within 5" of the centre, ``SATURATED`` is set. BRIGHT_OBJECT there, the
    surroundings of a bright star, sets ``SURVEY_WARNING``.

    *Filters.* r2 and i2, which replaced r and i in 2016, count as r and i. Fluxes are used as they
    are, without colour terms between HSC's filters and those that the model was trained with.

    *Resolution.* Seeing and depth are left as they are: HSC's images are sharper and deeper.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> aa.embed("cutout-HSC-R-9813-pdr2_wide.fits")  # doctest: +SKIP
    """

    modality = "image"
    bands = BANDS
    zeropoint = ZEROPOINT
    pixel_scale = 0.168

    def identify(self, path, hdulist):
        """Whether a file is a cutout of an HSC coadd in one band; see `Survey.identify`.

        Parameters
        ----------
        path : pathlib.Path
            Not used: the service's file names may have been changed.
        hdulist : astropy.io.fits.HDUList or None
            The open file if it is FITS; only headers are read.

        Returns
        -------
        bool
        """
        return bool(hdulist) and is_cutout(hdulist)

    def read(self, path):
        """Read an object, given the file of one of its bands; see `Survey.read`.

        Parameters
        ----------
        path : path-like
            The file.

        Yields
        ------
        astropy.nddata.CCDData
            As `combine` returns it; the object is named by the file.

        Raises
        ------
        InputError
            If it is no such file, or g, r or z are not beside it.
        """
        path = Path(path)
        yield self.combine(sibling_files(path).values(), object_id=path.stem)

    def convert(self, hdulist, *, object_id=""):
        """Convert an open file and those beside it.

        Parameters
        ----------
        hdulist : astropy.io.fits.HDUList
            Opened from a file.
        object_id : str, optional
            Name of the object.

        Yields
        ------
        astropy.nddata.CCDData
            As `combine` returns it.

        Raises
        ------
        InputError
            If it was not opened from a file, so that there is nothing beside it, or as for `read`.
        """
        path = hdulist.filename() if isinstance(hdulist, fits.HDUList) else None
        if path is None:
            raise InputError(
                f"{type(hdulist).__name__} holds one band at most: expected the path of a cutout, "
                "with the files of the other bands beside it",
                object_id=object_id,
            )
        yield self.combine(sibling_files(path).values(), object_id=object_id or Path(path).stem)

    def combine(self, paths, *, object_id=""):
        """Put files of one object together, whatever their names.

        Parameters
        ----------
        paths : iterable of path-like
            One file per band, all on the same pixels.
        object_id : str, optional
            Name of the object.

        Returns
        -------
        astropy.nddata.CCDData
            Counts per pixel, shape (band, row, column), with mask, WCS, variance where every file
            has one, and ``meta`` as `Survey` says.

        Raises
        ------
        InputError
            If a file is no cutout, or they are not of different bands on the same pixels and in
            one unit.

        Examples
        --------
        >>> from astroclip_hsc.survey import HSC
        >>> HSC().combine(["ngc1-g.fits", "ngc1-r.fits", "ngc1-z.fits"])  # doctest: +SKIP
        """
        planes = [read_band(Path(path)) for path in paths]
        if not planes:
            raise InputError("no file: expected one per band", object_id=object_id)
        names = tuple(plane.band for plane in planes)
        if len(set(names)) != len(names):
            raise InputError(
                f"files of the bands {', '.join(names)}: expected one file per band",
                object_id=object_id,
            )
        first = planes[0]
        for other in planes[1:]:
            if not same_grid(first.grid, other.grid):
                raise InputError(
                    f"{other.path.name} and {first.path.name} are not on the same pixels: expected "
                    "cutouts of one place and size",
                    object_id=object_id,
                )
            if other.unit != first.unit:
                raise InputError(
                    f"{first.path.name} is in {first.unit} and {other.path.name} in {other.unit}: "
                    "expected one unit (BUNIT) for all bands",
                    object_id=object_id,
                )
        shape, wcs = first.grid
        near = _near_centre(shape, wcs)
        quality = Quality.GOOD
        if any(plane.planes["SAT"][near].any() for plane in planes):
            quality |= Quality.SATURATED
        if any(plane.planes["BRIGHT_OBJECT"][near].any() for plane in planes):
            quality |= Quality.SURVEY_WARNING
        centre = wcs.pixel_to_world((shape[1] - 1) / 2, (shape[0] - 1) / 2).icrs
        variances = [plane.variance for plane in planes]
        uncertainty = None
        if all(variance is not None for variance in variances):
            uncertainty = VarianceUncertainty(np.stack(variances))
        return CCDData(
            np.stack([plane.image for plane in planes]),
            unit=first.unit,
            mask=np.stack([plane.bad for plane in planes]),
            uncertainty=uncertainty,
            wcs=wcs,
            meta={
                "object_id": object_id,
                "ra": centre.ra.deg,
                "dec": centre.dec.deg,
                "bands": names,
                "zeropoint": {plane.band: plane.zeropoint for plane in planes},
                "quality": quality,
            },
        )


class HSCLegacyDepth(ByNameOnly, HSC):
    """The same files, with noise added until they are as shallow as the Legacy Surveys.

    A model that learnt from the Legacy Surveys' images sees less in HSC's than it might, because
    they lack the noise that it is used to. White noise is added to g, r and z so that there is as
    much in all as at the median depth and seeing of DECaLS (Dey et al. 2019, AJ 157, 168); the same
    file always gets the same noise. It is never chosen by itself: ``survey="hsc-legacy-depth"``
    asks for it. The files' variances are needed.

    Examples
    --------
    >>> import astroclip_astro as aa
    >>> path = "cutout-HSC-R-9813-pdr2_wide.fits"
    >>> aa.embed(path, survey="hsc-legacy-depth")  # doctest: +SKIP
    """

    def combine(self, paths, *, object_id=""):
        """Put files of one object together and add noise; see `HSC.combine`.

        Parameters
        ----------
        paths : iterable of path-like
            One file per band, all on the same pixels.
        object_id : str, optional
            Name of the object.

        Returns
        -------
        astropy.nddata.CCDData
            Its variance is that of all the noise.

        Raises
        ------
        InputError
            As for `HSC.combine`, or if a file has no variance.
        """
        image = super().combine(paths, object_id=object_id)
        if image.uncertainty is None:
            raise InputError(
                "a file has no variance: expected to know how much noise there is already; ask the "
                "cutout service for the variance, too",
                object_id=object_id,
            )
        scale = np.mean(proj_plane_pixel_scales(image.wcs)) * 3600
        median = legacy.ObservingConditions(seeing=legacy.SEEING, depth=legacy.DEPTH)
        # Of the sky: per pixel it goes with the side of a pixel.
        wanted = legacy.pixel_sigma(median) * scale / legacy.PIXEL_SCALE
        rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(image.data).tobytes()))
        for band, sigma in zip("grz", wanted, strict=True):
            if band not in image.meta["bands"]:
                continue
            i = image.meta["bands"].index(band)
            factor = nanomaggies_per_unit(image.unit, zeropoint=image.meta["zeropoint"][band])
            variance = image.uncertainty.array[i]
            known = ~image.mask[i] & np.isfinite(variance) & (variance > 0)
            there = np.median(variance[known]) if known.any() else 0
            added = max(0, (sigma / factor) ** 2 - there)
            image.data[i] += np.sqrt(added) * rng.standard_normal(image.data[i].shape)
            variance[variance > 0] += added
        return image


def _near_centre(shape, wcs):
    """Slices of the pixels within the footprint of an object in the middle."""
    scales = proj_plane_pixel_scales(wcs) * 3600
    return tuple(
        slice(max(0, int(n / 2 - _FOOTPRINT / scale)), int(n / 2 + _FOOTPRINT / scale) + 1)
        for n, scale in zip(shape, scales[::-1], strict=True)
    )
