"""How good redshifts are, as the field states it."""

from math import nan

import numpy as np

__all__ = ["OUTLIER", "bias", "outlier_fraction", "sigma_nmad"]

#: A redshift is an outlier beyond this times (1 + z).
OUTLIER = 0.1


def _offset(true, predicted):
    """(z_predicted - z_true) / (1 + z_true) where both are known."""
    both = np.isfinite(true) & np.isfinite(predicted)
    return (predicted[both] - true[both]) / (1 + true[both])


def sigma_nmad(true, predicted):
    """Scatter of redshifts that outliers do not spoil.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        Redshifts, shape (n,).

    Returns
    -------
    float
        1.4826 times the median absolute deviation of (z_predicted - z_true) / (1 + z_true) from its
        median: the standard deviation, were it normal. NaN without objects.

    Notes
    -----
    Brammer, van Dokkum & Coppi (2008, ApJ 686, 1503), section 3, after Hoaglin, Mosteller & Tukey
    (1983); they divide by 1 + z_true after taking the median, here as usual before.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks.metrics import sigma_nmad
    >>> round(sigma_nmad(np.zeros(3), np.array([-0.1, 0.0, 0.1])), 5)
    0.14826
    """
    offset = _offset(true, predicted)
    return float(1.4826 * np.median(np.abs(offset - np.median(offset)))) if offset.size else nan


def outlier_fraction(true, predicted):
    """Fraction of redshifts that are off by more than `OUTLIER` times (1 + z_true).

    Parameters
    ----------
    true, predicted : numpy.ndarray
        Redshifts, shape (n,).

    Returns
    -------
    float
        NaN without objects.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks.metrics import outlier_fraction
    >>> outlier_fraction(np.zeros(4), np.array([0.0, 0.05, -0.2, 0.5]))
    0.5
    """
    offset = _offset(true, predicted)
    return float(np.mean(np.abs(offset) > OUTLIER)) if offset.size else nan


def bias(true, predicted):
    """Median of (z_predicted - z_true) / (1 + z_true).

    Parameters
    ----------
    true, predicted : numpy.ndarray
        Redshifts, shape (n,).

    Returns
    -------
    float
        NaN without objects.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks.metrics import bias
    >>> bias(np.zeros(3), np.array([0.1, 0.1, 0.5]))
    0.1
    """
    offset = _offset(true, predicted)
    return float(np.median(offset)) if offset.size else nan
