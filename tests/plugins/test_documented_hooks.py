"""Every hook has a page, and the plugin on it works: installed, loaded, and its examples run."""

import doctest
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from astroclip_astro.plugins import get_manager
from astroclip_astro.plugins.discovery import HOOKS
from astroclip_astro.testing import run_checks
from astroclip_astro.testing.plugin import CHECKS, ENTRY_CHECKS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "hooks"
KINDS = {
    "register_surveys": "survey",
    "register_modalities": "modality",
    "register_models": "model",
    "register_tasks": "task",
    "register_sources": "source",
    "register_engines": "engine",
    "register_catalogs": "catalog",
    "register_commands": "command",
}
#: Kinds with checks of their own.
CHECKED = ("survey", "modality", "task", "source")


def blocks(page, language):
    """Contents of the fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def page(request, install, tmp_path, monkeypatch):
    """Text of a hook's page, with its plugin installed; examples write into an empty folder."""
    text = (PAGES / f"{request.param}.md").read_text(encoding="utf-8")
    (project,) = (tomllib.loads(block) for block in blocks(text, "toml"))
    files = {
        block.partition("\n")[0].removeprefix("# "): block
        for block in blocks(text, "python")
        if block.startswith("# ")
    }
    metadata = project["project"]
    points = metadata["entry-points"]["astroclip_astro"]
    install(metadata["name"], points, files, version=metadata["version"])
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    get_manager.cache_clear()
    yield text
    get_manager.cache_clear()


@pytest.mark.parametrize("hook", HOOKS)
def test_page_of_a_hook_names_its_checks(hook):
    text = (PAGES / f"{hook}.md").read_text(encoding="utf-8").partition("\n## Checks\n")[2]
    assert "[the checks of every plugin](../plugins.md#the-checks)" in text
    named = re.findall(r"`([a-z-]+)`", text)
    kind = KINDS[hook]
    own = import_module(f"astroclip_astro.testing.{kind}").CHECKS if kind in CHECKED else ()
    assert named == [check.name for check in own]


def test_page_about_plugins_names_the_checks_of_every_plugin():
    text = (
        (PAGES.parent / "plugins.md").read_text(encoding="utf-8").partition("\n## The checks\n")[2]
    )
    named = re.findall(r"`([a-z-]+)`", text)
    assert named == [check.name for check in (*CHECKS, *ENTRY_CHECKS)]


def test_every_hook_has_a_page_and_every_page_a_hook():
    assert {path.stem for path in PAGES.glob("*.md")} == {*HOOKS, "index"}
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\w+)\.md\)", index) == list(KINDS)
    assert set(KINDS) == set(HOOKS)


@pytest.mark.parametrize(("hook", "page"), [(hook, hook) for hook in HOOKS], indirect=["page"])
def test_plugin_on_the_page_of_a_hook_works(hook, page):
    (code,) = [block for block in blocks(page, "python") if block.startswith(">>>")]
    examples = doctest.DocTestParser().get_doctest(code, {}, hook, f"{hook}.md", 0)
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.REPORT_NDIFF
    )
    printed = []
    runner.run(examples, out=printed.append)
    assert runner.failures == 0, "".join(printed)
    assert runner.tries > 0
    manager = get_manager()
    assert manager.failures == []
    (plugin,) = [plugin for plugin in manager.plugins() if plugin["name"] != "builtin"]
    assert KINDS[hook] in plugin["entries"]
    failed = [result for result in run_checks(plugin["name"]) if result.outcome == "failed"]
    assert failed == []
