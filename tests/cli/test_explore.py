"""``astroclip explore``: what it prints, what it refuses, and catalogs of every kind."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import webbrowser

import numpy as np
import panel as pn
import pytest
from click.testing import CliRunner
from pytest_remotedata import disable_internet

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog, map_files
from astroclip_astro.cli.main import main
from astroclip_astro.embeddings import concat
from astroclip_astro.explorer import server
from astroclip_astro.explorer.page import Page
from astroclip_astro.simulate import MockSurvey

MOCKS = MockSurvey.bundled()


@pytest.fixture(scope="module")
def vectors():
    """Of three objects, which are laid out without UMAP."""
    return {
        "spectrum": aa.embed([MOCKS.spectrum(i) for i in range(3)]),
        "image": aa.embed([MOCKS.cutout(i) for i in range(3)]),
    }


@pytest.fixture
def catalog(vectors, tmp_path):
    return EmbeddingCatalog.create(tmp_path / "mine", vectors["spectrum"])


@pytest.fixture
def started(monkeypatch):
    """Function that runs the command until the page can be reached, in this process."""

    def run(*arguments):
        monkeypatch.setattr(pn.io.server.Server, "start", lambda self: self.io_loop.add_callback(
            self.io_loop.stop))  # fmt: skip
        return CliRunner().invoke(main, ["explore", *map(str, arguments)])

    return run


def test_it_prints_where_the_page_is_and_ends_when_it_is_interrupted(executable, catalog):
    command, variables = executable
    process = subprocess.Popen(
        [command, "explore", catalog.path, "--no-browser", "--json"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = ""
    while not first.endswith("}\n"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        first += line
    found = json.loads(first)
    assert found["objects"] == 3
    assert found["url"].startswith("http://localhost:")
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    assert (process.returncode, rest, said) == (0, "", "")
    # The map had been missing, and is kept.
    assert map_files.map_path(catalog.path, "spectrum").exists()


def test_text_and_json(started, catalog, documented):
    done = started(catalog.path, "--no-browser", "--port", free_port())
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("mine: http://localhost:")
    found = json.loads(started(catalog.path, "--no-browser", "--json").stdout)
    keys = documented["explore"].replace("`", "").split(", ")
    assert list(found) == [key.split(" ")[0] for key in keys]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


# tornado leaves the socket open that could not be bound.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_had(started, catalog, tmp_path):
    done = started(tmp_path / "none", "--no-browser")
    assert done.exit_code == 1
    assert done.stderr.startswith("astroclip: ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = started(catalog.path, "--no-browser", "--port", port)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"astroclip: port {port} of localhost cannot be had (")
    done = started(catalog.path, "--no-browser", "--address", "192.0.2.1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "192.0.2.1 cannot be had" in done.stderr
    for address in ("everywhere", "", "127.0.0.1:80", "-1"):
        done = started(catalog.path, "--no-browser", "--address", address)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "expected localhost, or the number" in done.stderr
        assert done.stderr.count("\n") == 1
    assert started(catalog.path, "--port", "65536").exit_code == 2
    gc.collect()


def test_others_can_look_only_if_that_is_asked_for(started, catalog, caplog, monkeypatch):
    pages = []
    monkeypatch.setattr(server, "put_before", lambda application, names: pages.append(names))
    for address in ("127.0.0.1", "::1"):
        if address == "::1" and not has_ipv6():
            continue
        done = started(catalog.path, "--no-browser", "--json", "--address", address)
        assert done.exit_code == 0, done.output
        host = f"[{address}]" if ":" in address else address
        assert json.loads(done.stdout)["url"].startswith(f"http://{host}:")
        assert pages.pop() == {"localhost"}
    assert caplog.messages == []
    # Listening to others is no access to the network, but is kept from tests as if it were.
    monkeypatch.setattr(socket.socket, "bind", disable_internet.socket_bind)
    done = started(catalog.path, "--no-browser", "--json", "--address", "0.0.0.0")
    assert json.loads(done.stdout)["url"].startswith(f"http://{socket.gethostname()}:")
    assert socket.gethostname().lower() in pages.pop()
    assert caplog.messages == [f"everybody who reaches this computer can look at {catalog.path}"]


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_the_browser(started, catalog, caplog, monkeypatch):
    opened = []

    class AtOnce:  # a thread that does its work before the page ends
        ident = None

        def __init__(self, target, args=(), **options):
            self.run = lambda: target(*args)

        def start(self):
            self.run()

    monkeypatch.setattr(server.threading, "Thread", AtOnce)
    monkeypatch.setattr(server, "warm", lambda: None)
    monkeypatch.setattr(webbrowser, "open", lambda where: opened.append(where) or True)
    url = json.loads(started(catalog.path, "--json").stdout)["url"]
    assert opened == [url]
    started(catalog.path, "--no-browser")
    assert opened == [url]
    assert caplog.messages == []

    def fail(where):
        raise webbrowser.Error("could not locate runnable browser")

    for failing in (fail, lambda where: False):
        caplog.clear()
        monkeypatch.setattr(webbrowser, "open", failing)
        done = started(catalog.path, "--json")
        url = json.loads(done.stdout)["url"]
        assert caplog.messages == [f"no browser can be started: open {url} in one"]
        assert done.exit_code == 0


@pytest.mark.parametrize("missing", ["panel", "datashader", "bokeh"])
def test_what_is_not_installed_is_named(executable, catalog, missing):
    program = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from astroclip_astro.cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "explore", catalog.path, "--no-browser"],
        env=executable[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'astroclip_astro[explorer]'" in done.stderr
    assert missing in done.stderr
    assert done.stderr.count("\n") == 1


def test_catalogs_that_cannot_be_shown(started, catalog, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # as root can
    done = started(catalog.path, "--no-browser")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be written to, and a map is kept there" in done.stderr
    monkeypatch.undo()
    catalog.delete(catalog.table()["object_id"].tolist())
    done = CliRunner().invoke(main, ["explore", str(catalog.path), "--no-browser"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is nothing to look at" in done.stderr


def unknown(embeddings, *names):
    return embeddings.assign_coords(
        {name: ("object", np.full(embeddings.sizes["object"], np.nan)) for name in names}
    )


KINDS = {
    "one modality": lambda spectrum, image: image,
    "no positions": lambda spectrum, image: unknown(concat([spectrum, image]), "ra", "dec"),
    "no redshifts": lambda spectrum, image: unknown(spectrum, "redshift"),
    "modality of a plugin": lambda spectrum, image: spectrum.assign_coords(
        modality=("object", ["xray"] * 3)
    ),
    "model that is not here": lambda spectrum, image: spectrum.assign_attrs(
        spectrum.attrs | {"model": "nobody's", "weights_sha256": "0" * 64}
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_catalog_has_a_page(vectors, tmp_path, kind, caplog):
    embeddings = KINDS[kind](vectors["spectrum"], vectors["image"])
    catalog = EmbeddingCatalog.create(tmp_path / "mine", embeddings)
    page = server.explore(catalog)
    assert isinstance(page, Page)
    assert page.form["selected"] == 3
    name = catalog.table()["object_id"][0]
    for message in (
        {"do": "open", "object": name},
        {"do": "view", "colour": "redshift"},
        {"do": "view", "colour": "ra"},
        {"do": "view", "fixed": True},
        {"do": "view", "fixed": False},
        {"do": "move", "zoom": 1},
        {"do": "table", "what": "selection"},
    ):
        page._handle_msg(message)
        assert page.form["error"] == "", message
    assert page.shown["title"] == name
    assert {len(one["rows"]) for one in page.lists} == {2}
    page._handle_msg({"do": "find", "text": "10 10"})
    assert page.form["error"] == (
        "no object of the catalog has a position: search by object_id"
        if kind == "no positions"
        else ""
    )
    warned = ["without the model no data are shown" in message for message in caplog.messages]
    assert warned == ([True] if kind == "model that is not here" else [])
    page._uploads.close()
