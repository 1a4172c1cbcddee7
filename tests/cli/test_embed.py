"""``astroclip embed`` and ``astroclip demo`` as a user runs them."""

import errno
import json
import logging
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from filelock import FileLock

import astroclip_astro as aa
from astroclip_astro import open_embeddings
from astroclip_astro.cli.main import main
from astroclip_astro.models import AstroCLIP
from astroclip_astro.pipeline.parts import Parts
from astroclip_astro.weights import load_model, save_model


@pytest.fixture(scope="module")
def toy_file(make_toy, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    save_model(make_toy(), path, name="toy")
    return path


def run(*arguments):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.parametrize("suffix", [".parquet", ".fits"])
def test_files_become_rows_in_order(tmp_path, toy_file, suffix, sdss_file):
    files = [sdss_file(tmp_path, fibre, empty=fibre == 2) for fibre in (3, 1, 2)]
    output = tmp_path / f"out{suffix}"
    result = run("embed", *files, "-o", output, "--model", toy_file)
    assert result.exit_code == 0, result.output
    assert "2 of 3 objects embedded" in result.output
    found = open_embeddings(output)
    assert [name[-4:] for name in found.object_id.values] == ["0003", "0001", "0002"]
    assert found.astroclip.valid.values.tolist() == [True, True, False]
    assert found.attrs["model"] == "toy"


def test_errors_are_one_line_with_the_cause(tmp_path, toy_file, sdss_file):
    good = sdss_file(tmp_path, 1)
    for arguments, cause in (
        (("embed", good, "-o", tmp_path / "out.csv"), "unknown suffix"),
        (("embed", tmp_path / "no.fits", "-o", tmp_path / "out.nc"), "none of the 1 objects"),
        (("embed", good, "-o", tmp_path / "out.nc", "--model", "nosuch"), "no model named"),
        (("embed", good, "-o", tmp_path / "out.nc", "--survey", "nosuch"), "no survey named"),
        (
            (
                "embed",
                sdss_file(tmp_path, 2, empty=True),
                "-o",
                tmp_path / "out.nc",
                "--errors",
                "raise",
            ),
            "spec-0001-55555-0002|0001-55555-0002",
        ),
    ):
        if "--model" not in arguments:
            arguments = (*arguments, "--model", toy_file)
        result = run(*arguments)
        assert result.exit_code == 1
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("astroclip: ")
        assert any(part in last for part in cause.split("|"))
        assert "Traceback" not in result.output


def test_an_existing_file_is_kept(tmp_path, toy_file, sdss_file):
    good, output = sdss_file(tmp_path, 1), tmp_path / "out.nc"
    output.write_text("precious")
    result = run("embed", good, "-o", output, "--model", toy_file)
    assert result.exit_code == 1
    assert "exists" in result.stderr
    assert output.read_text() == "precious"
    assert run("embed", good, "-o", output, "--model", toy_file, "--overwrite").exit_code == 0
    assert len(open_embeddings(output)) == 1


def test_demo_works_offline_and_draws(tmp_path):
    pytest.importorskip("matplotlib")
    result = run("demo", "-o", tmp_path / "demo.png")
    assert result.exit_code == 0, result.output
    assert "its nearest images" in result.output
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def parts_folder(output):
    return output.with_name(f"{output.name}.parts")


def parts_of(output):
    return sorted(parts_folder(output).glob("[0-9]*.parquet"))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("astroclip_astro.cli.embed._SIZE", 2)


@pytest.fixture
def interrupted(monkeypatch, small_parts):
    """Function that embeds until the network has been asked twice."""

    def embed(*arguments, error=KeyboardInterrupt):
        calls = iter(range(2))
        encode = AstroCLIP.encode

        def stop(*args):
            if next(calls, None) is None:
                raise error
            return encode(*args)

        with monkeypatch.context() as patched:
            patched.setattr(AstroCLIP, "encode", stop)
            return run("embed", *arguments)

    return embed


def test_an_interrupted_run_goes_on_and_does_nothing_twice(
    tmp_path, toy_file, sdss_file, interrupted, monkeypatch
):
    files = [sdss_file(tmp_path, fibre, empty=fibre == 1) for fibre in range(7)]
    files[3] = tmp_path / "missing.fits"
    out, whole = tmp_path / "out.parquet", tmp_path / "whole.parquet"
    assert run("embed", *files, "-o", whole, "--model", toy_file).exit_code == 0
    done = interrupted(*files, "-o", out, "--model", toy_file)
    assert done.exit_code == 130
    (line,) = (one for one in done.stderr.splitlines() if one.startswith("astroclip:"))
    assert "4 objects are done" in line
    assert "--resume goes on" in line
    assert not out.exists()
    first = [open_embeddings(part) for part in parts_of(out)]
    assert [one.object_id.values.tolist()[0][-4:] for one in first] == ["0000", "0002"]

    asked = []
    encode = AstroCLIP.encode
    monkeypatch.setattr(
        AstroCLIP, "encode", lambda self, x, m: asked.append(len(x)) or encode(self, x, m)
    )
    done = run("embed", *files, "-o", out, "--model", toy_file, "--resume", "--json")
    assert done.exit_code == 0, done.output
    assert sum(asked) == 3
    counts = json.loads(done.stdout)
    assert (counts["objects"], counts["embedded"]) == (7, 5)
    assert counts["flags"]["NOT_EMBEDDED"] == 2
    assert open_embeddings(out).drop_attrs().identical(open_embeddings(whole).drop_attrs())
    same = open_embeddings(out).attrs | {"date": ""}
    assert same == open_embeddings(whole).attrs | {"date": ""}
    assert not parts_folder(out).exists()


@pytest.mark.parametrize("suffix", [".nc", ".fits"])
def test_parts_become_a_file_of_any_format(tmp_path, toy_file, sdss_file, interrupted, suffix):
    files, out = [sdss_file(tmp_path, fibre) for fibre in range(5)], tmp_path / f"out{suffix}"
    assert interrupted(*files, "-o", out, "--model", toy_file).exit_code == 130
    assert run("embed", *files, "-o", out, "--model", toy_file, "--resume").exit_code == 0
    assert [name[-4:] for name in open_embeddings(out).object_id.values] == [
        f"{fibre:04d}" for fibre in range(5)
    ]


def test_a_resumed_run_is_to_ask_for_the_same(tmp_path, toy_file, sdss_file, interrupted, make_toy):
    files, out = [sdss_file(tmp_path, fibre) for fibre in range(5)], tmp_path / "out.parquet"
    other = tmp_path / "other.safetensors"
    toy = make_toy()
    toy.spectrum_encoder.mlp.decoder.bias.data += 1
    save_model(toy, other, name="toy")
    assert interrupted(*files, "-o", out, "--model", toy_file).exit_code == 130
    kept = [part.read_bytes() for part in parts_of(out)]
    for arguments, cause in (
        ((*files, "--model", toy_file), "--resume goes on with it, --overwrite begins anew"),
        ((*files, "--model", other, "--resume"), "begun with weights_sha256"),
        ((*files, "--model", toy_file, "--resume", "--survey", "sdss"), "survey '', now 'sdss'"),
        ((*files, "--model", toy_file, "--resume", "--errors", "raise"), "errors 'flag'"),
        ((*files[:1], "--model", toy_file, "--resume"), "0001.fits, where now is no further file"),
        ((*files[::-1], "--model", toy_file, "--resume"), "0000.fits, where now is"),
    ):
        result = run("embed", *arguments, "-o", out)
        assert result.exit_code == 1
        assert cause in result.stderr
        assert "--overwrite" in result.stderr
        assert [part.read_bytes() for part in parts_of(out)] == kept
    files[1].touch()
    result = run("embed", *files, "-o", out, "--model", toy_file, "--resume")
    assert "0001.fits has changed since it was embedded" in result.stderr
    assert run("embed", *files, "-o", out, "--model", other, "--overwrite").exit_code == 0
    assert open_embeddings(out).attrs["weights_sha256"] == load_model(other).weights_sha256
    assert not parts_of(out)


def test_a_full_disk_loses_nothing_that_was_done(
    tmp_path, toy_file, sdss_file, small_parts, monkeypatch
):
    files, out = [sdss_file(tmp_path, fibre) for fibre in range(5)], tmp_path / "out.parquet"
    flush = os.fsync

    def full(descriptor):
        if len(parts_of(out)) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        result = run("embed", *files, "-o", out, "--model", toy_file)
    assert result.exit_code == 1
    assert "2 objects are done" in result.stderr
    assert "No space left on device" in result.stderr.splitlines()[-1]
    assert run("embed", *files, "-o", out, "--model", toy_file, "--resume").exit_code == 0
    assert len(open_embeddings(out)) == 5


def test_nothing_is_left_of_a_run_that_has_done_nothing(tmp_path, toy_file, interrupted, sdss_file):
    out = tmp_path / "out.parquet"
    result = run("embed", sdss_file(tmp_path, 1, empty=True), "-o", out, "--model", toy_file)
    assert "none of the 1 objects" in result.stderr
    assert run("embed", tmp_path / "out", "-o", out, "--model", toy_file).exit_code == 1
    assert not parts_folder(out).exists()
    foreign = parts_folder(out)
    foreign.mkdir()
    (foreign / "letter.txt").write_text("precious")
    good = sdss_file(tmp_path, 2)
    for option in ("--resume", "--overwrite"):
        result = run("embed", good, "-o", out, "--model", toy_file, option)
        assert "holds no parts" in result.stderr
    assert (foreign / "letter.txt").read_text() == "precious"


def test_a_run_that_died_before_it_had_begun_is_in_nobodys_way(tmp_path, toy_file, sdss_file):
    good, out = sdss_file(tmp_path, 1), tmp_path / "out.parquet"
    for option in ((), ("--resume",), ("--overwrite",)):
        parts_folder(out).mkdir()
        (parts_folder(out) / "lock").touch()
        (parts_folder(out) / ".manifest.1.json").write_text("{")
        result = run("embed", good, "-o", out, "--model", toy_file, *option)
        assert result.exit_code == 0, result.stderr
        assert not parts_folder(out).exists()
        out.unlink()


def test_nothing_is_left_of_a_run_that_could_not_begin(tmp_path, toy_file, sdss_file, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out.parquet"
    monkeypatch.setattr("os.fsync", full)
    result = run("embed", sdss_file(tmp_path, 1), "-o", out, "--model", toy_file)
    assert "No space left on device" in result.stderr
    assert not parts_folder(out).exists()


def test_parts_that_are_removed_in_vain_are_still_valid(
    tmp_path, toy_file, sdss_file, interrupted, monkeypatch
):
    files, out = [sdss_file(tmp_path, fibre) for fibre in range(5)], tmp_path / "out.parquet"
    arguments = (*files, "-o", out, "--model", toy_file)
    unlink = Path.unlink
    for most in range(5):  # two parts of two files, and the manifest
        interrupted(*arguments, "--overwrite")
        left = iter(range(most))

        def cut_short(path, left=left, **options):
            if path.parent == parts_folder(out) and next(left, None) is None:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            unlink(path, **options)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", cut_short)
            assert run("embed", *arguments, "--overwrite").exit_code == 1
        assert len(parts_of(out)) == 2 - (most + 1) // 2
        result = run("embed", *arguments, "--resume")
        assert result.exit_code == 0, result.stderr
        assert [name[-4:] for name in open_embeddings(out).object_id.values] == [
            f"{fibre:04d}" for fibre in range(5)
        ]
        out.unlink()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_complete_output_is_not_to_be_resumed(tmp_path, toy_file, sdss_file, monkeypatch, error):
    """On some systems the folder cannot be removed; and an interrupt may come meanwhile."""

    def fail(path):
        raise error

    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rmdir", fail)
        result = run("embed", sdss_file(tmp_path, 1), "-o", out, "--model", toy_file)
    assert result.exit_code == (0 if error is OSError else 130)
    assert "--resume" not in result.output
    assert len(open_embeddings(out)) == 1
    again = ("embed", tmp_path / "spec-0001-55555-0001.fits", "-o", out, "--model", toy_file)
    assert "out.parquet exists" in run(*again, "--resume").stderr
    assert run(*again, "--overwrite").exit_code == 0
    assert not parts_folder(out).exists()


def test_attributes_of_parts_are_joined_once(tmp_path, toy_file, sdss_file):
    part = aa.embed([sdss_file(tmp_path, 1)], model=toy_file)
    with Parts(tmp_path / "out.parquet", {}, "") as parts:
        rest = parts.rest(["a", "b", "c"])
        for number, dtype in enumerate(("float32", "bfloat16", "float32"), start=1):
            next(rest)
            parts.add(part.assign_attrs(dtype=dtype), number)
        parts.finish()
    found = open_embeddings(tmp_path / "out.parquet")
    assert found.attrs == part.attrs | {"dtype": "float32 | bfloat16"}
    assert len(found) == 3


def test_two_runs_do_not_write_the_same(tmp_path, toy_file, sdss_file, interrupted):
    files, out = [sdss_file(tmp_path, fibre) for fibre in range(5)], tmp_path / "out.parquet"
    interrupted(*files, "-o", out, "--model", toy_file)
    with FileLock(parts_folder(out) / "lock"):
        result = run("embed", *files, "-o", out, "--model", toy_file, "--resume")
    assert "another process writes it" in result.stderr
    assert len(parts_of(out)) == 2


def test_files_are_named_by_folders_and_lists(tmp_path, toy_file, sdss_file):
    folder, out = tmp_path / "spectra", tmp_path / "out.parquet"
    folder.mkdir()
    files = [sdss_file(folder, fibre) for fibre in (2, 1)]
    (folder / "notes.txt").write_text("no spectrum")
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{file}\n" for file in files))
    for given, expected in (
        ([folder], ["0001", "0002"]),
        ([f"@{names}"], ["0002", "0001"]),
        ([files[0], f"@{names}"], ["0002", "0002", "0001"]),
    ):
        result = run("embed", *given, "-o", out, "--model", toy_file, "--overwrite")
        assert result.exit_code == 0, result.output
        assert [name[-4:] for name in open_embeddings(out).object_id.values] == expected
    (tmp_path / "empty").mkdir()
    for given, cause in ((tmp_path / "empty", "no FITS files"), ("@no.txt", "no.txt")):
        result = run("embed", given, "-o", tmp_path / "none.nc", "--model", toy_file)
        assert result.exit_code == 1
        assert cause in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_leave_parts_that_are_valid(tmp_path, toy_file, sdss_file, executable, number):
    command, variables = executable
    one, out = sdss_file(tmp_path, 1), tmp_path / "out.parquet"
    arguments = [command, "embed", "@-", "-o", out, "--model", toy_file]
    pipes = dict.fromkeys(("stdin", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*map(str, arguments)], env=variables, text=True, **pipes) as process:
        with suppress(BrokenPipeError):
            while len(parts_of(out)) < 1 and process.poll() is None:
                process.stdin.write(f"{one}\n" * 16)
                process.stdin.flush()
            process.send_signal(number)  # while it waits for further names
            process.wait(60)
        message = process.stderr.read()
        with suppress(BrokenPipeError):
            process.stdin.close()
    parts = [open_embeddings(part) for part in parts_of(out)]
    count = sum(map(len, parts))
    assert count >= 256
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 130
        assert message.splitlines()[-1].startswith(f"astroclip: interrupted: {count} objects")
    names = [str(one)] * (count + 3)
    arguments = ["embed", *names, "-o", out, "--model", toy_file, "--resume"]
    assert run(*arguments).exit_code == 0
    found = open_embeddings(out)
    assert len(found) == count + 3
    np.testing.assert_array_equal(found[:256].values, parts[0].values)


def test_workers_write_the_same(tmp_path, toy_file, sdss_file, astroclip):
    files = [sdss_file(tmp_path, fibre) for fibre in range(3)]
    alone, together = tmp_path / "alone.parquet", tmp_path / "together.parquet"
    assert run("embed", *files, "-o", alone, "--model", toy_file).exit_code == 0
    done = astroclip(
        "embed", *files, "-o", together, "--model", toy_file, "--workers", "1", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["embedded"] == 3
    assert open_embeddings(together).drop_attrs().identical(open_embeddings(alone).drop_attrs())


def test_an_interrupt_while_it_waits_for_names_ends_it(tmp_path, toy_file, executable):
    command, variables = executable
    out = tmp_path / "out.parquet"
    arguments = [command, "embed", "@-", "-o", out, "--model", toy_file]
    pipes = dict.fromkeys(("stdin", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*map(str, arguments)], env=variables, text=True, **pipes) as process:
        while process.poll() is None and not parts_folder(out).exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.stderr.read() == "astroclip: interrupted\n"
    assert process.returncode == 130
    assert not parts_folder(out).exists()
