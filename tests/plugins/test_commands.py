"""Commands that plugins add to the command line, and what it says of broken plugins."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from astroclip_astro.cli.main import main
from astroclip_astro.plugins import get_manager

HEADER = "import click\nfrom astroclip_astro.plugins import hookimpl\n"
GOOD = (
    HEADER
    + """
@hookimpl
def register_commands(cli):
    @cli.command()
    def hello():
        "Say hello."
        click.echo("hello from " + __name__)
"""
)


@pytest.fixture(autouse=True)
def _manager_of_this_test():
    get_manager.cache_clear()
    yield
    get_manager.cache_clear()


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def failures():
    return {plugin["name"]: plugin["failures"] for plugin in described() if plugin["failures"]}


def described():
    return json.loads(run("plugins", "--json").stdout)


def test_command_of_a_plugin_runs_and_is_listed(install):
    install("good", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    assert run("hello").stdout == "hello from good_plugin\n"
    listed = [line.split() for line in run("--help").stdout.splitlines()]
    assert ["hello", "Say", "hello."] in listed
    assert described()[1]["entries"] == {"command": ["hello"]}


def test_first_plugin_keeps_a_command(install):
    install("one", {"one": "one_plugin"}, {"one_plugin.py": GOOD})
    install("two", {"two": "two_plugin"}, {"two_plugin.py": GOOD})
    assert run("hello").stdout == "hello from one_plugin\n"
    ((name, (failure,)),) = failures().items()
    assert name == "two"
    assert failure["message"] == (
        "PluginError: command 'hello' is already registered by plugin 'one' (one), so that of "
        "plugin 'two' (two) is refused"
    )


def test_builtin_commands_cannot_be_taken(install):
    source = GOOD.replace("def hello", "def embed")
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    assert "FILES" in run("embed", "--help").stdout
    ((failure,),) = failures().values()
    assert "command 'embed' is already registered by plugin 'builtin'" in failure["message"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise SystemExit(4)", "SystemExit: 4"),
        ("cli.commands['x'] = 'no command'", "TypeError: 'x' is 'no command'"),
        ("cli.nonsense()", "AttributeError"),
    ],
)
def test_broken_command_leaves_the_others(install, statement, message):
    source = f"{HEADER}\n@hookimpl\ndef register_commands(cli):\n    {statement}\n"
    install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": source})
    install("good", {"good": "good_plugin"}, {"good_plugin.py": GOOD})
    assert run("hello").exit_code == 0
    ((name, (failure,)),) = failures().items()
    assert (name, failure["where"]) == ("bad", "register_commands")
    assert failure["message"].startswith(message)


def test_new_process_with_a_plugin_that_exits(install):
    site = install("bad", {"bad": "bad_plugin"}, {"bad_plugin.py": "import sys\nsys.exit(9)\n"})
    code = "from astroclip_astro.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "plugins"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bad  (bad 1.0, failed)\n    FAILED in import: SystemExit: 9\n" in done.stdout
    assert done.stderr == "WARNING: plugin bad, import: SystemExit: 9\n"


def test_plugin_that_prints_leaves_json_alone(install):
    # As it is imported, as it registers, as it adds commands, and after a failure.
    source = f"""{HEADER}
from astroclip_astro.plugins import SurveyEntry
print("imported")

@hookimpl
def register_surveys():
    print("registering")
    yield SurveyEntry(name="loud", summary="", modality="spectrum", factory="loud_survey:Loud")
    raise ValueError("broken")

@hookimpl
def register_commands(cli):
    print("adding")
    cli.command("shout")(lambda: print("shouted"))
"""
    install("loud", {"loud": "loud_plugin"}, {"loud_plugin.py": source})
    done = run("plugins", "--json")
    loud = json.loads(done.stdout)[1]
    assert loud["entries"] == {"command": ["shout"], "survey": ["loud"]}
    assert [failure["message"] for failure in loud["failures"]] == ["ValueError: broken"]
    printed = [
        line for line in done.stderr.splitlines() if line.endswith("ing") or line == "imported"
    ]
    assert printed == ["imported", "registering", "adding"]
    assert run("shout").stdout == "shouted\n"
