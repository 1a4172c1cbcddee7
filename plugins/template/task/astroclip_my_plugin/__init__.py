"""The task my-plugin for astroclip_astro; keep this module free of heavy imports."""

from astroclip_astro.plugins import TaskEntry, hookimpl


@hookimpl
def register_tasks():
    yield TaskEntry(
        name="my-plugin",
        summary="numbers by a regularised line",
        factory="astroclip_my_plugin.task:MyPluginTask",
    )
