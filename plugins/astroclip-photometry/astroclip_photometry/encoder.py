"""The encoder of magnitudes: a perceptron, small as its input."""

from importlib import resources

import torch
from torch import nn

from astroclip_astro.weights import load_companion

__all__ = ["PhotometryEncoder", "load"]


class PhotometryEncoder(nn.Module):
    """Asinh magnitudes and logarithms of their errors to a vector.

    Parameters
    ----------
    inputs : int
        Numbers per object, twice the number of bands.
    embed_dim : int
        Width of the space.
    width, depth : int
        Of the hidden layers.
    """

    def __init__(self, inputs=6, embed_dim=128, width=256, depth=3):
        super().__init__()
        # Of the objects trained on; part of the weights.
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        widths = [inputs, *[width] * depth]
        layers = []
        for i in range(depth):
            layers += [nn.Linear(widths[i], widths[i + 1]), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, embed_dim))

    def forward(self, x):
        return self.layers((x - self.mean) / self.scale)


def load(entry, *, revision=None):
    """Load the model with the encoder that comes with this package."""
    if revision is not None:
        raise ValueError(f"revision={revision!r}: {entry.name} comes with its plugin and has none")
    file = resources.files("astroclip_photometry").joinpath("data", "photometry.safetensors")
    with resources.as_file(file) as path:
        return load_companion(path, PhotometryEncoder)
