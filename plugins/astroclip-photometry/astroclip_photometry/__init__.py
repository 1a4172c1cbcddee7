"""Catalogue magnitudes with errors as a third modality, in the space of astroclip-mini."""

from astroclip_astro.plugins import ModalityEntry, ModelEntry, SurveyEntry, hookimpl

_LEGACY = "Dey et al. 2019, AJ 157, 168, doi:10.3847/1538-3881/ab089d"


@hookimpl
def register_modalities():
    yield ModalityEntry(
        name="photometry",
        summary="tables of g, r, z magnitudes or fluxes with errors",
        factory="astroclip_photometry.modality:Photometry",
    )


@hookimpl
def register_models():
    yield ModelEntry(
        name="astroclip-mini-photometry",
        summary="astroclip-mini and an encoder of magnitudes in its space; offline",
        factory="astroclip_photometry.encoder:load",
        modalities=("spectrum", "image", "photometry"),
        embed_dim=128,
        parameters=3_229_298,
        bundled=True,
        citation="Parker et al. 2024, MNRAS 531, 4990, doi:10.1093/mnras/stae1450",
        licence="BSD-3-Clause",
    )


@hookimpl
def register_surveys():
    yield SurveyEntry(
        name="tractor",
        summary="Tractor catalogues of the DESI Legacy Imaging Surveys",
        modality="photometry",
        factory="astroclip_photometry.tractor:Tractor",
        citation=_LEGACY,
        licence="public, acknowledgement asked",
    )
