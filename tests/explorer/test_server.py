"""The server of a page, over real sockets: what it answers, what it refuses, what it survives."""

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from bokeh.util.token import get_token_payload
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, websocket_connect

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.catalog.recipes import build
from astroclip_astro.simulate import MockSurvey
from tests.explorer.layouts import scatter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

ROOT = Path(__file__).resolve().parents[2]
MOCKS = MockSurvey.bundled()
SECRET = "what nobody may read"
NASTY = ("<img src=x onerror=alert(1)>", "../../secret.txt", "'); alert(1); ('")

# The command as it is, but that pages are forgotten sooner, and less of them may be open.
START = """
from astroclip_astro.explorer import server
server._FORGOTTEN, server._LOOKED_AT, server._MOST_PAGES = 500, 200, 50
from astroclip_astro.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A catalog with data, whose newest objects have names that are no names."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "secret.txt").write_text(SECRET)
    path = folder / "mocks"
    build("mocks", path, sources={"mocks": MOCKS.path})
    catalog = EmbeddingCatalog.open(path)
    new = aa.embed([MOCKS.spectrum(i) for i in range(len(NASTY))])
    columns = catalog.table()[["object_id", *catalog.store.schema.columns]][: len(NASTY)]
    columns["object_id"] = NASTY
    catalog.append(new.assign_coords(object_id=("object", np.array(NASTY, object))), columns)
    (path / "secret.txt").write_text(SECRET)
    for modality in catalog.modalities:
        scatter(catalog, modality, catalog.table(columns=["object_id"])["object_id"].tolist())
    return path


@pytest.fixture(scope="module")
def names(catalog):
    """Of objects with data."""
    found = EmbeddingCatalog.open(catalog).table(columns=["object_id"])["object_id"]
    return [name for name in found.tolist() if name not in NASTY][:30]


class Server:
    """``astroclip explore`` in a process of its own."""

    def __init__(self, catalog, folder, *options, sources=True):
        self.temporary = folder / "temporary"
        self.modules = folder / "modules"
        self.temporary.mkdir()
        self.modules.mkdir()
        self.log = folder / "log"
        variables = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(self.modules)]),
            "TMPDIR": str(self.temporary),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", START, "explore", catalog, "--no-browser", "--json"]
        command += ["--source", f"mocks={MOCKS.path}", *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=variables, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder
            )
        self.said = ""
        while not self.said.endswith("}\n"):
            line = self.process.stdout.readline()
            assert line, self.log.read_text()
            self.said += line
        self.url = json.loads(self.said)["url"]
        self.port = urlsplit(self.url).port

    def send(self, data, host="127.0.0.1"):
        """Send bytes, and return what is answered until the server closes, or is silent."""
        with socket.create_connection((host, self.port), timeout=120) as connection:
            answer = b""
            try:
                connection.sendall(data)
                while part := connection.recv(1 << 16):
                    answer += part
            except (ConnectionError, TimeoutError):
                pass
        return answer

    def get(self, target, *, method="GET", host="localhost", headers=()):
        """Status, headers and body of the answer to a request, written as it is."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        answer = self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head else 0
        return status, head.decode("latin-1"), body.decode("utf-8", "replace")

    def memory(self):
        """MB that the process has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1e3

    def children(self):
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(60)
        rest = self.process.stdout.read()
        self.process.stdout.close()
        return code, rest


@pytest.fixture(scope="module")
def server(catalog, tmp_path_factory):
    server = Server(catalog, tmp_path_factory.mktemp("served"))
    yield server
    if server.process.poll() is None:
        server.end()


@pytest.fixture(autouse=True)
def alive(request):
    """After every test the server still answers."""
    if "server" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("server")
    yield
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    assert server.get("/favicon.ico")[0] == 200


class Visitor:
    """A browser that shows nothing: it loads the page, and talks by its websocket."""

    def __init__(self, connection):
        self.connection = connection
        self.body = ""
        self.document = self.page = self.data = None
        self.seen = {}
        self.answers = []
        self.received = []

    @classmethod
    @asynccontextmanager
    async def at(cls, server, query="", *, ready=True):
        # The pages of a server are made one after another.
        body = (await asyncio.to_thread(server.get, f"/?{query}"))[2]
        self = cls(await connected(server, token_in(body)))
        self.body = body
        try:
            assert (await self.read())[0]["msgtype"] == "ACK"
            await self.put("PULL-DOC-REQ", {})
            header = {}
            while header.get("msgtype") != "PULL-DOC-REPLY":  # what comes later may come before
                header, content = await self.read()
            self.document = content["doc"]
            self.page = self.document["roots"][0]
            self.data = self.page["attributes"].get("data")
            if self.data is not None:
                self.seen = dict(self.data["attributes"])
            if ready:
                await self.event("document_ready")
                await self.say({"do": "ready"})
            yield self
        finally:
            hang_up(self.connection)

    async def read(self):
        parts = []
        for _ in range(3):
            part = await asyncio.wait_for(self.connection.read_message(), 60)
            assert part is not None, "the server has closed the connection"
            parts.append(json.loads(part))
        for _ in range(2 * parts[0].get("num_buffers", 0)):
            await asyncio.wait_for(self.connection.read_message(), 60)
        self.received += parts
        return parts[0], parts[2]

    async def put(self, kind, content):
        for part in ({"msgid": uuid.uuid4().hex, "msgtype": kind}, {}, content):
            await self.connection.write_message(json.dumps(part))

    async def event(self, name, model=None, **values):
        """Send what happened in the browser."""
        values |= {} if model is None else {"model": {"id": model}}
        event = {"type": "event", "name": name, "values": encoded(values)}
        sent = {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": event}
        await self.put("PATCH-DOC", {"events": [sent]})

    async def change(self, model, attribute, value):
        event = {"kind": "ModelChanged", "model": {"id": model}, "attr": attribute, "new": value}
        await self.put("PATCH-DOC", {"events": [event]})

    async def say(self, message):
        """Send what the page's script sends."""
        await self.event("data_event", self.page["id"], data=message)

    async def ask(self, message=None, *, until=lambda form: not form["busy"], **more):
        """Send it, and return the form that answers."""
        await self.say(more if message is None else message)
        return await self.until("form", until)

    async def until(self, name, wanted=bool):
        """The next value of a part of the page that is wanted."""
        while True:
            header, content = await self.read()
            self.answers.append(header["msgtype"])
            found = None
            for event in content.get("events", []):
                mine = event.get("model") == {"id": self.data["id"]}
                if event["kind"] == "ModelChanged" and mine:
                    self.seen[event["attr"]] = plain = decoded(event["new"])
                    if event["attr"] == name and wanted(plain):
                        found = plain
            if found is not None:
                return found

    def model(self, name):
        """Identifier of the first Bokeh model of a kind."""
        text = json.dumps(self.document)
        return re.search(rf'"name": "{name}", "id": "(p\d+)"', text)[1]


