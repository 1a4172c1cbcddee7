"""How long the page of a catalog takes to answer, in a browser, at 100,000 and 1,000,000 objects.

In FOLDER, catalogs are made once of the mock survey MOCKS, see ``multiplied.py``; ``astroclip
explore`` then serves one after the other, and Chromium (Debian's, by Playwright) does what somebody
would do. "Server" is what the page itself says: from the message that asks to the answer, ready to
be sent. "Browser" is from the event that asks (the release of a button, a key) until the answer is
painted. Further pictures, predictions and attention come after the answer, and are waited for
before the next question. Run it alone.
"""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import multiplied
import numpy as np
from header import print_header
from playwright.sync_api import sync_playwright

from astroclip_astro.catalog import read_map
from astroclip_astro.explorer.raster import limits

# Notes what is asked and answered, and when; the same number twice is a mutation as well.
_WATCH = """
page => {
  window.asked = 0
  window.answers = []
  for (const kind of ["pointerup", "click", "change", "submit", "keydown", "wheel"]) {
    page.addEventListener(kind, event => { window.asked = event.timeStamp }, true)
  }
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => window.answers.push({
    server: Number(page.dataset.milliseconds), browser: performance.now() - window.asked,
    status: page.querySelector(".status").className,
  })))).observe(page, {attributes: true, attributeFilter: ["data-milliseconds"]})
}
"""
QUIET = """
() => {
  const page = window.explorer
  const drawn = [...page.querySelectorAll(".thumb")].every(one => one.childElementCount)
  return drawn && Boolean(page.dataset.details)
}
"""
_FRAMES = """
() => {
  const count = () => { window.frames_seen++; requestAnimationFrame(count) }
  if (window.frames_seen === undefined) requestAnimationFrame(count)
  window.frames_seen = 0
}
"""
_NUMBERS = ("redshift", "log_mass", "age", "mag_r", "axis_ratio")


