"""The page about writing a plugin is done as it is typed, in an environment of its own."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def environ(tmp_path):
    """Variables of a new environment that sees what is installed here, and has no network."""
    pytest.importorskip("pip")
    home = tmp_path / "environment"
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "here.pth").write_text("\n".join([str(ROOT), *filter(os.path.isdir, sys.path)]))
    command = home / "bin" / "astroclip"
    command.write_text(
        f"#!{home}/bin/python\nfrom astroclip_astro.cli.main import main\n\nmain()\n"
    )
    command.chmod(0o755)
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return variables | {
        "PATH": f"{home}/bin{os.pathsep}{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # the variable is that of the option's value: no isolation
    }


def test_page_is_done_as_it_is_typed(tmp_path, environ):
    folder = tmp_path / "empty"
    folder.mkdir()
    where = tmp_path / "where"
    printed, compared = [], 0

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    for language, block in BLOCKS:
        name, _, _ = block.partition("\n")
        if language == "shell":
            printed.append(run("bash", "-euc", f"{block}\npwd > {where}"))
            folder = Path(where.read_text().strip())
        elif language == "text" and block.startswith("astroclip-mine/\n"):
            expected = {line.split()[0] for line in block.splitlines()[1:]}
            found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
            assert expected == {path for path in found if "egg-info" not in path}
        elif language == "text":
            assert printed[-1] == block
            compared += 1
        elif block.startswith(">>>"):
            (tmp_path / "examples.md").write_text(block, encoding="utf-8")
            run("python", "-m", "doctest", str(tmp_path / "examples.md"))
        else:
            path = folder / name.removeprefix("# ")
            assert path.is_file(), f"{name} is not edited but new"
            path.write_text(block, encoding="utf-8")
    assert compared == 1
    assert any("18 passed in" in text for text in printed)
