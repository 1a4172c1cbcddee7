"""The tables of the paper for a model and a source of data."""

import logging
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from astroclip_astro.errors import InputError
from astroclip_astro.models import VisionTransformer
from astroclip_astro.plot import embedding_map, predicted_against_true, recall_curves
from astroclip_astro.training.benchmark.encode import PatchMean, embed_source
from astroclip_astro.training.benchmark.morphology import ZOO_LIMIT, mock_labels, vote_labels
from astroclip_astro.training.benchmark.supervised import supervised_baselines
from astroclip_astro.training.benchmark.tables import Embedded, paper_tables
from astroclip_astro.training.sources.tables import read_table
from astroclip_astro.training.split import split

__all__ = ["paper_benchmark"]

log = logging.getLogger(__name__)

# UMAP of more takes long and shows no more.
_MAPPED = 5000


def paper_benchmark(
    source,
    model,
    out,
    *,
    unaligned=(),
    labels=None,
    by="object",
    n=None,
    k=64,
    pool=1000,
    baselines=True,
    max_steps=2000,
    max_minutes=None,
    seed=0,
    progress=True,
):
    """Embed a source, train the baselines, and write tables and figures.

    Parameters
    ----------
    source : Source
        Galaxies with known properties, on the model's grids.
    model : GalaxyModel
        The model, in evaluation mode.
    out : path-like
        Folder: ``benchmark.json``, a ``.tex`` file per table, figures as PNG, and ``cache``, from
        which an interrupted run goes on.
    unaligned : sequence of GalaxyModel
        Encoders before alignment, to put beside. A spectrum encoder's embedding is the mean of
        its tokens; an image encoder makes two rows, its class token (the paper's choice) and the
        mean of the patch tokens from which alignment starts.
    labels : path-like, optional
        Table of volunteers' votes (see `vote_labels`) with a column ``object_id``; by default the
        classes of mocks (`mock_labels`), where the source is one; they are asked of all, and of
        those as bright as what the volunteers saw (`ZOO_LIMIT`).
    by : {"object", "sky"}
        How training and test objects are split, where the source itself keeps none aside.
    n : int, optional
        Only the first so many objects.
    k : int
        Neighbours of the zero-shot head.
    pool : int
        Size of the pools of the retrieval.
    baselines : bool
        Whether supervised networks and gradient boosting are trained on the same objects.
    max_steps, max_minutes : int, float
        Limits of the training of each network.
    seed : int
        Of everything random.
    progress : bool
        Show progress bars.

    Returns
    -------
    Report
        As written.

    Raises
    ------
    InputError
        If a model and the source do not fit, or too few objects are known.
    ImportError
        If umap-learn is not installed.
    """
    if find_spec("umap") is None:
        raise ImportError("a map of embeddings needs umap-learn", name="umap-learn")
    out = Path(out)
    cache = out / "cache"
    n = len(source) if n is None else min(n, len(source))
    kept = getattr(source, "held_out", None)
    part = split(
        source.object_id, source.ra, source.dec, by=by, validation=0, seed=seed, kept=kept
    )[:n]
    train, test = np.flatnonzero(part == 0), np.flatnonzero(part == 2)
    embeddings = []
    for one, label, published in _encoders(model, unaligned):
        vectors = embed_source(source, one, folder=cache, n=n, seed=seed, progress=progress)
        embeddings += [
            Embedded(source=modality, model=label, vectors=rows, published=published)
            for modality, rows in vectors.items()
        ]
    supervised = []
    if baselines:
        supervised = supervised_baselines(
            source,
            train,
            test,
            folder=cache,
            preprocessing=model.preprocessing.get("image"),
            max_steps=max_steps,
            max_minutes=max_minutes,
            seed=seed,
            progress=progress,
        )
    truth = {name: values[:n] for name, values in source.targets.items()}
    samples = {"all": np.ones(n, bool)}
    if labels is None and "mag_r" in truth:
        samples[f"r < {ZOO_LIMIT}"] = truth["mag_r"] < ZOO_LIMIT
    report = paper_tables(
        embeddings,
        truth,
        train,
        test,
        labels=mock_labels(truth) if labels is None else _votes(labels, source.object_id[:n]),
        samples=samples,
        supervised=supervised,
        k=k,
        pool=pool,
        seed=seed,
    )
    how = f"{source.name}: test objects are "
    how += "those that it keeps aside" if kept is not None else f"a tenth, split by {by}"
    report.settings["data"] = how
    report.settings["model"] = f"{model.name}, weights {model.weights_sha256[:16] or 'not saved'}"
    report.write(out)
    _draw(report, embeddings, truth, test, model.name, out, seed)
    return report


def _encoders(model, unaligned):
    """Every model with its label, no two alike, and what of the paper it is compared with."""
    rows = [(model, model.name, "AstroCLIP")]
    names = [one.name for one in unaligned]
    for number, one in enumerate(unaligned, 1):
        label = f"{one.name}, unaligned" + (f" {number}" if names.count(one.name) > 1 else "")
        if isinstance(one, VisionTransformer):
            rows += [
                (one, f"{label}, class token", "before alignment"),
                (PatchMean(one), f"{label}, mean of patches", ""),
            ]
        else:
            rows.append((one, label, "before alignment"))
    return rows


def _votes(path, object_id):
    """Classes of the source's objects from a table of votes; unknown where it has no row."""
    table = read_table(path)
    if "object_id" not in table.colnames:
        raise InputError(f"{path} has no column object_id, by which its rows are found")
    row = {str(name): i for i, name in enumerate(table["object_id"])}
    place = np.array([row.get(str(name), -1) for name in object_id])
    if (place < 0).all():
        raise InputError(f"no object_id of {path} is one of the data's, such as {object_id[0]}")
    found = vote_labels(table)
    return {
        question: np.where(place >= 0, answers[place], "") for question, answers in found.items()
    }


def _draw(report, embeddings, truth, test, name, out, seed):
    """Figures of the model itself."""
    for modality in ("image", "spectrum"):
        shown = {
            what: answer
            for (source, model, head, what), answer in report.predictions.items()
            if (source, model, head) == (modality, name, "kNN")
        }
        if shown:
            with _saved(out / f"predicted-{modality}.png", 3.2 * len(shown), 4.2) as figure:
                title = f"{name}, {modality}, zero-shot"
                predicted_against_true(shown, title=title, figure=figure)
    ranks = {way: found for (model, way), found in report.ranks.items() if model == name}
    if ranks:
        with _saved(out / "recall.png", 4.7, 3.9) as figure:
            recall_curves(ranks, figure.add_subplot(), title=name)
    colours = {what: truth[what] for what in ("redshift", "log_mass") if what in truth}
    for one in embeddings:
        if one.model == name and colours:
            good = test[np.isfinite(one.vectors[test]).all(1)][:_MAPPED]
            if len(good) > 3:
                with _saved(out / f"map-{one.source}.png", 5.2 * len(colours), 4.4) as figure:
                    embedding_map(
                        one.vectors[good],
                        {what: values[good] for what, values in colours.items()},
                        seed=seed,
                        title=f"{name}, {one.source}",
                        figure=figure,
                    )


@contextmanager
def _saved(path, width, height):
    """A figure, written when it is drawn; not of pyplot, which would keep it open."""
    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    figure.savefig(path, dpi=110)
