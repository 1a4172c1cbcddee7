"""Attention and occlusion."""

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from specutils import Spectrum, SpectrumList

import astroclip_astro as aa
from astroclip_astro.adapters.image import ImagePreprocessing, encoder_input
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.models import SpecFormer, VisionTransformer
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import LinearHead, attention, occlusion

FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
GRID = 3600 + 0.8 * np.arange(7781)
# Of the bundled model, in pixels.
SECTION, STRIDE, SECTIONS = 80, 60, 129


@pytest.fixture(scope="module")
def survey():
    return MockSurvey.bundled()


@pytest.fixture(scope="module")
def bundled():
    return aa.load_model(device="cpu")


@pytest.fixture(scope="module")
def explained(survey):
    """A mock spectrum and a mock cutout, with their attention and occlusion."""
    objects = {"spectrum": survey.spectrum(3), "image": survey.cutout(3)}
    return {name: (one, attention(one), occlusion(one)) for name, one in objects.items()}


def spectrum(flux, **meta):
    return Spectrum(spectral_axis=GRID * u.AA, flux=flux * FLUX, meta={"object_id": "it", **meta})


def spec_former():
    sizes = {"input_dim": 402, "slice_section_length": 400, "slice_overlap": 0}
    model = SpecFormer(**sizes, embed_dim=16, num_layers=1, num_heads=2).eval()
    model.name = "plain"
    return model


def weights_by_hand(pooling, tokens, head):
    """Softmax of one head's query times its keys, in float64."""
    attention = pooling.multihead_attn
    if attention.in_proj_weight is None:
        queries, keys = attention.q_proj_weight, attention.k_proj_weight
    else:
        queries, keys, _ = attention.in_proj_weight.chunk(3)
    query_bias, key_bias, _ = attention.in_proj_bias.chunk(3)
    as_numbers = [
        t.detach().double().numpy()
        for t in (pooling.query[0, 0], tokens, queries, keys, query_bias, key_bias)
    ]
    query, tokens, queries, keys, query_bias, key_bias = as_numbers
    width = attention.embed_dim // attention.num_heads
    mine = slice(head * width, (head + 1) * width)
    query, keys = (queries @ query + query_bias)[mine], (tokens @ keys.T + key_bias)[:, mine]
    scores = np.exp(keys @ query / np.sqrt(width))
    return scores / scores.sum()


