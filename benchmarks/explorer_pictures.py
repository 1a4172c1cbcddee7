"""The pictures of docs/explorer.md: the page of a catalog on a desk and on a phone.

The catalog of 4,000 mocks is that of ``explorer.py``, in the same FOLDER of the mock survey MOCKS.
"""

import io
from pathlib import Path

import click
import multiplied
from explorer import QUIET, served
from PIL import Image
from playwright.sync_api import sync_playwright

_SHOWN = "?map=spectrum&colour=redshift&object={}"
_SIZES = {"explorer": (1440, 1150), "explorer-phone": (390, 1400)}
_QUALITY = 55
_MOST = 200_000  # bytes


def look(browser, url, path, size):
    """Make one picture."""
    context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)))
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("[data-ready]", timeout=120_000)
    page.locator(".explorer").evaluate("page => { window.explorer = page }")
    page.wait_for_function(QUIET, timeout=60_000)
    page.wait_for_timeout(1000)  # Bokeh draws
    pixels = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    pixels.save(path, quality=_QUALITY, optimize=True, progressive=True)
    context.close()
    kilobytes = path.stat().st_size / 1e3
    print(f"{path}: {size[0]} × {size[1]} pixels, {kilobytes:.0f} kB")
    if kilobytes > _MOST / 1e3:
        raise click.ClickException(f"expected at most {_MOST / 1e3:.0f} kB")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("mocks", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", default=Path("docs/images"), type=click.Path(path_type=Path))
@click.option("--browser", default="/usr/bin/chromium", show_default=True)
def main(folder, mocks, output, browser):
    folder.mkdir(parents=True, exist_ok=True)
    catalog = multiplied.seed(folder, mocks)
    late = catalog.table(columns=["object_id"], where="0.05 < z AND z < 0.08 AND n_arms > 0")
    with served(catalog.path, mocks) as (url, _), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, size in _SIZES.items():
            address = url + _SHOWN.format(late["object_id"][0])
            look(chromium, address, output / f"{name}.jpg", size)
        chromium.close()


if __name__ == "__main__":
    main()
