"""Read a CTranslate2 `model.bin`: name -> array of its tensors. Runs nothing.

Source: the format as CTranslate2's own `model_spec.py` writes it, version 6: the name of the model's kind, then of each
tensor its name, shape, type and bytes, then names that stand for other tensors (tied weights).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError

VERSION = 6
TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_ct2(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array of every tensor, of the type in which it is stored; matrices are (out, in).

    Raises:
        InputError: If the file is damaged, in another format or version, or holds numbers that NumPy lacks (bfloat16).
    """
    try:
        return _Reader(memoryview(Path(path).read_bytes())).tensors()
    except (ValueError, KeyError, struct.error, OverflowError, MemoryError) as error:
        raise InputError(f"{path} is damaged, or not a CTranslate2 file of version {VERSION} ({error!r}).") from error


class _Reader:
    def __init__(self, content: memoryview) -> None:
        self.content, self.place = content, 0

    def tensors(self) -> dict[str, np.ndarray]:
        version, _kind, _revision, count = self.number("I"), self.text(), self.number("I"), self.number("I")
        if version != VERSION:
            raise ValueError(f"version {version}")
        return dict(self.tensor() for _ in range(count))

    def tensor(self) -> tuple[str, np.ndarray]:
        name = self.text()
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype, size = np.dtype(TYPES[self.number("B")]), self.number("I")
        if size != math.prod(shape) * dtype.itemsize:
            raise ValueError("a tensor whose shape is not its size")
        return name, np.frombuffer(self.taken(size), dtype).reshape(shape)

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.taken(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        return str(self.taken(self.number("H")), "utf-8").rstrip("\0")  # its length counts a zero at the end

    def taken(self, size: int) -> memoryview:
        if size > len(self.content) - self.place:
            raise ValueError("it ends too early")
        self.place += size
        return self.content[self.place - size : self.place]
