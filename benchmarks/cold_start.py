"""CPU time of a cold ``embed(one spectrum)`` with the bundled model, in a new process each time."""

import tempfile
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from header import cpu_seconds, print_header
from specutils import Spectrum

SCRIPT = """
import sys, astroclip_astro as aa
from specutils import Spectrum
vector = aa.embed(Spectrum.read(sys.argv[1], format="tabular-fits"))
assert vector.dims == ("feature",)
"""


def main():
    print_header("torch", "specutils", "astropy")
    wavelength = np.linspace(3600, 9824, 7781) * u.AA
    flux = 5 + np.exp(-(((wavelength.value - 7200) / 3) ** 2))
    spectrum = Spectrum(
        spectral_axis=wavelength, flux=flux * u.Unit("1e-17 erg / (s cm2 Angstrom)")
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spectrum.fits"
        Table(
            {"wavelength": spectrum.spectral_axis, "flux": spectrum.flux},
        ).write(path)
        cold, bare = [], []
        for _ in range(5):
            cold.append(cpu_seconds("-c", SCRIPT, str(path)))
            bare.append(cpu_seconds("-c", "import torch, specutils"))
    print("CPU seconds (user + system), five new processes each: median (smallest to largest)")
    for name, times in (("embed(one spectrum)", cold), ("import torch, specutils", bare)):
        print(f"{name:28s}{np.median(times):7.2f} ({min(times):.2f} to {max(times):.2f})")
    print(f"{'ratio':28s}{np.median(np.divide(cold, bare)):7.2f}")


if __name__ == "__main__":
    main()
