"""Folders that are parts of the package once it is installed, and lie beside it in a checkout."""

from pathlib import Path

__all__ = ["CATALOGS", "TEMPLATES"]

_PACKAGE = Path(__file__).parents[1]


def _folder(installed, checkout):
    found = _PACKAGE / installed
    beside = _PACKAGE.parent / checkout
    return beside if beside.is_dir() and not found.is_dir() else found


#: The recipes of catalogs that come along.
CATALOGS = _folder("catalogs", "catalogs")

#: What new plugins are made from.
TEMPLATES = _folder("template", "plugins/template")
