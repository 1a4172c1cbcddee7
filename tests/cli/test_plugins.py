"""The command line itself, and the commands that list what there is."""

import json
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from astroclip_astro.cli.main import main
from astroclip_astro.plugins import get_manager

COMMANDS = [
    "benchmark", "catalog", "completion", "demo", "embed", "explore", "export", "models",
    "plugins", "predict", "surveys", "tasks", "train",
]  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_version():
    assert run("--version").stdout == f"astroclip, version {version('astroclip_astro')}\n"


def test_help_lists_every_command():
    done = run("--help")
    assert done.exit_code == 0
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS


def test_plugins_names_what_each_registers():
    done = run("plugins")
    assert done.exit_code == 0
    first, *lines = done.stdout.splitlines()
    assert first == f"builtin  (astroclip_astro {version('astroclip_astro')}, loaded)"
    assert "    survey: desi, legacysurvey, legacysurvey-rgb, sdss" in lines


def test_plugins_as_json():
    (builtin,) = json.loads(run("plugins", "--json").stdout)
    assert builtin["entries"]["modality"] == ["image", "spectrum"]
    assert builtin["failures"] == []


@pytest.mark.parametrize("command", [("check", "builtin"), ("new", "foo", "--kind", "task")])
def test_json_before_a_command_says_where_it_goes(command):
    done = run("plugins", "--json", *command)
    assert (done.exit_code, f"--json goes behind {command[0]}" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("command", "kind"), [("models", "model"), ("surveys", "survey"), ("tasks", "task")]
)
def test_listings_name_every_entry(command, kind):
    entries = get_manager().entries(kind)
    header, *lines = run(command).stdout.splitlines()
    assert header.split()[0] == "name"
    assert [line.split()[0] for line in lines] == list(entries)
    assert all(line.endswith(entries[line.split()[0]].summary) for line in lines)
    found = json.loads(run(command, "--json").stdout)
    assert [entry["name"] for entry in found] == list(entries)
    assert {entry["citation"] for entry in found} == {e.citation for e in entries.values()}


def test_unknown_commands_and_options_are_usage_errors():
    assert run("embedd").exit_code == 2
    assert run("plugins", "--xml").exit_code == 2
    done = run("-v", "-q", "plugins")
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr
