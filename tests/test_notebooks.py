"""Tables that any theme can show and no name can break, and progress bars without warnings."""

import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from astroclip_astro.notebooks import html_table, progress_bar

EVIL = "<script>alert('\"&amp;')</script>"


@pytest.mark.parametrize("folded", [True, False])
def test_everything_is_shown_as_text(folded):
    html = html_table(EVIL, [(EVIL, EVIL), ("n", 3)], header=(EVIL, EVIL), folded=folded)
    tree = ET.fromstring(f"<div>{html}</div>")
    assert tree.findtext(".//summary" if folded else ".//caption") == EVIL
    rows = [[cell.text for cell in row] for row in tree.iter("tr")]
    assert rows == [[EVIL, EVIL], [EVIL, EVIL], ["n", "3"]]
    assert {cell.get("scope") for cell in tree.iter("th")} == {"row", "col"}
    assert {key for element in tree.iter() for key in element.attrib} == {"scope", "style"}
    assert {element.get("style") for element in tree.iter()} == {None, "text-align: left"}


def test_bars_are_shown_when_asked_for_and_not_where_nobody_looks(capsys):
    assert list(progress_bar([1, 2], progress=True)) == [1, 2]
    assert "2/2" in capsys.readouterr().err
    for progress in (False, None):
        assert list(progress_bar([1, 2], progress=progress)) == [1, 2]
        assert capsys.readouterr() == ("", "")
    with progress_bar(progress=True, total=3) as bar:
        bar.update(3)
    assert "3/3" in capsys.readouterr().err


# What tqdm looks for of a notebook, whose streams are no terminals.
NOTEBOOK = """
import sys
from types import ModuleType, SimpleNamespace

ipython = ModuleType("IPython")
ipython.__path__ = []
ipython.get_ipython = lambda: SimpleNamespace()
ipython.display = ModuleType("IPython.display")
ipython.display.display = lambda container: print("displayed")
sys.modules |= {"IPython": ipython, "IPython.display": ipython.display}
sys.modules["ipykernel.zmqshell"] = ModuleType("ipykernel.zmqshell")
"""
WIDGETS = """
class Widget:
    def __init__(self, *arguments, **settings):
        names = "layout", "style", "bar_style"
        self.__dict__ |= {name: SimpleNamespace() for name in names} | settings

class Box(Widget):
    def __init__(self, children=()):
        super().__init__(children=children)

widgets = ModuleType("ipywidgets")
widgets.HTML = widgets.FloatProgress = Widget
widgets.HBox = Box
sys.modules["ipywidgets"] = widgets
"""
LOOP = """
from time import sleep
from astroclip_astro.notebooks import progress_bar
bar = progress_bar([1, 2])
bar.delay = 0.01  # instead of two seconds
for _ in bar:
    sleep(0.2)
"""


def in_notebook(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )


def test_a_notebook_without_widgets_gets_text_and_no_warning():
    done = in_notebook(f"{NOTEBOOK}\nsys.modules['ipywidgets'] = None\n{LOOP}")
    assert done.stdout == ""
    assert "2/2" in done.stderr
    assert "Warning" not in done.stderr


def test_a_notebook_with_widgets_gets_a_widget():
    done = in_notebook(f"{NOTEBOOK}\n{WIDGETS}\n{LOOP}")
    assert done.stdout == "displayed\n"
    assert done.stderr == ""


def test_outside_of_notebooks_no_widgets_are_imported():
    code = "import sys, astroclip_astro.notebooks as n\nassert 'ipywidgets' not in sys.modules"
    assert in_notebook(code).stderr == ""
