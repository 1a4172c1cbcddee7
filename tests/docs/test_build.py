"""The pages and the reference build as HTML without a warning, and no link in it leads nowhere."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import astroclip_astro as aa

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("myst_parser", "numpydoc", "pydata_sphinx_theme", "sphinx", "sphinx_automodapi")
MISSING = [name for name in NEEDED if find_spec(name) is None]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of the HTML, made from a copy: the reference is written beside the other pages."""
    if MISSING:
        pytest.skip(f"pip install astroclip_astro[docs]: there is no {', '.join(MISSING)}")
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("_build", "api"))
    for name in ("astroclip_astro", "benchmarks", "catalogs", "plugins"):
        (folder / name).symlink_to(ROOT / name)
    environ = {k: v for k, v in os.environ.items() if k != "ASTROCLIP_DOCS_INTERSPHINX"}
    command = ["-m", "sphinx", "-W", "--keep-going", "-q", "docs", "docs/_build"]
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "docs" / "_build"


def test_every_page_is_there(built):
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert pages
    assert [page for page in pages if not (built / page.with_suffix(".html")).is_file()] == []


@pytest.fixture(scope="module")
def links(built):
    """What each page of the HTML links to, as it is written there."""
    pages = [page for page in built.rglob("*.html") if "_static" not in page.parts]
    assert len(pages) > 20
    return {
        page: set(re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8")))
        for page in pages
    }


def test_links_between_pages_lead_somewhere(links):
    anchors, dead = {}, []
    for page, link in [(page, link) for page, found in links.items() for link in found]:
        parts = urlsplit(link)
        if parts.scheme or link == "#":
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if target not in anchors and target.suffix == ".html" and target.is_file():
            anchors[target] = set(re.findall(r'\bid="([^"]+)"', target.read_text("utf-8")))
        anchor = unquote(parts.fragment)
        if not target.exists() or (anchor and anchor not in anchors[target]):
            dead.append((page.name, link))
    assert len(anchors) > 20
    assert dead == []


def test_links_to_other_sites_are_sound(links):
    """That they are answered is for ``sphinx-build -b linkcheck``, which needs the network."""
    others = {link for found in links.values() for link in found if urlsplit(link).scheme}
    others = {link for link in others if not link.startswith("data:")}
    host = re.compile(r"([a-z0-9-]+\.)+[a-z]{2,}")
    assert others
    assert [
        link
        for link in others
        if urlsplit(link).scheme != "https"
        or not host.fullmatch(urlsplit(link).netloc)
        or re.search(r"[\s<>`]|[.,;]$", link)
    ] == []


def test_pages_of_no_section_have_no_empty_sidebar(built):
    for path in built.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert not re.search(r'class="bd-toc-item navbar-nav">\s*</div>', page), path.name


def test_links_to_files_beside_the_pages_are_downloads(built):
    page = (built / "other-surveys.html").read_text(encoding="utf-8")
    (readme,) = re.findall(
        r'href="(_downloads/\w+/README.md)"[^>]*>(?:<[^>]+>)*astroclip-hsc', page
    )
    expected = ROOT / "plugins" / "astroclip-hsc" / "README.md"
    assert (built / readme).read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("name", sorted({*aa.__all__} - {"__version__", "errors"}))
def test_reference_has_what_the_package_exports(built, name):
    page = (built / "api" / f"astroclip_astro.{name}.html").read_text(encoding="utf-8")
    assert f'id="astroclip_astro.{name}"' in page
