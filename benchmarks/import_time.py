"""What ``import astroclip_astro`` and ``astroclip --help`` cost, beside bare Python."""

import subprocess
import sys

import numpy as np
from header import cpu_seconds, print_header

RUNS = 50
HELP = """
import os, sys
from astroclip_astro.cli.main import main
sys.stdout = open(os.devnull, "w")
main(["--help"])
"""
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "python -c 'import astroclip_astro'": ("-c", "import astroclip_astro"),
    "astroclip --help": ("-c", HELP),
}


def import_milliseconds():
    """Cumulative wall time that ``-X importtime`` states for the package."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import astroclip_astro"],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [
        line
        for line in done.stderr.splitlines()
        if line.split("|")[-1].strip() == "astroclip_astro"
    ]
    return int(line.split("|")[1]) / 1000


def main():
    print_header()
    print(f"-X importtime, cumulative, wall ms of {RUNS} new processes:")
    times = [import_milliseconds() for _ in range(RUNS)]
    print(f"median {np.median(times):.2f} ({min(times):.2f} to {max(times):.2f})\n")
    print(f"CPU ms (user + system), mean of {RUNS} new processes, in turns:")
    # Clock ticks are coarser than one process, but the sum over many is not.
    totals = dict.fromkeys(COMMANDS, 0.0)
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            totals[name] += cpu_seconds(*command)
    bare = totals["python -c pass"]
    for name, total in totals.items():
        print(f"{name:36s}{total / RUNS * 1000:7.1f}{total / bare:7.2f} × bare Python")


if __name__ == "__main__":
    main()