async def connected(server, token, *, origin=None, protocols=None, host=None):
    host = host or f"localhost:{server.port}"
    headers = {"Host": host, "Origin": origin or f"http://localhost:{server.port}"}
    place = f"ws://127.0.0.1:{server.port}/ws"
    request = HTTPRequest(place, headers=headers, connect_timeout=120, request_timeout=120)
    protocols = ["bokeh", token] if protocols is None else protocols
    return await websocket_connect(request, subprotocols=protocols, max_message_size=1 << 28)


def token_in(body):
    return re.search(r'"token":"([^"]+)"', body)[1]


def hang_up(connection):
    """Be gone, without waiting for the other side."""
    if connection.protocol is not None:
        connection.protocol.stream.close()
        connection.close()


def encoded(value):
    """As BokehJS writes plain values."""
    if isinstance(value, dict):
        if set(value) == {"id"}:
            return value
        return {"type": "map", "entries": [[k, encoded(v)] for k, v in value.items()]}
    return [encoded(one) for one in value] if isinstance(value, list) else value


def decoded(value):
    if isinstance(value, dict) and value.get("type") == "map":
        return {key: decoded(one) for key, one in value.get("entries", [])}
    return [decoded(one) for one in value] if isinstance(value, list) else value


def spectrum_file():
    """A mock in the layout of SDSS, as it is dropped: base64."""
    spectrum = MOCKS.spectrum(3)
    columns = {
        "flux": spectrum.flux.value.astype("f4"),
        "loglam": np.log10(spectrum.spectral_axis.value),
        "ivar": spectrum.uncertainty.array.astype("f4"),
    }
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(Table(columns), name="COADD")]
    with io.BytesIO() as file:
        fits.HDUList(hdus).writeto(file)
        return base64.b64encode(file.getvalue()).decode()


