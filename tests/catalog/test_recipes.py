"""Recipes: what they may say, what is built of them, and what happens when a build is killed."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from filelock import FileLock

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.recipes import build, find_recipe, read_recipe
from astroclip_astro.errors import CatalogError, InputError, PluginError
from astroclip_astro.plugins import get_manager
from astroclip_astro.plugins.folders import CATALOGS
from astroclip_astro.simulate import MockSurvey
from tests.catalog.recipe_texts import FILES, HEAD, MOCKS, TABLE

builder = import_module("astroclip_astro.catalog.recipes.builder")
gathering = import_module("astroclip_astro.catalog.recipes.gathering")
kinds = import_module("astroclip_astro.catalog.recipes.kinds")

NAMES = ["desi-dr1-legacy-dr10", "desi-edr-legacy-dr9", "mocks", "my-fits", "sdss-spectra"]


def recipe_of(folder, text):
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return read_recipe(folder)


def vectors_by_name(catalog, modality):
    rows = catalog.embeddings(modality)
    return dict(zip(rows.coords["object_id"].values.tolist(), rows.values, strict=True))


@pytest.fixture(scope="module")
def whole(mocks, tmp_path_factory):
    """The mocks, built in one go."""
    path = tmp_path_factory.mktemp("whole") / "mocks"
    return build("mocks", path, sources={"mocks": mocks.path})


def assert_embedded(catalog, modality, objects, names):
    """That the vectors are those that `embed` gives, as float16 keeps them."""
    found = vectors_by_name(catalog, modality)
    assert sorted(found) == sorted(names)
    expected = aa.embed(objects).values.astype(np.float16)
    np.testing.assert_allclose([found[name] for name in names], expected, atol=2e-3)


def report_of(path):
    return Table.read(path / "report.ecsv", format="ascii.ecsv")


class TestReading:
    def test_recipes_that_come_along_are_registered_and_say_the_same(self):
        entries = get_manager().entries("catalog")
        assert sorted(p.parent.name for p in CATALOGS.glob("*/recipe.toml")) == NAMES
        assert set(NAMES) <= set(entries)
        for name in NAMES:
            recipe = find_recipe(name)
            entry = entries[name]
            assert recipe.name == name == recipe.folder.name
            assert (entry.summary, entry.licence) == (recipe.title, recipe.licence)
            assert recipe.model in get_manager().entries("model")
            for source in recipe.sources:
                assert source.kind == "mocks" or source.fetch

    def test_a_recipe_is_found_by_where_it_is(self, tmp_path, monkeypatch):
        recipe = recipe_of(tmp_path, MOCKS)
        assert find_recipe(tmp_path) == recipe
        assert find_recipe(str(tmp_path / "recipe.toml")) == recipe
        assert recipe.sources[0] == kinds.Mocks(name="mocks")
        # A folder that happens to have the name of a recipe is not meant.
        (tmp_path / "mocks").mkdir()
        monkeypatch.chdir(tmp_path)
        assert find_recipe("mocks").folder == CATALOGS / "mocks"
        with pytest.raises(InputError, match="no such recipe"):
            find_recipe("./mocks")
        with pytest.raises(PluginError, match=r"no catalog named 'mock'.*Did you mean 'mocks'"):
            find_recipe("mock")

    def test_a_catalog_that_is_made_is_no_recipe(self, monkeypatch):
        monkeypatch.setattr(type(get_manager()), "load", lambda *_: lambda: "vectors")
        with pytest.raises(InputError, match="'mocks' is no recipe to build: it is a str"):
            find_recipe("mocks")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("name = ", "no recipe in TOML"),
            ("titel = 3" + HEAD, "unknown key 'titel': did you mean 'title'"),
            (MOCKS + "sed = 3", r"unknown key 'sources\[0\].sed': did you mean 'seed'"),
            (MOCKS.replace('licence = "CC-BY-4.0"', ""), "licence is missing: expected text"),
            (HEAD, "sources is missing: expected a list"),
            (HEAD + "sources = []", "sources: expected at least one table"),
            (MOCKS.replace('"mocks"', "7", 1), r"sources\[0\].name is 7: expected text"),
            (
                MOCKS.replace('kind = "mocks"', 'kind = "sql"'),
                "kind is 'sql': expected one of mocks",
            ),
            (MOCKS + "n = true", r"sources\[0\].n is True: expected a whole number"),
            (MOCKS + "n = 2.5", r"sources\[0\].n is 2.5: expected a whole number"),
            (MOCKS.replace('"mocks"', '"../mocks"', 1), r"name is '../mocks': expected lower-case"),
            (MOCKS + "n = -1", r"sources\[0\].n is -1"),
            (MOCKS + 'match = "1 arcsec"', "the first source is what others are matched to"),
            (
                MOCKS.replace('["image", "spectrum"]', '"image"'),
                "modalities is 'image': expected a list",
            ),
            (MOCKS.replace('["image", "spectrum"]', '["image", 2]'), r"modalities\[1\] is 2"),
            (
                MOCKS.replace('["image", "spectrum"]', '["radio"]'),
                r"modalities is \['radio'\]: known",
            ),
            (MOCKS.replace('["image", "spectrum"]', "[]"), r"modalities is \[\]: known"),
            (MOCKS + "columns.mass = 3", r"sources\[0\].columns.mass is 3: expected a table"),
            (MOCKS + 'columns.mass.unit = "kilo"', "columns.mass.unit is 'kilo'"),
            (MOCKS + 'columns.mass.ucd = "phys"', r"unknown key 'sources\[0\].columns.mass.ucd'"),
            (FILES + 'pattern = "../*.fits"', "pattern is '../"),
            (FILES + 'pattern = "/etc/*"', "pattern is '/etc"),
            (FILES + "columns.mass = {}", "files have none; add a source of kind table"),
            (MOCKS + MOCKS[len(HEAD) :], "expected each once"),
            (
                MOCKS + '[[sources]]\nname = "b"\nkind = "files"\nmatch = "1 kg"',
                r"sources\[1\].match is '1 kg': expected an angle",
            ),
            (
                MOCKS
                + "columns.age = {}\n"
                + MOCKS[len(HEAD) :].replace('"mocks"', '"more"', 1)
                + "columns.age = {}",
                "columns are age, age: expected each in one source",
            ),
        ],
    )
    def test_what_makes_no_sense_is_named(self, tmp_path, text, message):
        (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message) as caught:
            read_recipe(tmp_path)
        assert str(caught.value).startswith(str(tmp_path / "recipe.toml"))


class TestMocks:
    def test_the_catalog_is_what_embed_makes_of_the_galaxies(self, mocks, whole):
        catalog = whole
        names = np.asarray(mocks.truth["object_id"]).tolist()
        rows = range(len(mocks))
        assert_embedded(catalog, "spectrum", [mocks.spectrum(i) for i in rows], names)
        assert_embedded(catalog, "image", [mocks.cutout(i) for i in rows], names)
        table = catalog.table()
        table.sort("object_id")
        truth = mocks.truth[np.argsort(names)]
        for name in ("log_mass", "mag_r", "age", "n_arms", "sample", "quiescent", "redshift", "ra"):
            assert table[name].info.unit == truth[name].info.unit
            np.testing.assert_array_equal(table[name], truth[name])
        assert table["age"].info.description == "mass-weighted age"
        assert catalog.verify() == []
        # In the order of the sky, so that cones read few rows.
        cells = catalog._store.dataset.to_table(columns=["_healpix_29"])["_healpix_29"]
        assert (np.diff(cells.to_numpy()) >= 0).all()

    def test_it_does_not_matter_in_how_many_parts_it_is_made(
        self, mocks, whole, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(builder, "_BATCH", 7)
        monkeypatch.setattr(gathering, "_BLOCK", 9)
        catalog = build("mocks", tmp_path / "mocks", sources={"mocks": mocks.path})
        expected, found = whole.table(), catalog.table()
        for name in expected.colnames:
            np.testing.assert_array_equal(found[name], expected[name])
        for modality in ("image", "spectrum"):
            known, rows = (vectors_by_name(one, modality) for one in (whole, catalog))
            assert list(known) == list(rows)
            np.testing.assert_allclose(list(rows.values()), list(known.values()), atol=2e-3)

    def test_it_says_what_it_is_made_of(self, mocks, whole):
        catalog = whole
        recipe = find_recipe("mocks")
        said = catalog.provenance
        assert said["model"] == "astroclip-mini"
        assert (said["recipe"], said["licence"]) == ("mocks", recipe.licence)
        assert said["sources"] == f"mocks: 40 of 40 mock galaxies, seed {mocks.seed}"
        assert read_recipe(catalog.path).text == recipe.text
        report = report_of(catalog.path)
        assert len(report) == 0
        assert report.meta["objects"] == 40
        assert [p.name for p in catalog.path.parent.iterdir()] == ["mocks"]

    def test_cuts_limits_and_columns(self, mocks, tmp_path):
        text = (
            MOCKS.replace('["image", "spectrum"]', '["image"]')
            + "where = \"redshift > 0.1 AND sample != 'lrg'\"\nn = 5\n"
            + "[sources.columns.mass]\ncolumn = 'age'\nunit = 'Myr'\ndescription = 'how old'\n"
        )
        catalog = build(recipe_of(tmp_path, text), tmp_path / "some")
        truth = mocks.truth
        chosen = truth[(truth["redshift"] > 0.1) & (truth["sample"] != "lrg")][:5]
        table = catalog.table()
        assert set(table["object_id"]) == set(chosen["object_id"])
        assert catalog.modalities == ["image"]
        assert (table["mass"].unit, table["mass"].info.description) == (u.Myr, "how old")
        ages = dict(zip(chosen["object_id"], chosen["age"].to_value(u.Myr), strict=True))
        np.testing.assert_allclose(table["mass"].value, [ages[n] for n in table["object_id"]], 1e-6)

    def test_what_is_not_there_is_refused_before_anything_is_embedded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(builder, "_rows", None)
        for text, message in (
            (MOCKS + 'where = "reshift > 0"', "no column 'reshift'"),
            (MOCKS + 'where = "redshift > 7"', "none of 40 rows passes its where"),
            (MOCKS + "columns.masse = {}", "has no column 'masse'; it has object_id"),
            (MOCKS + "columns.age.unit = 'kg'", "column 'age' is in Gyr: expected kg"),
            (MOCKS + "columns.ra = {}", "column 'ra': the name is taken"),
            (MOCKS.replace("astroclip-mini", "nosuch"), "no model named 'nosuch'"),
        ):
            with pytest.raises((InputError, PluginError), match=message):
                build(recipe_of(tmp_path, text), tmp_path / "some")
            assert [p.name for p in tmp_path.iterdir()] == ["recipe.toml"]

    def test_galaxies_are_simulated_on_the_spot(self, tmp_path, monkeypatch):
        # Looked up rather than imported: bagpipes warns about files that it leaves open.
        if any(find_spec(name) is None for name in kinds.SIMULATORS):
            pytest.skip("needs the extra simulate")
        generate = MockSurvey.generate
        monkeypatch.setattr(
            MockSurvey, "generate", lambda *a, **k: generate(*a, **k, n_jobs=1, progress=False)
        )
        text = MOCKS.replace('["image", "spectrum"]', '["image"]') + "simulate = 3\nseed = 5\n"
        catalog = build(recipe_of(tmp_path, text), tmp_path / "new")
        assert set(catalog.table()["object_id"]) == {f"mock-5-000000{i}" for i in range(3)}
        assert {p.name for p in tmp_path.iterdir()} == {"recipe.toml", "new"}

    def test_without_the_simulators_the_bundled_galaxies_are_taken(
        self, tmp_path, monkeypatch, caplog
    ):
        monkeypatch.setattr(kinds, "find_spec", lambda name: None)
        catalog = build(recipe_of(tmp_path, MOCKS + "simulate = 300\n"), tmp_path / "some")
        assert len(catalog) == 40
        assert "40 of 40" in catalog.provenance["sources"]
        assert "astroclip_astro[simulate]" in caplog.text


@pytest.fixture
def folder(tmp_path, sdss_file, legacysurvey_file):
    """Files of one's own: good ones, bad ones and others."""
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    for fibre in range(1, 6):
        sdss_file(folder, fibre, empty=fibre == 2)
    legacysurvey_file(folder / "deep" / "NGC1.fits", 3)
    (folder / "page.fits").write_text("<html>not found</html>")
    Table({"a": [1]}).write(folder / "table.fits")
    (folder / "notes.txt").write_text("no FITS")
    return folder


