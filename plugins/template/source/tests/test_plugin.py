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


class Archive(BaseHTTPRequestHandler):
    """Has one galaxy; south of it there is trouble."""

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        dec = float(query["dec"][0])
        status = 200 if dec <= THERE.dec.deg else 404
        self.send_response(status)
        self.end_headers()
        if status == 200:
            self.wfile.write(spectrum() if dec == THERE.dec.deg else b"<html>Maintenance</html>")

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


@pytest.mark.parametrize(("dec", "message"), [(3, "has no spectrum there"), (1, "is not FITS")])
def test_errors_name_the_place(dec, message):
    with pytest.raises(InputError, match=rf"10h00m24s \+0{dec}d00m00s: .*{message}"):
        MyPluginSource().fetch(SkyCoord(150.1, dec, unit="deg"))
