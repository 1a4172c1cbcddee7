"""Cutouts of galaxies as tensors on the pixel grid of a model."""

from dataclasses import dataclass
from math import sqrt
from numbers import Real

import numpy as np
import torch
from astropy.io.fits import HDUList, Header
from astropy.nddata import NDData
from astropy.stats import mad_std
from specutils import Spectrum

from astroclip_astro.adapters.flux_density import LARGEST_FLUX
from astroclip_astro.adapters.meta import image_meta, sky_position, stated
from astroclip_astro.adapters.modality import Modality
from astroclip_astro.adapters.planes import REFUSED_RGB, read_planes, tangent_wcs
from astroclip_astro.adapters.records import FailedRecord, ImageBatch, ImageRecord
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality

__all__ = [
    "ImagePreprocessing",
    "encoder_input",
    "image_batch",
    "image_records",
    "to_rgb",
]

#: Side in pixels of the part of a cutout that stands for the object: 12 × 0.262" = 3.1", about
#: the size of a galaxy of DESI's bright survey, and one patch of the encoder.
_CENTRE = 12

#: Images with larger pixels, in units of the model's, say so in their quality.
_UNDERSAMPLED = 2.0

#: Images with larger pixels, in units of the model's, are refused: fewer than 30 of them on a side
#: would have to make up the whole cutout, and the galaxy two or three.
_TOO_COARSE = 5.0


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """The pixel grid and the colour mapping that an image model was trained with.

    It is stored with the weights as ``dataclasses.asdict`` gives it, and rebuilt by
    ``ImagePreprocessing(**stored)``.

    Parameters
    ----------
    bands : tuple of str
        Bands in the order of the planes, from blue to red.
    pixel_scale : float
        Arcsec per pixel.
    size : int
        Pixels on a side of the cutout.
    crop : int
        Pixels on a side of what the encoder sees: the centre of the cutout.
    rgb_scales : tuple of float
        Factor of each band in the colour mapping, per nanomaggy.
    rgb_offset : float
        Offset added to each scaled band, *m* in `to_rgb`.
    rgb_softening : float
        Softening of the asinh stretch, *Q* in `to_rgb`.

    Raises
    ------
    ValueError
        If there is not one scale per band, or the crop is larger than the cutout.

    Notes
    -----
    The defaults are those of AstroCLIP (Parker et al. 2024, MNRAS 531, 4990).

    Examples
    --------
    >>> from astroclip_astro.adapters.image import ImagePreprocessing
    >>> ImagePreprocessing().bands
    ('g', 'r', 'z')
    """

    bands: tuple[str, ...] = ("g", "r", "z")
    pixel_scale: float = 0.262
    size: int = 152
    crop: int = 144
    rgb_scales: tuple[float, ...] = (6.0, 3.4, 2.2)
    rgb_offset: float = 0.03
    rgb_softening: float = 20.0

    def __post_init__(self):
        # JSON has lists only.
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "rgb_scales", tuple(self.rgb_scales))
        if len(self.rgb_scales) != len(self.bands):
            raise ValueError(f"bands {self.bands} need one scale each, got {self.rgb_scales}")
        if not 0 < self.crop <= self.size:
            raise ValueError(f"crop {self.crop} does not fit into the cutout size {self.size}")


