"""Every block of the documentation is executed: pages are followed from top to bottom.

A page is followed in a folder of its own, with what `stages` says that its reader has. `>>>`
examples are doctests and other `python` blocks are run as they stand, in one namespace; `shell`
blocks are given to bash, with the command ``astroclip`` and without the network; `toml` is parsed.
What cannot be run is in `NOT_RUN`, with the reason. Some pages have tests of their own.
"""

import doctest
import importlib
import logging
import os
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from astroclip_astro.plugins import get_manager
from tests.docs.not_run import NOT_RUN
from tests.docs.pages import PAGES, ROOT, blocks
from tests.docs.stages import STAGES
from tests.docs.warm import warm_command

#: Pages that other tests follow, with the languages that those execute.
ELSEWHERE = {
    "docs/figures.md": ("test_figures.py", {"python"}),
    "docs/plugins.md": ("test_plugins.py", {"python", "shell", "text"}),
    "docs/hooks/register_*.md": ("../plugins/test_documented_hooks.py", {"python", "toml"}),
    "docs/tutorials/*.md": ("test_tutorials.py", {"python"}),
}

FOLLOWED = [page for page in PAGES if not any(fnmatch(page, other) for other in ELSEWHERE)]


def not_run(page):
    return {text for pages in NOT_RUN.values() for text in pages.get(page, ())}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Folder of what shell blocks find first: this Python, and a warm ``astroclip``."""
    folder = tmp_path_factory.mktemp("bin")
    # Not a link: Python looks beside its own path for its environment.
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "python").chmod(0o755)
    with warm_command(folder / "astroclip"):
        yield folder


class Reader:
    """Does what a page says, block by block."""

    def __init__(self, page, folder, environ, names):
        self.page, self.folder, self.environ, self.names = page, folder, environ, names
        self.not_run = not_run(page)

    def python(self, block):
        if not block.text.startswith(">>>"):
            code = compile(block.text, f"{self.page}, line {block.line}", "exec")
            exec(code, self.names)
            return
        test = doctest.DocTestParser().get_doctest(
            block.text, self.names, self.page, self.page, block.line - 1
        )
        test.globs = self.names  # not a copy: blocks follow each other
        test.examples = [e for e in test.examples if e.source.strip() not in self.not_run]
        skipped = [e.source for e in test.examples if e.options.get(doctest.SKIP)]
        assert not skipped, f"skipped, but not in NOT_RUN: {skipped}"
        runner = doctest.DocTestRunner(
            optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.REPORT_NDIFF
        )
        said = []
        runner.run(test, out=said.append, clear_globs=False)
        assert not runner.failures, "".join(said)

    def shell(self, block):
        lines = [line for line in block.statements if line not in self.not_run]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        # What was installed is there from now on.
        importlib.invalidate_caches()
        get_manager.cache_clear()

    def toml(self, block):
        assert tomllib.loads(block.text)

    def text(self, block):
        assert {*block.statements} <= self.not_run, f"line {block.line}: nobody compares this text"


@pytest.fixture
def reader(request, tmp_path, monkeypatch, programs, install):
    page = request.param
    folder, site = tmp_path / "here", tmp_path / "packages"
    folder.mkdir()
    site.mkdir()
    monkeypatch.chdir(folder)
    for place in (folder, site):
        monkeypatch.syspath_prepend(place)
    environ = os.environ | {
        "HOME": str(folder),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        # Packages are built from folders, and installed aside.
        "PIP_TARGET": str(site),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # the variable is that of the option's value: no isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # Nobody is there.
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    before, log = set(sys.modules), logging.getLogger("astroclip_astro")
    level = log.level
    with ExitStack() as stack:
        make = STAGES.get(page, lambda *_: {})
        names = make(folder, stack.enter_context, install)
        get_manager.cache_clear()
        yield Reader(page, folder, environ, {"__name__": "__page__"} | names)
    # What a page may leave behind.
    log.setLevel(level)
    plt.close("all")
    get_manager.cache_clear()
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def with_blocks(pages):
    return [page for page in pages if any(b.language != "{toctree}" for b in blocks(page))]


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # of LSDB
@pytest.mark.parametrize("reader", with_blocks(FOLLOWED), indirect=True)
def test_page_is_followed(reader):
    for block in blocks(reader.page):
        if block.language == "{toctree}":  # Sphinx builds it
            continue
        execute = {"python", "shell", "text", "toml"} & {block.language}
        assert execute, f"line {block.line}: nobody executes {block.language or 'plain'} blocks"
        getattr(reader, block.language)(block)


@pytest.mark.parametrize("pattern", ELSEWHERE)
def test_pages_with_a_test_of_their_own(pattern):
    test, languages = ELSEWHERE[pattern]
    pages = [page for page in PAGES if fnmatch(page, pattern)]
    assert pages
    assert (Path(__file__).parent / test).is_file()
    for page in pages:
        for block in blocks(page):
            skipped = {one for one in block.statements if "+SKIP" in one}
            if block.language not in languages:
                skipped |= {*block.statements}
            assert skipped <= not_run(page), page


def test_stages_are_of_pages():
    assert set(STAGES) <= set(FOLLOWED)
