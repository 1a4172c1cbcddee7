"""Other looks at the same galaxies: orientation, position, seeing, depth, dust in front of them.

All work on batches of fluxes in nanomaggies, before the mapping to colours, and draw from torch's
global generator.
"""

import math

import torch

__all__ = ["EXTINCTION", "another_look", "blurred", "border_noise", "reddened", "turned"]

#: A/E(B-V) in g, r, z for the map of Schlegel et al. 1998
#: (https://www.legacysurvey.org/dr10/description, "Galactic extinction").
EXTINCTION = (3.214, 2.165, 1.211)

# FWHM that is added in quadrature, arcsec: from nothing to what leads from the median seeing of the
# Legacy Surveys, 1.18 in r, to 1.6, its worst nights (Dey et al. 2019, AJ 157, 168, section 7).
_WORSE_SEEING = (0.0, 1.1)
# Noise that is added, per pixel, over the noise that is there: up to 0.5 mag of depth, the
# difference between the least and the mean exposed parts of the same footprint.
_MORE_NOISE = (0.0, 0.77)
# Error of the dereddening, E(B-V): 16 % (Schlegel et al. 1998, ApJ 500, 525) of up to 0.3 mag.
_REDDENING = 0.05
_JITTER = 3  # pixels
_SIGMA_PER_FWHM = 1 / math.sqrt(8 * math.log(2))


def turned(flux, orientation=None):
    """Turn and mirror images.

    Parameters
    ----------
    flux : torch.Tensor
        Shape (B, band, N, N).
    orientation : torch.Tensor, optional
        One of eight for each, shape (B,), int64: quarter turns in 0 to 3, and mirrored from 4 on;
        drawn by default.

    Returns
    -------
    torch.Tensor
        Shape (B, band, N, N).

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.image_augment import turned
    >>> turned(torch.arange(4.0).reshape(1, 1, 2, 2), torch.tensor([4]))
    tensor([[[[1., 0.],
              [3., 2.]]]])
    """
    if orientation is None:
        orientation = torch.randint(8, (len(flux),), device=flux.device)
    made = flux.clone()
    for i in range(1, 8):
        chosen = orientation == i
        one = torch.rot90(flux[chosen], i % 4, (-2, -1))
        made[chosen] = one.flip(-1) if i >= 4 else one
    return made


def blurred(flux, fwhm):
    """Convolve images with Gaussians; at the edges they go on as they end.

    Parameters
    ----------
    flux : torch.Tensor
        Shape (B, band, H, W).
    fwhm : torch.Tensor
        Pixels, shape (B,) or (B, band).

    Returns
    -------
    torch.Tensor
        Shape (B, band, H, W); the total flux of what is away from the edges stays.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.image_augment import blurred
    >>> star = torch.zeros(1, 1, 33, 33)
    >>> star[..., 16, 16] = 1
    >>> made = blurred(star, torch.tensor([4.0]))
    >>> made.sum(), made.amax() * 2 * torch.pi * (4 / 2.3548) ** 2
    (tensor(1.0000), tensor(1.0000))
    """
    pad = 8
    padded = torch.nn.functional.pad(flux, (pad,) * 4, mode="replicate")
    height, width = padded.shape[-2:]
    sigma = (_SIGMA_PER_FWHM * fwhm).reshape(len(flux), -1, 1, 1)
    y = torch.fft.fftfreq(height, device=flux.device)[:, None]
    x = torch.fft.rfftfreq(width, device=flux.device)
    transfer = torch.exp(-2 * (torch.pi * sigma) ** 2 * (y**2 + x**2))
    made = torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, s=(height, width))
    return made[..., pad:-pad, pad:-pad]


