"""Rows of catalogs: what goes in comes out, in its unit, and nothing unknown becomes a number."""

import numpy as np
import pyarrow as pa
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked

from astroclip_astro.catalog import predicate
from astroclip_astro.catalog.rows import rows_of, table_of
from astroclip_astro.catalog.schema import HEALPIX, CatalogSchema
from astroclip_astro.catalog.sky import healpix_29
from astroclip_astro.errors import InputError, ProvenanceError

N = 6


@pytest.fixture
def embeddings(make_vectors):
    return make_vectors(N)


def columns_of(embeddings, column):
    kind = Table if isinstance(column, Column) else QTable
    return kind({"object_id": embeddings.coords["object_id"].values, "x": column})


def round_trip(embeddings, columns, order=False):
    """The table of the rows, in the order of the embeddings."""
    schema = CatalogSchema.of(embeddings, columns)
    schema = CatalogSchema.from_arrow(schema.arrow)
    rows = rows_of(schema, embeddings, columns)
    assert rows.schema.equals(schema.arrow)
    table = table_of(schema, rows.select(schema.names))
    place = {name: i for i, name in enumerate(table["object_id"])}
    return table[[place[name] for name in embeddings.coords["object_id"].values]]


def test_rows_are_sorted_by_cells_of_the_sky(make_vectors):
    embeddings = make_vectors(200, ra=np.where(np.arange(200) % 7 == 0, np.nan, 100.0))
    schema = CatalogSchema.of(embeddings)
    rows = rows_of(schema, embeddings)
    cells = rows[HEALPIX].to_pylist()
    known = [cell for cell in cells if cell is not None]
    assert known == sorted(known)
    assert len(known) == np.isfinite(embeddings.coords["ra"]).sum() < 200
    ra, dec = (rows[name].to_numpy() for name in ("ra", "dec"))
    assert cells == healpix_29(ra, dec).tolist()
    assert rows["ra"].null_count == 200 - len(known)


def test_vectors_are_those_given(objects):
    schema = CatalogSchema.of(objects.embeddings, objects.columns)
    assert schema.modalities == ["image", "spectrum"]
    rows = rows_of(schema, objects.embeddings, objects.columns)
    expected = objects.expected
    assert sorted(rows["object_id"].to_pylist()) == expected["object_id"].tolist()
    place = {name: i for i, name in enumerate(expected["object_id"])}
    at = [place[name] for name in rows["object_id"].to_pylist()]
    for modality in schema.modalities:
        found = rows[modality].combine_chunks()
        there = found.is_valid().to_numpy(zero_copy_only=False)
        vectors = expected[modality][at]
        np.testing.assert_array_equal(there, ~np.isnan(vectors[:, 0]))
        stored = found.drop_null().flatten().to_numpy().reshape(-1, schema.features)
        np.testing.assert_array_equal(stored, vectors[there])
    assert rows["image_quality"].null_count < 3000 - 1800
    lost = ~of(expected["image"]) & ~of(expected["spectrum"])
    quality = np.ma.masked_invalid(rows["image_quality"].to_numpy())
    assert (quality[lost[at]] == 192).all()


def of(vectors):
    return ~np.isnan(vectors[:, 0])


