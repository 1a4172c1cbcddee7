"""Checks of sources: they contact nobody unasked, and say what they give."""

import inspect

from astropy.coordinates import SkyCoord

import astroclip_astro as aa
from astroclip_astro.errors import AstroclipError
from astroclip_astro.sources import Source
from astroclip_astro.testing.check import NotApplicable, check, require
from astroclip_astro.testing.plugin import factory_loads, python

__all__ = ["CHECKS"]

_CONSTRUCT = """
import sys
answer = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        answer.append(event)
sys.addaudithook(hook)
from astroclip_astro.plugins import get_manager
get_manager().load("source", {name!r})()
"""


@check(
    fix="Subclass astroclip_astro.sources.Source, with a constructor that needs no arguments, and "
    "set modality as the entry has it, survey (a registered name, or '') and connections."
)
def is_a_source(subject):
    """The factory makes a Source whose modality and survey are registered."""
    source = subject.needs(factory_loads)()
    require(isinstance(source, Source), f"it makes {source!r}, expected a Source")
    wanted = subject.entry.modality
    modality = getattr(source, "modality", None)
    require(modality == wanted, f"its modality is {modality!r}, its entry says {wanted!r}")
    known = subject.manager.entries("modality")
    require(wanted in known, f"there is no modality {wanted!r}: known are {', '.join(known)}")
    surveys = subject.manager.entries("survey")
    require(
        source.survey == "" or source.survey in surveys,
        f"there is no survey {source.survey!r}: known are {', '.join(surveys)}",
    )
    if source.survey:
        kind = surveys[source.survey].modality
        require(kind == wanted, f"survey {source.survey!r} is of {kind} data, not of {wanted} data")
    number = source.connections
    require(
        type(number) is int and number > 0, f"its connections is {number!r}, expected 1 or more"
    )
    return source


@check(
    fix="Open connections, look names up and log in where fetch is called first, not in the "
    "constructor nor where the module is imported."
)
def contacts_nobody(subject):
    """Importing and constructing it neither connects to anything nor looks up a name."""
    subject.needs(factory_loads)
    contacts, _ = python(_CONSTRUCT.format(name=subject.entry.name))
    require(not contacts, f"making it calls {', '.join(contacts)}")


@check(
    fix="Define it as `def fetch(self, coordinate):`; what can be chosen goes to the constructor."
)
def fetch_takes_a_coordinate(subject):
    """The source has a fetch of its own, which can be called with one coordinate alone."""
    source = subject.needs(is_a_source)
    require(type(source).fetch is not Source.fetch, "it has no fetch of its own")
    signature = inspect.signature(source.fetch)
    try:
        signature.bind(SkyCoord(0, 0, unit="deg"))
    except TypeError:
        require(False, f"fetch{signature} cannot be called with one coordinate")


@check(
    fix="Return what embed takes: a Spectrum, NDData or HDUList with units, as docs/data.md says; "
    "raise InputError where the archive has nothing."
)
def fetches_what_can_be_embedded(subject):
    """What is fetched at the example's coordinate can be embedded."""
    source = subject.needs(is_a_source)
    if subject.example is None:
        raise NotApplicable("no example: give parametrize_with_checks(…, example=…) a SkyCoord")
    if source.modality not in aa.load_model("astroclip-mini").modalities:
        raise NotApplicable(f"the bundled model does not embed {source.modality} data")
    obj = source.fetch(subject.example)
    try:
        vector = aa.embed(obj, model="astroclip-mini", survey=source.survey or None, errors="raise")
    except (AstroclipError, TypeError) as error:
        require(False, f"fetch returned a {type(obj).__name__}: {error}")
    found = set(vector.astroclip.rows().modality.values)
    require(found == {source.modality}, f"fetch returned {' and '.join(found)} data")


CHECKS = (is_a_source, contacts_nobody, fetch_takes_a_coordinate, fetches_what_can_be_embedded)
