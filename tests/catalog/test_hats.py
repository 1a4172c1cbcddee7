"""HATS catalogs of embeddings: written, read, made, searched and matched on a Dask cluster."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import warnings

import lance
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse_single_table
from astropy.table import QTable
from mocpy import MOC
from pyarrow import parquet

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.hats import (
    convert,
    crossmatch_hats,
    embed_hats,
    read_hats,
    search_hats,
    write_hats,
)
from astroclip_astro.catalog.hats.cluster import aligned
from astroclip_astro.catalog.sky import healpix_29
from astroclip_astro.catalog.store import Store
from astroclip_astro.embeddings import concat, make_embeddings
from astroclip_astro.errors import CatalogError, InputError, ProvenanceError
from astroclip_astro.quality import Quality
from astroclip_astro.weights import save_model

pytest.importorskip("hats")
with warnings.catch_warnings():
    # LSDB 0.11 sets an option, and passes arguments, that pandas 3.1 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    lsdb = pytest.importorskip("lsdb")
    import dask
    from dask.distributed import Client, LocalCluster
    from hats.io.validation import is_valid_catalog

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")

N, WIDTH = 2000, 16
ATTRS = {
    "model": "toy",
    "weights_sha256": "ab" * 32,
    "preprocessing": "0123456789abcdef",
    "date": 'said "1 = 1 \\ Σ: 100 %"',
}
FIELD = (SkyCoord(150 * u.deg, 2 * u.deg), 4 * u.deg)


def circle(radius):
    """The coverage of a part of the field."""
    return MOC.from_cone(lon=150 * u.deg, lat=2 * u.deg, radius=radius * u.deg, max_depth=10)


# What workers import: a module of its own, as users have one.
WORK = '''
"""Spectra that a catalog describes, and mishaps on the way to them."""

import os
import signal
from pathlib import Path

import numpy as np
from astropy import units as u
from specutils import Spectrum

from astroclip_astro.simulate import MockSurvey

UNIT = u.Unit("1e-17 erg / (s cm2 Angstrom)")


def first(path):
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def die_once(rows, path):
    if len(rows) and first(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return rows


def spectrum(seed):
    wavelength = np.linspace(3600, 9824, 1000)
    flux = np.random.default_rng(seed).normal(3, 1, 1000)
    return Spectrum(spectral_axis=wavelength * u.AA, flux=flux * UNIT, meta={"object_id": "wrong"})


def spectra(rows):
    for what, path in rows["trap"].str.split("|"):
        if what == "die" and first(path):
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "fail" and not Path(path).with_suffix(".mended").exists():
            with open(path, "a") as file:
                file.write("once more\\n")
            raise OSError("no such spectrum")
    return [None if seed % 50 == 7 else spectrum(seed) for seed in rows["seed"]]


def too_few(rows):
    return spectra(rows)[1:]


def images(rows):
    cutout = MockSurvey.bundled().cutout(0)
    return [cutout] * len(rows)
'''


def made(modality, n, seed):
    """Embeddings of objects all over the sky, half of them in one field; some have no vector."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, WIDTH)).astype(np.float32)
    quality = np.zeros(n, int)
    vectors[::40], quality[::40] = np.nan, Quality.NO_DATA | Quality.NOT_EMBEDDED
    where = np.random.default_rng(0)
    ra = np.where(np.arange(N) % 2, where.uniform(0, 360, N), where.uniform(145, 155, N))
    dec = np.where(
        np.arange(N) % 2, np.degrees(np.arcsin(where.uniform(-1, 1, N))), where.uniform(-3, 7, N)
    )
    columns = {
        "object_id": [f"o'{i}" for i in range(n)],
        "ra": ra[:n],
        "dec": dec[:n],
        "modality": [modality] * n,
        "survey": [modality[:3]] * n,
        "redshift": np.where(np.arange(n) % 7, rng.uniform(0, 1, n), np.nan),
        "coverage": np.ones(n),
        "snr": rng.uniform(1, 9, n),
        "quality": quality,
    }
    return make_embeddings(vectors, columns, ATTRS)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    rng = np.random.default_rng(3)
    embeddings = concat([made("image", N, 1), made("spectrum", N // 2, 2)])
    columns = QTable(
        {
            "object_id": [f"o'{i}" for i in range(N)],
            "mass": rng.normal(10, 1, N).astype(np.float32) * u.Msun,
            "count": np.ma.array(rng.integers(0, 99, N, np.int16), mask=np.arange(N) % 9 == 0),
            "resolved": rng.uniform(size=N) < 0.5,
            "name": rng.choice(["NGC 1", "NGC 2", "Σ", ""], N),
        }
    )
    columns["mass"].info.description = "stellar mass"
    path = tmp_path_factory.mktemp("catalog") / "galaxies"
    return EmbeddingCatalog.create(path, embeddings, columns)


@pytest.fixture
def small_partitions(monkeypatch):
    monkeypatch.setattr(convert, "_MOST", 200)


@pytest.fixture(scope="module")
def hats(catalog, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "_MOST", 200)
        path = tmp_path_factory.mktemp("hats") / "galaxies-hats"
        assert write_hats(catalog, path) == N
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "work_of_hats_tests.py").write_text(WORK, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import work_of_hats_tests

        yield work_of_hats_tests


@pytest.fixture(scope="module")
def client(work):
    # A LocalCluster gives up a worker that is missing so long after it was killed, also if it is
    # missing because it was killed once more.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit="4GB",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def assert_same(found, expected):
    """The same columns, units, descriptions and rows, in the same order."""
    assert found.colnames == expected.colnames
    assert found.meta == expected.meta
    for name in expected.colnames:
        mine, theirs = found[name], expected[name]
        assert mine.dtype.kind == theirs.dtype.kind, name
        assert mine.info.unit == theirs.info.unit, name
        assert mine.info.description == theirs.info.description, name
        np.testing.assert_array_equal(np.ma.getmaskarray(mine), np.ma.getmaskarray(theirs))
        mine, theirs = (np.ma.filled(np.asarray(one), 0) for one in (mine, theirs))
        if name in ("score", "separation"):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
        else:
            np.testing.assert_array_equal(mine, theirs)


def stored(catalog):
    return Store(catalog.path).dataset.to_table().sort_by("object_id")


# Writing and reading


def test_what_is_written_is_a_hats_catalog(hats):
    from hats.pixel_math import HealpixPixel

    assert is_valid_catalog(hats, strict=True)
    opened = lsdb.open_catalog(hats)
    assert len(opened) == N
    pixels = opened.get_healpix_pixels()
    assert len({pixel.order for pixel in pixels}) > 1
    assert str(opened.dtypes["image"]) == f"fixed_size_list<element: halffloat>[{WIDTH}][pyarrow]"
    total = 0
    for pixel in pixels:
        assert isinstance(pixel, HealpixPixel)
        rows = opened.get_partition(pixel.order, pixel.pixel).compute(progress_bar=False)
        cells = rows.index.to_numpy()
        assert 0 < len(rows) <= 200
        assert (np.diff(cells) >= 0).all()
        assert set(cells >> 2 * (29 - pixel.order)) == {pixel.pixel}
        expected = healpix_29(rows["ra"].to_numpy(float), rows["dec"].to_numpy(float))
        np.testing.assert_array_equal(cells, expected)
        total += len(rows)
    assert total == N
    files = sorted(p.name for p in hats.iterdir())
    assert files == [
        "dataset",
        "hats.properties",
        "partition_info.csv",
        "per_partition_statistics.parquet",
        "point_map.fits",
        "properties",
        "skymap.fits",
    ]


def test_vectors_are_not_compressed_and_units_are_there(hats, catalog):
    file = next((hats / "dataset").rglob("Npix=*.parquet"))
    group = parquet.ParquetFile(file).metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"UNCOMPRESSED"}
    metadata = parquet.read_schema(hats / "dataset" / "_common_metadata").metadata
    table = parse_single_table(io.BytesIO(metadata[b"IVOA.VOTable-Parquet.content"]))
    units = {field.name: field.unit for field in table.fields}
    assert {"ra": u.deg, "dec": u.deg, "mass": u.Msun}.items() <= units.items()
    assert list(units) == parquet.read_schema(file).names
    (mass,) = (field for field in table.fields if field.name == "mass")
    assert mass.description == "stellar mass"


def test_a_catalog_comes_back_as_it_was(hats, catalog, tmp_path):
    again = read_hats(hats, tmp_path / "again")
    assert stored(again).equals(stored(catalog))
    assert stored(again).schema.equals(stored(catalog).schema, check_metadata=True)
    assert again.verify() == []
    assert [p.name for p in tmp_path.iterdir()] == ["again"]
    with pytest.raises(FileExistsError, match="again"):
        read_hats(hats, tmp_path / "again")


@pytest.mark.parametrize(
    "conditions",
    [
        {"where": "mass > 10 AND name LIKE 'NGC%'"},
        {"cone": FIELD},
        {"region": circle(3)},
    ],
    ids=lambda conditions: next(iter(conditions)),
)
@pytest.mark.usefixtures("small_partitions")
def test_a_part_can_be_written(catalog, tmp_path, conditions):
    expected = sorted(catalog.table(columns=["object_id"], **conditions)["object_id"])
    assert write_hats(catalog, tmp_path / "part", **conditions) == len(expected) > 100
    rows = lsdb.open_catalog(tmp_path / "part").compute(progress_bar=False)
    assert sorted(rows["object_id"]) == expected


def test_objects_without_a_position_are_refused(tmp_path):
    embeddings = made("image", 20, 1)
    embeddings.coords["dec"][3] = np.nan
    catalog = EmbeddingCatalog.create(tmp_path / "lost", embeddings)
    with pytest.raises(InputError, match=r"^o'3: it has no position.*where='ra IS NOT NULL"):
        write_hats(catalog, tmp_path / "hats")
    with pytest.raises(InputError, match="no object"):
        write_hats(catalog, tmp_path / "hats", where="dec IS NULL AND dec IS NOT NULL")
    assert [p.name for p in tmp_path.iterdir()] == ["lost"]
    assert write_hats(catalog, tmp_path / "hats", where="ra IS NOT NULL AND dec IS NOT NULL") == 19


def test_many_objects_at_one_place_are_one_partition(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "_MOST", 5)
    embeddings = made("image", 20, 1)
    embeddings.coords["ra"][:], embeddings.coords["dec"][:] = 10, -10
    catalog = EmbeddingCatalog.create(tmp_path / "piled", embeddings)
    assert write_hats(catalog, tmp_path / "hats") == 20
    assert len(read_hats(tmp_path / "hats", tmp_path / "again")) == 20


def test_nothing_is_overwritten_unasked(catalog, tmp_path):
    few = {"where": "mass > 12"}
    (tmp_path / "precious").mkdir()
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="precious exists"):
            write_hats(catalog, tmp_path / "precious", overwrite=overwrite)
    with pytest.raises(CatalogError, match="no folder to make"):
        write_hats(catalog, tmp_path / "nowhere" / "hats")
    write_hats(catalog, tmp_path / "hats", **few)
    with pytest.raises(FileExistsError, match="hats exists"):
        write_hats(catalog, tmp_path / "hats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_hats(catalog, tmp_path / "hats", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hats", "precious"]
    assert 0 < len(lsdb.open_catalog(tmp_path / "hats")) < N
    assert write_hats(catalog, tmp_path / "hats", overwrite=True) == N


def test_damaged_and_foreign_catalogs_are_refused(hats, tmp_path):
    with pytest.raises(CatalogError, match="no HATS catalog"):
        read_hats(tmp_path / "nothing", tmp_path / "again")
    other = lsdb.generate_catalog(50, 2)
    with pytest.raises(CatalogError, match="none of embeddings"):
        search_hats(other, "o'1", modality="image")
    broken = tmp_path / "broken"
    shutil.copytree(hats, broken)
    file = next((broken / "dataset").rglob("Npix=*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CatalogError, match="broken cannot be read"):
        read_hats(broken, tmp_path / "again")
    twice = tmp_path / "twice"
    shutil.copytree(hats, twice)
    file = next((twice / "dataset").rglob("Npix=*.parquet"))
    table = parquet.read_table(file, partitioning=None)
    parquet.write_table(table.take([0, *range(len(table))]), file)
    with pytest.raises(InputError, match=r"o'.*twice"):
        read_hats(twice, tmp_path / "again")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken", "twice"]


def test_what_lsdb_makes_of_it_still_knows_its_model(hats, catalog, tmp_path):
    center, radius = FIELD
    part = lsdb.open_catalog(hats).cone_search(
        center.ra.deg, center.dec.deg, radius.to_value("arcsec")
    )
    part.write_catalog(tmp_path / "part", progress_bar=False, as_collection=False)
    again = read_hats(tmp_path / "part", tmp_path / "again")
    inside = stored(catalog).filter(
        np.isin(stored(catalog)["object_id"], stored(again)["object_id"])
    )
    assert stored(again).equals(inside)
    assert len(again) == len(catalog.table(cone=FIELD, columns=["ra"])) > 100
    query = catalog.embeddings("image")[5]
    found = search_hats(tmp_path / "part", query, 5, modality="image", cone=FIELD)
    assert_same(found, catalog.search(query, 5, cone=FIELD, engine="exact"))


# Searching


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"where": "mass BETWEEN 9.5 AND 11 AND NOT resolved"},
        {"where": "z > 0.5 OR redshift IS NULL"},
        {"where": "name = 'Σ' AND count / 2 < 30"},
        {"where": "object_id IN ('o''3', 'o''5')"},
        {"where": "image_quality & 192 = 0 AND count & 1 = 1"},
        {"where": "mass > 100"},
        {"cone": FIELD},
        {"cone": (SkyCoord(0 * u.deg, 89 * u.deg), 25 * u.deg)},
        {"cone": (SkyCoord(0 * u.deg, -89 * u.deg), 1 * u.arcsec)},
        {"cone": FIELD, "where": "mass > 10"},
        {"region": circle(2)},
    ],
    ids=lambda conditions: str(conditions)[:40],
)
@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_a_search_finds_what_the_exact_engine_finds(hats, catalog, client, conditions, modality):
    query = concat([catalog.embeddings("image")[[5, 1]], catalog.embeddings("spectrum")[[2]]])
    found = search_hats(hats, query, 12, modality=modality, client=client, **conditions)
    expected = catalog.search(query, 12, modality=modality, engine="exact", **conditions)
    assert_same(found, expected)


