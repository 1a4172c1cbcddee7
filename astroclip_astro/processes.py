"""Embedding files in several processes, each with a model of its own; in order, and bounded."""

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from logging.handlers import QueueHandler
from math import inf
from multiprocessing.connection import wait
from queue import SimpleQueue

import torch

from astroclip_astro.embeddings import concat
from astroclip_astro.errors import AstroclipError
from astroclip_astro.inputs import records
from astroclip_astro.models import GalaxyModel
from astroclip_astro.pipeline import embedded
from astroclip_astro.weights import as_model

__all__ = ["embed_in_processes", "gathered", "resized", "several"]

_FILES = 32  # that a process is given at a time

# Of a process that embeds: with which model, how, and what it has logged.
_mine = {}


def several(workers, device):
    """Whether embedding takes processes of its own.

    Parameters
    ----------
    workers : int or None
        How many are asked for.
    device : object
        As `astroclip_astro.embed` takes it.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the number is less than 1, or both it and a list of devices are given.
    """
    listed = isinstance(device, list | tuple)
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    if listed and (workers is not None or not device):
        raise ValueError("a list of devices gives one process to each: leave workers= away")
    return listed or workers is not None


def embed_in_processes(files, model, device, workers, *, batch_size, **settings):
    """Embed files in several processes.

    Parameters
    ----------
    files : iterable of path-like
        Gone through lazily, in the calling thread.
    model : str or path-like, optional
        Which model each process loads.
    device : str or list of str
        For all of them, or for each.
    workers : int or None
        How many processes, if no list of devices says so.
    batch_size : int, optional
        Objects per forward pass.
    **settings : dict
        ``survey``, ``dtype``, ``raising`` and ``date``.

    Returns
    -------
    generator
        Of pairs: how many files were embedded so far (int), and the embeddings of those that are
        new (xarray.DataArray), in the order of the files. Closing it ends the processes.

    Raises
    ------
    TypeError
        If what is given is no iterable of paths, or the model is a loaded one.
    AstroclipError
        If a process ends before its time.
    """
    if isinstance(model, GalaxyModel):
        raise TypeError(
            "with several processes, each loads the model: give its name or file, not a loaded one"
        )
    if isinstance(files, str | os.PathLike) or not hasattr(files, "__iter__"):
        raise TypeError("several processes are for an iterable of paths of files")
    devices = [str(one) for one in device] if isinstance(device, list | tuple) else None
    devices = devices or [str(device)] * workers
    model = None if model is None else os.fspath(model)
    return _embed(files, devices, {"model": model, "batch_size": batch_size} | settings)


def gathered(parts, size):
    """Put small parts together.

    Parameters
    ----------
    parts : iterable of tuple of int, xarray.DataArray
        As `embed_in_processes` gives them.
    size : int
        Least number of objects in all new parts but the last one.

    Yields
    ------
    files : int
        How many files are in this part and those before it.
    part : xarray.DataArray
        The new part.
    """
    files, held = 0, []
    for files, part in parts:
        held.append(part)
        if sum(map(len, held)) >= size:
            yield files, concat(held)
            held = []
    if held:
        yield files, concat(held)


def resized(parts, size):
    """Put parts together, and cut them anew.

    Parameters
    ----------
    parts : iterable of tuple of int, xarray.DataArray
        As `embed_in_processes` gives them.
    size : int
        Number of objects in all new parts but the last one.

    Yields
    ------
    files : int
        How many files were embedded for this part and those before it.
    part : xarray.DataArray
        The new part.
    """
    files, left = 0, []
    for files, part in gathered(parts, size):
        whole = concat([*left, part])
        full = len(whole) - len(whole) % size
        for start in range(0, full, size):
            yield files, whole[start : start + size]
        left = [whole[full:]]
    if left and len(left[0]):
        yield files, left[0]


def _embed(files, devices, settings):
    context = multiprocessing.get_context("spawn")  # a fork would not survive torch's threads
    told, mine = context.Pipe(duplex=False)
    places = context.SimpleQueue()
    for device in devices:
        places.put(device)
    files, running, done = iter(files), deque(), 0
    pool = ProcessPoolExecutor(
        len(devices), context, _begin, (places, told, len(devices), settings)
    )
    finished = False
    try:
        while True:
            while len(running) < 2 * len(devices) and (some := list(islice(files, _FILES))):
                paths = [_path(one) for one in some]
                running.append((paths, pool.submit(_work, paths)))
            if not running:
                break
            paths, job = running[0]
            part, logged = job.result()
            running.popleft()
            for record in logged:
                logging.getLogger(record.name).handle(record)
            done += len(paths)
            yield done, part
        finished = True
    except BrokenProcessPool as error:
        lost = [path for paths, _ in running for path in paths]
        raise AstroclipError(
            f"a process ended while it embedded, perhaps for lack of memory: {done} files are "
            f"done, {lost[0]} and {len(lost) - 1} after it are lost. Use fewer workers, or a "
            "smaller batch_size; a script that asks for workers needs if __name__ == '__main__':"
        ) from error
    finally:
        if not finished:
            mine.close()  # which ends them, whatever they are at
        pool.shutdown(cancel_futures=True)
        told.close()
        mine.close()


def _path(one):
    try:
        return os.fspath(one)
    except TypeError as error:
        raise TypeError(
            f"several processes are for paths of files, not for a {type(one).__name__}"
        ) from error


def _begin(places, told, count, settings):
    """Prepare a process: it ends with its parent, and when that closes the other end of `told`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to act upon
    threading.Thread(target=_end_with, args=(told,), daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    _mine.update(settings, device=places.get(), log=SimpleQueue())
    logger = logging.getLogger("astroclip_astro")
    logger.propagate = False
    logger.addHandler(QueueHandler(_mine["log"]))


def _end_with(told):
    with suppress(OSError):
        wait([told])
    os._exit(1)


def _work(paths):
    """Embed files; gives the embeddings, and what was logged."""
    model = as_model(_mine["model"], _mine["device"], _mine["dtype"])
    about = {"preprocessing": model.preprocessing, "survey": _mine["survey"]}
    groups = (records(path, **about) for path in paths)
    how = {name: _mine[name] for name in ("batch_size", "raising", "date")}
    ((_, part),) = embedded(groups, model, size=inf, **how)
    log = _mine["log"]
    return part, [log.get() for _ in range(log.qsize())]