SPECTRA = [f"0001-55555-000{fibre}" for fibre in (1, 3, 4, 5)]


class TestFiles:
    def test_a_folder_of_anything(self, tmp_path, folder):
        catalog = build("my-fits", tmp_path / "mine", sources={"files": folder})
        assert sorted(vectors_by_name(catalog, "spectrum")) == SPECTRA
        assert list(vectors_by_name(catalog, "image")) == ["NGC1"]
        report = report_of(tmp_path / "mine")
        assert report.meta["objects"] == 5
        reasons = {row["key"].split()[0]: row["reason"] for row in report}
        assert sorted(reasons) == ["page.fits", "spec-0001-55555-0002.fits", "table.fits"]
        assert "NO_DATA" in reasons["spec-0001-55555-0002.fits"]
        assert "no registered survey knows it" in reasons["table.fits"]

    def test_cuts_are_made_of_what_the_files_say(self, tmp_path, desi_file):
        (tmp_path / "spectra").mkdir()
        desi_file(tmp_path / "spectra" / "coadd-a.fits", [1, 2])
        desi_file(tmp_path / "spectra" / "coadd-b.fits", [3], zwarn=4)
        text = FILES + 'survey = "desi"\nwhere = "quality & 4096 = 0 AND object_id != \'1002\'"\n'
        recipe = recipe_of(tmp_path, text)
        catalog = build(recipe, tmp_path / "some", sources={"files": tmp_path / "spectra"})
        assert catalog.table()["object_id"].tolist() == ["1001"]
        assert report_of(tmp_path / "some").meta["cut"] == 2

    def test_a_redshift_that_is_unknown_fulfils_no_condition(self, tmp_path, folder):
        recipe = recipe_of(tmp_path, FILES + 'where = "redshift > 0"')
        with pytest.raises(CatalogError, match=r"no object is left .* 5 were cut.*3 could not"):
            build(recipe, tmp_path / "some", sources={"files": folder})
        assert not (tmp_path / "some").exists()

    def test_a_condition_that_makes_no_sense_is_refused_at_once(
        self, tmp_path, folder, monkeypatch
    ):
        monkeypatch.setattr(builder, "_rows", None)
        recipe = recipe_of(tmp_path, FILES + 'where = "ZWARN = 0"')
        with pytest.raises(InputError, match="no column 'ZWARN'"):
            build(recipe, tmp_path / "some", sources={"files": folder})

    def test_of_several_spectra_of_an_object_the_best_is_taken(self, tmp_path, desi_file, mocks):
        (tmp_path / "spectra").mkdir()
        desi_file(tmp_path / "spectra" / "coadd-a.fits", [1], noise=3.0)
        desi_file(tmp_path / "spectra" / "coadd-b.fits", [1])
        desi_file(tmp_path / "spectra" / "coadd-c.fits", [1], noise=2.0)
        catalog = build("my-fits", tmp_path / "some", sources={"files": tmp_path / "spectra"})
        np.testing.assert_allclose(
            catalog.table()["spectrum_snr"], aa.embed(mocks.spectrum(1)).snr, rtol=0.01
        )
        assert report_of(tmp_path / "some").meta["duplicates"] == 2

    def test_of_different_objects_of_one_name_one_is_taken_and_the_others_are_reported(
        self, tmp_path, legacysurvey_file, mocks
    ):
        for folder, row in (("a", 1), ("b", 2), ("c", 2)):
            (tmp_path / "data" / folder).mkdir(parents=True)
            legacysurvey_file(tmp_path / "data" / folder / "cutout.fits", row)
        catalog = build("my-fits", tmp_path / "some", sources={"files": tmp_path / "data"})
        report = report_of(catalog.path)
        assert report["object_id"].tolist() == ["cutout"] * len(report)
        taken = {1: ["b", "c"], 2: ["a"]}
        (row,) = [
            row for row in taken if np.isclose(catalog.table()["ra"][0], mocks.truth["ra"][row])
        ]
        assert sorted(key[0] for key in report["key"]) == taken[row]
        assert set(report["reason"]) == {"another object, at another place, has the same object_id"}

    def test_what_has_to_be_fetched_is_said(self, tmp_path):
        with pytest.raises(InputError, match=r"--source spectra=PATH. .*coadd.*https://data.desi"):
            build("desi-edr-legacy-dr9", tmp_path / "edr")
        with pytest.raises(InputError, match=r"--source spectra=PATH. .*https://data.sdss.org"):
            build("sdss-spectra", tmp_path / "sdss")
        with pytest.raises(InputError, match=r"there is no .*nosuch"):
            build("sdss-spectra", tmp_path / "sdss", sources={"spectra": tmp_path / "nosuch"})
        with pytest.raises(InputError, match=r"no file in .* matches"):
            build("sdss-spectra", tmp_path / "sdss", sources={"spectra": tmp_path})
        with pytest.raises(InputError, match="no source images; it has spectra"):
            build("sdss-spectra", tmp_path / "sdss", sources={"images": tmp_path})
        assert list(tmp_path.iterdir()) == []


