"""Fixtures of the tests."""

from pathlib import Path

import pytest


@pytest.fixture
def shared_data():
    """Folder of real data beside the checkout; tests that need it skip where it is absent."""
    path = Path(__file__).resolve().parents[4] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the reference data folder ../shared")
    return path
