"""Plugins as they come: real distributions with real entry points, good and broken."""

import json
import logging
import subprocess
import sys
from importlib import resources
from importlib.metadata import version

import pytest

from astroclip_astro.errors import PluginError
from astroclip_astro.plugins import Manager, SurveyEntry, get_manager

BUILTIN_SURVEYS = ["desi", "legacysurvey", "legacysurvey-rgb", "sdss"]
HEADER = """
from astroclip_astro.plugins import ModalityEntry, ModelEntry, SurveyEntry, hookimpl

def survey(name, **kwargs):
    return SurveyEntry(name=name, summary=name, modality="spectrum",
                       factory="my_package.surveys:Mine", **kwargs)
"""
GOOD = (
    HEADER
    + """
@hookimpl
def register_surveys():
    yield survey("good")
"""
)


def only_failure(manager, plugin):
    """The one failure there is, which must be of this plugin."""
    (failure,) = manager.failures
    assert failure.plugin == plugin
    return failure


def status(manager):
    return {plugin.name: plugin.status for plugin in manager.found}


def test_builtin_plugin_registers_surveys_modalities_and_models():
    manager = Manager(environ={"ASTROCLIP_PLUGINS": ""})
    assert list(manager.entries("survey")) == BUILTIN_SURVEYS
    assert list(manager.entries("modality")) == ["image", "spectrum"]
    assert list(manager.entries("model")) == [
        "astroclip",
        "astroclip-mini",
        "astrodino",
        "specformer",
    ]
    assert list(manager.entries("engine")) == ["exact", "faiss", "lance"]
    assert manager.failures == []
    assert manager.versions() == {"astroclip_astro": version("astroclip_astro")}


@pytest.mark.parametrize("kind", ["survey", "modality", "model", "task", "engine"])
def test_every_builtin_factory_loads(kind):
    manager = Manager(environ={"ASTROCLIP_PLUGINS": ""})
    for name in manager.entries(kind):
        assert callable(manager.load(kind, name))


def test_every_builtin_entry_says_what_to_cite_and_under_which_licence():
    manager = Manager(environ={"ASTROCLIP_PLUGINS": ""})
    for kind in ("survey", "model"):
        for entry in manager.entries(kind).values():
            assert "doi:10." in entry.citation
            assert entry.licence


@pytest.mark.parametrize("name", ["astroclip", "astroclip-mini", "astrodino", "specformer"])
def test_builtin_models_are_described_as_their_configurations_are(name):
    from astroclip_astro.weights.layout import build

    entry = get_manager().get("model", name)
    text = resources.files("astroclip_astro.models").joinpath("configs", f"{name}.json").read_text()
    described = json.loads(text)
    model = build(described["model"], described["config"])
    assert sum(p.numel() for p in model.parameters()) == entry.parameters
    assert model.modalities == entry.modalities
    assert model.embed_dim == entry.embed_dim


def test_two_good_plugins(install):
    install("astroclip-good", {"good": "good_plugin"}, {"good_plugin.py": GOOD}, version="3.1")
    install(
        "other",
        {"other": "other_plugin:plugin"},
        {
            "other_plugin.py": HEADER
            + """
class Plugin:
    @hookimpl
    def register_surveys(self):
        return [survey("other-a"), survey("other-b")]

    @hookimpl(specname="register_models")
    def my_models(self):
        yield ModelEntry(name="other-model", summary="", factory="my_package:load",
                         modalities=("spectrum",), embed_dim=4, parameters=10)

plugin = Plugin()
"""
        },
    )
    manager = Manager(environ={})
    assert manager.failures == []
    assert list(manager.entries("survey")) == sorted(
        [*BUILTIN_SURVEYS, "good", "other-a", "other-b"]
    )
    assert manager.get("model", "other-model").embed_dim == 4
    assert manager.owner("survey", "good").distribution == "astroclip-good"
    assert manager.versions()["astroclip-good"] == "3.1"
    described = {plugin["name"]: plugin for plugin in manager.plugins()}
    assert described["other"]["entries"] == {
        "model": ["other-model"],
        "survey": ["other-a", "other-b"],
    }


