"""Files that strangers hand over: what is good is embedded, and what is bad does no harm."""

import bz2
import gzip
import io
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import astroclip_astro as aa
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.explorer.portrait import Picture, Trace
from astroclip_astro.explorer.uploads import Uploads
from astroclip_astro.simulate import MockSurvey

MOCKS = MockSurvey.bundled()

# What the child runs: mischief that the file asks for, before it is embedded.
WORK = """
    import os, time
    from pathlib import Path

    from astropy.io import fits

    from astroclip_astro.explorer.upload_reader import embed_file

    def work(path, model):
        print("this must not come between the answers")
        header = fits.getheader(path)
        mischief = header.get("MISCHIEF")
        if mischief == "where":
            return path, os.getpid(), path.parent.stat().st_mode, os.listdir(path.parent)
        if mischief == "wait":
            while Path(header["FLAG"]).exists():
                time.sleep(0.01)
        if mischief == "hang":
            Path(header["FLAG"]).touch()
            time.sleep(60)
        if mischief == "abort":
            os.abort()
        if mischief == "memory":
            return [bytearray(50 << 20) for _ in range(1000)]
        if mischief == "raise":
            raise RuntimeError(f"in \\x1b[31m {path}" + 5000 * "!")
        return embed_file(path, model)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "uploads_work.py").write_text(textwrap.dedent(WORK))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import uploads_work

        yield uploads_work.work
        del sys.modules["uploads_work"]


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """Where files are put for the time being."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def shared(work, temporary):
    uploads = Uploads(work, memory=1 << 30)
    yield uploads
    uploads.close()


@pytest.fixture
def uploads(shared, temporary):
    yield shared
    assert list(temporary.glob("astroclip-*")) == []


def as_bytes(*hdus):
    file = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(file)
    return file.getvalue()


def spectrum_file(change=None, **cards):
    """A mock in the layout of SDSS."""
    spectrum = MOCKS.spectrum(3)
    columns = {
        "flux": spectrum.flux.value.astype("f4"),
        "loglam": np.log10(spectrum.spectral_axis.value),
        "ivar": spectrum.uncertainty.array.astype("f4"),
    }
    columns |= change or {}
    return as_bytes(
        fits.PrimaryHDU(header=fits.Header(cards)), fits.BinTableHDU(Table(columns), name="COADD")
    )


def cutout_file(**cards):
    """A mock as the viewer of the Legacy Surveys sends cutouts."""
    cutout = MOCKS.cutout(4)
    header = cutout.wcs.to_header()
    header.update({"SURVEY": "LegacySurvey", "BANDS": "grz", "IMAGEW": 152, "IMAGEH": 152} | cards)
    return as_bytes(fits.PrimaryHDU(cutout.data.astype("f4"), header))


SPECTRUM, CUTOUT = spectrum_file(), cutout_file()


def mischief(kind, **cards):
    return as_bytes(fits.PrimaryHDU(header=fits.Header({"MISCHIEF": kind, **cards})))


def refused(uploads, content, name="galaxy.fits"):
    with pytest.raises(InputError) as caught:
        uploads.read(name, content)
    return str(caught.value)


def is_vector_or_reason(uploads, content):
    """Whether what comes of a file is a vector, or an error that names it."""
    try:
        embedding, *_ = uploads.read("galaxy.fits", content)
    except InputError as error:
        return str(error).startswith("galaxy")
    return bool(np.isfinite(embedding).all())


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("content", "name", "modality"),
    [(SPECTRUM, "mine-1.fits", "spectrum"), (CUTOUT, "mine-2.fits", "image")],
)
def test_vectors_are_those_of_embed(uploads, tmp_path, content, name, modality):
    path = tmp_path / name
    path.write_bytes(content)
    expected = aa.embed(path, device="cpu")
    embedding, portrait, _ = uploads.read(f"/home/me/{name}", content)
    np.testing.assert_allclose(embedding, expected, rtol=0, atol=1e-5)
    assert np.linalg.norm(embedding) > 0.1
    for coordinate in ("object_id", "ra", "dec", "modality", "survey", "coverage", "quality"):
        np.testing.assert_array_equal(embedding[coordinate], expected[coordinate])
    assert embedding["modality"].item() == modality
    assert isinstance(portrait, Picture if modality == "image" else Trace)
    assert portrait.object_id == embedding["object_id"].item() == Path(name).stem
    assert embedding.attrs["weights_sha256"] == expected.attrs["weights_sha256"]


