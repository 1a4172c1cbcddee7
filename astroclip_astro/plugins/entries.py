"""The typed entries that plugins register: one frozen dataclass per kind of thing."""

from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import ClassVar, get_origin

__all__ = [
    "API_VERSION",
    "CatalogEntry",
    "EngineEntry",
    "Entry",
    "ModalityEntry",
    "ModelEntry",
    "SourceEntry",
    "SurveyEntry",
    "TaskEntry",
]

#: Version of the plugin contract; an entry made for another one is refused.
API_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What every registered thing has in common.

    Parameters
    ----------
    name : str
        Lower-case name by which users ask for it, e.g. ``"desi"``.
    summary : str
        One line for listings.
    factory : str
        Where the thing itself is, ``"package.module:Name"``. It is imported on first use, so that
        listing plugins imports no heavy module.
    api_version : int
        The plugin contract that the entry was written for.
    citation : str
        What to cite: bibcode, DOI or URL.
    licence : str
        Licence of the data or weights, SPDX where there is one.

    Raises
    ------
    TypeError
        If a value is of another type than its field.
    ValueError
        If the name or the factory is malformed.

    Examples
    --------
    >>> from astroclip_astro.plugins.entries import SurveyEntry
    >>> entry = SurveyEntry(name="mine", summary="My survey", factory="my_package.survey:Mine",
    ...                     modality="spectrum")
    >>> entry.kind
    'survey'
    """

    kind: ClassVar[str] = ""

    name: str
    summary: str
    factory: str
    api_version: int = API_VERSION
    citation: str = ""
    licence: str = ""

    def __post_init__(self):
        for item in fields(self):
            value, expected = getattr(self, item.name), get_origin(item.type) or item.type
            if isinstance(expected, type) and not isinstance(value, expected):
                raise TypeError(
                    f"{type(self).__name__} {self.name!r}: {item.name} is {value!r}, expected "
                    f"{'an' if expected is int else 'a'} {expected.__name__}"
                )
        if not self.name or not all(c.islower() or c.isdigit() or c in "-_." for c in self.name):
            raise ValueError(
                f"{type(self).__name__} name {self.name!r}: expected lower-case letters, digits, "
                "'-', '_' and '.'"
            )
        module, colon, attribute = self.factory.partition(":")
        if not (colon and all(p.isidentifier() for p in (*module.split("."), attribute))):
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: factory {self.factory!r} is not of the form "
                "'package.module:Name'"
            )

    def load(self):
        """Import the factory and return it.

        Returns
        -------
        object
            The class or function that ``factory`` names.

        Raises
        ------
        ImportError, AttributeError
            If the module cannot be imported or has no such attribute.
        """
        module, _, attribute = self.factory.partition(":")
        return getattr(import_module(module), attribute)


@dataclass(frozen=True, kw_only=True)
class SurveyEntry(Entry):
    """A survey; its factory is a subclass of `astroclip_astro.surveys.Survey`.

    Parameters
    ----------
    modality : str
        Registered name of the modality that its files hold.
    """

    kind: ClassVar[str] = "survey"
    modality: str


@dataclass(frozen=True, kw_only=True)
class ModalityEntry(Entry):
    """A modality; its factory is a subclass of `astroclip_astro.adapters.modality.Modality`."""

    kind: ClassVar[str] = "modality"


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Entry):
    """A model with weights; its factory is called as ``factory(entry, revision=…)``.

    Parameters
    ----------
    modalities : tuple of str
        Registered names of the modalities that it embeds.
    embed_dim : int
        Length of its vectors.
    parameters : int
        How many parameters it has.
    bundled : bool
        Whether its weights are installed with the plugin, so that it works offline at once.
    options : dict
        What the factory needs to know to find the weights.
    """

    kind: ClassVar[str] = "model"
    modalities: tuple[str, ...]
    embed_dim: int
    parameters: int
    bundled: bool = False
    options: dict = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class TaskEntry(Entry):
    """A downstream task head, in scikit-learn's manners.

    Parameters
    ----------
    fitted : bool
        Whether the factory takes the name of a modality and returns a head that is fitted, so that
        ``predict(obj, task=name)`` works at once; otherwise it is a class of heads to be fitted.
    """

    kind: ClassVar[str] = "task"
    fitted: bool = False


@dataclass(frozen=True, kw_only=True)
class SourceEntry(Entry):
    """An archive; its factory is a subclass of `astroclip_astro.sources.Source`.

    Parameters
    ----------
    modality : str
        Registered name of the modality that it returns.
    """

    kind: ClassVar[str] = "source"
    modality: str


@dataclass(frozen=True, kw_only=True)
class EngineEntry(Entry):
    """A similarity-search engine."""

    kind: ClassVar[str] = "engine"


@dataclass(frozen=True, kw_only=True)
class CatalogEntry(Entry):
    """An embedding catalog, or the recipe that builds it."""

    kind: ClassVar[str] = "catalog"
