"""What all commands have in common: help with an example, errors, exit codes."""

import os
import shlex
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from astroclip_astro.cli import listings
from astroclip_astro.cli.main import main
from astroclip_astro.errors import PluginError


def walk(group, *path):
    """Every command with the words that call it; a group with commands in it is one as well."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, *path, name)


COMMANDS = {" ".join(path): command for path, command in walk(main)}
# A group that does nothing by itself but show what is in it.
DOING = {
    name: command
    for name, command in COMMANDS.items()
    if not isinstance(command, click.Group) or command.invoke_without_command
}


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def failing(monkeypatch, error):
    """Make ``astroclip surveys`` raise."""

    def fail():
        raise error

    monkeypatch.setattr(listings, "get_manager", fail)


def parse(command, name, words, context):
    """Parse what is typed, in a folder where every file that has to exist does."""
    seen, _, _ = command.make_parser(click.Context(command)).parse_args(list(words))
    for param in command.params:
        if isinstance(param.type, click.Path) and param.type.exists:
            values = seen.get(param.name)
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, str):
                    open(value, "w").close()
    made = command.make_context(name, list(words), parent=context)
    if isinstance(command, click.Group) and made._protected_args:
        name, *rest = [*made._protected_args, *made.args]
        found = command.get_command(made, name)
        assert found is not None, name
        return parse(found, name, rest, made)
    return made


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_parses(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*name.split(), "--help")
    assert done.exit_code == 0
    last = done.stdout.partition("\nOptions:")[0].rstrip().splitlines()[-1].strip()
    assert last.startswith(f"Example: astroclip {name}")
    parsed = parse(main, "astroclip", shlex.split(last)[2:], None)
    assert parsed.command_path.startswith(f"astroclip {name}")
    if not isinstance(COMMANDS[name], click.Group):
        assert parsed.command is COMMANDS[name]


def test_an_example_with_a_wrong_option_would_not_parse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in ("embed x.fits --out y.fits", "embed x.fits", "completion tcsh", "catalog serach"):
        with pytest.raises((click.UsageError, AssertionError)):
            parse(main, "astroclip", words.split(), None)


def test_all_that_give_an_answer_give_it_as_json_and_the_page_says_what(documented):
    answering = {name for name in DOING if name != "completion"}
    assert {n for n in answering if not any("--json" in p.opts for p in DOING[n].params)} == set()
    assert set(documented) == answering


def test_own_errors_are_one_line_without_a_traceback(monkeypatch):
    failing(monkeypatch, PluginError("no survey named 'x':\nknown are desi."))
    done = run("surveys")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == "astroclip: no survey named 'x': known are desi.\n"
    done = run("--debug", "surveys")
    assert isinstance(done.exception, PluginError)


@pytest.mark.parametrize("error", [KeyError("oops"), OSError()])
def test_other_errors_are_one_line_that_says_how_to_find_out_more(monkeypatch, error):
    failing(monkeypatch, error)
    done = run("surveys", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    line = f"astroclip: {type(error).__name__}: {error} (astroclip --debug … shows where)"
    assert done.stderr == " ".join(line.split()) + "\n"
    assert run("--debug", "surveys").exception is error


def test_an_interrupt_that_lightning_turns_into_an_exit(monkeypatch):
    def fail():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr(listings, "get_manager", fail)
    done = run("surveys")
    assert (done.exit_code, done.stderr) == (130, "astroclip: interrupted\n")
    assert "Traceback" in run("--debug", "surveys").stderr
    failing(monkeypatch, SystemExit(7))
    assert run("surveys").exit_code == 7


def test_exit_codes_and_streams_of_the_process(astroclip, tmp_path):
    done = astroclip("surveys")
    assert (done.returncode, done.stderr) == (0, "")
    done = astroclip("catalog", "info", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("astroclip: ")
    assert done.stderr.count("\n") == 1
    done = astroclip("--debug", "catalog", "info", tmp_path / "none")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    done = astroclip("embed", "x.fits")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Missing option '-o'" in done.stderr


def test_an_interrupt(executable, tmp_path):
    command, variables = executable
    settings = tmp_path / "settings.yaml"
    os.mkfifo(settings)
    process = subprocess.Popen(
        [command, "train", "align", settings, "-o", tmp_path / "run"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with settings.open("wb"):  # waits until the command reads it
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == b""
    assert stderr == b"astroclip: interrupted\n"


def test_a_reader_that_has_had_enough(executable):
    command, variables = executable
    process = subprocess.Popen(
        [command, "models", "--json"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
