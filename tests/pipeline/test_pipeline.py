"""Reading ahead, parts of an endless stream, and several processes."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import closing
from multiprocessing import Pipe, active_children
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from specutils import Spectrum

import astroclip_astro as aa
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.pipeline import processes
from astroclip_astro.pipeline.ahead import read_ahead
from astroclip_astro.pipeline.processes import _shares, gathered, resized
from astroclip_astro.plugins import get_manager
from astroclip_astro.quality import Quality
from astroclip_astro.weights import save_model

ROOT = Path(__file__).resolve().parents[2]
FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
WAVELENGTH = np.linspace(3600, 9824, 400) * u.AA


@pytest.fixture(scope="module")
def model(make_toy):
    return make_toy()


@pytest.fixture(scope="module")
def toy_file(make_toy, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    save_model(make_toy(), path, name="toy")
    return path


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert not [t for t in threading.enumerate() if t.name == "astroclip-ahead"]
    assert not active_children()


def spectrum(seed):
    flux = np.random.default_rng(seed).normal(5, 1, WAVELENGTH.size)
    return Spectrum(spectral_axis=WAVELENGTH, flux=flux * FLUX, meta={"object_id": f"s{seed}"})


def endless(taken):
    for seed in itertools.count():
        taken.append(seed)
        yield spectrum(seed)


def test_items_come_in_order_and_no_more_are_taken_than_there_is_room_for():
    taken, arrived = [], threading.Event()

    def numbers():
        for number in itertools.count():
            taken.append(number)
            if number == 4:
                arrived.set()
            yield number

    with closing(read_ahead(numbers(), most=2)) as ahead:
        assert [next(ahead) for _ in range(3)] == [0, 1, 2]
        assert arrived.wait(10)
        assert not arrived.clear()
        assert taken == [0, 1, 2, 3, 4]
    assert taken == [0, 1, 2, 3, 4]


def test_all_is_done_in_one_other_thread_also_the_closing():
    threads = []

    def numbers():
        try:
            for number in itertools.count():
                threads.append(threading.get_ident())
                yield number
        finally:
            threads.append(threading.get_ident())

    with closing(read_ahead(numbers())) as ahead:
        assert next(ahead) == 0
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


def test_an_error_comes_after_the_items_before_it():
    def numbers():
        yield from range(3)
        raise KeyError("the fourth")

    found = []
    with pytest.raises(KeyError, match="the fourth"):
        found.extend(read_ahead(numbers()))
    assert found == [0, 1, 2]


def test_what_is_no_iterable_is_an_error_of_the_caller():
    with pytest.raises(TypeError, match="not iterable"):
        list(read_ahead(3))


def test_parts_of_an_endless_stream_are_what_embed_gives(model):
    taken = []
    with closing(aa.embed_parts(endless(taken), size=4, batch_size=2, model=model)) as parts:
        assert taken == []
        found = [next(parts) for _ in range(3)]
        # Of batches at most one is under way and two are ahead.
        assert len(taken) <= 12 + 3 * 2
    whole = aa.embed([spectrum(seed) for seed in range(12)], model=model, batch_size=2)
    together = xr.concat(found, "object", combine_attrs="drop_conflicts")
    assert [len(part) for part in found] == [4, 4, 4]
    xr.testing.assert_identical(together.drop_attrs(), whole.drop_attrs())
    assert together.attrs.items() >= {k: v for k, v in whole.attrs.items() if k != "date"}.items()


def test_the_last_part_is_what_remains_and_nothing_gives_no_part(model):
    parts = list(aa.embed_parts([spectrum(i) for i in range(5)], size=2, model=model))
    assert [part.object_id.values.tolist() for part in parts] == [
        ["s0", "s1"],
        ["s2", "s3"],
        ["s4"],
    ]
    assert list(aa.embed_parts([], model=model)) == []
    assert len(list(aa.embed_parts([spectrum(0), spectrum(1)], size=2, model=model))) == 1
    for wrong in ({"size": 0}, {"workers": 0}, {"batch_size": 0}, {"errors": "ignore"}):
        with pytest.raises(ValueError, match="expected"):
            aa.embed_parts([], **wrong)


def test_a_part_waits_for_no_object_of_the_next(model):
    def two():
        yield from (spectrum(0), spectrum(1))
        pytest.fail("a third object was taken")

    with closing(aa.embed_parts(two(), size=1, batch_size=1, model=model)) as parts:
        assert next(parts).object_id.values.tolist() == ["s0"]


def test_errors_and_interrupts_of_the_stream_reach_the_caller(model):
    def broken(error):
        yield spectrum(0)
        raise error

    for error in (OSError("the disk is gone"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            aa.embed(broken(error), model=model)


def test_an_interrupt_of_the_network_ends_the_thread(model, monkeypatch):
    taken, closed = [], threading.Event()

    def stream():
        try:
            yield from endless(taken)
        finally:
            closed.set()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        aa.embed(stream(), model=model, batch_size=2)
    assert closed.is_set()
    assert len(taken) <= 3 * 2


def test_one_object_takes_no_thread(model, monkeypatch):
    monkeypatch.setattr("astroclip_astro.pipeline.ahead.threading.Thread", None)
    assert aa.embed(spectrum(1), model=model).dims == ("feature",)
    with pytest.raises(TypeError):
        aa.embed([spectrum(1)], model=model)


def test_workers_give_what_one_process_gives(tmp_path, toy_file, sdss_file, caplog):
    files = [sdss_file(tmp_path, i, empty=i == 1) for i in range(3)] * 12  # more than one job
    files[-1] = tmp_path / "missing.fits"
    alone = aa.embed(files, model=toy_file)
    warnings = sorted(caplog.messages)
    caplog.clear()
    together = aa.embed(map(str, files), model=toy_file, workers=2)
    assert together.drop_attrs().identical(alone.drop_attrs())
    assert together.attrs | {"date": ""} == alone.attrs | {"date": ""}
    assert sorted(caplog.messages) == warnings
    assert len(warnings) == 13


@pytest.fixture
def noisy(install):
    """A survey, as a plugin: like SDSS, but it says so, and of some files computes otherwise."""
    module = """
        import logging
        from astroclip_astro.plugins import SurveyEntry, hookimpl
        from astroclip_astro.pipeline.processes import _mine
        from astroclip_astro.surveys.sdss import SDSS
        from astroclip_astro.weights import as_model

        @hookimpl
        def register_surveys():
            yield SurveyEntry(
                name="noisy", summary="", factory="noisy_plugin:Noisy", modality="spectrum"
            )

        class Noisy(SDSS):
            def read(self, path, hdulist=None):
                print("read by noisy")
                logging.getLogger("astroclip_astro.noisy").info("an info")
                logging.getLogger("astroclip_astro.noisy").debug("no debug")
                if "0002" in path.name:
                    mine = (_mine[name] for name in ("model", "device", "dtype"))
                    as_model(*mine).compute_in("bfloat16")
                return super().read(path, hdulist)
    """
    install("noisy", {"noisy": "noisy_plugin"}, {"noisy_plugin.py": module})
    get_manager.cache_clear()
    yield "noisy"
    get_manager.cache_clear()


def test_workers_print_to_stderr_and_log_what_their_parent_does(
    tmp_path, toy_file, sdss_file, noisy, caplog, capfd
):
    files = [sdss_file(tmp_path, 1)]
    with caplog.at_level("INFO", "astroclip_astro"):
        aa.embed(files, model=toy_file, survey=noisy, workers=1)
    printed = capfd.readouterr()
    assert "read by noisy" in printed.err
    assert not printed.out
    assert caplog.messages == ["an info"]


def test_workers_are_to_compute_in_one_type(tmp_path, toy_file, sdss_file, noisy):
    files = [sdss_file(tmp_path, 1), sdss_file(tmp_path, 2)]
    with pytest.raises(AstroclipError, match=r"in float32 and another one in bfloat16.*by dtype="):
        aa.embed(files, model=toy_file, survey=noisy, workers=1, batch_size=1)


def test_processes_are_given_whole_batches():
    shares = _shares(map(str, itertools.count()), 2, batch_size=3)
    found = list(itertools.islice(shares, 6))
    assert [len(paths) for paths in found] == [3] * 4 + [12] * 2
    assert list(itertools.chain(*found)) == [str(i) for i in range(36)]
    assert list(_shares(iter("abcd"), 2, batch_size=3)) == [["a", "b", "c"], ["d"]]


def test_a_process_ends_at_once_when_it_works_but_may_send_its_answer(monkeypatch):
    done = []
    monkeypatch.setattr(processes.os, "_exit", lambda code: done.append("end"))
    monkeypatch.setattr(processes.time, "sleep", done.append)
    for busy, expected in ((True, ["end"]), (False, [processes._PATIENCE, "end"])):
        monkeypatch.setattr(processes, "_leaving", threading.Lock())
        monkeypatch.setitem(processes._mine, "busy", busy)
        told, mine = Pipe(duplex=False)
        mine.close()
        processes._end_with(told)
        told.close()
        assert done == expected
        assert processes._leaving.locked()  # no answer is begun any more
        done.clear()


def test_parts_of_files_are_cut_anew(model):
    whole = aa.embed([spectrum(i) for i in range(7)], model=model)
    given = [(1, whole[:1]), (2, whole[1:1]), (3, whole[1:6]), (4, whole[6:])]
    for size, lengths in ((2, [2, 2, 2, 1]), (7, [7]), (100, [7])):
        files, parts = zip(*resized(given, size), strict=True)
        assert [len(part) for part in parts] == lengths
        assert concat(parts).identical(whole)
        assert files[-1] == 4
    assert [(n, len(part)) for n, part in gathered(given, 3)] == [(3, 6), (4, 1)]


def test_errors_of_workers_arrive_as_they_were():
    error = pickle.loads(
        pickle.dumps(InputError("no unit", object_id="a", quality=Quality.NO_DATA))
    )
    assert str(error) == "a: no unit"
    assert error.object_id == "a"
    assert Quality.NO_DATA in error.quality


def test_workers_are_for_paths_and_models_by_name(model):
    for wrong, error, message in (
        ({"model": model}, TypeError, "name or file"),
        ({"device": []}, ValueError, "list of devices"),
        ({"device": ["cpu"]}, ValueError, "leave workers= away"),
    ):
        with pytest.raises(error, match=message):
            aa.embed(["a.fits"], workers=2, **wrong)
    with pytest.raises(TypeError, match="not for a Spectrum"):
        aa.embed([spectrum(0)], workers=2)
    with pytest.raises(TypeError, match="iterable of paths"):
        aa.embed("a.fits", workers=2)


def test_a_killed_worker_is_an_error_that_names_the_file(tmp_path, toy_file, sdss_file):
    first = sdss_file(tmp_path, 1)

    def files():
        yield from [first] * 32
        for i in itertools.count():
            yield tmp_path / f"{i}.fits"
            for process in active_children():
                os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(AstroclipError, match=r"a process ended .* are done, .*\.fits and"):
        aa.embed(files(), model=toy_file, workers=1)


def test_workers_end_with_their_parent(tmp_path, toy_file, sdss_file):
    script = tmp_path / "script.py"
    script.write_text(
        "import itertools, os, signal, sys, astroclip_astro as aa\n"
        "from multiprocessing import active_children\n"
        "if __name__ == '__main__':\n"
        "    files = itertools.repeat(sys.argv[1])\n"
        "    for _ in aa.embed_parts(files, model=sys.argv[2], workers=1, size=1):\n"
        "        print(*[one.pid for one in active_children()], flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, script, sdss_file(tmp_path, 1), toy_file]
    # The output ends when the last process that holds it has ended; waiting longer is an error.
    settings = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, **settings)
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.split()) == 1
