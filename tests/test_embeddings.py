"""Embeddings: schema, similarity, and files that give back exactly what went in."""

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.table import Table

from astroclip_astro import open_embeddings
from astroclip_astro.embeddings import from_table, make_embeddings
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.quality import Quality

SUFFIXES = [".parquet", ".nc", ".zarr", ".fits", ".vot"]
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


@pytest.mark.parametrize("suffix", [".parquet", ".nc", ".fits", ".vot"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"vectors{suffix}"
    embeddings(4).astroclip.save(path)

    def interrupted(source, target):
        raise KeyboardInterrupt

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


def test_tables_of_something_else_are_refused(tmp_path):
    Table({"a": [1, 2]}).write(tmp_path / "other.fits")
    with pytest.raises(InputError, match=r"other\.fits: no embeddings file"):
        open_embeddings(tmp_path / "other.fits")
    with pytest.raises(InputError, match="no such file"):
        open_embeddings(tmp_path / "missing.nc")


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
