"""Large contrastive batches in little memory: gradients through cached vectors.

A contrastive loss needs the vectors of the whole batch at once, but not their activations.
GradCache (Gao et al. 2021, https://arxiv.org/abs/2101.06983) encodes the batch in micro-batches
without keeping activations, computes the loss and its gradient with respect to the vectors, then
encodes each micro-batch a second time, now with its graph, to carry that gradient on to the
parameters. That is activation checkpointing with one checkpoint per micro-batch, so torch's own
does the work, inside an ordinary backward pass: clipping, schedules, mixed precision and data
parallelism need nothing special.
"""

import torch
from torch.utils.checkpoint import checkpoint

__all__ = ["encode_in_micro_batches"]


def encode_in_micro_batches(encoder, x, micro_batch=None):
    """Encode a batch piece by piece, with the gradient of the whole.

    Parameters
    ----------
    encoder : callable
        Maps (b, …) to vectors (b, D), each row on its own, such as a module without batch
        normalisation.
    x : torch.Tensor
        The batch, shape (B, …).
    micro_batch : int, optional
        Rows encoded at a time. The activations of no more than these are in memory at any moment,
        and each row is encoded twice where gradients are wanted. By default, and where the batch is
        no larger, all rows at once, as usual.

    Returns
    -------
    torch.Tensor
        Vectors (B, D).

    Raises
    ------
    ValueError
        If `micro_batch` is below 1.

    Notes
    -----
    The second pass restores the state of the random number generators (CPU and the device of `x`)
    and of autocast of the first one, so that dropout hides the same units in both.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.grad_cache import encode_in_micro_batches
    >>> encoder = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout())
    >>> vectors = encode_in_micro_batches(encoder, torch.ones(10, 3), micro_batch=4)
    >>> vectors.square().sum().backward()
    >>> vectors.shape, encoder[0].weight.grad.shape
    (torch.Size([10, 2]), torch.Size([2, 3]))
    """
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch is {micro_batch}: expected at least 1, or None")
    if micro_batch is None or len(x) <= micro_batch:
        return encoder(x)
    return torch.cat(
        [checkpoint(encoder, part, use_reentrant=False) for part in x.split(micro_batch)]
    )
