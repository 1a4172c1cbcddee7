"""Contrasting objects with those of all processes: the loss of alignment, and recall."""

import torch
from torch import distributed
from torch.nn import functional as F

from astroclip_astro.models import clip_loss

__all__ = ["contrastive_loss", "gather", "recall"]

#: Similarities computed at a time by `recall`: 64 MB of float32.
_AT_A_TIME = 2**24


class _Gather(torch.autograd.Function):
    """Rows of all processes, see `gather`.

    The gathering functions of `torch.distributed.nn` are deprecated, need equally many rows, and
    communicate in the backward pass, which is not needed here.
    """

    @staticmethod
    def forward(ctx, x):
        """Gather x (b, …) to (B, …)."""
        world, rank = distributed.get_world_size(), distributed.get_rank()
        size = torch.tensor([len(x)], device=x.device)
        sizes = [torch.empty_like(size) for _ in range(world)]
        distributed.all_gather(sizes, size)
        sizes = torch.cat(sizes).tolist()
        # Collectives want equal shapes: pad to the longest and cut again.
        padded = x.new_zeros(max(sizes), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in range(world)]
        distributed.all_gather(parts, padded)
        ctx.world = world
        ctx.own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient):
        """Own rows of the gradient (B, …), times the number of processes."""
        return ctx.world * gradient[ctx.own]


def gather(x):
    """Join the rows of all processes, with gradients.

    Parameters
    ----------
    x : torch.Tensor
        Rows of this process, shape (b, …); b may differ between processes, and be 0.

    Returns
    -------
    torch.Tensor
        Rows of all processes in the order of their ranks, shape (B, …), the same on each; `x`
        itself where there is one process only.

    Notes
    -----
    Every process has to compute the same scalar of the result and to go backward from it. The
    gradient of its own rows is then complete without communication; it comes out multiplied by the
    number of processes, because data parallelism averages the gradients of the parameters over them
    where their sum is meant. Parameters that act on the gathered rows, such as a temperature, have
    the same gradient on all processes, which the average leaves as it is.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.contrastive import gather
    >>> gather(torch.eye(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return x
    return _Gather.apply(x)


def contrastive_loss(first, second, identity, logit_scale):
    """Symmetric InfoNCE that never takes an object for its own negative.

    Parameters
    ----------
    first, second : torch.Tensor
        Vectors (B, D); row i of both belongs to the same object.
    identity : torch.Tensor
        Which object each row shows, shape (B,), int64. Rows that show the same object are left out
        of each other's negatives.
    logit_scale : float or torch.Tensor
        Multiplier of the cosine similarities.

    Returns
    -------
    torch.Tensor
        The loss (scalar), in the precision of the vectors also under autocast. Without duplicates
        it is that of `astroclip_astro.models.clip_loss`.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.contrastive import contrastive_loss
    >>> contrastive_loss(torch.ones(2, 8), torch.ones(2, 8), torch.tensor([7, 7]), 15.5)
    tensor(0.)
    """
    with torch.autocast(first.device.type, enabled=False):
        _, logits = clip_loss(first, second, logit_scale)
        truth = torch.arange(len(logits), device=logits.device)
        duplicate = (identity[:, None] == identity) & (truth[:, None] != truth)
        logits = logits.masked_fill(duplicate, -torch.inf)
        return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def recall(query, answer, identity, k):
    """Fraction of objects found among the `k` most similar in another modality.

    Parameters
    ----------
    query, answer : torch.Tensor
        Vectors (B, D); row i of both belongs to the same object. The pool is all B answers.
    identity : torch.Tensor
        Which object each row shows, shape (B,). Other rows of the same object do not compete.
    k : int
        How many of the most similar answers count.

    Returns
    -------
    float
        Between 0 and 1. Ties and non-finite similarities count as misses, so that collapsed vectors
        score as badly as they are.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.contrastive import recall
    >>> recall(torch.eye(4), torch.eye(4), torch.arange(4), k=1)
    1.0
    >>> recall(torch.ones(4, 4), torch.ones(4, 4), torch.arange(4), k=1)
    0.0
    """
    query, answer = F.normalize(query, dim=-1), F.normalize(answer, dim=-1)
    found = 0
    for rows in torch.arange(len(query)).split(max(1, _AT_A_TIME // len(answer))):
        similarity = query[rows] @ answer.T
        own = similarity.gather(1, rows[:, None].to(similarity.device))
        rivals = ~(similarity < own) & (identity[rows, None] != identity)
        found += int((~own.isnan().squeeze(1) & (rivals.sum(1) < k)).sum())
    return found / len(query)
