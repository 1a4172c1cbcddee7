"""Going through an iterable ahead of need: in a thread of its own, as far as there is room."""

import contextvars
import threading
from queue import SimpleQueue

from astroclip_astro.plugins.limit import importing

__all__ = ["read_ahead"]

# How long to wait for a thread that is to end, in seconds. One that is held up by then, such as by
# an archive that does not answer, is left behind: as a daemon it does not hold up the process.
_PATIENCE = 2.0


def read_ahead(iterable, most=2):
    """Go through an iterable in a thread of its own, so that it works while its items are used.

    Parameters
    ----------
    iterable : iterable
        It is advanced, and closed if it is a generator, by that one thread only.
    most : int
        How many items may be ready, or in the making, before they are asked for.

    Yields
    ------
    object
        The same items in the same order. What the iterable raises is raised after those that
        came before.

    Notes
    -----
    Close it (`contextlib.closing`), or go through to its end: then the thread ends, too. Nothing
    begins before the first item is asked for.

    Within an import there is no thread: it would wait for modules that the importing one holds.

    Examples
    --------
    >>> from contextlib import closing
    >>> from itertools import count
    >>> from astroclip_astro.pipeline.ahead import read_ahead
    >>> with closing(read_ahead(count())) as numbers:
    ...     [next(numbers) for _ in range(3)]
    [0, 1, 2]
    """
    if importing():
        yield from iterable
        return
    room, found, stopped = threading.Semaphore(most), SimpleQueue(), threading.Event()

    def run():
        iterator = None
        try:
            iterator = iter(iterable)
            while True:
                room.acquire()
                if stopped.is_set():
                    return
                try:
                    item = next(iterator)
                except StopIteration:
                    found.put((False, None))
                    return
                found.put((True, item))
                del item  # what was used is not to be held until there is room for the next
        except BaseException as error:
            found.put((False, error))
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    context = contextvars.copy_context()  # such as numpy.errstate of the caller
    thread = threading.Thread(target=context.run, args=(run,), name="astroclip-ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, item = found.get()
            if not more:
                break
            room.release()
            yield item
            del item
        if item is not None:
            raise item
    finally:
        stopped.set()
        room.release()
        thread.join(_PATIENCE)
