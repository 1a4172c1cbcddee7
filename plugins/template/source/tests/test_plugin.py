"""What every source promises, against a server on this machine that plays the archive."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astroclip_my_plugin.archive import MyPluginSource
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable

from astroclip_astro.errors import InputError
from astroclip_astro.testing import parametrize_with_checks

FLUX = 10**-17 * u.erg / u.s / u.cm**2 / u.AA
THERE = SkyCoord(150.1, 2.2, unit="deg")


def spectrum():
    """What the archive has, as it sends it."""
    table = QTable({"wavelength": np.linspace(3600, 9800, 4000) * u.AA})
    table["flux"] = np.random.default_rng(0).normal(5, 1, 4000) * FLUX
    table["ivar"] = np.ones(4000) / FLUX**2
    table.meta.update(OBJECT="galaxy-1", RA=THERE.ra.deg, DEC=THERE.dec.deg)
    content = BytesIO()
    table.write(content, format="fits")
    return content.getvalue()


def empty():
    """FITS without a table."""
    content = BytesIO()
    fits.PrimaryHDU().writeto(content)
    return content.getvalue()


class Archive(BaseHTTPRequestHandler):
    """Has one galaxy; south of it there is trouble."""

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        dec = float(query["dec"][0])
        content = {THERE.dec.deg: spectrum(), 1: b"<html>Maintenance</html>", -1: empty()}.get(
            dec, b""
        )
        self.send_response(404 if dec > THERE.dec.deg else 200)
        self.send_header("Content-Length", len(content) + (dec == -2))  # there it is cut short
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(autouse=True)
def _archive(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Archive) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(MyPluginSource, "url", f"http://127.0.0.1:{server.server_port}/")
        yield
        server.shutdown()


@parametrize_with_checks("my-plugin", example=THERE)
def test_plugin(check):
    check()


def test_numbers_are_those_of_the_archive():
    found = MyPluginSource().fetch(THERE)
    np.testing.assert_array_equal(found.flux, QTable.read(BytesIO(spectrum()))["flux"])


@pytest.mark.parametrize(
    ("dec", "message"),
    [
        ("+03", "has no spectrum there"),
        ("+01", "is not FITS"),
        ("-01", "is unreadable: No table found"),
        ("-02", "is not reached: IncompleteRead"),
    ],
)
def test_errors_name_the_place(dec, message):
    with pytest.raises(InputError, match=rf"10h00m24s [{dec[0]}]{dec[1:]}d00m00s: .*{message}"):
        MyPluginSource().fetch(SkyCoord(150.1, float(dec), unit="deg"))
