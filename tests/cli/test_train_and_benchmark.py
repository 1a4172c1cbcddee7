"""``astroclip train`` and ``astroclip benchmark`` from the shell, on the bundled mocks."""

import json

import yaml
from click.testing import CliRunner

import astroclip_astro as aa
from astroclip_astro.cli.main import main
from astroclip_astro.simulate import MockSurvey

MOCKS = str(MockSurvey.bundled().path)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_train_from_a_file(tmp_path):
    settings = {
        "name": "mine",
        "model": {
            "input_dim": 402,
            "slice_section_length": 400,
            "slice_overlap": 0,
            "embed_dim": 32,
            "num_layers": 1,
            "num_heads": 2,
            "mask_num_chunks": 2,
            "mask_chunk_width": 2,
        },
        "data": {"sources": [{"kind": "mocks", "path": MOCKS}], "batch_size": 8},
        "run": {"max_steps": 2},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    said = run("train", "specformer", file, "-o", tmp_path / "run", "--quiet")
    path = tmp_path / "run" / "mine.safetensors"
    assert f"trained → {path}" in said
    assert aa.load_model(path).name == "mine"
    # Again, with a progress bar, which is no part of the answer.
    said = run("train", "specformer", file, "-o", tmp_path / "run", "--json")
    assert json.loads(said) == {"output": str(path)}


def test_mistakes_end_in_one_line(tmp_path):
    said = run("train", "align", "nonsense", "-o", tmp_path / "run", code=1)
    assert said.count("\n") == 1
    assert "expected a YAML file, or one of gpu, laptop, paper" in said
    said = run("benchmark", "paper", "--data", "mocks", "-o", tmp_path, code=2)
    assert "expected KIND:PATH" in said
    said = run("benchmark", "paper", "--data", "mock:here", "-o", tmp_path, code=1)
    assert "no source of kind 'mock'" in said


def test_benchmark(tmp_path):
    arguments = ("benchmark", "paper", "--data", f"mocks:{MOCKS}", "-k", 3, "--pool", 4)
    out = tmp_path / "tables"
    said = run(*arguments, "--no-baselines", "-o", out)
    for word in ("properties", "redshifts", "morphology", "retrieval", "k = 3", "mocks"):
        assert word in said
    kept = json.loads((out / "benchmark.json").read_text())
    rows = kept["tables"]["properties"]
    assert {row["n_test"] for row in rows if row["property"] == "redshift"} == {4}
    for name in ("predicted-image.png", "recall.png", "map-spectrum.png", "properties.tex"):
        assert (out / name).stat().st_size > 500
    assert run(*arguments, "--no-baselines", "-o", out) == said
    again = json.loads(run(*arguments, "--no-baselines", "-o", out, "--json"))
    assert again == {"output": str(out), **kept}
