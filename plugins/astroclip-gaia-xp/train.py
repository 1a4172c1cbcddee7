"""Train the encoder of XP spectra on the mocks that astroclip-mini was trained on.

MOCKS is a survey of ``python -m astroclip_astro.simulate``; OUT is the weights file to write.
VECTORS is a folder where the vectors of the mocks and their spectra at Gaia's resolution are kept.
"""

from pathlib import Path

import click
import numpy as np

from astroclip_astro.notebooks import progress_bar
from astroclip_astro.simulate.spectra import wavelength_grid
from astroclip_astro.training.mini.companion import train_companion
from astroclip_gaia_xp.encoder import XPEncoder
from astroclip_gaia_xp.modality import XPPreprocessing

# Resolving power λ/FWHM, roughly: BP's falls from 100 to 30 towards the red, RP's from 100 to 70
# (Carrasco et al. 2021, A&A 652, A86). BP ends where RP begins, near 640 nm.
RESOLUTION = ((3300.0, 100.0), (6400.0, 30.0), (6400.01, 100.0), (10500.0, 70.0))

# Choices: signal-to-noise ratio per pixel of 2 nm, from faint galaxies to the brightest; share of
# the light that Gaia's windows hold beside DESI's fibres (dex); ripples that calibration leaves.
SNR, APERTURE, CALIBRATION = (2.0, 100.0), 0.2, 0.02
BLOCK = 500


def at_gaias_resolution(grid):
    """Matrix (pixel of the mocks, pixel of `grid`) of Gaussians that integrate to 1."""
    wavelength = wavelength_grid()
    centre = (grid.edges[1:] + grid.edges[:-1]) / 2
    sigma = centre / np.interp(centre, *np.transpose(RESOLUTION)) / 2.3548
    weights = np.exp(-0.5 * ((wavelength[:, None] - centre) / sigma) ** 2)
    return (weights / weights.sum(0)).astype(np.float32)


def spectra(survey, rows, path):
    """Noiseless XP spectra of mocks, shape (n, pixel), 1e-17 erg s-1 cm-2 Å-1, made once."""
    if not path.exists():
        matrix = at_gaias_resolution(XPPreprocessing())
        blocks = np.array_split(rows, max(1, len(rows) // BLOCK))
        flux = [survey.arrays(block)["spectrum"] @ matrix for block in progress_bar(blocks)]
        with path.open("wb") as file:
            np.save(file, np.concatenate(flux))
    return np.load(path)


def observe(flux, rng):
    """Observe noiseless spectra (n, pixel) as Gaia would, shape (n, pixel, 1)."""
    n, pixels = flux.shape
    snr = np.exp(rng.uniform(*np.log(SNR), (n, 1)))
    level = flux.mean(1, keepdims=True)
    noise = level / snr * rng.standard_normal((n, pixels))
    x = np.linspace(0, 1, pixels)
    ripples = sum(
        rng.standard_normal((n, 1)) * np.sin(np.pi * k * x + rng.uniform(0, 2 * np.pi, (n, 1)))
        for k in (1, 2, 4)
    )
    flux = flux * (1 + CALIBRATION * ripples) + noise
    return (flux * 10 ** (APERTURE * rng.standard_normal((n, 1))))[..., None]


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--vectors", "folder", required=True, type=click.Path(file_okay=False))
@click.option("--n", default=40_000, show_default=True, help="Galaxies to learn from.")
@click.option("--steps", default=4000, show_default=True)
def main(mocks, out, folder, n, steps):
    """Train, save, and measure on mocks that nothing was trained on."""

    def known(survey, rows, name):
        return spectra(survey, rows, Path(folder, f"{name}-gaia-xp.npy"))

    for (query, answer), found in train_companion(
        mocks,
        out,
        folder,
        "gaia_xp",
        XPEncoder,
        config={"inputs": XPPreprocessing().n_pixels + 1, "embed_dim": 128},
        known=known,
        observe=observe,
        n=n,
        steps=steps,
        batch_size=512,
    ).items():
        shares = "  ".join(f"@{k} {share:.3f}" for k, share in found.recall.items())
        click.echo(f"{query:>10s} → {answer:10s} {shares}  median {found.median_rank:.0f}")


if __name__ == "__main__":
    main()