def test_many_queries_and_one(hats, catalog, client):
    query = catalog.embeddings("image")[:1100]
    found = search_hats(hats, query, 3, modality="image", client=client)
    assert len(found) == 3300
    assert (found["object_id"][::3] == found["query_id"][::3]).all()
    assert_same(found, catalog.search(query, 3, engine="exact"))
    found = search_hats(hats, query[7], 3, modality="spectrum", client=client)
    assert "query" not in found.colnames
    assert_same(found, catalog.search(query[7], 3, modality="spectrum", engine="exact"))
    everything = search_hats(hats, query[7], N, modality="image", client=client)
    assert len(everything) == len(catalog.embeddings("image")) < N


def test_objects_of_the_catalog_are_named(hats, catalog, client):
    # One has both vectors, one only an image, so that its image asks for spectra.
    for query in ("o'5", ["o'5", "o'1501"]):
        found = search_hats(hats, query, 4, modality="spectrum", client=client)
        assert_same(found, catalog.search(query, 4, modality="spectrum", engine="exact"))
    with pytest.raises(InputError, match=r"^o'0: it has no vector"):
        search_hats(hats, "o'0", modality="image", client=client)
    with pytest.raises(InputError, match=r"^missing: there is no such object"):
        search_hats(hats, ["o'5", "missing"], modality="image", client=client)