COLUMNS = {
    "float": np.linspace(-1, 1, N),
    "float32": np.linspace(-1, 1, N).astype("f4"),
    "infinite": np.array([np.inf, -np.inf, 0, 1, 2, 3]),
    "big-endian float": np.linspace(-1, 1, N).astype(">f8"),
    "big-endian float32": np.linspace(-1, 1, N).astype(">f4"),
    "int": np.array([0, 1, -(2**63), 2**63 - 1, 39633345008634465, 2**53 + 1]),
    "int8": np.array([-128, 127, 0, 1, 2, 3], "i1"),
    "uint8": np.array([0, 255, 0, 1, 2, 3], "u1"),
    "uint32": np.array([0, 2**32 - 1, 0, 1, 2, 3], "u4"),
    "big-endian int": np.arange(N).astype(">i4"),
    "big-endian uint": np.arange(N).astype(">u2"),
    "bool": np.arange(N) % 2 == 0,
    "text": np.array(["", "a", "it's", "Σ źródło", "a" * 300, "`;--"]),
    "length": np.linspace(-1, 1, N) * u.kpc,
    "flux density": np.linspace(1, 2, N) * u.Unit("1e-17 erg / (s cm2 Angstrom)"),
    "dex": np.linspace(9, 12, N) * u.dex(u.Msun),
    "magnitude": np.linspace(17, 22, N) * u.ABmag,
    "nanomaggies": np.linspace(17, 22, N) * u.nmgy,
    "percent": np.linspace(0, 100, N) * u.percent,
    "whole numbers with a unit": Column(np.arange(N), unit="s"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_come_back(embeddings, name):
    given = COLUMNS[name]
    columns = columns_of(embeddings, given)
    columns["x"].info.description = "something"
    found = round_trip(embeddings, columns)["x"]
    assert found.info.description == "something"
    assert (getattr(found, "unit", None) or None) == getattr(given, "unit", None)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(given))
    kept = np.asarray(given).dtype.newbyteorder("=")
    if getattr(given, "unit", None) is None:
        assert np.asarray(found).dtype == kept
    assert type(found) is type(columns["x"]) or isinstance(given, Column)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.arange(N, dtype="f2"), np.arange(N, dtype="f4")),
        (np.arange(N, dtype="u8"), np.arange(N, dtype="i8")),
        (np.array(["a", "b", "", "Σ", "x", "y"]), ["a", "b", "", "Σ", "x", "y"]),
        (np.array(["Σ".encode(), b"b", b"", b"a", b"x", b"y"]), ["Σ", "b", "", "a", "x", "y"]),
    ],
)
def test_types_that_become_others(embeddings, given, expected):
    found = round_trip(embeddings, columns_of(embeddings, given))["x"]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.asarray(expected).dtype


MASK = np.array([True, False, False, True, False, False])


@pytest.mark.parametrize(
    "given",
    [
        MaskedColumn(np.arange(1.0, 1 + N), mask=MASK),
        MaskedColumn(np.arange(1.0, 1 + N), mask=MASK, unit="kpc"),
        MaskedColumn(np.arange(1, 1 + N), mask=MASK, unit="kpc"),
        Masked(np.arange(1.0, 1 + N), MASK) * u.kpc,
        Masked(np.arange(1, 1 + N).astype(">f4"), MASK) * u.kpc,
        Masked(np.arange(1.0, 1 + N), MASK),
        np.where(MASK, np.nan, np.arange(1.0, 1 + N)),
        np.where(MASK, np.nan, np.arange(1.0, 1 + N)) * u.dex(u.Msun),
    ],
    ids=str,
)
def test_numbers_that_are_unknown_are_nan(embeddings, given):
    columns = columns_of(embeddings, given)
    schema = CatalogSchema.of(embeddings, columns)
    assert rows_of(schema, embeddings, columns)["x"].null_count == 2
    found = round_trip(embeddings, columns)["x"]
    np.testing.assert_array_equal(np.asarray(found), np.where(MASK, np.nan, np.arange(1, 1 + N)))
    assert (getattr(found, "unit", None) or None) == getattr(given, "unit", None)


@pytest.mark.parametrize(
    "values", [np.arange(N), np.arange(N, dtype=">i2"), np.arange(N) > 2, list("abcdef")], ids=str
)
def test_other_values_that_are_unknown_are_masked(embeddings, values):
    given = MaskedColumn(values, mask=MASK)
    found = round_trip(embeddings, columns_of(embeddings, given))["x"]
    np.testing.assert_array_equal(found.mask, MASK)
    np.testing.assert_array_equal(found[~MASK].data.data, given[~MASK].data.data)


def test_objects_without_a_row_of_columns_are_unknown(embeddings):
    columns = columns_of(embeddings, np.arange(N))[[4, 2, 0]]
    columns = Table({**columns, "text": ["e", "c", "a"]})
    found = round_trip(embeddings, columns)
    assert found["x"].mask.tolist() == [False, True] * 3
    assert found["x"][[0, 2, 4]].tolist() == [0, 2, 4]
    assert found["text"].mask.tolist() == [False, True] * 3
    assert found["text"][[0, 2, 4]].tolist() == ["a", "c", "e"]


