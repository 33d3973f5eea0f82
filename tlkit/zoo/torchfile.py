"""Read the tensors of a torch weight file without torch, and without running what a pickle may ask for.

The legacy layout (before torch 1.6): five pickles (magic number, protocol, facts about the writer, the state dict with
its storages named by persistent ids, the list of storage keys), then each storage as its count and raw bytes. The newer
one is a zip archive: `NAME/data.pkl` is the state dict's pickle, and `NAME/data/KEY` the raw bytes of each storage.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from tlkit.core.errors import InputError, UnsafeModuleError

MAGIC = 0x1950A86A20F9469CFC6C
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
        *(OverflowError, MemoryError, RecursionError, zipfile.BadZipFile, RuntimeError, zlib.error, OSError),
    ) as error:
        raise InputError(f"{path} is damaged, or not a weight file of torch ({error}).") from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    file.seek(0)
    if _unpickle(file) != MAGIC:
        raise ValueError("the magic number is missing")
    _protocol, facts = _unpickle(file), _unpickle(file)
    if not facts["little_endian"]:
        raise ValueError("written on a big-endian machine")
    state, keys = _unpickle(file, tensors=True), _unpickle(file)
    tensors = dict(_named(state))
    dtypes = {t.storage.key: t.storage.dtype for t in tensors.values()}
    storages = {key: _storage(file, dtypes[key]) for key in keys}
    return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_archive(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        with archive.open(pickled) as opened:
            tensors = dict(_named(_unpickle(opened, tensors=True)))
        storages = {t.storage.key: t.storage.dtype for t in tensors.values()}
        numbers = {key: np.frombuffer(archive.read(f"{root}data/{key}"), dtype) for key, dtype in storages.items()}
    return {name: _array(tensor, numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _named(state: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, _Tensor]]:
    """The tensors of nested dicts, by their dotted names."""
    for name, value in state.items():
        if isinstance(value, _Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, dict):
            yield from _named(value, f"{prefix}{name}.")


def _storage(file: BinaryIO, dtype: np.dtype[Any]) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    data = file.read(count * dtype.itemsize) if count < 1 << 40 else b""
    if len(data) != count * dtype.itemsize:
        raise ValueError("the file ends within its numbers")
    return np.frombuffer(data, dtype)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """A copy of the tensor's part of its storage, never of what lies around it."""
    extents = [(n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise ValueError("a tensor with a negative size")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, numbers.dtype)
    if tensor.offset + sum(extents) >= len(numbers):
        raise ValueError("a tensor that is larger than its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides).copy()


def _unpickle(file: IO[bytes], *, tensors: bool = False) -> Any:
    return (_TensorsOnly if tensors else _PlainOnly)(file).load()


class _PlainOnly(pickle.Unpickler):
    """Numbers, strings and containers of them."""

    def find_class(self, module: str, name: str) -> Any:
        raise UnsafeModuleError(
            f"The weight file asks for `{module}.{name}`, which is no tensor, so it is not read: get the weights from "
            "a source you trust, in another format."
        )

    def persistent_load(self, identity: Any) -> Any:
        raise pickle.UnpicklingError(f"an object outside the pickle: {identity!r}")


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
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"an object that is no storage: {kind!r}")
        return _Storage(str(key), dtype)


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
