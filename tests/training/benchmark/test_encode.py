"""Embedding a source: order, noise, what cannot be embedded, and what is kept on disk."""

import numpy as np
import pytest
import torch

from astroclip_astro.adapters.image import encoder_input
from astroclip_astro.errors import InputError
from astroclip_astro.training.benchmark import encode
from astroclip_astro.training.benchmark.encode import PatchMean, embed_source, fingerprint


def embedded(source, model, folder, **options):
    return embed_source(source, model, folder=folder, progress=False, **options)


def test_vectors_are_those_of_the_model(make_source, make_toy, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_BLOCK", 4)
    source, model = make_source(10), make_toy()
    vectors = embedded(source, model, tmp_path)
    whole = source.read(np.arange(10), torch.Generator())
    for modality in ("image", "spectrum"):
        wanted = model.encode(getattr(whole, modality), modality).numpy()
        np.testing.assert_allclose(vectors[modality], wanted, atol=1e-5)


def test_an_interrupted_run_goes_on(make_source, make_toy, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_BLOCK", 4)
    model = make_toy()
    first = embedded(make_source(10), model, tmp_path, n=8)
    source = make_source(10)
    again = embedded(source, model, tmp_path)
    assert [rows.tolist() for rows in source.read_rows[1:]] == [[8, 9]]  # after the fingerprint
    np.testing.assert_array_equal(again["image"][:8], first["image"])


def test_other_noise_or_weights_are_not_taken_from_disk(make_source, make_toy, tmp_path):
    model = make_toy()
    plain = embedded(make_source(6), model, tmp_path)["spectrum"]
    noisy = embedded(make_source(6, noise=0.3), model, tmp_path)["spectrum"]
    other = embedded(make_source(6, noise=0.3), model, tmp_path, seed=1)["spectrum"]
    assert not np.allclose(plain, noisy)
    assert not np.allclose(noisy, other)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    assert len(list(tmp_path.iterdir())) == 3
    embedded(make_source(6), model, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert fingerprint(make_source(6)) != fingerprint(make_source(6, noise=0.3))


def test_what_cannot_be_embedded_is_nan(make_source, make_toy, tmp_path, caplog):
    source = make_source(6)
    source.unreadable, source.blank = [1], [4]
    vectors = embedded(source, make_toy(), tmp_path)
    assert np.isnan(vectors["image"]).any(1).tolist() == [False, True, *[False] * 4]
    assert np.isnan(vectors["spectrum"]).any(1).nonzero()[0].tolist() == [1, 4]
    assert "2 of 6 objects have no spectrum embedding" in caplog.text
    source.blank = list(range(6))
    assert np.isnan(embedded(source, make_toy(), tmp_path / "blank")["spectrum"]).all()


def test_what_does_not_fit_is_refused(make_source, make_toy, tmp_path):
    model = make_toy()
    model.set_preprocessing({"spectrum": {"n_pixels": 4000}, "image": {}})
    with pytest.raises(InputError, match="n_pixels 4000, not 7781"):
        embedded(make_source(4), model, tmp_path)
    model.set_preprocessing({"spectrum": {}, "image": {"rgb_offset": 0.1}})
    assert embedded(make_source(4), model, tmp_path)  # colours are made by the model
    with pytest.raises(ValueError, match="training mode"):
        embedded(make_source(4), model.train(), tmp_path)


def test_only_what_the_source_has(make_source, make_toy, make_encoders, tmp_path):
    spectra, images = make_encoders()
    only = make_source(4).only(["image"])
    assert set(embedded(only, make_toy(), tmp_path)) == {"image"}
    with pytest.raises(InputError, match="embeds spectrum, memory has image only"):
        embedded(only, spectra, tmp_path)
    assert set(embedded(only, images, tmp_path)) == {"image"}


def test_mean_of_patches_is_not_the_class_token(make_source, make_encoders, tmp_path):
    _, images = make_encoders()
    source = make_source(4)
    flux = source.read(np.arange(4), torch.Generator()).image
    rgb = encoder_input(flux, images.preprocessing["image"])
    patches = embedded(source, PatchMean(images), tmp_path)["image"]
    token = embedded(source, images, tmp_path)["image"]
    np.testing.assert_allclose(patches, images(rgb).mean(1).detach(), atol=1e-5)
    np.testing.assert_allclose(token, images.class_token(rgb).detach(), atol=1e-5)
    assert not np.allclose(patches, token, atol=1e-2)
