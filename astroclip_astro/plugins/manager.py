"""Loading plugins so that one that is broken never takes the others down."""

import difflib
import logging
import os
import traceback
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points, version

import pluggy

from astroclip_astro.errors import PluginError
from astroclip_astro.plugins.entries import (
    API_VERSION,
    CatalogEntry,
    EngineEntry,
    ModalityEntry,
    ModelEntry,
    SourceEntry,
    SurveyEntry,
    TaskEntry,
)
from astroclip_astro.plugins.hookspecs import GROUP, HookSpecs

__all__ = ["Failure", "Manager", "Plugin", "get_manager"]

log = logging.getLogger(__name__)

BUILTIN = "builtin"

_KINDS = {
    "register_surveys": SurveyEntry,
    "register_modalities": ModalityEntry,
    "register_models": ModelEntry,
    "register_tasks": TaskEntry,
    "register_sources": SourceEntry,
    "register_engines": EngineEntry,
    "register_catalogs": CatalogEntry,
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Something that went wrong in a plugin, kept rather than raised.

    Parameters
    ----------
    plugin : str
        The plugin at fault.
    where : str
        What was being done: ``"import"``, or the name of a hook or entry.
    message : str
        Kind and text of the error, in one line.
    details : str
        The traceback.
    """

    plugin: str
    where: str
    message: str
    details: str = ""


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
        Module that the entry point names.
    status : {"loaded", "blocked", "failed"}
        What became of it.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: str


class Manager:
    """All registered entries, by kind and name, with who registered them.

    Parameters
    ----------
    environ : mapping, optional
        Where ``ASTROCLIP_PLUGINS`` (names of the only plugins to load, comma-separated; empty for
        none) and ``ASTROCLIP_BLOCK_PLUGINS`` (names of plugins not to load) are looked up.

    Attributes
    ----------
    failures : list of Failure
        What went wrong so far.
    found : list of Plugin
        Every plugin that is installed.

    Notes
    -----
    The built-in plugin comes first, the others in the order of distribution and name; the first
    to register a name keeps it. What a plugin yields before it fails stays registered.
    """

    def __init__(self, environ=os.environ):
        self.failures = []
        self.found = []
        self._entries = {cls.kind: {} for cls in _KINDS.values()}
        self._owners = {}
        self._pluggy = pluggy.PluginManager(GROUP)
        self._pluggy.add_hookspecs(HookSpecs)
        self._load(environ)
        for name, plugin in self._pluggy.list_name_plugin():
            self._check_names(name, plugin)
            for hook, cls in _KINDS.items():
                self._collect(name, plugin, hook, cls)

    def entries(self, kind):
        """List registered entries of a kind.

        Parameters
        ----------
        kind : str
            ``"survey"``, ``"modality"``, ``"model"``, ``"task"``, ``"source"``, ``"engine"`` or
            ``"catalog"``.

        Returns
        -------
        dict of Entry
            By name, sorted.

        Examples
        --------
        >>> from astroclip_astro.plugins import get_manager
        >>> get_manager().entries("survey")["desi"].modality
        'spectrum'
        """
        return dict(sorted(self._entries[kind].items()))

    def get(self, kind, name):
        """One entry.

        Parameters
        ----------
        kind, name : str
            What is wanted.

        Returns
        -------
        Entry

        Raises
        ------
        PluginError
            If nothing of that name is registered; the message lists what is.
        """
        known = self.entries(kind)
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            failed = sorted({failure.plugin for failure in self.failures})
            broken = f" (plugins that failed: {', '.join(failed)})" if failed else ""
            raise PluginError(
                f"no {kind} named {name!r}: known are {', '.join(known) or 'none'}{broken}.{hint}"
            )
        return known[name]

    def owner(self, kind, name):
        """Name of the plugin that registered an entry (str)."""
        return self._owners[kind, name]

    def load(self, kind, name):
        """Import what an entry names.

        Parameters
        ----------
        kind, name : str
            What is wanted.

        Returns
        -------
        object
            The entry's factory.

        Raises
        ------
        PluginError
            If there is no such entry, or its factory cannot be imported.
        """
        entry = self.get(kind, name)
        try:
            return entry.load()
        except Exception as error:
            self.record_failure(self.owner(kind, name), f"{kind} {name}", error)
            raise PluginError(
                f"{kind} {name!r} of plugin {self.owner(kind, name)!r} does not load: "
                f"{entry.factory}: {type(error).__name__}: {error}"
            ) from error

    def add_commands(self, cli):
        """Let every plugin add its commands to the command line.

        Parameters
        ----------
        cli : click.Group
            The group behind ``astroclip``.
        """
        for name, plugin in self._pluggy.list_name_plugin():
            implementation = getattr(plugin, "register_commands", None)
            if implementation is None:
                continue
            before = dict(cli.commands)
            with self._guard(name, "register_commands"):
                implementation(cli)
            for command in before.keys() & cli.commands.keys():
                if cli.commands[command] is not before[command]:
                    cli.commands[command] = before[command]
                    self._fail(name, "register_commands", f"command {command!r} is already taken")

    def record_failure(self, plugin, where, error):
        """Keep a failure of a plugin, and log it.

        Parameters
        ----------
        plugin, where : str
            Who failed, and doing what.
        error : BaseException
            How.
        """
        details = "".join(traceback.format_exception(error))
        self._fail(plugin, where, f"{type(error).__name__}: {error}", details)

    def plugins(self):
        """All plugins with what they registered and what failed, as plain values for JSON.

        Returns
        -------
        list of dict
        """
        return [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "module": plugin.module,
                "status": plugin.status,
                "entries": {
                    kind: names
                    for kind, known in self._entries.items()
                    if (names := [n for n in sorted(known) if self.owner(kind, n) == plugin.name])
                },
                "failures": [
                    {"where": failure.where, "message": failure.message}
                    for failure in self.failures
                    if failure.plugin == plugin.name
                ],
            }
            for plugin in self.found
        ]

    def versions(self):
        """Versions of this package and of all loaded plugins, by distribution (dict of str)."""
        return {p.distribution: p.version for p in self.found if p.status == "loaded"}

    def _load(self, environ):
        from astroclip_astro.plugins import builtin

        self._pluggy.register(builtin, BUILTIN)
        self._found(BUILTIN, GROUP, version(GROUP), builtin.__name__, "loaded")
        only, blocked = environ.get("ASTROCLIP_PLUGINS"), environ.get("ASTROCLIP_BLOCK_PLUGINS")
        only = None if only is None else _names(only)
        blocked = _names(blocked or "")
        points = sorted(
            entry_points(group=GROUP), key=lambda p: (p.dist.name if p.dist else "", p.name)
        )
        unknown = ((only or set()) | blocked) - {point.name for point in points}
        if unknown:
            log.warning(
                "ASTROCLIP_PLUGINS or ASTROCLIP_BLOCK_PLUGINS names plugins that are not "
                "installed: %s",
                ", ".join(sorted(unknown)),
            )
        for point in points:
            about = (point.dist.name, point.dist.version) if point.dist else ("", "")
            if point.name in blocked or (only is not None and point.name not in only):
                self._found(point.name, *about, point.value, "blocked")
                continue
            if point.name in {plugin.name for plugin in self.found}:
                self._fail(point.name, "import", f"{about[0]} brings a second plugin of this name")
                continue
            with self._guard(point.name, "import"):
                self._pluggy.register(point.load(), point.name)
            loaded = self._pluggy.has_plugin(point.name)
            self._found(point.name, *about, point.value, "loaded" if loaded else "failed")

    def _found(self, name, distribution, version_, module, status):
        self.found.append(
            Plugin(
                name=name, distribution=distribution, version=version_, module=module, status=status
            )
        )

    def _check_names(self, name, plugin):
        """Report functions that look like hooks and are none: a misspelt hook is never called."""
        hooks = [hook for hook in dir(HookSpecs) if hook.startswith("register_")]
        for attribute, value in vars(plugin).items():
            marked = hasattr(value, f"{GROUP}_impl")
            if attribute in hooks:
                if not marked:
                    self._fail(name, attribute, "not marked with @hookimpl, so it is not called")
            elif callable(value) and (marked or attribute.startswith("register_")):
                close = difflib.get_close_matches(attribute, hooks, n=1)
                hint = f"; did you mean {close[0]}?" if close else f": {', '.join(hooks)}"
                self._fail(name, attribute, f"there is no such hook{hint}")

    def _collect(self, name, plugin, hook, cls):
        implementation = getattr(plugin, hook, None)
        if not hasattr(implementation, f"{GROUP}_impl"):
            return
        with self._guard(name, hook):
            for entry in implementation():
                if not isinstance(entry, cls):
                    self._fail(name, hook, f"yielded {entry!r}, expected a {cls.__name__}")
                elif entry.api_version != API_VERSION:
                    self._fail(
                        name,
                        hook,
                        f"{cls.kind} {entry.name!r} is for plugin API {entry.api_version}, this is "
                        f"{API_VERSION}: update the plugin or astroclip_astro",
                    )
                elif entry.name in self._entries[cls.kind]:
                    owner = self.owner(cls.kind, entry.name)
                    self._fail(
                        name,
                        hook,
                        f"{cls.kind} {entry.name!r} is already registered by plugin {owner!r}, "
                        f"so that of plugin {name!r} is refused",
                    )
                else:
                    self._entries[cls.kind][entry.name] = entry
                    self._owners[cls.kind, entry.name] = name

    def _guard(self, plugin, where):
        return _Guard(self, plugin, where)

    def _fail(self, plugin, where, message, details=""):
        failure = Failure(plugin=plugin, where=where, message=message, details=details)
        self.failures.append(failure)
        log.warning("plugin %s, %s: %s", plugin, where, message)


class _Guard:
    """Turns anything that a plugin raises, SystemExit included, into a recorded failure."""

    def __init__(self, manager, plugin, where):
        self.manager, self.plugin, self.where = manager, plugin, where

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, (KeyboardInterrupt, GeneratorExit, MemoryError)):
            return False
        self.manager.record_failure(self.plugin, self.where, error)
        return True


def _names(text):
    return {name.strip() for name in text.split(",") if name.strip()}


@cache
def get_manager():
    """Get the manager of this process, made at the first call.

    Returns
    -------
    Manager

    Examples
    --------
    >>> from astroclip_astro.plugins import get_manager
    >>> sorted(get_manager().entries("modality"))
    ['image', 'spectrum']
    """
    return Manager()
