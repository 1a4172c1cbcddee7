"""The page of a catalog in a browser: everything that can be done on it, against the Python API."""

import base64
import io
import re
import time
from contextlib import contextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from matplotlib import colormaps
from PIL import Image

import astroclip_astro as aa
from astroclip_astro.catalog import read_map
from astroclip_astro.explorer.view import View
from astroclip_astro.simulate import MockSurvey

pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python")
pytest.importorskip("panel")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

MOCKS = MockSurvey.bundled()
ONE, OTHER = "mock-2024-0000099", "mock-2024-0000339"
MAP, SKY = "Map of the embedding space", "Sky"
SECONDS = 60

# Where a place of a chart is in the window of the browser, in pixels.
PLACES = """([name, xs, ys]) => {
  const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name))
  const {x, y} = view.canvas.el.getBoundingClientRect()
  const {x_scale, y_scale} = view.frame
  return xs.map((_, i) => [x + x_scale.compute(xs[i]), y + y_scale.compute(ys[i])])
}"""
WINDOW = """name => {
  const {x_range, y_range} = Bokeh.documents[0].get_model_by_name(name)
  return [x_range.start, x_range.end, y_range.start, y_range.end]
}"""
# The data of the spectrum's charts, by the kind of what is drawn.
SPECTRUM = """() => Object.fromEntries(
  [...Bokeh.documents[0]._all_models.values()].filter(one => one.type === "GlyphRenderer")
    .map(one => [one.glyph.type, Object.fromEntries(
      [...Object.entries(one.data_source.data)].map(([name, all]) => [name, Array.from(all)]))]))"""
ACTIVE = """() => {
  let one = document.activeElement
  while (one.shadowRoot?.activeElement) one = one.shadowRoot.activeElement
  const style = getComputedStyle(one)
  const name = one.id || one.getAttribute("aria-label") || one.dataset.object || one.textContent
  return [one.tagName, name, parseFloat(style.outlineWidth), style.outlineStyle]
}"""


class Explorer:
    """The page as somebody uses it."""

    def __init__(self, page, url):
        self.page, self.url = page, url
        self.root = page.locator(".explorer")
        self.status = page.locator(".status")
        self.title = page.locator(".object h2")

    def open(self, query=""):
        self.page.goto(f"{self.url}?{query}" if query else self.url)
        expect(self.page.locator("[data-ready]")).to_be_visible(timeout=1000 * SECONDS)
        self.page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('Sky').inner_width > 0")
        return self

    @contextmanager
    def answered(self):
        """That something is done, and the server has answered it."""
        before = self.root.get_attribute("data-answer")
        yield
        expect(self.root).not_to_have_attribute("data-answer", before, timeout=1000 * SECONDS)
        expect(self.status).to_have_attribute("aria-busy", "false", timeout=1000 * SECONDS)

    def find(self, text):
        with self.answered():
            self.page.fill("#find", text)
            self.page.click("text=Find")

    def filter(self, where):
        with self.answered():
            self.page.fill("#where", where)
            self.page.click("text=Filter")

    def choose(self, name, value):
        with self.answered():
            self.page.select_option(f"#{name}", value)

    def later(self):
        """That what takes longer is there, too."""
        expect(self.root).to_have_attribute(
            "data-details", re.compile(r"\d"), timeout=1000 * SECONDS
        )
        expect(self.page.locator(".predictions table")).to_be_visible(timeout=1000 * SECONDS)

    def places(self, chart, xs, ys):
        self.page.locator(".map" if chart == MAP else ".sky").scroll_into_view_if_needed()
        xs, ys = (np.asarray(values, float).tolist() for values in (xs, ys))
        return np.array(self.page.evaluate(PLACES, [chart, xs, ys]))

    def colours(self, chart, xs, ys):
        """What is seen at places, shape (n, 3), from 0 to 1."""
        at = np.rint(self.places(chart, xs, ys)).astype(int)
        pixels = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")) / 255
        return pixels[at[:, 1], at[:, 0]]

    def query(self):
        query = self.root.get_attribute("data-query")
        # While it is moved, the address follows a little later.
        expect(self.page).to_have_url(re.compile(re.escape(f"?{query}" if query else "/") + "$"))
        return {name: values[0] for name, values in parse_qs(query).items()}

    def window(self):
        return np.array([float(limit) for limit in self.query()["window"].split()])

    def neighbours(self):
        """What the lists say: object, score and offset in redshift, by pair."""
        return {
            one.get_attribute("data-pair"): list(
                zip(
                    one.locator(".name").all_text_contents(),
                    one.locator(".numbers span:first-child").all_text_contents(),
                    one.locator(".numbers span:last-child").all_text_contents(),
                    strict=True,
                )
            )
            for one in self.page.locator(".list").all()
        }

    def table(self, of="ask"):
        with self.page.expect_download() as download:
            self.page.locator(f".{of} button:has-text('VOTable')").click()
        return QTable.read(download.value.path(), format="votable")

    def axe(self):
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
        found = Axe().run(self.page, options={"runOnly": tags}).response
        assert len(found["passes"]) > 10
        return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]


