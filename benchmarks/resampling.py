"""Time per spectrum of our batched resampling and of specutils' FluxConservingResampler."""

import time

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance
from header import print_header
from specutils import Spectrum
from specutils.manipulation import FluxConservingResampler

from astroclip_astro.adapters.resample import resample, resampling_operator
from astroclip_astro.adapters.spectrum import (
    SpectrumPreprocessing,
    spectrum_batch,
    spectrum_records,
)

BATCH = 256
SPECUTILS_ROWS = 8


def seconds(function, repeats):
    """Median wall-clock time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return np.median(times)


def main():
    print_header("torch", "numpy", "specutils")
    preprocessing = SpectrumPreprocessing()
    centres = preprocessing.wavelength_start + preprocessing.wavelength_step * np.arange(
        preprocessing.n_pixels
    )
    loglam = 3.5553 + 1e-4 * np.arange(4600)  # the sampling and typical range of BOSS spectra
    wavelength = 10**loglam
    edges = np.concatenate(
        [
            [1.5 * wavelength[0] - 0.5 * wavelength[1]],
            (wavelength[1:] + wavelength[:-1]) / 2,
            [1.5 * wavelength[-1] - 0.5 * wavelength[-2]],
        ]
    )
    rng = np.random.default_rng(0)
    flux = 10 + rng.normal(size=(BATCH, wavelength.size))
    ivar = rng.uniform(0.5, 2, size=flux.shape)
    unit = u.Unit("1e-17 erg / (s cm2 Angstrom)")
    spectra = [
        Spectrum(
            f * unit, wavelength * u.AA, uncertainty=InverseVariance(i, unit=unit**-2), meta={}
        )
        for f, i in zip(flux, ivar, strict=True)
    ]
    oracle = FluxConservingResampler()
    theirs = (
        seconds(lambda: [oracle(s, centres * u.AA) for s in spectra[:SPECUTILS_ROWS]], 3)
        / SPECUTILS_ROWS
    )
    ours = seconds(lambda: resample(flux, ivar, edges, preprocessing.edges), 7) / BATCH
    shifts = iter(np.linspace(1e-3, 0.8, 50))
    build = seconds(lambda: resampling_operator(edges + next(shifts), preprocessing.edges), 20)
    alone = seconds(
        lambda: resample(flux[:1], ivar[:1], edges + next(shifts), preprocessing.edges), 20
    )
    records = [record for s in spectra for record in spectrum_records(s)]
    batch = seconds(lambda: spectrum_batch(records, preprocessing), 5) / BATCH
    expected = oracle(spectra[0], centres * u.AA)
    covered = np.isfinite(expected.flux.value) & (centres > wavelength[0] + 2)
    covered &= centres < wavelength[-1] - 2
    got = resample(flux[:1], ivar[:1], edges, preprocessing.edges)[0][0].numpy()
    difference = np.abs(got / expected.flux.value - 1)[covered].max()

    print(f"{wavelength.size} log-linear pixels to {preprocessing.n_pixels}, flux and ivar")
    print(f"{'':58}ms per spectrum")
    print(f"{'specutils FluxConservingResampler, one by one':58}{theirs * 1e3:10.3f}")
    print(f"{f'resample(), one grid, batch of {BATCH}':58}{ours * 1e3:10.3f}")
    print(f"{'resample(), a new grid for each, batch of 1':58}{alone * 1e3:10.3f}")
    print(f"{'  of which building the operator':58}{build * 1e3:10.3f}")
    print(f"{f'spectrum_batch(), with filling and S/N, batch of {BATCH}':58}{batch * 1e3:10.3f}")
    print(f"\nspecutils / ours: {theirs / ours:.0f} (batch), {theirs / alone:.0f} (new grids)")
    print(f"largest relative difference in flux: {difference:.1e}")


if __name__ == "__main__":
    main()
