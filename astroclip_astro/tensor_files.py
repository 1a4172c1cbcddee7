"""Files of tensors with a header of text, in which nothing can be executed: safetensors."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from astroclip_astro.errors import WeightsError

__all__ = ["read_tensors", "write_tensors"]


def write_tensors(path, tensors, metadata):
    """Write a file as a whole or not at all.

    Parameters
    ----------
    path : path-like
        The file.
    tensors : dict of torch.Tensor
        What to write, by name.
    metadata : dict of str
        Its header; ``format`` says what kind of file it is.
    """
    path = Path(path)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        # save_file() would make a file that nobody else may read.
        aside.write_bytes(_ordered(save(tensors, metadata=metadata)))
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _ordered(file):
    """The same with its metadata in order, as the same content is to have the same checksum."""
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # tensors are aligned
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(file)[start:]])


def read_tensors(path, wanted, refusal):
    """Read a file that `write_tensors` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    wanted : str
        The ``format`` that it has to be of.
    refusal : str
        What to say of a file of another one, such as "is no head".

    Returns
    -------
    header : dict of str
        Its metadata.
    tensors : dict of torch.Tensor
        By name, on the CPU.

    Raises
    ------
    WeightsError
        If it is missing or damaged, or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {error}") from error
    if header.get("format") != wanted:
        raise WeightsError(
            f"{path} {refusal}: its format is {header.get('format')!r}, expected {wanted!r}"
        )
    return header, tensors