def test_one_distribution_with_two_plugins_of_which_one_is_broken(install):
    install(
        "pair",
        {"good": "good_plugin", "bad": "bad_plugin"},
        {"good_plugin.py": GOOD, "bad_plugin.py": "import no_such_module_anywhere\n"},
    )
    manager = Manager(environ={})
    assert "good" in manager.entries("survey")
    assert status(manager) == {"builtin": "loaded", "good": "loaded", "bad": "failed"}
    failure = only_failure(manager, "bad")
    assert failure.distribution == "pair"
    assert failure.where == "import"
    assert failure.message == "ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    assert "bad_plugin.py" in failure.traceback


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no licence found')", "RuntimeError: no licence found"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        (
            "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
            "Odd: <exception str() failed>",
        ),
    ],
)
def test_plugin_that_fails_at_import(install, caplog, source, message):
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    install("good", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    manager = Manager(environ={})
    assert "good" in manager.entries("survey")
    failure = only_failure(manager, "bad")
    assert failure.where == "import"
    assert failure.message.startswith(message)
    assert failure.traceback
    assert "plugin bad, import" in caplog.text
    assert "bad" not in manager.versions()


def test_keyboard_interrupt_is_the_users_not_the_plugins(install):
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        Manager(environ={})


@pytest.mark.parametrize(
    "value", ["no_such_plugin_module", "not an identifier", "json:no_such_name", ""]
)
def test_entry_point_to_nowhere(install, value):
    install("bad", {"bad": value}, {})
    manager = Manager(environ={})
    assert list(manager.entries("survey")) == BUILTIN_SURVEYS
    assert only_failure(manager, "bad").where == "import"


def test_entry_point_to_none(install):
    install("bad", {"bad": "bad_plugin:plugin"}, {"bad_plugin.py": "plugin = None"})
    manager = Manager(environ={})
    assert status(manager)["bad"] == "failed"
    assert "is None, expected a module with hooks" in only_failure(manager, "bad").message


def test_unreadable_entry_points_leave_the_builtin_plugin(install):
    site = install("bad", {}, {})
    (site / "bad-1.0.dist-info" / "entry_points.txt").write_bytes(b"[astroclip_astro]\n\xff = x")
    manager = Manager(environ={})
    assert list(manager.entries("survey")) == BUILTIN_SURVEYS
    assert "UnicodeDecodeError" in only_failure(manager, "(unknown)").message
    assert manager.plugins()[-1]["failures"][0]["where"].startswith("reading the entry points")


def test_distribution_without_metadata(install):
    site = install("bare", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    (site / "bare-1.0.dist-info" / "METADATA").unlink()
    manager = Manager(environ={})
    assert "good" in manager.entries("survey")
    assert set(manager.versions()) == {"astroclip_astro"}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise RuntimeError('half way')", "RuntimeError: half way"),
        ("raise SystemExit('half way')", "SystemExit: half way"),
        ("yield survey('Not A Name')", "ValueError: SurveyEntry name 'Not A Name'"),
        ("yield survey(7)", "TypeError: SurveyEntry 7: name is 7, expected a str"),
        ("yield survey('x', licence=None)", "TypeError: SurveyEntry 'x': licence is None"),
        ("yield SurveyEntry(name='x')", "TypeError: SurveyEntry.__init__() missing 3"),
    ],
)
def test_hook_that_raises_keeps_what_it_had_yielded(install, statement, message):
    source = f"""{HEADER}
@hookimpl
def register_surveys():
    yield survey("first")
    {statement}
    yield survey("never")

@hookimpl
def register_modalities():
    yield ModalityEntry(name="photometry", summary="", factory="my_package:records")
"""
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ={})
    assert "first" in manager.entries("survey")
    assert "never" not in manager.entries("survey")
    assert "photometry" in manager.entries("modality")
    failure = only_failure(manager, "bad")
    assert failure.where == "register_surveys"
    assert failure.message.startswith(message)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("yield 'x'", "TypeError: yielded 'x', expected a SurveyEntry"),
        ("yield None", "TypeError: yielded None, expected a SurveyEntry"),
        ("yield SurveyEntry", "TypeError: yielded <class"),
        (
            "yield ModalityEntry(name='x', summary='', factory='a:b')",
            "TypeError: yielded ModalityEntry",
        ),
        (
            "yield survey('x', api_version=2)",
            "PluginError: survey 'x' was written for plugin API 2, this is 1: update bad or "
            "astroclip_astro",
        ),
        (
            "yield survey('desi')",
            "PluginError: survey 'desi' is already registered by plugin 'builtin' "
            "(astroclip_astro), so that of plugin 'bad' (bad) is refused",
        ),
    ],
)
def test_refused_entry_leaves_its_neighbours(install, statement, message):
    source = f"""{HEADER}
@hookimpl
def register_surveys():
    yield survey("before")
    {statement}
    yield survey("after")
"""
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ={})
    assert list(manager.entries("survey")) == sorted([*BUILTIN_SURVEYS, "before", "after"])
    assert manager.get("survey", "desi").factory == "astroclip_astro.surveys.desi:DESI"
    assert only_failure(manager, "bad").message.startswith(message)