def test_identifiers_are_text_or_integers(make_vectors):
    embeddings = make_vectors(2, object_id=[39633345008634465, 39633345008634466])
    for ids in (
        np.array([39633345008634466, 39633345008634465]),
        np.array([b"39633345008634466 ", b"39633345008634465"]),
        np.array([" 39633345008634466", "39633345008634465"]),
    ):
        assert round_trip(embeddings, Table({"object_id": ids, "x": [6, 5]}))["x"].tolist() == [
            5,
            6,
        ]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.arange(N) + 0.0, "expected text or integers"),
        (MaskedColumn(list("abcdef"), mask=MASK), "none masked"),
        (
            ["g00000", "g00001", "g00002", "g00001", "g00004", "g00005"],
            "g00001: it is in the table",
        ),
    ],
)
def test_odd_identifiers_of_columns(embeddings, ids, message):
    columns = Table({"object_id": ids, "x": np.arange(N)})
    with pytest.raises(InputError, match=message):
        rows_of(CatalogSchema.of(embeddings, columns), embeddings, columns)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("ra", np.arange(N), "column 'ra': the name is taken"),
        ("survey", np.arange(N), "the name is taken"),
        ("image", np.arange(N), "the name is taken"),
        ("image_quality", np.arange(N), "the name is taken"),
        ("score", np.arange(N), "the name is taken"),
        ("query_id", np.arange(N), "the name is taken"),
        ("other_id", np.arange(N), "the name is taken"),
        ("_healpix_29", np.arange(N), "the name is taken"),
        ("_rowid", np.arange(N), "the name is taken"),
        ("_distance", np.arange(N), "the name is taken"),
        ("log mass", np.arange(N), "expected a name of letters"),
        ("a`b", np.arange(N), "expected a name of letters"),
        ("a.b", np.arange(N), "expected a name of letters"),
        ("1st", np.arange(N), "expected a name of letters"),
        ("x", np.zeros((N, 2)), r"of shape \(6, 2\): expected one value per object"),
        ("x", np.zeros(N, complex), "holds complex128: expected numbers, truths or text"),
        ("x", np.zeros(N, np.longdouble), "expected numbers, truths or text"),
        ("x", np.array(["2020-01-01"] * N, "M8[D]"), "holds datetime64"),
        ("x", np.array([None] * N), "holds object"),
        ("x", Time(["2020-01-01"] * N), "holds Time"),
        ("x", SkyCoord([1] * N * u.deg, [2] * N * u.deg), "holds SkyCoord"),
        ("x", Column(np.ones(N), unit=u.Unit("foo", parse_strict="silent")), "'x' is in 'foo'"),
        ("x", np.ones(N) * u.Unit(1 / 3 * u.m), "expected a unit that can be told"),
        ("x", np.full(N, 2**63, "u8"), "reaches 9223372036854775808: expected less"),
    ],
)
def test_columns_that_are_refused(embeddings, name, column, message):
    columns = QTable({"object_id": embeddings.coords["object_id"].values, name: column})
    with pytest.raises(InputError, match=message):
        rows_of(CatalogSchema.of(embeddings, columns), embeddings, columns)


def appended(embeddings, first, then):
    """What is stored of a column, in a catalog that was made with another one."""
    schema = CatalogSchema.of(embeddings, columns_of(embeddings, first))
    rows = rows_of(schema, embeddings, columns_of(embeddings, then))
    rows = rows.sort_by("object_id")
    return table_of(schema, rows.select(["x"]))["x"]


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (np.ones(N) * u.km, np.full(N, 1500.0) * u.m, 1.5),
        (np.ones(N, "f4") * u.km, np.full(N, 1500, ">f4") * u.m, 1.5),
        (np.ones(N) * u.km, MaskedColumn(np.full(N, 1500.0), mask=MASK, unit="m"), 1.5),
        (np.ones(N) * u.km, Masked(np.full(N, 1500.0), MASK) * u.m, 1.5),
        (np.ones(N) * u.dex(u.Msun), np.full(N, 1e10) * u.Msun, 10.0),
        (np.ones(N) * u.Msun, np.full(N, 10.0) * u.dex(u.Msun), 1e10),
        (
            np.ones(N) * u.dex(u.Msun),
            np.full(N, 13.0) * u.dex(u.kg),
            13 - np.log10(u.Msun.to(u.kg)),
        ),
        (np.ones(N) * u.ABmag, np.full(N, 3631.0) * u.Jy, 0.0),
        (np.ones(N) * u.nmgy, np.full(N, 1.0) * u.mgy, 1e9),
        (Column(np.ones(N, int), unit="m"), Column(np.full(N, 3), unit="km"), 3000.0),
        (Column(np.ones(N, int), unit="km"), Column(np.full(N, 3000), unit="m"), 3.0),
        (np.ones(N) * u.deg, np.full(N, np.pi) * u.rad, 180.0),
        (Column(np.ones(N)), np.full(N, 50) * u.percent, 0.5),
    ],
    ids=lambda one: str(getattr(one, "unit", one)),
)
def test_units_are_converted(embeddings, first, then, expected):
    found = appended(embeddings, first, then)
    assert getattr(found, "unit", None) == getattr(first, "unit", None)
    mask = getattr(then, "mask", np.zeros(N, bool))
    np.testing.assert_allclose(
        np.asarray(found), np.where(mask, np.nan, expected), rtol=1e-6, atol=1e-4
    )


