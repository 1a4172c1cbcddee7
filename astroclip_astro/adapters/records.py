"""What the adapters exchange: one record per object, and batches of them as tensors."""

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import torch

from astroclip_astro.quality import Quality

__all__ = [
    "Batch",
    "FailedRecord",
    "ImageBatch",
    "ImageRecord",
    "Record",
    "SpectrumBatch",
    "SpectrumRecord",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One object on its way to a model.

    Parameters
    ----------
    object_id : str
        Identifier, unique within its survey where the survey has one.
    ra, dec : float
        ICRS coordinates in degrees; NaN where unknown.
    survey : str
        Name of the registered survey, ``""`` where none was given.
    redshift : float
        Redshift stated by the file; NaN where unknown.
    quality : Quality
        Bits known so far.

    Attributes
    ----------
    modality : str
        Registered name of the modality; of the class, not of the object.
    """

    modality: ClassVar[str] = ""

    object_id: str = ""
    ra: float = np.nan
    dec: float = np.nan
    survey: str = ""
    redshift: float = np.nan
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, kw_only=True, eq=False)
class FailedRecord(Record):
    """One object that cannot be embedded, kept so that its row keeps its place.

    Parameters
    ----------
    reason : str
        What is wrong, what was expected and what to do.
    """

    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectrumRecord(Record):
    """One spectrum in vacuum wavelengths and f_lambda, on its own pixels.

    Parameters
    ----------
    edges : numpy.ndarray
        Bin edges, shape (n + 1,), float64, increasing, vacuum Å in the observed frame.
    flux : numpy.ndarray
        Shape (n,), float64, 1e-17 erg s-1 cm-2 Å-1, finite everywhere.
    ivar : numpy.ndarray
        Inverse variance of `flux`, shape (n,), float64; 0 where the pixel carries no weight.
    has_uncertainty : bool
        False if no uncertainty was given and `ivar` is 1 on every good pixel.
    """

    modality: ClassVar[str] = "spectrum"

    edges: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    has_uncertainty: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageRecord(Record):
    """One cutout already on the model's pixel grid.

    Parameters
    ----------
    flux : numpy.ndarray
        Shape (band, row, column), float32, finite everywhere, nanomaggies for calibrated surveys.
    coverage : float
        Fraction of the pixels that real, unmasked data filled.
    snr : float
        Median signal-to-noise ratio per pixel in the central part; NaN without uncertainty.
    good : numpy.ndarray, optional
        Shape of `flux`, bool: where real, unmasked data filled it; None where that is not known.
    """

    modality: ClassVar[str] = "image"

    flux: np.ndarray
    coverage: float
    snr: float = np.nan
    good: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Records as tensors, with the per-object coordinates that the embeddings will carry.

    Parameters
    ----------
    flux : torch.Tensor
        Model input on its device, float32.
    coverage, snr : numpy.ndarray
        Shape (B,), float64.
    quality : numpy.ndarray
        Shape (B,), int64, `~astroclip_astro.quality.Quality` bits. A row with ``NOT_EMBEDDED`` set
        has zero flux and must not be given a vector.
    object_id : numpy.ndarray
        Shape (B,), object dtype holding str.
    ra, dec : numpy.ndarray
        Shape (B,), float64, deg.
    survey : numpy.ndarray
        Shape (B,), object dtype holding str.
    redshift : numpy.ndarray
        Shape (B,), float64.
    """

    flux: torch.Tensor
    coverage: np.ndarray
    snr: np.ndarray
    quality: np.ndarray
    object_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    survey: np.ndarray
    redshift: np.ndarray

    def __len__(self):
        return len(self.flux)

    @staticmethod
    def columns(records):
        """Per-object columns shared by every modality, as keyword arguments for a batch.

        Parameters
        ----------
        records : sequence of Record

        Returns
        -------
        dict of numpy.ndarray
            Keys ``object_id``, ``ra``, ``dec``, ``survey``, ``redshift``.
        """
        text = ("object_id", "survey")
        return {
            f.name: np.array(
                [getattr(r, f.name) for r in records], dtype=object if f.name in text else float
            )
            for f in fields(Record)
            if f.name != "quality"
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectrumBatch(Batch):
    """Spectra on the model's wavelength grid: flux (B, L, 1), ivar (B, L) with 0 where filled.

    Parameters
    ----------
    ivar : torch.Tensor
        Shape (B, L), float32, inverse variance of the flux; 0 where the grid pixel is filled
        rather than observed.
    """

    ivar: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageBatch(Batch):
    """Cutouts on the model's pixel grid: flux (B, band, row, column)."""
