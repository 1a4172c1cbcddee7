"""Checks as tests of pytest and as a command: broken plugins fail, and nothing else breaks."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from astroclip_astro.cli.main import main
from astroclip_astro.plugins import get_manager
from astroclip_astro.testing import parametrize_with_checks, run_checks
from astroclip_astro.testing.runner import cases

ROOT = Path(__file__).resolve().parents[2]
READ = "table = QTable.read(path, mask_invalid=False)"


def run(*arguments):
    return CliRunner().invoke(main, ["plugins", "check", *map(str, arguments)])


def test_results_of_a_plugin_that_is_not_installed():
    first, *others = run_checks("nobody")
    assert (first.check, first.outcome) == ("is-installed", "failed")
    assert first.message.startswith("no plugin is named 'nobody': installed are builtin")
    assert {result.outcome for result in others} == {"skipped"}


def test_blocked_plugin_is_skipped(plugin, monkeypatch):
    plugin("survey")
    monkeypatch.setenv("ASTROCLIP_BLOCK_PLUGINS", "mine")
    get_manager.cache_clear()
    first = run_checks("mine")[0]
    assert first.outcome == "skipped"
    assert "ASTROCLIP_BLOCK_PLUGINS" in first.message


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise SystemExit(7)", "SystemExit: 7 (*survey.py, line *)"),
        ("raise GeneratorExit", "GeneratorExit (*survey.py, line *)"),
        ("import threading; threading.Event().wait(60)", "TimeLimitError: it did not end within *"),
        ("raise KeyError", "KeyError (*survey.py, line *)"),
    ],
)
def test_whatever_a_plugin_does_is_a_result(plugin, tmp_path, monkeypatch, statement, message):
    plugin("survey", (READ, f"{statement}\n        {READ}"))
    monkeypatch.setattr("astroclip_astro.testing.runner._PATIENCE", 0.05)
    (tmp_path / "galaxy.fits").write_text("not read")
    found = {case.check.name: case for case in cases("mine", tmp_path / "galaxy.fits")}
    result = found["reads-objects"].run()
    assert result.outcome == "failed"
    start, _, end = message.partition("*")
    assert result.message.startswith(start)
    assert end.split("*")[0] in result.message


def test_examples_of_several_entries_are_told_apart(plugin, tmp_path):
    hook = '    yield SurveyEntry(name="other", summary="", modality="spectrum", '
    hook += 'factory="astroclip_mine.survey:MineSurvey")\n'
    plugin("survey", ("    yield SurveyEntry(", f"{hook}    yield SurveyEntry("))
    example = {"survey mine": tmp_path / "a.fits"}
    subjects = {case.subject.name: case.subject for case in cases("mine", example)}
    assert subjects["survey mine"].example == tmp_path / "a.fits"
    assert subjects["survey other"].example is None
    with pytest.raises(ValueError, match="example has survey our, expected some of survey mine, s"):
        cases("mine", {"survey our": 1})


def test_example_is_made_once_and_its_folder_goes_with_the_checks(plugin):
    folder = plugin("survey")
    calls = []

    def example(into):
        calls.append(into)
        return folder / "README.md"

    run_checks("mine", example)
    assert len(calls) == 1
    gc.collect()
    assert not calls[0].exists()


def test_marked_functions_get_one_check_each(plugin):
    plugin("source")
    mark = parametrize_with_checks("mine").mark
    argument, found = mark.args
    assert argument == "check"
    assert mark.kwargs["ids"] == [case.name for case in cases("mine")]
    assert mark.kwargs["ids"][-1] == "source mine: fetches-what-can-be-embedded"
    found[0]()
    with pytest.raises(pytest.skip.Exception, match="no example"):
        found[-1]()


def test_pytest_tells_what_to_do(plugin, tmp_path):
    folder = plugin("survey", ('licence="licence of its data"', 'licence=""'), (READ, "1 / 0"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path / "site")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "survey mine: says-what-to-cite: it has no licence\nFix: Give the entry a" in done.stdout
    assert "survey mine: reads-objects: ZeroDivisionError: division by zero (" in done.stdout
    assert "3 failed" in done.stdout  # and the template's own test
    assert "INTERNALERROR" not in done.stdout


def test_command_prints_each_check(plugin, tmp_path):
    folder = plugin("survey")
    namespace = {}
    exec((folder / "tests" / "test_plugin.py").read_text(encoding="utf-8"), namespace)
    path = namespace["write_example"](tmp_path)
    done = run("mine", "--example", path)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "passed   is-installed"
    assert "passed   survey mine: embeds" in lines
    assert lines[-1] == f"{len(lines) - 1} passed, 0 failed, 0 skipped"


def test_command_fails_and_says_how_to_mend(plugin):
    plugin("survey", ("(Survey)", ""))
    done = run("mine")
    assert done.exit_code == 1
    place = done.stdout.index("failed   survey mine: is-a-survey\n")
    _, message, expected, fix, *_ = done.stdout[place:].splitlines()
    assert message.startswith("         it makes <astroclip_mine.survey.MineSurvey object")
    assert expected.startswith("         Expected: The factory makes a Survey whose")
    assert fix.startswith("         Fix: Subclass astroclip_astro.surveys.Survey")
    assert "skipped  survey mine: embeds  (is-a-survey has to pass first)" in done.stdout
    results = json.loads(run("mine", "--json").stdout)
    assert {"check", "subject", "outcome", "message", "asserts", "fix"} == set(results[0])
    assert [r["check"] for r in results if r["outcome"] == "failed"] == ["is-a-survey"]


def test_command_without_an_example_skips_with_the_reason(plugin):
    plugin("survey")
    done = run("mine")
    assert done.exit_code == 0
    assert (
        "skipped  survey mine: reads-objects  (no example file: give --example FILE" in done.stdout
    )


def test_command_for_a_plugin_that_is_not_installed():
    done = run("nobody")
    assert done.exit_code == 1
    assert "no plugin is named 'nobody'" in done.stdout
    assert run("builtin", "--example", "no-such-file").exit_code == 2
