"""Maps of catalogs: what is alike lies together, nothing is lost, and no damage goes unseen."""

import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from astroclip_astro.catalog import EmbeddingCatalog, make_map, maps, read_map, verify
from astroclip_astro.errors import CatalogError, InputError

GROUPS, EACH, FEATURES, SAMPLE = 5, 60, 16, 200
FILE = "map-image.parquet"


@pytest.fixture(scope="module")
def clustered():
    """Vectors on curves far apart, shape (600, 16), the second half as the first, and on which."""
    rng = np.random.default_rng(1)
    centres = 6 * rng.normal(size=(GROUPS, 1, FEATURES))
    waves = rng.uniform(0, 6, (2, GROUPS, 1, FEATURES))  # which a plane cannot hold without tangles
    curves = 3 * np.sin(waves[0] * np.linspace(0, 2, EACH)[:, None] + waves[1])
    vectors = centres + curves + 0.1 * rng.normal(size=(GROUPS, EACH, FEATURES))
    vectors = np.tile(vectors.reshape(-1, FEATURES), (2, 1))
    return vectors, np.tile(np.repeat(np.arange(GROUPS), EACH), 2)


@pytest.fixture(scope="module")
def mapped(clustered, make_vectors, tmp_path_factory):
    """Its catalog, in several files, and the map of it, of which a third is fitted."""
    vectors, _ = clustered
    path = tmp_path_factory.mktemp("mapped") / "mapped"
    objects = make_vectors(len(vectors), vectors=vectors)
    catalog = EmbeddingCatalog.create(path, objects[:100])
    for start in range(100, len(vectors), 100):
        catalog.append(objects[start : start + 100])
    return catalog, make_map(catalog, "image", sample=SAMPLE)


@pytest.fixture
def copy(mapped, tmp_path):
    """A copy of it that may be changed."""
    return EmbeddingCatalog.open(shutil.copytree(mapped[0].path, tmp_path / "copy"))


def in_order(table):
    """Places of the objects in the order of their numbers."""
    order = np.argsort([int(name[1:]) for name in table["object_id"]])
    return np.column_stack([table["x"], table["y"]])[order]


def random_map(vectors):
    return vectors @ np.random.default_rng(0).normal(size=(FEATURES, 2))


def small(path, make_vectors, vectors):
    return EmbeddingCatalog.create(path, make_vectors(len(vectors), vectors=np.array(vectors)))


