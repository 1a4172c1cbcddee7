"""A local server that plays SPARCL: find, spectras and datafields, in JSON."""

import json
import uuid
from contextlib import contextmanager

import numpy as np

from astroclip_astro.simulate import MockSurvey
from astroclip_astro.sources import sparcl
from tests.sources.archive import Archive

RELEASES = ("DESI-DR1", "DESI-EDR", "SDSS-DR17", "BOSS-DR17")
UNITS = {"flux": "1e-17 erg cm-2 s-1 AA-1", "wavelength": "AA", "ra": "deg", "redshift": None}

#: Names over the wire that differ from those that users know.
WIRE = {"sparcl_id": "uuid", "redshift": "red_shift"}
CORE = [
    "sparcl_id",
    "specid",
    "ra",
    "dec",
    "redshift",
    "redshift_warning",
    "spectype",
    "specprimary",
    "data_release",
]
ARRAYS = ["wavelength", "flux", "ivar", "mask"]


def mock_record(i, **changes):
    """A record made of a mock galaxy; `changes` are of fields as users know them."""
    mocks = MockSurvey.bundled()
    mock = mocks.spectrum(i % len(mocks))
    record = {
        "sparcl_id": str(uuid.UUID(int=i + 1)),
        "specid": 39633285986387037 + i,
        "ra": mock.meta["ra"],
        "dec": mock.meta["dec"],
        "redshift": mock.meta["redshift"],
        "redshift_warning": 0,
        "spectype": "GALAXY",
        "specprimary": True,
        "data_release": "DESI-DR1",
        "wavelength": mock.spectral_axis.value.tolist(),
        "flux": mock.flux.value.tolist(),
        "ivar": mock.uncertainty.array.tolist(),
        "mask": np.zeros(mock.shape, int).tolist(),
    }
    return record | changes


class SPARCLArchive(Archive):
    """Plays the service; `records` are those it has, `edit(answer)` spoils what it sends."""

    def __init__(self, records, *args, units=UNITS, edit=lambda answer: answer, **kwargs):
        super().__init__(self.play, *args, **kwargs)
        self.records, self.units, self.edit = records, units, edit
        self.bodies = []

    def play(self, path, query, body):
        if path == "/sparc/datafields/":
            answer = [
                {
                    "data_release": release,
                    "origdp": WIRE.get(name, name),
                    "newdp": name,
                    "storage": "C" if name in CORE else "S",
                    "default": True,
                    "all": True,
                }
                for release in RELEASES
                for name in CORE + ARRAYS
            ]
        elif path == "/sparc/find/":
            asked = json.loads(body)
            self.bodies.append(asked)
            found = [record for record in self.records if _matches(record, asked["search"])]
            answer = self.answer_records(found[: int(query["limit"])], asked["outfields"])
        elif path == "/sparc/spectras/":
            assert query["format"] == "json"
            ids = json.loads(body)
            found = [record for record in self.records if record["sparcl_id"] in ids]
            # The order is not that asked for.
            answer = self.answer_records(found[::-1], query["include"].split(","))
        else:
            return 404, "text/html", b"<html>Not Found</html>"
        return 200, "application/json", json.dumps(self.edit(answer)).encode()

    def answer_records(self, records, fields):
        header = {
            "status": {"success": True, "info": [], "warnings": []},
            "UNITS": dict.fromkeys(RELEASES, self.units),
        }
        names = {WIRE.get(name, name): name for name in CORE + ARRAYS}
        unknown = set(fields) - set(names)
        assert not unknown, unknown
        return [
            header,
            *(
                {field: record[names[field]] for field in fields} | {"_dr": record["data_release"]}
                for record in records
            ),
        ]


def _matches(record, search):
    return all(low <= record[name] <= high for name, low, high in search)


@contextmanager
def sparcl_archive(records, *args, timeout=20.0, retries=2, **kwargs):
    """A server that plays SPARCL, and the client configured to ask it without waiting."""
    with (
        SPARCLArchive(records, *args, **kwargs) as archive,
        sparcl.conf.set_temp("server", archive.url),
        sparcl.conf.set_temp("backoff", 0.0),
        sparcl.conf.set_temp("retries", retries),
        sparcl.conf.set_temp("timeout", timeout),
    ):
        yield archive