def image_records(image, *, preprocessing, survey=None, survey_name="", object_id=""):
    """Bring a cutout onto the pixel grid of a model.

    The grid is in the tangent plane of the target, north up (rows grow northwards) and east left,
    its centre between the four central pixels. The target is at ``meta["ra"]``, ``meta["dec"]`` or
    the header's RA and DEC; without them it is in the middle of the image. An image without a WCS
    needs ``meta["pixel_scale"]`` or the survey's, and is taken to have north up.
    `~astroclip_astro.adapters.cutout.cut_out` says how images are cut and resampled.

    Parameters
    ----------
    image : astropy.nddata.NDData or astropy.nddata.CCDData or astropy.io.fits.HDUList
        One object: a cube (band, row, column) with its bands in ``meta["bands"]`` or the header's
        BANDS; or, in an HDUList, one image per band with its own WCS, named by BAND, FILTER or
        EXTNAME. Bands that the model does not use, and HDUs that are no band, are left aside.
        Fluxes are in maggies, a flux density per frequency, or either per pixel or solid angle;
        counts need ``meta["zeropoint"]``, the AB magnitude of one, or the survey's. With a survey
        that has a ``convert`` method, anything which that takes.
    preprocessing : ImagePreprocessing
        The grid and the bands.
    survey : Survey, optional
        Says what the image leaves open: bands, zeropoint, pixel scale.
    survey_name : str, optional
        Name of the survey for the records.
    object_id : str, optional
        Name of the object where ``meta["object_id"]`` and the header's OBJECT have none.

    Yields
    ------
    ImageRecord or FailedRecord
        The latter where a band is absent or has no usable pixel at the object, where no data
        are left at all, and where the pixels are more than 5 times coarser than the model's.

    Raises
    ------
    InputError
        If the object is no image, or its unit, bands or geometry are missing or unusable.

    Notes
    -----
    Masked and non-finite pixels and those without weight (zero inverse variance) do not count as
    covered. Small holes are interpolated, large ones and what lies outside the image are 0, the
    level of the sky (`~astroclip_astro.adapters.cutout.fill_holes`). The signal-to-noise ratio
    per pixel is the median over the central 12 × 12 pixels and all bands, with the uncertainty of
    the image; where it has none, with the noise of each band estimated outside the central half
    of the cutout (`astropy.stats.mad_std`), which is too high where a galaxy fills it.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.nddata import NDData
    >>> from astroclip_astro.adapters.image import ImagePreprocessing, image_records
    >>> sky = np.random.default_rng(1).normal(0, 0.01, (3, 160, 160))
    >>> image = NDData(sky, unit=u.nmgy, meta={"bands": "grz", "pixel_scale": 0.262})
    >>> record, = image_records(image, preprocessing=ImagePreprocessing())
    >>> record.flux.shape, record.quality
    ((3, 152, 152), <Quality.LOW_SNR: 256>)
    """
    convert = getattr(survey, "convert", None)
    if convert is not None and not isinstance(image, NDData):
        images = convert(image, object_id=object_id)
    elif isinstance(image, (NDData, HDUList)):
        images = [image]
    elif isinstance(image, np.ndarray) and image.dtype == np.uint8:
        raise InputError(REFUSED_RGB, object_id=object_id)
    else:
        raise InputError(
            f"{type(image).__module__}.{type(image).__qualname__}: expected an HDUList, or an "
            "NDData or CCDData with a unit and meta={'bands': …}; an array alone has neither",
            object_id=object_id,
        )
    for one in images:
        meta = image_meta(one)
        name = str(stated(meta, "object_id") or object_id or meta.get("OBJECT", ""))
        try:
            yield _record(one, meta, preprocessing, survey, name, survey_name)
        except InputError as error:
            if error.object_id:
                raise
            raise InputError(str(error), object_id=name, quality=error.quality) from error