def reddened(flux, ebv):
    """Dim images as dust in the Milky Way does.

    Parameters
    ----------
    flux : torch.Tensor
        g, r, z, shape (B, 3, H, W).
    ebv : torch.Tensor
        E(B-V) of the map of Schlegel et al. 1998, mag, shape (B,); negative values brighten.

    Returns
    -------
    torch.Tensor
        Shape (B, 3, H, W).

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.image_augment import reddened
    >>> -2.5 * reddened(torch.ones(1, 3, 1, 1), torch.tensor([0.1])).log10().flatten()
    tensor([0.3214, 0.2165, 0.1211])
    """
    magnitudes = ebv[:, None] * flux.new_tensor(EXTINCTION)
    return flux * 10 ** (-0.4 * magnitudes)[..., None, None]


def border_noise(flux):
    """Noise of images, measured where there is little of the galaxy: at the upper and lower border.

    Parameters
    ----------
    flux : torch.Tensor
        Shape (B, band, H, W).

    Returns
    -------
    torch.Tensor
        1.4826 times the median absolute deviation, which is the standard deviation of Gaussian
        noise, shape (B, band).

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.image_augment import border_noise
    >>> _ = torch.manual_seed(0)
    >>> border_noise(0.2 * torch.randn(1, 3, 152, 152)).round(decimals=1)
    tensor([[0.2000, 0.2000, 0.2000]])
    """
    border = torch.cat([flux[..., :8, :].flatten(2), flux[..., -8:, :].flatten(2)], -1)
    middle = border.median(-1, keepdim=True).values
    return 1.4826 * (border - middle).abs().median(-1).values


def another_look(flux, ivar=None, *, size=None, pixel_scale=0.262):
    """Observe the same galaxies once more, a little worse, from another side.

    Parameters
    ----------
    flux : torch.Tensor
        g, r, z in nanomaggies, shape (B, 3, N, N).
    ivar : torch.Tensor, optional
        Inverse variances of the same shape; the added noise follows them. Where they are not
        known, the noise is that of `border_noise`.
    size : int, optional
        Pixels on a side of a part around a random place, a local crop; by default the whole, off
        centre by up to 3 pixels.
    pixel_scale : float
        Arcsec per pixel.

    Returns
    -------
    look : torch.Tensor
        Shape (B, 3, size, size), nanomaggies. Half of them are blurred, half get more noise.
    observed : torch.Tensor or None
        Which pixels have weight in any band, before what the blurring spreads, shape
        (B, size, size), bool; None where the inverse variances are not known.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.image_augment import another_look
    >>> look, observed = another_look(torch.rand(2, 3, 96, 96), torch.ones(2, 3, 96, 96), size=48)
    >>> look.shape, observed.shape
    (torch.Size([2, 3, 48, 48]), torch.Size([2, 48, 48]))
    """
    n, bands, side, _ = flux.shape
    if ivar is None:
        sigma = border_noise(flux)[..., None, None]
    else:
        sigma = torch.where(ivar > 0, ivar, torch.inf) ** -0.5
    low, high = _WORSE_SEEING
    chosen = torch.rand(2, n, 1, device=flux.device) < 0.5
    fwhm = low + (high - low) * torch.rand(n, bands, device=flux.device)
    made = blurred(flux, chosen[0] * fwhm / pixel_scale)
    low, high = _MORE_NOISE
    more = chosen[1] * (low + (high - low) * torch.rand(n, bands, device=flux.device))
    made = made + more[..., None, None] * sigma * torch.randn_like(flux)
    made = reddened(made, _REDDENING * torch.randn(n, device=flux.device))
    if ivar is not None:  # goes where its pixels go
        made = torch.cat([made, (ivar > 0).any(1, keepdim=True).to(made.dtype)], 1)
    reach = _JITTER if size is None else (side - size) // 2
    cut = side if size is None else size
    start = (side - cut) // 2 + torch.randint(-reach, reach + 1, (n, 2)) if reach else None
    parts = []
    for i in range(n):
        top, left = (0, 0) if start is None else start[i].tolist()
        one = made[i]
        if size is None:
            one = torch.roll(one, (top, left), (-2, -1))
            top = left = 0
        parts.append(one[..., top : top + cut, left : left + cut])
    made = turned(torch.stack(parts))
    return made[:, :bands], None if ivar is None else made[:, bands] > 0
