"""Plugin of astroclip_astro for images of the Hyper Suprime-Cam Subaru Strategic Program."""

from astroclip_astro.plugins import SurveyEntry, hookimpl

__all__ = ["register_surveys"]


@hookimpl
def register_surveys():
    """Register the survey "hsc".

    Yields
    ------
    SurveyEntry
    """
    yield SurveyEntry(
        name="hsc",
        summary="FITS cutouts of HSC-SSP coadds, one file per band",
        modality="image",
        factory="astroclip_hsc.survey:HSC",
        citation="Aihara et al. 2022, PASJ 74, 247, doi:10.1093/pasj/psab122",
        licence="public after registration, acknowledgement asked",
    )