@pytest.fixture
def look(chromium, served):
    """Function that opens the page; whatever is done on it, nothing is complained of."""
    contexts, complaints = [], []

    def watch(page):
        page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        for kind in ("request", "websocket"):
            page.on(kind, lambda one: ours(one.url) or complaints.append(one.url))

    def ours(url):
        return urlsplit(url).hostname in ("localhost", "127.0.0.1") or url[:5] in ("data:", "blob:")

    def open_(query="", *, width=1440, height=1000, **settings):
        context = chromium.new_context(viewport={"width": width, "height": height}, **settings)
        context.set_default_timeout(1000 * SECONDS)
        contexts.append(context)
        context.on("page", watch)
        return Explorer(context.new_page(), served.url).open(query)

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def catalog(atlas_catalog):
    return atlas_catalog


@pytest.fixture(scope="module")
def points(catalog, served):  # which makes the maps
    """The places of objects on the maps of both modalities, and their columns."""
    table = catalog.table()
    return {
        modality: (
            found := read_map(catalog, modality),
            table[[list(table["object_id"]).index(name) for name in found["object_id"]]],
        )
        for modality in catalog.modalities
    }


def expected(catalog, vectors, redshift, *, itself=False, **asked):
    """What the lists should say, by the API."""
    found = {}
    for rows in vectors:
        mine = str(rows.coords["modality"].values[0])
        for ranked in catalog.modalities:
            table = catalog.search(rows, 8, modality=ranked, exclude_self=itself, **asked)
            found[f"{mine} → {ranked}"] = [
                (name, f"score {score:.3f}", f"Δz {z - redshift:+.3f}")
                for name, score, z in zip(
                    table["object_id"].tolist(),
                    np.asarray(table["score"]),
                    np.asarray(table["redshift"]),
                    strict=True,
                )
            ]
    return found


def stored(catalog, name):
    return [catalog.stored([name], modality) for modality in catalog.modalities]


def isolated(at):
    """Positions of what has nothing else within 30 pixels."""
    apart = np.hypot(*(at[:, None] - at[None]).T) + 1e3 * np.eye(len(at))
    return np.flatnonzero(apart.min(0) > 30)


def cutout_file(path):
    cutout = MOCKS.cutout(4, realisation=2)
    header = cutout.wcs.to_header()
    header.update({"SURVEY": "LegacySurvey", "BANDS": "grz", "IMAGEW": 152, "IMAGEH": 152})
    fits.PrimaryHDU(cutout.data.astype("f4"), header).writeto(path)
    return path


def spectrum_file(path):
    """In the layout of SDSS."""
    spectrum = MOCKS.spectrum(3, realisation=2)
    table = Table({"flux": spectrum.flux.value.astype("f4")})
    table["loglam"] = np.log10(spectrum.spectral_axis.value)
    table["ivar"] = spectrum.uncertainty.array.astype("f4")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name="COADD")]).writeto(path)
    return path


