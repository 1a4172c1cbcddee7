"""SpecFormer: the spectrum transformer of AstroCLIP.

Paper: Parker et al. 2024, MNRAS 531, 4990 (https://doi.org/10.1093/mnras/stae1450), section 3.1.
Names of modules and parameters match the published implementation (MIT licence,
https://github.com/PolymathicAI/AstroCLIP), so that its checkpoints load strictly.
"""

import torch
from torch import nn
from torch.nn import functional as F

from astroclip_astro.models.base import GalaxyModel
from astroclip_astro.models.products import attend, in_pieces, linear

__all__ = ["MLP", "SpecFormer"]


class MLP(nn.Module):
    """Two linear layers with an exact GELU between, four times as wide inside.

    Parameters
    ----------
    width : int
        Length of the vectors that come in and go out.
    dropout : float
        Dropout probability after the second layer, in training only.
    """

    def __init__(self, width, dropout=0.0):
        super().__init__()
        self.encoder = nn.Linear(width, 4 * width)
        self.decoder = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        """Apply both layers.

        Parameters
        ----------
        x : torch.Tensor
            Shape (…, width).

        Returns
        -------
        torch.Tensor
            Same shape.
        """
        return self.dropout(linear(self.decoder, linear(self.encoder, x, gelu=True)))


class SelfAttention(nn.Module):
    """Multi-head self-attention with one packed [q | k | v] projection."""

    def __init__(self, width, num_heads, dropout):
        super().__init__()
        self.num_heads = num_heads
        self.attention = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, x, return_attention=False):
        """Attend; returns (B, T, width) and, on request, weights (B, head, T, T)."""
        qkv = linear(self.attention, x)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        # On a CPU, torch's fused attention takes several times as long backwards as this.
        if return_attention or (x.device.type == "cpu" and torch.is_grad_enabled()):
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            # Autocast would bring the largest tensor of all to single precision and back.
            with torch.autocast(x.device.type, enabled=False):
                weights = scores.softmax(-1)
            mixed = (F.dropout(weights, dropout) @ v).transpose(1, 2).flatten(2)
        else:
            mixed = attend(q, k, v, dropout)
        return linear(self.projection, mixed), weights if return_attention else None


class Block(nn.Module):
    """Pre-norm transformer block."""

    # Linear layers in it may have weights of less precision: they take what comes in to their type.
    reducible = True

    def __init__(self, width, num_heads, dropout):
        super().__init__()
        self.layernorm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads, dropout)
        self.layernorm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, dropout)

    def forward(self, x, return_attention=False):
        """Map tokens (B, T, width) to tokens, with the attention weights or None."""
        mixed, weights = self.attention(self.layernorm1(x), return_attention)
        # Sums of two types are slow; what is summed up is in the type of x.
        x = x + mixed.to(x.dtype)
        return x + self.mlp(self.layernorm2(x)).to(x.dtype), weights


