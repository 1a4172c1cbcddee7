"""Cutouts of galaxies as tensors on the pixel grid of a model."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch

from astroclip_astro.adapters.records import FailedRecord, ImageBatch
from astroclip_astro.quality import Quality

__all__ = ["ImagePreprocessing", "encoder_input", "image_batch", "to_rgb"]


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
    scales = flux.new_tensor(preprocessing.rgb_scales).view(-1, 1, 1)
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
    flux = np.zeros((len(records), *shape), np.float32)
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
        flux[i] = record.flux
        coverage[i], snr[i] = record.coverage, record.snr
    return ImageBatch(
        flux=torch.from_numpy(flux).to(device),
        coverage=coverage,
        snr=snr,
        quality=quality,
        **ImageBatch.columns(records),
    )
