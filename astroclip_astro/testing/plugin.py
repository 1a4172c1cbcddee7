"""Checks of a plugin as a whole, and of every entry whatever its kind."""

import os
import reprlib
import subprocess
import sys

from astroclip_astro.plugins.manager import TAKEN
from astroclip_astro.testing.check import NotApplicable, check, require

__all__ = ["CHECKS", "ENTRY_CHECKS", "factory_loads", "python"]

_HEAVY = ("astropy", "specutils", "torch", "xarray")
_SECONDS = 60
_DATA = ("survey", "source", "model", "catalog")

# Without what keeps stdout clear of what plugins print.
_IMPORTS = """
import sys
from contextlib import nullcontext
from astroclip_astro.plugins import get_manager, manager
manager.printing_to_stderr = nullcontext
loaded = get_manager()
import click
loaded.commands(())
answer = [name for name in {heavy!r} if name in sys.modules]
"""


def python(code, **environ):
    """Run code in a Python of its own that sees the same packages.

    Parameters
    ----------
    code : str
        What to run; it leaves a list of str in ``answer``.
    **environ : str
        Further environment variables.

    Returns
    -------
    answer : list of str
        What it leaves.
    printed : str
        What it prints.

    Raises
    ------
    CheckError
        If it fails, or does not end within a minute.
    """
    # The folders that are on the path here only, such as that of the tests, come along.
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environ}
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\nprint('\\n' + ','.join(answer), end='')"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        require(False, f"a Python that does this alone did not end within {_SECONDS} s")
    lines = done.stderr.strip().splitlines() or [""]
    require(done.returncode == 0, f"a Python that does this alone fails: {lines[-1]}")
    printed, _, answer = done.stdout.rpartition("\n")
    return list(filter(None, answer.split(","))), printed


@check(
    fix="Install it (python -m pip install -e .), and name its module in pyproject.toml under "
    "[project.entry-points.astroclip_astro]; `astroclip plugins` lists what is found."
)
def is_installed(subject):
    """The plugin is found under its name, once, and is loaded."""
    manager = subject.manager
    found = [plugin for plugin in manager.found if plugin.name == subject.plugin]
    known = ", ".join(plugin.name for plugin in manager.found)
    require(found, f"no plugin is named {subject.plugin!r}: installed are {known}")
    owners = " and ".join(plugin.distribution or "a nameless distribution" for plugin in found)
    require(len(found) == 1, f"{owners} bring plugins of that name")
    (plugin,) = found
    if plugin.status == "blocked":
        raise NotApplicable("it is blocked by ASTROCLIP_PLUGINS or ASTROCLIP_BLOCK_PLUGINS")
    problems = [f.message for f in _failures(subject) if f.where == "import"]
    require(plugin.status == "loaded", f"{plugin.module} is not loaded: {'; '.join(problems)}")
    return plugin


@check(
    fix="Keep the distribution's metadata whole: pyproject.toml needs a name and a version. The "
    "versions of all plugins are written into the attributes of embeddings."
)
def version_is_known(subject):
    """The distribution that brings the plugin has a name and a version."""
    plugin = subject.needs(is_installed)
    require(plugin.distribution, "its distribution has no name")
    require(plugin.version, f"its distribution {plugin.distribution} has no version")


@check(
    fix="Import heavy modules in the module that the entry's factory names, or within functions: "
    "the module with the hooks is imported by every command, also by `astroclip --help`."
)
def imports_light(subject):
    """Importing the module with the hooks and calling them imports no heavy module."""
    subject.needs(is_installed)
    heavy, printed = python(_IMPORTS.format(heavy=_HEAVY), ASTROCLIP_PLUGINS=subject.plugin)
    require(not heavy, f"it imports {', '.join(heavy)}")
    return printed


@check(
    fix="Remove the print, or use the logging module: what commands print may be read by programs."
)
def prints_nothing(subject):
    """Importing the module with the hooks and calling them prints nothing to stdout."""
    printed = subject.needs(imports_light)
    require(not printed, f"it prints {reprlib.repr(printed)}")


@check(
    fix="Mark each hook with @hookimpl, name it as docs/hooks does, and yield entries of the "
    "hook's type from it; `astroclip plugins --json` has the tracebacks."
)
def hooks_yield_entries(subject):
    """The hooks are known ones, do not fail, and yield entries of the right type or commands."""
    plugin = subject.needs(is_installed)
    failures = _failures(subject)
    problems = [f"{f.where}: {f.message}" for f in failures if TAKEN not in f.message]
    require(not problems, "; ".join(problems))
    (described,) = [p for p in subject.manager.plugins() if p["name"] == plugin.name]
    taken = any(TAKEN in f.message for f in failures)
    require(described["entries"] or taken, "it registers nothing: it has no hook that yields")


@check(fix="Choose other names: `astroclip plugins` lists those in use and whose they are.")
def names_are_free(subject):
    """No entry or command has a name that another plugin has taken."""
    subject.needs(is_installed)
    problems = [f.message for f in _failures(subject) if TAKEN in f.message]
    require(not problems, "; ".join(problems))


@check(
    fix="The factory is 'package.module:Name'; import that module by hand to see what is wrong, "
    "and check that it is a part of what is installed."
)
def factory_loads(subject):
    """What the entry's factory names can be imported and called."""
    factory = subject.entry.load()
    require(callable(factory), f"{subject.entry.factory} is {factory!r}, expected a class")
    return factory


@check(
    fix="Give the entry a citation (bibcode, DOI or URL) and a licence (SPDX where there is one): "
    "they are listed for those who have to cite."
)
def says_what_to_cite(subject):
    """An entry of data or weights has a citation and a licence."""
    entry = subject.entry
    if entry.kind not in _DATA and not getattr(entry, "fitted", False):
        raise NotApplicable(f"{entry.kind} entries need none unless they bring data or weights")
    missing = [name for name in ("citation", "licence") if not getattr(entry, name).strip()]
    require(not missing, f"it has no {' and no '.join(missing)}")


def _failures(subject):
    """What went wrong as it was loaded: the place of what went wrong in use has two words."""
    from astroclip_astro.cli.main import main

    main.list_commands(None)  # asks plugins for their commands
    found = [f for f in subject.manager.failures if f.plugin == subject.plugin]
    return [f for f in found if " " not in f.where]


#: Of the plugin as a whole.
CHECKS = (
    is_installed,
    version_is_known,
    imports_light,
    prints_nothing,
    hooks_yield_entries,
    names_are_free,
)

#: Of every entry.
ENTRY_CHECKS = (factory_loads, says_what_to_cite)
