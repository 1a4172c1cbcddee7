"""What stands beside every figure: when, where, with what, and by which command it was made."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def processor():
    """Name of the processor (str)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def print_header(*packages):
    """Print date, machine, versions and command.

    Parameters
    ----------
    *packages : str
        Distributions whose versions matter, besides this one.
    """
    names = ("astroclip_astro", *packages)
    print(f"date     {datetime.now(UTC):%Y-%m-%d}")
    print(f"machine  {processor()}, {os.cpu_count()} cores, {platform.system()}")
    print("versions " + ", ".join(f"{n} {version(n)}" for n in names))
    print(f"command  python {' '.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]])}\n")


def cpu_seconds(*command):
    """User plus system time of a new Python process and its threads, in seconds (float)."""
    before = os.times()
    subprocess.run([sys.executable, *command], check=True)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
