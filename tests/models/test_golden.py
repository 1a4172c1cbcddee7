"""Parity with arrays that the published implementation produced."""

import json
from importlib import resources

import numpy as np
import pytest
import torch

from astroclip_astro.models import SpecFormer, clip_loss
from astroclip_astro.weights import list_models, load_model
from astroclip_astro.weights.layout import build

ATOL = {torch.float32: 5e-5, torch.float64: 1e-9}


@pytest.fixture(scope="module")
def golden(shared_dir):
    return shared_dir / "golden"


@pytest.fixture(scope="module")
def spectra(golden):
    return dict(np.load(golden / "spectrum_golden.npz"))


@pytest.fixture(scope="module")
def images(golden):
    return dict(np.load(golden / "image_golden.npz"))


@pytest.fixture
def model(golden):
    return load_model(golden / "astroclip_tiny.ckpt", device="cpu")


def assert_close(ours, theirs, dtype=torch.float32):
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=ATOL[dtype])


def outputs(modules, run):
    """Outputs of modules during a forward pass; only the first of several."""
    kept = {}
    hooks = [
        module.register_forward_hook(
            lambda _, __, out, name=name: kept.__setitem__(
                name, out[0] if isinstance(out, tuple) else out
            )
        )
        for name, module in modules.items()
    ]
    run()
    for hook in hooks:
        hook.remove()
    return kept


def test_every_step_of_the_spectrum_encoder(model, spectra):
    encoder = model.spectrum_encoder
    backbone = encoder.backbone
    x = torch.from_numpy(spectra["spectra"])
    tokens = backbone.preprocess(x)
    assert_close(tokens, spectra["preprocess"])
    kept = outputs(
        {
            "block0": backbone.blocks[0],
            "block1": backbone.blocks[1],
            "embedding": backbone,
            "cross_attention": encoder.cross_attention,
            "spectrum_head": encoder,
        },
        lambda: encoder(x),
    )
    kept["cross_attention"] = kept["cross_attention"].unsqueeze(1)
    kept["reconstructions"] = backbone.head(kept["embedding"])
    kept["embedding_meanpool"] = kept["embedding"].mean(1)
    kept["tokens_in"] = backbone.data_embed(tokens) + backbone.position_embed.weight[:778]
    for name, ours in kept.items():
        assert_close(ours, spectra[name])


@pytest.mark.parametrize("length", [7780, 7785, 7790, 60, 31])
def test_spectra_of_other_lengths(model, spectra, length):
    # The arrays of 7785 and 7790 come from all of the 7781 pixels that the spectra have.
    x = torch.from_numpy(spectra["spectra"])[:2, :length]
    tokens = model.spectrum_encoder.backbone.preprocess(x)
    assert_close(tokens, spectra[f"len{length}_preprocess"])
    if f"len{length}_spectrum_head" in spectra:
        assert_close(model.spectrum_encoder(x), spectra[f"len{length}_spectrum_head"])


def test_double_precision(model, spectra, images):
    model.double()
    x = torch.from_numpy(spectra["spectra"]).double()
    backbone = model.spectrum_encoder.backbone
    assert_close(backbone.preprocess(x), spectra["preprocess_f64"], torch.float64)
    assert_close(backbone(x), spectra["embedding_f64"], torch.float64)
    assert_close(model.spectrum_encoder(x), spectra["spectrum_head_f64"], torch.float64)
    rgb = torch.from_numpy(images["collated"]).double()
    assert_close(model.image_encoder(rgb), images["image_head_f64"], torch.float64)


