"""Training a companion of the bundled model on the model's own mocks, and what it finds there."""

from pathlib import Path

import numpy as np
import torch

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.embeddings import open_embeddings
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.benchmark.retrieval import retrieval
from astroclip_astro.training.companion import align_companion
from astroclip_astro.training.mini.heads import observed_embeddings, rows_for_heads
from astroclip_astro.weights import load_model, save_companion

__all__ = ["train_companion"]

# Galaxies by whose data the scale of the encoder's input is set.
_FOR_SCALE = 10_000


def train_companion(
    mocks, out, folder, modality, encoder, *, config, known, observe, n=None, **options
):
    """Train the encoder of one more modality, save it, and measure what it finds.

    Parameters
    ----------
    mocks : path-like
        A mock survey that the bundled model was trained on.
    out : path-like
        Weights file to write, as `save_companion` does.
    folder : path-like
        Where the vectors of the mocks are kept, which take most of the time: what is there is not
        made again.
    modality : str
        Registered name of the further modality.
    encoder : type
        Class of the encoder, with buffers ``mean`` and ``scale`` of its input.
    config : dict
        Keyword arguments of the encoder.
    known : callable
        ``known(survey, rows, name)`` returns what there is to observe of galaxies, noiseless, an
        array (n, …); ``name``, "learned" or "test", is for what it keeps.
    observe : callable
        ``observe(noiseless, rng)`` draws an observation of what ``known`` returned, or of rows of
        it: the ``flux`` of a batch (n, …).
    n : int, optional
        Galaxies to learn from; by default all.
    **options : object
        For `align_companion`.

    Returns
    -------
    dict of Retrieval
        By query and what is found: how well each modality finds the others of mocks that nothing
        was trained on, by cosine in pools of 1,000.
    """
    survey, model, folder = MockSurvey.open(mocks), load_model(device="cpu"), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = dict(zip(("learned", "test"), rows_for_heads(survey, n), strict=True))
    vectors = {"learned": {}, "test": {}}
    for one in model.modalities:
        for seed, name in ((0, "learned"), (2, "test")):
            path = folder / f"{name}-{one}.nc"
            if not path.exists():
                found = observed_embeddings(model, survey, rows[name], one, seed=seed)
                found.astroclip.save(path)
            vectors[name][one] = open_embeddings(path).values
    clean = known(survey, rows["learned"], "learned")
    torch.manual_seed(0)
    built, kind = encoder(**config), get_modality(modality)
    seen = _tensor(observe(clean[:_FOR_SCALE], np.random.default_rng(1)))
    x = kind.model_input(seen, kind.preprocessing())
    built.mean, built.scale = x.mean(0), x.std(0)
    companion = align_companion(
        model,
        built,
        modality,
        lambda picked, rng: observe(clean[picked], rng),
        list(vectors["learned"].values()),
        **options,
    )
    save_companion(companion, out, config=config, licence="BSD-3-Clause")
    unseen = observe(known(survey, rows["test"], "test"), np.random.default_rng(2))
    mine = companion.encode(_tensor(unseen), modality).numpy()
    every = {modality: mine, **vectors["test"]}
    return {
        (query, answer): retrieval(every[query], every[answer], at=(1, 10, 100))
        for query in every
        for answer in every
        if query != answer
    }


def _tensor(flux):
    return torch.as_tensor(flux, dtype=torch.float32)
