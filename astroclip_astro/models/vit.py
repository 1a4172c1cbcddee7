"""Vision transformer in the manner of DINOv2: the image encoder of AstroCLIP.

Papers: Oquab et al. 2023 (https://arxiv.org/abs/2304.07193); Parker et al. 2024, MNRAS 531, 4990,
section 3.2. Names of modules and parameters match the published implementation (Apache-2.0,
https://github.com/facebookresearch/dinov2), so that AstroCLIP's checkpoints load strictly.
"""

import torch
from torch import nn
from torch.nn import functional as F

from astroclip_astro.models.base import GalaxyModel
from astroclip_astro.models.products import attend, in_pieces, linear

__all__ = ["VisionTransformer"]

_EPS = 1e-6


class PatchEmbed(nn.Module):
    """Non-overlapping square patches, each projected to one token."""

    def __init__(self, patch_size, width):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, x):
        """Map images (B, 3, H, W) to tokens (B, T, width), row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention with one packed [q | k | v] projection."""

    def __init__(self, width, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x, return_attention=False):
        """Attend; returns (B, T, width) and, on request, weights (B, head, T, T)."""
        qkv = linear(self.qkv, x)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # On a CPU, torch's fused attention takes several times as long backwards as this.
        if return_attention or (x.device.type == "cpu" and torch.is_grad_enabled()):
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            # Autocast would bring the largest tensor of all to single precision and back.
            with torch.autocast(x.device.type, enabled=False):
                weights = scores.softmax(-1)
            mixed = (weights @ v).transpose(1, 2).flatten(2)
        else:
            mixed = attend(q, k, v)
        return linear(self.proj, mixed), weights if return_attention else None


class LayerScale(nn.Module):
    """One learned factor per channel on the residual branch (Touvron et al. 2021)."""

    def __init__(self, width, init=1e-5):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), init))

    def forward(self, x):
        """Scale tokens (B, T, width) channel by channel."""
        return x * self.gamma


class MLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        """Map tokens (B, T, width) to tokens."""
        return linear(self.fc2, linear(self.fc1, x, gelu=True))


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale."""

    # Linear layers in it may have weights of less precision: they take what comes in to their type.
    reducible = True

    def __init__(self, width, num_heads, layerscale_init):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Attention(width, num_heads)
        self.ls1 = LayerScale(width, layerscale_init)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = MLP(width)
        self.ls2 = LayerScale(width, layerscale_init)

    def forward(self, x, return_attention=False):
        """Map tokens (B, T, width) to tokens, with the attention weights or None."""
        mixed, weights = self.attn(self.norm1(x), return_attention)
        # Sums of two types are slow; what is summed up is in the type of x.
        x = x + self.ls1(mixed.to(x.dtype))
        return x + self.ls2(self.mlp(self.norm2(x)).to(x.dtype)), weights


class VisionTransformer(GalaxyModel):
    """DINOv2 vision transformer over image patches.

    Parameters
    ----------
    embed_dim : int
        Width of the tokens.
    depth, num_heads : int
        Number of blocks, and attention heads per block.
    patch_size : int
        Pixels on a side of a patch.
    img_size : int
        Pixels on a side of the images that the position embedding is for.
    block_chunks : int
        Number of groups that the blocks are stored in; it only shapes the parameters' names.
    layerscale_init : float
        Initial factor of the residual branches.
    patch_positions : bool
        Whether the forward pass adds the position embedding to the patches. The published
        AstroCLIP does not, and so cannot tell a picture from one whose patches are shuffled.

    Notes
    -----
    The forward pass sees the patch tokens only, without class token and (by default) position
    embedding, as AstroCLIP uses the network; both take part in `class_token` (plain AstroDINO). As
    a model of its own, an image's embedding is the class token.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models import VisionTransformer
    >>> model = VisionTransformer(embed_dim=32, depth=8, num_heads=2).eval()
    >>> tuple(model(torch.rand(1, 3, 144, 144)).shape)
    (1, 144, 32)
    >>> tuple(model.class_token(torch.rand(1, 3, 144, 144)).shape)
    (1, 32)
    """

    modalities = ("image",)

    def __init__(
        self,
        *,
        embed_dim=1024,
        depth=24,
        num_heads=16,
        patch_size=12,
        img_size=144,
        block_chunks=4,
        layerscale_init=1e-5,
        patch_positions=False,
    ):
        super().__init__(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            patch_size=patch_size,
            img_size=img_size,
            block_chunks=block_chunks,
            layerscale_init=layerscale_init,
            patch_positions=patch_positions,
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (img_size // patch_size) ** 2, embed_dim))
        # Stands in for hidden patches in self-supervised training only.
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dim))
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        per_chunk = -(-depth // block_chunks)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    str(i): Block(embed_dim, num_heads, layerscale_init)
                    for i in range(start, min(start + per_chunk, depth))
                }
            )
            for start in range(0, depth, per_chunk)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=_EPS)
        self._init_weights()

    def _init_weights(self):
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def _patches(self, x):
        patch = self.config["patch_size"]
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % patch or x.shape[3] % patch:
            raise ValueError(
                f"images of shape {tuple(x.shape)}: expected (batch, 3, height, width) with height "
                f"and width multiples of {patch}"
            )
        return self.patch_embed(x)

    def _positions(self, x):
        """Position embedding of the patches of images of this size, interpolated as DINOv2 does."""
        patch = self.config["patch_size"]
        shape = x.shape[2] // patch, x.shape[3] // patch
        side = self.config["img_size"] // patch
        position = self.pos_embed[:, 1:]
        if shape == (side, side):
            return position
        grid = position.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=shape, mode="bicubic", align_corners=False)
        return grid.flatten(2).transpose(1, 2)

    def _run(self, x, return_attention=False):
        if return_attention:
            return self._run_blocks(x, True)
        return in_pieces(self._run_blocks, x)

    def _run_blocks(self, x, return_attention=False):
        attention = []
        for chunk in self.blocks:
            for block in chunk.values():
                x, weights = block(x, return_attention)
                attention.append(weights)
        x = self.norm(x)
        return (x, attention) if return_attention else x

    def forward(self, x, return_attention=False):
        """Encode images as AstroCLIP does.

        Parameters
        ----------
        x : torch.Tensor
            RGB images, shape (B, 3, H, W), H and W multiples of `patch_size`.
        return_attention : bool
            Also return the attention weights.

        Returns
        -------
        torch.Tensor or tuple
            Patch tokens (B, T, embed_dim), row by row; with `return_attention`, also a list with
            one tensor (B, head, T, T) per block.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        patches = self._patches(x)
        if self.config["patch_positions"]:
            patches = patches + self._positions(x)
        return self._run(patches, return_attention)

    def class_token(self, x):
        """Encode images as plain AstroDINO does.

        Parameters
        ----------
        x : torch.Tensor
            RGB images, shape (B, 3, img_size, img_size).

        Returns
        -------
        torch.Tensor
            The class token, shape (B, embed_dim).

        Raises
        ------
        ValueError
            If the size is not the one that the position embedding is for.
        """
        patches = self._patches(x)
        if patches.shape[1] + 1 != self.pos_embed.shape[1]:
            size = self.config["img_size"]
            raise ValueError(
                f"images of shape {tuple(x.shape)}: the class token needs ({size}, {size}) pixels, "
                "the size of the position embedding"
            )
        cls = self.cls_token.expand(len(x), -1, -1)
        return self._run(torch.cat([cls, patches], 1) + self.pos_embed)[:, 0]

    def training_tokens(self, x, hidden=None):
        """Encode images as self-supervised training does, at any size.

        Parameters
        ----------
        x : torch.Tensor
            RGB images, shape (B, 3, H, W), H and W multiples of `patch_size`.
        hidden : torch.Tensor, optional
            Patches whose place the mask token takes, shape (B, T), bool.

        Returns
        -------
        torch.Tensor
            Class token and patch tokens, shape (B, 1 + T, embed_dim). Where the size is not
            `img_size`, the position embedding is interpolated (bicubic, as DINOv2 does).

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        patches = self._patches(x)
        if hidden is not None:
            patches = torch.where(hidden[..., None], self.mask_token.to(patches.dtype), patches)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return self._run(torch.cat([cls, patches + self._positions(x)], 1))

    def embed_image(self, x):
        """Class token of images; see `GalaxyModel`.

        Parameters
        ----------
        x : torch.Tensor
            RGB images, shape (B, 3, H, W).

        Returns
        -------
        torch.Tensor
            Vectors, shape (B, embed_dim), not normalised.
        """
        return self.class_token(x)