def test_every_step_of_the_image_encoder(model, images):
    encoder = model.image_encoder
    backbone = encoder.backbone
    x = torch.from_numpy(images["collated"])
    last = {f"chunk{i}": list(chunk.values())[-1] for i, chunk in enumerate(backbone.blocks)}
    kept = outputs(
        {
            "patch_tokens": backbone.patch_embed,
            **last,
            "norm_tokens": backbone,
            "cross_attention": encoder.cross_attention,
            "image_head": encoder,
        },
        lambda: encoder(x),
    )
    kept["cross_attention"] = kept["cross_attention"].unsqueeze(1)
    for name, ours in kept.items():
        assert_close(ours, images[name])
    assert_close(encoder(x[..., :96, :120]), images["image_head_96"])


def test_plain_astrodino(golden, images):
    model = load_model(golden / "astrodino_tiny.ckpt", config={"num_heads": 2}, device="cpu")
    x = torch.from_numpy(images["collated"])
    assert_close(model.class_token(x), images["astrodino_cls"])
    assert_close(model.double().class_token(x.double()), images["astrodino_cls_f64"], torch.float64)


def test_specformer_alone(golden, spectra):
    model = load_model(golden / "specformer_tiny.ckpt", device="cpu")
    x = torch.from_numpy(spectra["spectra"])
    vectors = model.encode(x, "spectrum")
    np.testing.assert_allclose(vectors, model(x).mean(1), atol=1e-6)


def test_encode_goes_from_nanomaggies_to_the_published_vector(model, images):
    # The published data set stores images with rows and columns swapped.
    flux = torch.from_numpy(images["images"]).permute(0, 3, 1, 2)
    ours = model.encode(flux, "image")
    swapped = model.encode(flux.transpose(-1, -2), "image")
    errors = [np.abs(v.numpy() - images["image_head"]).max() for v in (ours, swapped)]
    assert min(errors) < ATOL[torch.float32]


def test_masked_modelling_loss(golden, model, spectra):
    masks = np.load(golden / "mask_golden.npz")
    backbone = model.spectrum_encoder.backbone
    tokens = backbone.preprocess(torch.from_numpy(spectra["spectra"]))
    masked = tokens.masked_fill(torch.from_numpy(masks["zero_tokens"])[..., None], 0)
    np.testing.assert_array_equal((tokens != masked).numpy(), masks["locs"])
    assert backbone.masked_loss(tokens, masked).item() == pytest.approx(
        float(masks["loss"]), abs=5e-5
    )


