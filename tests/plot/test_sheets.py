"""Sheets of what is found: every panel is the object that its title says."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import NDData
from astropy.table import QTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from specutils import Spectrum

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import InputError
from astroclip_astro.plot import cross_modal_sheet, neighbors_sheet
from astroclip_astro.plot.style import ORANGE


@pytest.fixture(scope="module")
def names(survey):
    return [str(name) for name in survey.truth["object_id"][:12]]


@pytest.fixture(scope="module")
def spectra(survey, names):
    return {name: survey.spectrum(i) for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def images(survey, names):
    return {name: survey.cutout(i) for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def catalog(spectra, images, tmp_path_factory):
    embeddings = [aa.embed(list(of.values()), progress=False) for of in (spectra, images)]
    return EmbeddingCatalog.create(tmp_path_factory.mktemp("catalog") / "it", concat(embeddings))


def said(ax):
    """What stands above a picture or in the corner of a spectrum."""
    texts = [text.get_text() for text in ax.texts if text.get_rotation() == 0]
    return ax.get_title() or next(text for text in texts if "mock" in text)


def is_framed(ax):
    return all(same_color(spine.get_edgecolor(), ORANGE) for spine in ax.spines.values())


def assert_nothing_overlaps(axes):
    """Nor is cut off."""
    figure = axes[0].get_figure(root=True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn, size = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert drawn.x0 >= -0.01
    assert drawn.y0 >= -0.01
    assert (drawn.max <= size + 0.01).all()
    boxes = [ax.get_tightbbox(canvas.get_renderer()).padded(-2) for ax in axes]
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[i + 1 :])


@pytest.mark.parametrize("k", [1, 7])
def test_pictures_that_an_image_finds(catalog, images, names, k):
    found = catalog.search(names[3], k=k, modality="image", exclude_self=True)
    axes = neighbors_sheet(found, names[3], images)
    assert axes.shape == (1 + k,)
    z = images[names[3]].meta["redshift"]
    assert axes[0].get_title() == f"{names[3]}\nquery  z = {z:.3f}"
    for ax, row in zip(axes[1:], found, strict=True):
        other = images[row["object_id"]]
        assert ax.get_title() == (
            f"{row['object_id']}\nscore {row['score']:.3f}  Δz {other.meta['redshift'] - z:+.3f}"
        )
        assert ax.images[0].get_array().shape == (152, 152, 4)
    pictures = [ax.images[0].get_array().data.tobytes() for ax in axes]
    assert len(set(pictures)) == 1 + k
    assert_nothing_overlaps(axes)


def test_spectra_are_stacked_on_one_wavelength_axis(catalog, spectra, names):
    found = catalog.search(names[3], k=3, modality="spectrum")
    axes = neighbors_sheet(found, spectra[names[3]], spectra.get)
    for ax, name in zip(axes, [names[3], *found["object_id"]], strict=True):
        np.testing.assert_allclose(ax.patches[0].get_data()[0], spectra[name].flux.value)
        assert name in said(ax)
        assert ax.get_xlim() == axes[0].get_xlim()
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, False, True]
    assert axes[-1].get_xlabel() == "Observed wavelength in vacuum [Å]"
    assert "erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$" in axes[0].figure.get_supylabel()
    # The first is the object itself.
    assert [is_framed(ax) for ax in axes] == [False, True, False, False]
    assert said(axes[1]) == f"{names[3]}   score 1.000   itself"
    # Each has the lines of its own redshift, and only the uppermost their names.
    first = [ax.lines[0].get_xdata()[0] / (1 + spectra[n].meta["redshift"]) for ax, n in zip(
        axes[2:], found["object_id"][1:], strict=True)]  # fmt: skip
    np.testing.assert_allclose(first, 3728.48)
    assert [any(t.get_rotation() == 90 for t in ax.texts) for ax in axes] == [True, *[False] * 3]
    assert_nothing_overlaps(axes)


def test_pictures_under_their_spectrum(catalog, spectra, images, names):
    found = catalog.search(names[3], k=7, modality="image")
    axes = neighbors_sheet(found, spectra[names[3]], images)
    assert [len(ax.images) for ax in axes] == [0, *[1] * 7]
    assert axes[0].get_xlabel() == "Observed wavelength in vacuum [Å]"
    assert axes[0].get_position().y0 > axes[1].get_position().y1
    assert_nothing_overlaps(axes)


def test_several_queries_have_a_row_each(catalog, images, names):
    found = catalog.search(names[:3], k=3, modality="image")
    found = found[:-1]  # of the last only two were found
    axes = neighbors_sheet(found, names[:3], images)
    assert axes.shape == (3, 4)
    for i in range(3):
        ids = [names[i], *found["object_id"][found["query"] == i]]
        assert [ax.get_title().split("\n")[0] for ax in axes[i][: len(ids)]] == ids
    assert not axes[2, 3].axison
    assert len({round(ax.get_position().y0, 2) for ax in axes[1]}) == 1


def test_both_ways_side_by_side(catalog, spectra, images, names):
    found = {
        way: catalog.search(vector, k=2, modality=way)
        for way, vector in (("spectrum", aa.embed(images[names[5]])),
                            ("image", aa.embed(spectra[names[5]])))
    }  # fmt: skip
    by_image, by_spectrum = cross_modal_sheet(
        found["spectrum"], names[5], found["image"], names[5], spectra=spectra, images=images
    )
    assert [len(ax.images) for ax in by_image] == [1, 0, 0]
    assert [len(ax.images) for ax in by_spectrum] == [0, 1, 1]
    left, right = by_image[0].figure, by_spectrum[0].figure
    assert left.get_suptitle() == "Spectra that the image finds"
    assert right.get_suptitle() == "Images that the spectrum finds"
    assert left.figure is right.figure
    assert [name in said(ax) for ax, name in zip(by_image[1:], found["spectrum"]["object_id"],
                                                 strict=True)] == [True, True]  # fmt: skip
    assert_nothing_overlaps([*by_image, *by_spectrum])


def test_what_is_missing_looks_missing_and_what_is_not_known_is_said(images, names):
    meta = {"bands": "grz", "pixel_scale": 0.262}
    empty = NDData(np.full((3, 152, 152), np.nan), unit=u.nmgy, meta=meta)
    objects = {"gone": None, "empty": empty, names[0]: images[names[0]]}
    found = QTable({"object_id": list(objects), "score": [0.3, 0.2, 0.1]})
    found["redshift"] = [0.5, np.nan, np.nan]
    query = NDData(images[names[1]].data, unit=u.nmgy, meta=meta)
    figure = Figure()
    axes = neighbors_sheet(found, query, objects, figure=figure)
    assert axes[0].figure is figure
    assert [ax.get_title().split("\n")[1] for ax in axes] == [
        "query  z unknown",
        *(f"score {score}00  Δz unknown" for score in (0.3, 0.2, 0.1)),
    ]
    for ax in axes[1:3]:
        assert not ax.images
        assert ax.patch.get_hatch()
        assert [text.get_text() for text in ax.texts] == ["no data"]
    axes = neighbors_sheet(found, query, objects, redshift=0.2)
    z = images[names[0]].meta["redshift"]
    offsets = [ax.get_title().rpartition("Δz ")[2] for ax in axes[1:]]
    assert offsets == ["+0.300", "unknown", f"{z - 0.2:+.3f}"]


def test_spectra_that_are_missing_spoil_no_axis_of_the_others(spectra, names):
    one = spectra[names[0]]
    lost = Spectrum(spectral_axis=one.spectral_axis, flux=one.flux * np.nan, meta={})
    found = QTable({"object_id": ["a", "b", "c"], "score": [0.3, 0.2, 0.1]})
    axes = neighbors_sheet(found, one, {"a": lost, "b": spectra[names[1]], "c": None})
    assert axes[0].get_xlim() == axes[2].get_xlim() == pytest.approx((3599.6, 9824.4))
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, True, False]
    for ax, name in ((axes[1], "a"), (axes[3], "c")):
        assert not ax.patches
        assert ax.patch.get_hatch()
        shown = [text.get_text() for text in ax.texts]
        assert shown[0] == "no data"
        assert shown[1].startswith(f"{name}   score")


def test_long_names_are_shortened(images, names):
    long = "a-name-that-is-longer-than-any-picture-is-wide"
    found = QTable({"object_id": [long], "score": [0.5]})
    _, ax = neighbors_sheet(found, images[names[0]], {long: images[names[1]]})
    assert ax.get_title().startswith("a-name-that…")
    assert len(ax.get_title().split("\n")[0]) <= 22


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"found": "mock"}, "found is a str: expected the table"),
        ({"found": QTable({"object_id": ["a"]})}, "object_id and score"),
        ({"found": QTable({"object_id": ["a"], "score": [0.5]})[:0]}, "nothing to draw"),
        ({"found": QTable({"object_id": ["a"], "score": [0.5]})}, "a: objects does not know it"),
        ({"query": "lost"}, "lost: objects does not know it"),
        ({"redshift": [0.1, 0.2]}, "2 redshifts for 1 queries"),
        ({"redshift": 1 * u.km}, "redshift is in km"),
        ({"objects": lambda name: name}, "no such file"),
    ],
)
def test_sheets_of_what_makes_no_sense(images, names, change, match):
    found = QTable({"object_id": names[:2], "score": [0.9, 0.8]})
    given = {"found": found, "query": images[names[3]], "objects": images} | change
    with pytest.raises(InputError, match=match):
        neighbors_sheet(**given)


def test_several_queries_are_to_be_given_in_a_list(images, names):
    found = QTable({"query": [0, 1], "object_id": names[:2], "score": [0.9, 0.8]})
    for query in (images[names[0]], [images[names[0]]]):
        with pytest.raises(InputError, match="expected a list"):
            neighbors_sheet(found, query, images)