@contextmanager
def served(path, mocks):
    """The page's address and its process."""
    command = [sys.executable, "-c", "from astroclip_astro.cli.main import main; main()"]
    command += ["explore", str(path), "--source", f"mocks={mocks}", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+", process.stdout.readline())[0], process
    finally:
        process.terminate()
        process.wait()


def memory(process):
    """Resident memory of a process, GB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 2**20


class Visit:
    """Somebody at the page."""

    def __init__(self, browser, url, catalog):
        self.context = browser.new_context(viewport={"width": 1440, "height": 1000})
        self.page = self.context.new_page()
        start = time.perf_counter()
        self.page.goto(url)
        self.page.wait_for_selector("[data-ready]", timeout=120_000)
        self.opened = 1e3 * (time.perf_counter() - start)
        self.root = self.page.locator(".explorer")
        self.server = float(self.root.get_attribute("data-milliseconds"))
        self.root.evaluate("page => { window.explorer = page }")
        self.root.evaluate(_WATCH)
        places = read_map(catalog, "image")
        self.x, self.y = (np.asarray(places[name], float) for name in "xy")
        self.window = limits(self.x, self.y, np.ones(len(self.x), bool))

    def ask(self, act, *, quiet=False):
        """Server and browser milliseconds of the answer to something."""
        before = self.page.evaluate("window.answers.length")
        if quiet:
            self.page.evaluate("delete window.explorer.dataset.details")
        act()
        self.page.wait_for_function("n => window.answers.length > n", arg=before, timeout=60_000)
        found = self.page.evaluate("n => window.answers[n]", before)
        if "error" in found["status"]:
            raise RuntimeError(self.page.locator(".status").inner_text())
        if quiet:
            self.page.wait_for_function(QUIET, timeout=60_000)
        return found["server"], found["browser"]

    def frame(self):
        """Left, top, width and height of the map, in pixels of the page."""
        panels = self.page.locator(".map .bk-CanvasPanel").all()  # what lies around it
        boxes = [panel.bounding_box() for panel in panels]
        above = max(boxes, key=lambda one: one["width"])
        beside = max(boxes, key=lambda one: one["height"])
        return above["x"], beside["y"], above["width"], beside["height"]

    def click(self, row):
        """Click on a point of the map, which shows everything."""
        left, top, wide, high = self.frame()
        low_x, high_x, low_y, high_y = self.window
        x = left + wide * (self.x[row] - low_x) / (high_x - low_x)
        y = top + high * (high_y - self.y[row]) / (high_y - low_y)
        self.page.mouse.click(x, y)

    def type(self, field, text):
        """Write something into a field and submit it."""
        self.page.fill(field, text)
        self.page.press(field, "Enter")

    def lasso(self, rng):
        """Outline a fifth of the map."""
        left, top, wide, high = self.frame()
        middle = rng.uniform(0.35, 0.65, 2)
        angles = np.linspace(0, 2 * np.pi, 40)
        radius = 0.25 * (1 + 0.2 * np.sin(3 * angles))
        xs = left + wide * (middle[0] + radius * np.cos(angles))
        ys = top + high * (middle[1] + radius * np.sin(angles))
        self.page.mouse.move(xs[0], ys[0])
        self.page.mouse.down()
        for x, y in zip(xs, ys, strict=True):
            self.page.mouse.move(x, y)
        self.page.mouse.up()

    def drag(self):
        """Move the map by the mouse for a second."""
        left, top, wide, high = self.frame()
        self.page.mouse.move(left + wide / 2, top + high / 2)
        self.page.mouse.down()
        start = time.perf_counter()
        while (passed := time.perf_counter() - start) < 1:
            turn = 2 * np.pi * passed
            x, y = 0.5 + 0.2 * np.sin(turn), 0.5 + 0.2 * np.sin(2 * turn)
            self.page.mouse.move(left + wide * x, top + high * y)
        self.page.mouse.up()

    def roll(self, delta):
        """Turn the wheel over the map, a few clicks."""
        left, top, wide, high = self.frame()
        self.page.wait_for_timeout(500)
        self.page.mouse.move(left + wide / 2, top + high / 2)
        for _ in range(4):
            self.page.mouse.wheel(0, delta)

    def frames(self, act):
        """Frames a second while something is done."""
        self.page.evaluate(_FRAMES)
        seen, start = self.page.evaluate("window.frames_seen"), time.perf_counter()
        act()
        seen, passed = (
            self.page.evaluate("window.frames_seen") - seen,
            time.perf_counter() - start,
        )
        self.page.wait_for_timeout(1500)
        return seen / passed


class Report:
    """Prints what was measured of a catalog, and again as the table of docs/explorer.md."""

    def __init__(self):
        self.cells = {}

    def line(self, name, found):
        """A row: name, median, 90th percentile and largest of the server and of the browser."""
        text, cells = f"{name:34s}", self.cells.setdefault(name, [])
        for times in zip(*found, strict=True):
            numbers = np.median(times), np.percentile(times, 90), max(times)
            text += "{:9.0f}{:6.0f}{:6.0f}".format(*numbers)
            cells.append(
                "{:.0f} ({:.0f}, {:.0f})".format(*numbers) if found[1:] else f"{times[0]:.0f}"
            )
        print(f"{text}{len(found):6d}", flush=True)

    def note(self, name, value):
        """A row of one number."""
        print(f"{name:34s}{value}", flush=True)
        self.cells.setdefault(name, []).extend([value, ""])

    def table(self, sizes):
        """The table."""
        print("\n| ms: median (90 %, largest) |", end="")
        print("".join(f" server, {n:,} | browser, {n:,} |" for n in sizes))
        print("|---|" + "---|---|" * len(sizes))
        for name, cells in self.cells.items():
            print(f"| {name} | {' | '.join(cells)} |")


def measure(browser, path, mocks, catalog, count, report):
    """Print the table of one catalog."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    with served(path, mocks) as (url, process):
        ready = time.perf_counter() - start
        print(f"\n{len(catalog):,} objects")
        report.note("until it is served", f"{ready:.1f} s")
        report.note("memory then", f"{memory(process):.2f} GB")
        print(f"{'':34s}{'server ms':>21s}{'browser ms':>21s}")
        print(f"{'':34s}{'median   90 %   max':>21s}{'median   90 %   max':>21s}     n")
        opened = []
        for _ in range(5):
            visit = Visit(browser, url, catalog)
            opened.append((visit.server, visit.opened))
            if len(opened) < 5:
                visit.page.wait_for_timeout(1000)
                visit.context.close()
        report.line("open the page", opened)
        ids = [str(name) for name in catalog.table(columns=["object_id"])["object_id"]]
        rows = iter(rng.permutation(len(ids)).tolist())

        def many(name, act, *, times=count, quiet=False):
            report.line(name, [visit.ask(partial(act, i), quiet=quiet) for i in range(times)])

        first = visit.ask(lambda: visit.click(next(rows)), quiet=True)
        report.line("click on the map, the first", [first])
        many("click on the map", lambda i: visit.click(next(rows)), quiet=True)
        cards = visit.page.locator(".card")
        many("click on a neighbour", lambda i: cards.nth(1 + i % 7).click(), quiet=True)
        many("find by object_id", lambda i: visit.type("#find", ids[next(rows)]), quiet=True)

        def somewhere(i):
            ra, dec = rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1)))
            visit.type("#find", f"{ra:.3f} {dec:.3f}")

        many("find by coordinates", somewhere, quiet=True)
        many("filter, z < 0.3", lambda i: visit.type("#where", f"z < {0.3 + i / 1e4:.4f}"))
        visit.ask(lambda: visit.type("#where", ""))

        def colour(name):
            return lambda: visit.page.select_option("#colour", name)

        report.line(
            "colour by a column, first time", [visit.ask(colour(name)) for name in _NUMBERS]
        )
        many("colour by numbers", lambda i: colour(_NUMBERS[i % 5])())
        report.line("colour by text, first time", [visit.ask(colour("sample"))])
        found = []
        for _ in range(count):
            visit.ask(colour("redshift"))
            found.append(visit.ask(colour("sample")))
        report.line("colour by text", found)
        visit.ask(colour("redshift"))

        visit.page.focus(".map")
        keys = ("+", "ArrowLeft", "ArrowUp", "+", "ArrowRight", "ArrowDown", "-", "-")
        many("move and zoom by keys", lambda i: visit.page.keyboard.press(keys[i % 8]))
        visit.ask(lambda: visit.page.keyboard.press("0"))
        many("move by the mouse, once released", lambda i: visit.drag(), times=count // 3)
        report.note("frames a second while it is moved", f"{visit.frames(visit.drag):.0f}")
        few = {"times": count // 3}
        many("zoom by the wheel, once at rest", lambda i: visit.roll(100 * (-1) ** i), **few)
        visit.page.focus(".map")
        visit.ask(lambda: visit.page.keyboard.press("0"))

        visit.page.locator(".map .bk-tool-icon-lasso-select").first.click()
        many("lasso", lambda i: visit.lasso(rng))
        visit.ask(lambda: visit.page.get_by_text("Clear the outline").click())

        first = visit.ask(lambda: visit.page.check("#fixed"))
        report.line("fixed redshift, the first", [first])
        found = []
        for _ in range(count):
            visit.ask(lambda: visit.page.uncheck("#fixed"))
            found.append(visit.ask(lambda: visit.page.check("#fixed")))
        report.line("fixed redshift", found)
        report.note("memory afterwards", f"{memory(process):.2f} GB")
        visit.context.close()


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("mocks", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--objects", default=(100_000, 1_000_000), multiple=True, show_default=True)
@click.option("--times", default=30, show_default=True, help="Repetitions.")
@click.option("--browser", default="/usr/bin/chromium", show_default=True)
def main(folder, mocks, objects, times, browser):
    print_header("panel", "bokeh", "datashader", "playwright")
    folder.mkdir(parents=True, exist_ok=True)
    seed, report = multiplied.seed(folder, mocks), Report()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        print(f"browser  Chromium {chromium.version}, 1440 × 1000 pixels, without a GPU")
        print(f"load     {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores when it began")
        for n in objects:
            path = folder / f"mocks-{n}"
            catalog = multiplied.multiplied(seed, path, n)
            measure(chromium, path, mocks, catalog, times, report)
        chromium.close()
    report.table(objects)


if __name__ == "__main__":
    main()
