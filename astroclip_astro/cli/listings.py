"""``astroclip models``, ``surveys`` and ``tasks``: what is there."""

import json
from dataclasses import asdict

import click

from astroclip_astro.plugins import get_manager

__all__ = ["models", "surveys", "tasks"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_as_json
def models(as_json):
    """List models; "bundled" ones work offline.

    Example: astroclip models
    """
    _listing("model", ("name", "modalities", "embed_dim", "parameters", "bundled"), as_json)


@click.command()
@_as_json
def surveys(as_json):
    """List surveys whose files are recognised.

    Example: astroclip surveys
    """
    _listing("survey", ("name", "modality"), as_json)


@click.command()
@_as_json
def tasks(as_json):
    """List what can be predicted; heads that are not "fitted" are yours to fit.

    Example: astroclip tasks
    """
    _listing("task", ("name", "fitted"), as_json)


def _listing(kind, columns, as_json):
    entries = [asdict(entry) for entry in get_manager().entries(kind).values()]
    if as_json:
        click.echo(json.dumps(entries, indent=2, default=str))
        return
    rows = [[_cell(entry[column]) for column in columns] for entry in entries]
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row, summary in zip(
        [columns, *rows], ["summary", *(entry["summary"] for entry in entries)], strict=True
    ):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join([*cells, summary]))


def _cell(value):
    if isinstance(value, (tuple, list)):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