def test_a_search_needs_no_cluster(hats, catalog):
    query = catalog.embeddings("image")[:2]
    found = search_hats(hats, query, 3, modality="image", cone=FIELD)
    assert_same(found, catalog.search(query, 3, cone=FIELD, engine="exact"))


def test_searches_that_make_no_sense_are_refused(hats, catalog):
    query = catalog.embeddings("image")[:1]
    for arguments, reason in (
        ({"k": 0}, "k is 0"),
        ({"modality": "radio"}, "image and spectrum"),
        ({"where": "1 = 1; DROP TABLE objects"}, "expected one condition"),
        ({"where": "weight > 1"}, "no column 'weight'"),
        ({"cone": FIELD, "region": MOC.from_string("0/0")}, "one of them"),
        ({"cone": 3}, "cone is 3"),
        ({"query": query[:0]}, "empty"),
        ({"catalog": lsdb.open_catalog(hats, columns=["object_id", "image"])}, "has no column"),
        ({"catalog": 3}, "catalog is a int"),
    ):
        with pytest.raises(InputError, match=reason):
            search_hats(**{"catalog": hats, "query": query, "modality": "image"} | arguments)
    for change in ({"weights_sha256": "cd" * 32}, {"model": "other"}):
        with pytest.raises(ProvenanceError, match=next(iter(change.values()))):
            search_hats(hats, query.assign_attrs(change), modality="image")


