"""Exported encoders against the models in double precision, what they refuse, what files hold."""

import hashlib
import json
import sys
import zipfile
from copy import deepcopy
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import astroclip_astro as aa
from astroclip_astro import export as module
from astroclip_astro.adapters.flux_density import LARGEST_FLUX
from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.export import METADATA, TOLERANCE, export
from astroclip_astro.models import Companion, SpecFormer, products
from astroclip_astro.simulate import MockSurvey

MOCKS = MockSurvey.bundled()
FORMATS = [".onnx", ".pt2"]
MODALITIES = ["spectrum", "image"]


@pytest.fixture(scope="module")
def model():
    return aa.load_model(device="cpu")


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Function that gives the file of an encoder of the bundled model, written once."""
    folder = tmp_path_factory.mktemp("exported")

    def exported(modality, suffix):
        path = folder / f"{modality}{suffix}"
        if not path.exists():
            export(model, path, modality=modality)
        return path

    return exported


def runner(path):
    """What makes vectors by a file, without this package."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda flux: torch.from_numpy(session.run(None, {"flux": flux.numpy()})[0])


def mock_flux(model, modality, count):
    kind, preprocessing = get_modality(modality), model.preprocessing[modality]
    get = MOCKS.spectrum if modality == "spectrum" else MOCKS.cutout
    records = [r for i in range(count) for r in kind.records(get(i), preprocessing=preprocessing)]
    return kind.batch(records, preprocessing).flux


def metadata(path):
    if path.suffix == ".onnx":
        return {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    about = {METADATA: ""}
    torch.export.load(path, extra_files=about)
    return json.loads(about[METADATA])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("modality", MODALITIES)
def test_vectors_are_those_of_the_model(modality, suffix, model, exported):
    flux = mock_flux(model, modality, 7)
    expected = deepcopy(model).double().encode(flux, modality)
    run = runner(exported(modality, suffix))
    for count in (1, 2, 7):
        found = run(flux[:count])
        assert (found.dtype, found.shape) == (torch.float32, (count, model.embed_dim))
        assert (found - expected[:count]).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, LARGEST_FLUX, -3e38])
def test_bad_fluxes_give_no_vector(bad, modality, suffix, model, exported):
    flux = mock_flux(model, modality, 4)
    expected = model.encode(flux, modality)
    flux[1].view(-1)[0] = flux[3].view(-1)[-1] = bad
    found = runner(exported(modality, suffix))(flux)
    assert found[[1, 3]].isnan().all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_says_what_it_is(suffix, model, exported):
    about = metadata(exported("spectrum", suffix))
    assert {**about, **model.provenance} == about
    text = about["preprocessing_parameters"]
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == about["preprocessing"]
    assert json.loads(text)["spectrum"]["n_pixels"] == 7781
    assert json.loads(about["training_range"]) == model.training_range
    assert (about["modality"], about["unit"]) == ("spectrum", "1e-17 erg / (Angstrom s cm2)")
    assert (about["licence"], about["astroclip_astro"]) == ("BSD-3-Clause", version(aa.__name__))
    assert "Parker" in about["citation"]
    assert metadata(exported("image", suffix))["unit"] == "nmgy"


@pytest.mark.parametrize("modality", MODALITIES)
def test_onnx_is_valid_and_of_standard_operators(modality, model, exported):
    written = onnx.load(exported(modality, ".onnx"))
    onnx.checker.check_model(written, full_check=True)
    assert {opset.domain for opset in written.opset_import} == {""}
    assert {node.domain for node in written.graph.node} == {""}
    (flux,), (vectors,) = written.graph.input, written.graph.output
    assert (flux.name, vectors.name) == ("flux", "vectors")
    first, *rest = flux.type.tensor_type.shape.dim
    assert first.dim_param == vectors.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert tuple(d.dim_value for d in rest) == tuple(mock_flux(model, modality, 1).shape[1:])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_file_holds_one_encoder_and_nothing_of_this_machine(modality, suffix, exported):
    path, encoder = exported(modality, suffix), f"{modality}_encoder"
    if suffix == ".onnx":
        written = onnx.load(path)
        content = written.SerializeToString()
        named = [w.name for w in written.graph.initializer if w.name.startswith("model.")]
    else:
        with zipfile.ZipFile(path) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
        named = list(torch.export.load(path).state_dict)
    assert len(named) > 20
    assert {name.split(".")[1] for name in named} == {encoder}
    for place in (path.parent, sys.prefix, module.__file__.rpartition("/")[0]):
        assert str(place).encode() not in content


def test_nothing_is_unpickled(exported, monkeypatch):
    path = exported("spectrum", ".pt2")

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for owner, name in [(torch, "load"), (torch._C, "_pickle_load_obj")]:
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    assert torch.export.load(path).module()(torch.ones(1, 7781, 1)).isfinite().all()


