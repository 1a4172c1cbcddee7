"""Fine-tuning: let an encoder learn what a head needs, from labelled objects, in one call."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.api import embed
from astroclip_astro.errors import InputError
from astroclip_astro.inputs import records
from astroclip_astro.models import Companion
from astroclip_astro.quality import Quality
from astroclip_astro.tasks import MLPHead
from astroclip_astro.tasks.targets import read_targets
from astroclip_astro.training.optimizer import adamw
from astroclip_astro.training.schedule import warmup_cosine
from astroclip_astro.training.trainer import quiet_lightning
from astroclip_astro.weights import as_model, load_model, save_model

__all__ = ["LowRank", "fine_tune"]

_BATCH, _RATE, _DECAY = 32, 3e-4, 0.01
_FEWEST = 20
_HELD = 0.2


class LowRank(nn.Module):
    """A weight matrix plus a trained product of two thin ones, which is zero at first.

    Parameters
    ----------
    weight : torch.Tensor
        The matrix, shape (out, in); it stays as it is.
    rank : int
        Columns of the one and rows of the other.

    Notes
    -----
    LoRA, Hu et al. 2021 (https://arxiv.org/abs/2106.09685), section 4.1, with alpha = rank.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from torch.nn.utils import parametrize
    >>> from astroclip_astro.training.fine_tuning import LowRank
    >>> linear = nn.Linear(4, 3)
    >>> before = linear.weight.clone()
    >>> _ = parametrize.register_parametrization(linear, "weight", LowRank(linear.weight, 2))
    >>> bool((linear.weight == before).all())
    True
    """

    def __init__(self, weight, rank):
        super().__init__()
        out, into = weight.shape
        self.down = nn.Parameter(torch.randn(rank, into) / into**0.5)
        self.up = nn.Parameter(torch.zeros(out, rank))

    def forward(self, weight):
        """Add the product to the matrix.

        Parameters
        ----------
        weight : torch.Tensor
            Shape (out, in).

        Returns
        -------
        torch.Tensor
            Shape (out, in).
        """
        return weight + self.up @ self.down


class _FineTuning(L.LightningModule):
    """Encoder and a linear read-out together, on standardised values."""

    def __init__(self, model, modality, quantities, max_steps):
        super().__init__()
        self.model, self.modality, self.max_steps = model, modality, max_steps
        self.readout = nn.Sequential(
            nn.LayerNorm(model.embed_dim), nn.Linear(model.embed_dim, quantities)
        )

    def _loss(self, batch):
        flux, values = batch
        found = self.readout(self.model.vectors(flux, self.modality))
        return nn.functional.smooth_l1_loss(found, values)

    def training_step(self, batch, _):
        return self._loss(batch)

    def validation_step(self, batch, _):
        self.log("validation", self._loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self):
        trained = [p for p in self.parameters() if p.requires_grad]
        warmup = max(1, self.max_steps // 20)
        return adamw(
            trained,
            lambda step: warmup_cosine(step, warmup, self.max_steps),
            learning_rate=_RATE,
            weight_decay=_DECAY,
        )


def fine_tune(
    obj, y, out, *, model=None, survey=None, blocks=1, rank=None, epochs=20, seed=0, progress=True
):  # fmt: skip
    """Train the last blocks of an encoder, or thin additions to all, on labelled objects.

    Parameters
    ----------
    obj : object
        Labelled objects of one modality, as `astroclip_astro.embed` takes them; they stay in
        memory.
    y : astropy.table.Table, astropy.units.Quantity or array_like
        What is known of them, as `RegressionHead.fit` takes it.
    out : path-like
        File of the result, ``.safetensors``; `astroclip_astro.load_model` takes it. It carries its
        stem as name.
    model : str, path-like or GalaxyModel, optional
        What to begin with; by default the bundled model. It stays as it is.
    survey : str, optional
        How the objects are to be read, as in `astroclip_astro.embed`.
    blocks : int
        How many of the last transformer blocks are trained; what follows them always is.
    rank : int, optional
        Train low-rank additions to the linear maps of all blocks instead (`LowRank`).
    epochs : int
        Most passes; training ends earlier when a held-out fifth has not improved for five.
    seed : int
        Of everything random.
    progress : bool
        Show a progress bar.

    Returns
    -------
    model : GalaxyModel
        The fine-tuned model, as loaded from `out`.
    head : MLPHead
        Fitted to its embeddings of the objects; calibrate it with others.

    Raises
    ------
    InputError
        If an object cannot be embedded, its value is unknown, the objects are of several
        modalities, or fewer than 20.

    Notes
    -----
    The encoder is trained with a linear read-out of its vector, by the smooth L1 loss of the
    standardised values; the state that was best for the held-out fifth is kept.

    Examples
    --------
    >>> from astroclip_astro.training.fine_tuning import fine_tune
    >>> model, head = fine_tune(spectra, redshifts, "mine.safetensors")  # doctest: +SKIP
    >>> head.predict(aa.embed(others, model=model))  # doctest: +SKIP
    """
    base = as_model(model)
    if isinstance(base, Companion):
        raise InputError(
            f"model {base.name!r} is a companion, which is trained by align_companion(); to "
            f"fine-tune the model itself, take {base.base.name!r}"
        )
    if base.compute_dtype != base.dtype:
        raise InputError(
            f"the weights of {base.name!r} are rounded to {base.provenance['dtype']}: load the "
            "model in float32 to train it"
        )
    found = list(records(obj, preprocessing=base.preprocessing, survey=survey))
    flux, modality = _inputs(found, base)
    values, *_ = read_targets(y, np.array([record.object_id for record in found]))
    if len(values) != len(flux):
        raise InputError(f"obj has {len(flux)} objects and y {len(values)}")
    values = torch.tensor(StandardScaler().fit_transform(values)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(len(flux))
        held, learned = order.tensor_split([max(2, round(_HELD * len(flux)))])
        tuned = copy.deepcopy(base)
        _free(tuned, modality, blocks, rank)
        steps = epochs * -(-len(learned) // _BATCH)
        task = _FineTuning(tuned, modality, values.shape[1], steps)
        parts = [
            DataLoader(TensorDataset(flux[rows], values[rows]), _BATCH, shuffle=shuffle)
            for rows, shuffle in ((learned, True), (held, False))
        ]
        _train(task, parts, epochs, progress)
    for module in tuned.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    out = Path(out)
    source = f"{base.name} (weights {base.weights_sha256}), fine-tuned"
    save_model(tuned.eval(), out, name=out.stem, source=source)
    tuned = load_model(out)
    embeddings = embed(obj, model=tuned, survey=survey, errors="raise")
    return tuned, MLPHead(seed=seed).fit(embeddings, y)


def _inputs(found, model):
    """What the model takes of the records, shape (n, ...), and their modality."""
    failed = [record for record in found if isinstance(record, FailedRecord)]
    if failed:
        raise InputError(failed[0].reason, object_id=failed[0].object_id)
    if len(found) < _FEWEST:
        raise InputError(f"{len(found)} objects to learn from: expected at least {_FEWEST}")
    kinds = {record.modality for record in found}
    if len(kinds) > 1:
        raise InputError(f"{' and '.join(sorted(kinds))} among the objects: expected one modality")
    (modality,) = kinds
    batch = get_modality(modality).batch(found, model.preprocessing[modality], "cpu")
    lost = np.flatnonzero(batch.quality & Quality.NOT_EMBEDDED)
    if lost.size:
        names = ", ".join(Quality(int(batch.quality[lost[0]])).names)
        raise InputError(
            f"it has nothing to learn from ({names})", object_id=found[lost[0]].object_id
        )
    return batch.flux, modality


def _free(model, modality, blocks, rank):
    """Let gradients reach what is to be trained."""
    model.requires_grad_(False)
    encoder = getattr(model, f"{modality}_encoder", model)
    backbone = getattr(encoder, "backbone", encoder)
    layers = list(_blocks(backbone))
    if rank is None:
        if not 1 <= blocks <= len(layers):
            raise ValueError(f"blocks is {blocks}, expected 1 to {len(layers)}")
        for layer in layers[-blocks:]:
            layer.requires_grad_(True)
    else:
        linears = [m for layer in layers for m in layer.modules() if isinstance(m, nn.Linear)]
        for linear in linears:
            parametrize.register_parametrization(linear, "weight", LowRank(linear.weight, rank))
    for name, module in encoder.named_children():
        if name != "backbone" and encoder is not backbone:
            module.requires_grad_(True)


def _blocks(backbone):
    """Transformer blocks in order."""
    for chunk in backbone.blocks:
        yield from chunk.values() if isinstance(chunk, nn.ModuleDict) else (chunk,)


def _train(task, parts, epochs, progress):
    """Train, and put back the best state."""
    with TemporaryDirectory() as folder, quiet_lightning():
        best = ModelCheckpoint(folder, monitor="validation", save_weights_only=True)
        trainer = L.Trainer(
            max_epochs=epochs, accelerator="auto", devices=1, gradient_clip_val=1.0,
            logger=False, enable_model_summary=False, enable_progress_bar=progress,
            callbacks=[best, EarlyStopping("validation", patience=5)],
        )  # fmt: skip
        trainer.fit(task, *parts)
        state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
        task.load_state_dict(state)