class TestLayout:
    def test_every_object_has_a_place(self, mapped):
        catalog, table = mapped
        assert table.colnames == ["object_id", "x", "y"]
        assert table["x"].dtype == table["y"].dtype == np.float32
        assert sorted(table["object_id"]) == sorted(catalog.table()["object_id"])
        assert np.isfinite(in_order(table)).all()
        assert (table.meta["fitted"], table.meta["missing"]) == (SAMPLE, 0)
        assert table.meta["weights_sha256"] == catalog.provenance["weights_sha256"]

    def test_neighbours_stay_neighbours(self, mapped, clustered):
        vectors, half = clustered[0], len(clustered[0]) // 2
        xy = in_order(mapped[1])
        ours, theirs = (
            trustworthiness(vectors[:half], one[:half], n_neighbors=10, metric="cosine")
            for one in (xy, random_map(vectors))
        )
        assert ours > 0.98
        assert 1 - ours < 0.2 * (1 - theirs)

    def test_groups_stay_apart(self, mapped, clustered):
        xy, group = in_order(mapped[1]), clustered[1]
        _, near = NearestNeighbors(n_neighbors=10).fit(xy).kneighbors(xy)
        assert (group[near] == group[:, None]).all()

    def test_what_is_placed_lies_where_its_like_was_fitted(self, mapped, clustered):
        xy, group = in_order(mapped[1]), clustered[1]
        half = len(xy) // 2
        apart = np.hypot(*(xy[:half] - xy[half:]).T)
        assert (apart > 0).any()  # one fitted, one placed
        extent = min(np.ptp(xy[group == one], axis=0).max() for one in range(GROUPS))
        assert np.median(apart) < 0.1 * extent
        assert apart.max() < extent

    def test_the_same_again_in_whatever_files_and_another_by_another_seed(self, mapped, copy):
        first = in_order(mapped[1])
        copy.compact()
        np.testing.assert_array_equal(in_order(make_map(copy, "image", sample=SAMPLE)), first)
        other = make_map(copy, "image", sample=SAMPLE, seed=1)
        assert other.meta["seed"] == 1
        assert not np.allclose(in_order(other), first)
        np.testing.assert_array_equal(in_order(read_map(copy, "image")), in_order(other))

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_few_keep_their_distances(self, n, tmp_path, make_vectors):
        vectors = np.random.default_rng(n).normal(size=(n, 8))
        xy = in_order(make_map(small(tmp_path / "few", make_vectors, vectors), "image"))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        expected = np.linalg.norm(unit[:, None] - unit, axis=2)
        np.testing.assert_allclose(np.linalg.norm(xy[:, None] - xy, axis=2), expected, atol=2e-3)

    @pytest.mark.parametrize("n", [4, 9])
    def test_fewer_than_the_neighbours_that_umap_asks_for(self, n, tmp_path, make_vectors):
        vectors = np.random.default_rng(n).normal(size=(n, 8))
        table = make_map(small(tmp_path / "few", make_vectors, vectors), "image")
        assert table.meta["n_neighbors"] == n - 1
        assert len(np.unique(in_order(table), axis=0)) == n

    def test_equal_vectors_share_a_place(self, tmp_path, make_vectors):
        vectors = np.random.default_rng(0).normal(size=(6, 8))
        catalog = small(tmp_path / "equal", make_vectors, np.repeat(vectors, 40, 0))
        xy = in_order(make_map(catalog, "image")).reshape(6, 40, 2)
        assert (xy == xy[:, :1]).all()
        assert len(np.unique(xy[:, 0], axis=0)) == 6
        catalog = small(tmp_path / "same", make_vectors, np.repeat(vectors[:1], 40, 0))
        xy = in_order(make_map(catalog, "image", sample=30))
        np.testing.assert_allclose(xy, 0, atol=1e-6)

    def test_opposites_have_a_place(self, tmp_path, make_vectors):
        """To UMAP by itself they are not connected, and NaN."""
        vectors = [[1, 0], [2, 0], [4, 0], [8, 0], [-1, 0]]
        xy = in_order(make_map(small(tmp_path / "opposite", make_vectors, vectors), "image"))
        assert np.isfinite(xy).all()

    def test_objects_that_get_no_place_are_an_error(self, copy, monkeypatch):
        class Lost:
            n_neighbors = 15

            def fit_transform(self, vectors):
                return np.where(np.arange(len(vectors))[:, None] == 7, np.nan, np.ones(2))

        before = (copy.path / FILE).read_bytes()
        monkeypatch.setattr(maps, "projector", lambda *_, **__: Lost())
        with pytest.raises(CatalogError, match="gave 2 objects no place, such as g0"):
            make_map(copy, "image")
        assert (copy.path / FILE).read_bytes() == before

    def test_memory_is_that_of_the_sample_and_a_block(self, tmp_path, make_vectors, monkeypatch):
        n, features, block = 8000, 256, 300
        seen = []

        class Layout:
            n_neighbors = 15

            def fit_transform(self, vectors):
                seen.append(len(vectors))
                return vectors[:, :2]

            def transform(self, vectors):
                seen.append(len(vectors))
                return vectors[:, :2]

        catalog = EmbeddingCatalog.create(tmp_path / "c", make_vectors(n, features=features))
        expected = catalog.embeddings("image").values[:, :2]
        names = catalog.table()["object_id"].tolist()
        monkeypatch.setattr(maps, "projector", lambda *_, **__: Layout())
        monkeypatch.setattr(maps, "_BLOCK", block)
        tracemalloc.start()
        table = make_map(catalog, "image", sample=200)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen[0] == 200
        assert set(seen[1:-1]) == {block}
        assert sum(seen) == n
        assert peak < n * features * 2 / 2  # bytes; all in float16 would be twice as much
        # Everything is at its own place, in whatever order it was laid out.
        assert table["object_id"].tolist() == names
        np.testing.assert_array_equal(in_order(table), expected[np.argsort(names)])


class TestChanges:
    def test_deleted_objects_are_left_out_and_new_ones_counted(self, copy, make_vectors):
        copy.delete([f"g{i:05d}" for i in range(7)])
        copy.append(make_vectors(4, first=900))
        table = read_map(EmbeddingCatalog.open(copy.path), "image")
        assert len(table) == 593
        assert table.meta["missing"] == 4
        assert not set(table["object_id"]) & {f"g{i:05d}" for i in range(7)}
        copy.compact()
        assert read_map(copy, "image").meta["missing"] == 4
        assert verify(copy.path) == []
        assert read_map(copy, "image").meta["missing"] == 4

    def test_objects_without_a_vector_are_not_missing(self, survey, tmp_path, monkeypatch):
        catalog = EmbeddingCatalog.open(shutil.copytree(survey.path, tmp_path / "survey"))
        monkeypatch.setattr(maps, "projector", lambda *_, **__: maps._Plane())
        for modality in catalog.modalities:
            table = make_map(catalog, modality)
            assert table.meta["missing"] == 0
            with_vector = catalog.embeddings(modality).object_id.values
            assert sorted(table["object_id"]) == sorted(with_vector)
        catalog.delete(where="object_id LIKE '%'")
        assert len(read_map(catalog, "image")) == 0
        with pytest.raises(InputError, match="no object has a vector of image"):
            make_map(catalog, "image")

    def test_a_new_catalog_in_its_place_has_no_map(self, copy, make_vectors):
        new = EmbeddingCatalog.create(copy.path, make_vectors(9), overwrite=True)
        with pytest.raises(CatalogError, match=r"there is no .*astroclip catalog map .*copy --mod"):
            read_map(new, "image")

    def test_a_map_of_other_weights_is_refused(self, copy, make_vectors, tmp_path):
        attrs = {"weights_sha256": "cd" * 32}
        other = EmbeddingCatalog.create(tmp_path / "other", make_vectors(9, attrs=attrs))
        shutil.copy(copy.path / FILE, other.path)
        with pytest.raises(CatalogError, match=r"another weights_sha256: 'astroclip catalog map"):
            read_map(other, "image")

    def test_no_map_is_put_into_a_catalog_that_came_meanwhile(self, tmp_path, make_vectors):
        catalog = small(tmp_path / "c", make_vectors, np.eye(3))
        fitted = maps._fitted

        def replace(*args, **options):
            EmbeddingCatalog.create(catalog.path, make_vectors(5), overwrite=True)
            return fitted(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maps, "_fitted", replace)
            with pytest.raises(CatalogError, match="was replaced meanwhile"):
                make_map(catalog, "image")
        assert not (catalog.path / FILE).exists()


