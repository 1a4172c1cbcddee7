"""Settings: those that come along fit their classes, and every mistake is named."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from astroclip_astro.errors import InputError
from astroclip_astro.training import sources
from astroclip_astro.training.config import KINDS, RunConfig, checked, read_config
from astroclip_astro.training.trainer import METHODS

GOOD = {
    "name": "mine",
    "data": {"sources": [{"kind": "mocks", "path": "mocks"}], "batch_size": 8},
    "run": {"max_steps": 10},
}


def written(tmp_path, values):
    path = tmp_path / "run.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["laptop", "gpu", "paper"])
def test_bundled_settings_are_arguments_of_what_they_are_for(kind, name):
    config = read_config(name, kind)
    model, method = METHODS[kind]
    assert set(config.model) <= set(inspect.signature(model).parameters)
    assert set(config.method) <= set(inspect.signature(method).parameters)
    assert config.run.max_steps > 0
    assert config.data.sources
    for source in config.data.sources:
        source = dict(source)
        kind, path = source.pop("kind"), source.pop("path")
        opened = getattr(import_module(f"{sources.__name__}.{kind}"), sources.KINDS[kind])
        inspect.signature(opened).bind(path, **source)
        # A folder without a table does not say whose files it holds.
        assert kind != "folder" or Path(path).suffix or "survey" in source


def test_the_papers_alignment_is_the_papers():
    config = read_config("paper", "align")
    assert config.method["learning_rate"] == 1e-4
    assert config.method["weight_decay"] == 0.05
    assert config.data.batch_size * int(config.run.devices) == 256
    assert config.method["logit_scale"] == 15.5


def test_defaults_and_types(tmp_path):
    values = {**GOOD, "run": {"max_steps": 10, "gradient_clip": 3, "devices": 2}}
    config = read_config(written(tmp_path, values))
    assert config.run.gradient_clip == 3.0
    assert isinstance(config.run.gradient_clip, float)
    assert config.run.devices == "2"
    assert config.run.patience is None
    assert config.data.sources == ({"kind": "mocks", "path": "mocks"},)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": {}}, r"unknown setting 'modle'; did you mean 'model'"),
        ({"run": {"max_step": 3}}, r"run: unknown setting 'max_step'; did you mean 'max_steps'"),
        ({"run": {}}, r"run: max_steps is missing"),
        ({"run": {"max_steps": "ten"}}, r"run.max_steps: 'ten' is str, expected int"),
        ({"run": {"max_steps": True}}, r"run.max_steps: True is bool, expected int"),
        ({"run": {"max_steps": 2.5}}, r"run.max_steps: 2.5 is float, expected int"),
        (
            {"run": {"max_steps": 2, "gradient_clip": "1e-1"}},
            r"'1e-1' is str, expected float; YAML takes .* 1\.0e-4",
        ),
        ({"run": {"max_steps": 2, "strategy": "fsdp"}}, r"run.strategy: 'fsdp' .*expected 'ddp'"),
        ({"data": 3}, r"data: expected settings as `name: value`, got 3"),
        ({"data": {"sources": "mocks", "batch_size": 8}}, r"data.sources: 'mocks' is str, expecte"),
        ({"data": {"sources": ["mocks"], "batch_size": 8}}, r"sources: 'mocks' is str, expected d"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_config(written(tmp_path, {**GOOD, **change}))


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_config(tmp_path / "absent.yaml", "align")
    with pytest.raises(InputError, match="expected a YAML file, or one of gpu, laptop, paper"):
        read_config("desktop", "align")
    with pytest.raises(InputError, match="is no YAML"):
        read_config(written(tmp_path, "name: [mine"))
    with pytest.raises(InputError, match="expected settings"):
        read_config(written(tmp_path, "- a list"))


def test_yaml_makes_no_objects(tmp_path):
    with pytest.raises(InputError, match="is no YAML"):
        read_config(written(tmp_path, "name: !!python/object/apply:os.getcwd []"))


def test_lists_of_a_fixed_length():
    kind = tuple[float, float]
    assert checked((1, 0.5), kind, "betas") == (1.0, 0.5)
    with pytest.raises(InputError, match=r"betas: \[1\] is list, expected list of 2"):
        checked([1], kind, "betas")
    with pytest.raises(InputError, match=r"betas: 'x' is str, expected float$"):
        checked([1, "x"], kind, "betas")


@pytest.mark.parametrize("strategy", ["fsdp", "fsdp_cpu_offload", "deepspeed_stage_2"])
def test_strategies_that_share_out_the_model_are_refused(strategy):
    with pytest.raises(InputError, match=r"shares out the model .* expected 'ddp'"):
        RunConfig(max_steps=1, strategy=strategy)
