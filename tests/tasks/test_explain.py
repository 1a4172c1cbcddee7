"""Attention, occlusion, and the figure of both."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from specutils import Spectrum, SpectrumList
from specutils.utils.wcs_utils import air_to_vac

import astroclip_astro as aa
from astroclip_astro.adapters.image import ImagePreprocessing, encoder_input
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.models import SpecFormer, VisionTransformer
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import LinearHead, attention, occlusion, plot_explanation
from astroclip_astro.tasks.explain_figure import LINES

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


def test_lines_are_at_their_wavelengths_in_vacuum():
    # Wavelengths in air of the NIST Atomic Spectra Database, and what they are in vacuum.
    air = {
        "Ca K": 3933.66, "Ca H": 3968.47, "Hδ": 4101.73, "Hγ": 4340.46, "Hβ": 4861.32,
        "[O III]": 5006.84, "Hα": 6562.79, "[N II]": 6583.45, "[S II]": 6730.82,
    }  # fmt: skip
    found = dict(LINES)  # of two lines, the latter
    for name, wavelength in air.items():
        expected = air_to_vac(wavelength * u.AA).value
        np.testing.assert_allclose(found[name], expected, atol=0.05)
    oxygen = air_to_vac([3726.03, 3728.82] * u.AA).value.mean()
    np.testing.assert_allclose(found["[O II]"], oxygen, atol=0.05)


def assert_nothing_is_cut_off(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height


def labels(figure):
    return [text for text in figure.axes[0].texts if text.get_rotation() == 90]


@pytest.mark.parametrize("redshift", [None, 0.01, 0.35, 0.75])
def test_lines_are_marked_at_the_redshift_and_their_names_do_not_overlap(explained, redshift):
    figure = plot_explanation(*explained["spectrum"], redshift=redshift)
    z = explained["spectrum"][0].meta["redshift"] if redshift is None else redshift
    observed = [(name, rest * (1 + z)) for name, rest in LINES]
    expected = [(name, w) for name, w in observed if GRID[0] < w < GRID[-1]]
    assert [text.get_text() for text in labels(figure)] == [name for name, _ in expected]
    wavelengths = [wavelength for _, wavelength in expected]
    np.testing.assert_allclose([text.xy[0] for text in labels(figure)], wavelengths)
    for axes in figure.axes:
        marked = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        np.testing.assert_allclose(marked, wavelengths)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # Of the text alone: that of an annotation includes its arrow.
    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in labels(figure)]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    title = figure._suptitle.get_window_extent(canvas.get_renderer())
    assert all(box.y1 < title.y0 and box.y0 > figure.axes[0].bbox.y1 for box in boxes)
    assert_nothing_is_cut_off(figure)


def test_no_line_is_marked_where_no_redshift_is_known():
    one = spectrum(np.sin(GRID / 100))
    figure = plot_explanation(one, attention(one), occlusion(one))
    assert labels(figure) == []
    assert figure.get_suptitle() == "it"


def test_figure_of_a_spectrum_shows_both_with_units(explained, age_head):
    one, weights, _ = explained["spectrum"]
    figure = plot_explanation(one, weights, occlusion(one, head=age_head))
    above, middle, below = figure.axes
    assert below.get_xlabel() == "Observed wavelength in vacuum [Å]"
    assert "erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$" in above.get_ylabel()
    assert middle.get_ylabel() == "Attention\n(mean of 4 heads)"
    assert below.get_ylabel() == "Occlusion\nchange of age [Gyr]"
    drawn = middle.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose(drawn.max(), weights.mean("head").max())


def test_figure_of_an_image_puts_maps_beside_the_picture(explained):
    figure = plot_explanation(*explained["image"])
    picture, middle, right = figure.axes[:3]
    _, weights, change = explained["image"]
    for axes, expected in ((middle, weights.mean("head")), (right, change)):
        np.testing.assert_allclose(axes.images[0].get_array(), expected)
    half = 96 * 0.262 / 2
    for axes in (picture, middle, right):
        np.testing.assert_allclose(axes.images[0].get_extent(), [half, -half, -half, half])
        assert axes.images[0].origin == "lower"
    assert picture.images[0].get_array().shape == (96, 96, 3)


def test_figures_of_predictions_fit_on_the_page(explained, survey, age_head):
    vectors = aa.embed([survey.cutout(i) for i in range(len(survey))], progress=False)
    image_head = LinearHead().fit(vectors, QTable({"age": survey.truth["age"]}))
    for name, head in (("spectrum", age_head), ("image", image_head)):
        one, weights, _ = explained[name]
        change = occlusion(one, head=head)
        figure = plot_explanation(one, weights, change)
        assert_nothing_is_cut_off(figure)
        text = f"nothing occluded: {change.attrs['median']:.2f} ± {change.attrs['half_width']:.1f}"
        right = figure.axes[2]
        shown = [t.get_text() for t in right.texts] + [right.get_title(loc="right")]
        assert any(one.startswith(text) and one.endswith("Gyr") for one in shown)


def test_figure_refuses_arrays_of_something_else(explained, survey):
    one, weights, change = explained["spectrum"]
    with pytest.raises(InputError, match="what was given as attention"):
        plot_explanation(one, change, weights)
    with pytest.raises(InputError, match="pass the same object and model"):
        plot_explanation(survey.spectrum(4), weights, change)