@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("kind", ["toy", "bundled"])
def test_attention_to_a_spectrum_is_the_softmax_of_query_and_keys(
    kind, head, survey, bundled, make_toy
):
    model = make_toy() if kind == "toy" else bundled
    one = survey.spectrum(5)
    found = attention(one, model=model)
    flux = torch.tensor(one.flux.value, dtype=torch.float32)[None, :, None]
    tokens = model.spectrum_encoder.backbone(flux)[0]
    expected = weights_by_hand(model.spectrum_encoder.cross_attention, tokens, head)
    assert found.dims == ("head", "wavelength")
    np.testing.assert_allclose(found[head], expected[1:], rtol=2e-3, atol=1e-7)
    np.testing.assert_allclose(found.statistics[head], expected[0], rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("kind", ["toy", "bundled"])
def test_attention_to_an_image_is_the_softmax_of_query_and_keys(kind, survey, bundled, make_toy):
    model = make_toy() if kind == "toy" else bundled
    one = survey.cutout(5)
    found = attention(one, model=model)
    flux = torch.tensor(one.data, dtype=torch.float32)[None]
    encoder = model.image_encoder
    tokens = encoder.backbone(encoder_input(flux, model.preprocessing["image"]))[0]
    side = model.preprocessing["image"].crop // 12
    expected = weights_by_hand(encoder.cross_attention, tokens, 1).reshape(side, side)
    assert found.dims == ("head", "y", "x")
    np.testing.assert_allclose(found[1], expected, rtol=2e-3, atol=1e-7)


def test_weights_of_every_head_add_up_to_one(explained):
    of_spectrum, of_image = explained["spectrum"][1], explained["image"][1]
    total = of_spectrum.sum("wavelength") + of_spectrum.statistics
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (of_spectrum.statistics > 0).all()
    np.testing.assert_allclose(of_image.sum(["y", "x"]), 1, atol=1e-6)


def test_wavelengths_are_the_centres_of_the_sections(explained, bundled):
    found = explained["spectrum"][1]
    expected = [GRID[STRIDE * i : STRIDE * i + SECTION].mean() for i in range(SECTIONS)]
    np.testing.assert_allclose(found.wavelength, expected, rtol=1e-12)
    np.testing.assert_allclose(found.width, SECTION * 0.8)
    assert found.wavelength.attrs["units"] == "Angstrom"
    # The encoder itself agrees: a spike at a centre is in that token, and in no other's middle.
    for i in (0, 64, SECTIONS - 1):
        flux = torch.zeros(1, len(GRID), 1)
        flux[0, np.abs(GRID - float(found.wavelength[i])).argmin()] = 1
        tokens = bundled.spectrum_encoder.backbone.preprocess(flux)[0, 1:, 2:]
        assert int(tokens[:, 35:45].amax(1).argmax()) == i


def test_wavelengths_of_another_model(make_toy):
    found = attention(spectrum(np.sin(GRID)), model=make_toy())
    np.testing.assert_allclose(found.wavelength, 3600 + 0.8 * (400 * np.arange(19) + 199.5))


def test_attributes_say_what_was_explained(explained, survey):
    for name, (_, *arrays) in explained.items():
        for array in arrays:
            assert array.attrs["object_id"] == survey.truth["object_id"][3]
            assert (array.attrs["model"], array.attrs["modality"]) == ("astroclip-mini", name)


def test_patches_are_where_the_sky_says(survey):
    cutout = survey.cutout(0)
    cutout.data = np.random.default_rng(0).normal(0, 0.005, cutout.data.shape).astype("f4")
    target = SkyCoord(cutout.meta["ra"], cutout.meta["dec"], unit="deg")
    # The centre of a patch: two and a half to the east and one and a half to the north, of 12
    # pixels of 0.262 arcsec each.
    east, north = 2.5 * 3.144, 1.5 * 3.144
    x, y = cutout.wcs.world_to_pixel(target.spherical_offsets_by(east * u.arcsec, north * u.arcsec))
    rows, columns = np.mgrid[:152, :152]
    cutout.data += 0.5 * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / 2**2)
    change = occlusion(cutout)
    at = {name: int(i) for name, i in change.argmax(...).items()}
    assert change.dims == ("y", "x")
    np.testing.assert_allclose(change.north[at["y"]], north)
    np.testing.assert_allclose(change.east[at["x"]], east)
    # The encoder sees the central 96 of 152 pixels.
    np.testing.assert_allclose([change.y[at["y"]], change.x[at["x"]]], [y - 28, x - 28], atol=0.01)


def test_only_what_holds_the_line_matters_in_an_otherwise_straight_spectrum():
    line = 6200.0
    flux = 5 + 1e-3 * (GRID - 6000) + 20 * np.exp(-0.5 * ((GRID - line) / 2) ** 2)
    change = occlusion(spectrum(flux))
    near = np.abs(change.wavelength - line) < (change.width / 2 + 20)
    assert change.dims == ("wavelength",)
    assert float(change.where(~near).max()) < 1e-9
    assert float(change.max()) > 1e-3
    strongest = float(change.wavelength[int(change.argmax("wavelength"))])
    assert abs(strongest - line) < SECTION * 0.8 / 2


def test_occluding_the_galaxy_matters_more_than_occluding_the_sky(explained):
    change = explained["image"][2]
    centre = change[3:5, 3:5]
    assert float(centre.max()) == float(change.max())
    assert float(change[-1].max()) < 0.1 * float(centre.max())


