"""What a notebook shows: tables in HTML, and progress bars."""

import sys
import warnings
from html import escape

from tqdm import TqdmWarning

with warnings.catch_warnings():
    # Without ipywidgets a notebook gets a bar of text, which is nothing to be warned of.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

__all__ = ["html_table", "progress_bar"]

_LEFT = ' style="text-align: left"'  # notebooks have numbers in mind


def html_table(caption, rows, *, header=None, folded=False):
    """Write a table in HTML that has no colours of its own, and so those of the notebook's theme.

    Parameters
    ----------
    caption : object
        What it is about.
    rows : iterable of sequence
        Cells, the first of which is the heading of its row. They are shown as text, whatever is in
        it: markup is escaped, as names come from files.
    header : sequence of str, optional
        Headings of the columns.
    folded : bool
        Show the caption only, until it is clicked.

    Returns
    -------
    str

    Examples
    --------
    >>> from astroclip_astro.notebooks import html_table
    >>> "&lt;b&gt;" in html_table("stars", [("name", "<b>")])
    True
    """
    lines = []
    if header is not None:
        cells = "".join(f'<th scope="col"{_LEFT}>{escape(str(cell))}</th>' for cell in header)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    lines.append("<tbody>")
    for first, *others in rows:
        cells = "".join(f"<td{_LEFT}>{escape(str(cell))}</td>" for cell in others)
        lines.append(f'<tr><th scope="row"{_LEFT}>{escape(str(first))}</th>{cells}</tr>')
    lines.append("</tbody>")
    text, body = escape(str(caption)), "\n".join(lines)
    if folded:
        return f"<details><summary>{text}</summary><table>\n{body}\n</table></details>"
    return f"<table><caption{_LEFT}>{text}</caption>\n{body}\n</table>"


def progress_bar(iterable=None, *, progress=None, **options):
    """Show how far a loop is, as a widget in notebooks that have ipywidgets, else as text.

    Parameters
    ----------
    iterable : iterable, optional
        What is gone through; without it, the bar's ``update`` counts.
    progress : bool, optional
        Show the bar; by default only when the work takes more than two seconds, in a notebook or in
        an interactive terminal.
    **options : dict
        Passed to `tqdm.tqdm`: ``total``, ``unit``, ``desc``, ``initial``.

    Returns
    -------
    tqdm.tqdm
        Iterates over the same.

    Examples
    --------
    >>> from astroclip_astro.notebooks import progress_bar
    >>> sum(progress_bar(range(4)))
    6
    """
    # A kernel's streams are no terminals, but somebody looks at them; None asks the stream.
    watched = False if "ipykernel.zmqshell" in sys.modules else None
    disable = watched if progress is None else not progress
    return tqdm(iterable, delay=0 if progress else 2, disable=disable, **options)
