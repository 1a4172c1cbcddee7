"""Plugins that never come back: at import, in a hook, when asked about a file."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import Manager, get_manager
from astroclip_astro.plugins.limit import (
    TimeLimitError,
    printing_to_stderr,
    time_limit,
    within,
)
from astroclip_astro.surveys.files import claims, identify

SOON = {"ASTROCLIP_PLUGIN_TIMEOUT": "0.3"}
HANGS = "import threading\nthreading.Event().wait(60)\n"
HEADER = """
import threading
from astroclip_astro.plugins import SurveyEntry, TaskEntry, hookimpl

def survey(name, module):
    return SurveyEntry(name=name, summary="", modality="spectrum", factory=module + ":Mine")
"""
SURVEY = """
import threading, numpy
from astroclip_astro.surveys import Survey

asked = []

class Mine(Survey):
    modality = "spectrum"

    def identify(self, path, hdulist):
        asked.append(path.name)
        {statement}

    def read(self, path):
        raise ValueError("read by " + __name__)
"""


@pytest.fixture
def install_survey(install, monkeypatch):
    """Install a survey plugin whose `identify` is one statement."""
    monkeypatch.setenv("ASTROCLIP_PLUGIN_TIMEOUT", "0.3")
    get_manager.cache_clear()

    def install_survey(name, statement):
        hook = f"@hookimpl\ndef register_surveys():\n    yield survey('{name}', '{name}_survey')\n"
        modules = {f"{name}_plugin.py": HEADER + hook}
        modules[f"{name}_survey.py"] = SURVEY.format(statement=statement)
        install(f"astroclip-{name}", {name: f"{name}_plugin"}, modules, version="2.1")

    yield install_survey
    get_manager.cache_clear()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "galaxy.txt"
    path.write_text("a galaxy")
    return path


def test_calls_return_raise_or_end():
    assert within(60, lambda *numbers: numbers, 1, 2) == (1, 2)
    with pytest.raises(SystemExit, match="4"):
        within(60, exec, "raise SystemExit(4)")
    with pytest.raises(KeyboardInterrupt):
        within(60, exec, "raise KeyboardInterrupt")
    with pytest.raises(TimeLimitError, match=r"did not end within 0.1 s and was left") as caught:
        within(0.1, threading.Event().wait, 60)
    assert "in wait" in caught.value.__notes__[0]


def test_calls_see_the_context_of_the_caller():
    with np.errstate(divide="raise"):
        assert within(60, np.geterr)["divide"] == "raise"


def test_package_that_asks_for_plugins_while_it_is_imported_brings_its_own(install):
    # In a thread its plugin would wait for the lock of a package that waits for the thread.
    hook = "@hookimpl\ndef register_surveys():\n    yield survey('halfway', 'halfway.survey')\n"
    modules = {
        "halfway/__init__.py": "from astroclip_astro.plugins import Manager\n"
        "manager = Manager(environ={'ASTROCLIP_PLUGIN_TIMEOUT': '0.3'})\n",
        "halfway/plugin.py": f"import halfway\n{HEADER}{hook}",
    }
    install("halfway", {"halfway": "halfway.plugin"}, modules)
    import halfway

    assert halfway.manager.failures == []
    assert "halfway" in halfway.manager.entries("survey")


def test_package_that_asks_for_plugins_while_it_is_imported_keeps_those_that_import_it(install):
    # The plugin is in another package, and needs the lock that the asking thread holds.
    hook = "@hookimpl\ndef register_surveys():\n    yield survey('beside', 'beside.survey')\n"
    laboratory = (
        "from astroclip_astro.plugins import Manager\n"
        "manager = Manager(environ={'ASTROCLIP_PLUGIN_TIMEOUT': '0.3'})\n"
    )
    install("laboratory", {}, {"laboratory/__init__.py": laboratory})
    install("beside", {"beside": "beside"}, {"beside.py": f"import laboratory\n{HEADER}{hook}"})
    import laboratory

    assert laboratory.manager.failures == []
    assert "beside" in laboratory.manager.entries("survey")


def test_plugin_that_is_waited_for_as_an_import_is_under_way_is_named(install):
    # It goes on once the warning is there.
    slow = f"""{HEADER}
import logging