class TestDamage:
    def test_changed_bits_are_noticed_or_change_nothing(self, copy):
        path, before = copy.path / FILE, read_map(copy, "image")
        data, rng = path.read_bytes(), np.random.default_rng(3)
        noticed = 0
        for at in rng.integers(len(data), size=150):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.integers(8)]) + data[at + 1 :])
            found = [one.path for one in verify(copy.path)]
            if found:
                assert found == [FILE]
                noticed += 1
                with pytest.raises(CatalogError, match=r"is damaged .* 'astroclip catalog map"):
                    read_map(copy, "image")
            else:
                after = read_map(copy, "image")
                assert after.meta == before.meta
                np.testing.assert_array_equal(after.as_array(), before.as_array())
        assert noticed > 100

    @pytest.mark.parametrize("content", [b"", b"else", "half"])
    def test_other_content_is_noticed(self, copy, content):
        path = copy.path / FILE
        path.write_bytes(path.read_bytes()[:4000] if content == "half" else content)
        assert [one.path for one in copy.verify()] == [FILE]
        copy.compact()
        assert [one.path for one in copy.verify()] == [FILE]
        assert len(copy.search("g00003", modality="image", k=3)) == 3  # rows are as they were

    def test_damaged_rows_and_a_damaged_map_are_both_named(self, copy):
        (copy.path / FILE).write_bytes(b"")
        (copy.path / "checksums.sha256").write_bytes(b"")
        assert {one.path for one in verify(copy.path)} == {FILE, "checksums.sha256"}


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"sample": 15}, r"sample is 15, expected a whole number of 16 or more"),
            ({"sample": 1e5}, "sample is 100000.0, expected a whole number"),
            ({"seed": -1}, "seed is -1, expected a whole number of 0 to 4294967295"),
            ({"seed": True}, "seed is True, expected a whole number"),
        ],
    )
    def test_what_makes_no_sense(self, mapped, options, match):
        with pytest.raises(InputError, match=match):
            make_map(mapped[0], "image", **options)

    @pytest.mark.parametrize("function", [make_map, read_map])
    def test_unknown_modality(self, mapped, function):
        with pytest.raises(InputError, match=r"'\.\./x': the catalog has vectors of image"):
            function(mapped[0], "../x")

    def test_umap_is_not_installed(self, mapped, monkeypatch):
        monkeypatch.setitem(sys.modules, "umap", None)
        with pytest.raises(InputError, match=r"umap-learn is missing: .*astroclip_astro\[explorer"):
            make_map(mapped[0], "image")
        assert len(read_map(mapped[0], "image")) == 600  # which needs none

    def test_full_disk(self, small_disk, fill, make_vectors):
        catalog = small(small_disk / "c", make_vectors, np.eye(3))
        make_map(catalog, "image")
        before = read_map(catalog, "image")
        fill(small_disk, 0)
        with pytest.raises(CatalogError, match=r"the disk is full\. Nothing was changed"):
            make_map(catalog, "image", seed=1)
        assert read_map(catalog, "image").meta == before.meta
        assert not list(catalog.path.glob(".map*"))

    def test_read_only_disk(self, small_disk, make_vectors):
        catalog = small(small_disk / "c", make_vectors, np.eye(3))
        make_map(catalog, "image")
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(CatalogError, match="cannot be written to"):
            make_map(catalog, "image")
        assert len(read_map(catalog, "image")) == 3


def test_progress_is_shown(tmp_path, make_vectors, capsys):
    catalog = small(tmp_path / "c", make_vectors, np.eye(3))
    make_map(catalog, "image", progress=True)
    shown = capsys.readouterr().err
    assert "map image" in shown
    assert "fitting" in shown
    assert "3/3" in shown
    make_map(catalog, "image")
    assert capsys.readouterr().err == ""
