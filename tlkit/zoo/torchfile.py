"""Read the tensors of a torch weight file without torch, and without running what a pickle may ask for.

The legacy layout (before torch 1.6): five pickles (magic number, protocol, facts about the writer, the state dict with
its storages named by persistent ids, the list of storage keys), then each storage as its count and raw bytes. The newer
one is a zip archive: `NAME/data.pkl` is the state dict's pickle, and `NAME/data/KEY` the raw bytes of each storage.
"""

from __future__ import annotations

import collections
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar

import numpy as np

from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.core.trouble import MOST_LETTERS, first_line, printable

MAGIC = 0x1950A86A20F9469CFC6C
MOST_TIMES = 8  # the size of its file that all tensors may take: some share a storage, as tied weights do
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies; its numbers come after the pickles."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array of every tensor in a state dict that torch wrote, in its legacy format or as a zip archive.

    A checkpoint that holds several state dicts gives dotted names: `model_state.linear.bias`.

    Raises:
        UnsafeModuleError: If the pickle asks for anything but tensors.
        InputError: If the file is damaged or in another format.
    """
    try:
        with Path(path).open("rb") as file:
            return _read_archive(file) if zipfile.is_zipfile(file) else _read(file)
    except UnsafeModuleError:
        raise
    except (
        # what a damaged pickle makes the machine raise
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError),
        *(OverflowError, MemoryError, RecursionError, zipfile.BadZipFile, RuntimeError, OSError),
        *(zlib.error, struct.error, AssertionError),
    ) as error:
        reason = printable(first_line(error)).rstrip(".")
        raise InputError(f"{path} is damaged, or not a weight file of torch ({reason}).") from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if _unpickle(file, size) != MAGIC:
        raise ValueError("the magic number is missing")
    _protocol, facts = _unpickle(file, size), _unpickle(file, size)
    if not facts["little_endian"]:
        raise ValueError("written on a big-endian machine")
    state, keys = _unpickle(file, size, tensors=True), _unpickle(file, size)
    tensors = dict(_named(state))
    dtypes = {t.storage.key: t.storage.dtype for t in tensors.values()}
    storages = {key: _storage(file, dtypes[key], size) for key in keys}
    return _arrays(tensors, storages, size)


def _read_archive(file: BinaryIO) -> dict[str, np.ndarray]:
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        if sum(max(entry.file_size, entry.compress_size) for entry in archive.infolist()) > MOST_TIMES * size:
            raise ValueError("its parts are larger than the file")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in archive.infolist()):
            raise ValueError("packed as torch never packs")  # others make as much room as the file says
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        with archive.open(pickled) as opened:
            tensors = dict(_named(_unpickle(opened, archive.getinfo(pickled).file_size, tensors=True)))
        storages = {t.storage.key: t.storage.dtype for t in tensors.values()}
        numbers = {key: np.frombuffer(archive.read(f"{root}data/{key}"), dtype) for key, dtype in storages.items()}
    return _arrays(tensors, numbers, size)


def _arrays(tensors: Mapping[str, _Tensor], storages: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """The tensors of a file of `size` bytes."""
    left = MOST_TIMES * size
    for tensor in tensors.values():
        if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
            raise ValueError("a tensor with a negative size")
        left -= math.prod(tensor.shape) * tensor.storage.dtype.itemsize
    if left < 0:
        raise ValueError("tensors that are larger than the file")
    return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _named(state: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, _Tensor]]:
    """The tensors of nested dicts, by their dotted names."""
    for name, value in state.items():
        if not isinstance(name, str | int):
            raise ValueError("a name that is no text")
        if isinstance(value, _Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, dict):
            yield from _named(value, f"{prefix}{name}.")


def _storage(file: BinaryIO, dtype: np.dtype[Any], size: int) -> np.ndarray:
    length = int.from_bytes(file.read(8), "little") * dtype.itemsize
    if length > size - file.tell():
        raise ValueError("the file ends within its numbers")
    return np.frombuffer(file.read(length), dtype)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """A copy of the tensor's part of its storage, never of what lies around it."""
    extents = [(n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, numbers.dtype)
    if tensor.offset + sum(extents) >= len(numbers):
        raise ValueError("a tensor that is larger than its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides).copy()


def _unpickle(file: IO[bytes], size: int, *, tensors: bool = False) -> Any:
    return (_TensorsOnly if tensors else _PlainOnly)(_Bounded(file, size)).load()


@dataclass(frozen=True)
class _Bounded:
    """A file of `size` bytes that makes no room for more than it has, whatever length a pickle says."""

    file: IO[bytes]
    size: int

    def read(self, count: int) -> bytes:
        """So many bytes."""
        if count > self.size - self.file.tell():
            raise EOFError("the file ends within its pickle")
        return self.file.read(count)

    def readline(self) -> bytes:
        """Up to the next line break."""
        return self.file.readline()


class _PlainOnly(pickle._Unpickler):
    """Numbers, strings and containers of them.

    The unpickler written in Python, as that in C makes a table as large as the largest number of an object in the file.
    """

    dispatch: ClassVar = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code not in pickle.BYTEARRAY8
    }  # it makes room before it reads

    def find_class(self, module: str, name: str) -> Any:
        raise UnsafeModuleError(
            f"The weight file asks for `{printable(f'{module}.{name}'[:MOST_LETTERS])}`, which is no tensor, so it is "
            "not read: get the weights from a source you trust, in another format."
        )

    def persistent_load(self, identity: Any) -> Any:
        raise pickle.UnpicklingError("an object outside the pickle")


class _TensorsOnly(_PlainOnly):
    """And tensors, as records of where their numbers lie."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        return super().find_class(module, name)

    def persistent_load(self, identity: Any) -> Any:
        kind, dtype, key, *_ = identity
        if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError("an object that is no storage")
        return _Storage(key, dtype)


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