def test_logarithms_of_what_has_none(embeddings):
    masses = [1e10, 0.0, -1.0, 1e9, np.nan, 1.0] * u.Msun
    found = appended(embeddings, np.ones(N) * u.dex(u.Msun), masses)
    np.testing.assert_array_equal(found.value, [10, -np.inf, np.nan, 9, np.nan, 0])


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (np.ones(N) * u.m, np.ones(N) * u.s, "column 'x' is in s: the catalog's is in m"),
        (np.ones(N) * u.m, np.ones(N), "is in no unit: the catalog's is in m"),
        (np.ones(N), np.ones(N) * u.m, "is in m: the catalog's is in no unit"),
        (np.ones(N) * u.ABmag, np.ones(N) * u.mag, r"is in mag: the catalog's is in mag\(AB\)"),
        (np.ones(N), np.ones(N, int), "holds int64: the catalog's is double"),
        (np.ones(N, int), np.ones(N), "holds float64: the catalog's is int64"),
        (np.ones(N), np.ones(N, "f4"), "holds float32: the catalog's is double"),
        (np.ones(N), np.array(["1"] * N), "the catalog's is double"),
        (np.ones(N, bool), np.ones(N, int), "the catalog's is bool"),
        (
            Column(np.ones(N, int), unit="km"),
            Column(np.full(N, 1500), unit="m"),
            "column 'x' in m gives no int64 in km",
        ),
        (
            Column(np.ones(N, "i1"), unit="m"),
            Column(np.ones(N, "i1"), unit="km"),
            "column 'x' in km gives no int8 in m",
        ),
    ],
    ids=lambda one: str(getattr(one, "unit", one)),
)
def test_columns_that_cannot_be_appended(embeddings, first, then, message):
    with pytest.raises(InputError, match=message):
        appended(embeddings, first, then)


def test_columns_have_to_be_those_of_the_catalog(embeddings):
    columns = columns_of(embeddings, np.ones(N))
    schema = CatalogSchema.of(embeddings, columns)
    with pytest.raises(InputError, match="has the further columns x: expected a table"):
        rows_of(schema, embeddings)
    with pytest.raises(InputError, match="has the further columns x: expected a table"):
        rows_of(schema, embeddings, columns["x",])
    with pytest.raises(InputError, match="not the catalog's: x, y"):
        rows_of(schema, embeddings, Table({"object_id": columns["object_id"], "y": np.ones(N)}))
    with pytest.raises(InputError, match="the table of columns has no rows"):
        rows_of(schema, embeddings, columns[:0])
    with pytest.raises(InputError, match="columns are a dict: expected an astropy Table"):
        CatalogSchema.of(embeddings, {"object_id": columns["object_id"], "x": np.ones(N)})
    bare = CatalogSchema.of(embeddings)
    with pytest.raises(InputError, match="the catalog has no further columns"):
        rows_of(bare, embeddings, columns)
    assert rows_of(bare, embeddings, columns["object_id",]).num_rows == N


def test_one_object_of_two_modalities_is_one_row(make_vectors):
    image = make_vectors(2, ra=[np.nan, 11.0], redshift=[np.nan, np.nan], survey=["a", "a"])
    spectrum = make_vectors(
        2, "spectrum", ra=[10.0, 99.0], dec=[1.0, 2.0], redshift=[0.1, 0.2], survey=["b", "a"]
    )
    both = xr.concat([image, spectrum], "object")
    schema = CatalogSchema.of(both)
    rows = rows_of(schema, both).sort_by("object_id")
    assert rows.num_rows == 2
    assert rows["survey"].to_pylist() == ["a b", "a"]
    assert rows["ra"].to_pylist() == [10.0, 11.0]  # of the image, where it has one
    assert rows["redshift"].to_pylist() == [0.1, 0.2]
    np.testing.assert_array_equal(rows["spectrum_snr"], spectrum.coords["snr"].values)
    np.testing.assert_array_equal(rows["image_snr"], image.coords["snr"].values)


