"""What takes longer than a click may, done in other threads."""

from concurrent.futures import ThreadPoolExecutor

__all__ = ["Later", "soon"]

# Attention, predictions, small pictures: of all pages together.
_WORKERS = ThreadPoolExecutor(2, thread_name_prefix="astroclip-explorer")
# Dropped files wait for one another; in more threads than may wait, so that the others are refused.
_FILES = ThreadPoolExecutor(16, thread_name_prefix="astroclip-files")


class Later:
    """Work of one page, one of a kind at a time.

    Of what is asked for meanwhile, the newest of a kind comes after it: nobody wants to see the
    others, and nobody can keep the threads from other pages.

    Parameters
    ----------
    document : bokeh.document.Document or None
        Of the page.
    lock : threading.RLock
        Held while the page is changed.
    """

    def __init__(self, document, lock):
        self._document, self._lock = document, lock
        self._busy, self._next = set(), {}

    def do(self, kind, work, then):
        """Do something in another thread, and something with its outcome in that of the page.

        Parameters
        ----------
        kind : str
            What is asked for; "file" for dropped files.
        work : callable
            Called without arguments.
        then : callable
            Called with the concurrent.futures.Future of the work.
        """
        if kind in self._busy:
            self._next[kind] = work, then
            return
        self._busy.add(kind)

        def finish(future):
            def show():
                with self._lock:
                    self._busy.discard(kind)
                    then(future)
                    if kind in self._next:
                        self.do(kind, *self._next.pop(kind))

            soon(self._document, show)

        pool = _FILES if kind == "file" else _WORKERS
        pool.submit(work).add_done_callback(finish)


def soon(document, function):
    """Call something in the thread of a page; in a notebook, at once.

    Parameters
    ----------
    document : bokeh.document.Document or None
        Of the page.
    function : callable
        Called without arguments.
    """
    if document is None or document.session_context is None:
        function()
    else:
        document.add_next_tick_callback(function)
