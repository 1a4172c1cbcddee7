"""The source my-plugin for astroclip_astro; keep this module free of heavy imports."""

from astroclip_astro.plugins import SourceEntry, hookimpl


@hookimpl
def register_sources():
    yield SourceEntry(
        name="my-plugin",
        summary="spectra of the archive my-plugin",
        modality="spectrum",
        factory="astroclip_my_plugin.archive:MyPluginSource",
        citation="paper of the archive my-plugin",
        licence="licence of its data",
    )
