"""The page about figures does what it says, and its pictures are there and small."""

import doctest
import re
from pathlib import Path

from matplotlib import pyplot as plt

from astroclip_astro import plot

PAGE = Path(__file__).parents[2] / "docs" / "figures.md"


def test_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.close("all")  # of what was tested before
    failed, tried = doctest.testfile(
        str(PAGE),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    drawn = len(plt.get_fignums())
    plt.close("all")
    assert tried
    assert not failed
    assert drawn == len([name for name in plot.__all__ if name != "LINES"])


def test_every_figure_has_an_example():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in plot.__all__ if name != "LINES" and f"{name}(" not in text] == []


def test_pictures_are_there_and_small():
    pictures = re.findall(r"\]\((images/.*?)\)", PAGE.read_text(encoding="utf-8"))
    assert pictures
    for picture in pictures:
        assert 0 < (PAGE.parent / picture).stat().st_size < 150_000