def _record(image, meta, preprocessing, survey, object_id, survey_name):
    from astroclip_astro.adapters.cutout import cut_out  # imports reproject, which is slow

    bands, size = preprocessing.bands, preprocessing.size
    planes = read_planes(image, bands=bands, survey=survey)
    # QUALITY in a FITS header is somebody else's.
    quality = Quality(0 if isinstance(meta, Header) else meta.get("quality", 0))
    redshift = stated(meta, "redshift")
    position = sky_position(meta)
    target = position
    if planes and position is None:
        first = next(iter(planes.values()))
        rows, columns = first.flux.shape
        target = first.wcs.pixel_to_world((columns - 1) / 2, (rows - 1) / 2).icrs
        position = target if first.on_sky else None
    known = {
        "object_id": object_id,
        "survey": survey_name,
        "redshift": float(redshift) if isinstance(redshift, Real) else np.nan,
        "ra": np.nan if position is None else position.ra.deg,
        "dec": np.nan if position is None else position.dec.deg,
    }

    def failed(reason, bits):
        return FailedRecord(reason=reason, quality=quality | bits | Quality.NOT_EMBEDDED, **known)

    if missing := [band for band in bands if band not in planes]:
        return failed(
            f"band {', '.join(missing)} is missing: the model needs {', '.join(bands)}",
            Quality.MISSING_BAND,
        )
    grid = tangent_wcs(target, preprocessing.pixel_scale, (size, size))
    cuts = cut_out([planes[band] for band in bands], grid)
    good = np.stack([cut.good for cut in cuts])
    flux = np.stack([cut.flux for cut in cuts])

    coverage = good.mean()
    if coverage < 0.95:
        quality |= Quality.PARTIAL_COVERAGE
    if any(cut.good.sum() < 0.5 * cut.observed.sum() for cut in cuts):
        quality |= Quality.MOSTLY_MASKED
    if any(cut.non_finite for cut in cuts):
        quality |= Quality.NON_FINITE
    coarsest = max(cut.pixel_scale for cut in cuts)
    if coarsest > _UNDERSAMPLED:
        quality |= Quality.UNDERSAMPLED | Quality.OUT_OF_TRAINING_RANGE

    if not good.any():
        return failed(
            "no usable pixel: all are masked, not finite, without weight, or outside "
            f'{size * preprocessing.pixel_scale:.0f}" around the target',
            Quality.NO_DATA,
        )
    if coarsest > _TOO_COARSE:
        return failed(
            f'pixels of {coarsest * preprocessing.pixel_scale:.2f}": expected at most '
            f'{_TOO_COARSE * preprocessing.pixel_scale:.2f}", 5 times those of the model',
            Quality.GOOD,
        )
    middle = slice((size - _CENTRE) // 2, (size + _CENTRE) // 2)
    in_middle = good[:, middle, middle].mean((1, 2))
    if lost := [band for band, share in zip(bands, in_middle, strict=True) if share <= 0.5]:
        return failed(
            f"band {', '.join(lost)} has no usable pixels at the object, in the central "
            f"{_CENTRE} × {_CENTRE}: masked, not finite, or outside the image",
            Quality.MISSING_BAND,
        )
    snr = _signal_to_noise(flux, good, [cut.variance for cut in cuts], middle)
    if np.isnan(snr):
        quality |= Quality.NO_UNCERTAINTY
    elif snr < 1:
        quality |= Quality.LOW_SNR
    return ImageRecord(
        flux=flux.astype(np.float32),
        good=good,
        coverage=coverage,
        snr=snr,
        quality=quality,
        **known,
    )


def _signal_to_noise(flux, good, variances, middle):
    """Median over the middle of all bands; NaN if the noise is not known."""
    ratios = []
    for plane, used, variance in zip(flux, good, variances, strict=True):
        if variance is None:
            outside = used.copy()
            quarter = len(plane) // 4
            outside[quarter:-quarter, quarter:-quarter] = False
            noise = mad_std(plane[outside]) if outside.any() else 0
            sigma = np.full(plane.shape, noise)
        else:
            sigma = np.sqrt(variance)
        used = used[middle, middle] & (sigma[middle, middle] > 0)
        ratios.append(plane[middle, middle][used] / sigma[middle, middle][used])
    ratios = np.concatenate(ratios)
    return float(np.median(ratios)) if ratios.size else np.nan


def to_rgb(flux, preprocessing):
    r"""Map fluxes to the colour image that the encoder was trained on.

    With :math:`x_b` the flux of a band times its scale, plus *m*, the intensity is
    :math:`I = \langle\max(0, x_b)\rangle` over the bands, and each channel is
    :math:`x_b\,\mathrm{asinh}(Q I) / (\sqrt{Q}\,I)`, clipped to [0, 1]: the mapping of Lupton
    et al. (2004, PASP 116, 133) as the Legacy Surveys' sky viewer has it.

    Parameters
    ----------
    flux : torch.Tensor
        Nanomaggies per pixel, shape (..., band, row, column), floating point, on any device.
    preprocessing : ImagePreprocessing
        Scales, offset and softening.

    Returns
    -------
    torch.Tensor
        Same shape, dtype and device; channels from red to blue, (z, r, g) for g, r, z input.
        A pixel whose intensity is zero or not finite is black: the result never holds NaN.

    Raises
    ------
    ValueError
        If there is not one plane per band.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.adapters.image import ImagePreprocessing, to_rgb
    >>> to_rgb(torch.zeros(1, 3, 2, 2), ImagePreprocessing())[0, :, 0, 0]
    tensor([0.1272, 0.1272, 0.1272])
    """
    scales = torch.tensor(preprocessing.rgb_scales, dtype=flux.dtype).view(-1, 1, 1)
    scales = scales.to(flux.device, non_blocking=flux.device.type == "cuda")
    if flux.ndim < 3 or flux.shape[-3] != len(scales):
        raise ValueError(
            f"flux of shape {tuple(flux.shape)}: expected (..., {len(scales)}, row, column) for "
            f"bands {preprocessing.bands}"
        )
    softening = preprocessing.rgb_softening
    scaled = flux * scales + preprocessing.rgb_offset
    stretched = softening * scaled.clamp(min=0).mean(-3, keepdim=True)
    lit = (stretched > 0) & stretched.isfinite()
    # Dividing by 1 instead of 0 keeps NaN out of the gradient as well as out of the value.
    gain = torch.asinh(stretched) * sqrt(softening) / torch.where(lit, stretched, 1)
    return torch.where(lit, scaled * gain, 0).clamp(0, 1).flip(-3)


def encoder_input(flux, preprocessing):
    """Turn fluxes on the model's pixel grid into what its image encoder sees.

    Parameters
    ----------
    flux : torch.Tensor
        Nanomaggies per pixel, shape (..., band, row, column), at least `crop` pixels on a side.
    preprocessing : ImagePreprocessing
        Colour mapping and crop.

    Returns
    -------
    torch.Tensor
        The centre of `to_rgb`, shape (..., band, crop, crop).

    Raises
    ------
    ValueError
        If the image is smaller than the crop, or `to_rgb` refuses it.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.adapters.image import ImagePreprocessing, encoder_input
    >>> encoder_input(torch.zeros(2, 3, 152, 152), ImagePreprocessing()).shape
    torch.Size([2, 3, 144, 144])
    """
    crop = preprocessing.crop
    height, width = flux.shape[-2:]
    if min(height, width) < crop:
        raise ValueError(f"image of {height} × {width} pixels: expected at least {crop} × {crop}")
    top, left = (height - crop) // 2, (width - crop) // 2
    return to_rgb(flux[..., top : top + crop, left : left + crop], preprocessing)


def image_batch(records, preprocessing, device="cpu"):
    """Stack records into one batch.

    Parameters
    ----------
    records : sequence of ImageRecord or FailedRecord
        At least one. A failed record keeps its place as a row of zero flux, zero coverage and
        ``NOT_EMBEDDED``.
    preprocessing : ImagePreprocessing
        The grid that the records are on.
    device : str or torch.device
        Where the fluxes go.

    Returns
    -------
    ImageBatch
        Fluxes in nanomaggies, shape (B, band, size, size), float32.

    Raises
    ------
    ValueError
        If a record is on another grid, or its flux is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.adapters.image import ImagePreprocessing, image_batch
    >>> from astroclip_astro.adapters.records import ImageRecord
    >>> record = ImageRecord(object_id="a", flux=np.zeros((3, 152, 152), "f4"), coverage=1.0)
    >>> image_batch([record], ImagePreprocessing()).flux.shape
    torch.Size([1, 3, 152, 152])
    """
    shape = (len(preprocessing.bands), preprocessing.size, preprocessing.size)
    on_cuda = torch.device(device).type == "cuda"
    # From page-locked memory, nothing waits for the copy.
    flux = torch.zeros((len(records), *shape), dtype=torch.float32, pin_memory=on_cuda)
    coverage = np.zeros(len(records))
    snr = np.full(len(records), np.nan)
    quality = np.empty(len(records), np.int64)
    for i, record in enumerate(records):
        quality[i] = record.quality
        if isinstance(record, FailedRecord):
            quality[i] |= Quality.NOT_EMBEDDED
            continue
        if record.flux.shape != shape or not np.isfinite(record.flux).all():
            raise ValueError(
                f"{record.object_id or f'record {i}'}: flux of shape {record.flux.shape}: expected "
                f"finite values of shape {shape}"
            )
        flux.numpy()[i] = record.flux
        coverage[i], snr[i] = record.coverage, record.snr
    return ImageBatch(
        flux=flux.to(device, non_blocking=on_cuda),
        coverage=coverage,
        snr=snr,
        quality=quality,
        **ImageBatch.columns(records),
    )


class ImageModality(Modality):
    """Calibrated cutouts on a pixel grid; see `Modality` for what the methods do."""

    preprocessing = ImagePreprocessing
    largest = LARGEST_FLUX

    def accepts(self, obj):
        """Any `NDData` but spectra; a bare array is taken, too, to be refused with the reason."""
        if isinstance(obj, np.ndarray):
            return not (obj.dtype.hasobject and obj.ndim == 1)  # a list of objects, or a column
        return isinstance(obj, (HDUList, NDData)) and not isinstance(obj, Spectrum)

    def is_single(self, obj):
        """Every cutout is one object."""
        return True

    def records(self, obj, *, preprocessing, survey=None, survey_name="", object_id=""):
        """As `image_records` makes them."""
        if preprocessing is None:
            raise InputError("this model takes no images", object_id=object_id)
        return image_records(
            obj,
            preprocessing=preprocessing,
            survey=survey,
            survey_name=survey_name,
            object_id=object_id,
        )

    def batch(self, records, preprocessing, device="cpu"):
        """As `image_batch` makes it."""
        return image_batch(records, preprocessing, device)

    def model_input(self, flux, preprocessing):
        """As `encoder_input` makes it."""
        return encoder_input(flux, preprocessing)
