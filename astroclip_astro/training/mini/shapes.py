"""Numbers that describe a picture whichever way it is turned."""

import torch

__all__ = ["shapes"]

APERTURES = (3.0, 5.0, 8.0, 14.0)  # standard deviation of Gaussian weights, pixels
ORDERS = (2, 3, 4)  # of the angular moments: bars and arms
FAINTEST = 1e-3  # nanomaggies, below which fluxes count as this


def shapes(pixels):
    """Magnitudes, sizes, ellipticities and angular moments within Gaussian apertures.

    Parameters
    ----------
    pixels : torch.Tensor
        Noiseless pictures, shape (B, 3, H, W), nanomaggies; the object is at the centre, its shape
        is that of the second band.

    Returns
    -------
    torch.Tensor
        Shape (B, M), float32. By aperture: decimal logarithms of the flux in the second band and
        of the ratios of the first to the second and of the second to the third; logarithm of the
        mean squared distance relative to the aperture's; ellipticity, the length of (Q_xx - Q_yy,
        2 Q_xy) over Q_xx + Q_yy (Bartelmann & Schneider 2001, Phys. Rep. 340, 291, eq. 4.5); the
        lengths of the angular moments; and the cosine of the angle by which that of order 2 is
        turned against that of the aperture before, times the geometric mean of their lengths:
        spirals turn.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.mini.shapes import shapes
    >>> shapes(torch.ones(2, 3, 96, 96)).shape
    torch.Size([2, 35])
    """
    batch, _, height, width = pixels.shape
    y = torch.arange(height, dtype=torch.float32) - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
    y, x = y[:, None].expand(height, width), x.expand(height, width)
    distance2, angle = x**2 + y**2, torch.atan2(y, x)
    plane = pixels[:, 1].reshape(batch, -1)
    found, before = [], None
    for aperture in APERTURES:
        weight = torch.exp(-0.5 * distance2 / aperture**2)
        g, r, z = (pixels.flatten(2) @ weight.ravel()).clamp(min=FAINTEST).log10().unbind(1)
        patterns = [x**2 + y**2, x**2 - y**2, 2 * x * y]
        for order in ORDERS:
            patterns += [torch.cos(order * angle), torch.sin(order * angle)]
        maps = torch.stack([weight * one for one in patterns]).flatten(1)
        size, plus, cross, *waves = ((plane @ maps.T) / 10 ** r[:, None]).unbind(1)
        size = size.clamp(min=1e-3)
        found += [r, g - r, r - z, torch.log10(size / aperture**2)]
        found += [torch.hypot(plus, cross) / size]
        found += [torch.hypot(a, b) for a, b in zip(waves[::2], waves[1::2], strict=True)]
        two = torch.complex(*waves[:2])
        if before is not None:
            # Of order 2, so that neither a turn by half a circle nor a mirror changes it.
            product = two * before.conj()
            found.append(product.real / product.abs().clamp(min=1e-4).sqrt())
        before = two
    return torch.stack(found, 1)
