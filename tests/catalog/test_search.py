"""Searches: brute force in NumPy as the oracle of every engine, under all conditions."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.table import QTable
from mocpy import MOC

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import InputError, PluginError, ProvenanceError
from astroclip_astro.tasks import FixedRedshift

CENTER = SkyCoord(210 * u.deg, -35 * u.deg)
FIELD = MOC.from_box(
    lon=Longitude(80 * u.deg),
    lat=Latitude(20 * u.deg),
    a=25 * u.deg,
    b=15 * u.deg,
    angle=0.3 * u.rad,
    max_depth=10,
)
CONDITIONS = {
    None: lambda e: np.ones(len(e["object_id"]), bool),
    "0.2 < z AND z < 0.9": lambda e: (e["redshift"] > 0.2) & (e["redshift"] < 0.9),
    "kind IN ('spiral', 'it''s odd') AND NOT good": lambda e: (
        np.isin(e["kind"].data, ["spiral", "it's odd"])
        & ~e["kind"].mask
        & (e["good"] == 0).filled(0)
    ),
    "counts IS NULL OR flux > 1.5": lambda e: e["counts"].mask | (e["flux"] > 1.5),
    "mass > 99": lambda e: e["mass"] > 99,
}
SKIES = {
    "none": ({}, lambda ra, dec: np.ones(len(ra), bool)),
    "cone": ({"cone": (CENTER, 25 * u.deg)}, lambda ra, dec: apart(CENTER, ra, dec) <= 25),
    "wide": ({"cone": (CENTER, 120 * u.deg)}, lambda ra, dec: apart(CENTER, ra, dec) <= 120),
    "tiny": ({"cone": (CENTER, 1 * u.deg)}, lambda ra, dec: apart(CENTER, ra, dec) <= 1),
    "moc": (
        {"region": FIELD},
        lambda ra, dec: (
            FIELD.contains_lonlat(np.nan_to_num(ra) * u.deg, np.nan_to_num(dec) * u.deg)
            & np.isfinite(ra)
        ),
    ),
}


def apart(center, ra, dec):
    return center.separation(SkyCoord(ra, dec, unit="deg")).deg


def cosines(query, vectors):
    """Cosines with vectors as float16 holds them; NaN where there is none."""
    vectors, query = vectors.astype(float), np.asarray(query, float)
    return vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


def check(found, names, truth, allowed, k, exact=2e-6):
    """Check one answer against the cosines of all objects and what may be found."""
    allowed = allowed & np.isfinite(truth)
    n = min(k, allowed.sum())
    ids, scores = np.asarray(found["object_id"]), np.asarray(found["score"])
    assert len(ids) == len(set(ids)) == n
    at = np.searchsorted(names, ids)  # of objects, whose names are sorted
    np.testing.assert_array_equal(names[at], ids)
    assert allowed[at].all()
    np.testing.assert_allclose(scores, truth[at], rtol=0, atol=exact)
    assert (np.diff(scores) <= 0).all()
    if n:
        assert (truth[at] >= np.sort(truth[allowed])[-n] - exact).all()


@pytest.fixture(scope="module")
def loaded(survey):
    catalog = EmbeddingCatalog.open(survey.path)
    return catalog.load("image", engine="exact").load("spectrum", engine="exact")


@pytest.mark.parametrize("memory", [False, True], ids=["disk", "memory"])
@pytest.mark.parametrize("modality", ["image", "spectrum"])
@pytest.mark.parametrize("sky", SKIES)
@pytest.mark.parametrize("where", CONDITIONS)
def test_exact_under_all_conditions(survey, loaded, objects, memory, modality, sky, where):
    catalog, e = (loaded if memory else survey), objects.expected
    names = e["object_id"]
    keywords, inside = SKIES[sky]
    allowed = inside(e["ra"], e["dec"]) & np.asarray(CONDITIONS[where](e))
    if where != "mass > 99" and sky != "tiny":
        assert allowed.sum() > 10
    keywords = keywords | {"where": where, "modality": modality}
    # One with both vectors, and one with one of them only.
    both, one = 31, (33 if modality == "image" else 40)
    assert np.isfinite(e[modality][both]).all()
    for query in (both, one):
        stored = e[modality][query]
        other = e["spectrum" if modality == "image" else "image"][query]
        vector = stored if np.isfinite(stored).all() else other
        for k in (7, 5000):
            for exclude in (False, True):
                found = catalog.search(
                    names[query], k=k, engine="exact", exclude_self=exclude, **keywords
                )
                may = allowed & (names != names[query]) if exclude else allowed
                check(found, names, cosines(vector, e[modality]), may, k)
    several = [40, 31, 7, 31]
    several = [i for i in several if np.isfinite(e[modality][i]).all()]
    found = catalog.search(names[several].tolist(), k=9, exclude_self=True, **keywords)
    assert found["query"].tolist() == sorted(found["query"])
    for number, i in enumerate(several):
        mine = found[found["query"] == number]
        assert (mine["query_id"] == names[i]).all()
        may = allowed & (names != names[i])
        check(mine, names, cosines(e[modality][i], e[modality]), may, 9)
    units = e[modality][several].astype(float)
    mean = (units / np.linalg.norm(units, axis=1, keepdims=True)).mean(0)
    for exclude in (False, True):
        found = catalog.search(
            names[several], k=9, combine="mean", exclude_self=exclude, **keywords
        )
        assert "query" not in found.colnames
        may = allowed & ~np.isin(names, names[several]) if exclude else allowed
        check(found, names, cosines(mean, e[modality]), may, 9)


def test_what_is_found_comes_with_its_columns(survey, loaded, objects):
    e = objects.expected
    for catalog in (survey, loaded):
        found = catalog.search(e["object_id"][31], k=3000)
        assert found.colnames[:3] == ["object_id", "score", "separation"]
        assert found.colnames[3:] == [c for c in survey.columns if c != "object_id"]
        at = np.searchsorted(e["object_id"], found["object_id"])
        assert found["mass"].unit == u.dex(u.Msun)
        np.testing.assert_array_equal(found["mass"].value, e["mass"][at])
        np.testing.assert_array_equal(found["flux"].to_value("nJy"), e["flux"][at])
        for name in ("counts", "good", "kind"):
            np.testing.assert_array_equal(found[name].mask, e[name].mask[at])
            known = ~found[name].mask
            np.testing.assert_array_equal(found[name][known], e[name][at][known])
        here = SkyCoord(e["ra"][31], e["dec"][31], unit="deg")
        np.testing.assert_allclose(
            found["separation"].to_value("deg"), apart(here, e["ra"][at], e["dec"][at]), rtol=1e-9
        )
        assert found.meta == survey.provenance
        in_cone = catalog.search(e["object_id"][31], k=9, cone=(CENTER, 40 * u.deg))
        at = np.searchsorted(e["object_id"], in_cone["object_id"])
        np.testing.assert_allclose(
            in_cone["separation"].to_value("deg"), apart(CENTER, e["ra"][at], e["dec"][at])
        )


def test_separation_from_what_has_no_position(survey, objects):
    e = objects.expected
    assert np.isnan(e["ra"][7])
    assert np.isnan(survey.search(e["object_id"][7], k=5)["separation"]).all()
    found = survey.search([e["object_id"][31], e["object_id"][7]], k=5)
    assert np.isfinite(found["separation"][found["query"] == 0]).any()
    assert np.isnan(found["separation"][found["query"] == 1]).all()


def test_blocks_of_queries_and_of_vectors(survey, objects, monkeypatch):
    """Several blocks of each, which is what large catalogs are ranked in."""
    from astroclip_astro.catalog.engines import exact

    monkeypatch.setattr(exact, "_QUERIES", 7)
    monkeypatch.setattr(exact, "_BLOCK", 256)
    e = objects.expected
    asked = [i for i in range(40) if np.isfinite(e["spectrum"][i]).all()]
    for catalog in (survey, EmbeddingCatalog.open(survey.path).load("spectrum", engine="exact")):
        for where in (None, "z < 0.7"):
            found = catalog.search(
                list(e["object_id"][asked]), k=3, modality="spectrum", where=where, engine="exact"
            )
            assert len(found) == 3 * len(asked)
            allowed = CONDITIONS[None](e) if where is None else e["redshift"] < 0.7
            for number, i in enumerate(asked):
                mine = found[found["query"] == number]
                check(mine, e["object_id"], cosines(e["spectrum"][i], e["spectrum"]), allowed, 3)


# An index, which only larger catalogs have.
N, WIDTH = 25_000, 32


@pytest.fixture(scope="module")
def large(make_vectors, tmp_path_factory):
    """25,000 objects with an index, of images and of spectra, which are images with noise."""
    images = make_vectors(N, features=WIDTH, seed=5)
    rng = np.random.default_rng(5)
    shared = {n: images.coords[n].values for n in ("object_id", "ra", "dec", "redshift")}
    vectors = images.values + 0.3 * rng.normal(size=images.shape)
    spectra = make_vectors(N, "spectrum", vectors=vectors, **shared)
    columns = QTable({"object_id": shared["object_id"], "field": np.arange(N) % 5000})
    path = tmp_path_factory.mktemp("large") / "large"
    catalog = EmbeddingCatalog.create(path, concat([images, spectra]), columns)
    assert not catalog._store.indexed("image")
    catalog.compact()
    assert catalog._store.indexed("image")
    assert catalog._store.indexed("spectrum")
    return catalog


@pytest.fixture(scope="module")
def truth(large):
    vectors = {m: large.embeddings(m).sortby("object_id") for m in ("image", "spectrum")}
    field = large.table(columns=["object_id", "field"])
    field.sort("object_id")
    return vectors | {"field": np.asarray(field["field"])}


@pytest.fixture(scope="module")
def in_memory(large):
    return EmbeddingCatalog.open(large.path).load("image").load("spectrum")


ASKED = np.arange(0, N, N // 40)


@pytest.mark.parametrize("engine", ["lance", "faiss"])
@pytest.mark.parametrize("query", ["image", "spectrum"])
@pytest.mark.parametrize(
    ("where", "below", "least"),
    [
        (None, 5000, 0.97),
        ("field < 500", 500, 0.97),
        ("field < 50", 50, 0.97),
        ("field < 5", 5, 0.9),
    ],
)
def test_recall(large, in_memory, truth, engine, query, where, below, least):
    """Images that are like images and like spectra; below one of 5,000 is what may be found."""
    catalog = large if engine == "lance" else in_memory
    vectors, ranked = truth[query][ASKED], truth["image"]
    found = catalog.search(vectors, k=10, modality="image", where=where, engine=engine)
    allowed = truth["field"] < below
    scores = vectors.astroclip.similarity(ranked).values
    right = 0
    for number, mine in enumerate(scores):
        best = ranked.object_id.values[np.argsort(-np.where(allowed, mine, -2))[:10]]
        here = found[found["query"] == number]
        right += len(set(best) & set(here["object_id"]))
        at = np.searchsorted(ranked.object_id.values, here["object_id"])
        assert allowed[at].all()
        # Whatever an engine leaves out, the scores of what it finds are exact.
        np.testing.assert_allclose(here["score"], mine[at], atol=2e-6)
        assert (np.diff(here["score"]) <= 0).all()
    assert right >= least * 10 * len(ASKED)


@pytest.mark.parametrize("engine", ["auto", "lance", "faiss"])
@pytest.mark.parametrize("k", [1, 10, 600])
def test_never_fewer_than_there_are(large, in_memory, truth, k, engine):
    asked = truth["image"][ASKED[:3]]
    for catalog in (large, in_memory):
        for below in (0, 1, 3, 20, 120, 450, 2000, 5000):
            found = catalog.search(asked, k=k, where=f"field < {below}", engine=engine)
            counts = np.bincount(found["query"], minlength=3)
            most = min(k, 5 * below)
            if engine == "auto":
                assert counts.tolist() == [most] * 3, below
            else:
                assert (counts <= most).all()
                assert below == 0 or (counts > 0).all()


@pytest.mark.parametrize("engine", ["auto", "lance", "faiss", "exact"])
def test_no_object_in_the_cone(in_memory, truth, engine):
    nowhere = {"cone": (SkyCoord(1.23 * u.deg, 45.6 * u.deg), 0.1 * u.arcsec)}
    for keywords in (nowhere, {"where": "field < 0"}, nowhere | {"where": "field < 9"}):
        found = in_memory.search(truth["image"][0], engine=engine, **keywords)
        assert len(found) == 0
        assert found.colnames[:3] == ["object_id", "score", "separation"]
        found = in_memory.search(truth["image"][:2], engine=engine, **keywords)
        assert len(found) == 0
        assert found.colnames[:2] == ["query", "query_id"]


@pytest.mark.parametrize("engine", ["lance", "faiss"])
def test_engines_heed_the_sky(in_memory, truth, engine):
    cone = (CENTER, 30 * u.deg)
    inside = apart(CENTER, truth["image"].ra.values, truth["image"].dec.values) <= 30
    found = in_memory.search(truth["image"][7], k=20, cone=cone, engine=engine)
    names = truth["image"].object_id.values
    assert inside[np.searchsorted(names, found["object_id"])].all()
    exact = in_memory.search(truth["image"][7], k=20, cone=cone, engine="exact")
    assert len(set(found["object_id"]) & set(exact["object_id"])) >= 19


def test_what_was_added_since_the_index_is_found(make_vectors, tmp_path, monkeypatch):
    from astroclip_astro.catalog import store

    monkeypatch.setattr(store, "_FEWEST_TO_INDEX", 1000)
    catalog = EmbeddingCatalog.create(tmp_path / "grown", make_vectors(1500))
    catalog.compact()
    assert catalog._store.indexed("image")
    new = make_vectors(200, first=1500)
    for engine in ("lance", "faiss", "exact", "auto"):  # made for the catalog as it was
        assert catalog.search(new[5], k=1, engine=engine)["score"][0] < 0.999
    catalog.append(new)
    for engine in ("lance", "faiss", "exact", "auto"):
        found = catalog.search(new[5], k=1, engine=engine)
        assert found["object_id"][0] == "g01505"
        assert found["score"][0] == pytest.approx(1, abs=1e-5)
    assert catalog.delete("g01505") == 1
    for engine in ("lance", "faiss", "exact", "auto"):
        assert catalog.search(new[5], k=1, engine=engine)["object_id"][0] != "g01505"
    catalog.compact()
    for engine in ("lance", "faiss", "exact", "auto"):
        found = catalog.search(new[6], k=1699, engine=engine)
        assert found["object_id"][0] == "g01506"
        assert "g01505" not in found["object_id"]
        assert len(found) == 1699 or engine in ("lance", "faiss")


def test_faiss_keeps_its_index(make_vectors, tmp_path):
    catalog = EmbeddingCatalog.create(tmp_path / "kept", make_vectors(300))
    query = make_vectors(1, first=900)
    first = catalog.load("image").search(query, k=20)
    (index,) = (tmp_path / "kept" / "cache").glob("*.faiss")
    made = index.read_bytes(), index.stat().st_mtime_ns
    again = EmbeddingCatalog.open(tmp_path / "kept").load("image")
    assert (index.read_bytes(), index.stat().st_mtime_ns) == made
    assert again.search(query, k=20)["object_id"].tolist() == first["object_id"].tolist()
    # One that is damaged is made anew, and one of another version goes.
    index.write_bytes(made[0][: len(made[0]) // 2])
    again = EmbeddingCatalog.open(tmp_path / "kept").load("image")
    assert index.read_bytes() == made[0]
    assert again.search(query, k=20)["object_id"].tolist() == first["object_id"].tolist()
    assert again.verify() == []
    again.delete("g00001")
    again.load("image")
    assert not index.exists()
    assert len(list((tmp_path / "kept" / "cache").glob("*.faiss"))) == 1


@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_at_fixed_redshift_is_as_by_hand(survey, objects, modality):
    e, names = objects.expected, objects.expected["object_id"]
    vectors, z = e[modality].astype(np.float32), e["redshift"]
    known = np.isfinite(vectors[:, 0]) & np.isfinite(z)
    head = FixedRedshift().fit(vectors[known], z[known])
    residuals = np.full(vectors.shape, np.nan)
    residuals[known] = head.transform(vectors[known], z[known])
    i = 32
    assert known[i]
    truth = cosines(residuals[i], residuals)
    plain = survey.search(names[i], k=20, modality=modality)
    for keywords in ({}, {"where": "good"}, {"exclude_self": True}):
        found = survey.search(names[i], k=20, modality=modality, at_fixed_redshift=True, **keywords)
        allowed = known & (names != names[i]) if "exclude_self" in keywords else known
        if "where" in keywords:
            allowed = allowed & (e["good"] == 1).filled(0)
        check(found, names, truth, allowed, 20, exact=1e-3)  # residuals are kept as float16
    assert set(found["object_id"]) != set(plain["object_id"])
    everything = survey.search(names[i], k=3000, modality=modality, at_fixed_redshift=True)
    assert len(everything) == known.sum()
    # Across modalities, each has a trend of its own.
    other = "spectrum" if modality == "image" else "image"
    query = survey.embeddings(other, where=f"object_id = '{names[i]}'")
    vectors = e[other].astype(np.float32)
    known = np.isfinite(vectors[:, 0]) & np.isfinite(z)
    other_head = FixedRedshift().fit(vectors[known], z[known])
    truth = cosines(other_head.transform(vectors[[i]], z[[i]])[0], residuals)
    found = survey.search(query[0], k=20, modality=modality, at_fixed_redshift=True)
    check(found, names, truth, np.isfinite(residuals[:, 0]), 20, exact=1e-3)


def test_at_fixed_redshift_where_parts_have_none(make_vectors, tmp_path):
    """What was appended may have no redshifts at all."""
    catalog = EmbeddingCatalog.create(tmp_path / "parts", make_vectors(100))
    catalog.append(make_vectors(50, first=100, redshift=np.full(50, np.nan)))
    found = catalog.search("g00003", k=200, at_fixed_redshift=True)
    assert sorted(found["object_id"]) == [f"g{i:05d}" for i in range(100)]
    with pytest.raises(InputError, match="redshift"):
        catalog.search("g00120", at_fixed_redshift=True)
    with pytest.raises(InputError, match="at_fixed_redshift is for 'exact'"):
        catalog.search("g00003", at_fixed_redshift=True, engine="lance")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attrs": {"model": "other"}}, "model 'other', not 'toy'"),
        ({"attrs": {"weights_sha256": "cd"}}, "weights_sha256 'cd', not 'abab"),
        ({"attrs": {"preprocessing": "f"}}, "preprocessing 'f', not '0123456789abcdef'"),
        ({"features": 8}, "features 8, not 32"),
    ],
)
def test_foreign_embeddings_are_refused(survey, make_vectors, changes, message):
    foreign = make_vectors(3, **{"features": 32} | changes)
    for query in (foreign, foreign[0], [foreign[0], "g00031"]):
        with pytest.raises(ProvenanceError, match=message):
            survey.search(query)
    with pytest.raises(ProvenanceError, match=message):
        survey.append(foreign)


def test_queries_of_all_kinds(mocks, tmp_path):
    rows = range(12)
    spectra = aa.embed([mocks.spectrum(i) for i in rows])
    images = aa.embed([mocks.cutout(i) for i in rows])
    names = [str(name) for name in mocks.truth["object_id"][:12]]
    catalog = EmbeddingCatalog.create(tmp_path / "mocks", concat([spectra, images]))
    by_spectrum = catalog.search(mocks.spectrum(3), k=5)
    assert by_spectrum["object_id"][0] == names[3]
    assert by_spectrum["score"][0] > 0.99999
    expected = spectra.astroclip.neighbors(spectra[3], k=5)
    assert by_spectrum["object_id"].tolist() == expected["object_id"].tolist()
    np.testing.assert_allclose(by_spectrum["score"], expected["similarity"], atol=1e-3)
    for query in (spectra[3], spectra[[3]], names[3]):
        found = catalog.search(query, k=5, modality="spectrum")
        assert found["object_id"].tolist() == by_spectrum["object_id"].tolist()
    # Images that are like a spectrum, and spectra that are like an image.
    expected = images.astroclip.neighbors(spectra[3], k=12)
    found = catalog.search(mocks.spectrum(3), k=12, modality="image")
    np.testing.assert_allclose(found["score"], expected["similarity"], atol=1e-3)
    expected = spectra.astroclip.neighbors(images[4], k=12)
    found = catalog.search(mocks.cutout(4), k=12, modality="spectrum")
    np.testing.assert_allclose(found["score"], expected["similarity"], atol=1e-3)
    assert catalog.search(mocks.cutout(4), k=1)["object_id"][0] == names[4]
    # Several, of one kind and of all kinds.
    found = catalog.search([mocks.spectrum(i) for i in (5, 2)], k=1)
    assert found["query_id"].tolist() == found["object_id"].tolist() == [names[5], names[2]]
    mixed = [mocks.spectrum(5), names[2], spectra[7], mocks.cutout(1)]
    found = catalog.search(mixed, k=2, modality="spectrum")
    assert found["query"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found["query_id"].tolist() == np.repeat([names[i] for i in (5, 2, 7, 1)], 2).tolist()
    assert found["object_id"][:6:2].tolist() == [names[5], names[2], names[7]]
    with pytest.raises(InputError, match="the query has image and spectrum: say which"):
        catalog.search([mocks.spectrum(5), mocks.cutout(1)])
    with pytest.raises(TypeError):
        catalog.search(5.0)


def test_an_object_is_asked_by_the_vector_that_it_has(survey, objects):
    e = objects.expected
    only_image, only_spectrum = 33, 40
    name = e["object_id"][only_spectrum]
    found = survey.search(name, k=9)  # of the modality of the query
    check(
        found, e["object_id"], cosines(e["spectrum"][40], e["spectrum"]), e["good"] == e["good"], 9
    )
    found = survey.search(name, k=9, modality="image")
    assert name not in found["object_id"]
    assert (found["object_id"] == e["object_id"][only_image]).sum() <= 1
    truth = cosines(e["spectrum"][only_spectrum], e["image"])
    check(found, e["object_id"], truth, np.ones(3000, bool), 9)
    with pytest.raises(InputError, match="g00030: it has no vector in the catalog"):
        survey.search("g00030")


@pytest.mark.parametrize(
    ("query", "keywords", "message"),
    [
        ("g00031", {"k": 0}, "k is 0, expected a whole number"),
        ("g00031", {"k": -1}, "k is -1"),
        ("g00031", {"k": 2.0}, "k is 2.0"),
        ("g00031", {"k": True}, "k is True"),
        ("g00031", {"k": "5"}, "k is '5'"),
        ("g00031", {"combine": "sum"}, "combine is 'sum', expected 'each' or 'mean'"),
        ("g00031", {"modality": "radio"}, "modality is 'radio': the catalog has vectors of image"),
        ("g00031", {"where": "color > 1"}, "there is no column 'color'"),
        ("g00031", {"cone": CENTER}, "expected a position and a radius"),
        ("g00031", {"cone": (CENTER, 1)}, "radius is 1: expected an angle"),
        ("g00031", {"cone": ((1, 2), 1 * u.deg)}, "is no position"),
        ("g00031", {"region": (CENTER, 1 * u.deg)}, "region is a tuple"),
        ("g00031", {"region": FIELD, "cone": (CENTER, 1 * u.deg)}, "expected one of them"),
        ("nobody", {}, "nobody: there is no such object in survey; a file is given as a Path"),
        (["g00031", "nobody"], {}, "nobody: there is no such object"),
        ([], {}, "the query is empty"),
    ],
)
def test_what_cannot_be_searched_for(survey, query, keywords, message):
    with pytest.raises(InputError, match=message):
        survey.search(query, **keywords)


def test_engines_that_are_not_there(survey):
    with pytest.raises(PluginError, match="no engine named 'annoy': known are exact, faiss, lance"):
        survey.search("g00031", engine="annoy")
    with pytest.raises(InputError, match="engine is 'lance', expected 'faiss' or 'exact'"):
        survey.load("image", engine="lance")


def test_a_query_has_a_vector_with_a_direction(survey, make_vectors):
    lost = make_vectors(1, vectors=np.full((1, 32), np.nan), quality=[192])
    with pytest.raises(InputError, match=r"g00000: it has no vector to search with \(NO_DATA"):
        survey.search(lost)
    with pytest.raises(InputError, match="g00000: its vector has no direction"):
        survey.search(make_vectors(1, vectors=np.zeros((1, 32))))
    with pytest.raises(InputError, match="is no embedding"):
        survey.search(make_vectors(1, features=32).drop_vars("quality"))


def test_numbers_of_numpy(survey):
    found = survey.search("g00031", k=np.int64(3))
    assert len(found) == 3
    assert len(survey.search(np.array(["g00031", "g00032"]), k=np.int32(3))) == 6
    assert len(survey.search(np.str_("g00031"), k=2)) == 2


@pytest.mark.parametrize("engine", ["exact", "lance"])
def test_objects_of_equal_score_come_in_the_order_of_their_names(make_vectors, tmp_path, engine):
    n = 60
    vectors = np.repeat(np.random.default_rng(3).normal(size=(n // 3, 16)), 3, axis=0)
    names = np.random.default_rng(4).permutation([f"g{i:02d}" for i in range(n)])
    embeddings = make_vectors(n, vectors=vectors, object_id=names)
    catalog = EmbeddingCatalog.create(tmp_path / "thrice", embeddings)
    for i in (0, 30, 57):
        found = catalog.search(embeddings[[i, i]], k=3, engine=engine)
        same = sorted(names[i // 3 * 3 : i // 3 * 3 + 3])
        assert found["object_id"].tolist() == same * 2
