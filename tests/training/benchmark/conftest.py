"""A small source in memory, whose images and spectra tell the redshift."""

import numpy as np
import pytest
import torch

from astroclip_astro.training.batch import TARGETS
from astroclip_astro.training.sources.base import Source


class MemorySource(Source):
    """Galaxies whose brightness in both modalities grows with every property."""

    name = "memory"

    def __init__(self, n=60, preprocessing=None, noise=0.0):
        super().__init__(preprocessing)
        self._offer(("image", "spectrum"))
        self.value = np.random.default_rng(0).uniform(0.05, 0.6, n)
        self.object_id = np.array([f"galaxy {i}" for i in range(n)])
        self.ra, self.dec = np.full((2, n), np.nan)
        self.targets = {name: (1 + i) * self.value for i, name in enumerate(TARGETS)}
        self.noise, self.unreadable, self.blank = noise, [], []
        self.read_rows = []

    def read(self, rows, generator):
        self.read_rows.append(np.array(rows))
        rows = np.array([row for row in rows if row not in self.unreadable], int)
        value = torch.from_numpy(self.value[rows]).float()
        tensors = {}
        if "spectrum" in self.modalities:
            n_pixels = self.preprocessing["spectrum"].n_pixels
            flux = value[:, None] * torch.linspace(1, 3, n_pixels)
            flux = flux + self.noise * torch.randn(flux.shape, generator=generator)
            ivar = torch.ones_like(flux)
            ivar[np.isin(rows, self.blank)] = 0
            tensors |= {"spectrum": flux[..., None], "spectrum_ivar": ivar}
        if "image" in self.modalities:
            size = self.preprocessing["image"].size
            x = torch.arange(size) - (size - 1) / 2
            profile = torch.exp(-0.5 * (x[:, None] ** 2 + x**2) / 8**2)
            tensors["image"] = (value[:, None] * torch.tensor([0.5, 1, 2.0]))[
                ..., None, None
            ] * profile
        return self._batch(rows, **tensors)


@pytest.fixture
def make_source():
    """The class of a small source, made anew on every call."""
    return MemorySource


@pytest.fixture
def make_encoders():
    """A SpecFormer and a vision transformer on the toy's grids, not aligned."""
    from astroclip_astro.models import SpecFormer, VisionTransformer

    def make():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            spectra = SpecFormer(
                input_dim=402,
                slice_section_length=400,
                slice_overlap=0,
                embed_dim=16,
                num_layers=1,
                num_heads=2,
            )
            images = VisionTransformer(embed_dim=16, depth=1, num_heads=2, block_chunks=1)
        spectra.name = images.name = "plain"
        return spectra.eval(), images.eval()

    return make
