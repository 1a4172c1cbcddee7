"""Reading torch's pickled files as plain data, without executing anything that is in them."""

import pickle
import zipfile
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import ClassVar

import torch

from astroclip_astro.errors import WeightsError

__all__ = ["Inert", "read_pickled"]

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stands in for an object whose class must not run: it keeps what it is given.

    Parameters
    ----------
    *args, **kwargs : object
        Ignored.

    Attributes
    ----------
    state : object
        What the pickle wanted to put into the object; None if nothing.
    contents : dict
        Items that the pickle wanted to set, where the object was a mapping.
    """

    def __new__(cls, *args, **kwargs):
        """Make one, whatever the arguments."""
        made = object.__new__(cls)
        made.state = None
        made.contents = {}
        return made

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        """Return another stand-in."""
        return Inert()

    def __setitem__(self, key, value):
        self.contents[key] = value

    def append(self, item):
        """Ignore an item that the pickle adds.

        Parameters
        ----------
        item : object
            Ignored.
        """

    extend = add = append


def _refuse(unpickler):
    raise WeightsError("it uses an instruction of pickle that no checkpoint needs")


def _build(unpickler):
    # BUILD would write into whatever it meets, our own functions and tensors included.
    state = unpickler.stack.pop()
    if isinstance(unpickler.stack[-1], Inert):
        unpickler.stack[-1].state = state


class _Unpickler(pickle._Unpickler):
    """Rebuilds tensors and plain data; everything else becomes inert.

    It derives from the Python implementation, where single instructions can be replaced, and a
    file of a few bytes cannot ask for a memo of gigabytes.
    """

    dispatch: ClassVar[dict] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: _build,
        # EXT fetches objects past find_class, and no checkpoint has any of these.
        **dict.fromkeys(
            (
                pickle.EXT1[0],
                pickle.EXT2[0],
                pickle.EXT4[0],
                pickle.BYTEARRAY8[0],
                pickle.NEXT_BUFFER[0],
                pickle.READONLY_BUFFER[0],
            ),
            _refuse,
        ),
    }

    def __init__(self, file, storage):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        return type(str(name), (Inert,), {})

    def persistent_load(self, pid):
        return self._storage(pid)


def _rebuild_tensor(storage, offset, size, stride, *_):
    """View a part of a storage as a tensor, after checking that it lies inside."""
    if isinstance(storage, Inert):
        return storage
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.Tensor) or not all(
        isinstance(n, int) and n >= 0 for n in numbers
    ):
        raise WeightsError("a tensor in the checkpoint is malformed")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if prod(size) and last >= storage.numel():
        raise WeightsError("a tensor in the checkpoint reaches beyond its storage")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _rebuild_parameter(data, *_):
    return data


def read_pickled(path):
    """Read a torch checkpoint as plain data.

    Parameters
    ----------
    path : path-like
        A file that ``torch.save`` wrote, in its zip format.

    Returns
    -------
    object
        Dicts, lists, numbers, text and tensors as they were; inert stand-ins for everything else.
        Nothing in the file is executed, whatever it names.

    Raises
    ------
    WeightsError
        If it is no such file, or is damaged.
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            start = file.read(64).lower()
        if b"<html" in start or b"<!doc" in start:
            raise WeightsError(f"{path} is an HTML page and no checkpoint: download it again")
        raise WeightsError(
            f"{path} is no torch checkpoint: expected the zip file that torch.save has written "
            "since torch 1.6 (an older one can be saved again by a newer torch), or .safetensors"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        raise WeightsError(
            f"{path} is damaged or no torch checkpoint ({type(error).__name__}: {error})"
        ) from error


def _read_archive(archive):
    names = archive.namelist()
    pickles = [name for name in names if name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise WeightsError(f"expected one data.pkl in the archive, found {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    if len(set(names)) < len(names) or not all(
        name.startswith(root) and ".." not in name.split("/") for name in names
    ):
        raise WeightsError("its entries are doubled, or outside of the archive's one folder")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise WeightsError("it is compressed, which torch.save never does")
    order = f"{root}byteorder"
    if order in names and archive.read(order) != b"little":
        raise WeightsError("its byte order is not little-endian: save it on another machine")
    storages = {}

    def storage(pid):
        kind, dtype, key, _, n = pid
        if kind != "storage" or not isinstance(key, str) or not key.isalnum():
            raise WeightsError("it refers to something that is no storage of a tensor")
        if not isinstance(dtype, torch.dtype):
            return Inert()
        if key not in storages:
            info = archive.getinfo(f"{root}data/{key}")
            if info.file_size != n * dtype.itemsize:
                raise WeightsError(
                    f"storage {key} has {info.file_size} bytes, expected {n} {dtype}"
                )
            data = bytearray(archive.read(info))
            storages[key] = torch.frombuffer(data, dtype=dtype) if n else torch.empty(0).to(dtype)
        return storages[key]

    with archive.open(pickles[0]) as file:
        return _Unpickler(file, storage).load()
