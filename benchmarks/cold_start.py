"""CPU time of a cold ``astroclip embed`` of one file with the bundled model, and where it goes."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from header import cpu_seconds, print_header

RUNS = 5
EMBED = """
import sys, astroclip_astro as aa
from specutils import Spectrum
vector = aa.embed(Spectrum.read(sys.argv[1], format="tabular-fits"))
assert vector.dims == ("feature",)
"""
COMMAND = """
import os, sys
from astroclip_astro.cli.main import main
sys.stdout = open(os.devnull, "w")
main(["embed", sys.argv[1], "-o", sys.argv[2], "--survey", "sdss", "--overwrite"])
"""
# The command taken apart, in its own order; each step imports what those before it have not.
STEPS = {
    "import torch": "import torch",
    "import xarray": "import xarray",
    "import matplotlib.pyplot (for specutils)": "import matplotlib.pyplot",
    "import specutils": "import specutils",
    "import astroclip_astro.api": "import astroclip_astro.api as api",
    "load_model()": "model = api.load_model()",
    "embed(file)": "vectors = api.embed([sys.argv[1]], model=model, survey='sdss')",
    "embed(file) once more": "api.embed([sys.argv[1]], model=model, survey='sdss')",
    "save": "vectors.astroclip.save(sys.argv[2], overwrite=True)",
}
TAKEN_APART = f"""
import json, sys, time
spent = {{"start of Python": time.process_time()}}
for name, step in {STEPS!r}.items():
    before = time.process_time()
    exec(step)
    spent[name] = time.process_time() - before
print(json.dumps(spent))
"""


def write_spectra(folder):
    """Write one spectrum as a plain table and in the layout of SDSS; returns both paths."""
    loglam = np.arange(3.5564, 3.992, 1e-4)
    wavelength = 10**loglam
    flux = 5 + np.exp(-(((wavelength - 7200) / 3) ** 2))
    plain, sdss = folder / "spectrum.fits", folder / "spec-0001-55555-0001.fits"
    unit = u.Unit("1e-17 erg / (s cm2 Angstrom)")
    Table({"wavelength": wavelength * u.AA, "flux": flux * unit}).write(plain)
    columns = {"flux": flux, "loglam": loglam, "ivar": np.ones_like(flux)}
    table = Table({name: values.astype(np.float32) for name, values in columns.items()})
    table["and_mask"] = np.zeros(len(table), np.int32)
    table.write(sdss)
    return str(plain), str(sdss)


def taken_apart(*arguments):
    """CPU seconds of each step in one new process (dict of float)."""
    done = subprocess.run(
        [sys.executable, "-c", TAKEN_APART, *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main():
    print_header("torch", "specutils", "astropy")
    with tempfile.TemporaryDirectory() as folder:
        plain, sdss = write_spectra(Path(folder))
        output = str(Path(folder) / "out.parquet")
        commands = {
            "embed(one spectrum)": ("-c", EMBED, plain),
            "astroclip embed FILE": ("-c", COMMAND, sdss, output),
            "import torch, specutils": ("-c", "import torch, specutils"),
        }
        times = {name: [] for name in commands}
        apart = []
        for _ in range(RUNS):
            for name, command in commands.items():
                times[name].append(cpu_seconds(*command))
            apart.append(taken_apart(sdss, output))
    print(f"CPU seconds (user + system), {RUNS} new processes each: median (smallest to largest)")
    bare = np.array(times["import torch, specutils"])
    for name, spent in times.items():
        ratio = np.median(np.divide(spent, bare))
        print(f"{name:28s}{np.median(spent):7.2f} ({min(spent):.2f} to {max(spent):.2f})", end="")
        print(f"{ratio:7.2f} × imports alone")
    print(f"\nwhere it goes, CPU ms, median of {RUNS} new processes")
    for name in apart[0]:
        print(f"{name:42s}{np.median([spent[name] for spent in apart]) * 1000:7.0f}")


if __name__ == "__main__":
    main()
