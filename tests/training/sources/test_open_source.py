"""Sources are opened by the name of their kind."""

from importlib import import_module

import pytest

from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.training.sources import KINDS, Source, open_source


def test_every_kind_is_a_source():
    for kind, name in KINDS.items():
        module = import_module(f"astroclip_astro.training.sources.{kind}")
        assert issubclass(getattr(module, name), Source)


def test_options_reach_the_source(survey):
    source = open_source(
        "mocks", survey.path, preprocessing={"spectrum": SpectrumPreprocessing()}, errors="skip"
    )
    assert (source.modalities, source.errors) == ({"spectrum"}, "skip")


def test_unknown_kinds_and_options_are_refused(survey):
    with pytest.raises(InputError, match="no source of kind 'mock': expected one of mocks, pub"):
        open_source("mock", survey.path)
    with pytest.raises(InputError, match=r"kind 'mocks': .*'survey_name'"):
        open_source("mocks", survey.path, survey_name="desi")
