"""Small frames in the layout of SDSS, and a local server that plays its archives."""

import bz2
import io
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

PIXEL_SCALE = 0.396
TARGET = SkyCoord(203.85, 13.41, unit="deg")

PAGE = b"<html><body><h1>Please come back later</h1></body></html>"


def make_frame(band, *, shape=(300, 400), stars=(), angle=33.0, offset=0.0, **cards):
    """One frame; stars are (SkyCoord, magnitude), the scan is turned by `angle` degrees.

    TARGET is `offset` columns to the right of the middle.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = TARGET.ra.deg, TARGET.dec.deg
    wcs.wcs.crpix = (shape[1] + 1) / 2 + offset, (shape[0] + 1) / 2
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wcs.wcs.cd = PIXEL_SCALE / 3600 * np.array([[-1, 0], [0, 1]]) @ rotation
    header = wcs.to_header()
    # A frame's header has RA and DEC of the telescope.
    header.update(FILTER=band, BUNIT="nanomaggies", RUN=3699, RERUN="301", CAMCOL=4, FRAME=100)
    header.update(RA=1.0, DEC=2.0, NMGY=0.004)
    for key, value in cards.items():
        header.remove(key) if value is None else header.set(key, value)
    rows, columns = np.indices(shape)
    data = np.zeros(shape)
    sigma = 1.4 / 2.3548 / PIXEL_SCALE
    for place, magnitude in stars:
        x, y = wcs.world_to_pixel(place)
        profile = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
        data += 10 ** (0.4 * (22.5 - magnitude)) * profile / (2 * np.pi * sigma**2)
    return fits.HDUList(
        [
            fits.PrimaryHDU(data.astype(">f4"), header),
            fits.ImageHDU(np.full(shape[1], 0.004, ">f4")),
        ]
    )


def content(frame):
    """Bytes of a frame's file as the archive has it."""
    buffer = io.BytesIO()
    frame.writeto(buffer)
    return bz2.compress(buffer.getvalue())


class Archive:
    """SkyServer and the Science Archive Server on localhost.

    `fields` are the rows that a search finds, `frames` the contents by band, and ``fault(number,
    path)`` says what happens to the request of that number: None, "html" (200 with a page), a
    status, "truncated" or "dropped".
    """

    columns = "run,rerun,camcol,field,mode,rowc_r,colc_r"

    def __init__(self):
        self.fields = [(3699, 301, 4, 100, 1, 700.0, 1000.0)]
        self.frames = {band: content(make_frame(band, stars=[(TARGET, 17.0)])) for band in "grz"}
        self.fault = lambda number, path: None
        self.asked = []
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                archive.answer(self)

            do_POST = do_GET

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        number = len(self.asked)
        self.asked.append(request.path)
        status, kind, sent = self.document(request.path)
        fault = self.fault(number, request.path)
        if fault == "dropped":
            request.connection.close()
            request.close_connection = True
            return
        if fault == "html":
            status, kind, sent = 200, "text/html", PAGE
        elif isinstance(fault, int):
            status, kind, sent = fault, "text/html", PAGE
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(sent)))
        request.end_headers()
        request.wfile.write(sent[: len(sent) // 2] if fault == "truncated" else sent)

    def document(self, path):
        parts = urlsplit(path)
        if parts.path.lower() == "/dr17/en/tools/search/x_results.aspx":
            (query,) = parse_qs(parts.query)["cmd"]
            assert re.search(r"fGetNearbyObjAllEq\(203\.85\d+, 13\.41\d+, 0\.16667\)", query)
            rows = [",".join(str(value) for value in row) for row in self.fields]
            return 200, "text/plain", "\n".join(["#Table1", self.columns, *rows, ""]).encode()
        frame = re.fullmatch(
            r"/sas/dr17/.*/(\d+)/(\d)/frame-(.)-\d{6}-\d-\d{4}\.fits\.bz2", parts.path
        )
        if frame and frame[3] in self.frames:
            return 200, "application/x-bzip2", self.frames[frame[3]]
        return 404, "text/html", PAGE


@pytest.fixture
def archive(monkeypatch):
    from astroquery.sdss import conf

    served = Archive()
    with (
        conf.set_temp("skyserver_baseurl", served.url),
        conf.set_temp("sas_baseurl", f"{served.url}/sas"),
    ):
        yield served
    served.close()


@pytest.fixture
def frame():
    return make_frame


@pytest.fixture
def target():
    return TARGET


@pytest.fixture
def frame_bytes():
    return content
