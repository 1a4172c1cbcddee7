"""Doing the checks of a plugin, for pytest and for the command line."""

import os
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from astroclip_astro.plugins.limit import time_limit, within
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.testing.check import CheckError, NotApplicable, Subject
from astroclip_astro.testing.plugin import CHECKS, ENTRY_CHECKS

__all__ = [
    "Case",
    "Result",
    "cases",
    "check_with_files",
    "parametrize_with_checks",
    "run_checks",
]

# Where the checks of each kind of entry are; they are imported when needed, as it takes a while.
_CHECKS = {
    kind: f"astroclip_astro.testing.{kind}" for kind in ("survey", "modality", "task", "source")
}

# A check reads and embeds: it may take so many times what a single call into a plugin may take.
_PATIENCE = 12


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a check went.

    Parameters
    ----------
    check : str
        Its name.
    subject : str
        Kind and name of the entry that it is about, empty for the plugin as a whole.
    outcome : {"passed", "failed", "skipped"}
        How it went.
    message : str
        What is the case instead, or why it was skipped; empty if it passed.
    asserts, fix : str
        What is checked, and what to do if it does not hold.
    """

    check: str
    subject: str
    outcome: str
    message: str
    asserts: str
    fix: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A check of a subject; calling it is a test.

    Parameters
    ----------
    check : Check
        What to check.
    subject : Subject
        Of what.
    """

    check: object
    subject: Subject

    @property
    def name(self):
        """Subject and check (str)."""
        return f"{self.subject.name or self.subject.plugin}: {self.check.name}"

    def run(self):
        """Do the check, whatever the plugin may do.

        Returns
        -------
        Result
        """
        outcome, message = "passed", ""
        try:
            within(_PATIENCE * time_limit(os.environ), self.subject.do, self.check)
        except KeyboardInterrupt:
            raise
        except NotApplicable as reason:
            outcome, message = "skipped", str(reason)
        except BaseException as error:
            outcome, message = "failed", _told(error, self.subject.package)
        return Result(
            check=self.check.name,
            subject=self.subject.name,
            outcome=outcome,
            message=message,
            asserts=self.check.asserts,
            fix=self.check.fix,
        )

    def __call__(self):
        """Do the check as a test of pytest: pass, fail with what to do, or skip with the reason."""
        import pytest

        result = self.run()
        if result.outcome == "skipped":
            pytest.skip(result.message)
        if result.outcome == "failed":
            pytest.fail(f"{self.name}: {result.message}\nFix: {result.fix}", pytrace=False)


def cases(plugin, example=None):
    """List the checks that a plugin has to pass.

    Parameters
    ----------
    plugin : str
        Its name, which is that of its entry point.
    example : object, optional
        As for `parametrize_with_checks`.

    Returns
    -------
    list of Case
        Of the plugin as a whole, then of each of its entries.
    """
    manager = get_manager()
    whole = Subject(plugin)
    found = [Case(check=check, subject=whole) for check in CHECKS]
    described = [described for described in manager.plugins() if described["name"] == plugin]
    entries = [
        manager.get(kind, name)
        for described in described[:1]
        for kind, names in described["entries"].items()
        if kind != "command"
        for name in names
    ]
    examples = _examples(entries, example)
    for entry in entries:
        subject = Subject(plugin, entry, examples.get(f"{entry.kind} {entry.name}"))
        own = import_module(_CHECKS[entry.kind]).CHECKS if entry.kind in _CHECKS else ()
        found += [Case(check=check, subject=subject) for check in (*ENTRY_CHECKS, *own)]
    return found


def run_checks(plugin, example=None):
    """Check a plugin.

    Parameters
    ----------
    plugin : str
        Its name, which is that of its entry point.
    example : object, optional
        As for `parametrize_with_checks`.

    Returns
    -------
    list of Result
        One for each check, whatever the plugin does; that of one that ends the interpreter or hangs
        is a failure.

    Examples
    --------
    >>> from astroclip_astro.testing import run_checks
    >>> result = run_checks("no-such-plugin")[0]
    >>> result.check, result.outcome
    ('is-installed', 'failed')
    """
    return [case.run() for case in cases(plugin, example)]


def check_with_files(plugin, files):
    """Check a plugin with example files of its surveys; entries of other kinds go without.

    Parameters
    ----------
    plugin : str
        Its name, which is that of its entry point.
    files : sequence of path-like
        Examples; may be empty.

    Returns
    -------
    list of Result
    """
    surveys = get_manager().entries("survey").values()
    own = [e for e in surveys if get_manager().owner("survey", e.name).name == plugin]
    return run_checks(plugin, {f"survey {e.name}": list(files) for e in own} if files else None)


def parametrize_with_checks(plugin, example=None):
    """Make a test of each check that a plugin has to pass.

    Parameters
    ----------
    plugin : str
        Its name, which is that of its entry point; it has to be installed.
    example : object, optional
        What its entries are tried with, or a function that makes it in the folder (`pathlib.Path`)
        that it is given. For a survey, a file of it or a list of files; for a modality, an object
        that it accepts, best with several galaxies; for a task, a pair (X, y) to learn from, where
        vectors and one number each will not do; for a source, a `SkyCoord` where it has something.
        For a plugin with several entries, a dict of these by kind and name, such as ``{"survey
        mine": …, "source mine": …}``.

    Returns
    -------
    pytest.MarkDecorator
        Decorator of a test function whose argument ``check`` is to be called.

    Examples
    --------
    >>> from astroclip_astro.testing import parametrize_with_checks
    >>> @parametrize_with_checks("my-plugin")
    ... def test_plugin(check):
    ...     check()
    """
    import pytest

    found = cases(plugin, example)
    return pytest.mark.parametrize("check", found, ids=[case.name for case in found])


def _examples(entries, example):
    """Examples by kind and name of entries; one that is not told apart is for all of them."""
    names = [f"{entry.kind} {entry.name}" for entry in entries]
    if not isinstance(example, dict):
        return dict.fromkeys(names, example)
    if unknown := set(example) - set(names):
        raise ValueError(
            f"example has {', '.join(sorted(unknown))}, expected some of {', '.join(names)}"
        )
    return example


def _told(error, package):
    """What an error says, and where in the plugin's package it was raised."""
    if isinstance(error, CheckError):
        return str(error)
    text = " ".join(str(traceback.TracebackException.from_exception(error)).split())
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if package in (*Path(frame.filename).parts, Path(frame.filename).stem):
            place = f" ({frame.filename}, line {frame.lineno})"
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
