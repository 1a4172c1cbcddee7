"""Heads that are small networks: training that stops when held-out objects no longer gain."""

import copy

import torch

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.base import Head

__all__ = ["NetworkHead", "fit_network"]

_FEWEST = 20  # a tenth of fewer objects says nothing about when to stop
_RATE, _DECAY = 1e-3, 1e-4
# Rows a step; of few, so many that a pass has ten steps, or patience would end before anything is
# learned.
_LEAST, _MOST, _STEPS = 8, 256, 10
_PREFIX = "network."


def fit_network(module, loss, tensors, *, max_epochs, patience, seed):
    """Train a module with AdamW until a held-out tenth has not improved for some epochs.

    Each quarter of these without improvement, the learning rate falls to a third.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place; it ends with the weights that were best for the held-out tenth.
    loss : callable
        Takes the module and some rows of each of the tensors, returns a scalar.
    tensors : tuple of torch.Tensor
        What to learn from, all of n rows.
    max_epochs, patience : int
        Most passes, and for how many of them there may be no improvement.
    seed : int
        Of the order and of who is held out.

    Returns
    -------
    torch.nn.Module
        The module, in evaluation mode.

    Raises
    ------
    InputError
        If there are fewer than 20 rows.
    """
    n = len(tensors[0])
    if n < _FEWEST:
        raise InputError(f"{n} objects to learn from: expected at least {_FEWEST} for a network")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(n)
        held, learned = order[: max(n // 10, 2)], order[max(n // 10, 2) :]
        batch = min(max(len(learned) // _STEPS, _LEAST), _MOST)
        optimizer = torch.optim.AdamW(module.parameters(), lr=_RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=1 / 3, patience=patience // 4
        )
        best, best_state, since = float("inf"), copy.deepcopy(module.state_dict()), 0
        for _ in range(max_epochs):
            module.train()
            for rows in learned[torch.randperm(len(learned))].split(batch):
                optimizer.zero_grad()
                loss(module, *(tensor[rows] for tensor in tensors)).backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
                optimizer.step()
            module.eval()
            with torch.no_grad():
                now = loss(module, *(tensor[held] for tensor in tensors)).item()
            schedule.step(now)
            if now < best:
                best, best_state, since = now, copy.deepcopy(module.state_dict()), 0
            elif (since := since + 1) >= patience:
                break
    module.load_state_dict(best_state)
    return module.eval().requires_grad_(False)


class NetworkHead(Head):
    """A head whose learned part is the module ``network_``, as its ``_network()`` builds it.

    Of its parameters, `max_epochs`, `patience` and `seed` are those of `fit_network`.
    """

    def _train(self, loss, x, y):
        """Fit a new network to arrays of n rows."""
        tensors = torch.as_tensor(x).float(), torch.as_tensor(y).float()
        self.network_ = fit_network(
            self._seeded(), loss, tensors,
            max_epochs=self.max_epochs, patience=self.patience, seed=self.seed,
        )  # fmt: skip

    def _seeded(self):
        """A network with the initial weights that the seed gives."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self._network()

    def _arrays(self):
        state = self.network_.state_dict()
        return super()._arrays() | {_PREFIX + name: tensor for name, tensor in state.items()}

    def _restore(self, arrays, about):
        super()._restore(arrays, about)
        state = {k.removeprefix(_PREFIX): v for k, v in arrays.items() if k.startswith(_PREFIX)}
        network = self._seeded()
        network.load_state_dict(state)
        self.network_ = network.eval().requires_grad_(False)