class SpecFormer(GalaxyModel):
    """Transformer over overlapping slices of a spectrum, pre-trained by masked modelling.

    Parameters
    ----------
    input_dim : int
        Features of a token: `slice_section_length` + 2.
    embed_dim : int
        Width of the tokens.
    num_layers, num_heads : int
        Depth, and attention heads per block.
    max_len : int
        Largest number of tokens.
    mask_num_chunks, mask_chunk_width : int
        Masked modelling: how many runs of tokens are hidden, and how long each is.
    slice_section_length, slice_overlap : int
        Pixels in a slice, and pixels that neighbouring slices share.
    dropout : float
        Dropout probability, in training only.

    Notes
    -----
    Each spectrum is normalised by its own mean and unbiased standard deviation, which go into
    token 0 as ((mean - 2) / 2, (std - 2) / 8); a standard deviation below 0.2 counts as 0.2. The
    last slice is always dropped, even when it is full, as in the published code.

    As a model of its own, a spectrum's embedding is the mean of its output tokens.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models import SpecFormer
    >>> model = SpecFormer(embed_dim=24, num_layers=2, num_heads=2).eval()
    >>> tokens = model(torch.randn(1, 7781, 1))
    >>> tuple(tokens.shape)
    (1, 778, 24)
    >>> tokens, attention = model(torch.randn(1, 7781, 1), return_attention=True)
    >>> [tuple(layer.shape) for layer in attention]
    [(1, 2, 778, 778), (1, 2, 778, 778)]
    """

    modalities = ("spectrum",)

    def __init__(
        self,
        *,
        input_dim=22,
        embed_dim=768,
        num_layers=6,
        num_heads=6,
        max_len=800,
        mask_num_chunks=6,
        mask_chunk_width=50,
        slice_section_length=20,
        slice_overlap=10,
        dropout=0.0,
    ):
        super().__init__(
            input_dim=input_dim,
            embed_dim=embed_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            max_len=max_len,
            mask_num_chunks=mask_num_chunks,
            mask_chunk_width=mask_chunk_width,
            slice_section_length=slice_section_length,
            slice_overlap=slice_overlap,
            dropout=dropout,
        )
        if input_dim != slice_section_length + 2:
            raise ValueError(
                f"input_dim is {input_dim}, expected slice_section_length + 2 = "
                f"{slice_section_length + 2}"
            )
        self.data_embed = nn.Linear(input_dim, embed_dim)
        self.position_embed = nn.Embedding(max_len, embed_dim)
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, dropout) for _ in range(num_layers))
        self.final_layernorm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, input_dim)
        self._init_weights()

    def _init_weights(self):
        """Normal(0, 0.02), with residual projections scaled by depth (GPT-2's scheme)."""
        depth = self.config["num_layers"]
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                last = name.endswith(("projection.weight", "decoder.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5 if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def preprocess(self, x):
        """Normalise spectra and cut them into tokens.

        Parameters
        ----------
        x : torch.Tensor
            Flux, shape (B, L, 1), in 1e-17 erg s-1 cm-2 Å-1.

        Returns
        -------
        torch.Tensor
            Shape (B, T, input_dim), where T is at most `max_len`.

        Raises
        ------
        ValueError
            If the shape is not (B, L, 1), or L gives no token or more than `max_len`.
        """
        section = self.config["slice_section_length"]
        stride = section - self.config["slice_overlap"]
        if x.ndim != 3 or x.shape[-1] != 1:
            raise ValueError(f"spectra of shape {tuple(x.shape)}: expected (batch, pixels, 1)")
        n_slices = (x.shape[1] - section + stride - 1) // stride
        longest = section + stride * (self.config["max_len"] - 1)
        if not 1 <= n_slices < self.config["max_len"]:
            raise ValueError(
                f"spectra of {x.shape[1]} pixels: this model takes {section + 1} to {longest}"
            )
        flux = x.squeeze(-1)
        mean = flux.mean(1, keepdim=True)
        std = flux.std(1, keepdim=True).clamp_min(0.2)
        slices = ((flux - mean) / std).unfold(1, section, stride)[:, :n_slices]
        tokens = F.pad(slices, (2, 0, 1, 0))
        tokens[:, 0, 0] = (mean.squeeze(1) - 2) / 2
        tokens[:, 0, 1] = (std.squeeze(1) - 2) / 8
        return tokens

    def forward_tokens(self, tokens, return_attention=False):
        """Encode tokens that `preprocess` (and masking) made.

        Parameters
        ----------
        tokens : torch.Tensor
            Shape (B, T, input_dim).
        return_attention : bool
            Also return the attention weights.

        Returns
        -------
        torch.Tensor or tuple
            Output tokens (B, T, embed_dim); with `return_attention`, also a list with one tensor
            (B, head, T, T) per block.
        """
        position = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.data_embed(tokens) + self.position_embed(position)
        if return_attention:
            return self._run_blocks(x, True)
        return in_pieces(self._run_blocks, x)

    def _run_blocks(self, x, return_attention=False):
        attention = []
        for block in self.blocks:
            x, weights = block(x, return_attention)
            attention.append(weights)
        x = self.final_layernorm(x)
        return (x, attention) if return_attention else x

    def forward(self, x, return_attention=False):
        """Encode spectra.

        Parameters
        ----------
        x : torch.Tensor
            Flux, shape (B, L, 1), in 1e-17 erg s-1 cm-2 Å-1.
        return_attention : bool
            Also return the attention weights.

        Returns
        -------
        torch.Tensor or tuple
            As `forward_tokens`.
        """
        return self.forward_tokens(self.preprocess(x), return_attention)

    def embed_spectrum(self, x):
        """Mean of the tokens of spectra; see `GalaxyModel`.

        Parameters
        ----------
        x : torch.Tensor
            Spectra, shape (B, L, 1).

        Returns
        -------
        torch.Tensor
            Vectors, shape (B, embed_dim), not normalised.
        """
        return self(x).mean(1)

    def mask(self, tokens, generator=None):
        """Hide one run of tokens in each of `mask_num_chunks` equal parts of the sequence.

        Parameters
        ----------
        tokens : torch.Tensor
            Shape (B, T, input_dim).
        generator : torch.Generator, optional
            Source of the random positions.

        Returns
        -------
        torch.Tensor
            A copy with the hidden tokens zero.

        Raises
        ------
        ValueError
            If T is shorter than ``(2 * mask_num_chunks - 1) * mask_chunk_width``.
        """
        n_chunks, width = self.config["mask_num_chunks"], self.config["mask_chunk_width"]
        batch, length, _ = tokens.shape
        if length < (2 * n_chunks - 1) * width:
            raise ValueError(
                f"{length} tokens are too few to mask: expected at least "
                f"{(2 * n_chunks - 1) * width}"
            )
        part = torch.arange(n_chunks, device=tokens.device) * length // n_chunks
        shift = torch.randint(
            length // n_chunks - width,
            (batch, n_chunks),
            generator=generator,
            device=tokens.device,
        )
        start = (part + shift).unsqueeze(-1)
        position = torch.arange(length, device=tokens.device)
        hidden = ((position >= start) & (position < start + width)).any(1)
        return tokens.masked_fill(hidden.unsqueeze(-1), 0)

    def masked_loss(self, tokens, masked):
        """Loss of masked modelling.

        Parameters
        ----------
        tokens, masked : torch.Tensor
            The tokens (B, T, input_dim), and the same with some hidden by `mask`.

        Returns
        -------
        torch.Tensor
            Squared error on the entries that masking changed, averaged over them (scalar).
        """
        changed = tokens != masked
        error = self.head(self.forward_tokens(masked)) - tokens
        return error[changed].square().mean()