def test_it_can_be_reached_from_this_computer_only(server):
    with Path("/proc/net/tcp").open() as v4, Path("/proc/net/tcp6").open() as v6:
        rows = [line.split() for line in (*list(v4)[1:], *list(v6)[1:])]
    # In hexadecimal, in the order of the processor.
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A"
                 and row[1].endswith(f":{server.port:04X}")}  # fmt: skip
    own = {socket.inet_aton("127.0.0.1")[::-1].hex().upper(), f"{'0' * 24}01000000"}
    assert listening
    assert listening <= own
    assert json.loads(server.said)["url"] == f"http://localhost:{server.port}/"


def test_what_browsers_are_told(server):
    status, head, body = server.get("/")
    assert status == 200
    policy = re.search(r"Content-Security-Policy: (.*)", head)[1]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy.replace("'self'", "")  # nothing from anywhere else
    assert "*" not in policy
    assert "X-Content-Type-Options: nosniff" in head
    assert "Referrer-Policy: no-referrer" in head
    assert "Cache-Control: no-store" in head
    assert "Cross-Origin-Resource-Policy: same-origin" in head
    assert "Set-Cookie" not in head
    assert "Access-Control-Allow-Origin" not in head
    for link in re.findall(r'(?:src|href)="([^"]+)"', body):
        assert not urlsplit(link).netloc
        found, head, _ = server.get(f"/{link.removeprefix('./')}")
        assert found == 200
        assert "nosniff" in head
    token = token_in(server.get("/", headers=["Cookie: a=secret"])[2])
    assert "secret" not in str(get_token_payload(token))


PATHS = [
    "/../../secret.txt", "/../secret.txt", "/secret.txt", "//secret.txt", "/mocks/secret.txt",
    "/%2e%2e/secret.txt", "/%2e%2e%2fsecret.txt", "/..%5csecret.txt", "/%00secret.txt",
    "{secret}", "/{secret}", "/static/{secret}", "/static//{secret}", "/static/js/{up}{secret}",
    "/static/{up}{secret}", "/static/js/{dots}{secret}", "/static/extensions/panel/{up}{secret}",
    "/static/extensions/panel/{dots}{secret}", "/static/extensions/panel//{secret}",
    "/static/extensions/{up}{secret}", "/static/extensions/{secret}", "/static/js/%00{secret}",
    "/static/extensions/panel", "/static/extensions/panel/", "/static/js/", "/static/",
    "/components/astroclip_astro.explorer.page/Page/_stylesheets/{up}{secret}",
    "/components/astroclip_astro.explorer.page/Page/_stylesheets/{secret}",
    "/components/astroclip_astro.explorer.page/Page/_stylesheets/page.css",
    "/components/astroclip_astro.explorer.page/Page/_esm/page.js",
    "/components/panel.config/panel_extension/_css/{secret}", "/components/", "/components",
    "/components/planted/Planted/_css/x", "/components/pip.__main__/x/_css/x",
    "/components/__main__/x/_css/x", "/components/{up}{secret}",
    "/assets/secret.txt", "/panel_dist/secret.txt", "/autoload.js?bokeh-autoload-element=1",
    "/autoload.js", "/metadata", "/liveness", "/rest/session_info", "/admin", "/login", "/logout",
    "/index", "/ws/", "/ws/..", "/?bokeh-token=x", "/?bokeh-session-id=x", "/ws?bokeh-token=x",
    "/favicon.ico/{up}{secret}", "*", "http://example.org/", "x", "/\xff",
]  # fmt: skip


def test_no_path_reads_a_file_or_runs_a_module(server, catalog):
    planted, ran = server.modules / "planted.py", server.modules / "ran"
    planted.write_text(f"open({str(ran)!r}, 'w')\nclass Planted:\n    _css = ['x']\n")
    secrets = [catalog / "secret.txt", catalog.parent / "secret.txt", Path("/etc/passwd")]
    places = [str(ROOT), sys.prefix, str(catalog.parent), str(Path.home())]
    for path in PATHS:
        for secret in secrets if "{secret}" in path else secrets[:1]:
            dots = "%2e%2e%2f" * 20
            target = path.format(secret=str(secret).lstrip("/"), up="../" * 20, dots=dots)
            status, head, body = server.get(target)
            assert status in (400, 403, 404, 405), (target, status)
            assert SECRET not in body
            assert "root:" not in body
            assert "Traceback" not in body
            assert not any(place in head + body for place in places if len(place) > 1), target
    assert not ran.exists()