messages, warned = [], threading.Event()
log = logging.getLogger("astroclip_astro.plugins.manager")

class Handler(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
        warned.set()

@hookimpl
def register_surveys():
    log.addHandler(handler := Handler())
    warned.wait(60)
    log.removeHandler(handler)
    yield survey("slow", "slow_survey")
"""
    asking = (
        "from astroclip_astro.plugins import Manager\n"
        "manager = Manager(environ={'ASTROCLIP_PLUGIN_TIMEOUT': '0.3'})\n"
    )
    install("slow", {"slow": "slow_plugin"}, {"slow_plugin.py": slow})
    install("asking", {}, {"asking.py": asking})
    import asking
    import slow_plugin

    assert "slow" in asking.manager.entries("survey")
    assert asking.manager.failures == []
    assert slow_plugin.messages == [
        "plugin slow has not ended within 0.3 s: it is waited for while asking is imported"
    ]


def test_what_is_printed_goes_to_stderr_until_the_last_thread_is_done(capsys):
    stdout, entered, first_left = sys.stdout, threading.Event(), threading.Event()

    def second():
        with printing_to_stderr():
            entered.set()
            assert first_left.wait(60)
            sys.stdout.write("later\n")

    thread = threading.Thread(target=second)
    with printing_to_stderr():
        thread.start()
        assert entered.wait(60)
        sys.stdout.write("sooner\n")
    first_left.set()
    thread.join()
    assert sys.stdout is stdout
    assert capsys.readouterr() == ("", "sooner\nlater\n")


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), ("1e9", 1e9)])
def test_time_limit_is_read(text, seconds, caplog):
    assert time_limit({"ASTROCLIP_PLUGIN_TIMEOUT": text}) == seconds
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "soon", "0", "-3", "nan", "inf"])
def test_unusable_time_limit_is_warned_of(text, caplog):
    assert time_limit({"ASTROCLIP_PLUGIN_TIMEOUT": text}) == time_limit({}) == 10
    assert f"ASTROCLIP_PLUGIN_TIMEOUT is {text!r}, expected seconds" in caplog.text


def test_plugin_that_hangs_at_import(install):
    # The lock of a module that hangs is never free again: no other test has one of that name.
    install("bad", {"bad": "hanging_plugin"}, {"hanging_plugin.py": HANGS})
    hook = "@hookimpl\ndef register_surveys():\n    yield survey('good', 'good_survey')\n"
    install("good", {"good": "good_plugin"}, {"good_plugin.py": HEADER + hook})
    manager = Manager(environ=SOON)
    assert {"desi", "good"} <= set(manager.entries("survey"))
    (failure,) = manager.failures
    assert (failure.plugin, failure.where) == ("bad", "import")
    assert failure.message == (
        "TimeLimitError: it did not end within 0.3 s and was left behind; "
        "ASTROCLIP_PLUGIN_TIMEOUT sets the limit"
    )
    assert "hanging_plugin.py" in failure.traceback  # where it hangs
    assert {p["name"]: p["status"] for p in manager.plugins()}["bad"] == "failed"


def test_hook_that_hangs_keeps_what_it_had_yielded(install):
    source = f"""{HEADER}
@hookimpl
def register_surveys():
    yield survey("first", "bad_survey")
    threading.Event().wait(60)
    yield survey("never", "bad_survey")

@hookimpl
def register_tasks():
    yield TaskEntry(name="task-of-bad", summary="", factory="bad_task:Task")
"""
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ=SOON)
    assert "first" in manager.entries("survey")
    assert "never" not in manager.entries("survey")
    assert "task-of-bad" in manager.entries("task")
    (failure,) = manager.failures
    assert failure.where == "register_surveys"
    assert failure.message.startswith("TimeLimitError: ")


def test_hook_of_commands_that_hangs_keeps_what_it_had_added(install):
    source = f"""{HEADER}
@hookimpl
def register_commands(cli):
    cli.command("first")(lambda: None)
    threading.Event().wait(60)
"""
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ=SOON)
    assert list(manager.commands(())) == ["first"]
    assert manager.failures[0].where == "register_commands"


def test_hook_that_never_stops_yielding(install):
    source = f"""{HEADER}
@hookimpl
def register_surveys():
    while True:
        yield survey("again", "bad_survey")
"""
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    manager = Manager(environ={})
    assert "again" in manager.entries("survey")
    messages = [failure.message for failure in manager.failures]
    assert messages[0] == "PluginError: yielded more than 10,000 entries"
    assert len(messages) <= 20


def test_builtin_plugin_needs_no_thread(file, monkeypatch):
    monkeypatch.setenv("ASTROCLIP_PLUGINS", "")
    get_manager.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail("a thread"))
    assert claims(file, None) == []
    assert get_manager().failures == []
    get_manager.cache_clear()


def test_survey_that_hangs_is_left_out_and_not_asked_again(install_survey, file, tmp_path):
    install_survey("bad", "threading.Event().wait(60)")
    install_survey("good", "return path.suffix == '.txt'")
    assert identify(file) == "good"
    other = tmp_path / "other.txt"
    other.write_text("another galaxy")
    assert identify(other) == "good"
    import bad_survey
    import good_survey

    assert bad_survey.asked == ["galaxy.txt"]
    assert good_survey.asked == ["galaxy.txt", "other.txt"]
    (failure,) = get_manager().failures
    assert (failure.plugin, failure.where) == ("bad", "survey bad")
    assert failure.message.startswith("TimeLimitError: it did not end within 0.3 s")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise RuntimeError('no idea')", "RuntimeError: no idea"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return None", "TypeError: identify returned None, expected True or False"),
        ("return 'yes'", "TypeError: identify returned 'yes', expected True or False"),
        ("return 1", "TypeError: identify returned 1, expected True or False"),
        (
            "return numpy.ones(1, bool)",
            "TypeError: identify returned array([ True]), expected True or False",
        ),
    ],
)
def test_survey_that_answers_nonsense_is_left_out_and_recorded(
    install_survey, file, statement, message
):
    install_survey("bad", statement)
    install_survey("good", "return True")
    assert claims(file, None) == ["good"]
    assert claims(file, None) == ["good"]
    (failure,) = get_manager().failures
    assert (failure.plugin, failure.where, failure.message) == ("bad", "survey bad", message)
    (described,) = [p for p in get_manager().plugins() if p["name"] == "bad"]
    assert described["failures"][0]["message"] == message


def test_numpy_bool_is_an_answer(install_survey, file):
    install_survey("good", "return numpy.bool_(path.suffix == '.txt')")
    assert claims(file, None) == ["good"]
    assert claims(Path("x.csv"), None) == []
    assert get_manager().failures == []


def test_survey_whose_reader_hangs_at_import(install_survey, file, tmp_path):
    install_survey("frozen", "return True")
    (tmp_path / "site" / "frozen_survey.py").write_text(HANGS)
    install_survey("good", "return True")
    assert claims(file, None) == ["good"]
    assert claims(file, None) == ["good"]
    (failure,) = get_manager().failures
    assert failure.where == "survey frozen"


def test_survey_that_fails_at_every_file_in_other_words_does_not_fill_the_memory(
    install_survey, tmp_path
):
    install_survey("bad", "raise ValueError(path.name)")
    for i in range(30):
        assert claims(tmp_path / f"{i}.txt", None) == []
    assert len(get_manager().failures) == 20


def test_file_that_two_plugins_claim_is_refused_naming_both(install_survey, file):
    install_survey("one", "return True")
    install_survey("two", "return True")
    with pytest.raises(InputError) as caught:
        aa.embed(file)
    assert (
        "galaxy.txt: claimed by one (astroclip-one 2.1) and two (astroclip-two 2.1); pass survey= "
        "with one of desi, legacysurvey, legacysurvey-rgb, one, sdss, two, or read it"
    ) in str(caught.value)


def test_survey_that_is_asked_for_wins(install_survey, file):
    install_survey("one", "return True")
    install_survey("two", "return True")
    with pytest.raises(InputError, match=r"the two reader could not read it .* read by two_survey"):
        aa.embed(file, survey="two")
    import one_survey

    assert one_survey.asked == []


def test_built_in_reader_works_beside_a_survey_that_hangs(install_survey, sdss_file, tmp_path):
    install_survey("bad", "threading.Event().wait(60)")
    path = sdss_file(tmp_path, 7)
    assert identify(path) == "sdss"
    assert QTable.read(path, hdu=1)["flux"].size > 0
