"""Rows of magnitudes as a modality: put your kind of data in their place."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from astropy import units as u
from astropy.table import Table

from astroclip_astro.adapters.modality import Modality
from astroclip_astro.adapters.records import Batch, FailedRecord, Record
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality


@dataclass(frozen=True, kw_only=True)
class MyPluginPreprocessing:
    """What a model is trained with; plain values, which are stored with its weights.

    Parameters
    ----------
    bands : tuple of str
        Columns of the table, in the order of the model's input.
    softening : float
        Nanomaggies at which the scale turns from linear to logarithmic.
    """

    bands: tuple[str, ...] = ("g", "r", "z")
    softening: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class MyPluginRecord(Record):
    """One galaxy: fluxes in nanomaggies, shape (band,)."""

    modality: ClassVar[str] = "my-plugin"

    flux: np.ndarray


class MyPluginModality(Modality):
    """Tables with a column of AB magnitudes for each band, and ``object_id`` if there is one."""

    preprocessing = MyPluginPreprocessing

    def accepts(self, obj):
        """Whether it is a table with the bands of the default preprocessing."""
        return isinstance(obj, Table) and {*MyPluginPreprocessing().bands} <= {*obj.colnames}

    def is_single(self, obj):
        """A table is a collection, whatever its length."""
        return False

    def records(self, obj, *, preprocessing, survey=None, survey_name="", object_id=""):
        """One record for each row, in order."""
        if preprocessing is None:
            raise InputError("this model takes no magnitudes", object_id=object_id)
        for i, row in enumerate(obj):
            name = str(row["object_id"]) if "object_id" in obj.colnames else f"{object_id}[{i}]"
            about = {"object_id": name, "survey": survey_name}
            try:
                flux = np.array([_nanomaggies(row[band]) for band in preprocessing.bands])
            except u.UnitsError as error:
                yield FailedRecord(reason=f"expected AB magnitudes: {error}", **about)
                continue
            if np.isfinite(flux).all():
                yield MyPluginRecord(flux=flux, **about)
            else:
                yield FailedRecord(reason="a magnitude is masked or not finite", **about)

    def batch(self, records, preprocessing, device="cpu"):
        """Fluxes, shape (B, band); zeros for failed records."""
        flux = torch.zeros(len(records), len(preprocessing.bands))
        quality = np.array([int(record.quality) for record in records], np.int64)
        for i, record in enumerate(records):
            if isinstance(record, FailedRecord):
                quality[i] |= int(Quality.NOT_EMBEDDED)
            else:
                flux[i] = torch.from_numpy(record.flux.astype(np.float32))
        return Batch(
            flux=flux.to(device),
            coverage=np.where(quality & int(Quality.NOT_EMBEDDED), 0.0, 1.0),
            snr=np.full(len(records), np.nan),
            quality=quality,
            **Batch.columns(records),
        )

    def model_input(self, flux, preprocessing):
        """What the encoder sees: fluxes on an arcsinh scale."""
        return torch.asinh(flux / preprocessing.softening)


def _nanomaggies(magnitude):
    """Flux of an AB magnitude; NaN if it is masked. AB 22.5 is one nanomaggy."""
    if np.ma.is_masked(magnitude) or np.any(getattr(magnitude, "mask", False)):
        return np.nan
    return (u.Magnitude(magnitude) - 22.5 * u.ABmag).to_value(u.one)
