"""The encoder of XP spectra: a perceptron over their few independent pixels."""

from importlib import resources

import torch
from torch import nn

from astroclip_astro.weights import load_companion

__all__ = ["XPEncoder", "load"]


class XPEncoder(nn.Module):
    """What `GaiaXP.model_input` returns to a vector.

    Parameters
    ----------
    inputs : int
        Numbers per object.
    embed_dim : int
        Width of the space.
    width, depth : int
        Of the hidden layers.
    dropout : float
        Dropout probability, in training only.
    """

    def __init__(self, inputs=311, embed_dim=128, width=384, depth=3, dropout=0.1):
        super().__init__()
        # Of the objects trained on; part of the weights.
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        widths = [inputs, *[width] * depth]
        layers = []
        for i in range(depth):
            layers += [nn.Linear(widths[i], widths[i + 1]), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, embed_dim))

    def forward(self, x):
        return self.layers((x - self.mean) / self.scale)


def load(entry, *, revision=None):
    """Load the model with the encoder that comes with this package."""
    if revision is not None:
        raise ValueError(f"revision={revision!r}: {entry.name} comes with its plugin and has none")
    file = resources.files("astroclip_gaia_xp").joinpath("data", "gaia-xp.safetensors")
    with resources.as_file(file) as path:
        return load_companion(path, XPEncoder)
