"""Train the encoder of magnitudes on the mocks that astroclip-mini was trained on.

MOCKS is a survey of ``python -m astroclip_astro.simulate``; OUT is the weights file to write.
VECTORS is a folder where the vectors of the mocks are kept: making them takes most of the time.
"""

from pathlib import Path

import click
import numpy as np
import torch

from astroclip_astro import load_model
from astroclip_astro.embeddings import open_embeddings
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.benchmark.retrieval import retrieval
from astroclip_astro.training.companion import align_companion
from astroclip_astro.training.mini.heads import observed_embeddings, rows_for_heads
from astroclip_astro.weights import save_companion
from astroclip_photometry.encoder import PhotometryEncoder
from astroclip_photometry.modality import Photometry

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


def vectors(model, survey, rows, modality, seed, path):
    """Vectors of mocks, made once."""
    if not path.exists():
        observed_embeddings(model, survey, rows, modality, seed=seed).astroclip.save(path)
    return open_embeddings(path).values


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--vectors", "folder", required=True, type=click.Path(file_okay=False))
@click.option("--n", default=40_000, show_default=True, help="Galaxies to learn from.")
@click.option("--steps", default=6000, show_default=True)
def main(mocks, out, folder, n, steps):
    """Train, save, and measure on mocks that nothing was trained on."""
    survey, model, folder = MockSurvey.open(mocks), load_model(device="cpu"), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    learned, test = rows_for_heads(survey, n)
    known = {
        modality: [
            vectors(model, survey, rows, modality, seed, folder / f"{name}-{modality}.nc")
            for rows, seed, name in ((learned, 0, "learned"), (test, 2, "test"))
        ]
        for modality in model.modalities
    }
    torch.manual_seed(0)
    config = {"inputs": 2 * len(BANDS), "embed_dim": model.embed_dim}
    encoder = PhotometryEncoder(**config)
    truth = survey.truth_array[learned]
    seen = torch.as_tensor(observe(truth, np.random.default_rng(1)), dtype=torch.float32)
    x = Photometry().model_input(seen, Photometry.preprocessing())
    encoder.mean, encoder.scale = x.mean(0), x.std(0)
    companion = align_companion(
        model,
        encoder,
        "photometry",
        lambda rows, rng: observe(truth[rows], rng),
        [known[modality][0] for modality in model.modalities],
        steps=steps,
    )
    save_companion(companion, out, config=config, licence="BSD-3-Clause")

    flux = observe(survey.truth_array[test], np.random.default_rng(2))
    mine = companion.encode(torch.as_tensor(flux, dtype=torch.float32), "photometry").numpy()
    pairs = [("photometry", mine)] + [(m, known[m][1]) for m in model.modalities]
    for query, asked in pairs:
        for answer, keys in pairs:
            if query != answer:
                found = retrieval(asked, keys, at=(1, 10, 100))
                shares = "  ".join(f"@{k} {share:.3f}" for k, share in found.recall.items())
                click.echo(f"{query:>10s} → {answer:10s} {shares}  median {found.median_rank:.0f}")


if __name__ == "__main__":
    main()
