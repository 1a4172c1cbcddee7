"""``--json``: one document on stdout, with the keys that the page names."""

import json
import re
import sys

import click
import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from astropy.utils.masked import Masked
from click.testing import CliRunner

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.cli.main import main
from astroclip_astro.cli.printing import printing, report_table
from astroclip_astro.simulate import MockSurvey

MOCKS = MockSurvey.bundled()


def strict(text):
    """Parse JSON that has no NaN in it."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def answer(*arguments, code=0):
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return strict(done.stdout)


@pytest.fixture
def check(documented):
    """Function that compares the keys of a document with those of the page."""

    def check(name, found, *, written=False):
        _, semicolon, text = documented[name].partition("; with `-o`, ")
        if not semicolon:
            text = documented[name]
        elif not written:
            text = "`meta`, `columns`, `rows`"
        keys = [part.split("`")[1] for part in re.split(r", (?=`)", text)]
        assert list(found) == keys

    return check


@pytest.mark.parametrize("command", ["models", "surveys", "tasks", "catalog list", "plugins"])
def test_lists(command, documented):
    found = answer(*command.split())
    assert documented[command].startswith("a list of ")
    assert all(one["name"] for one in found)


def test_catalogs(tmp_path, check):
    path, name = tmp_path / "mocks", str(MOCKS.truth["object_id"][3])
    found = answer("catalog", "build", "mocks", "-o", path, "--source", f"mocks={MOCKS.path}")
    check("catalog build", found)
    assert (found["output"], found["objects"], found["failed"]) == (str(path), 40, 0)

    found = answer("catalog", "info", path)
    check("catalog info", found)
    assert found["vectors"]["image"] == {"objects": 40, "features": 128, "indexed": False}
    assert {"name": "ra", "type": "number", "unit": "deg"}.items() <= found["columns"][1].items()

    found = answer("catalog", "search", path, name, "-k", 3, "--cone", "120 20 180deg")
    check("catalog search", found)
    assert found["rows"][0]["object_id"] == name
    assert len(found["rows"]) == 3
    assert found["meta"]["model"] == "astroclip-mini"
    units = {column["name"]: column["unit"] for column in found["columns"]}
    assert units["ra"] == "deg"
    assert list(units) == list(found["rows"][0])

    found = answer("catalog", "search", path, name, "-k", 3, "-o", tmp_path / "found.vot")
    check("catalog search", found, written=True)
    assert found["objects"] == 3

    found = answer("catalog", "export", path, tmp_path / "all.fits")
    check("catalog export", found)
    assert found["objects"] == 40
    check("catalog compact", answer("catalog", "compact", path))
    found = answer("catalog", "verify", path)
    check("catalog verify", found)
    assert found["damages"] == []
    (file, *_) = (path / "objects.lance" / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    found = answer("catalog", "verify", path, code=1)
    assert found["damages"][0]["path"] == f"objects.lance/data/{file.name}"


def test_files_embedded_predicted_and_appended(tmp_path, check, astroclip, sdss_file):
    files = [sdss_file(tmp_path, fibre, empty=fibre == 2) for fibre in (1, 2)]
    output = tmp_path / "vectors.parquet"
    done = astroclip("-v", "embed", *files, "-o", output, "--json")
    assert done.returncode == 0  # as long as there is one that can be embedded
    assert "0001-55555-0002" in done.stderr
    found = strict(done.stdout)
    check("embed", found)
    assert (found["objects"], found["embedded"], found["flags"]["NO_DATA"]) == (2, 1, 1)

    found = answer("predict", "redshift", *files, "--samples", 2)
    check("predict", found)
    good, lost = found["rows"]
    assert 0 < good["redshift_p50"] < 5
    assert len(good["redshift_samples"]) == 2
    assert lost["redshift_p50"] is None
    assert "NO_DATA" in lost["reason"]
    found = answer("predict", "redshift", *files, "-o", tmp_path / "z.vot")
    check("predict", found, written=True)
    assert (found["objects"], found["answered"]) == (2, 1)

    EmbeddingCatalog.create(tmp_path / "c", aa.embed([MOCKS.spectrum(0)]))
    found = answer("catalog", "append", tmp_path / "c", *files)
    check("catalog append", found)
    assert (found["objects"], found["failed"]) == (1, 1)
    found = answer("catalog", "map", tmp_path / "c")
    check("catalog map", found)
    assert found == {"output": str(tmp_path / "c"), "objects": {"spectrum": 2}}


def test_demo(tmp_path, check):
    pytest.importorskip("matplotlib")
    found = answer("demo", "-o", tmp_path / "demo.png")
    check("demo", found)
    assert len(found["queries"]) == 5
    assert {len(query["nearest"]) for query in found["queries"]} == {3}
    assert found["median_rank"] < len(MOCKS) / 4


def test_plugins(tmp_path, check):
    found = answer("plugins", "new", "mine", "--kind", "survey", "-o", tmp_path / "mine")
    check("plugins new", found)
    assert found == {"output": str(tmp_path / "mine")}


def test_what_others_print_meanwhile_is_no_part_of_it():
    @click.command()
    @printing
    def command(report):
        sys.stdout.write("a library's remark\n")
        report(
            [1.5, float("inf"), np.float32("nan"), np.ma.masked, (np.int8(3),)], ["two", "lines"]
        )

    done = CliRunner().invoke(command, ["--json"])
    assert strict(done.stdout) == [1.5, None, None, None, [3]]
    assert done.stderr == "a library's remark\n"
    done = CliRunner().invoke(command, [])
    assert done.stdout == "a library's remark\ntwo\nlines\n"


def test_tables_keep_units_and_lose_no_value():
    table = QTable({"name": ["a", "b"], "n": [1, 2]}, meta={"model": "toy"})
    table["mass"] = Masked(u.Quantity([10.5, 11], u.dex(u.solMass), subok=True), [False, True])
    table["age"] = [np.nan, 0.1] * u.Gyr
    table["pair"] = np.arange(4.0).reshape(2, 2) * u.m
    table["age"].info.description = "mass-weighted"

    @click.command()
    @printing
    def command(report):
        report_table(table, None, report)

    found = strict(CliRunner().invoke(command, ["--json"]).stdout)
    assert found["rows"] == [
        {"name": "a", "n": 1, "mass": 10.5, "age": None, "pair": [0.0, 1.0]},
        {"name": "b", "n": 2, "mass": None, "age": 0.1, "pair": [2.0, 3.0]},
    ]
    assert [column["unit"] for column in found["columns"]] == ["", "", "dex(solMass)", "Gyr", "m"]
    assert found["columns"][3]["description"] == "mass-weighted"
    assert found["meta"] == {"model": "toy"}
