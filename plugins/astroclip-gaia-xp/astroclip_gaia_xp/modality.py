"""Spectra at Gaia's resolution as tensors: those of the package, on another grid."""

from dataclasses import dataclass, fields
from typing import ClassVar

import torch

from astroclip_astro.adapters.records import FailedRecord, SpectrumRecord
from astroclip_astro.adapters.spectrum import (
    SpectrumModality,
    SpectrumPreprocessing,
    spectrum_records,
)

__all__ = ["GaiaXP", "XPPreprocessing", "XPRecord"]


@dataclass(frozen=True, kw_only=True)
class XPPreprocessing(SpectrumPreprocessing):
    """The part of Gaia's sampling, 336 to 1020 nm by 2 nm, that mock spectra reach: 362 to 980 nm.

    Sampling: De Angeli et al. 2023, A&A 674, A2.
    """

    wavelength_start: float = 3620.0
    wavelength_step: float = 20.0
    n_pixels: int = 310


@dataclass(frozen=True, kw_only=True, eq=False)
class XPRecord(SpectrumRecord):
    """A spectrum at Gaia's resolution, otherwise as `SpectrumRecord`."""

    modality: ClassVar[str] = "gaia_xp"


class GaiaXP(SpectrumModality):
    """specutils spectra that ``survey="gaia-xp"`` says to be Gaia's.

    Units, masks, gaps, coverage and quality bits are those of spectra; ``LOW_SNR`` and the others
    mean the same on this grid.
    """

    preprocessing = XPPreprocessing

    def records(self, obj, *, preprocessing, survey=None, survey_name="", object_id=""):
        for record in spectrum_records(
            obj, survey=survey, survey_name=survey_name, object_id=object_id
        ):
            if isinstance(record, FailedRecord):
                yield record
            else:
                yield XPRecord(**{f.name: getattr(record, f.name) for f in fields(record)})

    def model_input(self, flux, preprocessing):
        """The shape of the spectrum, and the logarithm of its mean absolute flux."""
        flux = flux.squeeze(-1)
        scale = flux.abs().mean(1, keepdim=True).clamp(min=1e-6)
        # Outliers of faint spectra must not drown the rest.
        return torch.cat([torch.asinh(flux / scale), torch.log(scale)], 1)