def test_file_is_alone_in_a_folder_that_nobody_else_sees(uploads):
    path, pid, mode, names = uploads.read("mine.fits", mischief("where"))
    assert mode & 0o777 == 0o700
    assert names == [path.name] == ["mine.fits"]
    assert pid != os.getpid()
    assert uploads.read("mine.fits", mischief("where"))[1] == pid


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../../etc/passwd", "passwd.fits"),
        ("..\\..\\mine.fit", "mine.fit"),
        ("<script>alert('1')</script>.fits", "script_.fits"),
        ("a\n\x1b[31m\0b.fits", "a_31m_b.fits"),
        ("..", "upload.fits"),
        ("", "upload.fits"),
        ("-rf.fits", "rf.fits"),
        ("http://x/y.fits.gz", "y.fits"),
        ("mine.jpg", "mine.jpg.fits"),
        (".hidden (1).FITS", "hidden_1_.FITS"),
        ("é" * 500 + "x" * 500, "_" + "x" * 99 + ".fits"),
    ],
)
def test_name_is_harmless(uploads, name, kept):
    assert uploads.read(name, mischief("where"))[0].name == kept
    shown, reason = refused(uploads, b"", name).split(": ", 1)
    assert kept.startswith(shown.removesuffix(".gz"))
    assert reason == "this is empty: expected a FITS file as it is, not compressed"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(bytes(50 << 20)), "compressed with gzip"),
        (bz2.compress(SPECTRUM), "compressed with bzip2"),
        (b"PK\x03\x04 and so on", "a zip archive"),
        (b"\xff\xd8\xff\xe0 and so on", "a JPEG picture, whose fluxes are lost"),
        (b"\x89PNG\r\n\x1a\n and so on", "a PNG picture, whose fluxes are lost"),
        (b"<!DOCTYPE html><script>alert(1)</script>", "a web page or XML"),
        (pickle.dumps(print), "not FITS"),
        (b"#ASDF 1.0.0\n", "not FITS"),
        (b" " + SPECTRUM, "not FITS"),
        (b"", "empty"),
    ],
)
def test_what_is_not_fits_is_refused_without_a_process(work, content, kind):
    uploads = Uploads(work)
    assert refused(uploads, content) == (
        f"galaxy.fits: this is {kind}: expected a FITS file as it is, not compressed"
    )
    assert uploads._process is None


def test_large_file_is_refused_without_a_process(work):
    uploads = Uploads(work, largest=1 << 20)
    assert refused(uploads, SPECTRUM + bytes(1 << 20)) == (
        "galaxy.fits: 1.1 MiB are too many: expected a spectrum or a cutout of 1 MiB at most"
    )
    assert uploads._process is None


def test_headers_are_checked_before_the_work(uploads):
    zeros = np.zeros((3000, 3000), "f4")
    bomb = fits.CompImageHDU(zeros, compression_type="GZIP_1", tile_shape=(300, 3000))
    content = as_bytes(fits.PrimaryHDU(header=fits.Header({"MISCHIEF": "abort"})), bomb)
    assert len(content) < 36_000_000 / 200
    message = refused(uploads, content)
    assert "HDU 1, decompressed with those before it, is an array of 36000000 bytes" in message


