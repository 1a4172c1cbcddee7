"""Embeddings: schema, similarity, and files that give back exactly what went in."""

import builtins
import io
import os
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import xarray as xr
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyarrow import parquet

from astroclip_astro import open_embeddings
from astroclip_astro.embeddings import concat, from_table, make_embeddings
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.quality import Quality

SUFFIXES = [".parquet", ".nc", ".zarr", ".fits", ".vot", ".ecsv"]
ATTRS = {
    "model": "toy",
    "weights_sha256": "ab" * 32,
    "preprocessing": "0123456789abcdef",
    "versions": "astroclip_astro=0.1.0;" + ";".join(f"plugin-{i}=1.{i}" for i in range(20)),
    "date": "2026-01-02T03:04:05+00:00",
}


def embeddings(n=4, width=5, **attrs):
    rng = np.random.default_rng(n)
    vectors = rng.normal(size=(n, width)).astype(np.float32)
    quality = np.zeros(n, int)
    if n > 2:
        vectors[2] = np.nan
        quality[2] = Quality.NO_DATA | Quality.NOT_EMBEDDED
    names = ["39633345008634465", "NGC 5227", "Σ-Å źródło", "", "x", "y"]
    return make_embeddings(
        vectors,
        {
            "object_id": names[:n],
            "ra": rng.uniform(0, 360, n),
            "dec": np.where(np.arange(n) == 1, np.nan, -5.0),
            "modality": ["spectrum", "image", "", "image", "image", "image"][:n],
            "survey": [""] * n,
            "redshift": rng.uniform(0, 1, n),
            "coverage": np.linspace(0, 1, n),
            "snr": np.full(n, np.nan),
            "quality": quality,
        },
        ATTRS | attrs,
    )


def columns_of(array, **changed):
    return {name: values.values for name, values in array.coords.items()} | changed


def saved(array, folder, suffix):
    path = f"{folder}/vectors{suffix}"
    array.astroclip.save(path, overwrite=True)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n", [0, 1, 4])
def test_files_give_back_what_went_in(tmp_path, suffix, n):
    before = embeddings(n)
    before.astroclip.save(tmp_path / f"vectors{suffix}")
    after = open_embeddings(tmp_path / f"vectors{suffix}")
    xr.testing.assert_identical(after, before)
    assert after.dtype == np.float32
    assert after.dtype.isnative
    assert after.coords["quality"].dtype == np.int64
    assert [p.name for p in tmp_path.iterdir()] == [f"vectors{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_object_stays_one_object(tmp_path, suffix):
    before = embeddings(4).isel(object=1)
    before.astroclip.save(tmp_path / f"vector{suffix}")
    after = open_embeddings(tmp_path / f"vector{suffix}")
    xr.testing.assert_identical(after, before)
    assert after.dims == ("feature",)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_overwritten_unasked(tmp_path, suffix):
    path = tmp_path / f"vectors{suffix}"
    embeddings(4).astroclip.save(path)
    with pytest.raises(FileExistsError, match="vectors"):
        embeddings(3).astroclip.save(path)
    assert len(open_embeddings(path)) == 4
    embeddings(3).astroclip.save(path, overwrite=True)
    assert len(open_embeddings(path)) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_write_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"vectors{suffix}"
    embeddings(4).astroclip.save(path)

    rename, calls = os.replace, []

    def interrupted(source, target):
        if target == path and not calls:
            calls.append(target)
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embeddings(3).astroclip.save(path, overwrite=True)
    monkeypatch.undo()
    assert len(open_embeddings(path)) == 4
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_and_foreign_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=f"broken{suffix}"):
        open_embeddings(path)


# Anything printable, with what formats are known to stumble on.
TEXT = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" '\"&<>%|,;#\\"))
NAMES = st.from_regex(r"[a-z_]{1,9}", fullmatch=True)


