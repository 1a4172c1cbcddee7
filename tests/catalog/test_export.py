"""Catalogs as files: what Astropy and pyarrow read of them is what is in the catalog."""

import json
import os
import sys
import types

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import MaskedColumn, QTable, Table
from pyarrow import parquet

from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.selection import Selection
from astroclip_astro.embeddings import concat, make_embeddings
from astroclip_astro.errors import InputError
from astroclip_astro.table_files import SUFFIXES

ATTRS = {
    "model": "toy",
    "weights_sha256": "ab" * 32,
    "preprocessing": "0123456789abcdef",
    "versions": ";".join(f"plugin-{i}=1.{i}" for i in range(30)),
    "licence": "CC-BY-4.0",
}
N, FEATURES = 60, 6
IMAGES = 45  # the others have no image
UNITS = {"ra": "deg", "dec": "deg", "age": "Gyr", "log_mass": "dex(solMass)", "flux": "nmgy"}


def vectors(modality, n, seed):
    rng = np.random.default_rng(seed)
    return make_embeddings(
        rng.normal(size=(n, FEATURES)),
        {
            "object_id": [f"#{i} Σ" for i in range(n)],
            "ra": np.where(np.arange(n) == 7, np.nan, np.linspace(0, 350, n)),
            "dec": np.where(np.arange(n) == 7, np.nan, np.linspace(-60, 60, n)),
            "modality": [modality] * n,
            "survey": ["desi"] * n,
            "redshift": np.where(np.arange(n) % 5 == 0, np.nan, np.linspace(0.01, 1, n)),
            "coverage": np.linspace(0.5, 1, n),
            "snr": np.full(n, 3.0),
            "quality": np.arange(n) % 4,
        },
        ATTRS,
    )


def further():
    i = np.arange(N)
    table = QTable({"object_id": [f"#{k} Σ" for k in i]})
    table["age"] = np.where(i == 3, np.nan, i / 10).astype("f4") * u.Gyr
    table["age"].info.description = "mass-weighted age"
    table["log_mass"] = np.linspace(8, 12, N) * u.dex(u.Msun)
    table["flux"] = np.linspace(1, 2, N) * u.nmgy
    table["arms"] = MaskedColumn(i.astype("i2"), mask=i % 5 == 0)
    table["byte"] = MaskedColumn((i + 190).astype("u1"), mask=i % 9 == 0)
    table["short"] = (i + 65000).astype("u2")
    table["bar"] = MaskedColumn(i % 2 == 0, mask=i % 7 == 0)
    table["disc"] = i % 3 == 0
    table["kind"] = ["", "spirał", "x"] * (N // 3)
    return table


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    embeddings = concat([vectors("image", IMAGES, 1), vectors("spectrum", N, 2)])
    return EmbeddingCatalog.create(tmp_path_factory.mktemp("toys") / "toys", embeddings, further())


@pytest.fixture
def small_parts(monkeypatch):
    """Several parts even of a small catalog."""
    whole = Selection.batches
    monkeypatch.setattr(Selection, "batches", lambda self, columns: whole(self, columns, size=13))


def read(path):
    table = Table.read(path)
    table.convert_bytestring_to_unicode()
    return table


def plain(column):
    """Values as floating-point numbers, NaN where unknown."""
    column = np.ma.asarray(getattr(column, "value", column))
    if column.dtype == object:  # truths of Parquet, of which None is unknown
        column = np.array([np.nan if one is None else float(one) for one in column])
    return np.ma.filled(column.astype(float), np.nan)


def assert_holds(found, catalog, **conditions):
    """That a table has the rows of the catalog, whatever their order."""
    expected = catalog.table(**conditions)
    assert len(found) == len(expected)
    assert set(found.colnames) == {*expected.colnames, *catalog.modalities}
    found = found[np.argsort(found["object_id"])]
    expected = expected[np.argsort(expected["object_id"])]
    for name in expected.colnames:
        if expected[name].dtype.kind == "U":
            text = found[name].filled("") if hasattr(found[name], "filled") else found[name]
            assert text.tolist() == expected[name].tolist()
        else:
            np.testing.assert_array_equal(plain(found[name]), plain(expected[name]), err_msg=name)
    for modality in catalog.modalities:
        rows = catalog.embeddings(modality, **conditions)
        known = dict(zip(rows.coords["object_id"].values, rows.values, strict=True))
        missing = np.full(FEATURES, np.nan, np.float32)
        wanted = [known.get(name, missing) for name in expected["object_id"]]
        assert found[modality].dtype.newbyteorder("=") == np.float32
        np.testing.assert_array_equal(np.ma.filled(found[modality], np.nan), wanted)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_astropy_reads_what_is_in_the_catalog(catalog, tmp_path, suffix, small_parts):
    path = tmp_path / f"toys{suffix}"
    assert catalog.export(path) == N
    assert_holds(read(path), catalog)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "conditions",
    [
        {"where": "disc AND arms > 10"},
        {"cone": (SkyCoord(100 * u.deg, -20 * u.deg), 40 * u.deg)},
    ],
)
def test_a_part_can_be_written(catalog, tmp_path, suffix, conditions):
    path = tmp_path / f"some{suffix}"
    count = catalog.export(path, **conditions)
    assert 0 < count < N
    assert_holds(read(path), catalog, **conditions)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_to_write_is_a_table_without_rows(catalog, tmp_path, suffix):
    path = tmp_path / f"none{suffix}"
    assert catalog.export(path, where="redshift > 7") == 0
    table = Table.read(path)
    assert len(table) == 0
    assert {"object_id", "redshift", "kind"} <= set(table.colnames)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_units_come_back_or_are_in_the_description(catalog, tmp_path, suffix):
    catalog.export(tmp_path / f"toys{suffix}")
    table = read(tmp_path / f"toys{suffix}")
    for name, unit in UNITS.items():
        given = table[name].unit
        if given is None:  # the format has no word for it
            assert suffix in (".fits", ".vot")
            given = u.Unit(described(tmp_path / f"toys{suffix}", name).rpartition("[")[2][:-1])
        assert u.Unit(given) == u.Unit(unit)
    assert described(tmp_path / f"toys{suffix}", "age") == "mass-weighted age"
    assert not table["kind"].unit


