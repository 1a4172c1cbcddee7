"""Finding plugins: which are installed, which are wanted, which functions of theirs are hooks."""

import difflib
import inspect
import logging
from dataclasses import dataclass
from importlib.metadata import entry_points

from astroclip_astro.plugins.hookspecs import GROUP, HookSpecs

__all__ = ["HOOKS", "Plugin", "find_plugins", "misnamed_hooks"]

log = logging.getLogger(__name__)

#: Names of all hooks.
HOOKS = tuple(name for name in vars(HookSpecs) if name.startswith("register_"))

_ONLY, _BLOCKED = "ASTROCLIP_PLUGINS", "ASTROCLIP_BLOCK_PLUGINS"


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin that was found, whether it works or not.

    Parameters
    ----------
    name : str
        Name of its entry point.
    distribution, version : str
        What was installed to get it.
    module : str
        What the entry point names.
    status : {"loaded", "blocked", "failed"}
        What became of it; one that is loaded can still have failures.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: str = "loaded"

    @property
    def package(self):
        """Top-level package of its module (str)."""
        return self.module.partition(":")[0].partition(".")[0]


def find_plugins(environ):
    """Find the installed plugins, without importing any.

    Parameters
    ----------
    environ : mapping
        Environment variables. ``ASTROCLIP_PLUGINS`` names the only plugins to load, separated by
        commas (empty for none); ``ASTROCLIP_BLOCK_PLUGINS`` those not to load.

    Returns
    -------
    list of (Plugin, EntryPoint)
        In the order of distribution and name; the unwanted ones have the status ``"blocked"``.
    """
    points = entry_points(group=GROUP)
    installed = {point.name for point in points}
    only, blocked = (
        None if environ.get(variable) is None else _names(environ, variable, installed)
        for variable in (_ONLY, _BLOCKED)
    )
    found = []
    for point in points:
        wanted = only is None or point.name in only
        distribution, version = _origin(point)
        plugin = Plugin(
            name=point.name,
            distribution=distribution,
            version=version,
            module=point.value,
            status="loaded" if wanted and point.name not in (blocked or ()) else "blocked",
        )
        found.append((plugin, point))
    return sorted(found, key=lambda pair: (pair[0].distribution.lower(), pair[0].name))


def misnamed_hooks(plugin, module, manager):
    """Find functions that look like hooks and will never be called.

    Parameters
    ----------
    plugin : Plugin
        The plugin.
    module : object
        What its entry point names.
    manager : pluggy.PluginManager
        Knows the marks of hooks.

    Yields
    ------
    name, problem : str
        The function, and what is wrong with it.
    """
    for attribute, function in inspect.getmembers_static(module, inspect.isroutine):
        options = manager.parse_hookimpl_opts(module, attribute)
        name = (options or {}).get("specname") or attribute
        close = difflib.get_close_matches(name, HOOKS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"hooks are {', '.join(HOOKS)}"
        if options is not None:
            if name not in HOOKS:
                yield attribute, f"there is no hook {name}; {hint}"
        elif name.startswith("register_") and _is_of(function, plugin):
            if name in HOOKS:
                yield attribute, "it is not marked with @hookimpl, so it is not called"
            else:
                yield attribute, f"there is no hook {name}, nor is it marked with @hookimpl; {hint}"


def _origin(point):
    """Name and version of an entry point's distribution; empty where its metadata is lost."""
    try:
        return point.dist.name or "", point.dist.version or ""
    except Exception:
        return "", ""


def _is_of(function, plugin):
    """Whether a function is of the plugin's own package, rather than imported from elsewhere."""
    home = getattr(function, "__module__", None) or ""
    return home.partition(".")[0] == plugin.package


def _names(environ, variable, installed):
    names = {name.strip() for name in environ[variable].split(",") if name.strip()}
    if unknown := names - installed:
        log.warning(
            "%s names what is not installed: %s (installed plugins: %s)",
            variable,
            ", ".join(sorted(unknown)),
            ", ".join(sorted(installed)) or "none",
        )
    return names
