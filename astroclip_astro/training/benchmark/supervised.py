"""Train the supervised baselines on a data source, and predict with them."""

import hashlib
import logging
import time
from datetime import timedelta
from pathlib import Path

import lightning as L
import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch.utils.data import DataLoader, IterableDataset

from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.training.baselines import (
    ConvAttention,
    PhotometryMLP,
    ResNet18,
    kron_photometry,
)
from astroclip_astro.training.benchmark.encode import fingerprint
from astroclip_astro.training.benchmark.tables import PROPERTIES, Predicted
from astroclip_astro.training.chance import noise_generator
from astroclip_astro.training.regression import Supervised
from astroclip_astro.training.trainer import quiet_lightning

__all__ = ["BASELINES", "supervised_baselines", "train_supervised"]

log = logging.getLogger(__name__)


#: The trained networks by name: their input, and the published model they are compared with.
BASELINES = {
    "ResNet18": ("image", "ResNet18"),
    "Conv+Att": ("spectrum", "Conv+Att"),
    "photometry MLP": ("photometry", "MLP"),
}

# Objects read together where nothing is trained, and streams of noise.
_BLOCK = 256
_TRAINING, _MEASURING = 1, 2


class _Batches(IterableDataset):
    """Batches of the training objects in a new order each time, for ever."""

    def __init__(self, source, rows, batch_size, seed):
        self.source, self.rows, self.seed = source, rows, seed
        self.batch_size = min(batch_size, len(rows))

    def __iter__(self):
        rng = np.random.default_rng(self.seed)
        noise = noise_generator(self.seed, _TRAINING)
        while True:
            order = rng.permutation(self.rows)
            # What does not fill a batch comes in another order next time.
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                chosen = np.sort(order[start : start + self.batch_size])
                yield self.source.read(chosen, noise)


