"""The modality my-plugin for astroclip_astro; keep this module free of heavy imports."""

from astroclip_astro.plugins import ModalityEntry, hookimpl


@hookimpl
def register_modalities():
    yield ModalityEntry(
        name="my-plugin",
        summary="rows of g, r and z magnitudes",
        factory="astroclip_my_plugin.modality:MyPluginModality",
    )
