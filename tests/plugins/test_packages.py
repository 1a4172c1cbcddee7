"""The packages of plugins/: each is installed as a user would, and its own tests are run."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import astroclip_astro

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))


def unmet(project):
    """Requirements that the environment does not have."""
    found = []
    for text in project["dependencies"]:
        requirement = Requirement(text)
        try:
            if version(requirement.name) not in requirement.specifier:
                found.append(text)
        except PackageNotFoundError:
            found.append(text)
    return found


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_package_passes_its_own_tests(folder, tmp_path):
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == folder.name
    assert project["license"] == "BSD-3-Clause"
    assert project["entry-points"]["astroclip_astro"]
    if missing := unmet(project):
        pytest.skip(f"needs {', '.join(missing)}")
    # A copy, for building leaves files behind.
    copy, site = tmp_path / folder.name, tmp_path / "site"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-*"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(site), str(copy)]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    paths = [str(site), str(Path(astroclip_astro.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
