"""What comes with the package, registered through the same hooks as anybody's plugin."""

import tomllib

from astroclip_astro.plugins.entries import (
    CatalogEntry,
    EngineEntry,
    ModalityEntry,
    ModelEntry,
    SourceEntry,
    SurveyEntry,
    TaskEntry,
)
from astroclip_astro.plugins.folders import CATALOGS
from astroclip_astro.plugins.hookspecs import hookimpl

__all__ = [
    "register_catalogs",
    "register_engines",
    "register_modalities",
    "register_models",
    "register_sources",
    "register_surveys",
    "register_tasks",
]

_PAPER = "Parker et al. 2024, MNRAS 531, 4990, doi:10.1093/mnras/stae1450"
_LEGACY = "Dey et al. 2019, AJ 157, 168, doi:10.3847/1538-3881/ab089d"
_PUBLISHED = "astroclip_astro.weights.registry:published"


@hookimpl
def register_surveys():
    """Register the built-in surveys.

    Yields
    ------
    SurveyEntry
    """
    yield SurveyEntry(
        name="desi",
        summary="DESI coadd and spectra files",
        modality="spectrum",
        factory="astroclip_astro.surveys.desi:DESI",
        citation="DESI Collaboration 2024, AJ 168, 58, doi:10.3847/1538-3881/ad3217",
        licence="CC-BY-4.0",
    )
    yield SurveyEntry(
        name="sdss",
        summary="SDSS, BOSS, eBOSS and SDSS-V spec-*.fits files",
        modality="spectrum",
        factory="astroclip_astro.surveys.sdss:SDSS",
        citation="Abdurro'uf et al. 2022, ApJS 259, 35, doi:10.3847/1538-4365/ac4414",
        licence="public, acknowledgement asked",
    )
    yield SurveyEntry(
        name="legacysurvey",
        summary="FITS cutouts of the DESI Legacy Imaging Surveys",
        modality="image",
        factory="astroclip_astro.surveys.legacysurvey:LegacySurvey",
        citation=_LEGACY,
        licence="public, acknowledgement asked",
    )
    yield SurveyEntry(
        name="legacysurvey-rgb",
        summary="JPEG and PNG pictures of the Legacy Surveys, fluxes approximate",
        modality="image",
        factory="astroclip_astro.surveys.legacysurvey:LegacySurveyRGB",
        citation=_LEGACY,
        licence="public, acknowledgement asked",
    )


@hookimpl
def register_modalities():
    """Register the built-in modalities.

    Yields
    ------
    ModalityEntry
    """
    yield ModalityEntry(
        name="spectrum",
        summary="specutils spectra on a wavelength grid",
        factory="astroclip_astro.adapters.spectrum:SpectrumModality",
    )
    yield ModalityEntry(
        name="image",
        summary="calibrated cutouts on a pixel grid",
        factory="astroclip_astro.adapters.image:ImageModality",
    )


@hookimpl
def register_sources():
    """Register the built-in archives.

    Yields
    ------
    SourceEntry
    """
    yield SourceEntry(
        name="legacysurvey",
        summary="cutouts of the Legacy Surveys' viewer",
        modality="image",
        factory="astroclip_astro.sources.legacysurvey.source:LegacySurveySource",
        citation=_LEGACY,
        licence="public, acknowledgement asked",
    )
    yield SourceEntry(
        name="sparcl",
        summary="spectra of DESI, SDSS and BOSS from NOIRLab's SPARCL",
        modality="spectrum",
        factory="astroclip_astro.sources.sparcl:SPARCLSource",
        citation="Juneau et al. 2024, arXiv:2401.05576",
        licence="DESI: CC-BY-4.0; SDSS: public, acknowledgement asked",
    )
    yield SourceEntry(
        name="sdss",
        summary="spectra of SDSS, BOSS and eBOSS from SkyServer and the archive, DR17",
        modality="spectrum",
        factory="astroclip_astro.sources.sdss:SDSSSource",
        citation="Abdurro'uf et al. 2022, ApJS 259, 35, doi:10.3847/1538-4365/ac4414",
        licence="public, acknowledgement asked",
    )