def test_pairs_of_the_paper_are_matched_on_the_sky(tmp_path, mocks, desi_file, legacysurvey_file):
    spectra, images = tmp_path / "spectra", tmp_path / "images"
    spectra.mkdir()
    images.mkdir()
    desi_file(spectra / "coadd-sv3-bright-1.fits", [1, 2, 3, 4])
    desi_file(spectra / "coadd-sv3-bright-2.fits", [5], zwarn=4)
    legacysurvey_file(images / "a.fits", 1, north=0.6)
    legacysurvey_file(images / "b.fits", 1, north=0.3)  # nearer, and so the partner
    legacysurvey_file(images / "c.fits", 2, north=-0.9)
    legacysurvey_file(images / "d.fits", 3, north=1.2)  # too far
    legacysurvey_file(images / "e.fits", 5)  # its spectrum is cut
    (images / "more").mkdir()
    legacysurvey_file(images / "more" / "c.fits", 4, north=0.1)  # another of the same name
    recipe = replace(find_recipe("desi-edr-legacy-dr9"), model="astroclip-mini")
    places = {"spectra": spectra, "images": images}
    catalog = build(recipe, tmp_path / "pairs", sources=places)
    names = ["1001", "1002", "1004"]
    assert_embedded(catalog, "spectrum", [mocks.spectrum(i) for i in (1, 2, 4)], names)
    chosen = [images / name for name in ("b.fits", "c.fits", "more/c.fits")]
    assert_embedded(catalog, "image", chosen, names)
    table = catalog.table()
    assert table["survey"].tolist() == ["legacysurvey desi"] * 3
    assert np.isfinite(table["redshift"]).all()
    counts = report_of(tmp_path / "pairs").meta
    assert (counts["objects"], counts["cut"], counts["failed"]) == (3, 1, 0)
    assert counts["unmatched"] == 4  # spectrum 3, images a, d and e


