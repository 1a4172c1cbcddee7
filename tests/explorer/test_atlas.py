"""What pages share, against the catalog itself."""

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.map_files import map_path, write_map_file
from astroclip_astro.catalog.recipes.sources import Found
from astroclip_astro.embedding_schema import unknown_columns
from astroclip_astro.embeddings import concat, make_embeddings
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.explorer import answers, search, tables
from astroclip_astro.explorer.atlas import Atlas
from astroclip_astro.explorer.colouring import Colouring
from astroclip_astro.explorer.portrait import Picture, Trace
from astroclip_astro.explorer.predictions import predictions
from astroclip_astro.explorer.raster import raster
from astroclip_astro.explorer.upload_reader import embed_file
from astroclip_astro.explorer.view import Dropped
from astroclip_astro.quality import Quality
from astroclip_astro.simulate import MockSurvey

COUNT = 24
WITHOUT = "no vector at all"


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


@pytest.fixture(scope="module")
def names(mocks):
    return [str(name) for name in mocks.truth["object_id"][:COUNT]]


@pytest.fixture(scope="module")
def catalog(mocks, names, tmp_path_factory):
    """Mocks with both vectors, but for two with one each and one without any; on a made map."""
    spectra = aa.embed([mocks.spectrum(i) for i in range(COUNT - 1)])
    images = aa.embed([mocks.cutout(i) for i in range(1, COUNT)])
    about = unknown_columns(1) | {"object_id": [WITHOUT], "modality": ["spectrum"]}
    about["quality"] = [int(Quality.NOT_EMBEDDED)]
    nothing = make_embeddings(np.full_like(spectra.values[:1], np.nan), about, spectra.attrs)
    columns = Table(
        mocks.truth[["object_id", "log_mass", "kind", "quiescent"]][:COUNT], masked=True
    )
    columns.add_row(list(columns[0]))
    columns["object_id"][-1] = WITHOUT
    columns["log_mass"].mask[2] = True
    path = tmp_path_factory.mktemp("catalogs") / "mocks"
    catalog = EmbeddingCatalog.create(path, concat([spectra, nothing, images]), columns)
    for modality in catalog.modalities:
        place = np.arange(2 * COUNT, dtype=np.float32).reshape(-1, 2)[: COUNT - 1]
        there = names[1:] if modality == "image" else names[:-1]
        write_map_file(map_path(path, modality), pa.array(there), place, catalog.provenance)
    return catalog


@pytest.fixture(scope="module")
def atlas(catalog, mocks, names):
    def objects(object_id, modality):
        if object_id not in names:
            raise InputError("there are no data", object_id=object_id)
        make = {"image": mocks.cutout, "spectrum": mocks.spectrum}[modality]
        return Found(make(names.index(object_id)))

    return Atlas(catalog, objects)


def test_rows_are_those_of_the_catalog(atlas, catalog, names):
    table = catalog.table()
    assert len(atlas) == len(catalog) == COUNT + 1
    for name in (*names, WITHOUT):
        row = atlas.row(name)
        assert atlas.names[row] == name
        mine = table[table["object_id"] == name][0]
        np.testing.assert_equal(atlas.redshift[row], float(mine["redshift"]))
        np.testing.assert_equal(atlas.ra[row], mine["ra"].to_value(u.deg))
    with pytest.raises(InputError, match="no such object"):
        atlas.row("other")


@pytest.mark.parametrize("where", ["", " ", "z < 0.2", "kind = 'galaxy'", "log_mass IS NULL"])
def test_passing_rows_are_those_of_the_catalog(atlas, catalog, where):
    for _ in range(2):  # the second time from memory
        passing = atlas.passing(where)
        expected = catalog.table(columns=["object_id"], where=where.strip() or None)["object_id"]
        assert sorted(atlas.names[passing]) == sorted(expected)


def test_conditions_that_are_none(atlas):
    with pytest.raises(InputError, match="where"):
        atlas.passing("z < ; DROP TABLE objects")


def test_answers_are_kept_for_so_many_conditions_only(atlas):
    for i in range(100):
        atlas.passing(f"z < {i}")
    assert len(atlas._answers) <= 32


