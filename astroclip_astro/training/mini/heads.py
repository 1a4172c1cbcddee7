"""Heads for the bundled model, of its training's mocks, calibrated with mocks of another seed.

``python -m astroclip_astro.training.mini.heads MOCKS OTHERS OUT``
"""

from pathlib import Path

import click
import numpy as np
import torch
from astropy.table import QTable

from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import FlowHead, MLPHead, VotesHead, votes_from_labels
from astroclip_astro.training.benchmark.morphology import mock_labels
from astroclip_astro.training.mini.observing import MockObserver
from astroclip_astro.training.split import held_out
from astroclip_astro.weights import load_model

__all__ = [
    "PROPERTIES",
    "main",
    "make_heads",
    "observed_embeddings",
    "rows_for_heads",
    "votes_of",
]

#: What the head for properties predicts, jointly; columns of the mocks' truth.
PROPERTIES = ("redshift", "log_mass", "log_z", "age", "log_ssfr")

# Of whom each question is asked, as `mock_labels` asks.
_ASKED_IF = {
    "edge-on": ["smooth", "disc"],
    "bulge-size": ["edge-on", "no"],
    "spiral": ["edge-on", "no"],
    "bar": ["edge-on", "no"],
    "arm-count": ["spiral", "yes"],
}
_BLOCK, _BATCH = 5000, 500


def observed_embeddings(model, survey, rows, modality, *, seed=0, progress=True):
    """Embed mocks as training observes them: with any instrument's noise, coverage and scale.

    Parameters
    ----------
    model : AstroCLIP
        In evaluation mode.
    survey : MockSurvey
        The mocks.
    rows : numpy.ndarray
        Which, in rising order, shape (n,), int64.
    modality : {"spectrum", "image"}
        What to observe of them.
    seed : int
        Of noise and instruments.
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.DataArray
        Dims ("object", "feature").
    """
    vectors = []
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        for start in progress_bar(range(0, len(rows), _BLOCK), progress=progress, desc=modality):
            observer = MockObserver(
                survey, **model.preprocessing, rows=rows[start : start + _BLOCK]
            )
            encoder = getattr(model, f"{modality}_encoder")
            observe = observer.spectra if modality == "spectrum" else observer.images
            for index in torch.arange(len(observer)).split(_BATCH):
                vectors.append(encoder(observe(index)).numpy())
    truth = survey.truth_array[rows]
    unknown = np.full(len(rows), np.nan)
    columns = {
        "object_id": np.char.decode(truth["object_id"], "utf-8"),
        "ra": truth["ra"],
        "dec": truth["dec"],
        "modality": [modality] * len(rows),
        "survey": ["mocks"] * len(rows),
        "redshift": truth["redshift"],
        "coverage": unknown,
        "snr": truth[f"snr_{modality}"],
        "quality": np.zeros(len(rows), int),
    }
    about = {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "preprocessing": model.preprocessing_hash,
    }
    return make_embeddings(np.concatenate(vectors), columns, about)


def rows_for_heads(survey, n=None):
    """Galaxies that heads may learn from, as the encoders did, and those to test them with.

    Parameters
    ----------
    survey : MockSurvey
        What the bundled model was trained on.
    n : int, optional
        How many to learn from; by default all.

    Returns
    -------
    learned, test : numpy.ndarray
        Rows in rising order, int64. Of the latter, every tenth mock, neither heads nor encoders
        have learned.
    """
    galaxy, spared = survey.truth_array["kind"] == b"galaxy", held_out(len(survey))
    return np.flatnonzero(galaxy & ~spared)[:n], np.flatnonzero(galaxy & spared)


def make_heads(model, survey, others, out, *, n=None, seed=0, progress=True):
    """Fit, calibrate and save heads for redshift, properties and morphology.

    Parameters
    ----------
    model : AstroCLIP
        The bundled model.
    survey : MockSurvey
        What it was trained on; every tenth, which it never saw, is left to test with.
    others : MockSurvey
        Mocks of another seed, to calibrate with.
    out : path-like
        Folder of the results, ``{task}-{modality}.safetensors``.
    n : int, optional
        Galaxies to learn from; by default all.
    seed : int
        Of everything random.
    progress : bool
        Show progress bars.

    Returns
    -------
    list of pathlib.Path
        The files.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    learned, _ = rows_for_heads(survey, n)
    spare = np.flatnonzero(others.truth_array["kind"] == b"galaxy")
    y, truth = survey.truth[learned], others.truth[spare]
    made = []
    for modality in model.modalities:
        x, unseen = (
            observed_embeddings(model, mocks, rows, modality, seed=seed + i, progress=progress)
            for i, (mocks, rows) in enumerate(((survey, learned), (others, spare)))
        )
        questions, votes = votes_of(survey.truth_array[learned])
        heads = {
            "redshift": MLPHead(seed=seed).fit(x, QTable(y[["redshift"]])),
            "properties": FlowHead(seed=seed).fit(x, QTable(y[list(PROPERTIES)])),
            "morphology": VotesHead(questions, seed=seed).fit(x, votes),
        }
        heads["redshift"].calibrate(unseen, QTable(truth[["redshift"]]))
        heads["properties"].calibrate(unseen, QTable(truth[list(PROPERTIES)]))
        for task, head in heads.items():
            made.append(out / f"{task}-{modality}.safetensors")
            head.save(made[-1])
    return made


def votes_of(truth):
    """What `VotesHead` learns of mocks: questions, whom they are asked of, and one vote for each.

    Parameters
    ----------
    truth : numpy.ndarray
        Rows of the mocks' truth, structured, shape (n,).

    Returns
    -------
    questions : dict
        As `VotesHead` takes them.
    votes : astropy.table.Table
        One row per mock.
    """
    labels = mock_labels({name: truth[name] for name in truth.dtype.names})
    labels = {name.replace(" ", "-"): values for name, values in labels.items()}
    # A question comes after the one that it depends on.
    answers, votes = votes_from_labels({name: labels[name] for name in ("smooth", *_ASKED_IF)})
    return {
        name: {"answers": one, "asked_if": _ASKED_IF[name]} if name in _ASKED_IF else one
        for name, one in answers.items()
    }, votes


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.argument("others", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--model", help="Name or file; default: the bundled model.")
@click.option("--n", type=int, help="Galaxies to learn from; default: all.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
def main(mocks, others, out, model, n, seed):
    """Fit heads for the bundled model on the mock survey MOCKS; they go to the folder OUT.

    MOCKS is what the model was trained on, OTHERS, of another seed, serves to calibrate.

    Example: python -m astroclip_astro.training.mini.heads mocks/ others/ heads/
    """
    model = load_model(model, device="cpu")
    for path in make_heads(
        model, MockSurvey.open(mocks), MockSurvey.open(others), out, n=n, seed=seed
    ):
        click.echo(path)


if __name__ == "__main__":
    main()
