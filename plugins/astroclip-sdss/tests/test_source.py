"""The source, against a local server that plays SDSS's archives and its faults."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.sources import fetch_all, get_source


@pytest.fixture
def source(archive, monkeypatch):
    monkeypatch.setattr("astroclip_sdss.source._WAITS", (0, 0))
    return get_source("sdss-image")


def is_frame(path):
    return "/frame-" in path


def test_constructing_contacts_nobody(archive):
    get_source("sdss-image")
    assert archive.asked == []


def test_fetch(source, archive, target):
    cutout = source.fetch(target)
    assert [hdu.header["FILTER"] for hdu in cutout[1:]] == ["g", "r", "z"]
    assert len(archive.asked) == 4
    assert archive.asked[1].endswith("/301/3699/4/frame-g-003699-4-0100.fits.bz2")
    embedding = aa.embed(cutout)
    assert embedding.survey == source.survey == "sdss-image"
    assert np.isfinite(embedding).all()
    for hdu in cutout[1:]:
        assert hdu.data.sum() == pytest.approx(10**2.2, rel=0.01)


def test_coordinates_of_other_frames(source, archive, target):
    cutout = source.fetch(target.galactic)
    assert cutout[0].header["RA"] == pytest.approx(target.ra.deg)


def test_what_failed_once_is_asked_for_again(source, archive, target):
    for fault in ("html", "truncated", "dropped", 500, 429):
        for victim in (0, 2):
            archive.asked.clear()
            archive.fault = lambda number, path, f=fault, v=victim: f if number == v else None
            assert len(source.fetch(target)) == 4, (fault, victim)


def test_nothing_is_believed_again_because_it_came_once(source, archive, target):
    archive.fault = lambda number, path: "html" if is_frame(path) else None
    with pytest.raises(InputError, match=r"13h35m24s \+13d24m36s: SDSS's archive did not send it"):
        source.fetch(target)
    archive.fault = lambda number, path: None
    assert len(source.fetch(target)) == 4


@pytest.mark.parametrize("fault", ["html", "truncated", "dropped", 500, 503])
@pytest.mark.parametrize("where", ["search", "frames"])
def test_what_fails_again_and_again(source, archive, target, fault, where):
    archive.fault = lambda number, path: fault if is_frame(path) == (where == "frames") else None
    with pytest.raises(InputError, match=r"13h35m24s .* did not send it .*; try again later"):
        source.fetch(target)
    assert len(archive.asked) == (3 if where == "search" else 4)


def test_a_no_is_final(source, archive, target):
    archive.frames.clear()
    with pytest.raises(InputError, match=r"did not send it \(HTTPError: HTTP Error 404"):
        source.fetch(target)
    assert len(archive.asked) == 2


def test_no_image_there(source, archive, target):
    archive.fields = []
    with pytest.raises(InputError, match=r'SDSS has no image there.* no object within 10"'):
        source.fetch(target)
    assert len(archive.asked) == 1


def test_answer_of_other_columns(source, archive, target):
    archive.columns = "a,b,c,d,e,f,g"
    with pytest.raises(InputError, match=r"answer with columns a, b, c.*: expected run, rerun"):
        source.fetch(target)


@pytest.mark.parametrize(
    ("cards", "came"),
    [({"FILTER": "i"}, r"\('i', 3699, 4, 100\)"), ({"FRAME": 101}, r"\('r', 3699, 4, 101\)")],
)
def test_another_frame_than_asked_for(source, archive, target, frame, frame_bytes, cards, came):
    archive.frames["r"] = frame_bytes(frame("r", **cards))
    with pytest.raises(InputError, match=rf"field {came} came: expected \('r', 3699, 4, 100\)"):
        source.fetch(target)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        # All of the cutout fits only on a secondary one.
        ([(3699, 301, 4, 100, 2, 700, 1000), (1, 301, 1, 11, 1, 20, 1000)], 3699),
        # Both fit: the primary one, though nearer to the edge.
        ([(1, 301, 1, 11, 2, 700, 1000), (3699, 301, 4, 100, 1, 200, 1000)], 3699),
        # None fits: the better one.
        ([(1, 301, 1, 11, 2, 5, 1000), (3699, 301, 4, 100, 2, 700, 2000)], 3699),
    ],
)
def test_choice_of_the_field(source, archive, target, others, chosen):
    archive.fields = others
    source.fetch(target)
    assert all(f"/{chosen}/" in path for path in archive.asked[1:])


def test_object_off_its_frames_is_not_asked_for_again(source, archive, target, frame, frame_bytes):
    archive.frames = {b: frame_bytes(frame(b, offset=300)) for b in "grz"}
    with pytest.raises(InputError, match=r"is not on this g frame"):
        source.fetch(target)
    assert len(archive.asked) == 4


def test_many_at_once(source, archive, target):
    several = SkyCoord([target, target, target])
    fetched = list(fetch_all(source, several))
    assert [len(one) for one in fetched] == [4, 4, 4]
    archive.fields = []
    (error,) = fetch_all(source, several[:1])
    assert isinstance(error, InputError)
    assert target.separation(several[0]) < 1 * u.mas