@st.composite
def any_embeddings(draw):
    n, width = draw(st.integers(0, 4)), draw(st.integers(1, 3))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    vectors = draw(arrays(np.float32, (n, width), elements=finite))
    quality = draw(arrays(np.int64, n, elements=st.integers(0, 2**62)))
    vectors[(quality & Quality.NOT_EMBEDDED) != 0] = np.nan
    text, numbers = st.lists(TEXT, min_size=n, max_size=n), arrays(np.float64, n)
    columns = {name: draw(text) for name in ("object_id", "modality", "survey")}
    columns |= {name: draw(numbers) for name in ("ra", "dec", "redshift", "coverage", "snr")}
    return make_embeddings(
        vectors, columns | {"quality": quality}, ATTRS | draw(st.dictionaries(NAMES, TEXT))
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=any_embeddings())
def test_files_give_back_anything(suffix, before):
    with TemporaryDirectory() as folder:
        after = open_embeddings(saved(before, folder, suffix))
    xr.testing.assert_identical(after, before)
    np.testing.assert_array_equal(np.signbit(after), np.signbit(before))
    assert after.dtype == np.float32
    assert after.dtype.isnative


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_dims_and_byte_order_do_not_matter(tmp_path, suffix):
    before = embeddings(4)
    after = open_embeddings(saved(before.T.rename("mine"), tmp_path, suffix))
    xr.testing.assert_identical(after, before.T)
    swapped = before.astype(">f4").assign_coords(ra=before.ra.astype(">f8"))
    after = open_embeddings(saved(swapped, tmp_path, suffix))
    xr.testing.assert_identical(after, before)
    assert after.dtype.isnative


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_written_that_would_not_come_back(tmp_path, suffix):
    def refused(array, message, error=ValueError):
        with pytest.raises(error, match=message):
            saved(array, tmp_path, suffix)
        assert list(tmp_path.iterdir()) == []

    good = embeddings(4)
    refused(good.assign_attrs(number=3), "number")
    refused(good.assign_attrs(note="two\nlines"), "note")
    refused(good.assign_attrs({"my note": "x"}), "my note")
    refused(good.drop_attrs(), "attributes that are missing: model")
    refused(good.assign_coords(mass=("object", np.ones(4))), "not have: mass", InputError)
    for bad in ("a\0b", "a\nb", "a\u2028b", "\ud800"):
        names = ["x", "y", bad, "z"]
        refused(make_embeddings(good, columns_of(good, object_id=names), ATTRS), "replace it")
    broken = good.copy()
    broken[0, 0] = np.nan
    refused(broken, "39633345008634465: its vector is not finite")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_attributes_with_a_meaning_elsewhere_change_nothing(tmp_path, suffix):
    before = embeddings(
        4,
        units="days since 2000-01-01",
        scale_factor="2",
        embed="x",
        dtype="bool",
        coordinates="ra",
    )
    xr.testing.assert_identical(open_embeddings(saved(before, tmp_path, suffix)), before)


def test_repeated_and_empty_names_are_kept(tmp_path):
    before = embeddings(4)
    before = make_embeddings(before, columns_of(before, object_id=["#a", "", "#a", ""]), ATTRS)
    for suffix in SUFFIXES:
        xr.testing.assert_identical(open_embeddings(saved(before, tmp_path, suffix)), before)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folders_and_files_of_others_are_never_deleted(tmp_path, suffix):
    path = tmp_path / f"thesis{suffix}"
    path.mkdir()
    (path / "chapter1.tex").write_text("Galaxies")
    with pytest.raises(InputError, match="will not overwrite a folder"):
        embeddings().astroclip.save(path, overwrite=True)
    assert (path / "chapter1.tex").read_text() == "Galaxies"
    if suffix == ".zarr":
        plain = tmp_path / "file.zarr"
        plain.write_text("mine")
        with pytest.raises(InputError, match="will not overwrite a file"):
            embeddings().astroclip.save(plain, overwrite=True)
        assert plain.read_text() == "mine"


def test_what_cannot_be_restored_is_not_deleted(tmp_path, monkeypatch):
    path = tmp_path / "vectors.zarr"
    embeddings(4).astroclip.save(path)
    rename = os.replace

    def full(source, target):
        if target == path:
            raise OSError("disk full")
        rename(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        embeddings(3).astroclip.save(path, overwrite=True)
    (kept,) = tmp_path.iterdir()
    assert len(open_embeddings(kept)) == 4


def test_zarr_says_what_to_install(tmp_path, monkeypatch):
    path = saved(embeddings(3), tmp_path, ".zarr")
    real = builtins.__import__

    def without_zarr(name, *args, **kwargs):
        if name == "zarr":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_zarr)
    for use in (open_embeddings, lambda p: embeddings(3).astroclip.save(p, overwrite=True)):
        with pytest.raises(
            InputError, match=r"zarr is missing: pip install 'astroclip_astro\[zarr\]'"
        ):
            use(path)