def test_a_section_becomes_the_line_through_the_medians_of_its_ends(bundled, monkeypatch):
    flux = np.random.default_rng(1).normal(3, 1, len(GRID))
    seen, encode = [], type(bundled).encode

    def spy(model, batch, modality):
        seen.append(batch.numpy()[..., 0].astype(float))
        return encode(model, batch, modality)

    monkeypatch.setattr(type(bundled), "encode", spy)
    occlusion(spectrum(flux), model=bundled)
    whole, *copies = np.concatenate(seen)
    assert len(copies) == SECTIONS
    assert max(map(len, seen)) <= 32
    for i, copy in enumerate(copies):
        part = slice(STRIDE * i, STRIDE * i + SECTION)
        ends = np.median(whole[part][:10]), np.median(whole[part][-10:])
        expected = np.polyval(np.polyfit([4.5, 74.5], ends, 1), np.arange(SECTION))
        np.testing.assert_allclose(copy[part], expected, atol=1e-5)
        np.testing.assert_array_equal(np.delete(copy, np.r_[part]), np.delete(whole, np.r_[part]))


@pytest.fixture(scope="module")
def age_head(survey):
    vectors = aa.embed([survey.spectrum(i) for i in range(len(survey))], progress=False)
    return LinearHead().fit(vectors, QTable({"age": survey.truth["age"]}))


def test_occlusion_with_a_head_is_what_it_would_say_of_the_object_without_the_part(
    survey, age_head
):
    one = survey.spectrum(8)
    change = occlusion(one, head=age_head)
    before = age_head.predict(aa.embed(one))
    np.testing.assert_allclose(change.attrs["median"], before["age_p50"][0].value, rtol=1e-4)
    width = (before["age_p84"] - before["age_p16"])[0].to_value(u.Gyr) / 2
    np.testing.assert_allclose(change.attrs["half_width"], width, rtol=1e-4)
    assert (change.attrs["units"], change.attrs["long_name"]) == ("Gyr", "change of age")
    i = int(abs(change).argmax("wavelength"))
    flux, part = one.flux.value.copy(), slice(STRIDE * i, STRIDE * i + SECTION)
    ends = np.median(flux[part][:10]), np.median(flux[part][-10:])
    flux[part] = np.polyval(np.polyfit([4.5, 74.5], ends, 1), np.arange(SECTION))
    after = age_head.predict(aa.embed(spectrum(flux)))
    expected = (after["age_p50"] - before["age_p50"])[0].to_value(u.Gyr)
    np.testing.assert_allclose(change[i], expected, rtol=1e-3)


def test_models_without_attention_to_look_at(survey):
    image_model = VisionTransformer(embed_dim=32, depth=1, num_heads=2, block_chunks=1).eval()
    for model, one in (
        (spec_former(), survey.spectrum(0)),
        (image_model, survey.cutout(0)),
    ):
        with pytest.raises(InputError, match="does not pool by attention: take an AstroCLIP"):
            attention(one, model=model)
        assert (occlusion(one, model=model) >= 0).all()
    assert image_model.preprocessing["image"] == ImagePreprocessing()
    with pytest.raises(InputError, match="embeds image, not spectrum"):
        occlusion(survey.spectrum(0), model=image_model)


@pytest.mark.parametrize("function", [attention, occlusion])
def test_what_cannot_be_explained(function, survey, make_toy):
    several = SpectrumList([survey.spectrum(0), survey.spectrum(1)])
    with pytest.raises(InputError, match="SpectrumList of several objects: expected one"):
        function(several)
    with pytest.raises(InputError, match="list of no object: expected one"):
        function([])
    with pytest.raises(InputError, match=r"it: no vector can be made of it \(.*NO_DATA"):
        function(spectrum(np.full(len(GRID), np.nan)))
    counts = Spectrum(spectral_axis=GRID * u.AA, flux=np.ones(len(GRID)) * u.count)
    with pytest.raises(InputError, match="flux density"):
        function(counts)
    with pytest.raises(TypeError, match="cannot embed"):
        function(3)
    with pytest.raises(ValueError, match="training mode"):
        function(survey.spectrum(0), model=make_toy().train())


def test_heads_that_cannot_be_asked(survey, age_head, make_toy):
    with pytest.raises(InputError, match="head is a str, expected a RegressionHead"):
        occlusion(survey.spectrum(0), head="redshift")
    with pytest.raises(ProvenanceError, match=r"'astroclip-mini'.*'toy'"):
        occlusion(survey.spectrum(0), model=make_toy(), head=age_head)