def test_hook_that_returns_nothing(install):
    source = f"{HEADER}\n@hookimpl\ndef register_surveys():\n    survey('lost')\n"
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ={})
    assert only_failure(manager, "bad").message == (
        "TypeError: returned None, expected SurveyEntry entries: yield them"
    )


def test_first_distribution_in_the_alphabet_keeps_a_name(install):
    source = HEADER + "@hookimpl\ndef register_surveys():\n    yield survey('same')\n"
    install("zebra", {"a": "zebra_plugin"}, {"zebra_plugin.py": source})
    install("Aardvark", {"z": "aardvark_plugin"}, {"aardvark_plugin.py": source})
    manager = Manager(environ={})
    assert manager.owner("survey", "same").distribution == "Aardvark"
    failure = only_failure(manager, "a")
    assert failure.distribution == "zebra"
    assert "'z' (Aardvark)" in failure.message
    assert "'a' (zebra)" in failure.message


def test_same_name_is_free_for_another_kind(install):
    source = (
        HEADER
        + """
@hookimpl
def register_modalities():
    yield ModalityEntry(name="desi", summary="", factory="my_package:records")
"""
    )
    install("good", {"good": "good_plugin"}, {"good_plugin.py": source})
    manager = Manager(environ={})
    assert manager.failures == []
    assert manager.get("modality", "desi").kind == "modality"


def test_second_plugin_of_a_name_is_refused(install):
    install("first", {"same": "first_plugin"}, {"first_plugin.py": GOOD})
    install("second", {"same": "second_plugin"}, {"second_plugin.py": GOOD})
    manager = Manager(environ={})
    failure = only_failure(manager, "same")
    assert failure.distribution == "second"
    assert "first already brings a plugin named 'same'" in failure.message
    first, second = manager.plugins()[1:]
    assert (first["distribution"], first["status"], first["failures"]) == ("first", "loaded", [])
    assert (second["distribution"], second["status"]) == ("second", "failed")
    assert second["entries"] == {}


@pytest.mark.parametrize(
    ("definition", "where", "message"),
    [
        (
            "@hookimpl\ndef register_survey():\n    yield survey('x')",
            "register_survey",
            "there is no hook register_survey; did you mean register_surveys?",
        ),
        (
            "def register_modles():\n    yield survey('x')",
            "register_modles",
            "there is no hook register_modles, nor is it marked with @hookimpl; did you mean "
            "register_models?",
        ),
        (
            "def register_surveys():\n    yield survey('x')",
            "register_surveys",
            "it is not marked with @hookimpl, so it is not called",
        ),
        (
            "@hookimpl(specname='register_planets')\ndef mine():\n    yield survey('x')",
            "mine",
            "there is no hook register_planets; did you mean register_",
        ),
        (
            "@hookimpl\ndef zzz():\n    yield survey('x')",
            "zzz",
            "there is no hook zzz; hooks are register_surveys, register_modalities",
        ),
    ],
)
def test_misspelt_hook(install, definition, where, message):
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": HEADER + definition})
    manager = Manager(environ={})
    assert "x" not in manager.entries("survey")
    failure = only_failure(manager, "bad")
    assert failure.where == where
    assert message in failure.message


def test_imported_functions_are_no_misspelt_hooks(install):
    install(
        "good",
        {"good": "good_plugin"},
        {
            "good_library.py": "def register_colormap():\n    pass\n",
            "good_plugin.py": GOOD + "from good_library import register_colormap\n",
        },
    )
    assert Manager(environ={}).failures == []


def test_hook_that_asks_for_what_it_is_not_given(install):
    source = f"{HEADER}\n@hookimpl\ndef register_surveys(config):\n    yield survey('x')\n"
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ={})
    assert status(manager)["bad"] == "failed"
    assert "config" in only_failure(manager, "bad").message


def test_wrapper_is_refused(install):
    source = (
        HEADER
        + """
@hookimpl(wrapper=True)
def register_surveys():
    yield survey("x")
"""
    )
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ={})
    assert list(manager.entries("survey")) == BUILTIN_SURVEYS
    assert only_failure(manager, "bad").message == "PluginError: hooks cannot be wrapped"


