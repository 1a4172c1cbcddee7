"""``astroclip plugins``, ``models``, ``surveys`` and ``tasks``: what is there."""

import json
from dataclasses import asdict

import click

from astroclip_astro.plugins import get_manager

__all__ = ["models", "plugins", "surveys", "tasks"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_as_json
@click.pass_context
def plugins(ctx, as_json):
    """List plugins, what they register, and what is wrong with them.

    JSON has the tracebacks, too.

    Example: astroclip plugins --json
    """
    from astroclip_astro.cli.main import main

    main.list_commands(ctx)  # asks plugins for their commands, which can fail like any hook
    found = get_manager().plugins()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for plugin in found:
        about = (f"{plugin['distribution']} {plugin['version']}".strip(), plugin["status"])
        click.echo(f"{plugin['name']}  ({', '.join(filter(None, about))})")
        for kind, names in plugin["entries"].items():
            click.echo(f"    {kind}: {', '.join(names)}")
        for failure in plugin["failures"]:
            click.echo(f"    FAILED in {failure['where']}: {failure['message']}")


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
