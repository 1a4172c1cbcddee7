"""Files of tensors are read as they were written, and the same content is the same file."""

import torch
from safetensors import safe_open

from astroclip_astro.tensor_files import read_tensors, write_tensors

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([1, 2], dtype=torch.int64)}
NOTES = {f"note {i}": f"Å “{i}” \\ \n" for i in range(30)} | {"format": "test-1"}


def test_same_content_is_the_same_file(tmp_path):
    files = set()
    for i in range(5):
        path = tmp_path / f"{i}.safetensors"
        write_tensors(path, TENSORS, dict(reversed(NOTES.items())) if i % 2 else NOTES)
        files.add(path.read_bytes())
    assert len(files) == 1


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "some.safetensors"
    write_tensors(path, TENSORS, NOTES)
    header, tensors = read_tensors(path, "test-1", "is no test")
    assert header == NOTES
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
    with safe_open(path, framework="pt") as file:  # by its own library, slice by slice
        assert torch.equal(file.get_slice("b")[1:], TENSORS["b"][1:])
