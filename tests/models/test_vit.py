"""The vision transformer beyond what the published arrays show."""

import pytest
import torch

from astroclip_astro.models import VisionTransformer


@pytest.mark.parametrize("positions", [False, True])
def test_patches_know_their_places_only_when_asked(positions):
    torch.manual_seed(0)
    model = VisionTransformer(
        embed_dim=32, depth=2, num_heads=2, img_size=48, block_chunks=1, layerscale_init=1.0,
        patch_positions=positions,
    ).eval()  # fmt: skip
    image = torch.rand(1, 3, 48, 48)
    mirrored = image.unflatten(3, (4, 12)).flip(3).flatten(3)
    moved = model(mirrored).unflatten(1, (4, 4)).flip(2).flatten(1, 2)
    assert torch.allclose(moved, model(image), atol=1e-5) is not positions
    assert model(torch.rand(1, 3, 96, 96)).shape == (1, 64, 32)
