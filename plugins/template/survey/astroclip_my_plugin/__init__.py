from astroclip_astro.plugins import SurveyEntry, hookimpl


@hookimpl
def register_surveys():
    yield SurveyEntry(
        name="my-plugin",
        summary="spectra of the survey my-plugin",
        modality="spectrum",
        factory="astroclip_my_plugin.survey:MyPluginSurvey",
        citation="paper of the survey my-plugin",
        licence="licence of its data",
    )
