"""``astroclip models``, ``surveys`` and ``tasks``: what is there."""

from dataclasses import asdict

import click

from astroclip_astro.cli.printing import aligned, printing
from astroclip_astro.plugins import get_manager

__all__ = ["listing", "models", "surveys", "tasks"]


@click.command()
@printing
def models(report):
    """List models; "bundled" ones work offline.

    Example: astroclip models
    """
    listing("model", ("name", "modalities", "embed_dim", "parameters", "bundled"), report)


@click.command()
@printing
def surveys(report):
    """List surveys whose files are recognised.

    Example: astroclip surveys
    """
    listing("survey", ("name", "modality"), report)


@click.command()
@printing
def tasks(report):
    """List what can be predicted; heads that are not "fitted" are yours to fit.

    Example: astroclip tasks
    """
    listing("task", ("name", "fitted"), report)


def listing(kind, columns, report):
    """List what is registered.

    Parameters
    ----------
    kind : str
        Of which kind.
    columns : tuple of str
        What to tell of each, before its summary; as JSON, everything is told.
    report : callable
        That of the command.
    """
    entries = [asdict(entry) for entry in get_manager().entries(kind).values()]
    columns = (*columns, "summary")
    rows = [[_cell(entry[column]) for column in columns] for entry in entries]
    report(entries, aligned([columns, *rows]))


def _cell(value):
    if isinstance(value, (tuple, list)):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