def test_masks_are_like_the_published_ones(golden, model, spectra):
    backbone = model.spectrum_encoder.backbone
    tokens = backbone.preprocess(torch.from_numpy(spectra["spectra"])).repeat(50, 1, 1) + 1e-9
    hidden = (backbone.mask(tokens, torch.Generator().manual_seed(0)) != tokens).any(-1).numpy()
    theirs = np.load(golden / "mask_golden.npz")["zero_tokens"]
    starts = np.diff(np.pad(hidden, ((0, 0), (1, 0))).astype(int), axis=1) == 1
    assert (hidden.sum(1) == theirs.sum(1)[0]).all()
    assert hidden.sum(1)[0] == 300
    assert starts.sum(1).max() <= 6
    for part in range(6):
        section = hidden[:, part * 778 // 6 : (part + 1) * 778 // 6]
        assert (section.sum(1) == 50).all()
    assert len(np.unique(starts.argmax(1))) > 20
    with pytest.raises(ValueError, match="at least 550"):
        backbone.mask(tokens[:, :549])


@pytest.mark.parametrize("scale", [1, 15.5, 100])
def test_contrastive_loss(golden, scale):
    arrays = np.load(golden / "clip_golden.npz")
    a, b = (torch.from_numpy(arrays[f"{m}_features"]) for m in ("image", "spectrum"))
    loss, logits = clip_loss(a, b, scale)
    assert loss.item() == pytest.approx(float(arrays[f"loss_scale_{scale}"]), abs=5e-5)
    if scale == 15.5:
        assert_close(logits, arrays["logits_per_image"])
        assert_close(logits.T, arrays["logits_per_spectrum"])


@pytest.mark.parametrize("name", ["rand", "small"])
def test_contrastive_loss_of_short_vectors(golden, name):
    arrays = np.load(golden / "clip_golden.npz")
    a, b = (torch.from_numpy(arrays[key]) for key in (f"{name}_a", "rand_b"))
    loss, logits = clip_loss(a, b)
    assert loss.item() == pytest.approx(float(arrays[f"{name}_loss_15.5"]), abs=5e-5)
    if name == "small":
        assert_close(logits, arrays["small_logits_15.5"])


def test_the_full_size_has_the_published_keys_and_shapes(golden):
    shapes = json.loads((golden / "full_state_dict_shapes.json").read_text())

    def ours(kind, name):
        file = resources.files("astroclip_astro.models") / "configs" / f"{name}.json"
        model = build(kind, json.loads(file.read_text())["config"])
        assert not list(model.buffers())
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        return {k: list(v.shape) for k, v in model.state_dict().items()}

    assert ours("AstroCLIP", "astroclip") == shapes["astroclip"]
    assert ours("SpecFormer", "specformer") == shapes["specformer"]
    prefixed = {f"backbone.{k}": v for k, v in ours("VisionTransformer", "astrodino").items()}
    assert prefixed == shapes["astrodino_teacher_backbone"]
    sections = ("astroclip", "specformer", "astrodino_teacher_backbone")
    counts = {name: int(sum(map(np.prod, shapes[name].values()))) for name in sections}
    counts["image_backbone"] = counts.pop("astrodino_teacher_backbone")
    assert counts.items() <= shapes["param_counts"].items()
    published = {row["name"]: row["parameters"] for row in list_models()}
    assert published["astroclip"] == counts["astroclip"] == 370_798_358
    assert published["specformer"] == counts["specformer"]
    assert published["astrodino"] == counts["image_backbone"]


@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_a_batch_of_one_equals_its_row(model, spectra, images, modality):
    x = torch.from_numpy(spectra["spectra"] if modality == "spectrum" else images["collated"])
    encoder = getattr(model, f"{modality}_encoder")
    together = encoder(x)
    assert encoder(x[:1]).shape == (1, 32)
    np.testing.assert_allclose(encoder(x[:1]), together[:1], atol=2e-5)


@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_attention_weights_are_distributions_and_change_nothing(model, spectra, images, modality):
    x = torch.from_numpy(spectra["spectra"] if modality == "spectrum" else images["collated"])[:2]
    encoder = getattr(model, f"{modality}_encoder")
    vectors, pooling = encoder(x, return_attention=True)
    np.testing.assert_allclose(vectors, encoder(x), atol=2e-5)
    np.testing.assert_allclose(pooling.sum(-1), 1, atol=1e-5)
    tokens, layers = encoder.backbone(x, return_attention=True)
    np.testing.assert_allclose(tokens, encoder.backbone(x), atol=2e-5)
    for weights in layers:
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_unusable_shapes_are_refused(model):
    with pytest.raises(ValueError, match="20 pixels: this model takes 21 to 8010"):
        model.spectrum_encoder(torch.zeros(1, 20, 1))
    with pytest.raises(ValueError, match="8011 pixels"):
        model.spectrum_encoder(torch.zeros(1, 8011, 1))
    with pytest.raises(ValueError, match=r"expected \(batch, pixels, 1\)"):
        model.spectrum_encoder(torch.zeros(1, 7781))
    with pytest.raises(ValueError, match="multiples of 12"):
        model.image_encoder(torch.zeros(1, 3, 152, 152))
    with pytest.raises(ValueError, match="class token needs"):
        model.image_encoder.backbone.class_token(torch.zeros(1, 3, 96, 96))
    with pytest.raises(ValueError, match="embeds spectrum and image, not 'photometry'"):
        model.encode(torch.zeros(1, 3), "photometry")


def test_constructors_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="input_dim is 22, expected"):
        SpecFormer(slice_section_length=40)
