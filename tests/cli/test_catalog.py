"""``astroclip catalog`` as a user runs it."""

import json
import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from click.testing import CliRunner

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog, read_map
from astroclip_astro.cli.main import main
from astroclip_astro.plugins import get_manager
from astroclip_astro.simulate import MockSurvey


def run(*arguments):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, ["catalog", *map(str, arguments)])


def good(*arguments):
    """What a command prints that does what it is asked."""
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def bad(*arguments):
    """The one line that a command ends with that cannot do what it is asked."""
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("astroclip: ")
    return last


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


@pytest.fixture(scope="module")
def built(mocks, tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "mocks"
    printed = good("build", "mocks", "-o", path, "--source", f"mocks={mocks.path}")
    assert printed == f"40 objects → {path}\n"
    return path


@pytest.fixture
def few(mocks, tmp_path):
    """A catalog of some spectra that may be changed."""
    rows = aa.embed([mocks.spectrum(i) for i in range(6)])
    columns = Table({"object_id": rows.object_id.values, "mass": np.arange(6.0) * u.kg})
    EmbeddingCatalog.create(tmp_path / "few", rows, columns)
    return tmp_path / "few"


def test_list_names_every_catalog_and_recipe():
    entries = get_manager().entries("catalog")
    _, *lines = good("list").splitlines()
    assert [line.split()[0] for line in lines] == list(entries)
    assert [entry["name"] for entry in json.loads(good("list", "--json"))] == list(entries)


class TestBuild:
    def test_what_was_left_out_is_counted(self, tmp_path, sdss_file):
        (tmp_path / "data").mkdir()
        for fibre in (1, 2, 3):
            sdss_file(tmp_path / "data", fibre, empty=fibre == 2)
        path = tmp_path / "mine"
        first, second = good(
            "build", "my-fits", "-o", path, "--source", f"files={tmp_path / 'data'}"
        ).splitlines()
        assert first == f"2 objects → {path}"
        assert second.split() == [
            "1",
            "could",
            "not",
            "be",
            "used:",
            "see",
            f"{path}/report.ecsv",
        ]

    def test_errors_are_one_line_with_the_cause(self, tmp_path, built):
        assert "https://data.sdss.org" in bad("build", "sdss-spectra", "-o", tmp_path / "x")
        assert "no catalog named 'mock'" in bad("build", "mock", "-o", tmp_path / "x")
        assert "exists" in bad("build", "mocks", "-o", built)
        done = run("build", "mocks", "-o", tmp_path / "x", "--source", "mocks")
        assert done.exit_code == 2
        assert "expected NAME=PATH" in done.stderr


def test_info_tells_what_is_in_a_catalog(built):
    text = good("info", built)
    lines = [line.split(maxsplit=3) for line in text.splitlines()]
    assert text.startswith("40 objects, ")
    assert ["image:", "40", "of", "128 numbers, without an index"] in lines
    assert ["age", "number", "Gyr", "mass-weighted age"] in lines
    assert ["licence:", "BSD-3-Clause"] in lines
    assert ["model:", "astroclip-mini"] in lines


class TestSearch:
    def test_an_object_of_the_catalog(self, built, mocks):
        name = str(mocks.truth["object_id"][3])
        header, _, _, *lines = good("search", built, name, "-k", 3).splitlines()
        assert header.split()[:3] == ["object_id", "score", "separation"]
        assert len(lines) == 3
        assert lines[0].split()[:2] == [name, "1.0"]

    def test_a_file_is_embedded(self, few, tmp_path, sdss_file):
        found = tmp_path / "found.ecsv"
        good("search", few, sdss_file(tmp_path, 1), "-k", 2, "-o", found)
        table = Table.read(found)
        assert len(table) == 2
        assert table["mass"].unit == u.kg
        assert json.loads(table.meta["embed"])["attrs"]["model"] == "astroclip-mini"

    @pytest.mark.parametrize("suffix", [".fits", ".vot", ".parquet"])
    def test_the_same_as_in_python(self, built, mocks, tmp_path, suffix):
        names = [str(name) for name in mocks.truth["object_id"][[3, 5]]]
        out = tmp_path / f"found{suffix}"
        printed = good(
            "search", built, *names, "-k", 4, "--modality", "image", "--where", "z < 0.5",
            "--cone", "120 20 120 deg", "--exclude-self", "-o", out,
        )  # fmt: skip
        cone = (SkyCoord(120 * u.deg, 20 * u.deg), 120 * u.deg)
        expected = EmbeddingCatalog.open(built).search(
            names, 4, modality="image", where="z < 0.5", cone=cone, exclude_self=True
        )
        assert printed == f"{len(expected)} objects → {out}\n"
        table = Table.read(out)
        table.convert_bytestring_to_unicode()
        assert table["object_id"].tolist() == expected["object_id"].tolist()
        np.testing.assert_allclose(table["score"], expected["score"])

    def test_at_fixed_redshift(self, built, mocks):
        name = str(mocks.truth["object_id"][3])
        assert good("search", built, name, "--at-fixed-redshift") != good("search", built, name)

    def test_errors_are_one_line_with_the_cause(self, built, tmp_path):
        assert "nosuch: there is no such object" in bad("search", built, "nosuch")
        assert "no such catalog" in bad("search", tmp_path / "no", "x")
        assert "unknown suffix '.csv'" in bad("search", built, "x", "-o", tmp_path / "x.csv")
        assert "no column 'q'" in bad("search", built, "mock-2024-0000009", "--where", "q > 1")
        for cone in ("1 2", "1 2 3", "1 2 3kg", "x 2 3deg", "1 100 3deg"):
            done = run("search", built, "x", "--cone", cone)
            assert done.exit_code == 2
            assert "150.1 2.2 10arcmin" in done.stderr

    def test_an_existing_file_is_kept(self, built, mocks, tmp_path):
        name, out = str(mocks.truth["object_id"][3]), tmp_path / "found.fits"
        out.write_text("precious")
        assert "exists" in bad("search", built, name, "-o", out)
        assert out.read_text() == "precious"
        good("search", built, name, "-o", out, "--overwrite")
        assert len(Table.read(out)) == 10


def test_export(built, tmp_path):
    out = tmp_path / "mocks.parquet"
    assert good("export", built, out) == f"40 objects → {out}\n"
    assert Table.read(out)["image"].shape == (40, 128)
    assert "exists" in bad("export", built, out)
    count = len(EmbeddingCatalog.open(built).table(where="n_arms > 0"))
    printed = good("export", built, out, "--where", "n_arms > 0", "--overwrite")
    assert printed == f"{count} objects → {out}\n"
    assert len(Table.read(out)) == count


class TestAppend:
    def columns(self, folder, *names):
        table = Table({"object_id": list(names), "mass": np.ones(len(names)) * u.g})
        table.write(folder / "columns.ecsv")
        return folder / "columns.ecsv"

    @pytest.mark.parametrize("suffix", [".parquet", ".fits"])
    def test_embeddings_and_files_to_embed(self, few, mocks, tmp_path, sdss_file, suffix):
        vectors = tmp_path / f"vectors{suffix}"
        aa.embed([mocks.spectrum(7)]).astroclip.save(vectors)
        files = [vectors, sdss_file(tmp_path, 1), sdss_file(tmp_path, 2, empty=True)]
        name = str(mocks.truth["object_id"][7])
        given = self.columns(tmp_path, name)
        first, second = good("append", few, *files, "--columns", given).splitlines()
        assert first == f"2 objects → {few}"
        assert second.strip() == "1  could not be embedded; see the log"
        table = EmbeddingCatalog.open(few).table()
        assert len(table) == 8
        assert table["mass"][table["object_id"] == name].to_value(u.kg) == 1e-3
        assert np.isnan(table["mass"][table["object_id"] == "0001-55555-0001"])

    def test_errors_are_one_line_with_the_cause(self, few, mocks, tmp_path, sdss_file):
        vectors = tmp_path / "vectors.nc"
        aa.embed([mocks.spectrum(0)]).astroclip.save(vectors)
        given = self.columns(tmp_path, "x")
        assert "in the catalog already" in bad("append", few, vectors, "--columns", given)
        assert "expected a table" in bad("append", few, vectors)
        empty = sdss_file(tmp_path, 2, empty=True)
        assert "none of the 1 objects" in bad("append", few, empty, "--columns", given)
        assert "none of the 1 objects" in bad("append", few, tmp_path / "no.fits")
        assert len(EmbeddingCatalog.open(few)) == 6


def test_map(few, built):
    catalog = EmbeddingCatalog.open(few)
    catalog.delete(where="mass > 2")  # three are left, for which UMAP need not be compiled
    assert good("map", few) == f"3 objects on the map of spectrum: {few}\n"
    table = read_map(catalog, "spectrum")
    assert sorted(table["object_id"]) == sorted(catalog.table()["object_id"])
    (few / "map-spectrum.parquet").write_bytes(b"else")
    assert (
        run("verify", few).stdout == "map-spectrum.parquet: its content is not what was written\n"
    )
    good("map", few, "--modality", "spectrum")
    assert good("verify", few) == f"all as written: {few}\n"
    assert "the catalog has vectors of spectrum" in bad("map", few, "--modality", "image")
    assert "no such catalog" in bad("map", few / "none")
    assert not list(built.glob("map-*"))  # only who asks for maps gets them


def test_compact_and_verify(few):
    EmbeddingCatalog.open(few).delete(where="mass > 3")
    assert good("compact", few) == f"in order: {few}\n"
    assert good("verify", few) == f"all as written: {few}\n"
    (file, *_) = (few / "objects.lance" / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    done = run("verify", few)
    assert done.exit_code == 1
    assert done.stdout == f"objects.lance/data/{file.name}: its content is not what was written\n"
    assert done.stderr.startswith(f"astroclip: {few} is damaged")
    assert "is no embedding catalog" in bad("verify", few.parent)