def train_supervised(
    model, source, rows, *, max_steps, max_minutes=None, batch_size=64, seed=0, progress=True
):
    """Train one network on the properties of a source's objects.

    Parameters
    ----------
    model : torch.nn.Module
        A network of `astroclip_astro.training.baselines`, with an output for each of the
        `PROPERTIES` that the source knows.
    source : Source
        Gives batches of what the network takes.
    rows : numpy.ndarray
        Training objects, shape (n,), int.
    max_steps : int
        Optimiser steps.
    max_minutes : float, optional
        Stop earlier, with the learning rate at zero, if this time is over.
    batch_size : int
        Objects per step.
    seed : int
        Of the order, noise and augmentation.
    progress : bool
        Show a progress bar.

    Returns
    -------
    module : Supervised
        Trained, in evaluation mode, on the CPU.
    training : str
        Steps, batch size and minutes that it took, for the tables.
    """
    targets = {name: source.targets[name][rows] for name in _known_properties(source, rows)}
    module = Supervised(
        model,
        targets=targets,
        warmup=min(50, max_steps // 10),
        max_steps=max_steps,
        max_minutes=max_minutes,
    )
    loader = DataLoader(_Batches(source, rows, batch_size, seed), batch_size=None)
    started = time.monotonic()
    with torch.random.fork_rng(), quiet_lightning():
        torch.manual_seed(seed)
        trainer = L.Trainer(
            max_steps=max_steps,
            max_time=None if max_minutes is None else timedelta(minutes=max_minutes),
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
        )
        trainer.fit(module, loader)
    minutes = (time.monotonic() - started) / 60
    size = loader.dataset.batch_size
    return module.cpu().eval(), f"{trainer.global_step} steps of {size}, {minutes:.1f} min"


def supervised_baselines(
    source,
    train,
    test,
    *,
    folder,
    preprocessing=None,
    max_steps=2000,
    max_minutes=None,
    seed=0,
    progress=True,
):
    """Train all baselines that a source has the data for, and predict the test objects.

    These are the networks of `BASELINES` and gradient boosting on g, r, z magnitudes and colours
    (scikit-learn's `~sklearn.ensemble.HistGradientBoostingRegressor`). Magnitudes are measured by
    `kron_photometry` on images as noisy as those that other models see.

    Parameters
    ----------
    source : Source
        With noise, as everything else in the benchmark sees it.
    train, test : numpy.ndarray
        Training and test objects, int.
    folder : path-like
        Where predictions are kept, so that a run with the same settings needs no training.
    preprocessing : ImagePreprocessing, optional
        Of the images; AstroCLIP's by default.
    max_steps : int
        Optimiser steps of each network.
    max_minutes : float, optional
        Time limit of each network.
    seed : int
        Of everything random.
    progress : bool
        Show progress bars.

    Returns
    -------
    list of Predicted

    Raises
    ------
    InputError
        If the source knows no property of the training objects.
    """
    preprocessing = preprocessing or ImagePreprocessing()
    names = _known_properties(source, train)
    if not names:
        raise InputError(f"{source.name} knows none of {', '.join(PROPERTIES)}: nothing to train")
    known = {n: int(np.isfinite(source.targets[n][train]).sum()) for n in names}
    grids = sorted(source.preprocessing.items())
    settings = [fingerprint(source), max_steps, max_minutes, seed, preprocessing, grids]
    rows = [hashlib.sha256(np.asarray(r, np.int64).tobytes()).hexdigest() for r in (train, test)]
    key = hashlib.sha256(repr((settings, rows)).encode()).hexdigest()[:16]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def kept(name, make):
        """Predictions and how they were made, from the disk if they are there."""
        path = folder / f"baseline-{name.replace(' ', '-')}-{key}.npz"
        if not path.exists():
            predicted, training = make()
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.savez(file, training=training, **predicted)
            part.replace(path)
        with np.load(path) as file:
            return {n: file[n] for n in names}, str(file["training"])

    found = []
    for name, (made_from, published) in BASELINES.items():
        modality = "spectrum" if made_from == "spectrum" else "image"
        if modality not in source.modalities:
            continue

        def trained(name=name, modality=modality):
            log.info("training %s", name)
            own = source.only({modality})  # nothing is read in vain
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = _network(name, len(names), preprocessing)
            module, training = train_supervised(
                model,
                own,
                train,
                max_steps=max_steps,
                max_minutes=max_minutes,
                seed=seed,
                progress=progress,
            )
            made = _over(own, test, seed, module, progress)
            return dict(zip(names, made.T, strict=True)), training

        values, training = kept(name, trained)
        found.append(
            Predicted(
                source=made_from,
                model=name.removeprefix("photometry "),
                values=values,
                n_train=known,
                training=training,
                published=published,
            )
        )
    if "image" in source.modalities:
        values, training = kept(
            "gradient boosting",
            lambda: _boosted(
                source.only({"image"}),
                train,
                test,
                names,
                preprocessing.pixel_scale,
                seed,
                progress,
            ),
        )
        found.append(
            Predicted(
                source="photometry",
                model="gradient boosting",
                values=values,
                n_train=known,
                training=training,
            )
        )
    return found


def _known_properties(source, rows):
    """Properties that at least one of the objects has."""
    return [
        name
        for name in PROPERTIES
        if name in source.targets and np.isfinite(source.targets[name][rows]).any()
    ]


def _network(name, n_out, preprocessing):
    if name == "ResNet18":
        return ResNet18(n_out, preprocessing=preprocessing)
    if name == "Conv+Att":
        return ConvAttention(n_out)
    return PhotometryMLP(n_out, pixel_scale=preprocessing.pixel_scale)


@torch.inference_mode()
def _over(source, rows, seed, function, progress):
    """What a function of batches gives for the objects, NaN for those that cannot be read."""
    parts = []
    starts, shown = range(0, len(rows), _BLOCK), None if progress else False
    for start in progress_bar(starts, progress=shown, unit="block"):
        block = rows[start : start + _BLOCK]
        batch = source.read(block, noise_generator(seed, _MEASURING, block[0]))
        made = function(batch).double().numpy()
        part = np.full((len(block), made.shape[1]), np.nan)
        if len(batch) == len(block):
            part[:] = made
        else:
            where = {name: i for i, name in enumerate(source.object_id[block])}
            part[[where[name] for name in batch.object_id]] = made
        parts.append(part)
    return np.concatenate(parts)


def _boosted(source, train, test, names, pixel_scale, seed, progress):
    """Gradient boosting on magnitudes and colours."""

    def features(rows):
        g, r, z = _over(
            source, rows, seed, lambda batch: kron_photometry(batch.image, pixel_scale), progress
        ).T
        return np.stack([g, r, z, g - r, r - z], 1)

    a, b = features(train), features(test)
    predicted = {}
    for name in names:
        y = source.targets[name][train]
        usable = np.isfinite(y) & np.isfinite(a).all(1)
        model = HistGradientBoostingRegressor(random_state=seed).fit(a[usable], y[usable])
        predicted[name] = np.where(np.isfinite(b).all(1), model.predict(b), np.nan)
    return predicted, "scikit-learn's defaults"