def test_partitions_elsewhere_are_not_read(hats, catalog, tmp_path, client):
    copy = tmp_path / "galaxies-hats"
    shutil.copytree(hats, copy)
    moc = circle(4.5)
    kept = {
        (pixel.order, pixel.pixel)
        for pixel in lsdb.open_catalog(hats).moc_search(moc, fine=False).get_healpix_pixels()
    }
    removed = 0
    for pixel in lsdb.open_catalog(hats).get_healpix_pixels():
        if (pixel.order, pixel.pixel) not in kept:
            (file,) = (copy / "dataset" / f"Norder={pixel.order}").rglob(
                f"Npix={pixel.pixel}.parquet"
            )
            file.unlink()
            removed += 1
    assert removed > 5
    query = catalog.embeddings("image")[:2]
    for conditions in ({"cone": FIELD}, {"region": circle(2)}):
        found = search_hats(copy, query, 5, modality="image", client=client, **conditions)
        assert_same(found, catalog.search(query, 5, engine="exact", **conditions))


def test_a_search_outlives_a_worker(hats, catalog, client, work, tmp_path):
    before = set(client.run(os.getpid).values())
    opened = lsdb.open_catalog(hats, columns="all")
    deadly = opened.map_partitions(work.die_once, str(tmp_path / "died"), meta=opened.meta)
    query = catalog.embeddings("image")[:20]
    found = search_hats(deadly, query, 5, modality="image", where="mass > 9", client=client)
    assert (tmp_path / "died").exists()
    assert len(before & set(client.run(os.getpid).values())) == 1
    assert_same(found, catalog.search(query, 5, where="mass > 9", engine="exact"))


