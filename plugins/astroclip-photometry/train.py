"""Train the encoder of magnitudes on the mocks that astroclip-mini was trained on.

MOCKS is a survey of ``python -m astroclip_astro.simulate``; OUT is the weights file to write.
VECTORS is a folder where the vectors of the mocks are kept: making them takes most of the time.
"""

import click
import numpy as np

from astroclip_astro.training.mini.companion import train_companion
from astroclip_photometry.encoder import PhotometryEncoder

BANDS = ("g", "r", "z")

# Of a galaxy with a half-light radius of 0.45": Dey et al. 2019, AJ 157, 168, their table 1.
DEPTH = np.array([24.0, 23.4, 22.5])  # mag, 5 sigma

# Choices: images of other depth, and what calibration and the models of galaxies leave.
SCATTER, FLOOR = 0.5, 0.02


def observe(truth, rng):
    """Fluxes and errors of galaxies in a catalogue, shape (n, 2, 3), nanomaggies."""
    flux = 10 ** (-0.4 * (np.stack([truth[f"mag_{band}"] for band in BANDS], axis=1) - 22.5))
    size = np.maximum(truth["r_half"] / 0.45, 1.0)[:, None]
    sigma = 10 ** (-0.4 * (DEPTH - 22.5)) / 5 * size
    sigma = sigma * np.exp(SCATTER * rng.standard_normal((len(flux), 1)))
    sigma = np.hypot(sigma, FLOOR * flux)
    return np.stack([flux + sigma * rng.standard_normal(flux.shape), sigma], axis=1)


def magnitudes(survey, rows, name):
    """True magnitudes and sizes of mocks, rows of the survey's table."""
    return survey.truth_array[rows]


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--vectors", "folder", required=True, type=click.Path(file_okay=False))
@click.option("--n", default=40_000, show_default=True, help="Galaxies to learn from.")
@click.option("--steps", default=6000, show_default=True)
def main(mocks, out, folder, n, steps):
    """Train, save, and measure on mocks that nothing was trained on."""
    for (query, answer), found in train_companion(
        mocks,
        out,
        folder,
        "photometry",
        PhotometryEncoder,
        config={"inputs": 2 * len(BANDS), "embed_dim": 128},
        known=magnitudes,
        observe=observe,
        n=n,
        steps=steps,
    ).items():
        shares = "  ".join(f"@{k} {share:.3f}" for k, share in found.recall.items())
        click.echo(f"{query:>10s} → {answer:10s} {shares}  median {found.median_rank:.0f}")


if __name__ == "__main__":
    main()
