"""From a catalog back to the data: those that were embedded, and no others."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.recipes import Objects, build, find_recipe, read_recipe
from astroclip_astro.catalog.recipes.origins import ORIGINS, write_origins
from astroclip_astro.errors import CatalogError, InputError
from astroclip_astro.plot import neighbors_sheet
from astroclip_astro.simulate import MockSurvey
from tests.catalog.recipe_texts import FILES, MOCKS, TABLE

kinds = import_module("astroclip_astro.catalog.recipes.kinds")
origins = import_module("astroclip_astro.catalog.recipes.origins")

BOTH = ("image", "spectrum")


def build_of(folder, text, **sources):
    """The catalog of a recipe that nobody has but this folder."""
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return build(read_recipe(folder), folder / "catalog", sources=sources)


def rewrite(catalog, **columns):
    """Change columns of where the objects came from, as somebody else may."""
    rows = pq.read_table(catalog.path / ORIGINS)
    write_origins(catalog.path, {name: columns.get(name, rows[name]) for name in rows.column_names})


def assert_same(one, other):
    """That two spectra or cutouts have the same data."""
    assert type(one) is type(other)
    for name in ("spectral_axis", "flux") if hasattr(one, "flux") else ("data", "unit"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.uncertainty.array, other.uncertainty.array)


@pytest.fixture(scope="module")
def of_mocks(tmp_path_factory):
    """Ten of the mocks that come with the package; no test may change it."""
    return build_of(tmp_path_factory.mktemp("mocks"), MOCKS + "n = 10\n")


@pytest.fixture
def mine(of_mocks, tmp_path):
    """The same, to be changed."""
    shutil.copytree(of_mocks.path, tmp_path / "mine")
    return EmbeddingCatalog.open(tmp_path / "mine")


class TestMocks:
    def test_those_of_the_package_are_there_with_nothing_said(self, of_mocks, mocks):
        objects = Objects(of_mocks)
        for i in (0, 7):
            name = str(mocks.truth["object_id"][i])
            assert_same(objects.get(name, "spectrum"), mocks.spectrum(i))
            assert_same(objects.get(name, "image"), mocks.cutout(i))

    def test_they_give_the_vectors_that_the_catalog_has(self, of_mocks):
        objects = Objects(of_mocks)
        names = of_mocks.table()["object_id"].tolist()
        for modality in BOTH:
            rows = of_mocks.embeddings(modality)
            assert rows.coords["object_id"].values.tolist() == names
            again = aa.embed([objects.get(name, modality) for name in names])
            np.testing.assert_allclose(again.values.astype(np.float16), rows.values, atol=2e-3)

    def test_only_what_is_asked_for_is_read_and_only_once(self, of_mocks, monkeypatch):
        opened, read = [], []

        def spied(self, *args):
            opened.append(self.name)
            found = open_(self, *args)
            return replace(found, read=lambda key: read.append(key) or found.read(key))

        open_ = kinds.Mocks.open
        monkeypatch.setattr(kinds.Mocks, "open", spied)
        objects = Objects(of_mocks)
        assert opened == []
        names = of_mocks.table()["object_id"].tolist()
        asked = [(name, modality) for name in names[:4] for modality in BOTH] * 3
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda one: objects.get(*one), asked))
        assert opened == ["mocks"]
        assert sorted(key.split()[0] for key in set(read)) == sorted(names[:4])
        first = dict(zip(asked[:8], found[:8], strict=True))
        assert all(first[one] is obj for one, obj in zip(asked, found, strict=True))
        for (name, modality), obj in first.items():
            assert obj.meta["object_id"] == name
            assert hasattr(obj, "flux") == (modality == "spectrum")

    def test_a_search_is_drawn(self, of_mocks):
        name = of_mocks.table()["object_id"][0]
        found = of_mocks.search(name, k=2)
        axes = neighbors_sheet(found, name, partial(Objects(of_mocks).get, modality="image"))
        assert axes.shape == (3,)
        assert all(ax.images for ax in axes)

    def test_a_folder_of_them_is_to_be_said(self, tmp_path, mocks):
        folder = tmp_path / "shards"
        shutil.copytree(mocks.path, folder)
        survey = MockSurvey.open(folder)
        name = str(survey.truth["object_id"][2])
        catalog = build_of(tmp_path, MOCKS + "simulate = 9\nseed = 3\nn = 3\n", mocks=folder)
        assert_same(Objects(catalog, {"mocks": folder}).get(name, "image"), survey.cutout(2))
        # A survey that was simulated by another recipe has other galaxies of the same names.
        survey.recipe_hash = "0" * 64
        rewrite(catalog, key=[f"{name} {'0' * 16}"] * 6)
        for sources in ({"mocks": folder}, {}):
            with pytest.raises(InputError, match=rf"^{name}: no image: .*--source mocks=PATH"):
                Objects(catalog, sources).get(name, "image")

    def test_those_simulated_on_the_spot_are_simulated_again(self, tmp_path, monkeypatch):
        # Looked up rather than imported: bagpipes warns about files that it leaves open.
        if any(find_spec(name) is None for name in kinds.SIMULATORS):
            pytest.skip("needs the extra simulate")
        generate, made = MockSurvey.generate, []

        def kept(path, n, seed):
            survey = generate(path, n, seed=seed, n_jobs=1, progress=False)
            made.append({i: (survey.cutout(i), survey.spectrum(i)) for i in range(n)})
            return survey

        monkeypatch.setattr(MockSurvey, "generate", kept)
        catalog = build_of(tmp_path, MOCKS + "simulate = 4\nseed = 5\n")
        objects, name = Objects(catalog), "mock-5-0000003"
        for modality, expected in zip(BOTH, made[0][3], strict=True):
            found = objects.get(name, modality)
            assert_same(found, expected)
            assert found.meta == expected.meta
        assert len(made) == 1
        monkeypatch.setattr(kinds, "find_spec", lambda name: None)
        message = rf"^{name}: no image: .*astroclip_astro\[simulate\].* --source mocks=PATH"
        with pytest.raises(InputError, match=message):
            Objects(catalog).get(name, "image")
        monkeypatch.undo()
        keys = pq.read_table(catalog.path / ORIGINS)["key"].to_pylist()
        for other in ("mock-5-0000004", "mock-6-0000003", "mock-5-00000003", "mock-5-٠٠٠٠٠٠٣"):
            rewrite(catalog, key=[key.replace(key.split()[0], other) for key in keys])
            with pytest.raises(InputError, match="is gone, or has changed"):
                Objects(catalog).get(name, "image")
        rewrite(catalog, key=[f"{key.split()[0]} {'0' * 16}" for key in keys])
        with pytest.raises(InputError, match="is gone, or has changed"):
            Objects(catalog).get(name, "image")


@pytest.fixture
def folder(tmp_path, desi_file, legacysurvey_file):
    """Spectra, of which one was observed twice, and an image."""
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    desi_file(folder / "coadd-a.fits", [1, 2], noise=3.0)
    desi_file(folder / "coadd-b.fits", [3, 1])
    legacysurvey_file(folder / "deep" / "1003.fits", 3)
    return folder


class TestFiles:
    def test_the_best_of_several_in_files_of_several(self, tmp_path, folder, mocks):
        catalog = build_of(tmp_path, FILES, files=folder)
        objects = Objects(catalog, {"files": folder})
        for name, row, noise in (("1001", 1, 1), ("1002", 2, 3), ("1003", 3, 1)):
            found = objects.find(name, "spectrum")
            expected = mocks.spectrum(row)
            assert found.survey == "desi"
            np.testing.assert_allclose(found.obj.flux.value, expected.flux.value, rtol=1e-6)
            ivar = expected.uncertainty.array / noise**2
            np.testing.assert_allclose(found.obj.uncertainty.array, ivar, rtol=1e-6)
        image = objects.get("1003", "image").data
        np.testing.assert_allclose(image, mocks.cutout(3).data, rtol=1e-6)
        for name, modality, message in (
            ("1002", "image", "^1002: it has no 'image': it has spectrum"),
            ("1003", "radio", "it has no 'radio': it has image and spectrum"),
            ("1009", "image", "^1009: it is not known where it came from"),
        ):
            with pytest.raises(InputError, match=message):
                objects.get(name, modality)

    def test_what_is_not_as_it_was_is_said(self, tmp_path, folder):
        catalog = build_of(tmp_path, FILES, files=folder)
        with pytest.raises(InputError, match=r"^1001: no spectrum: .*--source files=PATH"):
            Objects(catalog).get("1001", "spectrum")
        with pytest.raises(InputError, match="no source spectra; it has files"):
            Objects(catalog, {"spectra": folder})
        os.utime(folder / "coadd-a.fits", (0, 0))
        objects = Objects(catalog, {"files": folder})
        changed = r"^1002: no spectrum: 'coadd-a.fits .*' of source 'files' is gone, or has changed"
        with pytest.raises(InputError, match=changed + ".*--source files=PATH, or build anew"):
            objects.get("1002", "spectrum")
        assert objects.get("1003", "spectrum").meta["object_id"] == "1003"
        moved = folder.rename(tmp_path / "moved")
        assert objects.get("1003", "spectrum").meta["object_id"] == "1003"  # kept
        with pytest.raises(InputError, match=r"^1003: no image: .*no such file.*--source files"):
            objects.get("1003", "image")
        with pytest.raises(InputError, match=rf"there is no {folder}.* --source files=PATH"):
            Objects(catalog, {"files": folder}).get("1001", "spectrum")
        assert Objects(catalog, {"files": moved}).get("1001", "spectrum").shape == (7781,)


def test_partners_on_the_sky_have_the_names_of_the_catalog(
    tmp_path, mocks, desi_file, legacysurvey_file
):
    spectra, images = tmp_path / "spectra", tmp_path / "images"
    spectra.mkdir()
    images.mkdir()
    desi_file(spectra / "coadd-1.fits", [1, 2])
    legacysurvey_file(images / "a.fits", 2, north=0.3)
    legacysurvey_file(images / "b.fits", 1, north=0.6)
    legacysurvey_file(images / "c.fits", 1, north=0.2)
    recipe = replace(find_recipe("desi-edr-legacy-dr9"), model="astroclip-mini")
    places = {"spectra": spectra, "images": images}
    catalog = build(recipe, tmp_path / "pairs", sources=places)
    objects = Objects(catalog, places)
    for name, file in (("1001", "c"), ("1002", "a")):
        found = objects.get(name, "image")
        row = int(name[-1])
        np.testing.assert_allclose(found.data, mocks.cutout(row).data, rtol=1e-6)
        (expected,) = kinds.read(images / f"{file}.fits", "legacysurvey")
        assert found.meta == expected.meta | {"object_id": name}
        assert objects.get(name, "spectrum").meta["object_id"] == name
    with pytest.raises(InputError, match="--source images=PATH"):
        Objects(catalog, {"spectra": spectra}).get("1001", "image")


class TestTables:
    @pytest.fixture
    def table(self, folder):
        rows = Table({"object_id": ["1001", "1003"], "redshift": [0.5, 0.6]})
        rows["spectrum"] = ["coadd-a.fits", "coadd-b.fits"]
        rows["image"] = ["", "deep/1003.fits"]
        rows.write(folder / "objects.ecsv")
        return folder / "objects.ecsv"

    def test_rows_with_files(self, tmp_path, table, mocks):
        catalog = build_of(tmp_path, TABLE, table=table)
        objects = Objects(catalog, {"table": table})
        spectrum, image = (objects.find("1003", modality) for modality in ("spectrum", "image"))
        np.testing.assert_allclose(spectrum.obj.flux.value, mocks.spectrum(3).flux.value, 1e-6)
        np.testing.assert_allclose(image.obj.data, mocks.cutout(3).data, rtol=1e-6)
        assert (image.survey, image.known) == (
            "legacysurvey",
            {"object_id": "1003", "redshift": 0.6},
        )
        (table.parent / "deep" / "1003.fits").unlink()
        with pytest.raises(InputError, match=r"^1003: no image: .*1003.fits.*--source table=PATH"):
            Objects(catalog, {"table": table}).get("1003", "image")

    def test_a_row_that_is_another_now_is_not_taken(self, tmp_path, table):
        catalog = build_of(tmp_path, TABLE, table=table)
        rows = Table.read(table)
        rows["image"] = ["", ""]
        rows["object_id"] = ["1004", "1003"]
        rows.write(table, overwrite=True)
        objects = Objects(catalog, {"table": table})
        # Its image was the first of two: now that is its spectrum.
        with pytest.raises(InputError, match="'1003' of source 'table' is gone, or has changed"):
            objects.get("1003", "image")
        with pytest.raises(InputError, match="'1003' of source 'table' is gone, or has changed"):
            objects.get("1003", "spectrum")
        with pytest.raises(InputError, match="'1001' of source 'table' is gone, or has changed"):
            objects.get("1001", "spectrum")


class TestSecurity:
    """Folders of catalogs may come from anybody."""

    @pytest.mark.parametrize(
        "hostile",
        [
            "../secret.fits",
            "{outside}/secret.fits",
            "deep/../../secret.fits",
            "link/secret.fits",
            "link.txt",
        ],
    )
    def test_no_key_leads_out_of_the_folder(self, tmp_path, folder, legacysurvey_file, hostile):
        outside = tmp_path / "outside"
        outside.mkdir()
        for place in (outside, tmp_path):
            legacysurvey_file(place / "secret.fits", 5)
        catalog = build_of(tmp_path, FILES, files=folder)
        rows = pq.read_table(catalog.path / ORIGINS)
        # Links that the pattern does not list.
        (folder / "link").symlink_to(outside)
        (folder / "link.txt").symlink_to(outside / "secret.fits")
        objects = Objects(catalog, {"files": folder})
        stat = (outside / "secret.fits").stat()
        size = f"{stat.st_size} {stat.st_mtime_ns}"
        for key in (hostile.format(outside=outside), f"{hostile.format(outside=outside)} {size}"):
            rewrite(catalog, key=[key] * len(rows), number=[0] * len(rows))
            with pytest.raises(InputError, match="is gone, or has changed"):
                objects.get("1003", "image")

    def test_paths_in_the_folder_of_a_catalog_are_not_used(self, tmp_path, folder):
        catalog = build_of(tmp_path, FILES, files=folder)
        recipe = catalog.path / "recipe.toml"
        shutil.copytree(folder, catalog.path / "data")
        text = recipe.read_text()
        for path in (folder, "data", "../data"):
            recipe.write_text(text + f'path = "{path}"\n')
            with pytest.raises(InputError, match="no data here: pass them as --source files=PATH"):
                Objects(catalog).get("1003", "image")
            assert Objects(catalog, {"files": folder}).get("1003", "image").shape == (3, 152, 152)

    def test_an_installed_recipe_knows_where_its_data_are(self, tmp_path, folder, monkeypatch):
        catalog = build_of(tmp_path, FILES + 'path = "data"\n')
        manager = SimpleNamespace(entries=lambda kind: {"mine": None})
        monkeypatch.setattr(origins, "get_manager", lambda: manager)
        monkeypatch.setattr(origins, "find_recipe", lambda name: read_recipe(tmp_path))
        assert Objects(catalog).get("1003", "image").shape == (3, 152, 152)
        (catalog.path / "recipe.toml").write_text(FILES + 'path = "data" # mine\n')
        with pytest.raises(InputError, match="no data here: pass them as --source files=PATH"):
            Objects(catalog).get("1003", "image")

    def test_what_makes_no_sense_is_refused(self, mine):
        rows = pq.read_table(mine.path / ORIGINS)
        name, n = rows["object_id"][0].as_py(), len(rows)
        for columns in (
            {"number": [-1] * n},
            {"number": [2] * n},
            {"number": pa.nulls(n, pa.int32())},
            {"number": [1] * n},  # the spectrum
            {"source": ["others"] * n},
            {"source": pa.nulls(n, pa.string())},
            {"key": pa.nulls(n, pa.string())},
        ):
            rewrite(mine, **dict(zip(rows.column_names, rows.columns, strict=True)) | columns)
            with pytest.raises(InputError, match=f"^{name}: no image: .* is gone, or has changed"):
                Objects(mine).get(name, "image")


class TestCatalog:
    def test_one_that_was_not_built_does_not_know(self, tmp_path, mocks):
        catalog = EmbeddingCatalog.create(tmp_path / "made", aa.embed([mocks.spectrum(0)]))
        name = str(mocks.truth["object_id"][0])
        with pytest.raises(InputError, match=f"^{name}: .*made does not know where its objects"):
            Objects(catalog).get(name, "spectrum")
        with pytest.raises(InputError, match=r"sources is mocks: .*was not built by a recipe"):
            Objects(catalog, {"mocks": mocks.path})

    def test_others_that_are_added_are_unknown(self, mine, mocks):
        objects = Objects(mine)
        names = [str(name) for name in mocks.truth["object_id"]]
        mine.append(aa.embed([mocks.spectrum(20)]))
        mine.delete(names[0])
        mine.compact()
        assert_same(objects.get(names[1], "image"), mocks.cutout(1))
        with pytest.raises(InputError, match=f"^{names[20]}: .* it is none of the objects that"):
            objects.get(names[20], "spectrum")
        assert mine.verify() == []

    def test_it_says_nothing_of_this_computer(self, tmp_path, folder):
        catalog = build_of(tmp_path, FILES, files=folder)
        for file in (catalog.path / ORIGINS, catalog.path / "recipe.toml"):
            assert str(tmp_path).encode() not in file.read_bytes()

    def test_damage_is_noticed(self, mine):
        file = mine.path / ORIGINS
        name = mine.table()["object_id"][0]
        whole = bytearray(file.read_bytes())
        place = whole.find(b"mock-2024-")
        whole[place + 12] ^= 1
        file.write_bytes(whole)
        with pytest.raises(CatalogError, match=rf"{ORIGINS} cannot be read .*build the catalog"):
            Objects(mine).get(name, "image")
        file.write_bytes(b"<html>")
        with pytest.raises(CatalogError, match=rf"{ORIGINS} cannot be read"):
            Objects(mine).get(name, "image")

    def test_not_all_are_read_to_find_one(self, mine):
        n = 200_000
        names = np.array([f"mock-2024-{i:07d}" for i in range(n)])
        write_origins(
            mine.path,
            {
                "object_id": np.repeat(names, 2),
                "modality": np.tile(BOTH, n),
                "source": np.full(2 * n, "mocks"),
                "key": np.repeat(names, 2),
                "number": np.tile(np.arange(2, dtype=np.int32), n),
            },
        )
        objects = Objects(mine)
        assert objects._origin(names[123_456], "spectrum") == ("mocks", names[123_456], 1)
        assert objects._origin(names[-1], "image") == ("mocks", names[-1], 0)
        assert objects._origin(names[0], "image") == ("mocks", names[0], 0)
        # Groups of rows that cannot have it are not even looked at.
        file = mine.path / ORIGINS
        groups = pq.ParquetFile(file).metadata
        start = groups.row_group(3).column(0).data_page_offset
        whole = bytearray(file.read_bytes())
        whole[start : start + 1000] = bytes(1000)
        file.write_bytes(whole)
        assert objects._origin(names[-1], "image") == ("mocks", names[-1], 0)
        with pytest.raises(CatalogError):
            objects._origin(names[3 * 8192 + 5], "image")