class TestTables:
    def table(self, **columns):
        table = QTable({"object_id": ["1001", "1002", "1003"]})
        table["spectrum"] = ["coadd.fits", "coadd.fits", ""]
        table["image"] = ["b.fits", "nosuch.fits", ""]
        table["ra"] = [9000.0, 9900.0, np.nan] * u.arcmin
        table["z"] = [0.5, 0.6, 0.7]
        table["mass"] = MaskedColumn([1e3, 2e3, 3e3], mask=[False, True, False], unit="kg")
        for name, values in columns.items():
            table[name] = values
        return table

    @pytest.fixture
    def data(self, tmp_path, desi_file, legacysurvey_file):
        (tmp_path / "data").mkdir()
        desi_file(tmp_path / "data" / "coadd.fits", [1, 2, 3])
        legacysurvey_file(tmp_path / "data" / "b.fits", 1)
        return tmp_path / "data"

    TEXT = TABLE + 'redshift = "z"\n[sources.columns.mass]\nunit = "g"\n'

    @pytest.mark.parametrize("suffix", [".fits", ".parquet", ".ecsv", ".vot"])
    def test_rows_with_files_and_columns(self, tmp_path, data, mocks, suffix):
        table = self.table()
        if suffix == ".vot":
            table.write(data / "objects.vot", format="votable")
        elif suffix == ".parquet":
            table["mass"] = np.where(np.arange(3) == 1, np.nan, [1e3, 2e3, 3e3]) * u.kg
            table.write(data / "objects.parquet")
        else:
            table.write(data / f"objects{suffix}")
        recipe = recipe_of(tmp_path, self.TEXT)
        places = {"table": data / f"objects{suffix}"}
        catalog = build(recipe, tmp_path / "some", sources=places)
        names = ["1001", "1002"]
        assert_embedded(catalog, "spectrum", [mocks.spectrum(1), mocks.spectrum(2)], names)
        assert_embedded(catalog, "image", [mocks.cutout(1)], names[:1])
        found = catalog.table()
        found.sort("object_id")
        # What the table says goes before what the files say.
        np.testing.assert_allclose(found["ra"].to_value(u.deg), [150, 165])
        np.testing.assert_allclose(found["redshift"], [0.5, 0.6])
        np.testing.assert_array_equal(found["mass"].to_value(u.g), [1e6, np.nan])
        reasons = {row["object_id"] or row["key"]: row["reason"] for row in report_of(catalog.path)}
        assert "nosuch.fits: no such file" in reasons["1002"]
        assert "names no file" in reasons["1003"]

    def test_columns_of_a_table_join_the_objects_of_files(self, tmp_path, data):
        table = self.table(object_id=["1001", "1003", "7777"])["object_id", "mass"]
        table["object_id"] = np.array(table["object_id"], int)
        table.rename_column("object_id", "TARGETID")
        table.write(tmp_path / "props.fits")
        text = FILES + self.TEXT[len(HEAD) :].replace('redshift = "z"', 'object_id = "TARGETID"')
        places = {"files": data, "table": tmp_path / "props.fits"}
        catalog = build(recipe_of(tmp_path, text), tmp_path / "some", sources=places)
        found = catalog.table(columns=["object_id", "mass"])
        masses = dict(zip(found["object_id"], found["mass"].to_value(u.g), strict=True))
        assert masses.pop("1001") == 1e6
        assert set(masses) == {"1002", "1003", "b"}
        assert np.isnan(list(masses.values())).all()

    @pytest.mark.parametrize("suffix", [".ecsv", ".vot"])
    def test_conditions_are_on_the_columns_of_the_table(self, tmp_path, data, suffix):
        table = Table(self.table(note=["it's", "it's", "no"], size=np.array([1, 2, 3], ">i2")))
        table["_private"] = 1
        if suffix == ".ecsv":  # the other has no such names
            table["ma`ss"] = np.ones(3)
        kind = "votable" if suffix == ".vot" else "ascii.ecsv"
        table.write(data / f"objects{suffix}", format=kind)
        cut = "z < 0.6 AND mass IS NOT NULL AND note = 'it''s' AND size & 1 = 1"
        text = TABLE + f'where = "{cut}"\n'
        places = {"table": data / f"objects{suffix}"}
        catalog = build(recipe_of(tmp_path, text), tmp_path / "some", sources=places)
        assert catalog.table()["object_id"].tolist() == ["1001"]

    @pytest.mark.parametrize(
        ("columns", "text", "message"),
        [
            ({"object_id": ["a", "a", "b"]}, "", "a: source 'table' has it twice"),
            ({"object_id": [1.0, 2.0, 3.0]}, "", "holds float64"),
            ({"ra": [1.0, 2.0, 3.0] * u.kg}, "", "column 'ra' is in kg: expected deg"),
            ({}, 'object_id = "TARGETID"', "has no column 'TARGETID'; it has object_id"),
            ({}, 'image = "cutout"', "has no column 'cutout'"),
            ({}, "columns.mass.unit = 's'", "column 'mass' is in kg: expected s"),
        ],
    )
    def test_tables_that_make_no_sense_are_refused(self, tmp_path, data, columns, text, message):
        self.table(**columns).write(data / "objects.ecsv")
        with pytest.raises(InputError, match=message):
            build(
                recipe_of(tmp_path, TABLE + text),
                tmp_path / "some",
                sources={"table": data / "objects.ecsv"},
            )

    def test_a_table_alone_has_nothing_to_embed(self, tmp_path, data):
        self.table()["object_id", "mass"].write(data / "objects.ecsv")
        with pytest.raises(InputError, match="no source with something to embed"):
            build(
                recipe_of(tmp_path, self.TEXT.replace('redshift = "z"', "")),
                tmp_path / "some",
                sources={"table": data / "objects.ecsv"},
            )


