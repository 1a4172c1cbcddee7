"""Where to compute: the names of devices."""

import torch

__all__ = ["as_device"]


def as_device(device="auto"):
    """Find a device that is there.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes CUDA or MPS where there is one.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If it is not available.

    Examples
    --------
    >>> from astroclip_astro.devices import as_device
    >>> as_device("cpu")
    device(type='cpu')
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} is not available here: {error}") from error
    return target
