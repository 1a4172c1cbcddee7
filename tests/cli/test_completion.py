"""What the Tab key offers."""

import subprocess

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from astroclip_astro.cli.completion import VARIABLE
from astroclip_astro.cli.main import main
from astroclip_astro.plugins import get_manager


def offered(*words):
    """Names that can come next, and whether files can."""
    *before, incomplete = words
    found = ShellComplete(main, {}, "astroclip", VARIABLE).get_completions(before, incomplete)
    names = [item.value for item in found if item.type == "plain"]
    return names, any(item.type == "file" for item in found)


def names_of(kind):
    return list(get_manager().entries(kind))


def test_commands_and_options():
    assert offered("cat") == (["catalog"], False)
    assert offered("catalog", "se") == (["search"], False)
    assert offered("catalog", "search", "mine", "--where", "z<1", "--mod") == (
        ["--modality"],
        False,
    )
    assert offered("train", "a") == (["align"], False)
    assert offered("completion", "") == (["bash", "zsh", "fish"], False)


@pytest.mark.parametrize(
    "words",
    [("embed",), ("predict", "redshift"), ("benchmark", "paper")],
)
def test_models_and_surveys(words):
    assert offered(*words, "--model", "") == (names_of("model"), True)
    assert offered(*words, "--survey", "") == (names_of("survey"), False)
    assert offered(*words, "--survey", "legacysurvey-") == (["legacysurvey-rgb"], False)


def test_tasks_that_can_be_predicted_catalogs_and_plugins():
    assert offered("predict", "") == (["morphology", "properties", "redshift"], True)
    assert offered("catalog", "build", "") == (names_of("catalog"), True)
    assert offered("plugins", "check", "b") == (["builtin"], False)
    assert offered("export", "") == (names_of("model"), True)
    assert offered("export", "x", "--modality", "") == (["spectrum", "image"], False)


@pytest.mark.parametrize(
    "words",
    [
        ("embed", "sp"),
        ("embed", "x.fits", "-o", "o"),
        ("catalog", "info", "m"),
        ("catalog", "search", "mine", "q"),
        ("catalog", "append", "mine", "--columns", "c"),
        ("train", "align", "my"),
    ],
)
def test_files(words):
    assert offered(*words) == ([], True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_ask_the_command_for_what_comes_next(shell):
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in done.stdout


def test_in_bash(executable, install):
    # A plugin that is broken must not write into the line that is being typed.
    site = install("astroclip-broken", {"broken": "broken"}, {"broken.py": "raise ValueError"})
    _, variables = executable
    variables = variables | {"PYTHONPATH": f"{site}:{variables['PYTHONPATH']}"}
    script = """
        source <(astroclip completion bash)
        complete -p astroclip
        COMP_WORDS=(astroclip embed x.fits --survey des) COMP_CWORD=4
        _astroclip_completion astroclip
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-euc", script], env=variables, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _astroclip_completion astroclip",
        "desi",
    ]


def test_zsh_and_fish_get_files_and_names(executable):
    command, variables = executable
    for shell, words in (("zsh", "astroclip predict red"), ("fish", "astroclip predict ")):
        asked = {VARIABLE: f"{shell}_complete", "COMP_WORDS": words}
        asked["COMP_CWORD"] = "2" if shell == "zsh" else "red"
        done = subprocess.run(
            [command], env=variables | asked, capture_output=True, text=True, check=True
        )
        assert "file" in done.stdout
        assert "redshift" in done.stdout
        assert done.stderr == ""
