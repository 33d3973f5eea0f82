"""Read a GGUF file, the format of llama.cpp: what it says of itself, and its tensors as float32. Runs nothing.

Source: the format's own description in ggml's docs/gguf.md: a header of typed pairs, a table of tensors, and one buffer
that the table points into; matrices may be stored in blocks of 32 numbers with a scale (and an offset) each.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
FLOAT32, FLOAT16, Q4_1, Q8_0 = 0, 1, 3, 8
STORED = {FLOAT32: (1, 4), FLOAT16: (1, 2), Q4_1: (32, 20), Q8_0: (32, 34)}  # kind -> (numbers, bytes) of a block
ALIGNMENT = "general.alignment"


@dataclass
class _Bytes:
    """The file's bytes, and how far they are read."""

    content: memoryview
    place: int = 0

    def taken(self, count: int) -> memoryview:
        if count > len(self.content) - self.place:
            raise ValueError("it ends too early")
        self.place += count
        return self.content[self.place - count : self.place]

    def scalar(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.taken(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        return str(self.taken(self.scalar("Q")), "utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.scalar(SCALARS[kind])
        item, count = self.scalar("I"), self.scalar("Q")
        if item == STRING:
            return [self.text() for _ in range(count)]
        code = f"<{SCALARS[item]}"
        return np.frombuffer(self.taken(count * struct.calcsize(code)), code)


def read_gguf(path: str | Path) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
    """What a GGUF file says of itself, and name -> float32 array of its tensors, matrices (out, in).

    Numbers that are stored in fewer bits are what the file makes of them: near the original ones.

    Args:
        path: Of the file.

    Raises:
        InputError: If the file is damaged, in another format, or holds tensors stored in a way that is not known here.
    """
    try:
        file = _Bytes(memoryview(Path(path).read_bytes()))
        if bytes(file.taken(4)) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        file.scalar("I")  # version
        tensors, pairs = file.scalar("Q"), file.scalar("Q")
        header = {file.text(): file.value(file.scalar("I")) for _ in range(pairs)}
        table = [_entry(file) for _ in range(tensors)]
        alignment = int(header.get(ALIGNMENT, 32))
        start = -(-file.place // alignment) * alignment
        numbers = file.content[start:]
        return header, {name: _array(numbers, shape, kind, place) for name, shape, kind, place in table}
    except (ValueError, TypeError, KeyError, struct.error, OverflowError, MemoryError) as error:
        raise InputError(f"{path} is damaged, or not a GGUF file that can be read ({error!r}).") from error


def _entry(file: _Bytes) -> tuple[str, tuple[int, ...], int, int]:
    """(name, shape, how it is stored, offset) of a tensor; the file lists sizes last axis first."""
    name = file.text()
    shape = tuple(file.scalar("Q") for _ in range(file.scalar("I")))[::-1]
    return name, shape, file.scalar("I"), file.scalar("Q")


def _array(numbers: memoryview, shape: tuple[int, ...], kind: int, offset: int) -> np.ndarray:
    if kind not in STORED:
        raise ValueError(f"a tensor stored as type {kind}")
    block, size = STORED[kind]
    length = math.prod(shape) // block * size
    if offset + length > len(numbers):
        raise ValueError("a tensor outside the file")
    return _floats(numbers[offset : offset + length], kind).reshape(shape)


def _floats(stored: memoryview, kind: int) -> np.ndarray:
    if kind in (FLOAT32, FLOAT16):
        return np.frombuffer(stored, "<f4" if kind == FLOAT32 else "<f2").astype(np.float32)
    blocks = np.frombuffer(stored, np.uint8).reshape(-1, STORED[kind][1])
    scale = _halves(blocks, 0)
    if kind == Q8_0:
        return np.asarray(blocks[:, 2:].copy().view(np.int8) * scale, np.float32).ravel()
    quarters = blocks[:, 4:]  # the low four bits are a block's first 16 numbers, the high ones its others
    nibbles = np.concatenate([quarters & 15, quarters >> 4], axis=1)
    return np.asarray(nibbles * scale + _halves(blocks, 2), np.float32).ravel()


def _halves(blocks: np.ndarray, first: int) -> np.ndarray:
    """One float16 of each block, as float32 (blocks, 1)."""
    return blocks[:, first : first + 2].copy().view("<f2").astype(np.float32)