UCDS = {
    "object_id": "meta.id;meta.main",
    "ra": "pos.eq.ra;meta.main",
    "dec": "pos.eq.dec;meta.main",
    "redshift": "src.redshift",
}


def test_votables_have_units_ucds_and_vectors_of_fixed_length(tmp_path):
    before = embeddings(4)
    fields = {f.name: f for f in parse(saved(before, tmp_path, ".vot")).get_first_table().fields}
    assert {name: fields[name].ucd for name in UCDS} == UCDS
    assert fields["ra"].unit == u.deg
    assert (fields["embedding"].datatype, fields["embedding"].arraysize) == ("float", "5")
    assert fields["object_id"].datatype == "unicodeChar"
    assert fields["quality"].datatype == "long"


def test_fits_tables_have_units_ucds_and_vectors_of_fixed_length(tmp_path):
    before = embeddings(4)
    path = saved(before, tmp_path, ".fits")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus["EMBEDDINGS"].header
        about = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
        assert {name: header[f"TUCD{about[name]}"] for name in UCDS} == UCDS
        assert header[f"TUNIT{about['ra']}"] == "deg"
        assert header[f"TFORM{about['embedding']}"] == "5E"
        assert header[f"TFORM{about['quality']}"] == "K"
        data = hdus["EMBEDDINGS"].data
        np.testing.assert_array_equal(data["embedding"], before)
        np.testing.assert_array_equal(data["ra"], before.ra)


def test_parquet_has_vectors_of_fixed_length_and_describes_its_columns(tmp_path):
    before = embeddings(4)
    stored = parquet.read_table(saved(before, tmp_path, ".parquet"))
    assert stored.schema.field("embedding").type == pa.list_(pa.float32(), 5)
    assert stored.schema.field("object_id").type == pa.string()
    votable = parse(io.BytesIO(stored.schema.metadata[b"IVOA.VOTable-Parquet.content"]))
    fields = {field.name: field for field in votable.get_first_table().fields}
    assert list(fields) == stored.column_names
    assert {name: fields[name].ucd for name in UCDS} == UCDS
    with pytest.warns(AstropyUserWarning, match="Using longest string"):
        table = Table.read(tmp_path / "vectors.parquet", format="parquet.votable")
    assert table["ra"].unit == u.deg
    np.testing.assert_array_equal(table["embedding"], before)


def test_parquet_may_be_rewritten_in_many_row_groups(tmp_path):
    before = embeddings(4)
    path = saved(before, tmp_path, ".parquet")
    parquet.write_table(parquet.read_table(path), path, row_group_size=1)
    assert parquet.ParquetFile(path).num_row_groups == 4
    xr.testing.assert_identical(open_embeddings(path), before)


def test_netcdf_is_readable_without_this_package(tmp_path):
    before = embeddings(4)
    with xr.open_dataset(saved(before, tmp_path, ".nc"), engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset["embedding"], before)
        assert dataset["ra"].attrs["units"] == "deg"
        assert dataset.attrs["model"] == "toy"
        quality = dataset["quality"].attrs
    named = dict(zip(quality["flag_meanings"].split(), quality["flag_masks"], strict=True))
    assert named == {flag.name: int(flag) for flag in Quality}


def write_foreign(path):
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"a": [1, 2]}), path)
    elif path.suffix in (".nc", ".zarr"):
        dataset = xr.Dataset({"temperature": ("time", [280.0, 281.0])})
        if path.suffix == ".nc":
            dataset.to_netcdf(path, engine="h5netcdf")
        else:
            dataset.to_zarr(path, zarr_format=2)
    else:
        formats = {".fits": "fits", ".vot": "votable", ".ecsv": "ascii.ecsv"}
        Table({"a": [1, 2]}).write(path, format=formats[path.suffix])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_something_else_are_refused(tmp_path, suffix):
    path = tmp_path / f"other{suffix}"
    write_foreign(path)
    with pytest.raises(InputError, match=rf"other\{suffix}: no embeddings file"):
        open_embeddings(path)


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".zarr"])
def test_cut_files_are_refused(tmp_path, suffix):
    whole = (tmp_path / "whole").with_suffix(suffix)
    embeddings(6, width=400).astroclip.save(whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match=rf"cut\{suffix}: no embeddings file"):
        open_embeddings(cut)


