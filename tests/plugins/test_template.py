"""New plugins: what is written works at once, from a checkout and from what is installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
from click.testing import CliRunner

from astroclip_astro.cli.main import main
from astroclip_astro.plugins import get_manager, template
from astroclip_astro.plugins.folders import TEMPLATES
from astroclip_astro.plugins.template import KINDS, new_plugin

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    return CliRunner().invoke(main, ["plugins", "new", *map(str, arguments)])


def pip(*arguments, **kwargs):
    """Run pip without the network."""
    pytest.importorskip("pip")
    return subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=True,
        **kwargs,
    )


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_command_writes_a_plugin(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("low-z", "--kind", kind)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("astroclip-low-z is a plugin that works. Next:\n")
    folder = tmp_path / "astroclip-low-z"
    made = files(folder)
    assert {"README.md", "pyproject.toml", "tests/test_plugin.py"} < made
    assert "astroclip_low_z/__init__.py" in made
    for name in made:
        text = (folder / name).read_text(encoding="utf-8").lower()
        assert not any(word in text for word in ("my-plugin", "my_plugin", "myplugin")), name


def test_survey_is_short(tmp_path):
    folder = new_plugin("low-z", "survey", tmp_path / "new")
    modules = list((folder / "astroclip_low_z").glob("*.py"))
    assert sum(len(path.read_text().splitlines()) for path in modules) < 40


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("desi", "plugin 'builtin' (astroclip_astro) already registers a survey named 'desi'"),
        ("builtin", "astroclip_astro already brings a plugin named 'builtin'"),
        ("astro", "there is a package astroclip_astro already"),
        ("Low-z", "'Low-z' is no name for a plugin: expected lower-case letters"),
        ("low_z", "is no name for a plugin"),
        ("low--z", "is no name for a plugin"),
        ("4most", "is no name for a plugin"),
        ("../x", "is no name for a plugin"),
        ("x\n", "is no name for a plugin"),
        ("", "is no name for a plugin"),
    ],
)
def test_unusable_names_are_refused(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(name, "--kind", "survey")
    assert done.exit_code == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_name_of_an_entry_of_another_plugin_is_refused(install, tmp_path):
    hook = """
from astroclip_astro.plugins import TaskEntry, hookimpl

@hookimpl
def register_tasks():
    yield TaskEntry(name="ages", summary="", factory="a:b")
"""
    install("theirs", {"theirs": "their_plugin"}, {"their_plugin.py": hook})
    get_manager.cache_clear()
    done = run("ages", "--kind", "task", "-o", tmp_path / "new")
    get_manager.cache_clear()
    assert "plugin 'theirs' (theirs) already registers a task named 'ages'" in done.stderr


@pytest.mark.parametrize("there", ["a folder", "a file", "a dangling link"])
def test_nothing_is_overwritten(there, tmp_path):
    folder = tmp_path / "here"
    if there == "a folder":
        folder.mkdir()
    elif there == "a file":
        folder.write_text("mine")
    else:
        folder.symlink_to(tmp_path / "nowhere")
    before = files(tmp_path)
    done = run("low-z", "--kind", "survey", "-o", folder)
    assert done.exit_code == 1
    assert "exists: choose another folder" in done.stderr
    assert files(tmp_path) == before


@pytest.fixture
def templates(tmp_path, monkeypatch):
    """A copy of the templates that can be spoiled."""
    copied = tmp_path / "templates"
    copytree(TEMPLATES, copied)
    monkeypatch.setattr(template, "TEMPLATES", copied)
    return copied


@pytest.mark.parametrize(
    "path",
    [
        ".DS_Store",
        ".pytest_cache/README.md",
        "astroclip_my_plugin/.survey.py.swp",
        "astroclip_my_plugin/survey.pyc",
        "astroclip_my_plugin/__pycache__/survey.cpython-312.pyc",
        "astroclip_my_plugin.egg-info/PKG-INFO",
    ],
)
def test_stray_files_are_left_out(path, templates, tmp_path):
    expected = files(new_plugin("low-z", "survey", tmp_path / "before"))
    stray = templates / "survey" / path
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"\x00\xff my-plugin")
    assert files(new_plugin("low-z", "survey", tmp_path / "after")) == expected


def test_nothing_is_written_if_something_is_no_text(templates, tmp_path):
    (templates / "survey" / "tests" / "zebra.dat").write_bytes(b"\x00\xff")
    with pytest.raises(UnicodeDecodeError):
        new_plugin("low-z", "survey", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_unknown_kind_is_a_usage_error(tmp_path):
    assert run("low-z", "--kind", "planet", "-o", tmp_path / "new").exit_code == 2
    with pytest.raises(ValueError, match="kind is 'planet', expected one of survey, modality"):
        new_plugin("low-z", "planet", tmp_path / "new")


def test_tests_of_new_plugins_pass_once_they_are_installed(tmp_path):
    kinds = list(KINDS)
    if not (ROOT / "astroclip_astro" / "adapters" / "modality.py").is_file():
        kinds.remove("modality")
    folders = [new_plugin(f"new-{kind}", kind, tmp_path / kind) for kind in kinds]
    site = tmp_path / "site"
    pip("install", "--no-deps", "--no-build-isolation", "--target", site, *folders)
    options = ("-q", "--import-mode=importlib", "-W", "error", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, *folders],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def test_templates_are_installed(tmp_path):
    source = tmp_path / "source"
    ignored = ignore_patterns("__pycache__", "*.egg-info", "*.safetensors", "*.h5")
    for folder in ("astroclip_astro", "catalogs", "plugins"):
        copytree(ROOT / folder, source / folder, ignore=ignored)
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / file, source)
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    installed = tmp_path / "installed" / "astroclip_astro" / "template"
    expected = {name for name in files(TEMPLATES) if "__pycache__" not in name}
    assert files(installed) == expected
    code = "from astroclip_astro.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *["plugins", "new", "low-z", "--kind", "survey", "-o", "new"]],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "new") == files(new_plugin("low-z", "survey", tmp_path / "again"))
