"""What a catalog is made of, as a file of TOML says it."""

import difflib
import re
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import get_args, get_origin

from astropy import units as u

from astroclip_astro.catalog.recipes.kinds import KINDS
from astroclip_astro.catalog.recipes.sources import Column, Source
from astroclip_astro.errors import InputError
from astroclip_astro.plugins import get_manager
from astroclip_astro.plugins.folders import CATALOGS

__all__ = ["Recipe", "find_recipe", "read_recipe"]

_FILE = "recipe.toml"
_NAME = re.compile("[a-z0-9_-]+")
_TYPES = {str: "text", int: "a whole number", tuple: "a list of text", dict: "a table"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is embedded, from where, with which cuts and columns, and what to cite.

    Parameters
    ----------
    name : str
        Short name, that of its folder.
    title, summary : str
        What the catalog is, in a line and in some.
    licence, citation : str
        Of the data.
    model : str
        Name of the model, or a file of weights beside the recipe.
    modalities : tuple of str
        What there are vectors of.
    sources : tuple of Source
        Where the objects come from; the first one leads, see `Source`.
    text : str
        The recipe as it is written.
    folder : pathlib.Path
        Where that is.
    """

    name: str
    title: str
    summary: str
    licence: str
    citation: str
    model: str
    modalities: tuple[str, ...]
    sources: tuple[Source, ...]
    text: str
    folder: Path

    def places(self, sources):
        """Say where the data of each source are.

        Parameters
        ----------
        sources : dict of path-like
            By name of the source, where they are; those of others are where the recipe says.

        Returns
        -------
        dict of pathlib.Path
            By name of the source; None where nobody says it.

        Raises
        ------
        InputError
            If there is no source of that name.
        """
        names = [source.name for source in self.sources]
        odd = [name for name in sources if name not in names]
        if odd:
            raise InputError(
                f"recipe {self.name!r} has no source {', '.join(odd)}; it has {', '.join(names)}"
            )
        own = {s.name: self.folder / s.path if s.path else None for s in self.sources}
        return own | {name: Path(place) for name, place in sources.items()}


def read_recipe(path):
    r"""Read a recipe.

    Parameters
    ----------
    path : path-like
        A file, or a folder with a ``recipe.toml``.

    Returns
    -------
    Recipe

    Raises
    ------
    InputError
        If it is missing or no TOML, a key is missing, unknown or of the wrong type, or a value
        makes no sense; the message names it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.catalog.recipes import read_recipe
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "recipe.toml").write_text('name = "mine"\ntitel = "Mine"')
    ...     read_recipe(folder)
    Traceback (most recent call last):
        ...
    astroclip_astro.errors.InputError: ...recipe.toml: unknown key 'titel': did you mean 'title'?
    """
    path = Path(path)
    if path.is_dir():
        path /= _FILE
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise InputError("no such recipe", object_id=str(path)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"no recipe in TOML: {error}", object_id=str(path)) from error
    try:
        found = _checked(Recipe, values, "", text=text, folder=path.parent)
        _check_sense(found)
    except InputError as error:
        raise InputError(str(error), object_id=str(path)) from error
    return found


def find_recipe(name):
    """Find a recipe by its registered name, or by where it is.

    Parameters
    ----------
    name : str or path-like
        A registered catalog that is a recipe, else a file or folder.

    Returns
    -------
    Recipe

    Raises
    ------
    InputError
        If it is not there, or not as it has to be.
    PluginError
        If it is neither a path nor the name of a registered catalog.

    Examples
    --------
    >>> from astroclip_astro.catalog.recipes import find_recipe
    >>> find_recipe("mocks").modalities
    ('image', 'spectrum')
    """
    # A folder beside may have the name of a registered catalog, and is meant by ./NAME.
    if name not in get_manager().entries("catalog") and Path(name).exists():
        return read_recipe(name)
    found = get_manager().load("catalog", str(name))()
    if not isinstance(found, Recipe):
        raise InputError(f"catalog {name!r} is no recipe to build: it is a {type(found).__name__}")
    return found


def shipped(attribute):
    """The function that gives a recipe which comes with the package, as its entry names it.

    Parameters
    ----------
    attribute : str
        Name of its folder, with underscores.

    Returns
    -------
    callable

    Raises
    ------
    AttributeError
        If there is none.
    """
    folder = CATALOGS / attribute.replace("_", "-")
    if not (folder / _FILE).is_file():
        raise AttributeError(f"no recipe named {attribute!r}")
    return lambda: read_recipe(folder)


def _checked(cls, values, where, **given):
    """Make a dataclass of a table of TOML, all of whose keys and types are right."""
    known = {item.name: item for item in fields(cls) if item.name not in given}
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise InputError(f"unknown key {where + key!r}: {hint}")
    for key, item in known.items():
        if key not in values:
            if item.default is MISSING and item.default_factory is MISSING:
                raise InputError(f"{where + key} is missing: expected {_expected(item.type)}")
            continue
        given[key] = _value(item.type, values[key], where + key)
    return cls(**given)


def _value(kind, value, where):
    """A value of the type of its field."""
    plain, inner = get_origin(kind) or kind, get_args(kind)
    if plain is tuple and inner[0] is Source:
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            raise InputError(f"{where}: expected at least one table, [[{where}]]")
        return tuple(_source(one, f"{where}[{i}].") for i, one in enumerate(value))
    right = list if plain is tuple else plain
    if not isinstance(value, right) or isinstance(value, bool):
        raise InputError(f"{where} is {value!r}: expected {_expected(kind)}")
    if plain is tuple:
        return tuple(_value(inner[0], one, f"{where}[{i}]") for i, one in enumerate(value))
    if plain is dict:
        if inner[1] is Column:
            return {k: _column(v, f"{where}.{k}") for k, v in value.items()}
        return {k: _value(inner[1], v, f"{where}.{k}") for k, v in value.items()}
    return value


def _column(value, where):
    if not isinstance(value, dict):
        raise InputError(f"{where} is {value!r}: expected a table with column, unit, description")
    return _checked(Column, value, f"{where}.")


def _source(value, where):
    value = dict(value)
    kind = value.pop("kind", None)
    if kind not in KINDS:
        raise InputError(f"{where}kind is {kind!r}: expected one of {', '.join(KINDS)}")
    return _checked(KINDS[kind], value, where)


def _expected(kind):
    return _TYPES[get_origin(kind) or kind]


def _check_sense(recipe):
    """Refuse what is of the right type, and means nothing."""
    known = get_manager().entries("modality")
    odd = [one for one in recipe.modalities if one not in known]
    if odd or not recipe.modalities:
        raise InputError(f"modalities is {list(recipe.modalities)}: known are {', '.join(known)}")
    names = [source.name for source in recipe.sources]
    for name in (recipe.name, *names):
        if not _NAME.fullmatch(name):
            raise InputError(f"name is {name!r}: expected lower-case letters, digits, '-' and '_'")
    if len(set(names)) < len(names):
        raise InputError(f"sources have the names {', '.join(names)}: expected each once")
    columns = [name for source in recipe.sources for name in source.columns]
    if len(set(columns)) < len(columns):
        raise InputError(f"columns are {', '.join(columns)}: expected each in one source only")
    for i, source in enumerate(recipe.sources):
        where = f"sources[{i}]"
        if source.n < 0:
            raise InputError(f"{where}.n is {source.n}: expected 1 or more")
        if source.kind == "files":
            pattern = Path(source.pattern)
            if pattern.is_absolute() or ".." in pattern.parts or not pattern.parts:
                raise InputError(f"{where}.pattern is {source.pattern!r}: expected one inside")
            if source.columns:
                raise InputError(f"{where}.columns: files have none; add a source of kind table")
        if source.match:
            if i == 0:
                raise InputError(f"{where}.match: the first source is what others are matched to")
            try:
                right = u.Quantity(source.match).to_value(u.arcsec) > 0
            except (TypeError, ValueError, u.UnitsError):
                right = False
            if not right:
                raise InputError(
                    f"{where}.match is {source.match!r}: expected an angle, '1 arcsec'"
                )
        for name, column in source.columns.items():
            try:
                u.Unit(column.unit)
            except ValueError as error:
                raise InputError(
                    f"{where}.columns.{name}.unit is {column.unit!r}: {error}"
                ) from error
