"""Tables sent over SAMP: a real hub, and real clients that receive them."""

import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.samp import send
from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.errors import CatalogError, InputError
from tests.catalog.samp_hub import samp_hub, samp_program

samp = pytest.importorskip("pyvo.samp")


@pytest.fixture
def hub(tmp_path):
    with samp_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
def program(hub):
    """Function that connects a program; see `samp_program`."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(samp_program(*args, **kwargs))


def a_table():
    table = QTable({"object_id": ["Σ1", "2"], "ra": [150.0, np.nan] * u.deg}, meta={"model": "toy"})
    table["mag"] = [20.5, 21.5] * u.ABmag
    return table


def test_a_table_arrives_with_its_units_and_its_name(program):
    received = program("topcat")
    assert send(a_table(), client="TOPCAT", name="neighbours") == ["topcat"]
    ((params, table),) = received
    assert params["name"] == "neighbours"
    assert table["object_id"].tolist() == ["Σ1", "2"]
    assert table["ra"].unit == u.deg
    np.testing.assert_array_equal(table["ra"].filled(np.nan), [150.0, np.nan])
    assert table["mag"].description == "[mag(AB)]"


def test_all_programs_that_take_tables_get_them_and_no_others(program):
    both = [program("topcat"), program("Aladin")]
    spectra = program("splat", mtype="spectrum.load.ssa-generic")
    assert sorted(send(a_table())) == ["Aladin", "topcat"]
    assert [len(received) for received in both] == [1, 1]
    assert spectra == []


def test_a_catalog_is_sent_without_vectors(program, tmp_path):
    about = {"model": "toy", "weights_sha256": "0" * 64, "preprocessing": "0" * 16}
    columns = {"object_id": ["a", "b"], "modality": ["image"] * 2, "survey": [""] * 2}
    columns |= {name: np.zeros(2) for name in ("ra", "dec", "coverage", "snr")}
    rows = make_embeddings(np.eye(2), columns | {"quality": [0, 0]}, about)
    received = program("topcat")
    send(EmbeddingCatalog.create(tmp_path / "toys", rows))
    ((_, table),) = received
    assert sorted(table["object_id"]) == ["a", "b"]
    assert "image" not in table.colnames


def test_the_file_is_gone_afterwards(program):
    received = program("topcat")
    send(a_table())
    ((params, _),) = received
    assert not Path(params["url"].removeprefix("file://")).exists()


def test_what_goes_wrong_is_said(program):
    program("topcat", answer="samp.error")
    with pytest.raises(CatalogError, match="topcat could not read the table: out of memory"):
        send(a_table())
    with pytest.raises(InputError, match=r"no program named 'Aladin' .* that do: topcat"):
        send(a_table(), client="Aladin")
    with pytest.raises(InputError, match="expected a table"):
        send([1, 2])


def test_nobody_there(hub):
    with pytest.raises(InputError, match=r"no program that takes tables .* that do: none"):
        send(a_table())


def test_without_a_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    with pytest.raises(CatalogError, match="no SAMP hub is running: start TOPCAT"):
        send(a_table())


def test_without_pyvo(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvo.samp", None)
    with pytest.raises(CatalogError, match=r"pip install 'astroclip_astro\[samp\]'"):
        send(a_table())