def test_no_negative_zero(make_vectors):
    embeddings = make_vectors(2, dec=[-0.0, 1.0], redshift=[-0.0, 1.0])
    columns = Table({"object_id": embeddings.coords["object_id"].values, "x": [-0.0, 1.0]})
    schema = CatalogSchema.of(embeddings, columns)
    rows = rows_of(schema, embeddings, columns)
    for name in ("dec", "redshift", "x"):
        assert not np.signbit(rows[name].to_numpy()).any(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"object_id": ["a", ""]}, "row 1: it has no object_id"),
        ({"object_id": ["a", "a"]}, "a: it has several vectors of image"),
        ({"dec": [90.1, 0.0]}, "g00000: it is at ra .* dec 90.1 deg: expected a position"),
        ({"dec": [0.0, -np.inf]}, "g00001: it is at ra"),
        ({"ra": [0.0, np.inf]}, "g00001: it is at ra inf"),
        ({"vectors": [[1.0, 0], [0, 0]]}, "g00001: its vector reaches 0"),
        ({"vectors": [[1.0, 0], [0, 1e5]]}, r"g00001: its vector reaches 1e\+05"),
        ({"vectors": [[1.0, 0], [1e-6, 1e-9]]}, "g00001: its vector is too small for float16"),
        ({"vectors": [[1.0, 0], [1e-9, 0]]}, "g00001: its vector is too small for float16"),
        ({"modality": ["image", "my.image"]}, "modality 'my.image': expected letters"),
        ({"modality": ["image", "a`b"]}, "modality 'a`b': expected letters"),
        ({"modality": ["image", "ra"]}, "modality 'ra': .* no name taken"),
        ({"modality": ["image", "_rowid"]}, "modality '_rowid': .* no name taken"),
    ],
)
def test_embeddings_that_are_refused(make_vectors, changes, message):
    embeddings = make_vectors(2, **changes)
    with pytest.raises(InputError, match=message):
        rows_of(CatalogSchema.of(embeddings), embeddings)


def test_what_no_catalog_can_be_made_of(make_vectors, embeddings):
    with pytest.raises(InputError, match="embeddings are a ndarray: expected what embed"):
        CatalogSchema.of(np.ones((2, 3)))
    with pytest.raises(InputError, match="none of the objects has a vector"):
        CatalogSchema.of(make_vectors(0))
    lost = make_vectors(2, vectors=np.full((2, 3), np.nan), quality=[192, 192])
    with pytest.raises(InputError, match="none of the objects has a vector"):
        CatalogSchema.of(lost)
    bare = embeddings.copy()
    bare.attrs = {"model": "toy"}
    with pytest.raises(ProvenanceError, match="without weights_sha256, preprocessing"):
        CatalogSchema.of(bare)


def test_other_modalities_and_models_are_not_appended(make_vectors, embeddings):
    schema = CatalogSchema.of(embeddings)
    with pytest.raises(InputError, match="embeddings of spectrum: the catalog holds image"):
        rows_of(schema, make_vectors(2, "spectrum"))
    with pytest.raises(ProvenanceError, match="model 'other', not 'toy'"):
        rows_of(schema, make_vectors(2, attrs={"model": "other"}))
    with pytest.raises(ProvenanceError, match="weights_sha256 'cd', not 'abab"):
        schema.check(make_vectors(2, attrs={"weights_sha256": "cd"}))
    with pytest.raises(ProvenanceError, match="features 8, not 16"):
        schema.check(make_vectors(2, features=8))
    with pytest.raises(ProvenanceError, match="normalization 'unit length', not 'not stated'"):
        schema.check(embeddings.astroclip.normalized())
    schema.check(make_vectors(2, attrs={"date": "another"}))


def test_what_is_no_schema_of_a_catalog():
    for metadata in (None, {}, {b"astroclip_astro": b'{"format": "other-2"}'}):
        with pytest.raises(InputError, match="no embedding catalog of the format"):
            CatalogSchema.from_arrow(pa.schema([], metadata=metadata))


def test_the_table_does_not_give_the_schema_away(embeddings):
    schema = CatalogSchema.of(embeddings)
    table = table_of(schema, rows_of(schema, embeddings).select(schema.names))
    table.meta["model"] = "another"
    assert schema.provenance["model"] == "toy"


def test_kinds_of_columns_are_those_of_conditions(objects):
    schema = CatalogSchema.of(objects.embeddings, objects.columns)
    kinds = schema.kinds
    assert kinds == {name: kinds[name] for name in schema.names}
    assert [kinds[n] for n in ("mass", "flux", "counts", "bits", "good", "kind")] == [
        "number",
        "number",
        "integer",
        "integer",
        "truth",
        "text",
    ]
    assert kinds["redshift"] == "number"
    assert kinds["image_quality"] == "integer"
    for name, kind in kinds.items():
        value = {"text": "'a'", "truth": "TRUE"}.get(kind, "1")
        assert name in predicate(f'"{name}" = {value}', kinds)
