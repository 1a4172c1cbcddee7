"""Embedding files in several processes, each with a model of its own; in order, and bounded."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import count, islice
from logging.handlers import QueueHandler
from math import inf
from multiprocessing.connection import wait
from queue import SimpleQueue

import torch

from astroclip_astro.devices import as_device
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import AstroclipError
from astroclip_astro.inputs import records
from astroclip_astro.models import GalaxyModel
from astroclip_astro.pipeline.batches import embedded, usual_batch
from astroclip_astro.weights import as_model

__all__ = ["embed_in_processes", "gathered", "resized", "several"]

_BATCHES = 4  # that a process is given files for at a time, so that it reads ahead

# How long a process that is to end may go on sending, in seconds: half an answer would leave the
# parent waiting for the other half.
_PATIENCE = 1.0

# Of a process that embeds: with which model, how, whether it is at it, and what it has logged.
_mine = {"busy": False}
_leaving = threading.Lock()  # held by what makes a process end, and where its answers go out


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
        Gone through lazily, in the calling thread: at most eight batches for each process ahead of
        what is asked for.
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
        If a process ends before its time, or they have decided upon different types.
    """
    if isinstance(model, GalaxyModel):
        raise TypeError(
            "with several processes, each loads the model: give its name or file, not a loaded one"
        )
    if isinstance(files, str | os.PathLike) or not hasattr(files, "__iter__"):
        raise TypeError("several processes are for an iterable of paths of files")
    devices = [str(one) for one in device] if isinstance(device, list | tuple) else None
    devices = devices or [str(as_device() if device == "auto" else device)] * workers
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
    batch_size = settings["batch_size"] or max(map(usual_batch, devices))
    shares = _shares(iter(files), len(devices), batch_size)
    running, done, dtype = deque(), 0, None
    level = logging.getLogger("astroclip_astro").getEffectiveLevel()
    pool = ProcessPoolExecutor(
        len(devices), context, _begin, (places, told, len(devices), level, settings)
    )
    finished = False
    try:
        while True:
            while len(running) < 2 * len(devices) and (paths := next(shares, None)):
                running.append((paths, pool.submit(_work, paths)))
            if not running:
                break
            paths, job = running[0]
            part, logged = job.result()
            running.popleft()
            for record in logged:
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            dtype = dtype or part.attrs["dtype"]
            if part.attrs["dtype"] != dtype:
                raise AstroclipError(
                    f"one process computes in {dtype} and another one in {part.attrs['dtype']}, as "
                    "'auto' leaves it to each of them: choose one by dtype="
                )
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
            mine.close()  # which ends them, but for what they are sending
        pool.shutdown(cancel_futures=True)
        told.close()
        mine.close()


def _shares(files, processes, batch_size):
    """Paths for one process at a time, fewer at first, so that all soon have something to do.

    They are whole batches, if there is one object in each file: then the batches, and with them
    the last digits of the vectors, are those that one process would make.
    """
    for number in count():
        batches = 1 if number < 2 * processes else _BATCHES
        paths = [_path(one) for one in islice(files, batches * batch_size)]
        if not paths:
            return
        yield paths


def _path(one):
    try:
        return os.fspath(one)
    except TypeError as error:
        raise TypeError(
            f"several processes are for paths of files, not for a {type(one).__name__}"
        ) from error


def _begin(places, told, processes, level, settings):
    """Prepare a process: it ends with its parent, and when that closes the other end of `told`."""
    sys.stdout = sys.stderr  # the parent's stdout is for what it prints itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to act upon
    threading.Thread(target=_end_with, args=(told,), daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    _mine.update(settings, device=places.get(), log=SimpleQueue())
    logger = logging.getLogger("astroclip_astro")
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(QueueHandler(_mine["log"]))


def _end_with(told):
    with suppress(OSError):
        wait([told])
    _leaving.acquire()
    if not _mine["busy"]:  # it may be sending
        time.sleep(_PATIENCE)
    os._exit(1)


def _work(paths):
    """Embed files; gives the embeddings, and what was logged."""
    _mine["busy"] = True
    try:
        return _embedded(paths)
    finally:
        with _leaving:
            _mine["busy"] = False


def _embedded(paths):
    model = as_model(_mine["model"], _mine["device"], _mine["dtype"])
    about = {"preprocessing": model.preprocessing, "survey": _mine["survey"]}
    groups = (records(path, **about) for path in paths)
    how = {name: _mine[name] for name in ("batch_size", "raising", "date")}
    ((_, part),) = embedded(groups, model, size=inf, **how)
    log = _mine["log"]
    return part, [log.get() for _ in range(log.qsize())]
