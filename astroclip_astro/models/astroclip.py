"""AstroCLIP: galaxy images and spectra aligned in one embedding space.

Paper: Parker et al. 2024, MNRAS 531, 4990 (https://doi.org/10.1093/mnras/stae1450), sections 3.3
and 3.4. Names of modules and parameters match the published implementation (MIT licence,
https://github.com/PolymathicAI/AstroCLIP), so that its checkpoints load strictly.
"""

import torch
from torch import nn
from torch.nn import functional as F

from astroclip_astro.models.base import GalaxyModel
from astroclip_astro.models.specformer import MLP, SpecFormer
from astroclip_astro.models.vit import VisionTransformer

__all__ = ["AstroCLIP", "clip_loss"]


class CrossAttention(nn.Module):
    """One learned query that reads the tokens of an encoder, followed by LayerNorm."""

    def __init__(self, embed_dim, num_heads, token_dim, dropout):
        super().__init__()
        self.query = nn.Parameter(nn.init.normal_(torch.empty(1, 1, embed_dim)))
        self.multihead_attn = nn.MultiheadAttention(
            embed_dim, num_heads, batch_first=True, kdim=token_dim, vdim=token_dim
        )
        self.layernorm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens, return_attention=False):
        """Pool tokens (B, T, token_dim) to (B, embed_dim), with weights (B, head, T) or None."""
        attention = self.multihead_attn
        packed, heads = attention.in_proj_weight, attention.num_heads
        separate = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        to_query, to_key, to_value = separate if packed is None else packed.chunk(3)
        # The bias of the keys adds the same to all scores, which the softmax does not see.
        query_bias, _, value_bias = attention.in_proj_bias.chunk(3)
        # There is one query: to take it to the tokens, and their mean to the values, spares the
        # projection of every token to a key and a value.
        query = F.linear(self.query[0, 0], to_query, query_bias).unflatten(0, (heads, -1))
        query = query * query.shape[-1] ** -0.5
        query = torch.einsum("hw,hwt->ht", query, to_key.unflatten(0, (heads, -1)))
        weights = (tokens @ query.T).softmax(1).transpose(1, 2)
        values = torch.einsum("bht,hwt->bhw", weights @ tokens, to_value.unflatten(0, (heads, -1)))
        pooled = attention.out_proj(values.flatten(1) + value_bias)
        pooled = self.layernorm(self.dropout(pooled))
        return pooled, weights if return_attention else None


class Encoder(nn.Module):
    """A backbone and its head: batch in, one vector per object out.

    Parameters
    ----------
    backbone : SpecFormer or VisionTransformer
        Gives the tokens.
    embed_dim, num_heads : int
        Width of the vectors, and attention heads of the pooling.
    dropout : float
        Dropout probability in the head, in training only.
    residual : bool
        Whether the MLP's input is added to its output: yes for spectra, no for images.
    """

    def __init__(self, backbone, embed_dim, num_heads, dropout, residual):
        super().__init__()
        self.backbone = backbone
        self.cross_attention = CrossAttention(embed_dim, num_heads, backbone.embed_dim, dropout)
        self.mlp = MLP(embed_dim, dropout)
        self.residual = residual

    def forward(self, x, return_attention=False):
        """Embed a batch.

        Parameters
        ----------
        x : torch.Tensor
            Input of the backbone: spectra (B, L, 1), or RGB images (B, 3, H, W).
        return_attention : bool
            Also return how much the vector attends to each token.

        Returns
        -------
        torch.Tensor or tuple
            Vectors (B, embed_dim), not normalised; with `return_attention`, also the weights of
            the pooling, shape (B, head, T).
        """
        vectors, weights = self.pool(self.backbone(x), return_attention)
        return (vectors, weights) if return_attention else vectors

    def pool(self, tokens, return_attention=False):
        """Make one vector of the tokens of each object.

        Parameters
        ----------
        tokens : torch.Tensor
            Output of the backbone, shape (B, T, token_dim).
        return_attention : bool
            Also return how much the vector attends to each token.

        Returns
        -------
        vectors : torch.Tensor
            Shape (B, embed_dim), not normalised.
        weights : torch.Tensor or None
            Shape (B, head, T), None unless asked for.
        """
        pooled, weights = self.cross_attention(tokens, return_attention)
        vectors = self.mlp(pooled)
        return vectors + pooled if self.residual else vectors, weights