class TestMap:
    def test_points_are_coloured_by_what_the_legend_says(self, look, points, hostile):
        explorer = look()
        legend = explorer.page.locator(".legend")
        place, columns = points["image"]
        xy = place["x"], place["y"]
        expect(legend).to_have_text("number of objectsfewmany")
        assert (explorer.colours(MAP, *xy).min(1) < 0.9).all()

        explorer.choose("colour", "redshift")
        z = np.asarray(columns["redshift"])
        known = np.r_[z, 5.0 + np.arange(len(hostile)) / 10]
        low, high = np.percentile(known, [2, 98])
        expect(legend).to_have_text(f"redshift{low:.3g}{high:.3g}")
        shades = colormaps["viridis"](np.clip((z - low) / (high - low), 0, 1))[:, :3]
        alone = isolated(explorer.places(MAP, *xy))
        seen = explorer.colours(MAP, *xy)
        assert len(alone) > 10
        assert np.abs(seen - shades)[alone].max() < 0.03

        for name, texts in (
            ("sample", columns["sample"]),
            ("quiescent", np.where(columns["quiescent"], "True", "False")),
        ):
            explorer.choose("colour", name)
            classes = {
                one.text_content(): one.locator(".swatch").evaluate("one => one.style.background")
                for one in legend.locator(".class").all()
            }
            extra = {"<b onclick=alert(3)>"} if name == "sample" else set()
            assert set(classes) == set(texts) | extra
            paints = {
                text: np.array(re.findall(r"\d+", paint), float) / 255
                for text, paint in classes.items()
            }
            seen = explorer.colours(MAP, *xy)
            assert np.abs(seen - [paints[text] for text in texts])[alone].max() < 0.03
        assert explorer.query()["colour"] == "quiescent"

    def test_a_tap_on_a_point_opens_it_on_the_map_of_either_modality(self, look, points):
        explorer = look()
        for modality in ("image", "spectrum"):
            if modality == "spectrum":
                explorer.choose("map-of", modality)
            place, _ = points[modality]
            at = explorer.places(MAP, place["x"], place["y"])
            one = isolated(at)[0]
            explorer.page.mouse.click(*at[one])
            expect(explorer.title).to_have_text(place["object_id"][one])
            assert explorer.query()["map"] == modality
            assert explorer.query()["object"] == place["object_id"][one]

    def test_wheel_and_keys_move_the_window(self, look):
        explorer = look()
        start = np.array(explorer.page.evaluate(WINDOW, MAP))
        box = explorer.page.locator(".map").bounding_box()
        middle = [(start[0] + start[1]) / 2, (start[2] + start[3]) / 2]
        at = explorer.places(MAP, *[[one] for one in middle])[0]
        explorer.page.mouse.move(*at)
        with explorer.answered():
            explorer.page.mouse.wheel(0, -200)
        expect(explorer.page).to_have_url(re.compile("window="))
        near = explorer.window()
        assert near[1] - near[0] < 0.95 * (start[1] - start[0])
        wide = start[1] - start[0]
        np.testing.assert_allclose((near[0] + near[1]) / 2, middle[0], atol=0.02 * wide)

        explorer.page.locator(".map").focus()
        with explorer.answered():
            explorer.page.keyboard.press("0")
        assert "window" not in explorer.query()
        wide, high = start[1] - start[0], start[3] - start[2]
        window = start
        for key, change in (
            ("ArrowRight", [0.2 * wide] * 2 + [0, 0]),
            ("ArrowUp", [0, 0] + [0.2 * high] * 2),
            ("ArrowLeft", [-0.2 * wide] * 2 + [0, 0]),
            ("ArrowDown", [0, 0] + [-0.2 * high] * 2),
            ("+", [0.1 * wide, -0.1 * wide, 0.1 * high, -0.1 * high]),
            ("-", [-0.1 * wide, 0.1 * wide, -0.1 * high, 0.1 * high]),
        ):
            with explorer.answered():
                explorer.page.keyboard.press(key)
            window = window + change
            np.testing.assert_allclose(explorer.window(), window, atol=1e-3 * wide)
            np.testing.assert_allclose(
                explorer.page.evaluate(WINDOW, MAP), window, atol=1e-3 * wide
            )
        # Keys work after a click into the map, too.
        explorer.page.mouse.click(box["x"] + 20, box["y"] + box["height"] / 2)
        with explorer.answered():
            explorer.page.keyboard.press("0")
        np.testing.assert_allclose(explorer.page.evaluate(WINDOW, MAP), start)