def test_text_cut_between_two_rows_is_refused(tmp_path):
    path = tmp_path / "cut.ecsv"
    embeddings(4).astroclip.save(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match="3 rows of 4"):
        open_embeddings(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.nc: no such file"):
        open_embeddings(tmp_path / "missing.nc")
    with pytest.raises(InputError, match=r"unknown suffix '\.h5': expected one of \.parquet, \.nc"):
        open_embeddings(tmp_path / "missing.h5")


def test_bad_outputs_are_known_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"unknown suffix '\.csv'"):
        embeddings().astroclip.save(tmp_path / "vectors.csv")
    with pytest.raises(InputError, match="folder does not exist"):
        embeddings().astroclip.save(tmp_path / "nowhere" / "vectors.nc")


def test_the_table_has_units_and_comes_back(tmp_path):
    before = embeddings()
    table = before.astroclip.to_table()
    assert table["ra"].unit == u.deg
    assert table["embedding"].shape == (4, 5)
    assert table.meta["model"] == "toy"
    table["ra"] = table["ra"].to(u.hourangle)
    xr.testing.assert_allclose(from_table(table), before)
    with pytest.raises(ValueError, match="missing or unknown: dec"):
        from_table(table[[name for name in table.colnames if name != "dec"]])


def test_similarity_is_the_cosine():
    a, b = embeddings(4), embeddings(3)
    found = a.astroclip.similarity(b)
    x, y = a.values.astype(float), b.values.astype(float)
    expected = x @ y.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dims == ("object", "other")
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose(np.diag(a.astroclip.similarity())[[0, 1, 3]], 1, atol=1e-6)


def test_a_zero_vector_is_similar_to_nothing():
    zero = embeddings(1)
    zero[:] = 0
    assert np.isnan(embeddings(4).astroclip.similarity(zero)).all()


@pytest.mark.parametrize("name", ["model", "weights_sha256", "preprocessing"])
def test_foreign_vectors_are_refused_with_both_named(name):
    with pytest.raises(ProvenanceError, match=f"{name}.*{ATTRS[name]}.*other"):
        embeddings().astroclip.similarity(embeddings(**{name: "other"}))


def test_flags_and_validity():
    found = embeddings()
    assert found.astroclip.flags == [[], [], ["NO_DATA", "NOT_EMBEDDED"], []]
    assert found.astroclip.valid.values.tolist() == [True, True, False, True]
    assert found[0].astroclip.flags == []
    assert set(found.quality.attrs["flag_meanings"].split()) == {flag.name for flag in Quality}


def test_silent_garbage_is_refused():
    table = embeddings().astroclip.to_table()
    table["embedding"][0, 0] = np.inf
    with pytest.raises(ValueError, match="39633345008634465: its vector is not finite"):
        from_table(table)
    table = embeddings().astroclip.to_table()
    table["quality"][1] = Quality.NOT_EMBEDDED
    with pytest.raises(ValueError, match="NGC 5227: its quality says NOT_EMBEDDED"):
        from_table(table)


def test_other_arrays_are_no_embeddings():
    with pytest.raises(InputError, match="is no embedding"):
        xr.DataArray([1.0, 2.0], dims="x").astroclip.to_table()


def test_units_and_masks_are_honoured():
    before = embeddings(4)
    array = make_embeddings(
        before,
        columns_of(
            before,
            ra=Masked([1.0, 2.0, 3.0, 4.0] * u.hourangle, mask=[False, True, False, False]),
            dec=MaskedColumn([1, 2, 3, 77], mask=[0, 0, 0, 1], unit="arcmin"),
            survey=np.ma.array(["x", "desi", "y", "sdss"], mask=[1, 0, 1, 0]),
            coverage=[50, 100, 0, 75] * u.percent,
            object_id=np.array([39633345008634465, 2, 3, 4]),
        ),
        ATTRS,
    )
    np.testing.assert_allclose(array.ra, [15, np.nan, 45, 60])
    np.testing.assert_allclose(array.dec, [1 / 60, 2 / 60, 3 / 60, np.nan])
    np.testing.assert_allclose(array.coverage, [0.5, 1, 0, 0.75])
    assert array.survey.values.tolist() == ["", "desi", "", "sdss"]
    assert array.object_id.values.tolist() == ["39633345008634465", "2", "3", "4"]


