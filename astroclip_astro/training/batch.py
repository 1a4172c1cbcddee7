"""What every data source gives and every training module takes: a batch of galaxies."""

import logging
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch

from astroclip_astro.errors import InputError

__all__ = ["TARGETS", "TrainingBatch", "only_observed"]

log = logging.getLogger(__name__)

#: Names and units of the properties that sources give where they know them.
TARGETS = {
    "redshift": "",
    "log_mass": "log10 solMass",
    "log_z": "log10 solar metallicity",
    "age": "Gyr",
    "log_ssfr": "log10 yr-1",
}


@dataclass(kw_only=True, eq=False)
class TrainingBatch:
    """Galaxies with the data of one or both modalities, on the model's grids.

    Parameters
    ----------
    object_id : numpy.ndarray
        Names, shape (B,), str.
    spectrum : torch.Tensor, optional
        Shape (B, L, 1), float32, 1e-17 erg s-1 cm-2 Å-1, filled where unobserved as the adapters
        do: with the mean of what was observed.
    spectrum_ivar : torch.Tensor, optional
        Shape (B, L), float32; 0 where filled or masked.
    image : torch.Tensor, optional
        Shape (B, 3, H, W), float32, nanomaggies in g, r, z on the model's pixels, not yet RGB:
        `astroclip_astro.adapters.image.encoder_input` crops it and makes the colours.
    image_ivar : torch.Tensor, optional
        Shape (B, 3, H, W), float32; 0 where masked. None where it is not known.
    targets : dict of torch.Tensor
        By name (`TARGETS` and others), shape (B,), float32; NaN where unknown.
    repeat : TrainingBatch, optional
        Second observations of the spectra of some of these objects, by their `object_id`.

    Raises
    ------
    InputError
        If lengths differ, or a spectrum comes without its inverse variance.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from astroclip_astro.training.batch import TrainingBatch
    >>> batch = TrainingBatch(object_id=np.array(["a", "b"]), image=torch.ones(2, 3, 152, 152))
    >>> len(batch), batch[1:].object_id
    (2, array(['b'], dtype='<U1'))
    """

    object_id: np.ndarray
    spectrum: torch.Tensor | None = None
    spectrum_ivar: torch.Tensor | None = None
    image: torch.Tensor | None = None
    image_ivar: torch.Tensor | None = None
    targets: dict = field(default_factory=dict)
    repeat: "TrainingBatch | None" = None

    def __post_init__(self):
        for name, tensor in self._tensors():
            if len(tensor) != len(self.object_id):
                raise InputError(
                    f"{name} has {len(tensor)} rows, object_id {len(self.object_id)}: expected "
                    "the same objects in both"
                )
        if (self.spectrum is None) != (self.spectrum_ivar is None):
            raise InputError("a batch has either both of spectrum and spectrum_ivar or neither")

    def _tensors(self):
        for name in ("spectrum", "spectrum_ivar", "image", "image_ivar"):
            if getattr(self, name) is not None:
                yield name, getattr(self, name)
        yield from self.targets.items()

    @classmethod
    def join(cls, batches, modalities=("image", "spectrum")):
        """Put batches one after another.

        Parameters
        ----------
        batches : sequence of TrainingBatch
            At least one.
        modalities : collection of str
            What to take; every batch has it.

        Returns
        -------
        TrainingBatch
            Without `repeat`. A target that some batches do not have is NaN there; the inverse
            variance of images is None unless it is known in all batches.
        """
        names = [n for m in ("spectrum", "image") if m in modalities for n in (m, f"{m}_ivar")]
        joined = {}
        for name in names:
            parts = [getattr(batch, name) for batch in batches]
            known = all(part is not None for part in parts)
            joined[name] = torch.cat(parts) if known else None
        targets = dict.fromkeys(name for batch in batches for name in batch.targets)
        for name in targets:
            targets[name] = torch.cat(
                [b.targets.get(name, torch.full((len(b),), torch.nan)) for b in batches]
            )
        ids = np.concatenate([batch.object_id for batch in batches])
        return cls(object_id=ids, targets=targets, **joined)

    def __len__(self):
        return len(self.object_id)

    def __getitem__(self, rows):
        """Choose objects.

        Parameters
        ----------
        rows : slice, list of int or torch.Tensor
            Which; a tensor holds indices or booleans.

        Returns
        -------
        TrainingBatch
            Without `repeat`.
        """
        names = rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows
        own = replace(self, repeat=None)
        return replace(own._map(lambda tensor: tensor[rows]), object_id=self.object_id[names])

    def to(self, device, non_blocking=False):
        """Copy to a device.

        Parameters
        ----------
        device : torch.device or str
            Where to.
        non_blocking : bool
            Whether the copy may overlap with computation, from pinned memory.

        Returns
        -------
        TrainingBatch
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self):
        """Copy to page-locked memory, from which copies to a GPU are fast.

        Returns
        -------
        TrainingBatch
        """
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function):
        """Apply a function to all tensors; rows may change with it."""
        new = object.__new__(type(self))
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, torch.Tensor):
                value = function(value)
            elif one.name == "targets":
                value = {name: function(tensor) for name, tensor in value.items()}
            elif isinstance(value, TrainingBatch):
                value = value._map(function)
            setattr(new, one.name, value)
        return new


def only_observed(batch, observed, what):
    """Leave out the objects of which nothing was observed, with a warning.

    Parameters
    ----------
    batch : TrainingBatch
        The batch.
    observed : torch.Tensor
        Which objects have what is needed, shape (B,), bool.
    what : str
        What is needed, for the messages.

    Returns
    -------
    TrainingBatch
        The batch itself if all have it; else without `repeat`.

    Raises
    ------
    InputError
        If no object has it.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from astroclip_astro.training.batch import TrainingBatch, only_observed
    >>> batch = TrainingBatch(object_id=np.array(["a", "b"]), image=torch.ones(2, 3, 4, 4))
    >>> only_observed(batch, torch.tensor([False, True]), "an image").object_id
    array(['b'], dtype='<U1')
    """
    if observed.all():
        return batch
    lone = ", ".join(map(str, batch.object_id[~observed.cpu().numpy()]))
    if not observed.any():
        raise InputError(
            f"no object of this batch has {what} with unmasked pixels ({lone}): expected at least "
            "one; check the inverse variances of the source"
        )
    log.warning("left out, for want of %s with unmasked pixels: %s", what, lone)
    return batch[observed.nonzero().squeeze(1)]