def test_find_by_name_and_position(atlas, catalog, names):
    assert atlas.find(f"  {names[3]} ") == (atlas.row(names[3]), 0)
    table = catalog.table(where="ra IS NOT NULL")
    place = SkyCoord(table["ra"], table["dec"])
    row = atlas.row(names[5])
    near = SkyCoord(atlas.ra[row], atlas.dec[row], unit="deg").directional_offset_by(
        30 * u.deg, 5 * u.arcsec
    )
    for text in (near.to_string("decimal", precision=8), near.to_string("hmsdms", precision=4)):
        found, apart = atlas.find(text)
        index, expected, _ = near.match_to_catalog_sky(place)
        assert atlas.names[found] == table["object_id"][index] == names[5]
        assert apart == pytest.approx(expected.to_value(u.arcsec), abs=0.01)


@pytest.mark.parametrize("text", ["", "nobody", "150.1", "400 95", "1 2 3 4", "x" * 5000, "\0"])
def test_find_nothing(atlas, text):
    with pytest.raises(InputError, match="expected an object_id") as error:
        atlas.find(text)
    assert len(str(error.value)) < 400


def test_map_places_are_those_of_the_file(atlas, names):
    x, y = atlas.maps["spectrum"]
    assert [x[atlas.row(name)] for name in names[:3]] == [0, 2, 4]
    assert [y[atlas.row(name)] for name in names[:3]] == [1, 3, 5]
    assert np.isnan(x[atlas.row(names[-1])])
    assert atlas.unplaced == {"image": 0, "spectrum": 0}


def test_inside_an_outline(atlas, names):
    inside = atlas.inside("spectrum", [(-1, 0), (5, 0), (5, 6), (-1, 6)])
    assert sorted(atlas.names[inside]) == sorted(names[:3])
    assert atlas.inside("spectrum", ()).all()


def test_nearest_point(atlas, names):
    x, y = atlas.maps["spectrum"]
    everything = np.ones(len(atlas), bool)
    assert atlas.nearest(x, y, 4.2, 5.1, everything) == atlas.row(names[2])
    hidden = everything.copy()
    hidden[atlas.row(names[2])] = False
    assert atlas.nearest(x, y, 4.2, 5.1, hidden) != atlas.row(names[2])
    assert atlas.nearest(x, y, 1000, 1000, everything) is None
    assert atlas.nearest(x, y, 4, 5, ~everything) is None


def test_colouring_is_of_the_column(atlas, catalog):
    found = atlas.colouring("log_mass")
    known = catalog.table(columns=["log_mass"])["log_mass"].value
    assert np.nansum(found.values) == pytest.approx(np.nansum(np.ma.filled(known, np.nan)))
    assert "M" in found.label
    assert atlas.colouring("quiescent").classes == ("False", "True")
    with pytest.raises(InputError, match="no column"):
        atlas.colouring("_healpix_29")


def test_vectors_are_those_that_there_are(catalog, names):
    have = {
        name: [str(rows.modality.values[0]) for rows in search.vectors_of(catalog, name)]
        for name in (names[0], names[1], names[-1])
    }
    assert have == {
        names[0]: ["spectrum"],
        names[1]: ["image", "spectrum"],
        names[-1]: ["image"],
    }
    assert search.vectors_of(catalog, WITHOUT) == search.vectors_of(catalog, "it's") == []


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("where", ["", "z < 0.3"])
def test_neighbours_are_those_that_the_catalog_finds(catalog, names, fixed, where):
    vectors = search.vectors_of(catalog, names[4])
    found = search.neighbours(catalog, vectors, k=5, where=where, fixed=fixed, itself=names[4])
    pairs = [(one.modality, one.ranked) for one in found]
    assert pairs == [
        ("image", "image"),
        ("spectrum", "spectrum"),
        ("image", "spectrum"),
        ("spectrum", "image"),
    ]
    for one in found:
        expected = catalog.search(
            catalog.stored([names[4]], one.modality),
            k=5,
            modality=one.ranked,
            where=where or None,
            exclude_self=True,
            at_fixed_redshift=fixed,
        )
        assert one.table["object_id"].tolist() == expected["object_id"].tolist()
        np.testing.assert_allclose(one.table["score"], expected["score"], atol=1e-6)
        assert names[4] not in one.table["object_id"]