def described(path, name):
    """Description of a column, where the conventions of each format have it."""
    if path.suffix == ".fits":
        header = fits.getheader(path, 1)
        numbers = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
        return header[f"TCOMM{numbers[name]}"]
    return Table.read(path)[name].description


UCDS = {
    "object_id": "meta.id;meta.main",
    "ra": "pos.eq.ra;meta.main",
    "redshift": "src.redshift",
    "image_quality": "meta.code.qual",
    "spectrum": "stat.value",
}


def test_fits_has_ucds_nulls_and_vectors_of_fixed_length(catalog, tmp_path, small_parts):
    catalog.export(tmp_path / "toys.fits")
    with fits.open(tmp_path / "toys.fits") as hdus:
        hdus.verify("exception")
        assert len(hdus) == 2
        header = hdus[1].header
        about = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
        assert {name: header[f"TUCD{about[name]}"] for name in UCDS} == UCDS
        assert header[f"TFORM{about['image']}"] == f"{FEATURES}E"
        assert header[f"TFORM{about['disc']}"] == "L"
        assert header[f"TFORM{about['byte']}"] == "I"
        # An empty truth of FITS would be false to Astropy.
        assert header[f"TFORM{about['bar']}"] == "I"
        assert header[f"TNULL{about['bar']}"] == np.iinfo(np.int16).min
        assert json.loads(header["EMBED"])["attrs"] == ATTRS