def test_other_methods_and_requests_that_are_none(server):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "FOO", "get"):
        for path in ("/", "/ws", "/static/js/bokeh.min.js", "/secret.txt"):
            status, _, body = server.get(path, method=method, headers=["Content-Length: 0"])
            assert 400 <= status < 500 or (method, path[:8]) == ("HEAD", "/static/"), (method, path)
            assert "Traceback" not in body
    for data in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\0\x01",
                 b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * (1 << 20) + b"\r\n\r\n",
                 b"GET /?a=" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 20_000 + b"\r\n"):  # fmt: skip
        answer = server.send(data + b"\r\n\r\n")
        assert b"200 OK" not in answer
        assert b"Traceback" not in answer


def test_other_names_of_this_computer_are_refused(server):
    for host in (f"localhost:{server.port}", "LOCALHOST", "127.0.0.1", f"[::1]:{server.port}"):
        assert server.get("/", host=host)[0] == 200
    for host in ("evil.example", f"evil.example:{server.port}", "localhost.evil.example", "a b",
                 "xlocalhost", f"evil.example:{server.port}@localhost", "127.0.0.1.evil.example",
                 socket.gethostname() + ".evil.example"):  # fmt: skip
        for path in ("/", "/ws", "/static/js/bokeh.min.js"):
            assert server.get(path, host=host)[0] in (400, 403)


def test_pages_of_others_get_no_connection(server):
    token = token_in(server.get("/")[2])

    async def run():
        mine = f"http://localhost:{server.port}"
        for origin in ("http://evil.example", "null", "http://localhost", f"{mine}1", "file://",
                       f"http://127.0.0.1:{server.port}"):  # fmt: skip
            with pytest.raises(HTTPClientError, match="403"):
                await connected(server, token, origin=origin)
        with pytest.raises(HTTPClientError, match="403"):
            await connected(server, token, origin="http://evil.example", host="evil.example")
        # As through a tunnel, and by number.
        for host in ("localhost:8888", f"127.0.0.1:{server.port}"):
            connection = await connected(server, token, origin=f"http://{host}", host=host)
            assert json.loads(await connection.read_message())["msgtype"] == "ACK"
            hang_up(connection)

    asyncio.run(run())


async def closed(connection):
    """Whether the server closes a connection before long."""
    for _ in range(100):
        if await asyncio.wait_for(connection.read_message(), 20) is None:
            return True
    return False


def test_what_is_no_message(server):
    """Connections that make no sense are closed, by themselves."""
    header = {"msgid": "1", "msgtype": "PATCH-DOC"}
    deep = "[" * 200_000 + "]" * 200_000
    fragments = [
        ["x"], [b"\0\xff"], ["{}"], ["[]"], ["null"], ["1"], [deep], [json.dumps(header), deep],
        [json.dumps(header), "{}", deep], [json.dumps(header), "{}", "[]"],
        [json.dumps(header), "{}", '{"events": 1}'], [json.dumps(header), "{}", "{}"],
        [json.dumps(header | {"num_buffers": 10**9}), "{}", "{}", "{}", b""],
        [json.dumps(header | {"msgtype": "DROP"}), "{}", "{}"],
        [json.dumps(header | {"msgtype": ["PATCH-DOC"]}), "{}", "{}"],
        ["a" * 33_000_000],
    ]  # fmt: skip

    async def run(token):
        for protocols in ([], ["bokeh"], ["bokeh", "x"], ["bokeh", "e30"], ["x", token],
                          ["bokeh", token, "x"], ["bokeh", "a" * 10_000]):  # fmt: skip
            try:
                connection = await connected(server, "", protocols=protocols)
            except HTTPClientError:
                continue
            with suppress(WebSocketClosedError, StreamClosedError):
                await connection.write_message("{}")
            assert await closed(connection), protocols
            hang_up(connection)
        for parts in fragments:
            connection = await connected(server, token)
            assert "ACK" in await connection.read_message()
            for part in 3 * parts:  # it may have waited for more
                with suppress(WebSocketClosedError, StreamClosedError):
                    await connection.write_message(part, isinstance(part, bytes))
            text = await everything(connection)
            assert "Traceback" not in text
            assert str(ROOT) not in text
            hang_up(connection)

    asyncio.run(run(token_in(server.get("/")[2])))


