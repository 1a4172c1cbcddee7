"""Embedding catalogs: made, changed, opened anew, matched on the sky, and read."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from mocpy import MOC
from sklearn.neighbors import NearestNeighbors

from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.errors import CatalogError, InputError, ProvenanceError


@pytest.fixture
def small(make_vectors, tmp_path):
    return EmbeddingCatalog.create(tmp_path / "small", make_vectors(40))


def names_in(catalog):
    return sorted(catalog.table(columns=["object_id"])["object_id"])


def test_what_it_says_of_itself(survey, objects, tmp_path):
    n = len(objects.expected["object_id"])
    images, spectra = (
        int(np.isfinite(objects.expected[m][:, 0]).sum()) for m in ("image", "spectrum")
    )
    assert len(survey) == n
    assert survey.modalities == ["image", "spectrum"]
    assert survey.columns[:5] == ["object_id", "ra", "dec", "redshift", "survey"]
    assert survey.columns[5:11] == ["mass", "flux", "counts", "bits", "good", "kind"]
    assert survey.provenance == objects.embeddings.attrs
    assert survey.model == "toy"
    assert EmbeddingCatalog.open(survey.path, model="another").model == "another"
    assert repr(survey) == (
        f"<EmbeddingCatalog {str(survey.path)!r}: {n} objects ({images} image, {spectra} spectrum "
        "vectors) of 'toy'>"
    )
    survey.provenance["model"] = "another"
    survey.modalities.clear()
    assert survey.model == "toy"
    assert survey.modalities == ["image", "spectrum"]


def test_table(survey, objects):
    e, table = objects.expected, survey.table()
    assert table.colnames == survey.columns
    assert table.meta == survey.provenance
    at = np.searchsorted(e["object_id"], table["object_id"])
    assert sorted(at) == list(range(len(e["object_id"])))
    assert table["ra"].unit == table["dec"].unit == u.deg
    for name in ("ra", "dec"):
        np.testing.assert_array_equal(table[name].value, e[name][at])
    np.testing.assert_array_equal(table["redshift"], e["redshift"][at])
    assert table["mass"].unit == u.dex(u.Msun)
    assert table["mass"].info.description == "stellar mass"
    assert table["ra"].info.description == "ICRS right ascension"
    assert table["image_snr"].info.description == "image: median signal-to-noise ratio per pixel"
    table.meta["model"] = "another"
    assert survey.model == "toy"


def test_parts_of_the_table(survey, objects):
    e = objects.expected
    some = survey.table(columns=["flux", "object_id"], where="z > 1 AND bits & 4 = 4")
    assert some.colnames == ["flux", "object_id"]
    expected = e["object_id"][(e["redshift"] > 1) & (e["bits"] & 4 == 4)]
    assert sorted(some["object_id"]) == expected.tolist()
    center = SkyCoord(10 * u.deg, -80 * u.deg)
    inside = center.separation(SkyCoord(e["ra"], e["dec"], unit="deg")) < 20 * u.deg
    cone = survey.table(cone=(center, 20 * u.deg))
    assert sorted(cone["object_id"]) == e["object_id"][inside].tolist()
    assert cone.colnames == survey.columns
    # Without the columns that tell where things are, and none at all.
    cone = survey.table(columns=["mass"], cone=(center, 20 * u.deg))
    assert (cone.colnames, len(cone)) == (["mass"], inside.sum())
    north = survey.table(columns=["dec"], region=MOC.from_string("0/0-3"))
    assert (north["dec"] > -1 * u.deg).all()
    assert len(survey.table(where="z > 99")) == 0
    assert survey.table(where="z > 99").colnames == survey.columns
    with pytest.raises(InputError, match="there is no column colour; there are object_id, ra"):
        survey.table(columns=["mass", "colour"])
    with pytest.raises(InputError, match="there is no column image"):
        survey.table(columns=["image"])
    with pytest.raises(InputError, match="expected one of them"):
        survey.table(cone=(center, 1 * u.deg), region=MOC.from_string("0/0"))


def test_embeddings(survey, objects):
    e, given = objects.expected, objects.embeddings
    for modality in ("image", "spectrum"):
        found = survey.embeddings(modality).sortby("object_id")
        there = np.isfinite(e[modality][:, 0])
        assert found.object_id.values.tolist() == e["object_id"][there].tolist()
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.values, e[modality][there].astype(np.float32))
        assert found.attrs == given.attrs
        mine = given[(given.modality == modality).values & given.astroclip.valid.values]
        mine = mine.sortby("object_id")
        for name in ("ra", "dec", "redshift", "coverage", "snr", "quality", "modality", "survey"):
            np.testing.assert_array_equal(found.coords[name], mine.coords[name], err_msg=name)
    some = survey.embeddings("image", where="kind = 'spirał'")
    kinds = e["kind"].filled("")
    expected = e["object_id"][(kinds == "spirał") & np.isfinite(e["image"][:, 0])]
    assert sorted(some.object_id.values) == expected.tolist()
    assert survey.embeddings("image", where="z > 99").shape == (0, 32)
    with pytest.raises(InputError, match="modality is 'radio'"):
        survey.embeddings("radio")


def test_stored_vectors_come_in_the_order_asked(survey, objects):
    e = objects.expected
    names = [str(e["object_id"][i]) for i in (40, 31, 33, 31)]
    found = survey.stored(names, "spectrum")
    assert found.object_id.values.tolist() == names
    # Of 33 there is no spectrum.
    assert found.modality.values.tolist() == ["spectrum", "spectrum", "image", "spectrum"]
    for i, row, modality in zip((40, 31, 33, 31), found.values, found.modality.values, strict=True):
        np.testing.assert_array_equal(row, e[modality][i].astype(np.float32))
    assert survey.stored(names[1:3]).modality.values.tolist() == ["image", "image"]
    with pytest.raises(InputError, match="nobody: there is no such object in survey"):
        survey.stored([names[0], "nobody"])
    with pytest.raises(InputError, match="g00030: it has no vector in the catalog"):
        survey.stored(["g00030"])
    with pytest.raises(InputError, match="object_id 5 is no text"):
        survey.stored([5])


def test_create_makes_it_as_a_whole_or_not_at_all(make_vectors, tmp_path):
    path = tmp_path / "new"
    bad = make_vectors(3, object_id=["a", "b", "b"])
    with pytest.raises(InputError, match="b: it has several vectors"):
        EmbeddingCatalog.create(path, bad)
    assert list(tmp_path.iterdir()) == []
    catalog = EmbeddingCatalog.create(path, make_vectors(3))
    assert catalog.verify() == []
    assert [one.name for one in tmp_path.iterdir()] == ["new"]
    with pytest.raises(FileExistsError, match="new exists: open it, or allow to overwrite it"):
        EmbeddingCatalog.create(path, make_vectors(5))
    with pytest.raises(InputError, match="several vectors"):
        EmbeddingCatalog.create(path, bad, overwrite=True)
    assert len(EmbeddingCatalog.open(path)) == 3
    assert len(EmbeddingCatalog.create(path, make_vectors(5), overwrite=True)) == 5
    assert len(EmbeddingCatalog.open(path)) == 5
    assert [one.name for one in tmp_path.iterdir()] == ["new"]


def test_create_replaces_nothing_but_catalogs(make_vectors, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="precious exists"):
            EmbeddingCatalog.create(tmp_path / "precious", make_vectors(3), overwrite=overwrite)
        with pytest.raises(FileExistsError, match="tex exists"):
            EmbeddingCatalog.create(
                tmp_path / "precious" / "thesis.tex", make_vectors(3), overwrite=overwrite
            )
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(CatalogError, match="is no folder to make a catalog in"):
        EmbeddingCatalog.create(tmp_path / "missing" / "new", make_vectors(3))


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(CatalogError, match="missing: no such catalog"):
        EmbeddingCatalog.open(tmp_path / "missing")
    with pytest.raises(CatalogError, match="is no embedding catalog: it has no objects"):
        EmbeddingCatalog.open(tmp_path)
    (tmp_path / "objects.lance").mkdir()
    with pytest.raises(CatalogError, match=r"cannot be opened .*: see 'astroclip catalog verify"):
        EmbeddingCatalog.open(tmp_path)


def test_a_dataset_of_something_else(tmp_path):
    import lance

    lance.write_dataset(Table({"x": [1]}).to_pandas(), tmp_path / "other" / "objects.lance")
    with pytest.raises(CatalogError, match="no embedding catalog of the format"):
        EmbeddingCatalog.open(tmp_path / "other")


def test_append(small, make_vectors):
    before = small.embeddings("image").sortby("object_id")
    new = make_vectors(15, first=40)
    small.append(new)
    assert len(small) == 55
    after = small.embeddings("image").sortby("object_id")
    np.testing.assert_array_equal(after.values[:40], before.values)
    np.testing.assert_array_equal(after.values[40:], new.values.astype("f2").astype("f4"))
    with pytest.raises(
        InputError, match=r"g0005\d: it is in the catalog already, as 5 of 10 object"
    ):
        small.append(make_vectors(10, first=50))
    assert len(small) == 55  # none of them
    small.delete([f"g{i:05d}" for i in range(50, 55)])
    small.append(make_vectors(10, first=50))
    assert names_in(small) == [f"g{i:05d}" for i in range(60)]
    with pytest.raises(ProvenanceError, match="model 'other', not 'toy'"):
        small.append(make_vectors(5, first=100, attrs={"model": "other"}))
    with pytest.raises(InputError, match="embeddings of spectrum: the catalog holds image"):
        small.append(make_vectors(5, "spectrum", first=100))
    with pytest.raises(InputError, match="embeddings are a list"):
        small.append([1, 2])
    small.append(make_vectors(0, first=100))
    assert len(small) == 60
    assert small.verify() == []


def test_append_columns_in_other_units(make_vectors, tmp_path):
    def columns(first, values):
        ids = [f"g{i:05d}" for i in range(first, first + len(values))]
        return QTable({"object_id": ids, "size": values})

    catalog = EmbeddingCatalog.create(
        tmp_path / "units", make_vectors(2), columns(0, [1.0, 2.0] * u.kpc)
    )
    catalog.append(make_vectors(2, first=2), columns(2, Masked([3000.0, 4.0], [0, 1]) * u.pc))
    table = catalog.table()
    table.sort("object_id")
    assert table["size"].unit == u.kpc
    np.testing.assert_allclose(table["size"].value, [1, 2, 3, np.nan])
    assert catalog.table(where="size > 2.5")["object_id"].tolist() == ["g00002"]
    with pytest.raises(InputError, match="column 'size' is in s: the catalog's is in kpc"):
        catalog.append(make_vectors(2, first=4), columns(4, [1.0, 2.0] * u.s))
    assert len(catalog) == 4


def test_delete(small):
    z = small.table(columns=["object_id", "redshift"])
    assert small.delete("g00003") == 1
    assert small.delete("g00003") == 0
    assert small.delete(["g00004", "g00005", "nobody"]) == 2
    assert small.delete([]) == 0
    assert small.delete(np.array(["g00006"])) == 1
    assert small.delete("' OR TRUE --") == 0
    assert len(small) == 36
    low = {str(name) for name, value in z.iterrows() if value < 0.7}
    low -= {f"g0000{i}" for i in range(3, 7)}
    assert small.delete(where="z < 0.7") == len(low) > 5
    assert not low & set(names_in(small))
    left = len(small)
    for where in ("z < 0.7; DROP TABLE objects", "1", "nonsense", "z < "):
        with pytest.raises(InputError, match="where is"):
            small.delete(where=where)
    for keywords in ({}, {"object_id": "g00007", "where": "z > 0"}):
        with pytest.raises(InputError, match="expected either object_id or where"):
            small.delete(**keywords)
    with pytest.raises(InputError, match="object_id 7 is no text"):
        small.delete([7])
    assert len(small) == left
    assert small.verify() == []


def test_everything_can_be_deleted(small, make_vectors):
    assert small.delete(where="TRUE") == 40
    assert len(small) == 0
    assert len(small.table()) == 0
    assert small.embeddings("image").shape == (0, 16)
    assert len(small.search(make_vectors(1), k=3)) == 0
    small.compact()
    assert len(small) == 0
    assert len(small.search(make_vectors(1), k=3)) == 0
    assert len(small.crossmatch(SkyCoord(1 * u.deg, 2 * u.deg), 180 * u.deg)) == 0
    small.append(make_vectors(3))
    assert names_in(small) == ["g00000", "g00001", "g00002"]
    assert small.verify() == []


def test_compact_changes_no_row(make_vectors, tmp_path, monkeypatch):
    from astroclip_astro.catalog import store

    monkeypatch.setattr(store, "_FEWEST_TO_INDEX", 300)
    catalog = EmbeddingCatalog.create(tmp_path / "parts", make_vectors(600))
    for i in range(5):
        catalog.append(make_vectors(20, first=600 + 20 * i))
    catalog.delete(where="z < 0.5")
    before = catalog.embeddings("image").sortby("object_id")
    table = catalog.table()
    table.sort("object_id")
    data = tmp_path / "parts" / "objects.lance" / "data"
    assert len(list(data.iterdir())) == 6
    catalog.compact()
    assert len(list(data.iterdir())) == 1
    assert catalog._store.indexed("image")
    xr.testing.assert_identical(catalog.embeddings("image").sortby("object_id"), before)
    after = catalog.table()
    after.sort("object_id")
    assert all((after[name] == table[name]).all() for name in after.colnames)
    assert catalog.verify() == []
    files = sorted(tmp_path.rglob("*"))
    catalog.compact()  # there is nothing to be done
    assert sorted(tmp_path.rglob("*")) == files
    # An index that is there learns of what is new.
    catalog.append(make_vectors(30, first=5000))
    catalog.compact()
    (about,) = (
        catalog._store.dataset.stats.index_stats(index.name)
        for index in catalog._store.dataset.describe_indices()
        if index.name == "image_idx"
    )
    assert about["num_unindexed_rows"] == 0
    assert about["num_indexed_rows"] == len(catalog)


def test_rows_deleted_are_out_of_the_files(small, tmp_path):
    size = sum(f.stat().st_size for f in (tmp_path / "small" / "objects.lance" / "data").iterdir())
    small.delete(where="z < 1")
    small.compact()
    left = sum(f.stat().st_size for f in (tmp_path / "small" / "objects.lance" / "data").iterdir())
    assert left < size


def test_two_of_one_path(small, make_vectors):
    """What one writes the other sees when it is opened anew, and when it writes itself."""
    other = EmbeddingCatalog.open(small.path)
    other.load("image")
    small.append(make_vectors(5, first=40))
    assert len(other) == 40
    assert "g00042" not in other.search(make_vectors(5, first=40)[2], k=40)["object_id"]
    assert EmbeddingCatalog.open(small.path).search("g00042", k=1)["object_id"][0] == "g00042"
    with pytest.raises(
        InputError, match=r"g0004\d: it is in the catalog already, as 1 of 2 objects"
    ):
        other.append(make_vectors(2, first=44))
    other.append(make_vectors(2, first=45))
    assert len(other) == 47
    assert other.search("g00042", k=1)["object_id"][0] == "g00042"
    assert small.delete("g00046") == 1  # which it had not seen
    assert other.delete("g00046") == 0
    assert len(small) == len(other) == len(EmbeddingCatalog.open(small.path)) == 46
    assert small.verify() == other.verify() == []


def test_a_reader_is_told_when_its_files_are_gone(small, make_vectors):
    other = EmbeddingCatalog.open(small.path)
    small.append(make_vectors(5, first=40))
    small.compact()
    with pytest.raises(CatalogError, match="another process has compacted it meanwhile, open it"):
        other.search(make_vectors(1), k=3)
    with pytest.raises(CatalogError, match="open it anew"):
        other.table()
    assert len(EmbeddingCatalog.open(small.path).table()) == 45
    other.delete("g00000")  # writing looks anew
    assert len(other.table()) == 44


def test_crossmatch(survey, objects):
    e, rng = objects.expected, np.random.default_rng(9)
    known = np.flatnonzero(np.isfinite(e["ra"]))
    some = rng.choice(known, 200, replace=False)
    truth = SkyCoord(e["ra"][known], e["dec"][known], unit="deg")
    near = SkyCoord(e["ra"][some], e["dec"][some], unit="deg").directional_offset_by(
        rng.uniform(0, 360, 200) * u.deg, rng.exponential(1, 200) * u.arcsec
    )
    far = SkyCoord(rng.uniform(0, 360, 50), rng.uniform(-90, 90, 50), unit="deg")
    others = SkyCoord([near, far])
    at, apart, _ = others.match_to_catalog_sky(truth)
    for radius in (1 * u.arcsec, 0.5 * u.arcmin, 5 * u.deg):
        found = survey.crossmatch(others, radius)
        close = np.flatnonzero(apart <= radius)
        assert found["other"].tolist() == close.tolist()
        names = e["object_id"][known[at[close]]]
        assert found["object_id"].tolist() == names.tolist()
        np.testing.assert_allclose(
            found["separation"].to_value("deg"), apart[close].deg, atol=1e-12
        )
        assert found["separation"].unit == u.arcsec
        assert found.colnames == ["other", "separation", *survey.columns]
    assert len(survey.crossmatch(others)) == (apart <= 1 * u.arcsec).sum()
    # The same as tables, in units of their own, and with unknown positions.
    table = QTable({"object_id": [f"o{i}" for i in range(250)], "ra": others.ra, "dec": others.dec})
    plain = Table({"ra": others.ra.deg, "dec": others.dec.deg})
    hours = Table({"ra": others.ra.hourangle, "dec": others.dec.deg})
    hours["ra"].unit = "hourangle"
    masked = Table({"ra": MaskedColumn(others.ra.deg), "dec": others.dec.deg})
    masked["ra"].mask[:7] = True
    unknown = QTable({"ra": Masked(others.ra.deg, np.arange(250) < 7) * u.deg, "dec": others.dec})
    expected = survey.crossmatch(others, 1 * u.arcmin)
    for given in (table, plain, hours):
        found = survey.crossmatch(given, 1 * u.arcmin)
        assert found["object_id"].tolist() == expected["object_id"].tolist()
        assert found["other"].tolist() == expected["other"].tolist()
    assert survey.crossmatch(table, 1 * u.arcmin)["other_id"].tolist() == [
        f"o{i}" for i in expected["other"]
    ]
    for given in (masked, unknown):
        found = survey.crossmatch(given, 1 * u.arcmin)
        assert found["other"].tolist() == [i for i in expected["other"] if i >= 7]


def test_crossmatch_with_catalogs_and_frames(survey, objects, make_vectors, tmp_path):
    e = objects.expected
    known = np.isfinite(e["ra"])
    found = survey.crossmatch(survey, 0.1 * u.arcsec)
    assert len(found) == known.sum()
    assert (found["other_id"] == found["object_id"]).all()
    assert (found["separation"] < 1e-6 * u.arcsec).all()
    galactic = SkyCoord(e["ra"][100], e["dec"][100], unit="deg").galactic
    assert survey.crossmatch(galactic)["object_id"].tolist() == [e["object_id"][100]]
    nowhere = EmbeddingCatalog.create(
        tmp_path / "nowhere", make_vectors(3, ra=np.full(3, np.nan), dec=np.full(3, np.nan))
    )
    assert len(nowhere.crossmatch(survey)) == len(survey.crossmatch(nowhere)) == 0
    empty = survey.crossmatch(Table({"ra": [], "dec": []}))
    assert (len(empty), empty.colnames) == (0, ["other", "separation", *survey.columns])


@pytest.mark.parametrize(
    ("others", "radius", "message"),
    [
        ("M31", 1 * u.arcsec, "others is a str: expected a SkyCoord, a catalog, or a table"),
        (Table({"RA": [1], "DEC": [2]}), 1 * u.arcsec, "a table with ra and dec"),
        (SkyCoord(1 * u.deg, 2 * u.deg), 1, "radius is 1: expected an angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), 1 * u.m, "expected an angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), "wide", "expected an angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), np.nan * u.deg, "expected one angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), -1 * u.deg, "expected one angle"),
        (SkyCoord(1 * u.deg, 2 * u.deg), [1, 2] * u.deg, "expected one angle"),
    ],
)
def test_what_cannot_be_matched(survey, others, radius, message):
    with pytest.raises(InputError, match=message):
        survey.crossmatch(others, radius)


@pytest.mark.parametrize("where", [None, "0.3 < z AND z < 0.8"])
@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_neighbors_graph(survey, objects, where, modality):
    e, k = objects.expected, 6
    chosen = np.isfinite(e[modality][:, 0])
    if where is not None:
        chosen &= (e["redshift"] > 0.3) & (e["redshift"] < 0.8)
    graph, names = survey.neighbors_graph(k, modality=modality, where=where)
    assert graph.shape == (chosen.sum(), chosen.sum())
    assert sorted(names) == e["object_id"][chosen].tolist()
    vectors = e[modality][np.searchsorted(e["object_id"], names)].astype(float)
    oracle = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(vectors)
    distance, at = oracle.kneighbors()  # without themselves
    assert (np.diff(graph.indptr) == k).all()
    assert graph.diagonal().max() == 0
    mine = np.sort(graph.data.reshape(-1, k))[:, ::-1]
    np.testing.assert_allclose(mine, 1 - distance, atol=2e-6)
    same = [set(a) == set(b) for a, b in zip(graph.indices.reshape(-1, k), at, strict=True)]
    assert np.mean(same) > 0.99  # but for ties


def test_neighbors_graph_of_equal_vectors(make_vectors, tmp_path):
    vectors = np.ones((30, 4))
    vectors[:3] = np.eye(4)[:3]
    catalog = EmbeddingCatalog.create(tmp_path / "equal", make_vectors(30, vectors=vectors))
    graph, names = catalog.neighbors_graph(5, modality="image")
    assert graph.diagonal().max() == 0
    assert (np.diff(graph.indptr) == 5).all()
    assert all(len(set(row)) == 5 for row in graph.indices.reshape(-1, 5))
    ones = ~np.isin(names, ["g00000", "g00001", "g00002"])
    np.testing.assert_allclose(graph.data.reshape(-1, 5)[ones], 1, atol=1e-6)
    graph, _ = catalog.neighbors_graph(29, modality="image")
    assert (graph.toarray() + np.eye(30) > 0).sum() >= 30 * 27


@pytest.mark.parametrize(
    ("k", "keywords", "message"),
    [
        (0, {}, "k is 0, expected 1 to 39: 40 objects have a vector"),
        (40, {}, "k is 40, expected 1 to 39"),
        (5, {"where": "z > 99"}, "0 objects have a vector"),
        (5, {"modality": "spectrum"}, "modality is 'spectrum'"),
        (5, {"where": "colour > 1"}, "there is no column 'colour'"),
    ],
)
def test_no_graph(small, k, keywords, message):
    with pytest.raises(InputError, match=message):
        small.neighbors_graph(k, **{"modality": "image"} | keywords)


def test_html_shows_the_same_and_no_text_of_a_file_is_markup(make_vectors, tmp_path):
    evil = "<img src=x onerror=alert(1)>&amp;"
    rows = make_vectors(5, attrs={"model": evil})
    columns = Table({"object_id": rows.object_id.values, "mass": np.arange(5.0) * u.kg})
    columns["mass"].info.description = evil
    catalog = EmbeddingCatalog.create(tmp_path / "<b>", rows, columns)
    tree = ET.fromstring(f"<div>{catalog._repr_html_()}</div>")
    assert tree.findtext(".//caption") == f"EmbeddingCatalog {str(catalog.path)!r}"
    rows = [[cell.text for cell in row] for row in tree.iter("tr")]
    assert ["objects", "5"] in rows
    assert ["image vectors", "5 of 16 numbers"] in rows
    assert ["mass", "number", "kg", evil] in rows
    assert ["model", evil] in rows
    assert {row[0] for row in rows} >= set(catalog.columns)
    assert {"img", "b"}.isdisjoint(element.tag for element in tree.iter())
