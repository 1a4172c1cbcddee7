"""What commands print: text for people, or JSON for programs and nothing beside it."""

import json
import math
import sys
from contextlib import nullcontext, redirect_stdout
from functools import wraps

import click

__all__ = ["aligned", "printing", "report_table"]


def printing(command):
    r"""Give a command the option ``--json``, and `report`, by which it says what it found.

    Parameters
    ----------
    command : callable
        What the command does. It calls ``report(result, text)`` once: `result`, dicts and lists, is
        printed as JSON if that is asked for, else the `text`, or its lines.

    Returns
    -------
    callable
        What click makes a command of. With ``--json`` whatever else is written to stdout meanwhile,
        by a progress bar or a library, goes to stderr.

    Examples
    --------
    >>> import click
    >>> from click.testing import CliRunner
    >>> from astroclip_astro.cli.printing import printing
    >>> @click.command()
    ... @printing
    ... def count(report):
    ...     report({"objects": 3}, "3 objects")
    >>> CliRunner().invoke(count, []).stdout
    '3 objects\n'
    >>> CliRunner().invoke(count, ["--json"]).stdout
    '{\n  "objects": 3\n}\n'
    """

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(command)
    def run(*args, as_json, **kwargs):
        stdout = sys.stdout

        def report(result, text):
            if as_json:
                text = json.dumps(_jsonable(result), indent=2, default=str, allow_nan=False)
            elif not isinstance(text, str):
                text = "\n".join(text)
            click.echo(text, file=stdout)

        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            return command(*args, report=report, **kwargs)

    return run


def report_table(table, output, report):
    """Print a table, or write it to a file.

    Parameters
    ----------
    table : astropy.table.Table
        What was found, an object a row; ``reason``, if it has one, says why a row has no answer.
    output : pathlib.Path or None
        The file, checked by `astroclip_astro.output.check_target`; None prints.
    report : callable
        That of the command.
    """
    from astroclip_astro.output import replacing
    from astroclip_astro.table_files import write_tables

    if output is not None:
        with replacing(output) as aside:
            write_tables([table], aside, {"attrs": dict(table.meta)}, rows=len(table))
        result = {"output": output, "objects": len(table)}
        text = f"{len(table)} objects → {output}"
        if "reason" in table.colnames:
            result["answered"] = good = sum(reason == "" for reason in table["reason"])
            text = f"{good} of {text}"
        report(result, text)
        return
    columns = [
        {
            "name": name,
            "unit": str(table[name].info.unit or ""),
            "description": table[name].info.description or "",
        }
        for name in table.colnames
    ]
    values = [_values(table[name]) for name in table.colnames]
    rows = [dict(zip(table.colnames, row, strict=True)) for row in zip(*values, strict=True)]
    result = {"meta": dict(table.meta), "columns": columns, "rows": rows}
    report(result, table.pformat(max_lines=-1, max_width=-1))


def aligned(rows):
    """Lines of a listing.

    Parameters
    ----------
    rows : sequence of sequence of str
        Their cells, as many in each.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from astroclip_astro.cli.printing import aligned
    >>> aligned([("name", "summary"), ("desi", "files of DESI")])
    ['name  summary', 'desi  files of DESI']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _values(column):
    """Values of a column without their unit, and None where they are masked."""
    import numpy as np

    values = getattr(column, "value", column)
    masked = np.broadcast_to(getattr(values, "mask", False), np.shape(values))
    plain = np.ma.getdata(getattr(values, "unmasked", values)).astype(object)
    plain[masked] = None
    return plain.tolist()


def _jsonable(value):
    """The same as JSON has it, in which there is no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {str(key): _jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(one) for one in value]
    if hasattr(value, "tolist"):  # NumPy's, which listings need not import
        return _jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