class TestSelection:
    def test_what_is_outlined_is_selected_on_the_sky_and_in_the_table(self, look, points, catalog):
        explorer = look()
        place, columns = points["image"]
        x, y = (np.asarray(place[name], float) for name in "xy")
        window = explorer.page.evaluate(WINDOW, MAP)
        # Between two points in x, and two in y, where there is most room.
        edges = []
        for values in (x, y):
            order = np.sort(values)
            middle = slice(len(order) // 3, 2 * len(order) // 3)
            gap = np.argmax(np.diff(order)[middle]) + middle.start
            edges.append((order[gap] + order[gap + 1]) / 2)
        low_x, low_y = (0.01 * window[i + 1] + 0.99 * window[i] for i in (0, 2))
        corners = [(low_x, low_y), (edges[0], low_y), tuple(edges), (low_x, edges[1])]
        inside = (x < edges[0]) & (y < edges[1])
        assert 2 < inside.sum() < len(x) - 2

        explorer.page.locator(".map [title='Lasso Select']").click()
        at = explorer.places(MAP, *np.transpose(corners))
        with explorer.answered():
            explorer.page.mouse.move(*at[0])
            explorer.page.mouse.down()
            for corner in at[1:]:
                explorer.page.mouse.move(*corner, steps=4)
            explorer.page.mouse.up()
        names = set(np.asarray(place["object_id"])[inside])
        selection = explorer.page.locator(".selection")
        whole = len(catalog)
        expect(selection).to_contain_text(f"{inside.sum()} objects of {whole}")
        table = explorer.table()
        assert set(table["object_id"]) == names

        found = catalog.table()
        found = found[np.isin(found["object_id"], list(names))]
        table.sort("object_id")
        found.sort("object_id")
        assert table.colnames == found.colnames
        for name in ("ra", "log_mass", "redshift", "image_snr"):
            np.testing.assert_allclose(
                np.asarray(table[name], float), np.asarray(found[name], float)
            )
        assert table["ra"].unit == found["ra"].unit
        assert "[dex(solMass)]" in table["log_mass"].description  # which VOTables do not have

        # The sky has these, and a tap there opens them; the others are not there.
        sky = columns["ra"].value, columns["dec"].value
        shown = explorer.page.evaluate(WINDOW, SKY)
        within = (sky[1] > shown[2]) & (sky[1] < shown[3])
        within &= (sky[0] < shown[0]) & (sky[0] > shown[1])
        at = explorer.places(SKY, *sky)
        alone = np.isin(np.arange(len(at)), isolated(at)) & within
        seen = explorer.colours(SKY, *sky)
        assert (seen[alone & inside].min(1) < 0.9).all()
        assert (alone & ~inside).any()
        assert (seen[alone & ~inside].min(1) > 0.8).all()
        explorer.page.mouse.click(*at[alone & ~inside][0])
        explorer.page.wait_for_timeout(500)  # else the two clicks are one double click
        expect(explorer.title).to_have_text("No object yet")
        explorer.page.mouse.click(*at[alone & inside][0])
        expect(explorer.title).to_have_text(place["object_id"][alone & inside][0])

        # A link has the outline.
        again = look(explorer.root.get_attribute("data-query"))
        expect(again.page.locator(".selection")).to_contain_text(f"{inside.sum()} objects of")

        with explorer.answered():
            explorer.page.click("text=Clear the outline")
        expect(selection).to_contain_text(f"{whole} objects of {whole}")
        assert "outline" not in explorer.query()
        expect(explorer.page.get_by_text("Clear the outline")).to_be_hidden()

    def test_a_condition_selects_and_a_wrong_one_says_why(self, look, catalog):
        explorer = look()
        explorer.filter("redshift < 0.3 AND quiescent")
        names = set(catalog.table(where="redshift < 0.3 AND quiescent")["object_id"])
        expect(explorer.page.locator(".selection")).to_contain_text(f"{len(names)} objects of")
        assert set(explorer.table()["object_id"]) == names
        query = explorer.query()
        explorer.filter("redshfit < 0.3")
        expect(explorer.status).to_contain_text("redshift")
        expect(explorer.status).to_have_class(re.compile("error"))
        assert explorer.page.input_value("#where") == "redshfit < 0.3"
        assert explorer.query() == query
        explorer.filter("redshift > 99")
        expect(explorer.page.locator(".selection")).to_contain_text("0 objects of 0")
        with explorer.answered():
            explorer.page.locator(".ask button:has-text('VOTable')").click()
        expect(explorer.status).to_contain_text("0 objects are selected: expected 1 to")


class TestObject:
    def test_all_that_is_known_of_it_is_shown(self, look, catalog):
        explorer = look(urlencode({"object": ONE}))
        explorer.later()
        page = explorer.page
        row = catalog.table(where=f"object_id = '{ONE}'")[0]
        picture = page.locator(".frame img")
        assert picture.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [152, 152]
        redshift = row["redshift"]
        expect(page.locator(".redshift")).to_have_text(f"z = {round(float(redshift), 5)}")

        drawn = page.evaluate(SPECTRUM)
        i = list(MOCKS.truth["object_id"]).index(ONE)
        spectrum = MOCKS.spectrum(i)
        np.testing.assert_allclose(
            np.interp(6000, *_known(drawn["Line"])),
            np.interp(6000, spectrum.spectral_axis.value, spectrum.flux.value),
            rtol=0.5,
        )
        lines = dict(
            zip([name.strip() for name in drawn["Text"]["name"]], drawn["Text"]["x"], strict=True)
        )
        assert lines["Hα"] == pytest.approx(6564.6 * (1 + redshift), abs=0.5)
        assert lines["Mg b"] == pytest.approx(5176.6 * (1 + redshift), rel=1e-3)
        assert drawn["VSpan"]["x"] == drawn["Text"]["x"]
        bars = drawn["Quad"]
        assert max(bars["top"]) == 1.0
        assert len(bars["left"]) > 100

        overlay = page.locator("canvas.attention")
        expect(overlay).to_be_hidden()
        page.check("#attention")
        expect(overlay).to_be_visible()
        opacity = overlay.evaluate(
            "one => Array.from(one.getContext('2d').getImageData(0, 0, one.width, one.height).data)"
        )[3::4]
        assert max(opacity) > 200
        assert 0 < np.mean(opacity) < 128

        self.assert_predicted(page, catalog)
        page.click("summary")
        said = {
            one[0]: one[1:]
            for one in page.locator("details tbody tr").evaluate_all(
                "all => all.map(row => [...row.cells].map(cell => cell.textContent))"
            )
        }
        assert list(said) == [name for name in row.colnames if name != "object_id"]
        for name, (text, unit) in said.items():
            value = getattr(row[name], "value", row[name])
            if isinstance(value, (float, np.floating)):
                assert float(text) == pytest.approx(float(value), rel=5e-4)
            else:
                assert text == (str(value) or "—")
            assert unit == str(catalog.schema.units.get(name, ""))

    def assert_predicted(self, page, catalog):
        rows = page.locator(".predictions tbody tr").evaluate_all(
            "all => all.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        said = {name.split(" [")[0]: texts for name, *texts in rows}
        assert {"redshift", "log_mass", "age", "smooth?"} <= set(said)
        for at, modality in enumerate(catalog.modalities):
            vectors = catalog.stored([ONE], modality)
            for task, names in (("redshift", ["redshift"]), ("properties", ["log_mass", "age"])):
                (row,) = aa.predict(vectors, task=task)
                for name in names:
                    low, median, high = (
                        float(getattr(row[f"{name}_{p}"], "value", row[f"{name}_{p}"]))
                        for p in ("p16", "p50", "p84")
                    )
                    numbers = re.findall(r"[-−+]?[\d.]+(?:e-?\d+)?", said[name][at])
                    numbers = [float(one.replace("−", "-")) for one in numbers]
                    assert numbers[0] == pytest.approx(median, rel=6e-3)
                    assert numbers[1:] == pytest.approx([high - median, low - median], rel=6e-2)
            (row,) = aa.predict(vectors, task="morphology")
            answer = row["smooth_asked"] >= 0.5 and row["smooth"]
            share = row[f"smooth_{answer}_fraction"]
            assert said["smooth?"][at] == f"{answer} ({share:.0%})"


def _known(line):
    """Of a line that has gaps, where it has none."""
    x, y = (np.array(line[name], float) for name in "xy")
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


class TestNeighbours:
    def test_lists_are_those_of_a_search(self, look, catalog):
        explorer = look()
        redshift = float(catalog.table(where=f"object_id = '{ONE}'")["redshift"][0])
        vectors = stored(catalog, ONE)
        explorer.find(ONE)
        for change, asked in (
            (lambda: None, {}),
            (lambda: explorer.page.check("#fixed"), {"at_fixed_redshift": True}),
            (
                lambda: explorer.filter("redshift < 0.4"),
                {"at_fixed_redshift": True, "where": "redshift < 0.4"},
            ),
            (lambda: explorer.page.uncheck("#fixed"), {"where": "redshift < 0.4"}),
        ):
            change()
            lists = expected(catalog, vectors, redshift, itself=True, **asked)
            expect(explorer.page.locator(".list")).to_have_count(4)
            first = [one[0][1] for one in lists.values()]
            for pair, score in zip(lists, first, strict=True):
                card = explorer.page.locator(f".list[data-pair='{pair}'] .card").first
                expect(card).to_contain_text(score)
            assert explorer.neighbours() == lists
        thumbs = explorer.page.locator(".thumb")
        count = thumbs.count()
        assert count == 32
        expect(explorer.page.locator(".thumb:has(img), .thumb:has(polyline)")).to_have_count(count)

        table = explorer.table("neighbours")
        said = [
            (f"{row['searched_with']} → {row['ranked']}", row["object_id"], f"{row['score']:.3f}")
            for row in table
        ]
        assert said == [
            (pair, name, score.removeprefix("score "))
            for pair, rows in explorer.neighbours().items()
            for name, score, _ in rows
        ]

        # A neighbour leads on, and what has the focus is the object.
        card = explorer.page.locator(".card").first
        name = card.get_attribute("data-object")
        with explorer.answered():
            card.click()
        expect(explorer.title).to_have_text(name)
        expect(explorer.title).to_be_focused()
        expect(explorer.title).to_be_in_viewport()


class TestFind:
    def test_by_name_and_by_position(self, look, catalog):
        explorer = look()
        explorer.find(f" {ONE} ")
        expect(explorer.title).to_have_text(ONE)
        expect(explorer.status).to_have_text(f"This is {ONE}.")
        assert explorer.page.title() == f"{ONE} · mocks · astroclip"
        row = catalog.table(where=f"object_id = '{OTHER}'")[0]
        place = SkyCoord(row["ra"], row["dec"])
        north = place.dec.deg + 3 / 3600
        for text in (
            f"{place.ra.deg:.6f} {north:.6f}",
            SkyCoord(place.ra.deg, north, unit="deg").to_string("hmsdms"),
            SkyCoord(place.ra.deg, north, unit="deg").to_string("hmsdms", sep=":"),
        ):
            explorer.find(ONE)
            explorer.find(text)
            expect(explorer.title).to_have_text(OTHER)
            expect(explorer.status).to_have_text("The nearest object is 3.0″ away.")

    def test_nonsense_is_said_and_nothing_is_lost(self, look):
        explorer = look(urlencode({"object": ONE, "where": "redshift < 0.4"}))
        query, lists = explorer.query(), explorer.neighbours()
        for text in ("no such thing", "400 95", "", "'; DROP TABLE", "1 2 3 4"):
            explorer.find(text)
            expect(explorer.status).to_have_class(re.compile("error"))
            expect(explorer.status).to_contain_text("expected")
            expect(explorer.title).to_have_text(ONE)
        # Twice the same is answered twice.
        for _ in range(3):
            explorer.find("no such thing")
        assert explorer.query() == query
        assert explorer.neighbours() == lists


class TestFiles:
    @pytest.mark.parametrize("write", [spectrum_file, cutout_file])
    def test_a_file_finds_its_neighbours(self, look, catalog, tmp_path, write):
        path = write(tmp_path / "mine.fits")
        explorer = look()
        if write is spectrum_file:
            explorer.page.set_input_files("#file", path)
        else:
            self.drop(explorer, path.name, path.read_bytes())
        expect(explorer.page.locator(".list").first).to_be_visible(timeout=60_000)
        expect(explorer.status).to_contain_text("This is ")
        rows = aa.embed([path])
        lists = expected(catalog, [rows], np.nan)
        found = explorer.neighbours()
        assert set(found) == set(lists)
        for pair, list_ in lists.items():
            scores = [float(score.split()[1]) for _, score, _ in list_]
            seen = [float(score.split()[1]) for _, score, _ in found[pair]]
            np.testing.assert_allclose(seen, scores, atol=2e-3)
            clear = np.r_[np.abs(np.diff(scores)) > 3e-3, True]
            clear &= np.r_[True, clear[:-1]]
            assert clear.any()
            for i in np.flatnonzero(clear):
                assert found[pair][i][0] == list_[i][0]
        explorer.later()
        image = write is cutout_file
        expect(explorer.page.locator(".frame img")).to_have_count(int(image))
        expect(explorer.page.locator(".spectrum")).to_be_visible(visible=not image)
        # The link has the vector, but not the file.
        again = look(explorer.root.get_attribute("data-query"))
        assert again.neighbours() == found
        expect(again.page.locator(".looked")).to_contain_text("but not the file")

    def test_what_is_no_use_is_refused_and_says_why(self, look, tmp_path):
        explorer = look(urlencode({"object": ONE}))
        query = explorer.query()
        large = tmp_path / "large.fits"
        with large.open("wb") as file:
            file.truncate(16_100_000)
        sent = []
        explorer.page.on("websocket", lambda one: sent.append(one.url))
        explorer.page.set_input_files("#file", large)
        expect(explorer.status).to_have_text("large.fits has 16.1 MB: expected up to 16 MB")
        for name, content, why in (
            ("text.fits", b"not a file of that kind", "expected a FITS file"),
            ("cut.fits", spectrum_file(tmp_path / "s.fits").read_bytes()[:9000], "cut.fits"),
            ("empty.fits", b"", "empty"),
        ):
            with explorer.answered():
                self.drop(explorer, name, content)
            expect(explorer.status).to_have_class(re.compile("error"), timeout=60_000)
            expect(explorer.status).to_contain_text(why)
            expect(explorer.title).to_have_text(ONE)
        assert explorer.query() == query
        assert sent == []

    def drop(self, explorer, name, content):
        explorer.page.locator(".map").evaluate(
            """(one, [name, content]) => {
              const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0))
              const dataTransfer = new DataTransfer()
              dataTransfer.items.add(new File([bytes], name))
              const about = {dataTransfer, bubbles: true, cancelable: true, composed: true}
              for (const kind of ["dragenter", "dragover", "drop"]) {
                one.dispatchEvent(new DragEvent(kind, about))
              }
            }""",
            [name, base64.b64encode(content).decode()],
        )


class TestSamp:
    def test_a_table_is_sent_to_those_who_are_there(self, look, served, catalog, monkeypatch):
        samp = pytest.importorskip("pyvo.samp")
        explorer = look()
        explorer.filter("redshift < 0.2")
        button = explorer.page.locator(".ask button:has-text('Send by SAMP')")
        with explorer.answered():
            button.click()
        expect(explorer.status).to_have_text(re.compile("no SAMP hub is running: start TOPCAT"))
        monkeypatch.setenv("SAMP_HUB", served.samp)
        received = []

        def load(private_key, sender_id, msg_id, mtype, params, extra):
            received.append(Table.read(params["url"].removeprefix("file://"), format="votable"))
            # pyvo's hub loses an answer that comes before it has noted the question.
            time.sleep(0.1)
            client.ereply(msg_id, "samp.ok", result={})

        with samp.conf.set_temp("use_internet", False):
            hub = samp.SAMPHubServer(
                addr="127.0.0.1", web_profile=False, lockfile=str(served.lockfile)
            )
            hub.start()
            client = samp.SAMPIntegratedClient(name="topcat", addr="127.0.0.1")
            try:
                client.connect()
                client.bind_receive_call("table.load.votable", load)
                button.click()
                expect(explorer.status).to_have_text("Sent to topcat.")
            finally:
                client.disconnect()
                hub.stop()
        (table,) = received
        names = catalog.table(where="redshift < 0.2")["object_id"]
        assert sorted(table["object_id"]) == sorted(names)


class TestLinks:
    def test_a_link_shows_the_same_again(self, look, catalog):
        view = View(
            map="spectrum",
            colour="log_mass",
            object=ONE,
            where="redshift < 0.5",
            fixed=True,
            window=(-5.0, 12.0, -4.0, 15.0),
        )
        # Whatever the order in an address: going back must not lead to the same again.
        backwards = urlencode(dict(reversed(list(_parts(view).items()))))
        first, second = look(view.query), look(backwards)
        for explorer in (first, second):
            assert explorer.query() == _parts(view)
            expect(explorer.title).to_have_text(ONE)
            page = explorer.page
            assert [page.input_value(f"#{name}") for name in ("map-of", "colour", "where")] == [
                "spectrum",
                "log_mass",
                "redshift < 0.5",
            ]
            assert page.is_checked("#fixed")
            np.testing.assert_allclose(page.evaluate(WINDOW, MAP), view.window)
        assert first.neighbours() == second.neighbours()
        with first.page.expect_event("framenavigated"):
            first.page.go_back()
        assert first.page.url == "about:blank"

    def test_back_and_forward(self, look):
        explorer = look()
        explorer.find(ONE)
        explorer.choose("colour", "redshift")
        explorer.find(OTHER)
        for step, name, colour in (
            ("go_back", ONE, "redshift"),
            ("go_back", ONE, ""),
            ("go_back", "No object yet", ""),
            ("go_forward", ONE, ""),
            ("go_forward", ONE, "redshift"),
            ("go_forward", OTHER, "redshift"),
        ):
            with explorer.answered():
                getattr(explorer.page, step)()
            expect(explorer.title).to_have_text(name)
            assert explorer.page.input_value("#colour") == colour
            assert explorer.query().get("colour", "") == colour

    def test_the_link_is_copied(self, look):
        explorer = look(
            urlencode({"object": ONE}), permissions=["clipboard-read", "clipboard-write"]
        )
        explorer.page.click("text=Copy link")
        expect(explorer.status).to_have_text("The link is in the clipboard.")
        assert explorer.page.evaluate("navigator.clipboard.readText()") == explorer.page.url

    @pytest.mark.parametrize(
        "query",
        ["object=nobody", "window=1+2", "dropped=image+0.1+AAAA", "where=%3C%3C", "colour=nothing"],
    )
    def test_a_damaged_link_says_so(self, look, query):
        explorer = look(query)
        expect(explorer.status).to_have_class(re.compile("error"))
        expect(explorer.status).not_to_be_empty()
        assert explorer.query() == {"map": "image"}


def _parts(view):
    return {name: values[0] for name, values in parse_qs(view.query).items()}


def test_hostile_names_are_text(look, hostile):
    explorer = look()
    explorer.filter("redshift > 4.9")
    explorer.choose("colour", "sample")
    expect(explorer.page.locator(".legend")).to_contain_text("<b onclick=alert(3)>")
    for name in hostile:
        explorer.find(name)
        expect(explorer.title).to_have_text(name)
        assert explorer.query()["object"] == name
        lists = explorer.neighbours()
        others = {one[0] for one in lists["spectrum → spectrum"]}
        assert others == set(hostile) - {name}
    explorer.later()
    query = explorer.root.get_attribute("data-query")
    assert explorer.page.locator("[onerror], [onclick], img[src=x], .explorer script").count() == 0
    again = look(query)
    expect(again.title).to_have_text(hostile[-1])
    expect(again.page.locator(".looked")).to_contain_text("image: ")
    narrow = look(query, width=390)
    assert narrow.page.evaluate("document.scrollingElement.scrollWidth") <= 390


class TestEverybody:
    @pytest.mark.parametrize("width", [1440, 390])
    def test_axe_finds_nothing(self, look, width):
        explorer = look(width=width)
        assert explorer.axe() == []
        explorer.find(ONE)
        explorer.later()
        explorer.page.click("summary")
        assert explorer.axe() == []
        explorer.find("nonsense")
        assert explorer.axe() == []

    def test_by_the_keyboard_alone(self, look):
        explorer = look()
        page, keyboard = explorer.page, explorer.page.keyboard
        keyboard.press("Tab")
        while page.evaluate(ACTIVE)[1] != "find":
            keyboard.press("Tab")
        keyboard.type(ONE)
        with explorer.answered():
            keyboard.press("Enter")
        explorer.later()
        reached = []
        while True:
            keyboard.press("Tab")
            tag, name, width, style = page.evaluate(ACTIVE)
            reached.append(name)
            assert (width >= 2, style) == (True, "solid"), name
            if tag == "BUTTON" and page.locator(".card").first.get_attribute("data-object") == name:
                break
            assert len(reached) < 60
        wanted = ["Find", "file", "where", "Filter", "fixed", "map-of", "colour", "VOTable"]
        wanted += ["Send by SAMP", MAP, "Pan", "Lasso Select", "attention"]
        assert [one for one in reached if one in wanted][: len(wanted)] != []
        places = [reached.index(one) for one in wanted]
        assert places == sorted(places)
        with explorer.answered():
            keyboard.press("Enter")
        expect(explorer.title).to_have_text(name)
        expect(explorer.title).to_be_focused()

        lasso = page.locator(".map [title='Lasso Select']")
        for key, pressed in (("Enter", "true"), ("Space", "false"), ("Space", "true")):
            lasso.focus()
            keyboard.press(key)
            expect(lasso).to_have_attribute("aria-pressed", pressed)

    def test_what_happens_is_told(self, look):
        explorer = look(reduced_motion="reduce")
        assert explorer.status.get_attribute("aria-live") == "polite"
        assert explorer.page.evaluate("document.documentElement.lang") == "en"
        explorer.status.evaluate("one => one.setAttribute('aria-busy', 'true')")
        turning = "one => getComputedStyle(one, '::before').animationName"
        assert explorer.status.evaluate(turning) == "none"

    @pytest.mark.parametrize("width", [390, 320])
    def test_nothing_is_wider_than_the_screen(self, look, width):
        explorer = look(width=390)
        explorer.page.set_viewport_size({"width": width, "height": 844})
        explorer.find("nonsense " + 40 * "x")
        explorer.find(ONE)
        explorer.later()
        explorer.page.click("summary")
        wide = "document.scrollingElement.scrollWidth"
        explorer.page.wait_for_function(f"{wide} <= {width}")
        explorer.find(OTHER)
        # On a small screen a neighbour is far below what is shown of it.
        explorer.page.locator(".card").last.scroll_into_view_if_needed()
        name = explorer.page.locator(".card").last.get_attribute("data-object")
        with explorer.answered():
            explorer.page.locator(".card").last.click()
        expect(explorer.title).to_have_text(name)
        expect(explorer.title).to_be_in_viewport()
        assert explorer.page.evaluate(wide) <= width
