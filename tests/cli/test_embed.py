"""``astroclip embed`` and ``astroclip demo`` as a user runs them."""

import logging

import pytest
from click.testing import CliRunner

from astroclip_astro import open_embeddings
from astroclip_astro.cli.main import main
from astroclip_astro.weights import save_model


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
