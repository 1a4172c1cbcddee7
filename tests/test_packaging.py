"""What is installed, pinned, cited and told to newcomers agrees with itself."""

import re
import tomllib
from fnmatch import fnmatch
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "astroclip_astro"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)


def requirements():
    """Everything that the package and its extras ask for, itself excepted."""
    every = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    found = {Requirement(text) for text in every}
    return sorted((r for r in found if r.name != PROJECT["name"]), key=str)


def test_every_data_file_is_installed():
    patterns = [
        f"{module.replace('.', '/')}/{pattern}"
        for module, globs in PYPROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in globs
    ]
    files = [
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]
    assert files
    assert [f for f in files if not any(fnmatch(f, pattern) for pattern in patterns)] == []


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_to_what_is_allowed(requirement):
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_the_extra_all_holds_every_extra_for_users():
    (everything,) = PROJECT["optional-dependencies"]["all"]
    extras = set(PROJECT["optional-dependencies"]) - {"all", "docs", "test"}
    assert Requirement(everything).extras == extras


def test_readme_and_continuous_integration_run_the_same_commands():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"^\w+='(python -m pip .*)'$", script, flags=re.MULTILINE)
    assert len(commands) == 2
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [command for command in commands if command not in readme] == []


def test_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version('astroclip_astro')}\n" in citation
    changes = (ROOT / "CHANGES.rst").read_text(encoding="utf-8")
    assert changes.startswith(version("astroclip_astro"))
