"""numpydoc's own validation of every public object."""

import importlib
import inspect
import pkgutil
import re
import tomllib
from enum import Enum
from functools import cached_property
from pathlib import Path

import click
import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import Validator, validate

import astroclip_astro

PACKAGE = astroclip_astro.__name__
SETTINGS = tomllib.loads(
    (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["tool"]["numpydoc_validation"]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(astroclip_astro.__path__, f"{PACKAGE}.")
    if not module.name.endswith("__main__")
)


class Inheriting(Validator):
    """A class need not document again what its bases document, nor an enumeration its making."""

    def __init__(self, obj_name):
        super().__init__(get_doc_object(self._load_obj(obj_name)))

    @property
    def signature_parameters(self):
        parameters = super().signature_parameters
        if not inspect.isclass(self.obj):
            return parameters
        if issubclass(self.obj, Enum):
            return ()
        inherited = {
            parameter
            for base in self.obj.__mro__[1:]
            if base.__module__.startswith(PACKAGE)
            for parameter in Validator(get_doc_object(base)).doc_all_parameters
        } - set(self.doc_all_parameters)
        return tuple(p for p in parameters if p not in inherited)


def exported(module):
    """Public names of a module; only a package that is nothing but a folder may have none."""
    return getattr(module, "__all__", []) if hasattr(module, "__path__") else module.__all__


def is_documented_in_a_base(cls, member):
    return any(member in vars(b) for b in cls.__mro__[1:] if b.__module__.startswith(PACKAGE))


def public_objects():
    """Dotted names of what modules define and export, and of public members of classes."""
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute in exported(module):
            value = getattr(module, attribute)
            # What is re-exported is checked where it is defined, the parameters of a command in its
            # help; constants carry a comment.
            if getattr(value, "__module__", None) != name or not callable(value):
                continue
            if isinstance(value, click.Command):
                continue
            yield f"{name}.{attribute}"
            if inspect.isclass(value):
                for member, definition in vars(value).items():
                    if member.startswith("_") or is_documented_in_a_base(value, member):
                        continue
                    if inspect.isroutine(definition) or isinstance(
                        definition, (property, cached_property)
                    ):
                        yield f"{name}.{attribute}.{member}"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_and_exports(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert [n for n in exported(module) if not hasattr(module, n)] == []


def test_docstrings_follow_numpydoc():
    excluded = re.compile("|".join(SETTINGS["exclude"]))
    names = [name for name in public_objects() if not excluded.search(name)]
    assert len(names) > len(MODULES)
    problems = [
        f"{name}: {code} {message}"
        for name in names
        for code, message in validate(name, Inheriting)["errors"]
        if code in SETTINGS["checks"]
    ]
    assert not problems, "\n".join(problems)
