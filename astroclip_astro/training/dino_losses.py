"""Losses of DINOv2's self-distillation: between views, on hidden patches, and against collapse.

Oquab et al. 2023 (https://arxiv.org/abs/2304.07193), section 4.
"""

import torch
from torch import distributed
from torch.nn import functional as F

__all__ = ["cross_entropy", "koleo", "sinkhorn_knopp"]


def _everywhere(x):
    """Sum over all processes."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(x)
    return x


@torch.no_grad()
def sinkhorn_knopp(logits, temperature, iterations=3):
    """Share out teacher outputs evenly over the prototypes.

    Parameters
    ----------
    logits : torch.Tensor
        Of the teacher, shape (n, prototype).
    temperature : float
        They are divided by it.
    iterations : int
        How often rows and columns are normalised.

    Returns
    -------
    torch.Tensor
        Shape (n, prototype), rows that sum to 1; every prototype has about the same total over all
        samples of all processes.

    Notes
    -----
    Caron et al. 2020 (https://arxiv.org/abs/2006.09882), section 3.2 and appendix A; in place of
    the centring of the teacher as in DINOv2.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.dino_losses import sinkhorn_knopp
    >>> sinkhorn_knopp(torch.tensor([[5.0, 0.0], [4.0, 0.0]]), 1.0).sum(0).round(decimals=2)
    tensor([1., 1.])
    """
    logits = logits.float() / temperature
    largest = logits.max() if len(logits) else logits.new_tensor(-torch.inf)
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    shares = torch.exp(logits - largest)
    n = _everywhere(shares.new_tensor(float(len(shares))))
    shares = shares / _everywhere(shares.sum())
    for _ in range(iterations):
        shares = shares / _everywhere(shares.sum(0)).clamp(min=1e-30) / shares.shape[1]
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-30) / n
    return shares * n


def cross_entropy(student, teacher, temperature=0.1):
    """Cross-entropy of the student's distribution over prototypes with the teacher's.

    Parameters
    ----------
    student : torch.Tensor
        Logits, shape (n, prototype).
    teacher : torch.Tensor
        Probabilities, shape (n, prototype).
    temperature : float
        Of the student.

    Returns
    -------
    torch.Tensor
        Mean over the rows (scalar). DINO's loss for class tokens of different views (Caron et al.
        2021, https://arxiv.org/abs/2104.14294, eq. 2), iBOT's for hidden patches of the same view
        (Zhou et al. 2022, https://arxiv.org/abs/2111.07832, eq. 2).

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.dino_losses import cross_entropy
    >>> cross_entropy(torch.zeros(3, 4), torch.full((3, 4), 0.25))
    tensor(1.3863)
    """
    return -(teacher * F.log_softmax(student.float() / temperature, -1)).sum(-1).mean()


def koleo(vectors, eps=1e-8):
    """Keep vectors apart: minus the mean logarithm of the distance to the nearest other.

    Parameters
    ----------
    vectors : torch.Tensor
        Shape (n, feature), n at least 2; they are normalised here.
    eps : float
        Added to the distances.

    Returns
    -------
    torch.Tensor
        Scalar.

    Notes
    -----
    Kozachenko–Leonenko estimator of the entropy, up to a constant; Sablayrolles et al. 2019
    (https://arxiv.org/abs/1806.03198), eq. 5.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.dino_losses import koleo
    >>> koleo(torch.eye(4))  # all are the square root of 2 apart
    tensor(-0.3466)
    """
    vectors = F.normalize(vectors.float(), dim=-1)
    with torch.no_grad():
        similarity = vectors @ vectors.T
        nearest = similarity.fill_diagonal_(-2).argmax(1)
    return -torch.log((vectors - vectors[nearest]).norm(dim=-1) + eps).mean()