def test_neighbours_that_there_are_none_of_have_a_reason(catalog, names):
    vectors = search.vectors_of(catalog, names[4])
    for one in search.neighbours(catalog, vectors, k=5, where="z > 50", itself=names[4]):
        assert "condition" in one.reason
    vectors = [rows.assign_coords(redshift=("object", [np.nan])) for rows in vectors]
    for one in search.neighbours(catalog, vectors, k=5, fixed=True):
        assert one.table is None
        assert "redshift is unknown" in one.reason


def test_dropped_object_finds_what_its_embedding_finds(catalog, mocks):
    embedding = aa.embed(mocks.cutout(30))
    dropped = search.taken(catalog, embedding)
    (rows,) = search.vectors_of_dropped(catalog, Dropped.parse(str(dropped)))
    assert float(rows.redshift[0]) == pytest.approx(float(embedding.redshift), rel=1e-5)
    for ranked in catalog.modalities:
        expected = catalog.search(embedding, k=6, modality=ranked)
        found = catalog.search(rows, k=6, modality=ranked)
        assert found["object_id"].tolist() == expected["object_id"].tolist()
        np.testing.assert_allclose(found["score"], expected["score"], atol=2e-3)


def test_dropped_vectors_of_another_space_are_refused(catalog, mocks):
    embedding = aa.embed(mocks.cutout(30))
    with pytest.raises(InputError, match="numbers"):
        search.vectors_of_dropped(catalog, Dropped("image", (1.0, 2.0)))
    with pytest.raises(InputError, match="numbers"):
        search.vectors_of_dropped(catalog, Dropped("smell", (1.0,) * 128))
    with pytest.raises(ProvenanceError):
        search.taken(catalog, embedding.assign_attrs(weights_sha256="0" * 64))
    with pytest.raises(InputError, match="too large"):
        search.taken(catalog, embedding.copy(data=embedding.values * 1e6))


def test_portraits_are_of_the_object(atlas, mocks, names):
    picture = atlas.portrait(names[3], "image")
    assert isinstance(picture, Picture)
    assert picture.pixels.shape == (152, 152, 4)
    assert picture.side == pytest.approx(152 * 0.262)
    # North is up: the brightest pixel is where the cutout has it, counted from the other end.
    bright = np.nan_to_num(mocks.cutout(3).data).sum(0)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert picture.pixels[151 - row, column, :3].sum() > np.median(picture.pixels[..., :3].sum(-1))
    trace, spectrum = atlas.portrait(names[3], "spectrum"), mocks.spectrum(3)
    assert isinstance(trace, Trace)
    np.testing.assert_allclose(trace.wavelength, spectrum.spectral_axis.to_value("AA"), atol=0.3)
    known = np.isfinite(trace.flux)
    np.testing.assert_allclose(trace.flux[known], spectrum.flux.value[known], rtol=1e-4)
    with pytest.raises(InputError, match="no data"):
        atlas.portrait(WITHOUT, "image")


def test_attention_is_where_it_is_or_nothing(atlas, names):
    weights = atlas.attended(names[3], "spectrum")
    assert max(weights["weight"]) == 1
    assert all(a < b for a, b in zip(weights["left"], weights["right"], strict=True))
    assert np.shape(atlas.attended(names[3], "image")["weight"]) == (8, 8)
    assert atlas.attended(WITHOUT, "image") is None