@pytest.mark.parametrize(
    ("environ", "loaded"),
    [
        ({}, {"good", "bad"}),
        ({"ASTROCLIP_PLUGINS": ""}, set()),
        ({"ASTROCLIP_PLUGINS": " good ,"}, {"good"}),
        ({"ASTROCLIP_BLOCK_PLUGINS": "bad"}, {"good"}),
        ({"ASTROCLIP_BLOCK_PLUGINS": ""}, {"good", "bad"}),
        ({"ASTROCLIP_PLUGINS": "good,bad", "ASTROCLIP_BLOCK_PLUGINS": "bad"}, {"good"}),
    ],
)
def test_environment_variables_choose_plugins(install, caplog, environ, loaded):
    install("good", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": "raise RuntimeError('imported')"})
    manager = Manager(environ=environ)
    assert {f.plugin for f in manager.failures} == loaded & {"bad"}
    assert ("good" in manager.entries("survey")) == ("good" in loaded)
    blocked = {name for name, state in status(manager).items() if state == "blocked"}
    assert blocked == {"good", "bad"} - loaded
    assert ("bad_plugin" in sys.modules) is False
    assert "not installed" not in caplog.text


@pytest.mark.parametrize("variable", ["ASTROCLIP_PLUGINS", "ASTROCLIP_BLOCK_PLUGINS"])
def test_unknown_names_in_environment_variables_are_warned_of(install, caplog, variable):
    install("good", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    with caplog.at_level(logging.WARNING):
        Manager(environ={variable: "good,godo"})
    assert caplog.messages == [
        f"{variable} names what is not installed: godo (installed plugins: good)"
    ]


def test_unknown_name_is_an_error_that_lists_the_known_ones(install):
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": "raise RuntimeError"})
    manager = Manager(environ={})
    with pytest.raises(PluginError) as caught:
        manager.get("survey", "dessi")
    assert str(caught.value) == (
        "no survey named 'dessi': known are desi, legacysurvey, legacysurvey-rgb, sdss "
        "(plugins with failures: bad). Did you mean 'desi'?"
    )
    with pytest.raises(PluginError, match=r"no source named 'sloan': known are legacysurvey, s"):
        Manager(environ={"ASTROCLIP_PLUGINS": ""}).get("source", "sloan")


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"kind is 'surveys', expected one of survey, modality"):
        get_manager().entries("surveys")


@pytest.mark.parametrize("statement", ["import no_such_module_anywhere", "raise SystemExit(2)"])
def test_factory_that_does_not_load_names_its_plugin(install, statement):
    source = HEADER.replace("my_package.surveys:Mine", "bad_survey:Mine") + (
        "@hookimpl\ndef register_surveys():\n    yield survey('lazy')\n"
    )
    install(
        "bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source, "bad_survey.py": statement + "\n"}
    )
    manager = Manager(environ={})
    assert manager.failures == []
    with pytest.raises(PluginError, match=r"survey 'lazy' of plugin 'bad' does not load: bad_surv"):
        manager.load("survey", "lazy")


def test_failure_of_an_entry_in_use_is_kept_once(install, caplog):
    install("good", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    manager = Manager(environ={})
    error = RuntimeError("cannot tell")
    manager.record_failure("survey", "good", error)
    manager.record_failure("survey", "good", error)
    failure = only_failure(manager, "good")
    assert (failure.where, failure.message) == ("survey good", "RuntimeError: cannot tell")
    assert caplog.text.count("cannot tell") == 1


def test_description_of_plugins_is_json(install):
    install("good", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": "raise RuntimeError('why')"})
    described = json.loads(json.dumps(Manager(environ={}).plugins()))
    assert [plugin["name"] for plugin in described] == ["builtin", "bad", "good"]
    (failure,) = described[1]["failures"]
    assert "RuntimeError: why" in failure["traceback"]


def test_loading_and_listing_plugins_imports_no_heavy_module():
    code = (
        "import sys; from astroclip_astro.plugins import get_manager; get_manager().plugins(); "
        "print([m for m in ('torch', 'astropy', 'specutils', 'xarray', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_entries_are_frozen():
    entry = SurveyEntry(name="x", summary="", factory="a:b", modality="spectrum")
    with pytest.raises(AttributeError):
        entry.name = "y"
    with pytest.raises(TypeError):
        SurveyEntry("x", "", "a:b", modality="spectrum")


@pytest.mark.parametrize("factory", ["", "a", "a:", ":b", "a.b", "a:b c", "a-b:c", "a:b:c"])
def test_malformed_factory_is_refused(factory):
    with pytest.raises(ValueError, match="is not of the form 'package"):
        SurveyEntry(name="x", summary="", factory=factory, modality="spectrum")
