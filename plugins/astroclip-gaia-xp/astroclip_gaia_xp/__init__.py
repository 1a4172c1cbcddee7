"""Gaia's sampled XP spectra as a modality of their own, in the space of astroclip-mini."""

from astroclip_astro.plugins import ModalityEntry, ModelEntry, SurveyEntry, hookimpl

_GAIA = "Gaia Collaboration, Vallenari et al. 2023, A&A 674, A1, doi:10.1051/0004-6361/202243940"


@hookimpl
def register_modalities():
    yield ModalityEntry(
        name="gaia_xp",
        summary="Gaia's low-resolution BP and RP spectra, sampled in wavelength",
        factory="astroclip_gaia_xp.modality:GaiaXP",
        citation="De Angeli et al. 2023, A&A 674, A2, doi:10.1051/0004-6361/202243680",
    )


@hookimpl
def register_models():
    yield ModelEntry(
        name="astroclip-mini-gaia-xp",
        summary="astroclip-mini and an encoder of Gaia XP spectra in its space; offline",
        factory="astroclip_gaia_xp.encoder:load",
        modalities=("spectrum", "image", "gaia_xp"),
        embed_dim=128,
        parameters=3_527_794,
        bundled=True,
        citation="Parker et al. 2024, MNRAS 531, 4990, doi:10.1093/mnras/stae1450",
        licence="BSD-3-Clause",
    )


@hookimpl
def register_surveys():
    yield SurveyEntry(
        name="gaia-xp",
        summary="XP_SAMPLED products of the Gaia archive",
        modality="gaia_xp",
        factory="astroclip_gaia_xp.survey:SampledXP",
        citation=_GAIA,
        licence="public, acknowledgement asked",
    )
