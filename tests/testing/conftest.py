"""Plugins made from the templates, whole or with one thing broken."""

import pytest

from astroclip_astro.plugins import get_manager
from astroclip_astro.plugins.template import new_plugin


@pytest.fixture
def plugin(install, tmp_path):
    """Function that installs a new plugin of a kind, after some edits of its text.

    `edits` are pairs of a text, which must be there, and another; the new folder is returned.
    """
    get_manager.cache_clear()

    def plugin(kind, *edits, name="mine", version="0.1.0"):
        folder = new_plugin(name, kind, tmp_path / f"astroclip-{name}")
        package = folder / f"astroclip_{name}"
        texts = {
            str(path.relative_to(folder)): path.read_text(encoding="utf-8")
            for path in package.glob("*.py")
        }
        for old, new in edits:
            assert any(old in text for text in texts.values()), old
            texts = {path: text.replace(old, new) for path, text in texts.items()}
        install(f"astroclip-{name}", {name: package.name}, texts, version=version)
        get_manager.cache_clear()
        return folder

    yield plugin
    get_manager.cache_clear()
