"""Which objects are trained on, and which are kept aside."""

import hashlib

import numpy as np
from astropy import units as u
from astropy_healpix import HEALPix

from astroclip_astro.errors import InputError

__all__ = ["PARTS", "held_out", "split"]

#: Names of the parts, by the numbers that `split` returns.
PARTS = ("train", "validation", "test")

# Cells of the split by position: 1.8 degrees wide, so that few objects have neighbours in another
# part, and a survey of some hundred square degrees still has many cells.
_NSIDE = 32


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


def split(
    object_id, ra=None, dec=None, *, by="object", test=0.1, validation=0.05, seed=0, kept=None
):
    """Deal objects into training, validation and test.

    Parameters
    ----------
    object_id : array_like of str
        Names, shape (n,).
    ra, dec : array_like, optional
        Positions (deg), shape (n,); needed for ``by="sky"``.
    by : {"object", "sky"}
        Whether each object is dealt by its name, or all objects of a cell of the sky (HEALPix,
        nside 32, 1.8 degrees wide) together, so that neighbours and repeated observations do not
        end up in different parts.
    test, validation : float
        Shares of the two.
    seed : int
        Another seed deals differently.
    kept : numpy.ndarray, optional
        Objects that the data set itself keeps for testing, shape (n,), bool. They are the test part
        then, and none else.

    Returns
    -------
    numpy.ndarray
        Index in `PARTS`, shape (n,), int8. It depends on the names or positions and the seed, not
        on the order or on which other objects there are.

    Raises
    ------
    InputError
        If shares are not between 0 and 1, or a position is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.split import split
    >>> part = split([f"galaxy-{i}" for i in range(1000)])
    >>> np.bincount(part)
    array([872,  47,  81])
    """
    if by not in ("object", "sky"):
        raise ValueError(f"by is {by!r}, expected 'object' or 'sky'")
    if not (0 <= test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise InputError(f"test {test} and validation {validation}: expected shares below 1 in sum")
    object_id = np.asarray(object_id).astype(str)
    keys = object_id
    if by == "sky":
        ra, dec = (
            np.broadcast_to(np.asarray(np.nan if one is None else one, float), object_id.shape)
            for one in (ra, dec)
        )
        unknown = ~(np.isfinite(ra) & np.isfinite(dec))
        if unknown.any():
            raise InputError(
                f"{unknown.sum()} of {len(ra)} objects have no position: split by object instead",
                object_id=str(object_id[unknown][0]),
            )
        cell = HEALPix(_NSIDE, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
        keys = np.asarray(cell).astype(str)
    different, back = np.unique(keys, return_inverse=True)
    digests = (hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in different)
    uniform = np.array([int.from_bytes(d[:6], "big") / 2**48 for d in digests])[back]
    if kept is None:
        part = np.where(uniform < test, 2, np.where(uniform < test + validation, 1, 0))
    else:
        part = np.where(kept, 2, np.where(uniform < validation, 1, 0))
    return part.astype(np.int8)