def test_rows_that_came_over_the_network_can_be_filtered():
    rows = pa.table({"id": np.arange(100), "vector": np.arange(100, dtype=np.float16)})
    buffers = []
    data = pickle.dumps(rows, protocol=5, buffer_callback=buffers.append)
    odd = [memoryview(bytearray(b"." + one.raw().tobytes()))[1:] for one in buffers]
    received = pickle.loads(data, buffers=odd)
    dataset = lance.write_dataset(aligned(received), "memory://odd")
    assert dataset.to_table(filter="id >= 90").equals(rows[90:])


# Embedding


@pytest.fixture(scope="module")
def toy(make_toy, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    save_model(make_toy(), path, name="toy")
    return path


def survey(*traps, n=160):
    """A catalog to embed: rows say what their spectra are, and some of them what goes wrong."""
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        {
            "source_id": 10**17 + np.arange(n),
            "RAJ2000": rng.uniform(0, 360, n),
            "DEJ2000": np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
            "seed": np.arange(n),
            "trap": "none|",
            "mag": np.where(np.arange(n) % 5, rng.uniform(15, 20, n), np.nan),
            "kind": rng.choice(["star", "galaxy"], n),
        }
    )
    for row, trap in traps:
        rows.loc[row, "trap"] = trap
    return lsdb.from_dataframe(
        rows,
        catalog_name="survey",
        ra_column="RAJ2000",
        dec_column="DEJ2000",
        partition_rows=30,
        highest_order=4,  # LSDB walks all pixels of that order
    )


@pytest.fixture(scope="module")
def arguments(work, toy):
    return {
        "objects": work.spectra,
        "modality": "spectrum",
        "model": toy,
        "object_id": "source_id",
        "columns": ["mag", "kind"],
    }


@pytest.fixture(scope="module")
def embedded(arguments, client, tmp_path_factory):
    path = tmp_path_factory.mktemp("embedded") / "spectra"
    assert len(embed_hats(survey(), path, client=client, **arguments)) == 160
    return path


