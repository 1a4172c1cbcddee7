"""Linear layers of eight-bit integers, for inference on a CPU.

Weights have one scale for each output, activations one for each token, found when they come in:
what LLM.int8() calls vector-wise quantisation (Dettmers et al. 2022,
https://arxiv.org/abs/2208.07339), here without exception for outliers.
"""

import torch
from torch import nn
from torch.nn import functional as F

from astroclip_astro.models.products import bfloat16_pays

__all__ = ["Int8Linear", "int8_works"]

# oneDNN wants activations without sign: what stands for 0.
_ZERO = 128

# What the largest number of a row becomes, at most 127 when its scale is rounded to bfloat16.
_LARGEST = 126.5


def int8_works():
    """Whether this CPU multiplies eight-bit integers without overflow, and this torch knows how.

    Returns
    -------
    bool
        Without the instructions VNNI, sums of two products are cut at 16 bits.

    Examples
    --------
    >>> from astroclip_astro.models.int8 import int8_works
    >>> int8_works() in (True, False)
    True
    """
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.onednn, "qlinear_prepack")
        and bool(torch.cpu.get_capabilities().get("avx512_vnni"))
    )


class Int8Linear(nn.Module):
    """A linear layer whose product is one of integers.

    Parameters
    ----------
    layer : torch.nn.Linear
        The layer that it stands for, in float32.

    Attributes
    ----------
    weight : torch.Tensor
        Shape (outputs, inputs), int8.
    scale : torch.Tensor
        What to multiply the rows of `weight` by, shape (outputs,), float32.
    bias : torch.Tensor or None
        Shape (outputs,).

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models.int8 import Int8Linear
    >>> layer = Int8Linear(torch.nn.Linear(3, 2))
    >>> layer.weight.dtype, layer.scale.shape
    (torch.int8, torch.Size([2]))
    """

    def __init__(self, layer):
        super().__init__()
        weight = layer.weight.detach()
        scale = _scale(weight)
        # Between the layers bfloat16 spares half of the memory, and is more precise than int8.
        self.between = torch.bfloat16 if bfloat16_pays() else torch.float32
        self.weight = nn.Parameter(torch.round(weight / scale).to(torch.int8), requires_grad=False)
        self.register_buffer("scale", scale[:, 0].contiguous())
        bias = layer.bias if layer.bias is None else layer.bias.detach().to(self.between)
        self.bias = bias if bias is None else nn.Parameter(bias, requires_grad=False)
        self._packed = None

    def __getstate__(self):
        # The packed weights are of a kind that cannot be copied.
        return super().__getstate__() | {"_packed": None}

    def forward(self, x, gelu=False):
        """Apply the layer.

        Parameters
        ----------
        x : torch.Tensor
            Shape (…, inputs). A token with a number that is not finite gives no finite number.
        gelu : bool
            Apply an exact GELU to the result.

        Returns
        -------
        torch.Tensor
            Shape (…, outputs), bfloat16 where the processor is fast with it, float32 elsewhere.

        Raises
        ------
        RuntimeError
            If gradients are asked for: integers have none.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("layers in int8 have no gradients: load the model in float32")
        if self._packed is None:
            self._packed = torch.ops.onednn.qlinear_prepack(self.weight, None)
            self._zeros = torch.zeros(len(self.weight), dtype=torch.int64)
        tokens = x.flatten(0, -2)
        # Rounded first, so that it is the same number before and after the product. It is NaN where
        # the token holds one, which the integers cannot say.
        scale = _scale(tokens).to(self.between)
        tokens = torch.round(tokens / scale).to(torch.int8).view(torch.uint8).bitwise_xor_(_ZERO)
        y = torch.ops.onednn.qlinear_pointwise(
            *(tokens, 1.0, _ZERO, self._packed, self.scale, self._zeros, None),
            *(1.0, 0, self.between, "none", [], ""),
        )
        y = y * scale if self.bias is None else torch.addcmul(self.bias, y, scale)
        return (F.gelu(y) if gelu else y).unflatten(0, x.shape[:-1])


def _scale(rows):
    """What the integers of each row are to be multiplied by, shape (rows, 1); NaN if one is."""
    return rows.abs().amax(1, keepdim=True).clamp_min(1e-30) / _LARGEST
