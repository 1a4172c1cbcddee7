"""A catalog with its page served by the command, and a browser that looks at it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.explorer.layouts import scatter

ROOT = Path(__file__).resolve().parents[2]

#: Names that would do harm where they are taken for markup, or for a part of an address.
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "it's 5\" & a/b?c=d#e %41",
    "\u202eevil\u202c שלום",
    "Σ 星系 🌌",
    "x" * 300,
]


@pytest.fixture(scope="session")
def hostile():
    """Names that would do harm where they are not taken as text."""
    return HOSTILE


@pytest.fixture(scope="module")
def atlas_catalog(tmp_path_factory):
    """The mocks with vectors, and some objects of hostile names that have a spectrum only."""
    import astroclip_astro as aa
    from astroclip_astro.catalog.recipes import build
    from astroclip_astro.simulate import MockSurvey

    mocks = MockSurvey.bundled()
    catalog = build(
        "mocks", tmp_path_factory.mktemp("atlas") / "mocks", sources={"mocks": mocks.path}
    )
    count = len(HOSTILE)
    rows = aa.embed([mocks.spectrum(i, realisation=1) for i in range(count)])
    rows = rows.assign_coords(
        object_id=("object", HOSTILE),
        redshift=("object", [5.0 + i / 10 for i in range(count)]),
        ra=("object", [100.0 + i for i in range(count)]),
        dec=("object", [-60.0 - i for i in range(count)]),
    )
    further = [*catalog.schema.descriptions, *catalog.columns]
    kept = dict.fromkeys(name for name in further if name in mocks.truth.colnames)
    columns = catalog.table()[:count][[name for name in kept if name not in rows.coords]]
    columns["object_id"] = HOSTILE
    columns["sample"] = ["<b onclick=alert(3)>"] * count
    whole = catalog.table(columns=["object_id"])["object_id"].tolist()
    catalog.append(rows, columns)
    scatter(catalog, "image", whole)
    scatter(catalog, "spectrum", [*whole, *HOSTILE])
    return catalog


@pytest.fixture(scope="module")
def served(atlas_catalog, tmp_path_factory):
    """Where the page is served, by the command in a process of its own; and its SAMP lockfile."""
    from astroclip_astro.simulate import MockSurvey

    lockfile = tmp_path_factory.mktemp("samp") / "hub"
    hub = lockfile.as_uri().replace("file:", "std-lockurl:file:")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from astroclip_astro.cli.main import main; main()",
            "explore",
            atlas_catalog.path,
            "--no-browser",
            f"--source=mocks={MockSurvey.bundled().path}",
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "SAMP_HUB": hub},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = re.search(r"http://\S+", process.stdout.readline()).group()
        yield SimpleNamespace(url=url, lockfile=lockfile, samp=hub)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def chromium():
    """A browser that reaches nothing but this computer."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        installed = Path(started.chromium.executable_path)
        path = shutil.which("chromium") or (installed if installed.exists() else None)
        if path is None:
            pytest.skip("needs Chromium: playwright install chromium")
        browser = started.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"],
        )
        yield browser
        browser.close()