def rows_of(path):
    """All rows of a HATS catalog, by identifier."""
    files = (path / "dataset").rglob("Npix=*.parquet")
    tables = [parquet.read_table(file, partitioning=None) for file in files]
    return pa.concat_tables(tables).sort_by("object_id")


def test_each_row_is_embedded_as_by_embed(embedded, work, toy, tmp_path):
    expected = aa.embed([work.spectrum(i) for i in range(160)], model=toy)
    catalog = read_hats(embedded, tmp_path / "again")
    table = catalog.table()
    order = np.argsort(table["object_id"])
    rows = survey().compute(progress_bar=False).sort_values("source_id")
    assert table["object_id"][order].tolist() == [str(one) for one in rows["source_id"]]
    np.testing.assert_array_equal(table["ra"][order].value, rows["RAJ2000"].to_numpy(float))
    np.testing.assert_array_equal(table["dec"][order].value, rows["DEJ2000"].to_numpy(float))
    np.testing.assert_array_equal(table["mag"][order], rows["mag"].to_numpy(float))
    assert table["kind"][order].tolist() == rows["kind"].tolist()
    lost = np.arange(160) % 50 == 7
    quality = np.asarray(table["spectrum_quality"][order])
    assert ((quality & Quality.NOT_EMBEDDED > 0) == lost).all()
    np.testing.assert_array_equal(quality[~lost], expected.quality.values[~lost])
    found = catalog.embeddings("spectrum")
    assert len(found) == (~lost).sum()
    found = found[np.argsort(found.object_id.values)]
    np.testing.assert_array_equal(found.values, expected.values[~lost].astype(np.float16))
    assert {name: found.attrs[name] for name in ("model", "weights_sha256", "preprocessing")} == {
        name: expected.attrs[name] for name in ("model", "weights_sha256", "preprocessing")
    }


def test_what_is_embedded_is_a_catalog_that_can_be_searched(embedded, client, tmp_path):
    assert is_valid_catalog(embedded, strict=True)
    assert not (embedded / "unfinished").exists()
    pixels = lsdb.open_catalog(embedded).get_healpix_pixels()
    assert sorted(pixels) == sorted(survey().get_healpix_pixels())
    catalog = read_hats(embedded, tmp_path / "again")
    query = catalog.embeddings("spectrum")[:3]
    arguments = {"modality": "spectrum", "where": "mag < 18 AND kind = 'star'"}
    found = search_hats(embedded, query, 5, client=client, **arguments)
    assert_same(found, catalog.search(query, 5, engine="exact", **arguments))


def test_a_failure_is_reported_and_can_be_mended(embedded, arguments, client, tmp_path):
    path, trap = tmp_path / "spectra", tmp_path / "trap"
    bad = survey((99, f"fail|{trap}"))
    pixel = next(
        pixel
        for pixel in bad.get_healpix_pixels()
        if 99 in bad.get_partition(*pixel).compute(progress_bar=False)["seed"].to_list()
    )
    with pytest.raises(CatalogError) as caught:
        embed_hats(bad, path, client=client, **arguments)
    n = bad.npartitions
    message = str(caught.value)
    assert f"1 of {n} partitions" in message
    assert message.endswith(
        f"Norder={pixel.order}/Dir=0/Npix={pixel.pixel}.parquet: OSError: no such spectrum"
    )
    assert len(trap.read_text().splitlines()) == 2
    with pytest.raises(CatalogError, match="no HATS catalog"):
        search_hats(path, "1", modality="spectrum")
    kept = {file: file.stat().st_mtime_ns for file in path.rglob("Npix=*.parquet")}
    assert len(kept) == n - 1
    trap.with_suffix(".mended").touch()
    assert len(embed_hats(bad, path, client=client, **arguments)) == 160
    again = {file: file.stat().st_mtime_ns for file in path.rglob("Npix=*.parquet")}
    assert len(again) == n
    assert kept.items() <= again.items()
    assert rows_of(path).equals(rows_of(embedded))
    # What is finished is only opened.
    assert len(embed_hats(bad, path, client=client, **arguments)) == 160
    assert again == {file: file.stat().st_mtime_ns for file in path.rglob("Npix=*.parquet")}


