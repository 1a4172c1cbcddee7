"""Supervised networks that the paper compares with: from images, from spectra, from photometry.

Each is trained end to end on the properties of galaxies (Parker et al. 2024, MNRAS 531, 4990,
section 5). They are small and local, so that no package of ready-made networks is needed.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from astroclip_astro.adapters.image import ImagePreprocessing, encoder_input
from astroclip_astro.training.image_augment import turned

__all__ = ["ConvAttention", "PhotometryMLP", "ResNet18", "kron_photometry"]

# Kron (1980, ApJS 43, 305): 2.5 times the first moment of the light holds nearly all of it; the
# moment is measured in the inner part of the cutout. The limits, arcsec, are choices.
_KRON_FACTOR = 2.5
_MOMENT_RADIUS = 8.0
_RADIUS_LIMITS = (1.75, 12.0)

# Flux in nanomaggies where magnitudes go over to linear: about the noise of an aperture of the
# Legacy Surveys (Lupton, Gunn & Szalay 1999, AJ 118, 1406, recommend the noise).
_SOFTENING = 0.2


def kron_photometry(flux, pixel_scale=0.262):
    r"""Measure total magnitudes in one aperture for all bands, as a catalogue would.

    Parameters
    ----------
    flux : torch.Tensor
        Cutouts centred on their objects, shape (B, 3, H, W), nanomaggies in g, r, z.
    pixel_scale : float
        Arcsec per pixel.

    Returns
    -------
    torch.Tensor
        asinh magnitudes (AB), shape (B, 3): they equal usual ones for bright objects and are
        finite for any flux, also a negative one.

    Notes
    -----
    The aperture is a circle whose radius is 2.5 times the first moment :math:`\sum r f / \sum f` of
    the r-band light within 8 arcsec (Kron 1980, ApJS 43, 305), but 1.75 to 12 arcsec. It is
    measured on the noisy image that other models see. Neighbours in it are not taken out.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.baselines import kron_photometry
    >>> star = torch.zeros(1, 3, 152, 152)
    >>> star[..., 75:77, 75:77] = 25.0  # 100 nanomaggies
    >>> kron_photometry(star)
    tensor([[17.5000, 17.5000, 17.5000]])
    """
    height, width = flux.shape[-2:]
    rows = torch.arange(height, device=flux.device) - (height - 1) / 2
    columns = torch.arange(width, device=flux.device) - (width - 1) / 2
    radius = pixel_scale * torch.hypot(rows[:, None], columns)
    inner = flux[:, 1] * (radius < _MOMENT_RADIUS)
    light = inner.sum((1, 2))
    moment = (inner * radius).sum((1, 2)) / torch.where(light > 0, light, torch.inf)
    aperture = (_KRON_FACTOR * moment).clamp(*_RADIUS_LIMITS)
    inside = radius < aperture[:, None, None]
    total = (flux * inside[:, None]).sum((2, 3))
    scale = 2.5 / np.log(10)
    return 22.5 - scale * (torch.asinh(total / (2 * _SOFTENING)) + np.log(_SOFTENING))


class _Block(nn.Module):
    """Two 3 × 3 convolutions and a short cut (He et al. 2016, figure 5, left)."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """Residual network of 18 layers on colour images.

    He, Zhang, Ren & Sun 2016 (CVPR, https://arxiv.org/abs/1512.03385), table 1: a 7 × 7 convolution
    and pooling, four stages of two basic blocks, mean over the image, one linear layer.

    Parameters
    ----------
    n_out : int
        Numbers to predict.
    width : int
        Channels of the first stage; 64 is the published network of 11.2 M parameters.
    preprocessing : ImagePreprocessing, optional
        How fluxes become the RGB image that it sees; AstroCLIP's by default.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.baselines import ResNet18
    >>> network = ResNet18(5).eval()
    >>> sum(p.numel() for p in network.parameters()), network(torch.rand(2, 3, 96, 96)).shape
    (11179077, torch.Size([2, 5]))
    """

    def __init__(self, n_out, width=64, preprocessing=None):
        super().__init__()
        self.preprocessing = preprocessing or ImagePreprocessing()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_Block(a, b, 1 if i == 0 else 2), _Block(b, b, 1))
                for i, (a, b) in enumerate(pairwise(widths))
            )
        )
        self.head = nn.Linear(8 * width, n_out)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def inputs(self, batch):
        """Colour images of a batch; in training, each is turned and mirrored at random.

        Parameters
        ----------
        batch : TrainingBatch
            With images.

        Returns
        -------
        torch.Tensor
            Shape (B, 3, crop, crop).
        """
        images = encoder_input(batch.image, self.preprocessing)
        # One orientation of the eight per image: a galaxy has no preferred one.
        return turned(images) if self.training else images

    def forward(self, images):
        """Predict from RGB images.

        Parameters
        ----------
        images : torch.Tensor
            Shape (B, 3, H, W).

        Returns
        -------
        torch.Tensor
            Shape (B, n_out).
        """
        return self.head(self.stages(self.stem(images)).mean((2, 3)))


class ConvAttention(nn.Module):
    """Convolutions and attention over the wavelengths of a spectrum.

    The encoder of Melchior et al. 2023 (AJ 166, 74, section 3.1): three convolutions of 5, 11 and
    21 pixels, each followed by normalisation, PReLU and dropout, the first two by max-pooling;
    half of the last channels, by a softmax over wavelength, weight the other half; then a
    perceptron.

    Parameters
    ----------
    n_out : int
        Numbers to predict.
    channels : tuple of int
        Of the three convolutions; the last one is even.
    dropout : float
        Probability, in training only.

    Notes
    -----
    A spectrum enters divided by its standard deviation after its mean is taken off (at least 0.2,
    as in SpecFormer); what that takes away, the mean and the logarithm of the deviation, is given
    to the perceptron, as stellar masses need it.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.baselines import ConvAttention
    >>> ConvAttention(5, channels=(8, 8, 8)).eval()(torch.rand(2, 7781, 1)).shape
    torch.Size([2, 5])
    """

    def __init__(self, n_out, channels=(128, 256, 512), dropout=0.1):
        super().__init__()
        layers, last = [], 1
        for width, kernel in zip(channels, (5, 11, 21), strict=True):
            layers += [
                nn.Conv1d(last, width, kernel, padding=kernel // 2),
                nn.InstanceNorm1d(width, affine=True),
                nn.PReLU(width),
                nn.Dropout(dropout),
            ]
            if kernel < 21:
                layers.append(nn.MaxPool1d(kernel, padding=kernel // 2))
            last = width
        self.convolutions = nn.Sequential(*layers)
        self.perceptron = nn.Sequential(
            nn.Linear(channels[-1] // 2 + 2, 128),
            nn.PReLU(),
            nn.Dropout(dropout),
            nn.Linear(128, 64),
            nn.PReLU(),
            nn.Linear(64, n_out),
        )

    def inputs(self, batch):
        """Spectra of a batch.

        Parameters
        ----------
        batch : TrainingBatch
            With spectra.

        Returns
        -------
        torch.Tensor
            Shape (B, L, 1), 1e-17 erg s-1 cm-2 Å-1.
        """
        return batch.spectrum

    def forward(self, spectra):
        """Predict from spectra.

        Parameters
        ----------
        spectra : torch.Tensor
            Shape (B, L, 1).

        Returns
        -------
        torch.Tensor
            Shape (B, n_out).
        """
        flux = spectra.transpose(1, 2)
        mean, std = flux.mean(2, keepdim=True), flux.std(2, keepdim=True).clamp(min=0.2)
        values, weights = self.convolutions((flux - mean) / std).chunk(2, 1)
        features = (values * weights.softmax(2)).sum(2)
        scale = torch.stack([mean.asinh(), std.log()], 1).flatten(1)
        return self.perceptron(torch.cat([features, scale], 1))


class PhotometryMLP(nn.Module):
    """Perceptron on total g, r, z magnitudes, measured by `kron_photometry`.

    Parameters
    ----------
    n_out : int
        Numbers to predict.
    hidden : int
        Width of its three hidden layers.
    pixel_scale : float
        Of the images, arcsec per pixel.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.baselines import PhotometryMLP
    >>> PhotometryMLP(5).eval()(torch.tensor([[19.0, 18.2, 17.8]])).shape
    torch.Size([1, 5])
    """

    def __init__(self, n_out, hidden=128, pixel_scale=0.262):
        super().__init__()
        self.pixel_scale = pixel_scale
        self.layers = nn.Sequential(
            nn.Linear(4, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, n_out),
        )

    def inputs(self, batch):
        """Magnitudes of a batch.

        Parameters
        ----------
        batch : TrainingBatch
            With images.

        Returns
        -------
        torch.Tensor
            Shape (B, 3).
        """
        return kron_photometry(batch.image, self.pixel_scale)

    def forward(self, magnitudes):
        """Predict from g, r, z magnitudes.

        Parameters
        ----------
        magnitudes : torch.Tensor
            Shape (B, 3).

        Returns
        -------
        torch.Tensor
            Shape (B, n_out).
        """
        g, r, z = magnitudes.unbind(1)
        # Colours span one or two magnitudes around 0.7, r some five around 18.
        return self.layers(torch.stack([g - r - 0.7, r - z - 0.7, (r - 18) / 2, (z - 18) / 2], 1))
