"""Embeddings without their trend with redshift."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

import astroclip_astro as aa
from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.plugins import TaskEntry, get_manager
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import FixedRedshift, LinearHead, load_head


def planted(n=2000, seed=0):
    """Redshifts, residuals, and vectors that are a smooth function of redshift plus residuals."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.02, 0.8, n)
    residual = rng.normal(size=(n, 6))
    trend = [30 * z, 5 * np.sin(5 * z), 8 * np.exp(-z), 20 * np.log1p(z) ** 2, 0 * z, 9 - 4 * z**2]
    return z, residual, np.stack(trend, axis=1) + residual


def embeddings(vectors, z, *, lost=(), **attrs):
    n, lost = len(vectors), list(lost)
    vectors, quality = np.array(vectors, float), np.zeros(n, int)
    vectors[lost], quality[lost] = np.nan, int(Quality.NOT_EMBEDDED)
    columns = {
        "object_id": [f"galaxy {i}" for i in range(n)], "ra": np.zeros(n), "dec": np.zeros(n),
        "modality": ["spectrum"] * n, "survey": [""] * n, "redshift": z,
        "coverage": np.ones(n), "snr": np.ones(n), "quality": quality,
    }  # fmt: skip
    about = {"model": "toy", "weights_sha256": "abc", "preprocessing": "def"}
    return make_embeddings(vectors, columns, about | attrs)


def r2_of_redshift(vectors, z):
    half = len(z) // 2
    return LinearRegression().fit(vectors[:half], z[:half]).score(vectors[half:], z[half:])


def test_planted_residuals_are_recovered_and_say_nothing_of_redshift():
    z, residual, vectors = planted()
    found = FixedRedshift().fit_transform(vectors, z)
    for column in range(residual.shape[1]):
        assert np.corrcoef(found[:, column], residual[:, column])[0, 1] > 0.99
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(0), residual.std(0), rtol=0.02)
    assert r2_of_redshift(vectors, z) > 0.9
    assert r2_of_redshift(found, z) < 0.02


def test_objects_not_learned_from():
    z, _, vectors = planted()
    transformer = FixedRedshift().fit(vectors, z)
    new_z, residual, new = planted(n=500, seed=1)
    inside = (new_z >= z.min()) & (new_z <= z.max())
    found = transformer.transform(new[inside], new_z[inside])
    assert np.corrcoef(found.ravel(), residual[inside].ravel())[0, 1] > 0.99
    assert r2_of_redshift(found, new_z[inside]) < 0.02


def test_similarity_of_mocks_no_longer_goes_with_their_redshift():
    survey = MockSurvey.bundled()
    vectors = aa.embed([survey.spectrum(i) for i in range(len(survey))], progress=False)
    z = vectors.redshift.values
    one, other = np.triu_indices(len(z), 1)

    def relation(embedded):
        cosine = embedded.astroclip.similarity().values[one, other]
        return spearmanr(cosine, -np.abs(z[one] - z[other])).statistic

    assert relation(vectors) > 0.4
    assert abs(relation(FixedRedshift(n_knots=3).fit_transform(vectors))) < 0.1


def test_embeddings_keep_what_is_known_of_them_but_are_of_another_space():
    z, _, vectors = planted(n=300)
    plain = embeddings(vectors, z, date="today")
    transformer = FixedRedshift().fit(plain)
    residual = transformer.transform(plain)
    assert residual.dtype == np.float32
    assert residual.coords.identical(plain.coords)
    np.testing.assert_allclose(residual, transformer.transform(plain, z).values)
    expected = FixedRedshift().fit_transform(plain.values.astype(float), z)
    np.testing.assert_allclose(residual, expected, atol=1e-6)
    assert plain.attrs["preprocessing"] == "def"
    assert residual.attrs["preprocessing"].startswith("def+fixed-redshift-")
    assert residual.attrs["date"] == "today"
    residual.astroclip.similarity(transformer.transform(plain[:5]))
    other = FixedRedshift().fit(plain[:200]).transform(plain[50:52])
    for foreign in (plain, other):
        with pytest.raises(ProvenanceError, match="different spaces: preprocessing"):
            residual.astroclip.check_same_space(foreign)
    head = LinearHead().fit(residual, vectors[:, 0])
    with pytest.raises(ProvenanceError, match="fixed-redshift"):
        head.predict(plain)
    with pytest.raises(ProvenanceError, match="fixed-redshift"):
        transformer.transform(residual)


def test_one_object_transposed_embeddings_and_tables():
    z, _, vectors = planted(n=300)
    plain = embeddings(vectors, z)
    transformer = FixedRedshift().fit(plain.astroclip.to_table())
    expected = transformer.transform(plain)
    one = transformer.transform(plain[7])
    assert one.dims == ("feature",)
    np.testing.assert_allclose(one, expected[7], rtol=1e-6)
    np.testing.assert_allclose(transformer.transform(plain[7], z[7]), one, rtol=1e-6)
    turned = transformer.transform(plain.T)
    assert turned.dims == ("feature", "object")
    np.testing.assert_array_equal(turned.T, expected)
    assert transformer.transform(plain.astroclip.to_table()).identical(expected)