@pytest.mark.parametrize("place", [9, 2000, 2880, 5000, 8640, len(SPECTRUM) // 2])
def test_truncated_file(uploads, place):
    assert refused(uploads, SPECTRUM[:place]).startswith("galaxy.fits: ")


@pytest.mark.parametrize("seed", range(6))
def test_random_data_are_embedded_or_refused(uploads, seed):
    rng = np.random.default_rng(seed)
    good = (SPECTRUM, CUTOUT)[seed % 2]
    start = 2880 * int(rng.integers(1, 4))
    content = good[:start] + rng.bytes(len(good) - start)
    assert is_vector_or_reason(uploads, content)


def test_what_the_package_refuses(uploads, temporary):
    size = len(MOCKS.spectrum(3).flux)
    nothing = spectrum_file({"flux": np.full(size, np.nan, "f4")})
    for content, message in (
        (nothing, "galaxy: no vector can be made of it (PARTIAL_COVERAGE, MOSTLY"),
        (spectrum_file(BUNIT="Jy<b>furlong"), "galaxy.fits: BUNIT 'Jy<b>furlong' is not"),
        (spectrum_file(BUNIT="m"), "galaxy"),
        (as_bytes(fits.PrimaryHDU(np.ones((9, 9)))), "galaxy.fits: no survey knows such a file"),
        (cutout_file(BANDS="ugr"), "galaxy"),
    ):
        told = refused(uploads, content)
        assert told.startswith(message)
        assert str(temporary) not in told


def test_nothing_is_fetched_for_a_frame_that_turns_with_the_earth(uploads):
    frame = {"CTYPE1": "TLON-TAN", "CTYPE2": "TLAT-TAN", "DATE-OBS": "2099-01-01"}
    assert is_vector_or_reason(uploads, cutout_file(**frame))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("hang", "galaxy.fits: it took more than 2 s"),
        ("abort", "galaxy.fits: reading it came to a bad end: SIGABRT"),
        ("raise", "galaxy.fits: it could not be read (RuntimeError: in  [31m galaxy.fits!!!!"),
        pytest.param(
            "memory",
            "galaxy.fits: reading it takes too much memory",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory"),
        ),
    ],
)
def test_next_file_is_read_by_a_new_process(uploads, monkeypatch, tmp_path, kind, reason):
    pid = uploads.read("galaxy.fits", mischief("where"))[1]
    with monkeypatch.context() as patch:
        if kind == "hang":
            patch.setattr(uploads, "seconds", 2)
        told = refused(uploads, mischief(kind, FLAG=str(tmp_path / "flag")))
    assert told.startswith(reason)
    assert len(told) < 1100
    assert not exists(pid)
    assert uploads.read("galaxy.fits", mischief("where"))[1] != pid


def test_not_many_wait_for_their_turn(uploads, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    outcomes = []

    def read():
        try:
            outcomes.append(uploads.read("galaxy.fits", mischief("wait", FLAG=str(flag))))
        except InputError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    # One is read, eight wait, and eleven are refused while nothing else goes on.
    while len(outcomes) < 11:
        time.sleep(0.01)
    assert outcomes == ["galaxy.fits: busy with other files: try again in a minute"] * 11
    flag.unlink()
    for thread in threads:
        thread.join()
    told = outcomes[11:]
    assert len(told) == 9
    assert all("no survey knows such a file" in message for message in told)


def test_close_leaves_nothing_behind(uploads, tmp_path):
    flag = tmp_path / "flag"
    pid = uploads.read("galaxy.fits", mischief("where"))[1]
    outcomes = []

    def read():
        try:
            uploads.read("galaxy.fits", mischief("hang", FLAG=str(flag)))
        except InputError as error:
            outcomes.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    while not flag.exists():
        time.sleep(0.01)
    uploads.close()
    thread.join()
    assert outcomes == ["galaxy.fits: reading it came to a bad end: SIGKILL"]
    assert not exists(pid)
    with pytest.raises(ValueError, match="these uploads are closed"):
        uploads.read("galaxy.fits", SPECTRUM)


def test_model_that_does_not_load(work):
    uploads = Uploads(work, "no-such-model")
    with pytest.raises(AstroclipError, match="no-such-model"):
        uploads.read("galaxy.fits", SPECTRUM)
    assert not uploads._process.is_alive()


def test_loaded_model_is_taken_along_and_the_process_ends_with_its_parent(make_toy, tmp_path):
    (tmp_path / "toy.pickle").write_bytes(pickle.dumps(make_toy()))
    (tmp_path / "galaxy.fits").write_bytes(SPECTRUM)
    # A script without "if __name__ == '__main__'", which is killed as it goes on.
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os, pickle, signal, sys
        from astroclip_astro.explorer.uploads import Uploads

        assert not {"torch", "astropy", "panel"} & set(sys.modules)
        model = pickle.load(open("toy.pickle", "rb"))
        uploads = Uploads(model=model)
        embedding, *_ = uploads.read("galaxy.fits", open("galaxy.fits", "rb").read())
        print(uploads._process._process.pid, embedding.attrs["model"], *embedding.values)
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, name, *vector = done.stdout.split()
    expected = aa.embed(tmp_path / "galaxy.fits", model=make_toy())
    np.testing.assert_allclose(np.array(vector, float), expected, rtol=0, atol=1e-5)
    assert name == "toy"
    while exists(int(pid)):
        time.sleep(0.01)