CHILD = """
import os, signal, sys
from importlib import import_module
from importlib.util import find_spec

builder = import_module("astroclip_astro.catalog.recipes.builder")
builder._BATCH = 4
write, compact, kept = builder.lance.write_dataset, builder.Store.compact, []

def embedding(rows, place, **how):
    found = write(rows, place, **how)
    kept.extend([len(rows)] if how.get("mode") == "append" else [])
    if sys.argv[3] == "embedding" and len(kept) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

def gathering(self):
    compact(self)
    os.kill(os.getpid(), signal.SIGKILL)

builder.lance.write_dataset = embedding
builder.Store.compact = gathering
builder.build(sys.argv[1], sys.argv[2])
"""


class TestInterrupted:
    @pytest.fixture
    def embedded(self, monkeypatch):
        """Numbers of objects that were embedded since."""
        counts = []

        def counted(objects, **how):
            counts.append(len(objects))
            return aa.embed(objects, **how)

        monkeypatch.setattr(builder, "embed", counted)
        return counts

    @pytest.mark.parametrize(("when", "left"), [("embedding", 20 - 2 * 4), ("gathering", 0)])
    def test_a_killed_build_goes_on(self, tmp_path, embedded, when, left):
        text = MOCKS + "n = 10\n[sources.columns.age]\n"
        recipe, path = recipe_of(tmp_path, text), tmp_path / "some"
        killed = subprocess.run([sys.executable, "-c", CHILD, tmp_path, path, when], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert {p.name for p in tmp_path.iterdir()} == {"recipe.toml", "some.building"}
        catalog = build(recipe, path)
        assert sum(embedded) == left
        assert {p.name for p in tmp_path.iterdir()} == {"recipe.toml", "some"}
        assert catalog.verify() == []
        whole = build(recipe, tmp_path / "whole")
        expected = whole.table()
        found = catalog.table()
        for name in expected.colnames:
            np.testing.assert_array_equal(found[name], expected[name])
        for modality in ("image", "spectrum"):
            a, b = (one.embeddings(modality).values for one in (catalog, whole))
            # Other objects in a batch change the last bits.
            np.testing.assert_allclose(a, b, atol=2e-3)

    def test_what_failed_is_not_tried_again_and_new_files_are_embedded(
        self, tmp_path, folder, sdss_file, embedded, monkeypatch
    ):
        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(builder, "gather", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build("my-fits", tmp_path / "mine", sources={"files": folder})
        monkeypatch.undo()
        monkeypatch.setattr(
            builder,
            "embed",
            lambda objects, **how: embedded.append(objects) or aa.embed(objects, **how),
        )
        embedded.clear()
        sdss_file(folder, 9)
        catalog = build("my-fits", tmp_path / "mine", sources={"files": folder})
        assert [len(objects) for objects in embedded if objects] == [1]
        assert len(catalog) == 6
        assert len(report_of(catalog.path)) == 3

    def test_what_changed_meanwhile_is_noticed(self, tmp_path, folder, sdss_file, monkeypatch):
        gather = builder.gather

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(builder, "gather", interrupted)
        path, places = tmp_path / "mine", {"files": folder}
        with pytest.raises(KeyboardInterrupt):
            build("my-fits", path, sources=places)
        monkeypatch.setattr(builder, "gather", gather)
        other = replace(find_recipe("my-fits"), modalities=("spectrum",))
        with pytest.raises(CatalogError, match="begun with another recipe: remove it"):
            build(other, path, sources=places)
        file = folder / "spec-0001-55555-0003.fits"
        os.utime(file, (0, 0))
        with pytest.raises(CatalogError, match=r"1 entries .* gone or changed since.*0003.fits"):
            build("my-fits", path, sources=places)
        assert not path.exists()

    def test_two_at_once_are_refused(self, tmp_path, folder):
        work = tmp_path / "mine.building"
        work.mkdir()
        with (
            FileLock(work / "lock"),
            pytest.raises(CatalogError, match="another process is building"),
        ):
            build("my-fits", tmp_path / "mine", sources={"files": folder})


class TestTarget:
    def test_nothing_is_replaced_unasked(self, tmp_path, folder):
        path, places = tmp_path / "mine", {"files": folder}
        path.mkdir()
        (path / "thesis.tex").write_text("Galaxies")
        with pytest.raises(FileExistsError, match="exists: choose another name"):
            build("my-fits", path, sources=places)
        with pytest.raises(FileExistsError, match="exists and is no catalog"):
            build("my-fits", path, sources=places, overwrite=True)
        assert (path / "thesis.tex").read_text() == "Galaxies"
        with pytest.raises(CatalogError, match="no folder to make a catalog in"):
            build("my-fits", tmp_path / "no" / "mine", sources=places)

    def test_a_catalog_is_replaced_when_the_new_one_is_complete(self, tmp_path, folder):
        path, places = tmp_path / "mine", {"files": folder}
        build("my-fits", path, sources=places)
        (folder / "deep" / "NGC1.fits").unlink()
        again = build("my-fits", path, sources=places, overwrite=True)
        assert len(again) == len(EmbeddingCatalog.open(path)) == 4
        recipe = recipe_of(tmp_path, FILES + 'where = "ra > 1000"')
        with pytest.raises(CatalogError, match="no object is left"):
            build(recipe, path, sources=places, overwrite=True)
        assert len(EmbeddingCatalog.open(path)) == 4

    def test_a_catalog_that_was_built_can_be_searched_and_added_to(self, tmp_path, folder, mocks):
        catalog = build("my-fits", tmp_path / "mine", sources={"files": folder})
        found = catalog.search(folder / "spec-0001-55555-0004.fits", k=1)
        assert found["object_id"].tolist() == ["0001-55555-0004"]
        catalog.append(aa.embed([mocks.spectrum(0)]))
        assert len(catalog) == 6