@pytest.mark.parametrize(
    "kind",
    [list, pd.Series, MaskedColumn, lambda z: z * u.one, lambda z: 100 * z * u.percent, Masked],
)
def test_redshifts_come_in_any_kind(kind):
    z, _, vectors = planted(n=100)
    expected = FixedRedshift().fit_transform(vectors, z)
    np.testing.assert_allclose(FixedRedshift().fit_transform(vectors, kind(z)), expected)


def test_objects_without_a_vector_stay_in_their_place_and_need_no_redshift():
    z, _, vectors = planted(n=100)
    transformer = FixedRedshift().fit(vectors, z)
    z[3] = np.nan
    found = transformer.transform(embeddings(vectors, z, lost=[3]))
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found.values, 3, axis=0)).all()
    with pytest.raises(InputError, match="galaxy 3: it has no vector"):
        FixedRedshift().fit(embeddings(vectors, z, lost=[3]))


def test_objects_without_redshift_are_named():
    z, _, vectors = planted(n=100)
    transformer = FixedRedshift().fit(vectors, z)
    masked = np.ma.array(z.copy(), mask=np.arange(100) == 9)
    z[[4, 6]] = np.nan
    plain = embeddings(vectors, z)
    with pytest.raises(InputError, match=r"galaxy 4: it has no redshift; .* \(2 such objects\)"):
        FixedRedshift().fit(plain)
    with pytest.raises(InputError, match="galaxy 4: it has no redshift"):
        transformer.transform(plain)
    with pytest.raises(InputError, match="galaxy 9: it has no redshift"):
        transformer.transform(plain, masked)
    with pytest.raises(InputError, match="row 4: it has no redshift"):
        transformer.transform(vectors, z)
    with pytest.raises(InputError, match="plain vectors state no redshifts"):
        transformer.transform(vectors)
    with pytest.raises(InputError, match=r"z of shape \(3,\): expected \(100,\)"):
        transformer.transform(vectors, z[:3])


def test_nothing_is_extrapolated():
    z, _, vectors = planted(n=100)
    transformer = FixedRedshift().fit(vectors, z)
    ends = [z.argmin(), z.argmax()]
    transformer.transform(vectors[ends], z[ends])
    for far in (z.min() - 0.01, z.max() + 0.01):
        z[5] = far
        with pytest.raises(InputError, match=f"galaxy 5: its redshift is {far:.4g}, and nothing"):
            transformer.transform(embeddings(vectors, z))
    z[5] = -1
    with pytest.raises(InputError, match="row 5: its redshift is -1, expected more than -1"):
        FixedRedshift().fit(vectors, z)


def test_too_little_to_learn_from():
    z, _, vectors = planted(n=8)
    FixedRedshift().fit(vectors, z)
    with pytest.raises(InputError, match="7 objects to learn from: expected more than the 7"):
        FixedRedshift().fit(vectors[:7], z[:7])
    with pytest.raises(InputError, match=r"all 8 objects have redshift 0\.3: expected a range"):
        FixedRedshift().fit(vectors, np.full(8, 0.3))
    with pytest.raises(ValueError, match="n_knots is 1, expected at least 2"):
        FixedRedshift(n_knots=1).fit(vectors, z)


def test_many_objects_of_one_redshift():
    z, residual, vectors = planted(n=1000)
    same = z < 0.5
    vectors, z[same] = residual + 10 * np.where(same, 0.1, z)[:, None], 0.1
    found = FixedRedshift().fit_transform(vectors, z)
    assert np.corrcoef(found.ravel(), residual.ravel())[0, 1] > 0.99


def test_normalised_and_plain_vectors_do_not_mix():
    z, _, vectors = planted(n=100)
    plain = embeddings(vectors, z)
    unit = plain.astroclip.normalized()
    transformer = FixedRedshift().fit(unit)
    assert "normalization" not in transformer.transform(unit).attrs
    with pytest.raises(ProvenanceError, match="unit length"):
        transformer.transform(plain)


def test_manners_of_scikit_learn():
    z, _, vectors = planted(n=100)
    transformer = FixedRedshift(n_knots=3)
    assert transformer.get_params() == {"n_knots": 3}
    with pytest.raises(NotFittedError):
        transformer.transform(vectors, z)
    assert transformer.fit(vectors, z) is transformer
    again = clone(transformer)
    assert again.n_knots == 3
    assert not hasattr(again, "coef_")
    np.testing.assert_array_equal(
        again.fit_transform(vectors, z), transformer.transform(vectors, z)
    )
    with pytest.raises(ValueError, match="features"):
        transformer.transform(vectors[:, :2], z)


def test_a_saved_fit_makes_vectors_of_the_same_space(tmp_path, monkeypatch):
    entry = TaskEntry(
        name="fixed-redshift", summary="", factory="astroclip_astro.tasks:FixedRedshift"
    )
    monkeypatch.setitem(get_manager()._entries["task"], "fixed-redshift", entry)
    z, _, vectors = planted(n=100)
    plain = embeddings(vectors, z)
    transformer = FixedRedshift(n_knots=4).fit(plain)
    transformer.save(tmp_path / "fit.safetensors")
    again = load_head(tmp_path / "fit.safetensors")
    assert again.n_knots == 4
    assert again.transform(plain).identical(transformer.transform(plain))
