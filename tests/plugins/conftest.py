"""A fixture that makes real distributions with real entry points."""

import sys
import textwrap

import pytest


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution for one test: its metadata, entry points and modules on sys.path."""
    modules_before = set(sys.modules)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(name, points, modules, version="1.0"):
        metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        lines = [f"{point} = {value}" for point, value in points.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[astroclip_astro]", *lines]))
        for file, source in modules.items():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text(textwrap.dedent(source))
        return site

    yield install
    for name in set(sys.modules) - modules_before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
