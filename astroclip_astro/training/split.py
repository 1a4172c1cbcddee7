"""Which objects are trained on, and which are kept aside."""

import numpy as np

__all__ = ["held_out"]


def held_out(n):
    """Which objects of a mock survey are never trained on: every tenth.

    Parameters
    ----------
    n : int
        Size of the survey.

    Returns
    -------
    numpy.ndarray
        Shape (n,), bool, True where held out.

    Examples
    --------
    >>> from astroclip_astro.training.split import held_out
    >>> held_out(20).nonzero()[0]
    array([ 9, 19])
    """
    return np.arange(n) % 10 == 9
