"""New plugins: working packages to be edited."""

import re
from importlib.util import find_spec
from pathlib import Path

from astroclip_astro.errors import PluginError
from astroclip_astro.plugins.folders import TEMPLATES
from astroclip_astro.plugins.manager import get_manager

__all__ = ["KINDS", "new_plugin"]

#: What there are templates for.
KINDS = ("survey", "modality", "task", "source")

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new_plugin(name, kind, folder=None):
    """Write a plugin that works, to be edited.

    Parameters
    ----------
    name : str
        Of the plugin, and of what it registers: lower-case letters, digits and hyphens.
    kind : {"survey", "modality", "task", "source"}
        What it registers.
    folder : path-like, optional
        Where to write, by default ``astroclip-NAME`` here. It must not exist.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    PluginError
        If the name is malformed or in use.
    FileExistsError
        If the folder exists.
    ValueError
        If there is no such kind.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.plugins.template import new_plugin
    >>> with TemporaryDirectory() as parent:
    ...     folder = new_plugin("low-z", "survey", Path(parent, "astroclip-low-z"))
    ...     sorted(path.name for path in folder.iterdir())
    ['README.md', 'astroclip_low_z', 'pyproject.toml', 'tests']
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    _check_name(name, kind)
    folder = Path(folder or f"astroclip-{name}")
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} exists: choose another folder, or remove it")
    # The templates are a plugin themselves, named my-plugin in the three spellings of a name.
    spellings = {
        "my-plugin": name,
        "my_plugin": _module(name),
        "MyPlugin": "".join(part.capitalize() for part in name.split("-")),
    }
    # All is read before anything is written: no half of a plugin is left.
    texts = {
        _replaced(path.as_posix(), spellings): _replaced(text, spellings)
        for path, text in _template(kind).items()
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _template(kind):
    """Texts by path, without what systems and tools leave in folders that are looked into."""
    paths = [path.relative_to(TEMPLATES / kind) for path in sorted((TEMPLATES / kind).rglob("*"))]
    return {
        path: (TEMPLATES / kind / path).read_text(encoding="utf-8")
        for path in paths
        if (TEMPLATES / kind / path).is_file() and not any(map(_stray, path.parts))
    }


def _stray(name):
    return name.startswith(".") or name == "__pycache__" or name.endswith((".egg-info", ".pyc"))


def _check_name(name, kind):
    if not _NAME.fullmatch(name):
        raise PluginError(
            f"{name!r} is no name for a plugin: expected lower-case letters, digits and single "
            "hyphens, such as low-z, beginning with a letter"
        )
    manager = get_manager()
    if name in manager.entries(kind):
        owner = manager.owner(kind, name)
        raise PluginError(
            f"plugin {owner.name!r} ({owner.distribution}) already registers a {kind} named "
            f"{name!r}: choose another name"
        )
    for plugin in manager.found:
        if plugin.name == name:
            raise PluginError(
                f"{plugin.distribution} already brings a plugin named {name!r}: choose another name"
            )
    if find_spec(f"astroclip_{_module(name)}") is not None:
        raise PluginError(
            f"there is a package astroclip_{_module(name)} already: choose another name"
        )


def _module(name):
    return name.replace("-", "_")


def _replaced(text, spellings):
    for placeholder, spelling in spellings.items():
        text = text.replace(placeholder, spelling)
    return text