class AstroCLIP(GalaxyModel):
    """Image and spectrum encoders whose vectors of one galaxy are trained to agree.

    Parameters
    ----------
    spectrum : dict
        Keyword arguments of `SpecFormer`.
    image : dict
        Keyword arguments of `VisionTransformer`.
    embed_dim : int
        Width of the shared space.
    spectrum_heads, image_heads : int
        Attention heads of the two pooling layers.
    dropout : float
        Dropout probability in the heads, in training only.
    logit_scale : float
        Multiplier of the cosine similarities in the contrastive loss.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models import AstroCLIP
    >>> model = AstroCLIP(
    ...     spectrum={"embed_dim": 24, "num_layers": 2, "num_heads": 2},
    ...     image={"embed_dim": 32, "depth": 8, "num_heads": 2},
    ...     embed_dim=32, spectrum_heads=2, image_heads=2,
    ... ).eval()
    >>> tuple(model.spectrum_encoder(torch.randn(1, 7781, 1)).shape)
    (1, 32)
    >>> vectors, attention = model.image_encoder(torch.rand(2, 3, 144, 144), return_attention=True)
    >>> tuple(vectors.shape), tuple(attention.shape)
    ((2, 32), (2, 2, 144))
    """

    modalities = ("spectrum", "image")

    def __init__(
        self,
        *,
        spectrum,
        image,
        embed_dim=1024,
        spectrum_heads=4,
        image_heads=4,
        dropout=0.1,
        logit_scale=15.5,
    ):
        super().__init__(
            spectrum=dict(spectrum),
            image=dict(image),
            embed_dim=embed_dim,
            spectrum_heads=spectrum_heads,
            image_heads=image_heads,
            dropout=dropout,
            logit_scale=logit_scale,
        )
        self.logit_scale = logit_scale
        self.image_encoder = Encoder(
            VisionTransformer(**image), embed_dim, image_heads, dropout, residual=False
        )
        self.spectrum_encoder = Encoder(
            SpecFormer(**spectrum), embed_dim, spectrum_heads, dropout, residual=True
        )

    def embed_spectrum(self, x):
        """Vectors of spectra; see `GalaxyModel`.

        Parameters
        ----------
        x : torch.Tensor
            Spectra, shape (B, L, 1).

        Returns
        -------
        torch.Tensor
            Vectors, shape (B, embed_dim), not normalised.
        """
        return self.spectrum_encoder(x)

    def embed_image(self, x):
        """Vectors of images; see `GalaxyModel`.

        Parameters
        ----------
        x : torch.Tensor
            RGB images, shape (B, 3, H, W).

        Returns
        -------
        torch.Tensor
            Vectors, shape (B, embed_dim), not normalised.
        """
        return self.image_encoder(x)


def clip_loss(image_features, spectrum_features, logit_scale=15.5):
    """Symmetric contrastive loss between the vectors of the same galaxies.

    Parameters
    ----------
    image_features, spectrum_features : torch.Tensor
        Vectors (B, embed_dim); row i of both belongs to galaxy i. They are normalised here.
    logit_scale : float or torch.Tensor
        Multiplier of the cosine similarities.

    Returns
    -------
    loss : torch.Tensor
        Mean of the two cross-entropies (scalar).
    logits_per_image : torch.Tensor
        Scaled similarities (B, B), images along the rows.

    Notes
    -----
    InfoNCE of Parker et al. 2024, equation 3, with 1/τ = `logit_scale` = 15.5 fixed. The norm is
    bounded below by 1e-3, as in the published implementation.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models import clip_loss
    >>> loss, logits = clip_loss(torch.eye(4), torch.eye(4))
    >>> bool(loss < 1e-5)
    True
    """
    image_features = F.normalize(image_features, dim=-1, eps=1e-3)
    spectrum_features = F.normalize(spectrum_features, dim=-1, eps=1e-3)
    logits = logit_scale * image_features @ spectrum_features.T
    truth = torch.arange(len(logits), device=logits.device)
    loss = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
    return loss, logits