def test_a_masked_table_gives_no_garbage():
    table = Table(embeddings(4).astroclip.to_table(), masked=True)
    table["ra"].mask[0] = True
    table["embedding"].mask[3] = True
    with pytest.raises(ValueError, match="row 3: its vector is not finite"):
        from_table(table)
    table["quality"][3] = Quality.NOT_EMBEDDED
    array = from_table(table)
    assert np.isnan(array.ra[0])
    assert np.isnan(array[3]).all()


def test_redshift_may_be_unknown():
    columns = columns_of(embeddings(4))
    del columns["redshift"]
    assert np.isnan(make_embeddings(embeddings(4), columns, ATTRS).redshift).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ra": [1.0, 2.0]}, r"ra has shape \(2,\), expected \(4,\)"),
        ({"ra": [1, 2, 3, 4] * u.m}, "ra is in m, expected deg"),
        ({"ra": ["1", "2", "3", "4"]}, "ra holds <U1, expected float64"),
        ({"mass": np.ones(4)}, "missing or unknown: mass"),
        ({"object_id": [39633345008634465.0, 2, 3, 4]}, "object_id holds float64"),
        ({"object_id": [None, "b", "c", "d"]}, "object_id holds object"),
        ({"quality": [0.0, 0, 192, 0]}, "quality holds float64, expected int64"),
        ({"quality": np.ma.array([0, 0, 192, 0], mask=[1, 0, 0, 0])}, "quality is masked"),
    ],
)
def test_bad_columns_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        make_embeddings(embeddings(4), columns_of(embeddings(4), **changed), ATTRS)


@pytest.mark.parametrize("vectors", [np.ones(4), np.ones((4, 0)), np.ones((4, 2, 2))])
def test_bad_shapes_are_refused(vectors):
    with pytest.raises(ValueError, match="expected \\(object, feature\\)"):
        make_embeddings(vectors, columns_of(embeddings(4)), ATTRS)


def test_what_overflows_single_precision_is_refused():
    with pytest.raises(ValueError, match="39633345008634465: its vector is not finite"):
        make_embeddings(embeddings(4) * 1e40, columns_of(embeddings(4)), ATTRS)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e25, 1e38])
def test_similarity_does_not_depend_on_the_length_of_vectors(scale):
    array = embeddings(4)
    scaled = array.copy(data=array.values * np.float32(scale) / np.float32(4))
    expected = array.astroclip.similarity()
    np.testing.assert_allclose(scaled.astroclip.similarity(array), expected, atol=1e-4)
    np.testing.assert_allclose(scaled.T.astroclip.similarity(), expected, atol=1e-4)


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e3, 1e3, width=32)))
def test_similarity_stays_within_one(vectors):
    columns = columns_of(embeddings(4)[[0, 1, 3]])
    found = make_embeddings(vectors, columns, ATTRS).astroclip.similarity().values
    has_direction = (vectors != 0).any(1)
    assert (np.isfinite(found) == np.outer(has_direction, has_direction)).all()
    assert (np.abs(found[np.isfinite(found)]) <= 1).all()


def test_embeddings_that_do_not_say_what_made_them_are_not_compared():
    with pytest.raises(ProvenanceError, match=r"without model, .*keep_attrs"):
        embeddings().astroclip.similarity(embeddings().drop_attrs())
    with pytest.raises(ProvenanceError, match="features '5' and '3'"):
        embeddings().astroclip.similarity(embeddings(width=3))


def test_provenance_is_told():
    expected = {name: ATTRS[name] for name in ("model", "weights_sha256", "preprocessing")}
    assert embeddings().astroclip.provenance == expected


