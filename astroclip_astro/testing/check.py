"""What a check is, and what it is about."""

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from astroclip_astro.plugins.manager import get_manager

__all__ = ["Check", "CheckError", "NotApplicable", "Subject", "check", "require"]


class CheckError(AssertionError):
    """Something that a plugin should do and does not."""


class NotApplicable(Exception):
    """Why a check says nothing about a plugin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Check:
    """One thing that a plugin should do.

    Parameters
    ----------
    name : str
        Short, with hyphens.
    asserts : str
        What is checked, in a sentence.
    fix : str
        What its author is to do if it does not hold.
    function : callable
        Called with a `Subject`; raises `CheckError`, or whatever the plugin raises, and
        `NotApplicable`. What it returns is of use to other checks.
    """

    name: str
    asserts: str
    fix: str
    function: object


def check(*, fix):
    """Make a function with a docstring a check.

    Parameters
    ----------
    fix : str
        What the author of a plugin is to do if it does not hold.

    Returns
    -------
    callable
        The decorator, which returns a `Check`: its name is that of the function, and what it
        asserts is the docstring.

    Examples
    --------
    >>> from astroclip_astro.testing.check import check, require
    >>> @check(fix="Choose a shorter name.")
    ... def has_a_short_name(subject):
    ...     '''The name is short.'''
    ...     require(len(subject.plugin) < 30, "it has a long name")
    >>> has_a_short_name.name, has_a_short_name.asserts
    ('has-a-short-name', 'The name is short.')
    """

    def decorate(function):
        return Check(
            name=function.__name__.replace("_", "-"),
            asserts=" ".join(function.__doc__.split()),
            fix=fix,
            function=function,
        )

    return decorate


def require(holds, message):
    """Fail a check unless something holds.

    Parameters
    ----------
    holds : bool
        Whether it does.
    message : str
        What is the case instead.

    Raises
    ------
    CheckError
        If it does not.
    """
    if not holds:
        raise CheckError(message)


class Subject:
    """What checks are about: a plugin, or one of the entries that it registers.

    Parameters
    ----------
    plugin : str
        Name of the plugin.
    entry : Entry, optional
        One of its entries.
    example : object, optional
        What the entry is tried with, or a function that makes it in the folder that it is given.
    """

    def __init__(self, plugin, entry=None, example=None):
        self.plugin = plugin
        self.entry = entry
        self._example = example
        self._done = {}

    @property
    def name(self):
        """Kind and name of the entry (str), empty for the plugin as a whole."""
        return "" if self.entry is None else f"{self.entry.kind} {self.entry.name}"

    @property
    def package(self):
        """Top-level package of the plugin (str), empty if it is not installed."""
        found = (plugin.package for plugin in self.manager.found if plugin.name == self.plugin)
        return next(found, "")

    @property
    def manager(self):
        """The manager of this process (Manager)."""
        return get_manager()

    @cached_property
    def folder(self):
        """A folder of its own (pathlib.Path), which goes when the subject goes."""
        folder = Path(tempfile.mkdtemp(prefix="astroclip-check-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @cached_property
    def example(self):
        """What to try it with, made once; None if there is none."""
        return self._example(self.folder) if callable(self._example) else self._example

    def do(self, check):
        """Do a check, once.

        Parameters
        ----------
        check : Check
            What to check.

        Returns
        -------
        object
            What the check returns; it raises what it raises.
        """
        if check not in self._done:
            try:
                self._done[check] = (check.function(self), None)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin that exits must not end the others' checks
                self._done[check] = (None, error)
        value, error = self._done[check]
        if error is not None:
            raise error
        return value

    def needs(self, check):
        """Do a check without which another makes no sense.

        Parameters
        ----------
        check : Check
            What has to hold.

        Returns
        -------
        object
            What the check returns.

        Raises
        ------
        NotApplicable
            If it does not hold.
        """
        try:
            return self.do(check)
        except (KeyboardInterrupt, NotApplicable):
            raise
        except BaseException as error:
            raise NotApplicable(f"{check.name} has to pass first") from error
