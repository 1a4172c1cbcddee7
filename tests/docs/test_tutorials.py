"""The start page and the tutorials do what they say, and their pictures are there and small."""

import doctest
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

DOCS = Path(__file__).parents[2] / "docs"
# By package that not every installation has: where it is used, not only named.
NEEDED = {"bagpipes": "MockSurvey.generate(", "lightning": ".trainer import", "lsdb": "import lsdb"}
PAGES = [DOCS / "start.md", *sorted((DOCS / "tutorials").glob("*.md"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all pages are followed: what one has simulated, another finds there."""
    return tmp_path_factory.mktemp("tutorials")


@each_page
# LSDB 0.11 sets an option, and passes arguments, that pandas 3.1 deprecates.
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_page(page, folder, monkeypatch):
    text = page.read_text(encoding="utf-8")
    for package, use in NEEDED.items():
        if use in text and find_spec(package) is None:
            pytest.skip(f"there is no {package}")
    modules = set(sys.modules)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)  # as in a session that is started there
    plt.close("all")  # of what was tested before
    failed, tried = doctest.testfile(
        str(page),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    drawn = len(plt.get_fignums())
    plt.close("all")
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]
    assert tried
    assert not failed
    assert drawn >= len(pictures(text))


@each_page
def test_pictures_are_there_and_small(page):
    for picture in pictures(page.read_text(encoding="utf-8")):
        assert 0 < (page.parent / picture).stat().st_size < 150_000


def pictures(text):
    """Names of the pictures of a page."""
    return re.findall(r"!\[.*?\]\((.*?)\)", text)
