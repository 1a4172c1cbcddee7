"""What importing the package costs and shows."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import astroclip_astro as aa

HEAVY = (
    "torch", "specutils", "xarray", "astropy", "numpy", "pandas", "matplotlib", "click", "pluggy",
)  # fmt: skip


def modules_after(code):
    """Which heavy modules a new process holds after running some code."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules], sep=',')",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split(",")) - {""}


def test_importing_the_package_imports_nothing_heavy():
    assert modules_after("import astroclip_astro") == set()


def test_importing_errors_quality_and_version_imports_no_torch():
    code = "import astroclip_astro as aa; aa.errors.InputError; aa.Quality.GOOD; aa.__version__"
    assert modules_after(code) == set()


def test_the_front_door_is_imported_when_it_is_used():
    assert "torch" in modules_after("import astroclip_astro as aa; aa.embed")


def test_loading_a_model_does_not_import_the_compiler_of_torch():
    code = (
        "import sys, astroclip_astro as aa\naa.load_model()\nprint('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_embed_returns_has_the_accessor_in_a_new_process():
    code = "import astroclip_astro as aa; print(aa.embed([]).astroclip.flags)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_of_the_command_line_imports_nothing_heavy():
    code = """
from astroclip_astro.cli.main import main
main(["--help"], standalone_mode=False)
"""
    assert modules_after(code) == {"click", "pluggy"}


@pytest.mark.parametrize("name", aa.__all__)
def test_public_names_exist_and_are_listed(name):
    assert getattr(aa, name) is getattr(aa, name)
    assert name in dir(aa)


def test_heads_are_listed_with_what_is_imported_later():
    from astroclip_astro import tasks

    assert set(tasks.__all__) <= set(dir(tasks))


def test_version_is_that_of_the_distribution():
    assert aa.__version__ == version("astroclip_astro")


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'astroclip_astro' has no attribute 'embedd'"):
        aa.embedd  # noqa: B018


def test_completion_imports_nothing_heavy():
    code = """
from click.shell_completion import ShellComplete
from astroclip_astro.cli.main import main
shell = ShellComplete(main, {}, "astroclip", "")
assert "redshift" in [item.value for item in shell.get_completions(["predict"], "")]
"""
    assert modules_after(code) == {"click", "pluggy"}
