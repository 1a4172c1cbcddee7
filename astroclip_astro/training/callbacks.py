"""What happens between the steps of a run: chance, checkpoints, and when it stops."""

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from astroclip_astro.training.chance import seed_of

__all__ = ["NonFiniteLossError"]


class NonFiniteLossError(FloatingPointError):
    """The loss is NaN or infinite; the message names the objects."""


class SeedEachStep(L.Callback):
    """Lets the seed, the step and the process decide all chance in a step, and nothing else.

    Validation has seeds of its own and leaves training as it was.

    Parameters
    ----------
    seed : int
        Of the run.
    """

    def __init__(self, seed):
        self.seed = seed
        self._before = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """Seed a training batch."""
        number = trainer.global_step * trainer.accumulate_grad_batches
        number += trainer.fit_loop.epoch_loop.batch_progress.current.ready % max(
            1, trainer.accumulate_grad_batches
        )
        torch.manual_seed(seed_of(self.seed, 0, number, trainer.global_rank))

    def on_validation_start(self, trainer, pl_module):
        """Keep the state of chance."""
        self._before = torch.get_rng_state()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        """Seed a validation batch."""
        torch.manual_seed(seed_of(self.seed, 1, batch_idx, trainer.global_rank))

    def on_validation_end(self, trainer, pl_module):
        """Give the state back."""
        torch.set_rng_state(self._before)


class StopAtNonFinite(L.Callback):
    """Stops before a NaN gets into the weights, and says which objects made it."""

    def __init__(self):
        self._batch = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """Remember the batch."""
        self._batch = batch

    def on_before_backward(self, trainer, pl_module, loss):
        """Look at the loss."""
        if torch.isfinite(loss):
            return
        batches = [one for one in (self._batch, self._batch.repeat) if one is not None]
        raise NonFiniteLossError(
            f"the loss is {loss.item()} at step {trainer.global_step}; "
            f"{_offenders(trainer, pl_module, batches)}. The last checkpoint is unharmed: take "
            "these objects out, or lower the learning rate, and go on"
        )

    def on_validation_end(self, trainer, pl_module):
        """Look at the loss of the validation."""
        loss = trainer.callback_metrics.get("val/loss")
        if loss is None or torch.isfinite(loss):
            return
        # The batches are always the same, so that none has to be kept for this.
        batches = (one.to(pl_module.device) for one in trainer.val_dataloaders)
        raise NonFiniteLossError(
            f"the loss of the validation is {loss.item()} at step {trainer.global_step}; "
            f"{_offenders(trainer, pl_module, batches)}. The last checkpoint is from before: take "
            "these objects out, or lower the learning rate, and go on"
        )


def _offenders(trainer, module, batches):
    """Tell which objects a loss that is not finite comes from, and how that is known."""
    names, no_flux, no_vector = [], [], []
    for batch in batches:
        finite = torch.ones(len(batch), dtype=torch.bool)
        vectors = finite.clone()
        with torch.no_grad():
            for modality in ("spectrum", "image"):
                data = getattr(batch, modality)
                if data is None or modality not in module.model.modalities:
                    continue
                finite &= data.flatten(1).isfinite().all(1).cpu()
                for i in range(len(batch)):
                    try:
                        made = module.model.encode(data[i : i + 1], modality)
                    except (ValueError, RuntimeError):
                        vectors[i] = False
                    else:
                        vectors[i] &= bool(made.isfinite().all())
        own = [str(name) for name in batch.object_id]
        names += own
        no_flux += [name for name, good in zip(own, finite.tolist(), strict=True) if not good]
        no_vector += [name for name, good in zip(own, vectors.tolist(), strict=True) if not good]
    if no_flux:
        names, why = no_flux, "not finite is the flux of"
    elif no_vector:
        names, why = no_vector, "no finite vector has"
    elif trainer.world_size > 1:
        return (
            "each object of this process by itself is fine: what is at fault may be in the batch "
            "of another process, whose message names it"
        )
    else:
        why = "each object by itself is fine, so all of the batch are named"
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{why}: {', '.join(names[:20])}{more}"


class KeepLast(Checkpoint):
    """Writes the checkpoint from which a run goes on.

    Where a step is followed by a validation, it is written after that: a run that goes on does not
    repeat the validation, and needs what came of it, such as how long the loss has not fallen.

    Parameters
    ----------
    path : pathlib.Path
        File.
    every : int
        Steps between checkpoints; there is one after each validation, too.
    validate_every : int or None
        Steps between validations, if there are any.
    """

    def __init__(self, path, every, validate_every):
        self.path, self.every, self.validate_every = path, every, validate_every
        self._written = 0

    def on_train_start(self, trainer, pl_module):
        """Note what a run goes on from."""
        self._written = trainer.global_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Write after some steps; several batches may be one step."""
        step = trainer.global_step
        validates = self.validate_every is not None and step % self.validate_every == 0
        if step != self._written and step % self.every == 0 and not validates:
            self._write(trainer)

    def on_validation_end(self, trainer, pl_module):
        """Write after a validation; callbacks of this kind come last."""
        self._write(trainer)

    def _write(self, trainer):
        trainer.save_checkpoint(self.path)
        self._written = trainer.global_step


class Patience(EarlyStopping):
    """Stops when validation no longer gets better, and stays so when the run is started again."""

    def on_fit_start(self, trainer, pl_module):
        """Stop before the first step, if the checkpoint is of a run that was stopped."""
        trainer.should_stop = self.wait_count >= self.patience


class SeenRange(L.Callback):
    """Keeps the lowest and highest mean flux that was trained on."""

    def __init__(self):
        self.range = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Take a batch into account."""
        for modality in ("spectrum", "image"):
            data = getattr(batch, modality)
            if data is not None:
                mean = data.flatten(1).mean(1)
                low, high = self.range.get(modality, (float("inf"), float("-inf")))
                self.range[modality] = (
                    min(low, mean.min().item()),
                    max(high, mean.max().item()),
                )

    def state_dict(self):
        """State for the checkpoint."""
        return {"range": {name: list(pair) for name, pair in self.range.items()}}

    def load_state_dict(self, state_dict):
        """State from the checkpoint."""
        self.range = {name: tuple(pair) for name, pair in state_dict["range"].items()}