async def everything(connection, quiet=0.3):
    """What comes until there is nothing for a while, or the connection is closed."""
    parts = []
    while True:
        try:
            part = await asyncio.wait_for(connection.read_message(), quiet)
        except TimeoutError:
            return "".join(parts)
        if part is None:
            return "".join(parts)
        parts.append(str(part))


WRONG = [
    None, 1, "view", [], {}, {"do": None}, {"do": ["view"]}, {"do": {"do": "view"}},
    {"do": "__init__"}, {"do": "find"}, {"do": "find", "text": 1}, {"do": "find", "text": ""},
    {"do": "find", "text": "a" * 16_000}, {"do": "find", "text": "a" * 20_000_000},
    {"do": "find", "text": "1 " * 8_000}, {"do": "find", "text": "1h2m3s " * 2_000},
    {"do": "find", "text": "NaN NaN"}, {"do": "find", "text": "1e400 1"},
    {"do": "open"}, {"do": "open", "object": "nobody"}, {"do": "open", "object": {"a": 1}},
    {"do": "open", "object": "../../secret.txt\0"}, {"do": "open", "object": "x" * 10**6},
    {"do": "link"}, {"do": "link", "query": 1}, {"do": "link", "query": "map=nothing"},
    {"do": "link", "query": "outline=1"}, {"do": "link", "query": "window=1 1 1 1"},
    {"do": "link", "query": "dropped=spectrum 0 AAAA"}, {"do": "link", "query": "a" * 20_000},
    {"do": "link", "query": "colour=../../secret.txt"}, {"do": "view", "map": "nothing"},
    {"do": "view", "map": ["spectrum"]}, {"do": "view", "colour": "nothing"},
    {"do": "view", "colour": {}}, {"do": "view", "where": 1}, {"do": "view", "where": "z <"},
    {"do": "view", "where": "1 = 1; DROP TABLE objects"}, {"do": "view", "where": "(" * 9_000},
    {"do": "view", "where": " AND ".join(["z < 1"] * 3_000)},
    {"do": "view", "where": "NOT " * 2_400 + "z < 1"}, {"do": "view", "where": "z" * 10**7},
    {"do": "view", "where": "read_text('/etc/passwd') = 'x'"},
    {"do": "move", "x": "1"}, {"do": "move", "zoom": 1e9}, {"do": "move", "x": True},
    {"do": "move", "y": None}, {"do": "file"}, {"do": "file", "name": "x"},
    {"do": "file", "name": "x", "content": "%"}, {"do": "file", "name": 1, "content": ""},
    {"do": "file", "name": "x", "content": ""}, {"do": "file", "name": "x", "content": "YQ=="},
    {"do": "file", "name": "../../../tmp/x.fits", "content": "UEsDBA=="},
    {"do": "file", "name": "x" * 10**6, "content": base64.b64encode(b"SIMPLE  =").decode()},
    {"do": "file", "name": "big.fits", "content": base64.b64encode(bytes(17 * 10**6)).decode()},
    {"do": "table"}, {"do": "table", "what": "objects"}, {"do": "table", "what": "neighbours"},
    {"do": "table", "what": "/etc/passwd"}, {"do": "thumbs"}, {"do": "thumbs", "wanted": 1},
    {"do": "thumbs", "wanted": [1]}, {"do": "thumbs", "wanted": [{}]},
    {"do": "thumbs", "wanted": [{"object": "a", "modality": []}]},
    {"do": "thumbs", "wanted": [{"object": "a", "modality": "b"}] * 101},
]  # fmt: skip


def test_messages_that_make_no_sense_are_answered(server):
    async def run():
        async with Visitor.at(server) as visitor:
            for message in WRONG:
                form = await visitor.ask(message, until=lambda form: form["error"])
                assert len(form["error"]) < 20_000
                assert "Traceback" not in form["error"]
                assert SECRET not in form["error"]
                assert str(ROOT) not in form["error"], message
                assert "something went wrong" not in form["error"], (
                    message,
                    server.log.read_text(),
                )
            form = await visitor.ask(do="view", colour="redshift")
            assert (form["colour"], form["error"]) == ("redshift", "")

    asyncio.run(run())