@hookimpl
def register_models():
    """Register the bundled model and the published ones.

    Yields
    ------
    ModelEntry
    """
    yield ModelEntry(
        name="astroclip-mini",
        summary="compact AstroCLIP trained on simulated galaxies; bundled, works offline",
        factory="astroclip_astro.weights.registry:bundled",
        modalities=("spectrum", "image"),
        embed_dim=128,
        parameters=3_063_026,
        bundled=True,
        options={"filename": "astroclip-mini.safetensors"},
        citation=_PAPER,
        licence="BSD-3-Clause",
    )
    yield ModelEntry(
        name="astroclip",
        summary="the published AstroCLIP: images and spectra in one space",
        factory=_PUBLISHED,
        modalities=("spectrum", "image"),
        embed_dim=1024,
        parameters=370_798_358,
        options={"repo": "polymathic-ai/astroclip"},
        citation=_PAPER,
        licence="MIT",
    )
    yield ModelEntry(
        name="specformer",
        summary="the published spectrum encoder before alignment",
        factory=_PUBLISHED,
        modalities=("spectrum",),
        embed_dim=768,
        parameters=43_177_750,
        options={"repo": "polymathic-ai/specformer"},
        citation=_PAPER,
        licence="MIT",
    )
    yield ModelEntry(
        name="astrodino",
        summary="the published image encoder before alignment",
        factory=_PUBLISHED,
        modalities=("image",),
        embed_dim=1024,
        parameters=302_954_496,
        options={"repo": "polymathic-ai/astrodino"},
        citation=_PAPER,
        licence="MIT",
    )


@hookimpl
def register_tasks():
    """Register the built-in heads.

    Yields
    ------
    TaskEntry
    """
    for name, head, summary in (
        ("neighbors", "NeighborsHead", "numbers from the nearest neighbours, zero-shot"),
        ("linear", "LinearHead", "numbers by ridge regression, for the smallest samples"),
        ("mlp", "MLPHead", "numbers by a perceptron, as mixtures of normal distributions"),
        ("flow", "FlowHead", "joint posteriors of numbers by a normalising flow"),
        ("votes", "VotesHead", "fractions of volunteers' votes, question by question"),
        ("anomaly", "AnomalyHead", "how strange objects are among normal ones"),
        ("fixed-redshift", "FixedRedshift", "embeddings without their trend with redshift"),
    ):
        yield TaskEntry(name=name, summary=summary, factory=f"astroclip_astro.tasks:{head}")
    for name, summary in (
        ("redshift", "redshifts, by the bundled model; fitted to simulated galaxies only"),
        ("properties", "redshift, mass, age, metallicity, sSFR jointly; as redshift"),
        ("morphology", "votes on smooth, disc, spiral, bar, edge-on; as redshift"),
    ):
        yield TaskEntry(
            name=name,
            summary=summary,
            factory=f"astroclip_astro.tasks.bundled:{name}",
            fitted=True,
            citation=_PAPER,
            licence="BSD-3-Clause",
        )


@hookimpl
def register_engines():
    """Register the built-in engines of similarity search.

    Yields
    ------
    EngineEntry
    """
    for name, engine, summary in (
        ("lance", "lance:LanceEngine", "the index on disk, read as far as needed"),
        ("faiss", "faiss:FaissEngine", "an index in memory, for many single searches"),
        ("exact", "exact:ExactEngine", "every vector, on disk or in memory, on any device"),
    ):
        yield EngineEntry(
            name=name, summary=summary, factory=f"astroclip_astro.catalog.engines.{engine}"
        )


@hookimpl
def register_catalogs():
    """Register the recipes that come along.

    Yields
    ------
    CatalogEntry
    """
    for file in sorted(CATALOGS.glob("*/recipe.toml")):
        recipe = tomllib.loads(file.read_text(encoding="utf-8"))
        yield CatalogEntry(
            name=recipe["name"],
            summary=recipe["title"],
            factory=f"astroclip_astro.catalog.recipes:{recipe['name'].replace('-', '_')}",
            citation=" ".join(recipe["citation"].split()),
            licence=recipe["licence"],
        )
