"""``astroclip export``: what it writes, says and refuses."""

import json

import torch
from click.testing import CliRunner

from astroclip_astro.cli.main import main


def run(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_an_encoder_of_a_model(tmp_path, documented):
    path = tmp_path / "image.pt2"
    command = ("astroclip-mini", "-o", path, "--modality", "image")
    done = run(*command, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    keys = documented["export"].partition(":")[0].replace("`", "").split(", ")
    assert list(found) == keys
    assert (found["output"], found["modality"]) == (str(path), "image")
    assert found["difference"] < 1e-5
    assert torch.export.load(path).module()(torch.ones(2, 3, 152, 152)).shape == (2, 128)

    done = run(*command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"astroclip: {path} exists")
    done = run(*command, "--overwrite")
    assert done.stdout.startswith(f"image encoder of astroclip-mini → {path}")


def test_errors_are_one_line(tmp_path):
    done = run("no-such-model", "-o", tmp_path / "x.pt2", "--modality", "image")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "no-such-model" in done.stderr
    assert run("astroclip-mini", "-o", tmp_path / "x.pt2", "--modality", "sound").exit_code == 2
    assert list(tmp_path.iterdir()) == []
