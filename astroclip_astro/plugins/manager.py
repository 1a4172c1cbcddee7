"""Loading plugins so that one that is broken never takes the others down."""

import difflib
import logging
import os
import threading
import traceback
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from itertools import islice

import pluggy

from astroclip_astro.errors import PluginError
from astroclip_astro.plugins.discovery import Plugin, find_plugins, misnamed_hooks
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
from astroclip_astro.plugins.limit import (
    TimeLimitError,
    importing,
    printing_to_stderr,
    time_limit,
    within,
)

__all__ = ["BUILTIN", "TAKEN", "Failure", "Manager", "get_manager"]

log = logging.getLogger(__name__)

#: Name of the plugin that comes with the package.
BUILTIN = "builtin"

#: What the failure of an entry or command says whose name another plugin has.
TAKEN = "is already registered by plugin"

# A hook that yields without end, and a reader that fails at every file in words of its own, are not
# to fill the memory.
_MOST_ENTRIES, _MOST_FAILURES = 10_000, 20

_ENTRIES = {
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
    plugin, distribution : str
        The plugin at fault, and what was installed to get it.
    where : str
        What was being done: ``"import"``, or the name of a hook or entry.
    message : str
        Class and text of the error, in short.
    traceback : str
        Where it was raised.
    """

    plugin: str
    distribution: str
    where: str
    message: str
    traceback: str


class Manager:
    """All registered entries, by kind and name, with who registered them.

    Parameters
    ----------
    environ : mapping, optional
        Where ``ASTROCLIP_PLUGINS`` (names of the only plugins to load, comma-separated; empty for
        none), ``ASTROCLIP_BLOCK_PLUGINS`` (names of plugins not to load) and
        ``ASTROCLIP_PLUGIN_TIMEOUT`` (seconds that an import, a hook or a question to an entry may
        take) are looked up. The built-in plugin is always loaded, and takes the time it needs.

    Attributes
    ----------
    failures : list of Failure
        What went wrong so far; of one plugin at one place, the first twenty.
    found : list of Plugin
        Every plugin that is installed.

    Notes
    -----
    The built-in plugin comes first, the others in the order of distribution and name; the first
    to register a name keeps it. What a plugin yields before it fails stays registered, and so do
    its valid entries beside one that is refused.
    """

    def __init__(self, environ=os.environ):
        self.failures = []
        self.found = []
        self._entries = {cls.kind: {} for cls in _ENTRIES.values()}
        self._owners = {}
        self._commands = None
        self._limit = time_limit(environ)
        self._left_behind = set()
        self._pluggy = pluggy.PluginManager(GROUP)
        self._pluggy.add_hookspecs(HookSpecs)
        self._load_builtin()
        self._load_installed(environ)
        for plugin in self._loaded():
            with self._guard(plugin, "import"):
                module = self._pluggy.get_plugin(plugin.name)
                for name, problem in misnamed_hooks(plugin, module, self._pluggy):
                    self._fail(plugin, name, PluginError(problem))
            for hook, cls in _ENTRIES.items():
                for function in self._implementations(plugin, hook):
                    self._collect(plugin, hook, cls, function)

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

        Raises
        ------
        ValueError
            If there is no such kind.

        Examples
        --------
        >>> from astroclip_astro.plugins import get_manager
        >>> get_manager().entries("survey")["desi"].modality
        'spectrum'
        """
        if kind not in self._entries:
            raise ValueError(f"kind is {kind!r}, expected one of {', '.join(self._entries)}")
        return dict(sorted(self._entries[kind].items()))

    def get(self, kind, name):
        """Get one entry.

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
            broken = f" (plugins with failures: {', '.join(failed)})" if failed else ""
            raise PluginError(
                f"no {kind} named {name!r}: known are {', '.join(known) or 'none'}{broken}.{hint}"
            )
        return known[name]

    def owner(self, kind, name):
        """Tell who registered an entry.

        Parameters
        ----------
        kind, name : str
            A registered entry, or ``"command"`` and the name of a command that a plugin added.

        Returns
        -------
        Plugin
        """
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
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module that exits on import must not end the caller
            owner = self.owner(kind, name)
            raise PluginError(
                f"{kind} {name!r} of plugin {owner.name!r} does not load: {entry.factory}: "
                f"{_in_short(error)}. Reinstall or update {owner.distribution or 'the plugin'}."
            ) from error

    def commands(self, builtin):
        """Ask plugins for their commands, once.

        Parameters
        ----------
        builtin : collection of str
            Names of the built-in commands, which no plugin can take.

        Returns
        -------
        dict of click.Command
            By name.
        """
        import click

        if self._commands is None:
            self._commands = {}
            for plugin in self._loaded():
                # Each plugin gets a group of its own, so that it cannot touch others' commands.
                group = click.Group()
                for function in self._implementations(plugin, "register_commands"):
                    with self._guard(plugin, "register_commands"), printing_to_stderr():
                        self._call(plugin, function, group)
                # A copy, as a hook that was left behind may still add to it.
                for name, command in dict(group.commands).items():
                    with self._guard(plugin, "register_commands"):
                        if not isinstance(command, click.Command):
                            raise TypeError(f"{name!r} is {command!r}, expected a click command")
                        if name in builtin or name in self._commands:
                            self._refuse(plugin, "command", name)
                        self._commands[name] = command
                        self._owners["command", name] = plugin
        return dict(self._commands)

    def ask(self, kind, name, question, *arguments):
        """Ask something of a registered entry, whatever may go wrong.

        Parameters
        ----------
        kind, name : str
            The entry.
        question : callable
            What to call; it may load the entry and call what is its own.
        *arguments : object
            What to call it with.

        Returns
        -------
        object
            The answer; None if it raised or did not end in time, which is recorded. An entry that
            was left behind once is not asked again.
        """
        if (kind, name) in self._left_behind:
            return None
        owner = self.owner(kind, name)
        with self._guard(owner, f"{kind} {name}"):
            try:
                return self._call(owner, question, *arguments)
            except TimeLimitError:
                self._left_behind.add((kind, name))
                raise
        return None

    def record_failure(self, kind, name, error):
        """Keep a failure of a registered entry, and log it.

        Parameters
        ----------
        kind, name : str
            The entry at fault.
        error : BaseException
            What it raised.
        """
        self._fail(self.owner(kind, name), f"{kind} {name}", error)

    def plugins(self):
        """Describe all plugins: what they registered and what failed.

        Returns
        -------
        list of dict
            Plain values, for JSON: the fields of `Plugin`, ``entries`` (names by kind) and
            ``failures`` (where, message and traceback of each).
        """
        described = []
        for plugin in self.found:
            entries = {}
            for (kind, name), owner in sorted(self._owners.items()):
                if owner == plugin:
                    entries.setdefault(kind, []).append(name)
            failures = [
                {"where": f.where, "message": f.message, "traceback": f.traceback}
                for f in self.failures
                if (f.plugin, f.distribution) == (plugin.name, plugin.distribution)
            ]
            described.append({**asdict(plugin), "entries": entries, "failures": failures})
        return described

    def versions(self):
        """Tell which version is in use of this package and of every distribution with a plugin.

        Returns
        -------
        dict of str
            Version by distribution.
        """
        return {p.distribution: p.version for p in self._loaded() if p.distribution}

    def _load_builtin(self):
        from astroclip_astro.plugins import builtin

        self._pluggy.register(builtin, BUILTIN)
        self.found.append(
            Plugin(
                name=BUILTIN, distribution=GROUP, version=version(GROUP), module=builtin.__name__
            )
        )

    def _load_installed(self, environ):
        nameless = Plugin(name="(unknown)", distribution="", version="", module="", status="failed")
        found = []
        with self._guard(nameless, "reading the entry points of installed distributions"):
            found = find_plugins(environ)
        if self.failures:
            self.found.append(nameless)
        for plugin, point in found:
            status = plugin.status
            if status == "loaded":
                status = "failed"
                with self._guard(plugin, "import"):
                    self._register(plugin, point)
                    status = "loaded"
            self.found.append(replace(plugin, status=status))

    def _register(self, plugin, point):
        for other in self.found:
            if other.name == plugin.name:
                raise PluginError(
                    f"{other.distribution} already brings a plugin named {plugin.name!r}, so that "
                    f"of {plugin.distribution} is refused"
                )
        with printing_to_stderr():
            loaded = self._call(plugin, point.load)
        if self._pluggy.register(loaded, plugin.name) is None:
            raise PluginError(f"{plugin.module} is {loaded!r}, expected a module with hooks")

    def _loaded(self):
        return [plugin for plugin in self.found if plugin.status == "loaded"]

    def _implementations(self, plugin, hook):
        """Functions by which a plugin implements a hook."""
        for implementation in getattr(self._pluggy.hook, hook).get_hookimpls():
            if implementation.plugin_name == plugin.name:
                if implementation.wrapper or implementation.hookwrapper:
                    self._fail(plugin, hook, PluginError("hooks cannot be wrapped"))
                else:
                    yield implementation.function

    def _call(self, plugin, function, *arguments):
        """Call what is a plugin's own, within the time limit."""
        if plugin.name == BUILTIN:
            return function(*arguments)
        if not (under_way := importing()):
            return within(self._limit, function, *arguments)
        # This thread holds the locks of what it is importing, and nobody can tell whether the
        # plugin will need one of them: in a thread it would wait for the lock of who waits for it,
        # and a good plugin would be lost. Here it has all locks but no limit: one that hangs holds
        # up the import, so it is at least named.
        message = "plugin %s has not ended within %g s: it is waited for while %s is imported"
        told = (message, plugin.name, self._limit, ", ".join(sorted(under_way)))
        watch = threading.Timer(self._limit, log.warning, told)
        watch.daemon = True
        watch.start()
        try:
            return function(*arguments)
        finally:
            watch.cancel()

    def _collect(self, plugin, hook, cls, function):
        yielded = []

        def collect():
            entries = function()
            if not isinstance(entries, Iterable):
                raise TypeError(
                    f"returned {entries!r}, expected {cls.__name__} entries: yield them"
                )
            for entry in islice(entries, _MOST_ENTRIES + 1):
                if len(yielded) == _MOST_ENTRIES:
                    raise PluginError(f"yielded more than {_MOST_ENTRIES:,} entries")
                yielded.append(entry)

        with self._guard(plugin, hook), printing_to_stderr():
            self._call(plugin, collect)
        # A copy, as a hook that was left behind may still yield.
        for entry in list(yielded):
            with self._guard(plugin, hook):
                if not isinstance(entry, cls):
                    raise TypeError(f"yielded {entry!r}, expected a {cls.__name__}")
                if entry.api_version != API_VERSION:
                    raise PluginError(
                        f"{cls.kind} {entry.name!r} was written for plugin API "
                        f"{entry.api_version}, this is {API_VERSION}: update "
                        f"{plugin.distribution} or {GROUP}"
                    )
                if entry.name in self._entries[cls.kind]:
                    self._refuse(plugin, cls.kind, entry.name)
                self._entries[cls.kind][entry.name] = entry
                self._owners[cls.kind, entry.name] = plugin

    def _refuse(self, plugin, kind, name):
        owner = self._owners.get((kind, name), self.found[0])
        raise PluginError(
            f"{kind} {name!r} {TAKEN} {owner.name!r} "
            f"({owner.distribution}), so that of plugin {plugin.name!r} ({plugin.distribution}) "
            "is refused"
        )

    @contextmanager
    def _guard(self, plugin, where):
        """Turn anything that a plugin raises, SystemExit included, into a recorded failure."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._fail(plugin, where, error)

    def _fail(self, plugin, where, error):
        failure = Failure(
            plugin=plugin.name,
            distribution=plugin.distribution,
            where=where,
            message=_in_short(error),
            traceback="".join(traceback.format_exception(error)),
        )
        place = (failure.plugin, failure.distribution, failure.where)
        known = [f for f in self.failures if (f.plugin, f.distribution, f.where) == place]
        if failure not in known and len(known) < _MOST_FAILURES:
            self.failures.append(failure)
            log.warning("plugin %s, %s: %s", plugin.name, where, failure.message)


def _in_short(error):
    # Unlike str(error), this also survives an exception whose own text cannot be made.
    text = str(traceback.TracebackException.from_exception(error))
    return f"{type(error).__name__}: {' '.join(text.split())}"


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
