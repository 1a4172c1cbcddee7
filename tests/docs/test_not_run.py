"""What is not run is on the list, and nothing else is; and it is understood at least."""

import importlib
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from astroclip_astro.cli.main import main as astroclip
from tests.docs.not_run import FROM_REGISTRY, IN_PYTHON, NOT_RUN, SERVES, TAKES_LONG
from tests.docs.pages import PAGES, ROOT, blocks, inline_code

#: Commands in the text, with the page's folder: beginnings that are no whole commands are not.
QUOTED = sorted(
    {
        (code, Path(page).parent.as_posix() if "train.py" in code else ".")
        for page in PAGES
        for code in inline_code(page)
        if re.match(r"astroclip |python (benchmarks/|train\.py|-m astroclip_astro)", code)
        and not re.search("…|COMMAND", code)
    }
)


@pytest.mark.parametrize("reason", NOT_RUN)
def test_what_is_not_run_is_there(reason):
    for page, texts in NOT_RUN[reason].items():
        there = {statement for block in blocks(page) for statement in block.statements}
        assert set(texts) <= there, page


@pytest.fixture
def anywhere(monkeypatch):
    """Function that goes to a folder of the checkout, where any file may be missing."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: value)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for plugin in (ROOT / "plugins").glob("astroclip-*"):
        monkeypatch.syspath_prepend(plugin)
    return lambda folder=".": monkeypatch.chdir(ROOT / folder)


def command_of(words):
    """The click command that a line starts, or another function, and its arguments."""
    if words[0] == "astroclip":
        return astroclip, words[1:]
    if words[:2] == ["python", "-m"]:
        module = importlib.import_module(words[2])
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{words[2]}.__main__")
        return module.main, words[3:]
    assert words[0] == "python"
    return runpy.run_path(words[1])["main"], words[2:]


def misunderstood(line):
    """What a command says of its arguments if it does not take them; it does nothing."""
    words = shlex.split(line)
    command, arguments = command_of(words)
    if not isinstance(command, click.Command):
        return f"it takes no arguments, and is given {arguments}" if arguments else ""
    try:
        _parse(command, words[0], arguments)
    except click.exceptions.Exit:  # of --help and the like
        return ""
    except click.UsageError as error:
        return error.format_message()
    return ""


def _parse(command, name, arguments):
    context = command.make_context(name, list(arguments))
    while isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def listed(reason):
    return sorted({text for texts in NOT_RUN[reason].values() for text in texts})


@pytest.mark.parametrize("line", sorted({*listed(IN_PYTHON), *listed(SERVES), *listed(TAKES_LONG)}))
def test_command_takes_its_arguments(line, anywhere):
    anywhere()
    assert misunderstood(line) == ""


@pytest.mark.parametrize(("line", "folder"), QUOTED)
def test_command_in_the_text_takes_its_arguments(line, folder, anywhere):
    anywhere(folder)
    # Some only name a command; what they have of options has to be right.
    assert re.fullmatch(r"(Missing (argument|option|parameter)\b.*)?", misunderstood(line), re.S)


@pytest.mark.parametrize("line", listed(FROM_REGISTRY))
def test_what_is_installed_is_there(line):
    command, _, then = line.partition(" && ")
    asked = re.fullmatch(
        r"python -m pip install -c constraints\.txt (?:-e )?\"?\.\[(.*)\]\"?", command
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(asked[1].split(",")) <= set(project["optional-dependencies"])
    assert (ROOT / "constraints.txt").is_file()
    if then:  # typed as a whole, on a fresh clone
        assert line in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
