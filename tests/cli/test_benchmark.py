"""``astroclip benchmark paper`` from the shell: its options, and what it needs."""

import json
import shutil
import sys

import pytest
import torch
from astropy.table import Table
from click.testing import CliRunner

from astroclip_astro.cli.main import main
from astroclip_astro.models import SpecFormer, VisionTransformer
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.benchmark import paper
from astroclip_astro.weights import save_model

MOCKS = MockSurvey.bundled().path


@pytest.fixture(autouse=True)
def no_map(monkeypatch):
    """The projection takes seconds and has tests of its own."""
    monkeypatch.setattr(paper, "embedding_map", lambda *_, **__: None)


def run(*arguments, code=0):
    arguments = ("benchmark", "paper", *arguments)
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def toy(make_toy, tmp_path):
    path = tmp_path / "toy.safetensors"
    save_model(make_toy(), path, name="toy")
    return path


def tables(out):
    return json.loads((out / "benchmark.json").read_text())["tables"]


def test_baselines_and_encoders_before_alignment(toy, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spectra = SpecFormer(
            input_dim=402,
            slice_section_length=400,
            slice_overlap=0,
            embed_dim=16,
            num_layers=1,
            num_heads=2,
        )
        images = VisionTransformer(embed_dim=16, depth=1, num_heads=2, block_chunks=1)
    save_model(spectra, tmp_path / "spectra.safetensors", name="specformer")
    save_model(images, tmp_path / "images.safetensors", name="astrodino")
    out = tmp_path / "tables"
    options = ("--model", toy, "-k", 3, "--pool", 4, "-n", 30, "--max-steps", 1)
    before = [("--unaligned", tmp_path / f"{one}.safetensors") for one in ("spectra", "images")]
    said = run("--data", f"mocks:{MOCKS}", *options, *before[0], *before[1], "--out", out)
    for word in ("specformer, unaligned", "astrodino, unaligned, class token", "Conv+Att", "±"):
        assert word in said
    rows = tables(out)["properties"]
    supervised = {(r["input"], r["model"]): r for r in rows if r["head"] == "supervised"}
    assert set(supervised) == {
        ("image", "ResNet18"),
        ("spectrum", "Conv+Att"),
        ("photometry", "MLP"),
        ("photometry", "gradient boosting"),
    }
    assert supervised["image", "ResNet18"]["training"].startswith("1 steps of")
    assert {r["k"] for r in rows if r["head"] == "kNN"} == {3}
    assert {r["n_test"] for r in rows if r["property"] == "redshift"} == {3}


def test_a_path_alone_is_a_mock_survey(toy, tmp_path):
    mocks = shutil.copytree(MOCKS, tmp_path / "my mocks")
    options = ("--model", toy, "-k", 3, "--pool", 4, "--no-baselines")
    run("--data", mocks, *options, "-o", tmp_path / "one")
    run("--data", f"mocks:{MOCKS}", *options, "-o", tmp_path / "two")
    assert tables(tmp_path / "one") == tables(tmp_path / "two")


def test_a_model_of_one_modality(tmp_path):
    torch.manual_seed(0)
    images = VisionTransformer(embed_dim=16, depth=1, num_heads=2, block_chunks=1)
    save_model(images, tmp_path / "images.safetensors", name="astrodino")
    out = tmp_path / "out"
    options = ("--model", tmp_path / "images.safetensors", "-k", 3, "--no-baselines")
    said = run("--data", MOCKS, *options, "--out", out)
    assert "retrieval\n" not in said
    assert {row["input"] for row in tables(out)["properties"]} == {"image"}
    assert not (out / "recall.png").exists()


def test_votes(toy, tmp_path):
    n = 40
    Table(
        {
            "object_id": MockSurvey.bundled().truth_array["object_id"].astype(str),
            "bar_total-votes": [50] * n,
            "bar_yes_fraction": [0.9, 0.1] * (n // 2),
            "bar_no_fraction": [0.1, 0.9] * (n // 2),
        }
    ).write(tmp_path / "votes.ecsv")
    options = ("--model", toy, "-k", 3, "--pool", 4, "--no-baselines")
    out = tmp_path / "out"
    run("--data", MOCKS, *options, "--labels", tmp_path / "votes.ecsv", "--out", out)
    rows = tables(out)["morphology"]
    assert {row["question"] for row in rows} == {"bar"}
    assert [row["published"] for row in rows if row["head"] == "MLP"] == [0.56]


@pytest.mark.parametrize(
    ("module", "package"), [("sklearn", "scikit-learn"), ("umap", "umap-learn")]
)
def test_what_is_not_installed_is_told(monkeypatch, tmp_path, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    said = run("--data", MOCKS, "--out", tmp_path, code=1)
    assert said.count("\n") == 1
    assert f"the benchmark needs {package}: " in said
    assert "pip install 'astroclip_astro[benchmark]'" in said


def test_help_needs_nothing(monkeypatch):
    for module in ("sklearn", "umap", "matplotlib", "lightning"):
        monkeypatch.setitem(sys.modules, module, None)
    assert "--unaligned" in run("--help")


def test_mistakes_are_told_in_one_line(toy, tmp_path):
    said = run("--data", tmp_path / "nowhere", "--out", tmp_path, code=2)
    assert "expected KIND:PATH, or the path of a mock survey" in said
    options = ("--model", toy, "--no-baselines", "--out", tmp_path)
    said = run("--data", MOCKS, *options, code=1)
    assert "expected at least 64 for kNN; take more objects or a smaller k" in said
    said = run("--data", f"mocks:{MOCKS}", "--survey", "desi", *options, code=1)
    assert "source of kind 'mocks'" in said
    assert "survey" in said
