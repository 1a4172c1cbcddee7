"""Plugin of astroclip_astro for images of the Hyper Suprime-Cam Subaru Strategic Program."""

from astroclip_astro.plugins import SurveyEntry, hookimpl

__all__ = ["register_surveys"]

_CITATION = "Aihara et al. 2022, PASJ 74, 247, doi:10.1093/pasj/psab122"
_LICENCE = "public after registration, acknowledgement asked"


@hookimpl
def register_surveys():
    """Register the surveys "hsc" and "hsc-legacy-depth".

    Yields
    ------
    SurveyEntry
    """
    yield SurveyEntry(
        name="hsc",
        summary="FITS cutouts of HSC-SSP coadds, one file per band",
        modality="image",
        factory="astroclip_hsc.survey:HSC",
        citation=_CITATION,
        licence=_LICENCE,
    )
    yield SurveyEntry(
        name="hsc-legacy-depth",
        summary="the same, with noise added to be as shallow as the Legacy Surveys",
        modality="image",
        factory="astroclip_hsc.survey:HSCLegacyDepth",
        citation=_CITATION,
        licence=_LICENCE,
    )