def test_normalized_vectors_have_unit_length():
    array = embeddings(4)
    unit = array.astroclip.normalized()
    length = np.linalg.norm(unit, axis=1)
    np.testing.assert_allclose(length, [1, 1, np.nan, 1], rtol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(array, axis=1)[:, None], array, rtol=1e-5)
    assert unit.dtype == np.float32
    assert unit.attrs == ATTRS | {"normalization": "unit length"}
    xr.testing.assert_identical(array[1].astroclip.normalized(), unit[1])
    xr.testing.assert_identical(array.T.astroclip.normalized(), unit.T)
    array[3] = 0
    with pytest.raises(InputError, match="row 3: a vector without direction"):
        array.astroclip.normalized()


def many(n, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "object_id": [f"{seed}-{i}" for i in range(n)],
        "ra": rng.uniform(0, 360, n),
        "dec": rng.uniform(-90, 90, n),
        "modality": ["image"] * n,
        "survey": ["desi"] * n,
        "coverage": np.ones(n),
        "snr": np.ones(n),
        "quality": np.zeros(n, int),
    }
    return make_embeddings(rng.normal(size=(n, 8)), columns, ATTRS)


@pytest.mark.parametrize("cells", [1, 7000, 10**6])
def test_neighbors_are_the_most_similar(monkeypatch, cells):
    monkeypatch.setattr("astroclip_astro.embeddings._CELLS", cells)
    objects, queries = many(500), many(600, seed=1)
    table = objects.astroclip.neighbors(queries, k=3)
    assert isinstance(table, QTable)
    similarity = queries.astroclip.similarity(objects).values
    expected = np.argsort(-similarity, axis=1)[:, :3]
    np.testing.assert_array_equal(table["object"].reshape(600, 3), expected)
    np.testing.assert_array_equal(table["query"], np.repeat(np.arange(600), 3))
    np.testing.assert_array_equal(table["rank"], np.tile([1, 2, 3], 600))
    picked = np.take_along_axis(similarity, expected, axis=1).ravel()
    np.testing.assert_allclose(table["similarity"], picked, atol=1e-6)
    assert table["object_id"].tolist() == objects.object_id.values[expected.ravel()].tolist()
    assert table["query_id"].tolist() == np.repeat(queries.object_id.values, 3).tolist()
    np.testing.assert_array_equal(table["ra"].to_value(u.deg), objects.ra[expected.ravel()])


def test_neighbors_never_include_what_has_no_vector():
    array = embeddings(4)
    table = array.astroclip.neighbors(array[0], k=3)
    assert table["object"].tolist()[0] == 0
    assert set(table["object"]) == {0, 1, 3}
    assert len(array.astroclip.neighbors(embeddings(0), k=3)) == 0
    with pytest.raises(InputError, match="k is 4, expected 1 to 3"):
        array.astroclip.neighbors(array[0], k=4)
    with pytest.raises(InputError, match="k is 0"):
        array.astroclip.neighbors(array[0], k=0)
    with pytest.raises(InputError, match="Σ-Å źródło: it has no vector"):
        array.astroclip.neighbors(array, k=1)
    with pytest.raises(ProvenanceError, match="toy"):
        array.astroclip.neighbors(embeddings(model="other"), k=1)


def test_equal_neighbors_keep_their_order():
    array = many(50)
    array[:] = array[0].values
    found = array.astroclip.neighbors(array[7], k=5)
    assert found["object"].tolist() == [0, 1, 2, 3, 4]


def test_concat_puts_one_after_the_other():
    a, b = embeddings(4), embeddings(3, date="2026-02-03T00:00:00+00:00")
    together = concat([a, b, b[1]])
    assert together.attrs["date"] == f"{a.attrs['date']} | {b.attrs['date']}"
    assert together.attrs["model"] == "toy"
    for part, rows in ((a, slice(0, 4)), (b, slice(4, 7)), (b[1:2], slice(7, 8))):
        xr.testing.assert_identical(together[rows].drop_attrs(), part.drop_attrs())
    xr.testing.assert_identical(concat(iter([a])), a)
    xr.testing.assert_identical(concat([embeddings(0), a]), a)


def test_concat_refuses_what_does_not_belong_together():
    with pytest.raises(ProvenanceError, match="model 'toy' and 'other'"):
        concat([embeddings(), embeddings(model="other")])
    with pytest.raises(ProvenanceError, match="normalised"):
        concat([embeddings(), embeddings().astroclip.normalized()])
    with pytest.raises(ValueError, match="no embeddings"):
        concat([])
