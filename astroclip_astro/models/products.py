"""Matrix products of the transformers, in inference by what is fastest on this processor.

On a CPU torch leaves float32 products to MKL, which is slow on processors that are not Intel's, and
bfloat16 attention to kernels that compute in float32. oneDNN comes with torch, does both at the
processor's rate, and applies the GELU on the way. Which of them is faster here is measured once.
"""

import time
from functools import cache

import torch
from torch.nn import functional as F

__all__ = ["attend", "bfloat16_pays", "in_pieces", "linear"]

# Numbers in the tokens that one thread works on at a time: three spectra or fourteen images of the
# published model. More leave the cache; fewer do not pay for oneDNN's own copy of the weights.
_PIECE = 2**21

# Operations of a product from which on it is worth to know which kernel is the faster one.
_LARGE = 2**25

# Tokens from which on attention in float32 is worth a call of oneDNN for each head.
_LONG = 256


def _onednn(x, weight, bias=None, activation="none"):
    """act(x Wᵀ + bias) by oneDNN, which takes tensors in order only."""
    kind = "none" if activation == "gelu" else ""
    return torch.ops.mkldnn._linear_pointwise(
        x.contiguous(), weight.contiguous(), bias, activation, [], kind
    )


@cache
def _rates():
    """Products per second of float32 by MKL, float32 by oneDNN, bfloat16 by oneDNN (dict)."""
    rates = {"torch": 1.0, torch.float32: 0.0, torch.bfloat16: 0.0}
    if not (
        torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return rates
    one, two = torch.ones(256, 512), torch.ones(1024, 512)
    few, many = one.bfloat16(), two.bfloat16()
    kernels = {
        "torch": lambda: F.linear(one, two),
        torch.float32: lambda: _onednn(one, two),
        torch.bfloat16: lambda: _onednn(few, many),
    }
    shortest = dict.fromkeys(kernels, float("inf"))
    with torch.inference_mode():
        for _ in range(5):
            for name, kernel in kernels.items():
                start = time.perf_counter()
                kernel()
                shortest[name] = min(shortest[name], time.perf_counter() - start)
    return {name: 1 / seconds for name, seconds in shortest.items()}


def bfloat16_pays():
    """Whether products of bfloat16 are clearly faster than those of float32 on this CPU.

    Returns
    -------
    bool
        Measured once in a process, in some milliseconds.

    Examples
    --------
    >>> from astroclip_astro.models.products import bfloat16_pays
    >>> bfloat16_pays() in (True, False)
    True
    """
    rates = _rates()
    return rates[torch.bfloat16] > 1.3 * max(rates["torch"], rates[torch.float32])


def _by_onednn(x, operations):
    """Whether a product is to be left to oneDNN."""
    # Graphs get torch's own operators: who runs them has kernels of his own.
    if torch.compiler.is_compiling():
        return False
    if x.device.type != "cpu" or torch.is_grad_enabled() or operations < _LARGE:
        return False
    if torch.is_autocast_enabled("cpu") or x.dtype not in (torch.float32, torch.bfloat16):
        return False
    rates = _rates()
    if x.dtype == torch.bfloat16:  # there is no other kernel, only the way to it is longer
        return rates[torch.bfloat16] > 0
    return rates[torch.float32] > 1.2 * rates["torch"]


def linear(layer, x, *, gelu=False):
    """Apply a linear layer, in the precision of its weights.

    Parameters
    ----------
    layer : torch.nn.Linear or Int8Linear
        The layer.
    x : torch.Tensor
        Shape (…, features).
    gelu : bool
        Apply an exact GELU to the result.

    Returns
    -------
    torch.Tensor
        Shape (…, features of the layer), of the type of its weights if that is one of floats.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models.products import linear
    >>> layer = torch.nn.Linear(3, 2).bfloat16()
    >>> linear(layer, torch.ones(4, 3)).dtype
    torch.bfloat16
    """
    if not isinstance(layer, torch.nn.Linear):  # it has a product of its own
        return layer(x, gelu=gelu)
    weight = layer.weight
    if not torch.is_autocast_enabled(x.device.type):
        x = x.to(weight.dtype)
    if _by_onednn(x, x.numel() * len(weight)):
        return _onednn(x, weight, layer.bias, "gelu" if gelu else "none")
    y = layer(x)
    return F.gelu(y) if gelu else y


def attend(q, k, v, dropout=0.0):
    """Scaled dot-product attention.

    Parameters
    ----------
    q, k, v : torch.Tensor
        Queries, keys and values, shape (B, head, T, width).
    dropout : float
        Dropout probability of the weights.

    Returns
    -------
    torch.Tensor
        Shape (B, T, head * width).

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models.products import attend
    >>> attend(*torch.ones(3, 2, 4, 5, 8)).shape
    torch.Size([2, 5, 32])
    """
    batch, heads, length, width = q.shape
    long = length >= _LONG or q.dtype == torch.bfloat16
    if dropout or not long or not _by_onednn(q, q.numel() * length):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2).flatten(2)
    mixed = q.new_empty(batch, length, heads, width)
    nothing = q.new_zeros(()).expand(heads, length, length)
    # One object at a time: its weights are still in the cache when they are used.
    for i in range(batch):
        keys, out = k[i].contiguous(), mixed[i].transpose(0, 1)
        if q.dtype == torch.bfloat16:
            queries, values = q[i].contiguous(), v[i].contiguous()
            scores = torch.baddbmm(
                nothing, queries, keys.transpose(1, 2), beta=0, alpha=width**-0.5
            )
            out.copy_(torch.bmm(scores.softmax(-1), values))
            continue
        queries, values = q[i] * width**-0.5, v[i].transpose(1, 2).contiguous()
        for head in range(heads):
            weights = _onednn(queries[head], keys[head]).softmax(-1)
            out[head] = _onednn(weights, values[head])
    return mixed.flatten(2)


def in_pieces(function, tokens):
    """Apply a function to tokens, in inference on a CPU to those of a few objects at a time.

    Parameters
    ----------
    function : callable
        From tokens (B, T, width) to a tensor (B, …), each object for itself.
    tokens : torch.Tensor
        Shape (B, T, width).

    Returns
    -------
    torch.Tensor
        Shape (B, …).

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.models.products import in_pieces
    >>> in_pieces(torch.exp, torch.zeros(2, 3, 4)).shape
    torch.Size([2, 3, 4])
    """
    if tokens.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(tokens)
    objects = max(1, _PIECE * torch.get_num_threads() // max(1, tokens[:1].numel()))
    if objects >= len(tokens):
        return function(tokens)
    return torch.cat([function(piece) for piece in tokens.split(objects)])
