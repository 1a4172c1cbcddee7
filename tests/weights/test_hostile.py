"""Checkpoints made to do harm: they run nothing, change nothing, and take no memory or time."""

import contextlib
import copyreg
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from astroclip_astro.errors import WeightsError
from astroclip_astro.models import SpecFormer
from astroclip_astro.weights import load_model, pickled
from astroclip_astro.weights.pickled import Inert, read_pickled


def archive(path, program, **entries):
    """Write a torch archive around a program of pickle's instructions."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program)
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def storage(key="S'0'\n", n="I4\n"):
    return f"(S'storage'\nctorch\nFloatStorage\n{key}S'cpu'\n{n}tQ.".encode()


class Reduces:
    """Pickled as a call."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


class Restores:
    """Makes a folder when its state is restored."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        state["path"].mkdir()


def numpy_array(path):
    array = np.empty(1, dtype=object)
    array[0] = Reduces(os.mkdir, (str(path),))
    return array


@pytest.mark.parametrize(
    "trap",
    [
        Restores,
        numpy_array,
        lambda p: Reduces(eval, (f"open({str(p)!r}, 'w').close()",)),
        lambda p: Reduces(np.save, (str(p), 1)),
        lambda p: Reduces(subprocess.call, (["touch", str(p)],)),
        lambda p: Reduces(list, (), None, iter([Reduces(os.mkdir, (str(p),))])),
        lambda p: Reduces(set, (), {"state": Reduces(os.mkdir, (str(p),))}),
        lambda p: {"image_encoder": [{"deep": (Reduces(os.mkdir, (str(p),)),)}]},
    ],
)
def test_traps_in_hyper_parameters_beside_good_weights_stay_shut(tmp_path, trap):
    with torch.random.fork_rng():
        model = SpecFormer(embed_dim=8, num_layers=1, num_heads=2)
    content = {"state_dict": model.state_dict(), "num_heads": 2}
    content["hyper_parameters"] = {"num_heads": 2, "trap": trap(tmp_path / "made.npy")}
    torch.save(content, tmp_path / "evil.ckpt")
    loaded = load_model(tmp_path / "evil.ckpt", device="cpu")
    assert torch.equal(loaded.head.bias, model.head.bias)
    assert not (tmp_path / "made.npy").exists()
    # The trap works: an ordinary unpickler walks into it.
    with contextlib.suppress(AttributeError):
        torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert (tmp_path / "made.npy").exists()


def test_extension_codes_are_refused_even_when_already_resolved(tmp_path, monkeypatch):
    # Once resolved, pickle hands out the object of a code without asking find_class.
    monkeypatch.setitem(copyreg._extension_cache, 7, print)
    for opcode in (b"\x82\x07", b"\x83\x07\x00", b"\x84\x07\x00\x00\x00"):
        path = archive(tmp_path / "ext.ckpt", b"\x80\x02" + opcode + b".")
        with zipfile.ZipFile(path) as file:
            assert pickle.loads(file.read("archive/data.pkl")) is print
        with pytest.raises(WeightsError, match="no checkpoint needs"):
            read_pickled(path)


@pytest.mark.parametrize("name", ["_rebuild_tensor_v2", "_rebuild_parameter"])
def test_a_pickle_cannot_write_into_our_own_functions(tmp_path, name):
    ours = {"_rebuild_tensor_v2": pickled._rebuild_tensor}.get(name, pickled._rebuild_parameter)
    program = f"ctorch._utils\n{name}\n}}S'evil'\nI1\nsb."
    read_pickled(archive(tmp_path / "dict.ckpt", program))
    slots = f"\x80\x02ctorch._utils\n{name}\nN}}S'__doc__'\nS'evil'\ns\x86b."
    read_pickled(archive(tmp_path / "slots.ckpt", slots.encode("latin-1")))
    assert not hasattr(ours, "evil")
    assert ours.__doc__ != "evil"


def test_a_pickle_cannot_write_into_dicts_and_tensors(tmp_path):
    program = "ccollections\nOrderedDict\n(tR}S'items'\nI1\nsb."
    found = read_pickled(archive(tmp_path / "dict.ckpt", program))
    assert list(found.items()) == []
    # torch.Tensor.__setstate__ with four items would grow the storage by unset memory.
    entry = {"archive/data/0": struct.pack("<4f", 1, 2, 3, 4)}
    tensor = b"(" + storage()[:-1] + b"I0\n(I4\nt(I1\nttR"
    program = b"ctorch._utils\n_rebuild_tensor_v2\n" + tensor + b"(I1\nI2\nI3\nI4\ntb."
    found = read_pickled(archive(tmp_path / "tensor.ckpt", program, **entry))
    assert found.tolist() == [1, 2, 3, 4]


def test_foreign_objects_are_inert_and_keep_what_they_were_given(tmp_path):
    class_and_call = "cos\nsystem\n(S'x'\ntR}S'a'\nI1\nsb(I5\ntR."
    assert type(read_pickled(archive(tmp_path / "a.ckpt", class_and_call))) is Inert
    found = read_pickled(archive(tmp_path / "b.ckpt", "cos\nsystem\n(tR}S'a'\nI1\nsb."))
    assert (type(found).__name__, found.state) == ("system", {"a": 1})
    found = read_pickled(archive(tmp_path / "c.ckpt", b"\x80\x02cfoo\nBar\n)\x81(S'k'\nI2\nu."))
    assert (found.state, found.contents) == (None, {"k": 2})


@pytest.mark.parametrize(
    ("program", "entries", "words"),
    [
        (storage("S'../../secret'\n"), {}, "no storage of a tensor"),
        (storage("(l"), {}, "no storage of a tensor"),
        (b"(S'module'\nI0\nI0\nI0\nI0\ntQ.", {}, "no storage of a tensor"),
        (storage(), {"../escape": b""}, "outside of the archive's one folder"),
        (storage(), {"archive/../../escape": b""}, "outside of the archive's one folder"),
        (storage(), {"/etc/passwd": b""}, "outside of the archive's one folder"),
        (storage(), {"elsewhere/data.pkl": b"N."}, "one data.pkl in the archive, found 2"),
        (storage(n="L1099511627776L\n"), {"archive/data/0": b"\0" * 16}, "has 16 bytes, expected"),
        (storage(n="I-4\n"), {"archive/data/0": b""}, "has 0 bytes, expected -4"),
        (storage(), {}, "damaged"),
        (b"N.", {"archive/byteorder": b"big"}, "not little-endian"),
        (b"(S'storage'\ntQ.", {}, "damaged"),
        (b"garbage", {}, "damaged"),
        (b"", {}, "damaged"),
        (b"\x80\x02" + b"(" * 100_000 + b".", {}, "damaged"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", {}, "no checkpoint needs"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".", {}, "damaged"),
    ],
)
def test_malformed_archives_are_refused(tmp_path, program, entries, words):
    with pytest.raises(WeightsError, match=words):
        read_pickled(archive(tmp_path / "bad.ckpt", program, **entries))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_entries_are_refused(tmp_path):
    path = archive(tmp_path / "doubled.ckpt", storage(), **{"archive/data/0": b"\0" * 16})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data/0", b"\1" * 16)
    with pytest.raises(WeightsError, match="doubled"):
        read_pickled(path)


def test_sizes_that_only_the_directory_states_are_refused(tmp_path):
    path = archive(tmp_path / "huge.ckpt", storage(), **{"archive/data/0": b"\0" * 16})
    raw = bytearray(path.read_bytes())
    # Compressed and full size, 20 bytes into the last entry of the central directory.
    entry = raw.rfind(b"archive/data/0") - 46
    raw[entry + 20 : entry + 28] = struct.pack("<II", 3 << 30, 3 << 30)
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match="has 3221225472 bytes, expected 4"):
        read_pickled(path)


@pytest.mark.skipif(sys.platform != "linux", reason="getrusage counts kilobytes on Linux only")
def test_a_few_bytes_do_not_take_gigabytes(tmp_path):
    # LONG_BINPUT at index 2**28 - 1: a memo in one block of memory would be of 4 GB.
    program = b"\x80\x02}r" + struct.pack("<I", (1 << 28) - 1) + b"."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_pickled(archive(tmp_path / "memo.ckpt", program)) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


class Module:
    """Stands for a module of a package that the user does not have."""

    def __init__(self, num_heads=None, hparams=None, **children):
        self._modules = children
        if num_heads is not None:
            self.num_heads = num_heads
        if hparams is not None:
            self._hparams = hparams


class Hparams(dict):
    """As Lightning keeps the arguments of a module."""


def lightning(toy, blocks=None, slices=None):
    """What Lightning writes for an AstroCLIP, with stand-ins for its modules."""
    spectrum = Module(
        backbone=Module(blocks=Module(**{"0": Module(attention=Module(2))}), hparams=slices),
        cross_attention=Module(multihead_attn=Module(2)),
    )
    image = Module(
        backbone=Module(blocks=blocks or Module(**{"0": Module(**{"0": Module(attn=Module(2))})})),
        cross_attention=Module(multihead_attn=Module(2)),
    )
    hyper = {"image_encoder": image, "spectrum_encoder": spectrum, "logit_scale": 9.5}
    return {"state_dict": toy.state_dict(), "hyper_parameters": hyper}


def test_what_only_pickled_modules_tell_is_found(tmp_path, make_toy):
    toy = make_toy()
    slices = Hparams(slice_section_length=400, slice_overlap=0, mask_chunk_width=3)
    torch.save(lightning(toy, slices=slices), tmp_path / "full.ckpt")
    loaded = load_model(tmp_path / "full.ckpt", device="cpu")
    assert loaded.config["spectrum"]["slice_overlap"] == 0
    assert loaded.config["spectrum"]["mask_chunk_width"] == 3
    assert loaded.config["logit_scale"] == 9.5
    x = torch.rand(1, 7781, 1)
    assert torch.equal(loaded.spectrum_encoder(x), toy.spectrum_encoder(x))
    # Blocks in chunks that are padded with identities, or in no chunks at all.
    padded = Module(**{"0": Module(**{"0": Module(), "1": Module(attn=Module(2))})})
    for blocks in (padded, Module(**{"0": Module(attn=Module(2))})):
        torch.save(lightning(toy, blocks, slices), tmp_path / "blocks.ckpt")
        assert load_model(tmp_path / "blocks.ckpt").config["image"]["num_heads"] == 2


def test_modules_within_themselves_and_other_nonsense_end_in_a_question(tmp_path, make_toy):
    toy = make_toy()
    ring = Module()
    ring._modules["0"] = ring
    number, named = Module(), Module(**{"0": Module(**{"0": Module(attn=Module("two"))})})
    number._modules = 5
    for blocks in (ring, number, named):
        torch.save(lightning(toy, blocks), tmp_path / "odd.ckpt")
        with pytest.raises(WeightsError, match=r"with image.num_heads, spectrum.slice_overlap"):
            load_model(tmp_path / "odd.ckpt")


@pytest.mark.parametrize(
    "name", ["data_embed.weight", "position_embed.weight", "blocks.0.layernorm1.weight"]
)
def test_tensors_of_an_unexpected_rank_are_refused(tmp_path, name):
    with torch.random.fork_rng():
        tensors = SpecFormer(embed_dim=8, num_layers=1, num_heads=2).state_dict()
    for shape in ((), (8,), (8, 22, 1), (0, 0)):
        if shape == tuple(tensors[name].shape):
            continue
        torch.save({**tensors, name: torch.zeros(shape)}, tmp_path / "rank.ckpt")
        with pytest.raises(WeightsError, match=r"rank.ckpt"):
            load_model(tmp_path / "rank.ckpt", config={"num_heads": 2})


def test_odd_objects_beside_the_weights_do_no_harm(tmp_path):
    with torch.random.fork_rng():
        model = SpecFormer(embed_dim=8, num_layers=1, num_heads=2)
    beside = [
        torch.zeros(1).expand(9),
        torch.zeros(3, dtype=torch.cfloat),
        torch.eye(2).to_sparse(),
    ]
    for other in beside:
        content = {"state_dict": model.state_dict(), "callbacks": other}
        torch.save(content, tmp_path / "beside.ckpt")
        loaded = load_model(tmp_path / "beside.ckpt", config={"num_heads": 2}, device="cpu")
        assert torch.equal(loaded.head.bias, model.head.bias)
    torch.save({**model.state_dict(), "head.bias": beside[1]}, tmp_path / "complex.ckpt")
    with pytest.raises(WeightsError, match=r"head.bias and 0 more entries are no tensors"):
        load_model(tmp_path / "complex.ckpt")
    torch.save({**model.state_dict(), 5: torch.zeros(1)}, tmp_path / "number.ckpt")
    with pytest.raises(WeightsError, match="a int as a name"):
        load_model(tmp_path / "number.ckpt")