def test_embedding_outlives_a_worker(embedded, arguments, client, tmp_path):
    before = set(client.run(os.getpid).values())
    path, trap = tmp_path / "spectra", tmp_path / "trap"
    embed_hats(survey((99, f"die|{trap}")), path, client=client, **arguments)
    assert trap.exists()
    assert before - set(client.run(os.getpid).values())
    assert rows_of(path).equals(rows_of(embedded))
    assert sorted(p.name for p in path.iterdir()) == sorted(p.name for p in embedded.iterdir())


def test_an_interrupted_run_goes_on(embedded, arguments, client, tmp_path):
    path = tmp_path / "spectra"
    shutil.copytree(embedded, path)
    for name in ("hats.properties", "properties", "partition_info.csv"):
        (path / name).unlink()
    missing, torn, whole, *_ = sorted(path.rglob("Npix=*.parquet"))
    missing.unlink()
    torn.write_bytes(torn.read_bytes()[:-50])
    # What a worker that was killed leaves.
    (path / "unfinished").mkdir()
    (path / "unfinished" / "half.parquet").write_bytes(b"PAR1")
    before = whole.stat().st_mtime_ns
    embed_hats(survey(), path, client=client, **arguments)
    assert whole.stat().st_mtime_ns == before
    assert rows_of(path).equals(rows_of(embedded))
    assert is_valid_catalog(path, strict=True)
    assert not (path / "unfinished").exists()


def test_a_folder_is_gone_on_with_by_the_same_work_only(
    embedded, arguments, client, make_toy, work, tmp_path
):
    other = make_toy()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    save_model(other, tmp_path / "other.safetensors", name="toy")
    before = rows_of(embedded)
    with pytest.raises(ProvenanceError, match="weights_sha256"):
        embed_hats(
            survey(),
            embedded,
            client=client,
            **arguments | {"model": tmp_path / "other.safetensors"},
        )
    for change, reason in (
        ({"columns": ["mag"]}, "another columns"),
        ({"object_id": "seed"}, "another object_id"),
        ({"objects": work.too_few}, "another objects"),
        ({"catalog": survey(n=50)}, "another pixels"),
        ({"modality": "image"}, "another modality"),
    ):
        with pytest.raises(CatalogError, match=reason):
            embed_hats(
                **{"catalog": survey(), "path": embedded, "client": client} | arguments | change
            )
    assert rows_of(embedded).equals(before)
    (tmp_path / "precious").mkdir()
    with pytest.raises(FileExistsError, match="precious"):
        embed_hats(survey(), tmp_path / "precious", client=client, **arguments)


def test_objects_that_do_not_fit_their_rows_are_refused(arguments, client, work, tmp_path):
    few = survey(n=20)
    for i, (change, reason) in enumerate(
        (
            ({"objects": work.too_few}, r"gave \d+ objects for \d+ rows"),
            ({"objects": work.images}, "something else than modality 'spectrum'"),
            ({"object_id": "mag"}, "expected text or integers"),
            ({"object_id": "kind"}, "twice"),
        )
    ):
        with pytest.raises(CatalogError, match=reason):
            embed_hats(few, tmp_path / str(i), client=client, **arguments | change)


def test_calls_that_make_no_sense_are_refused(arguments, make_toy, tmp_path):
    few = survey(n=20)
    for change, reason in (
        ({"model": make_toy()}, "give its name or file"),
        ({"modality": "radio"}, "embeds"),
        ({"columns": ["nothing"]}, "no column nothing"),
        ({"object_id": "nothing"}, "no column nothing"),
        ({"catalog": 3}, "catalog is a int"),
    ):
        with pytest.raises(InputError, match=reason):
            embed_hats(**{"catalog": few, "path": tmp_path / "out"} | arguments | change)
    with pytest.raises(CatalogError, match="no folder to make"):
        embed_hats(few, tmp_path / "nowhere" / "out", **arguments)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="has no rows"):
        embed_hats(few.query("mag > 99"), tmp_path / "out", **arguments)


# Cross-matching


