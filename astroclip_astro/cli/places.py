"""The option ``--source NAME=PATH``, which says where the data of a recipe are."""

from pathlib import Path

import click

__all__ = ["source_option"]


def source_option(text):
    """Give a command the option ``--source``, which may come again.

    Parameters
    ----------
    text : str
        Its help.

    Returns
    -------
    callable
        Decorator; the command gets ``sources``, a dict of pathlib.Path by name.
    """
    return click.option(
        "--source", "sources", multiple=True, metavar="NAME=PATH", callback=_places, help=text
    )


def _places(context, option, given):
    places = {}
    for one in given:
        name, equals, place = one.partition("=")
        if not (name and equals and place):
            raise click.BadParameter(f"{one!r}: expected NAME=PATH", param_hint="--source")
        places[name] = Path(place).expanduser()
    return places
