"""What a page keeps of its state when something fails, or is gone back to."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog, make_map
from astroclip_astro.errors import InputError
from astroclip_astro.explorer import explore
from astroclip_astro.explorer.atlas import Atlas
from astroclip_astro.explorer.page import Page
from astroclip_astro.explorer.portrait import portrait
from astroclip_astro.simulate import MockSurvey

COUNT = 8


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


@pytest.fixture
def catalog(mocks, tmp_path):
    images = aa.embed([mocks.cutout(i) for i in range(COUNT)])
    catalog = EmbeddingCatalog.create(tmp_path / "mocks", images[:-1])
    make_map(catalog, "image")
    return catalog


def ask(page, **asked):
    page._answer(asked, 0)
    return page.form


def test_what_cannot_be_shown_changes_nothing(catalog, mocks, caplog):
    def objects(object_id, modality):
        if object_id == broken:
            raise ZeroDivisionError
        raise InputError("there are no data", object_id=object_id)

    atlas = Atlas(catalog, objects)
    page = Page(atlas, SimpleNamespace(largest=1), served=False)
    good, broken = atlas.names[:2]
    assert ask(page, do="open", object=good)["error"] == ""
    before = page._view, page.shown, page.lists, page._found
    for where in ("", "redshift > 0"):
        ask(page, do="view", where=where)
        with caplog.at_level(logging.CRITICAL):
            form = ask(page, do="open", object=broken)
        assert form["error"]
        assert f"object={good}" in form["query"]
        assert page.shown == before[1]
    assert ask(page, do="view", where="")["error"] == ""
    assert page._view == before[0]
    assert page.lists == before[2]


@pytest.mark.parametrize("redshift", [0.0668123456, np.nan])
def test_a_dropped_file_is_still_there_when_gone_back_to(catalog, mocks, redshift):
    page = Page(Atlas(catalog, None), SimpleNamespace(largest=1), served=False)
    embedding = aa.embed([mocks.cutout(0)])[0].assign_coords(redshift=redshift)
    picture = portrait(mocks.cutout(0), aa.load_model())
    page._on_embedded((embedding, picture, None))
    query = page.form["query"]
    shown = dict(page.shown)
    assert shown["picture"]
    ask(page, do="link", query="")
    assert not page.shown.get("picture")
    ask(page, do="link", query=query)
    assert page.shown["picture"] == shown["picture"]


def test_a_page_is_of_the_catalog_as_it_was(catalog, mocks):
    page = explore(catalog)
    names = catalog.table()["object_id"].tolist()
    catalog.delete(where=f"object_id = '{names[0]}'")
    catalog.append(aa.embed([mocks.cutout(COUNT - 1)]))
    assert len(catalog) == len(names)
    every = np.ones(len(names), bool)
    assert page._atlas.table(every)["object_id"].tolist() == names
    redshift = {str(name): z for name, z in zip(names, page._atlas.redshift, strict=True)}
    assert ask(page, do="view", where="redshift < 0.2")["error"] == ""
    passing = page._atlas.names[page._passing]
    assert sorted(passing) == sorted(name for name, z in redshift.items() if z < 0.2)