def test_matches_are_the_nearest_with_their_vectors(hats, catalog):
    rng = np.random.default_rng(8)
    table = catalog.table(columns=["object_id", "ra", "dec"])
    picked = rng.permutation(N)[:600]
    mine = SkyCoord(table["ra"][picked], table["dec"][picked])
    theirs = mine.directional_offset_by(
        rng.uniform(0, 360, 600) * u.deg, rng.uniform(0, 3, 600) * u.arcsec
    )
    rows = pd.DataFrame(
        {
            "ra": theirs.ra.deg,
            "dec": theirs.dec.deg,
            "object_id": np.arange(600),
            "redshift": rng.uniform(size=600),
            "gmag": rng.uniform(15, 20, 600),
        }
    )
    other = lsdb.from_dataframe(
        rows, catalog_name="other", partition_rows=150, highest_order=4, margin_threshold=5
    )
    found = crossmatch_hats(hats, other, 2 * u.arcsec)
    near, apart, _ = SkyCoord(table["ra"], table["dec"]).match_to_catalog_sky(theirs)
    close = apart <= 2 * u.arcsec
    assert 300 < close.sum() < 500
    matches = found.compute(progress_bar=False).sort_values("object_id")
    order = np.argsort(table["object_id"][close])
    assert matches["object_id"].tolist() == table["object_id"][close][order].tolist()
    assert matches["object_id_other"].tolist() == near[close][order].tolist()
    np.testing.assert_allclose(
        matches["_dist_arcsec"], apart[close][order].to_value(u.arcsec), atol=1e-6
    )
    np.testing.assert_array_equal(matches["gmag"], rows["gmag"][near[close][order]])
    np.testing.assert_array_equal(matches["redshift_other"], rows["redshift"][near[close][order]])
    all_rows = stored(catalog)
    expected = all_rows.filter(pa.array(np.isin(all_rows["object_id"], matches["object_id"])))
    for name in expected.column_names:
        mine = matches.to_pyarrow()[name].cast(expected.schema.field(name).type)
        assert mine.equals(expected[name]), name
    assert expected["image"].null_count
    # And what was matched can be searched.
    query = catalog.embeddings("image")[[5]]
    best = search_hats(found, query, 5, modality="image")
    ids = ", ".join("'" + name.replace("'", "''") + "'" for name in matches["object_id"])
    assert_same(best, catalog.search(query, 5, where=f"object_id IN ({ids})", engine="exact"))


def test_matches_need_a_margin_and_an_angle(hats):
    rows = pd.DataFrame({"ra": [150.0], "dec": [2.0]})
    narrow = lsdb.from_dataframe(rows, catalog_name="narrow", highest_order=1, margin_threshold=1)
    with pytest.raises(InputError, match=r"'narrow' has a margin cache of 1 arcsec.*at least 2"):
        crossmatch_hats(hats, narrow, 2 * u.arcsec)
    with pytest.raises(InputError, match="margin cache of 0 arcsec"):
        crossmatch_hats(hats, hats, 2 * u.arcsec)
    part = lsdb.open_catalog(hats, columns="all").cone_search(10, -60, 36000)
    with pytest.raises(InputError, match="'narrow' have no part of the sky in common"):
        crossmatch_hats(part, narrow, 1 * u.arcsec)
    for radius in (3, 2 * u.km, -1 * u.arcsec, [1, 2] * u.arcsec):
        with pytest.raises(InputError, match="radius is"):
            crossmatch_hats(hats, narrow, radius)
    with pytest.raises(CatalogError, match="none of embeddings"):
        crossmatch_hats(narrow, hats)


# Without LSDB


def test_without_lsdb_it_says_what_to_install(catalog, hats, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lsdb", None)
    for call in (
        lambda: write_hats(catalog, tmp_path / "hats"),
        lambda: read_hats(hats, tmp_path / "again"),
        lambda: search_hats(hats, "o'5", modality="image"),
        lambda: embed_hats(hats, tmp_path / "out", len, modality="image"),
        lambda: crossmatch_hats(hats, hats),
        lambda: catalog.export(tmp_path / "hats"),
    ):
        with pytest.raises(InputError, match=r"pip install 'astroclip_astro\[hats\]'"):
            call()


def test_importing_catalogs_imports_neither_lsdb_nor_its_cluster():
    # The bare dask is imported by specutils.
    code = (
        "import sys, astroclip_astro.catalog, astroclip_astro.catalog.hats;"
        "print({'lsdb', 'hats', 'distributed', 'dask.dataframe'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
