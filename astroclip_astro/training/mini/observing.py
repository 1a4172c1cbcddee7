"""Mock galaxies observed afresh at every training step, as different instruments would see them.

The mocks are noiseless, so that no two observations need share their noise, their line spread,
their coverage or their flux calibration. What differs between surveys and cannot be known
beforehand is drawn at random here, and so is learned to be of no consequence.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from astroclip_astro.adapters.image import to_rgb
from astroclip_astro.simulate.noise import sky_in_fibre
from astroclip_astro.simulate.spectra import wavelength_grid
from astroclip_astro.training.split import held_out

__all__ = ["MockObserver", "redshifted", "smoothed"]

# Extra Gaussian line spread, in pixels of 0.8 Å, in half of the spectra: from DESI's resolution to
# that of SDSS (Smee et al. 2013, AJ 146, 32: R = 1850 to 2200, some 2.5 to 4 Å FWHM).
LINE_SPREAD = (0.5, 2.2)
NOISE_CORRELATION = (0.3, 0.9)  # pixels, in half of them: resampling correlates the noise
# Some spectra are published smoothed, noise and all: DESI's Andes coadds, for one, by 2.5 pixels.
# What noise is left is then as strong as elsewhere.
SMOOTHED, SMOOTHING = 0.3, (1.0, 3.5)  # share of the spectra, pixels
# Noise beyond what an instrument's throughput explains: towards the blue end, and where arms join
# or the atmosphere absorbs.
BLUE_NOISE, BLUE_SCALE = 4.0, 500.0  # most it is multiplied with, less one; Å
BURSTS, BURST_SHARE, BURST_WIDTH, BURST = 3, 0.3, (20.0, 120.0), (2.0, 8.0)
DEPTH = (-0.9, 0.25)  # log10 of the factor on the noise
RESIDUAL = (-0.5, 0.3)  # log10 of the factor on the sky residual
SCALE = 0.2  # dex: fibres of 1.5 to 3 arcsec hold different shares of the light
CALIBRATION = (0.08, 0.05, 0.04)  # rms of the first three Chebyshev terms of the log flux
GAPS, GAP_SHARE, GAP_WIDTH = 5, 0.4, (3.0, 120.0)  # masked runs: most, how likely each, pixels
# Coverage: 35 % the whole grid, 45 % that of the SDSS spectrographs (3800 to 9200 Å), else any.
WHOLE, SDSS = 0.35, 0.45


def smoothed(flux, width):
    """Convolve each row with a Gaussian.

    Parameters
    ----------
    flux : torch.Tensor
        Shape (B, L), float32.
    width : torch.Tensor
        Standard deviations, shape (B,), pixels.

    Returns
    -------
    torch.Tensor
        Shape (B, L). The ends are continued by their last values.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.mini.observing import smoothed
    >>> line = torch.zeros(1, 200)
    >>> line[0, 100] = 1.0
    >>> round(smoothed(line, torch.tensor([2.0]))[0, 100].item(), 4)
    0.1995
    """
    pad = 20
    padded = F.pad(flux[:, None], (pad, pad), mode="replicate")[:, 0]
    n = padded.shape[1]
    frequency = torch.fft.rfftfreq(n)
    transfer = torch.exp(-2 * (torch.pi * frequency * width[:, None]) ** 2)
    return torch.fft.irfft(torch.fft.rfft(padded) * transfer, n=n)[:, pad : pad + flux.shape[1]]


def redshifted(flux, factor, wavelength):
    """Move spectra in wavelength on a fixed grid.

    Parameters
    ----------
    flux : torch.Tensor
        Shape (B, L), float32, on `wavelength`.
    factor : torch.Tensor
        What wavelengths are multiplied with, shape (B,).
    wavelength : torch.Tensor
        The grid, shape (L,), evenly spaced.

    Returns
    -------
    torch.Tensor
        Shape (B, L), linearly interpolated; where the source had no data, its end value.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.mini.observing import redshifted
    >>> grid = torch.arange(4000.0, 5000.0)
    >>> round(redshifted(grid[None], torch.tensor([1.1]), grid)[0, 500].item(), 1)
    4090.9
    """
    start, step = wavelength[0], wavelength[1] - wavelength[0]
    at = (wavelength / factor[:, None].to(wavelength.dtype) - start) / step
    at = at.clamp(0, flux.shape[1] - 1.001)
    left = at.long()
    weight = (at - left).to(flux.dtype)
    return flux.gather(1, left) * (1 - weight) + flux.gather(1, left + 1) * weight


class MockObserver:
    """A mock survey in memory, observed on demand.

    Parameters
    ----------
    survey : astroclip_astro.simulate.MockSurvey
        The survey.
    spectrum, image : SpectrumPreprocessing, ImagePreprocessing
        The model's preprocessing.
    rows : numpy.ndarray, optional
        Which objects, in rising order, shape (N,), int64; by default all but those that `held_out`
        marks.

    Attributes
    ----------
    row : numpy.ndarray
        Row in the survey of each object, shape (N,), int64.
    """

    def __init__(self, survey, spectrum, image, rows=None):
        self.spectrum, self.image = spectrum, image
        self.row = np.flatnonzero(~held_out(len(survey))) if rows is None else rows
        wanted = np.isin(np.arange(len(survey)), self.row)
        edge = (image.size - image.crop) // 2
        inner = slice(edge, edge + image.crop)
        # Half precision keeps 60,000 pairs in 10 GB; it resolves a thousandth of the flux.
        shapes = {
            "flux": (spectrum.n_pixels,),
            "sigma": (spectrum.n_pixels,),
            "pixels": (3, image.crop, image.crop),
            "pixels_sigma": (3,),
        }
        for name, shape in shapes.items():
            setattr(self, name, torch.empty((len(self.row), *shape), dtype=torch.float16))
        means = {"spectrum": [], "image": []}
        done = 0
        for start in range(0, len(survey), 500):
            block = slice(start, start + 500)
            kept = wanted[block]
            if not kept.any():
                continue
            arrays = survey.arrays(block)
            part = slice(done, done + kept.sum())
            for name, found in means.items():
                found.append(arrays[name][kept].reshape(kept.sum(), -1).mean(1, dtype=float))
            self.flux[part] = _half(arrays["spectrum"][kept])
            self.sigma[part] = _half(arrays["spectrum_sigma"][kept])
            self.pixels[part] = _half(arrays["image"][kept][..., inner, inner])
            self.pixels_sigma[part] = _half(arrays["image_sigma"][kept])
            done = part.stop
        self._means = {name: np.concatenate(found) for name, found in means.items()}
        sky_brightness = survey.truth_array["sky_brightness"][self.row]
        self.sky_brightness = torch.from_numpy(sky_brightness.astype(np.float32))
        self.wavelength = torch.from_numpy(wavelength_grid())
        self.sky = torch.from_numpy(sky_in_fibre()).float()

    def __len__(self):
        return len(self.flux)

    def mean_flux(self):
        """Lowest and highest mean flux of what is trained on.

        Returns
        -------
        dict of tuple of float
            By modality, of whole spectra and whole cutouts, as `GalaxyModel.out_of_range` has it.
        """
        return {name: (float(m.min()), float(m.max())) for name, m in self._means.items()}

    def noiseless(self, index, factor=None):
        """Noiseless spectra, moved in wavelength if wanted.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.
        factor : torch.Tensor, optional
            What their wavelengths are multiplied with, shape (B,).

        Returns
        -------
        torch.Tensor
            Shape (B, L), float32.
        """
        flux = self.flux[index].float()
        return flux if factor is None else redshifted(flux, factor, self.wavelength)

    def spectra(self, index, *, flux=None, window=None, windowed=None):
        """Spectra of the chosen objects as some survey might deliver them.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64; they decide the noise.
        flux : torch.Tensor, optional
            Noiseless flux, shape (B, L); by default that of the objects.
        window : tuple of float, optional
            Wavelengths (Å) outside which nothing is observed.
        windowed : torch.Tensor, optional
            Whom the window is for, shape (B,), bool; all by default.

        Returns
        -------
        torch.Tensor
            Shape (B, L, 1), float32. Drawn from torch's global generator: line spread, noise and
            its correlation, sky residual, flux scale and calibration, gaps (interpolated) and
            coverage (outside it the mean of the rest), the last two filled as the adapters do.
        """
        flux = self.noiseless(index) if flux is None else flux
        n, pixels = flux.shape
        half = torch.rand(2, n) < 0.5
        spread = torch.where(half[0], _uniform(n, *LINE_SPREAD), 0.05)
        correlation = torch.where(half[1], _uniform(n, *NOISE_CORRELATION), 0.02)
        both = torch.where(torch.rand(n) < SMOOTHED, _uniform(n, *SMOOTHING), 0.0)
        spread, correlation = torch.hypot(spread, both), torch.hypot(correlation, both)
        noise = self.sigma[index].float() * self._excess(n) * torch.randn(n, pixels)
        # A Gaussian of width w takes white noise down by the root of 2 w times that of pi.
        kept = torch.where(both > 0, (2 * math.pi**0.5 * both).sqrt(), 1.0)[:, None]
        noise = smoothed(noise, correlation) * kept * 10 ** _uniform(n, *DEPTH)[:, None]
        residual = F.interpolate(
            torch.randn(n, 1, pixels // 25 + 2), size=pixels, mode="linear", align_corners=True
        )[:, 0]
        share = 0.01 * torch.exp(0.5 * torch.randn(n)) * 10 ** _uniform(n, *RESIDUAL)
        residual *= (share * self.sky_brightness[index])[:, None] * self.sky
        flux = smoothed(flux, spread) + noise + residual
        x = torch.linspace(-1, 1, pixels)
        terms = torch.stack([x, 2 * x**2 - 1, 4 * x**3 - 3 * x])
        flux *= torch.exp(torch.randn(n, 3) * torch.tensor(CALIBRATION) @ terms)
        flux *= 10 ** (SCALE * torch.randn(n, 1))
        _interpolate_gaps(flux)
        return self._covered(flux, window, windowed).unsqueeze(-1)

    def _excess(self, n):
        """Factors on the noise, shape (n, L)."""
        blue = torch.exp((self.wavelength[0] - self.wavelength) / BLUE_SCALE).float()
        factor = 1 + BLUE_NOISE * torch.rand(n, 1) ** 2 * blue
        pixels = len(blue)
        low, high = np.log(BURST_WIDTH)
        for _ in range(BURSTS):
            start = torch.randint(pixels, (n, 1))
            width = torch.exp(_uniform(n, low, high))[:, None]
            hit = torch.rand(n, 1) < BURST_SHARE
            place = torch.arange(pixels)
            inside = hit & (place >= start) & (place < start + width)
            factor = torch.where(inside, factor * _uniform(n, *BURST)[:, None], factor)
        return factor

    def _covered(self, flux, window, windowed):
        """Replace what a survey does not cover by the mean of the rest."""
        n = len(flux)
        first, last = self.wavelength[[0, -1]]
        kind = torch.rand(n)
        sdss = (kind > WHOLE) & (kind < WHOLE + SDSS)
        blue = torch.where(sdss, _uniform(n, 3740, 3870), _uniform(n, 3600, 4560))
        red = torch.where(sdss, _uniform(n, 9120, 9270), _uniform(n, 8380, 9830))
        blue, red = torch.where(kind < WHOLE, first, blue), torch.where(kind < WHOLE, last, red)
        if window is not None:
            # Its ends vary whatever the coverage, so that they tell nothing.
            inner_blue = blue.clamp(min=window[0]) + _uniform(n, 0, 160)
            inner_red = red.clamp(max=window[1]) - _uniform(n, 0, 320)
            windowed = torch.ones(n, dtype=torch.bool) if windowed is None else windowed
            blue = torch.where(windowed, inner_blue, blue)
            red = torch.where(windowed, inner_red, red)
        observed = (self.wavelength >= blue[:, None]) & (self.wavelength <= red[:, None])
        mean = (flux * observed).sum(1, keepdim=True) / observed.sum(1, keepdim=True)
        return torch.where(observed, flux, mean)

    def images(self, index, crop=None):
        """Noisy colour images of the chosen objects, each flipped and turned at random.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.
        crop : int, optional
            Size in pixels; by default the model's.

        Returns
        -------
        torch.Tensor
            Shape (B, 3, crop, crop), float32, what `image_encoder` takes.
        """
        crop = self.image.crop if crop is None else crop
        edge = (self.pixels.shape[-1] - crop) // 2
        inner = slice(edge, edge + crop)
        flux = self.pixels[index, :, inner, inner].float()
        sigma = self.pixels_sigma[index].float()[..., None, None]
        flux = flux + sigma * torch.randn(flux.shape)
        turned = torch.empty_like(flux)
        for i, turn in enumerate(torch.randint(8, (len(index),)).tolist()):
            one = torch.rot90(flux[i], turn % 4, (-2, -1))
            turned[i] = one.flip(-1) if turn >= 4 else one
        return to_rgb(turned, self.image)


def _half(array):
    """To half precision, which ends at 65,504."""
    return torch.from_numpy(np.clip(array, -6e4, 6e4).astype(np.float16))


def _uniform(n, low, high):
    return low + (high - low) * torch.rand(n)


def _interpolate_gaps(flux):
    """Replace some runs of pixels by straight lines between their neighbours, in place."""
    n, pixels = flux.shape
    low, high = np.log(GAP_WIDTH)
    for _ in range(GAPS):
        start = torch.randint(1, pixels - int(GAP_WIDTH[1]) - 1, (n,))
        width = torch.exp(_uniform(n, low, high)).long()
        hit = torch.rand(n) < GAP_SHARE
        for i in torch.nonzero(hit).ravel().tolist():
            a, b = int(start[i]), int(start[i] + width[i])
            flux[i, a:b] = torch.linspace(flux[i, a - 1], flux[i, b], b - a + 2)[1:-1]
