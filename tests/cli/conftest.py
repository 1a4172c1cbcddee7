"""Fixtures of the command line's tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def executable(tmp_path_factory):
    """The command as it is installed, and the variables to start it with."""
    command = tmp_path_factory.mktemp("bin") / "astroclip"
    command.write_text(
        f"#!{sys.executable}\nfrom astroclip_astro.cli.main import main\n\n"
        'if __name__ == "__main__":\n    main()\n'
    )
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return command, os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def astroclip(executable):
    """Function that runs the command in a process of its own."""
    command, variables = executable

    def run(*arguments, **settings):
        return subprocess.run(
            [command, *map(str, arguments)],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            **settings,
        )

    return run


@pytest.fixture(scope="session")
def documented():
    """What docs/cli.md says of the JSON of each command."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = page.partition("\n## JSON\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([a-z ]+)` \| (.*) \|$", section, flags=re.MULTILINE))
