"""Checkpoints in every published layout; hostile and damaged ones do nothing but raise."""

import contextlib
import json
import os
import pickle
import zipfile
from importlib import resources

import pytest
import torch

from astroclip_astro.errors import PluginError, WeightsError
from astroclip_astro.models import AstroCLIP, SpecFormer
from astroclip_astro.weights import load_model, save_model
from astroclip_astro.weights.checkpoint import _astroclip, _complete, _specformer, _vit
from astroclip_astro.weights.layout import build, file_sha256

HEADS = {
    "spectrum": {"num_heads": 2},
    "image": {"num_heads": 2},
    "spectrum_heads": 2,
    "image_heads": 2,
}


@pytest.fixture
def specformer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpecFormer(embed_dim=8, num_layers=1, num_heads=2).eval()


def write(path, content):
    torch.save(content, path)
    return path


class Creates:
    """Creates a file or folder when it is unpickled."""

    def __init__(self, path, by=os.mkdir):
        self.path, self.by = str(path), by

    def __reduce__(self):
        return self.by, (f"touch {self.path}" if self.by is os.system else self.path,)


class CreatesInside:
    """Creates a folder by way of an item of another object."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return dict, (), None, None, iter([("key", Creates(self.path))])


@pytest.mark.parametrize(
    "build",
    [
        lambda m, p: {"state_dict": m, "hyper_parameters": {"x": Creates(p)}},
        lambda m, p: {"state_dict": m, "hyper_parameters": {"x": Creates(p, os.system)}},
        lambda m, p: {"state_dict": m, "callbacks": [CreatesInside(p)]},
        lambda m, p: {**m, "evil": Creates(p)},
        lambda m, p: Creates(p),
        lambda m, p: {"state_dict": m, Creates(p): 1},
        lambda m, p: {"teacher": Creates(p, os.system)},
    ],
)
def test_nothing_pickled_is_executed(tmp_path, specformer, build):
    trap = tmp_path / "trap"
    path = write(tmp_path / "evil.ckpt", build(specformer.state_dict(), trap))
    with contextlib.suppress(WeightsError):
        load_model(path, config={"num_heads": 2})
    assert not trap.exists()
    # The trap works: an ordinary unpickler walks into it.
    torch.load(path, weights_only=False)
    assert trap.exists()


def test_hostile_opcodes_do_nothing(tmp_path):
    trap = tmp_path / "trap"
    programs = {
        "INST": f"(S'touch {trap}'\nios\nsystem\n.",
        "OBJ": f"(cos\nsystem\nS'touch {trap}'\no.",
        "GLOBAL": f"cos\nsystem\n(S'touch {trap}'\ntR.",
        "getattr": f"cbuiltins\ngetattr\n(cos\nS'system'\ntR(S'touch {trap}'\ntR.",
    }
    for name, program in programs.items():
        path = tmp_path / f"{name}.ckpt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", program.encode())
        with pytest.raises(WeightsError):
            load_model(path)
        assert not trap.exists(), name


def test_every_layout_gives_the_same_model(tmp_path, make_toy):
    toy = make_toy()
    x = torch.rand(2, 3, 144, 144)
    bare = write(tmp_path / "bare.ckpt", toy.state_dict())
    wrapped = write(tmp_path / "wrapped.ckpt", {"state_dict": toy.state_dict()})
    save_model(toy, tmp_path / "toy.safetensors", name="toy")
    sections = {
        "spectrum": {"num_heads": 2, "slice_section_length": 400, "slice_overlap": 0},
        "image": {"num_heads": 2},
        "spectrum_heads": 2,
        "image_heads": 2,
    }
    expected = toy.image_encoder(x)
    for path, config in (
        (bare, sections),
        (wrapped, sections),
        (tmp_path / "toy.safetensors", None),
    ):
        loaded = load_model(path, config=config, device="cpu")
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        torch.testing.assert_close(loaded.image_encoder(x), expected)
        assert loaded.weights_sha256 == file_sha256(path)


def test_golden_layouts(shared_dir):
    golden = shared_dir / "golden"
    full = load_model(golden / "astroclip_tiny.ckpt")
    assert full.config["image"]["num_heads"] == full.config["spectrum"]["num_heads"] == 2
    assert full.config["image_heads"] == full.config["spectrum_heads"] == 2
    bare = load_model(golden / "astroclip_tiny_state_dict_only.ckpt", config=HEADS)
    for a, b in zip(full.parameters(), bare.parameters(), strict=True):
        assert torch.equal(a, b)
    assert load_model(golden / "specformer_tiny.ckpt").config["num_heads"] == 2
    with pytest.raises(WeightsError, match="pass config= with num_heads"):
        load_model(golden / "astrodino_tiny.ckpt")


def test_config_may_not_contradict_the_file(tmp_path, specformer):
    content = {"state_dict": specformer.state_dict(), "hyper_parameters": {"num_heads": 2}}
    path = write(tmp_path / "lightning.ckpt", content)
    assert load_model(path, config={"num_heads": 2}).config["num_heads"] == 2
    with pytest.raises(WeightsError, match="its num_heads is 2, not 4"):
        load_model(path, config={"num_heads": 4})
    with pytest.raises(WeightsError, match="its embed_dim is 8, not 16"):
        load_model(path, config={"embed_dim": 16})


def test_slices_of_another_length_need_their_overlap(tmp_path):
    with torch.random.fork_rng():
        model = SpecFormer(
            input_dim=42,
            slice_section_length=40,
            slice_overlap=30,
            embed_dim=8,
            num_layers=1,
            num_heads=2,
        ).eval()
    path = write(tmp_path / "slices.ckpt", model.state_dict())
    with pytest.raises(WeightsError, match="pass config= with slice_overlap"):
        load_model(path, config={"num_heads": 2})
    loaded = load_model(path, config={"num_heads": 2, "slice_overlap": 30}, device="cpu")
    x = torch.rand(1, 400, 1)
    assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize("name", ["astroclip", "specformer", "astrodino"])
def test_a_state_dict_of_the_published_size_needs_no_config(name):
    file = resources.files("astroclip_astro.models") / "configs" / f"{name}.json"
    known = json.loads(file.read_text())
    # On the meta device the full size costs no memory; a file of it would be of 1.5 GB.
    shapes = build(known["model"], known["config"]).state_dict()
    infer = {"AstroCLIP": _astroclip, "SpecFormer": _specformer, "VisionTransformer": _vit}
    told = infer[known["model"]](shapes, {})
    assert _complete(known["model"], told, None, name) == known["config"]


def test_missing_extra_misshapen_and_nan_are_named(tmp_path, specformer):
    good = specformer.state_dict()
    cases = {
        "missing head.bias": {k: v for k, v in good.items() if k != "head.bias"},
        "extra surplus": {**good, "surplus": torch.zeros(1)},
        r"head.bias has shape \(3,\), expected \(22,\)": {**good, "head.bias": torch.zeros(3)},
        "head.bias is not finite": {**good, "head.bias": torch.full((22,), torch.nan)},
        "holds no AstroCLIP": {"something": torch.zeros(1)},
        "are no tensors": {**good, "note": "hello"},
    }
    for message, content in cases.items():
        path = write(tmp_path / "case.ckpt", {"state_dict": content})
        with pytest.raises(WeightsError, match=message):
            load_model(path, config={"num_heads": 2})


def test_files_that_are_no_checkpoints(tmp_path, specformer):
    (tmp_path / "page.ckpt").write_text("<!DOCTYPE html><html>not found</html>")
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps({"a": 1}))
    whole = write(tmp_path / "whole.ckpt", specformer.state_dict()).read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("page.ckpt", "empty.ckpt", "plain.ckpt", "cut.ckpt", "text.safetensors"):
        with pytest.raises(WeightsError, match=name):
            load_model(tmp_path / name)
    with pytest.raises(WeightsError, match="HTML page"):
        load_model(tmp_path / "page.ckpt")
    with pytest.raises(WeightsError, match="no such file"):
        load_model(tmp_path / "absent.ckpt")


def test_tensors_may_not_reach_beyond_their_storage(tmp_path, specformer):
    path = write(tmp_path / "whole.ckpt", {"x": torch.zeros(4)})
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(content)).split("/")[0]
    content[f"{root}/data/0"] = b"\0" * 8
    with zipfile.ZipFile(tmp_path / "short.ckpt", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(WeightsError, match="has 8 bytes, expected 4"):
        load_model(tmp_path / "short.ckpt")
    with zipfile.ZipFile(tmp_path / "packed.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(WeightsError, match="compressed"):
        load_model(tmp_path / "packed.ckpt")


def test_a_few_bytes_cannot_pass_for_terabytes(tmp_path):
    path = write(tmp_path / "expanded.ckpt", {"x": torch.zeros(1).expand(1 << 40)})
    with pytest.raises(WeightsError, match="beyond its storage"):
        load_model(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="not written by save_model"):
        load_model(tmp_path / "foreign.safetensors")


def test_half_precision_files_load_as_float32(tmp_path, make_toy):
    toy = make_toy()
    toy.training_range = {"spectrum": (0.5, 2.0)}
    save_model(toy, tmp_path / "half.safetensors", name="half", dtype=torch.float16)
    loaded = load_model(tmp_path / "half.safetensors")
    assert loaded.dtype == torch.float32
    assert loaded.name == "half"
    assert tuple(loaded.training_range["spectrum"]) == (0.5, 2.0)
    assert loaded.preprocessing == toy.preprocessing
    assert loaded.preprocessing_hash == toy.preprocessing_hash


def test_names_devices_and_options_are_checked(tmp_path, make_toy, capsys):
    with pytest.raises(PluginError, match="Did you mean 'astroclip'"):
        load_model("astroclp")
    save_model(make_toy(), tmp_path / "toy.safetensors", name="toy")
    with pytest.raises(ValueError, match="not available here"):
        load_model(tmp_path / "toy.safetensors", device="cuda:77")
    with pytest.raises(ValueError, match="of no use for a local file"):
        load_model(tmp_path / "toy.safetensors", revision="v1")
    state = torch.get_rng_state()
    assert isinstance(load_model(tmp_path / "toy.safetensors"), AstroCLIP)
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr() == ("", "")