def test_events_and_values_that_no_browser_sends(server):
    """They may break the page of who sends them, and no other."""

    async def run():
        async with Visitor.at(server) as visitor, Visitor.at(server) as other:
            chart, axis, page = (visitor.model(one) for one in ("Figure", "Range1d", "Page1"))
            for values in ({}, {"x0": "a", "x1": {}, "y0": None, "y1": []},
                           {"x0": 1e308, "x1": -1e308, "y0": 0, "y1": 0}):  # fmt: skip
                await visitor.event("rangesupdate", chart, **values)
            for geometry in (None, {}, {"type": "poly"}, {"type": "poly", "x": 1, "y": "a"},
                             {"type": "poly", "x": [1] * 10**5, "y": [None]},
                             {"type": "poly", "x": ["a"], "y": ["b"]}):  # fmt: skip
                await visitor.event("selectiongeometry", chart, geometry=geometry, final=True)
            await visitor.event("tap", chart, x=None, y="a", sx=[], sy={})
            await visitor.event("tap", "p0", x=0, y=0)
            await visitor.event("no such event", chart)
            for value in (-1, 0, 10**12, "a", None, 1e308):
                await visitor.change(chart, "inner_width", value)
                await visitor.change(axis, "start", value)
                await visitor.change(axis, "end", value)
            for name in ("form", "about", "lists", "thumbs", "map", "nothing", "__class__"):
                for value in (None, 1, {"id": chart}, {"type": "object", "name": "Nothing"}):
                    await visitor.change(page, name, value)
            for zoom in (-10, 10):
                for _ in range(20):
                    await visitor.say({"do": "move", "zoom": zoom})
            form = await other.ask(do="find", text=NASTY[0])
            assert (form["error"], other.seen["shown"]["title"]) == ("", NASTY[0])
            text = json.dumps(visitor.received) + await everything(visitor.connection, 2)
            assert "ERROR" in text
            assert "Traceback" not in text
            assert str(ROOT) not in text
            assert sys.prefix not in text

    asyncio.run(run())


def test_links_that_make_no_sense_open_a_page_that_says_so(server):
    links = {
        "colour=nothing": "nothing",
        "object=nobody": "nobody",
        "where=(((": "(((",
        "map=%3Cscript%3Ealert(1)%3C/script%3E": "<script>alert(1)</script>",
        "map=%ff%fe": "no map",
        "window=nan nan nan nan".replace(" ", "+"): "window",
        "dropped=spectrum+0+AAA%3D": "direction",
        "outline=" + "1,1+" * 65: "outline",
        "window=-1e308+1e308+-1e308+1e308": "part of the map",
        "window=0+1e-320+0+1": "part of the map",
        "object=" + "a" * 20_000: "characters",
    }

    async def run():
        for query, wanted in links.items():
            async with Visitor.at(server, query) as visitor:
                form = decoded(visitor.seen["form"])
                assert wanted in form["error"]
                assert "Traceback" not in visitor.body
                assert "<script>alert" not in visitor.body
                assert (await visitor.ask(do="whole"))["error"] == ""
        for query in ("theme=../../secret.txt", "theme=<script>", "a=1&a=2", "reload=1", "%00=%00"):
            async with Visitor.at(server, query) as visitor:
                assert decoded(visitor.seen["form"])["error"] == ""

    asyncio.run(run())


def test_names_are_never_markup(server):
    async def run():
        for name in NASTY:
            async with Visitor.at(server, urlencode({"object": name})) as visitor:
                assert decoded(visitor.seen["shown"])["title"] == name
                # Titles and tables of Bokeh would take it for HTML.
                kinds = {kind for kind, text in texts(visitor.document) if name in text}
                assert kinds <= {"Page1"}
                assert name not in visitor.body

    asyncio.run(run())


def texts(value, kind=""):
    """All text of a document, with the kind of model that it belongs to."""
    if isinstance(value, dict):
        kind = value["name"] if value.get("type") == "object" else kind
        for key, one in value.items():
            yield from texts(key, kind)
            yield from texts(one, kind)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one, kind)
    elif isinstance(value, str):
        yield kind, value


