"""Plugin of astroclip_astro for images of the Sloan Digital Sky Survey.

The reader of its spectra, "sdss", comes with astroclip_astro.
"""

from astroclip_astro.plugins import SourceEntry, SurveyEntry, hookimpl

__all__ = ["register_sources", "register_surveys"]

_CITATION = "Abdurro'uf et al. 2022, ApJS 259, 35, doi:10.3847/1538-4365/ac4414"
_LICENCE = "public, acknowledgement asked"


@hookimpl
def register_surveys():
    """Register the surveys "sdss-image" and "sdss-image-legacy-depth".

    Yields
    ------
    SurveyEntry
    """
    yield SurveyEntry(
        name="sdss-image",
        summary="cutouts of SDSS corrected frames, all bands in one FITS file",
        modality="image",
        factory="astroclip_sdss.survey:SDSSImage",
        citation=_CITATION,
        licence=_LICENCE,
    )
    yield SurveyEntry(
        name="sdss-image-legacy-depth",
        summary="the same, smoothed to be no noisier than the Legacy Surveys",
        modality="image",
        factory="astroclip_sdss.survey:SDSSImageLegacyDepth",
        citation=_CITATION,
        licence=_LICENCE,
    )


@hookimpl
def register_sources():
    """Register the source "sdss-image".

    Yields
    ------
    SourceEntry
    """
    yield SourceEntry(
        name="sdss-image",
        summary="SDSS g, r, z images cut out of the corrected frames of DR17",
        modality="image",
        factory="astroclip_sdss.source:SDSSImages",
        citation=_CITATION,
        licence=_LICENCE,
    )
