"""Tables of a benchmark as text, JSON and LaTeX, with all that has to be stated beside them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table

__all__ = ["Report"]

_LATEX_ESCAPES = str.maketrans({c: f"\\{c}" for c in "_%&#$"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """Tables, what they were made with, and what figures need.

    Parameters
    ----------
    tables : dict of astropy.table.Table
        "properties", "redshifts", "morphology" and "retrieval", those that there is data for. A
        column ``x_error`` is the standard error of ``x``; masked is what is not known.
    settings : dict
        Everything that has to be stated beside a figure, as text and numbers.
    predictions : dict of tuple
        By (input, model, head, property): true and predicted values of the test objects.
    ranks : dict of tuple
        By (model, direction): ranks of the galaxies sought, and the size of the pool.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroclip_astro.training.benchmark.report import Report
    >>> table = Table({"property": ["redshift"], "r2": [0.791], "r2_error": [0.012]})
    >>> print(Report(tables={"properties": table}, settings={"k": 64}))
    k: 64
    <BLANKLINE>
    properties
    property       r2
    -------- -------------
    redshift 0.791 ± 0.012
    """

    tables: dict
    settings: dict
    predictions: dict = field(default_factory=dict)
    ranks: dict = field(default_factory=dict)

    def __str__(self):
        parts = ["\n".join(f"{name}: {text}" for name, text in self.settings.items())]
        for name, table in self.tables.items():
            lines = _readable(table).pformat(max_lines=-1, max_width=-1)
            parts.append("\n".join([name, *(line.rstrip() for line in lines)]))
        return "\n\n".join(parts)

    def write(self, folder):
        """Write all tables as JSON and, one file each, as LaTeX.

        Parameters
        ----------
        folder : path-like
            Made if absent. ``benchmark.json`` and a ``.tex`` file per table are replaced in it.

        Returns
        -------
        list of pathlib.Path
            What was written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "settings": self.settings,
            "tables": {
                name: [{c: _plain(row[c]) for c in table.colnames} for row in table]
                for name, table in self.tables.items()
            },
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        written = [folder / "benchmark.json"]
        written[0].write_text(text, encoding="utf-8")
        for name, table in self.tables.items():
            written.append(folder / f"{name}.tex")
            _readable(table, latex=True).write(written[-1], format="ascii.latex", overwrite=True)
        return written


def _plain(value):
    """A cell as JSON has it."""
    if value is np.ma.masked:
        return None
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _readable(table, latex=False):
    """The same table as text, each value with its error in one column."""
    columns = {}
    for name in table.colnames:
        if name.removesuffix("_error") in table.colnames and name.endswith("_error"):
            continue
        errors = table[f"{name}_error"] if f"{name}_error" in table.colnames else None
        cells = []
        for i, value in enumerate(table[name]):
            cell = _cell(value)
            if errors is not None and cell:
                error = _cell(errors[i])
                cell = f"${cell} \\pm {error}$" if latex else f"{cell} ± {error}"
            elif latex:
                cell = cell.translate(_LATEX_ESCAPES).replace("→", r"$\to$")
            cells.append(cell)
        columns[name.translate(_LATEX_ESCAPES) if latex else name] = cells
    return Table(columns)


def _cell(value):
    value = _plain(value)
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
    return "" if value is None else str(value)