def test_a_dropped_file_is_read_and_removed(server):
    async def run():
        async with Visitor.at(server) as visitor:
            form = await visitor.ask(do="file", name="../../a.fits", content=spectrum_file())
            assert form["error"] == ""
            assert visitor.seen["shown"]["dropped"]
            assert visitor.seen["lists"][0]["rows"]
            details = await visitor.until("details", lambda details: "predictions" in details)
            assert details["predictions"]
            bad = base64.b64encode(b"SIMPLE  =" + bytes(3000)).decode()
            form = await visitor.ask(do="file", name="bad.fits", content=bad)
            assert form["error"].startswith("bad.fits: ")

    asyncio.run(run())
    assert server.children()
    assert list(server.temporary.glob("astroclip-*")) == []


async def visit(number, visitor, names):
    """What somebody does; returns the forms that have answered."""
    content = spectrum_file() if number % 10 == 0 else base64.b64encode(bytes(100_000)).decode()
    where = f"redshift > 0.00{number}"
    kinds = ({"do": "view", "where": where}, {"do": "view", "colour": "sample"},
             {"do": "table", "what": "selection"})  # fmt: skip
    said = [
        await visitor.ask(do="open", object=names[number % len(names)]),
        await visitor.ask(kinds[number % 3]),
        await visitor.ask(do="file", name=f"{number}.fits", content=content),
    ]
    assert said[1]["where"] == (where if number % 3 == 0 else "")
    assert said[1]["colour"] == ("sample" if number % 3 == 1 else "")
    assert visitor.seen["lists"]
    return said


async def crowd(server, names, count):
    """Many at once, who stay until all have been answered."""
    async with AsyncExitStack() as stack:
        visits = [stack.enter_async_context(Visitor.at(server)) for _ in range(count)]
        visitors = await asyncio.gather(*visits)
        found = await asyncio.gather(*(visit(*one, names) for one in enumerate(visitors)))
        late = await stack.enter_async_context(Visitor.at(server, ready=False))
        return found, json.dumps(late.document)


def test_fifty_at_once(server, names):
    used = []
    for count in (50, 5):
        found, late = asyncio.run(crowd(server, names, count))
        for number, (opened, asked, file) in enumerate(found):
            assert opened["error"] == asked["error"] == ""
            wanted = "this is not FITS" if number % 10 else ""
            assert wanted in file["error"] or "busy with other files" in file["error"]
        # Those before are gone, else there would be too many.
        assert ("too many pages are open" in late) == (count == 50)
        time.sleep(1.5)
        used.append(server.memory())
    assert used[1] < used[0] + 150
    assert list(server.temporary.glob("astroclip-*")) == []


def test_who_asks_much_or_does_not_listen_keeps_nobody_waiting(server, names):
    wanted = [{"object": name, "modality": "image"} for name in names]

    async def run():
        async with Visitor.at(server) as greedy, Visitor.at(server) as other:
            for i in range(100):
                await greedy.say({"do": "thumbs", "wanted": wanted})
                await greedy.say({"do": "open", "object": names[i % len(names)]})
                await greedy.say({"do": "table", "what": "selection"})
            # None of the answers to these has been read.
            for name in names[:3]:
                await other.ask(do="open", object=name)
                await other.until("details", lambda details: "predictions" in details)
            asked = sum(part.get("msgtype") == "OK" for part in greedy.received if part)
            assert asked == 0
            await greedy.until("thumbs")

    asyncio.run(run())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_all_that_it_has_started(catalog, tmp_path, how):
    server = Server(catalog, tmp_path)

    async def run():
        async with Visitor.at(server) as visitor:
            await visitor.say({"do": "file", "name": "a.fits", "content": spectrum_file()})
            while not (server.children() and list(server.temporary.glob("astroclip-*"))):
                await asyncio.sleep(0.05)
            if how == signal.SIGINT:  # the one that reads files is killed before
                os.kill(server.children()[0], signal.SIGKILL)
                form = await visitor.until("form", lambda form: form["error"])
                assert "SIGKILL" in form["error"]
                assert list(server.temporary.glob("astroclip-*")) == []
                form = await visitor.ask(do="file", name="a.fits", content=spectrum_file())
                assert form["error"] == ""
            (child,) = server.children()
            code, rest = await asyncio.to_thread(server.end, how)
            assert (code, rest) == (0, ""), server.log.read_text()
            assert not Path(f"/proc/{child}").exists()

    asyncio.run(run())
    assert list(server.temporary.glob("astroclip-*")) == []
    assert server.log.read_text() == ""
