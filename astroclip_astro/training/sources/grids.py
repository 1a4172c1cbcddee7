"""Bringing arrays of spectra and cutouts onto a model's grids."""

import numpy as np
import torch

from astroclip_astro.adapters.records import SpectrumRecord
from astroclip_astro.adapters.spectrum import spectrum_batch
from astroclip_astro.errors import InputError

__all__ = ["bin_edges", "crop", "spectra_on_grid"]

# Grids that agree to this fraction of a pixel are the same.
_SAME = 1e-3


def bin_edges(wavelength):
    """Edges midway between the centres of pixels.

    Parameters
    ----------
    wavelength : array_like
        Centres, shape (n,), increasing.

    Returns
    -------
    numpy.ndarray
        Shape (n + 1,), float64.

    Raises
    ------
    InputError
        If they are fewer than two, not finite, or do not increase.

    Examples
    --------
    >>> from astroclip_astro.training.sources.grids import bin_edges
    >>> bin_edges([1.0, 2.0, 4.0])
    array([0.5, 1.5, 3. , 5. ])
    """
    centre = np.asarray(wavelength, np.float64)
    step = np.diff(centre)
    if len(centre) < 2 or not (np.isfinite(centre).all() and (step > 0).all()):
        raise InputError(
            f"its {len(centre)} wavelengths are not finite and strictly increasing: expected the "
            "centres of at least two pixels in Å"
        )
    middle = centre[:-1] + step / 2
    return np.concatenate([[centre[0] - step[0] / 2], middle, [centre[-1] + step[-1] / 2]])


def spectra_on_grid(edges, flux, ivar, preprocessing):
    """Resample spectra, each on its own pixels, and fill what they do not cover.

    Parameters
    ----------
    edges : list of numpy.ndarray
        Bin edges of each spectrum in vacuum Å, shape (n + 1,).
    flux, ivar : list of numpy.ndarray
        Of each spectrum, shape (n,), 1e-17 erg s-1 cm-2 Å-1. Pixels where either is not finite or
        ivar is not positive hold no data.
    preprocessing : SpectrumPreprocessing
        The model's grid.

    Returns
    -------
    flux : torch.Tensor
        Shape (B, L, 1), float32, filled by the policy of
        `~astroclip_astro.adapters.spectrum.spectrum_batch`.
    ivar : torch.Tensor
        Shape (B, L), float32; 0 where filled. A row without any data is 0 everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
    >>> from astroclip_astro.training.sources.grids import spectra_on_grid
    >>> grid = SpectrumPreprocessing(wavelength_start=4000, wavelength_step=2, n_pixels=100)
    >>> edges = np.arange(3999.0, 4100.0)
    >>> flux, ivar = spectra_on_grid([edges], [np.ones(100)], [np.ones(100)], grid)
    >>> flux.mean().item(), (ivar > 0).sum().item(), ivar.max().item()
    (1.0, 50, 2.0)
    """
    good = [
        np.isfinite(values) & np.isfinite(weight) & (weight > 0)
        for values, weight in zip(flux, ivar, strict=True)
    ]
    same = all(
        len(one) == preprocessing.n_pixels + 1
        and np.abs(one - preprocessing.edges).max() < _SAME * preprocessing.wavelength_step
        for one in edges
    )
    if same and all(each.all() for each in good):
        flux, ivar = (
            torch.from_numpy(np.asarray(array, np.float32)).reshape(-1, preprocessing.n_pixels)
            for array in (flux, ivar)
        )
        return flux[..., None], ivar
    records = [
        SpectrumRecord(
            edges=preprocessing.edges if same else edge,
            flux=np.where(usable, values, 0).astype(np.float64),
            ivar=np.where(usable, weight, 0).astype(np.float64),
        )
        for edge, values, weight, usable in zip(edges, flux, ivar, good, strict=True)
    ]
    batch = spectrum_batch(records, preprocessing)
    return batch.flux, batch.ivar


def crop(image, preprocessing):
    """Cut the centre out of a cutout that is on pixels of the model's size.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (..., row, column), at least as large as the model's cutouts.
    preprocessing : ImagePreprocessing
        The model's grid.

    Returns
    -------
    numpy.ndarray
        Shape (..., size, size).

    Raises
    ------
    InputError
        If the image is too small.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.adapters.image import ImagePreprocessing
    >>> from astroclip_astro.training.sources.grids import crop
    >>> crop(np.zeros((3, 160, 160)), ImagePreprocessing()).shape
    (3, 152, 152)
    """
    size = preprocessing.size
    height, width = image.shape[-2:]
    if min(height, width) < size:
        raise InputError(f"a cutout of {height} × {width} pixels: expected {size} × {size} or more")
    top, left = (height - size) // 2, (width - size) // 2
    return image[..., top : top + size, left : left + size]
