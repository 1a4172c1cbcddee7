"""What the type of the matrix products changes: cosines to float64, and what heads make of vectors.

MOCKS is a mock survey that the bundled model embeds in every type; ridge regression and nearest
neighbours learn redshift and stellar mass from one half of the galaxies and are asked for the other
half. DATA, if given, is a folder of real spectra and cutouts, for the full-size architecture with
weights from a seed.
"""

from copy import deepcopy
from pathlib import Path

import click
import numpy as np
import torch
from full_size import SHAPES, inputs, make_model
from header import print_header
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.inputs import records
from astroclip_astro.models.int8 import int8_works
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.benchmark.heads import regress
from astroclip_astro.weights import load_model

DTYPES = ["float64", "float32", "bfloat16", *(["int8"] if int8_works() else [])]
PROPERTIES = {"redshift": "redshift", "log_mass": "stellar mass"}
REAL = {
    "spectrum": ("sdss_spectra/*.fits", "desi_native/coadd-*.fits"),
    "image": ("legacysurvey_fits/*.fits",),
}


def in_type(model, dtype):
    """A copy of a model that computes in this type."""
    copy = deepcopy(model)
    return copy.double() if dtype == "float64" else copy.compute_in(dtype)


def cosines(title, vectors):
    """Print 1 - cosine to float64, by type."""
    exact = vectors["float64"]
    for dtype in DTYPES[1:]:
        error = 1 - torch.cosine_similarity(vectors[dtype].double(), exact)
        print(f"{title:34s}{dtype:10s}{error.max():12.1e}{error.mean():12.1e}")


def ridge(train, values, test):
    """Predict by ridge regression."""
    return RidgeCV(np.logspace(-6, 2, 9)).fit(train, values).predict(test)


def scores(modality, vectors, truth):
    """Print R² of both heads on one half of the galaxies, by type."""
    for column, name in PROPERTIES.items():
        values, half = np.asarray(truth[column], float), len(truth) // 2
        known = np.isfinite(values)
        for head, predict in {"ridge": ridge, "neighbours": lambda *x: regress(*x, k=16)}.items():
            r2 = {}
            for dtype in DTYPES:
                x = vectors[dtype].numpy()
                x = x / np.linalg.norm(x, axis=1, keepdims=True)
                learn, ask = known & (np.arange(len(x)) < half), known & (np.arange(len(x)) >= half)
                r2[dtype] = r2_score(values[ask], predict(x[learn], values[learn], x[ask]))
            changes = "".join(f"{r2[dtype] - r2['float64']:+12.4f}" for dtype in DTYPES[1:])
            print(f"{modality:10s}{name:14s}{head:12s}{r2['float64']:10.4f}{changes}")


def on_mocks(path, count):
    """Tables of the bundled model."""
    mocks, model = MockSurvey.open(path), load_model(device="cpu")
    galaxies = np.flatnonzero(np.asarray(mocks.truth["kind"]) == "galaxy")
    rows = galaxies[np.linspace(0, len(galaxies) - 1, count).astype(int)]
    rows = np.random.default_rng(0).permutation(rows)
    models = {dtype: in_type(model, dtype) for dtype in DTYPES}
    found = {}
    for modality in model.modalities:
        get = mocks.spectrum if modality == "spectrum" else mocks.cutout
        parts = {dtype: [] for dtype in DTYPES}
        for some in np.array_split(rows, -(-len(rows) // 50)):
            flux = inputs(modality, [get(int(i)) for i in some], model.preprocessing[modality])
            for dtype, network in models.items():
                parts[dtype].append(network.encode(flux, modality))
        found[modality] = {dtype: torch.cat(vectors) for dtype, vectors in parts.items()}
        cosines(f"{model.name}, {modality}, mocks", found[modality])
    print(f"\nR² of {len(rows) // 2} galaxies by {model.name}, and what other types change in it")
    print(f"{'':36s}{'float64':>10s}" + "".join(f"{dtype:>12s}" for dtype in DTYPES[1:]))
    for modality, vectors in found.items():
        scores(modality, vectors, mocks.truth[rows])


def on_real(folder, most):
    """Cosines of the full-size architecture on real files."""
    for modality in SHAPES:
        model = make_model()
        for other in set(SHAPES) - {modality}:  # it need not be copied
            delattr(model, f"{other}_encoder")
        preprocessing = {modality: model.preprocessing[modality]}
        paths = [path for pattern in REAL[modality] for path in sorted(Path(folder).glob(pattern))]
        found = []
        for path in paths:
            found += [r for r in records(path, preprocessing=preprocessing) if r.modality]
        batch = get_modality(modality).batch(found, preprocessing[modality])
        flux = batch.flux[torch.from_numpy((batch.quality & Quality.NOT_EMBEDDED) == 0)][:most]
        vectors = {}
        for dtype in DTYPES:
            network = in_type(model, dtype)
            vectors[dtype] = network.encode(flux, modality)
            del network  # before the next one is made
        cosines(f"full-size, {modality}, {len(flux)} real", vectors)


@click.command(help=__doc__)
@click.argument("mocks", type=click.Path(exists=True))
@click.argument("data", type=click.Path(exists=True), required=False)
@click.option("--count", default=2000, show_default=True, help="Mock galaxies.")
@click.option("--real", default=12, show_default=True, help="Most real objects of a kind.")
def main(mocks, data, count, real):
    print_header("torch", "numpy", "scikit-learn")
    print(f"{'1 - cosine to float64':44s}{'largest':>12s}{'mean':>12s}")
    if data:
        on_real(data, real)
    on_mocks(mocks, count)


if __name__ == "__main__":
    main()