@pytest.mark.parametrize("modality", MODALITIES)
def test_graphs_have_plain_operators_where_this_processor_has_faster_ones(
    modality, make_toy, tmp_path, monkeypatch
):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    rates = {"torch": 0.5, torch.float32: 1.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(products, "_rates", lambda: rates)
    monkeypatch.setattr(products, "_LARGE", 0)
    monkeypatch.setattr(products, "_PIECE", 1)
    toy, path = make_toy(), tmp_path / "toy.pt2"
    export(toy, path, modality=modality)
    program = torch.export.load(path)
    used = {n.target for n in program.graph.nodes if n.op == "call_function"}
    assert {getattr(target, "namespace", "aten") for target in used} == {"aten"}
    assert torch.ops.aten.scaled_dot_product_attention.default in used
    flux = mock_flux(toy, modality, 3)
    expected = toy.encode(flux, modality)
    torch.testing.assert_close(program.module()(flux), expected, rtol=0, atol=1e-5)


def test_a_file_that_disagrees_is_not_left(make_toy, tmp_path, monkeypatch):
    toy, path = make_toy(), tmp_path / "toy.pt2"
    path.write_bytes(b"the one before")
    read = module._read_pt2

    def off(path):
        run = read(path)
        return lambda flux: run(flux) * (1 + 2 * TOLERANCE)

    monkeypatch.setattr(module, "_read_pt2", off)
    with pytest.raises(
        AstroclipError, match=r"toy\.pt2: vectors of the graph differ .* by 2\.0e-04"
    ):
        export(toy, path, modality="image", overwrite=True)
    monkeypatch.setattr(module, "_read_pt2", lambda path: lambda f: read(path)(f).nan_to_num(1.0))
    with pytest.raises(AstroclipError, match="vector of flux that is NaN"):
        export(toy, path, modality="image", overwrite=True)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"the one before"]


def test_a_file_that_exists_is_kept(make_toy, tmp_path):
    path = tmp_path / "toy.pt2"
    path.write_bytes(b"the one before")
    with pytest.raises(FileExistsError, match="exists"):
        export(make_toy(), path, modality="image")
    assert path.read_bytes() == b"the one before"
    checked = export(make_toy(), path, modality="image", overwrite=True)
    assert checked["difference"] < 1e-6
    assert metadata(path)["model"] == "toy"
    assert "licence" not in metadata(path)


@pytest.mark.parametrize(
    ("name", "modality", "message"),
    [
        ("x.pt2", "photometry", "model 'toy' embeds spectrum and image, not 'photometry'"),
        ("x.pt", "image", "unknown suffix '.pt': expected one of .onnx, .pt2"),
        ("none/x.onnx", "image", "its folder does not exist"),
    ],
)
def test_what_is_refused(name, modality, message, make_toy, tmp_path):
    with pytest.raises(InputError, match=message):
        export(make_toy(), tmp_path / name, modality=modality)


def test_rounded_weights_are_refused(make_toy, tmp_path):
    with pytest.raises(InputError, match="'toy' are in bfloat16: load the model in float32"):
        export(make_toy().compute_in("bfloat16"), tmp_path / "x.pt2", modality="image")
    with pytest.raises(InputError, match="are in float64"):
        export(make_toy().double(), tmp_path / "x.pt2", modality="image")


def test_a_missing_package_is_named_before_the_work(make_toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        InputError, match=r"onnxruntime is missing: pip install 'astro.*\[export\]'"
    ):
        export(make_toy(), tmp_path / "x.onnx", modality="image")


def test_encoders_that_onnx_cannot_hold_go_elsewhere(make_toy, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ONNX_HOLDS", 1000)
    with pytest.raises(InputError, match=r"holds 2 GB and the encoder has more: export to \.pt2"):
        export(make_toy(), tmp_path / "x.onnx", modality="image")
    assert list(tmp_path.iterdir()) == []


def test_companions_are_exported_with_their_model(make_toy, tmp_path):
    torch.manual_seed(0)
    base = SpecFormer(embed_dim=16, num_layers=1, num_heads=2).eval().requires_grad_(False)
    encoder = deepcopy(make_toy().image_encoder)
    companion = Companion(base, encoder, "image").eval().requires_grad_(False)
    export(companion, tmp_path / "image.pt2", modality="image")
    about = metadata(tmp_path / "image.pt2")
    assert about["companion_image"] == companion.companion_sha256
    flux = mock_flux(companion, "image", 3)
    found = runner(tmp_path / "image.pt2")(flux)
    torch.testing.assert_close(found, companion.encode(flux, "image"), rtol=0, atol=1e-5)
    export(companion, tmp_path / "spectrum.pt2", modality="spectrum")
    assert "companion_image" not in metadata(tmp_path / "spectrum.pt2")


def test_modalities_on_no_grid_are_refused(make_toy, tmp_path):
    toy = make_toy()
    toy.preprocessing["image"] = object()  # what a further modality may have
    with pytest.raises(InputError, match="'image': expected one on the grid of spectra or images"):
        export(toy, tmp_path / "x.pt2", modality="image")