def test_values_of_an_object(atlas, catalog, names):
    units = catalog.schema.units
    shown = {one["name"]: one for one in answers.columns(atlas.values(names[1]), units)}
    row = catalog.table(where=f"object_id = '{names[1]}'")[0]
    assert float(shown["log_mass"]["text"]) == pytest.approx(row["log_mass"].value, rel=1e-3)
    assert shown["kind"]["text"] == "galaxy"
    assert shown["ra"]["unit"] == "deg"
    unknown = {one["name"]: one for one in answers.columns(atlas.values(names[2]), units)}
    assert unknown["log_mass"]["text"] == "unknown"
    without = {one["name"]: one for one in answers.columns(atlas.values(WITHOUT), units)}
    assert without["image_snr"]["text"] == "unknown"


def test_offsets_are_of_the_neighbour(catalog, names):
    vectors = search.vectors_of(catalog, names[4])
    redshift = float(vectors[0].redshift[0])
    (first, *_) = search.neighbours(catalog, vectors, k=3, itself=names[4])
    for row, shown in zip(first.table, answers.neighbours(first, redshift)["rows"], strict=True):
        assert shown["object"] == row["object_id"]
        assert shown["offset"] == f"Δz {row['redshift'] - redshift:+.3f}"
    unknown = answers.neighbours(first, np.nan)["rows"]
    assert {one["offset"] for one in unknown} == {"Δz unknown"}


def test_a_column_that_is_unknown_of_all_has_no_colours():
    for values in (["", ""], [0, 0]):
        colouring = Colouring.of("kind", MaskedColumn(values, mask=True))
        assert np.isnan(colouring.values).all()
        assert answers.legend(colouring)["label"] == "kind"
        place, every = np.zeros(2), np.ones(2, bool)
        window, size = (-1, 1, -1, 1), (8, 8)
        drawn = raster(place, place, window, size, shown=every, chosen=every, colouring=colouring)
        assert len(set(drawn.ravel()) - {0}) == 1  # grey


def test_neighbours_are_joined_where_some_lists_are_empty(catalog, names):
    # The first has a spectrum only.
    found = search.neighbours(
        catalog,
        search.vectors_of(catalog, names[4]),
        k=3,
        where=f"object_id = '{names[0]}'",
        itself=names[4],
    )
    assert {len(one.table) for one in found} == {0, 1}
    joined = tables.joined(found)
    assert joined["object_id"].tolist() == [names[0]] * 2
    assert set(joined["searched_with"]) == {"image", "spectrum"}
    assert set(joined["ranked"]) == {"spectrum"}


def test_predictions_are_those_of_predict(catalog, names):
    vectors = search.vectors_of(catalog, names[4])
    found = {(one.name, one.modality): one for one in predictions(vectors)}
    for rows in vectors:
        modality = str(rows.modality.values[0])
        for task, name in (("redshift", "redshift"), ("properties", "log_mass")):
            row = aa.predict(rows, task=task)[0]
            low, middle, high = (
                float(getattr(row[f"{name}_{p}"], "value", row[f"{name}_{p}"]))
                for p in ("p16", "p50", "p84")
            )
            one = found[name, modality]
            assert one.median == pytest.approx(middle)
            assert one.below == pytest.approx(middle - low)
            assert one.above == pytest.approx(high - middle)
    shown = answers.predicted(list(found.values()))
    assert {"age [Gyr]", "redshift"} <= {row["name"] for row in shown}
    assert all({"image", "spectrum"} & row.keys() for row in shown)


def test_a_file_gives_its_embedding_and_portrait(mocks, tmp_path):
    path = tmp_path / "cutout.fits"
    cutout = mocks.cutout(30)
    header = cutout.wcs.to_header()
    header.update(SURVEY="LegacySurvey", BANDS="grz", IMAGEW=152, IMAGEH=152)
    fits.PrimaryHDU(cutout.data.astype(">f4"), header).writeto(path)
    embedding, portrait, attention = embed_file(path, aa.load_model())
    np.testing.assert_allclose(embedding.values, aa.embed(path).values, atol=1e-6)
    assert isinstance(portrait, Picture)
    assert np.shape(attention["weight"]) == (8, 8)


def test_a_file_that_no_survey_knows(tmp_path):
    path = tmp_path / "else.fits"
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(path)
    with pytest.raises(InputError, match=r"no survey knows .* legacysurvey"):
        embed_file(path, aa.load_model())