def test_votable_has_ucds_and_vectors_of_fixed_length(catalog, tmp_path):
    catalog.export(tmp_path / "toys.vot")
    votable = parse(tmp_path / "toys.vot", verify="exception")
    fields = {field.name: field for field in votable.get_first_table().fields}
    assert {name: fields[name].ucd for name in UCDS} == UCDS
    assert (fields["image"].datatype, fields["image"].arraysize) == ("float", str(FEATURES))
    assert fields["object_id"].datatype == "unicodeChar"
    (notes,) = [info.value for info in votable.infos if info.name == "embed"]
    assert json.loads(notes) == {"attrs": ATTRS, "modalities": ["image", "spectrum"]}


def test_parquet_is_described_in_the_manners_of_astropy_and_of_the_ivoa(catalog, tmp_path):
    path = tmp_path / "toys.parquet"
    catalog.export(path)
    schema = parquet.read_schema(path)
    assert schema.field("image").type == pa.list_(pa.field("element", pa.float32()), FEATURES)
    assert schema.field("arms").type == pa.int16()
    assert schema.field("bar").type == pa.bool_()
    assert json.loads(Table.read(path).meta["embed"])["attrs"] == ATTRS
    # Astropy's reader for this cannot put together truths of which some are unknown.
    catalog.export(path, where="bar IS NOT NULL", overwrite=True)
    by_ivoa = Table.read(path, format="parquet.votable")
    assert by_ivoa["age"].unit == u.Gyr
    assert by_ivoa["redshift"].description.startswith("redshift")


def test_a_suffix_that_nobody_knows_and_a_folder_that_is_not_there(catalog, tmp_path):
    with pytest.raises(InputError, match=r"unknown suffix '.csv': expected one of .fits, .vot"):
        catalog.export(tmp_path / "toys.csv")
    with pytest.raises(InputError, match="its folder does not exist"):
        catalog.export(tmp_path / "no" / "toys.fits")
    (tmp_path / "thesis.fits").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        catalog.export(tmp_path / "thesis.fits", overwrite=True)
    with pytest.raises(InputError, match="no column 'nosuch'"):
        catalog.export(tmp_path / "toys.fits", where="nosuch = 1")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.fits"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_overwritten_unasked(catalog, tmp_path, suffix):
    path = tmp_path / f"toys{suffix}"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="toys"):
        catalog.export(path)
    assert path.read_text() == "precious"
    assert catalog.export(path, overwrite=True) == N
    assert len(Table.read(path)) == N


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_export_leaves_what_was_there(catalog, tmp_path, suffix, monkeypatch):
    path = tmp_path / f"toys{suffix}"
    path.write_text("precious")
    whole = Selection.batches

    def interrupted(self, columns):
        for rowids, batch in whole(self, columns, size=13):
            yield rowids, batch
            if "image" in columns:
                raise OSError("disk full")

    monkeypatch.setattr(Selection, "batches", interrupted)
    with pytest.raises(OSError, match="disk full"):
        catalog.export(path, overwrite=True)
    assert path.read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_failed_rename_leaves_nothing_behind(catalog, tmp_path, monkeypatch):
    def fail(source, target):
        raise PermissionError(target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError):
        catalog.export(tmp_path / "toys.fits")
    assert list(tmp_path.iterdir()) == []


def test_text_that_files_cannot_hold_is_refused(tmp_path):
    columns = Table({"object_id": [f"#{i} Σ" for i in range(3)], "note": ["a", "b\nc", "d"]})
    toys = EmbeddingCatalog.create(tmp_path / "toys", vectors("image", 3, 0), columns)
    for suffix in SUFFIXES:
        with pytest.raises(InputError, match="note 'b\\\\nc' has a character"):
            toys.export(tmp_path / f"toys{suffix}")
    assert [file.name for file in tmp_path.iterdir()] == ["toys"]


def test_without_a_suffix_it_is_a_hats_catalog(catalog, tmp_path, monkeypatch):
    asked = []
    fake = types.ModuleType("astroclip_astro.catalog.hats")
    fake.write_hats = lambda *given, **how: asked.append((given, how)) or 5
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    assert catalog.export(tmp_path / "toys", where="disc", overwrite=True) == 5
    how = {"where": "disc", "cone": None, "region": None, "overwrite": True}
    assert asked == [((catalog, tmp_path / "toys"), how)]
