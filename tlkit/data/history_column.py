"""Histories of users as a column that makes its rows when they are asked for: each is a part of one list of items."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.brief import brief
from tlkit.core.columns import stack
from tlkit.core.examples import ArraySpec
from tlkit.core.files import sha256_bytes

BLOCK = 4096  # rows that are made at a time


@dataclass(frozen=True, eq=False, repr=False)
class HistoryColumn:
    """int32 (n, length): the last of some numbers before each place, 0 before the first.

    As arrays, a million examples of 256 items each would take a gigabyte.

    Attributes:
        numbers: int32 (all,), of all users behind each other.
        starts: int64 (n,), where the numbers of a row's user begin.
        ends: int64 (n,), where a row ends, not included.
        length: Of a row.
    """

    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    length: int

    def __repr__(self) -> str:
        return brief(self)

    @property
    def spec(self) -> ArraySpec:
        """Shape of a row, and dtype."""
        return ArraySpec((self.length,), "int32")

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each row."""
        return tuple(
            sha256_bytes(row.tobytes())
            for start in range(0, len(self), BLOCK)
            for row in self.take(np.arange(start, min(start + BLOCK, len(self))))
        )

    @property
    def latest(self) -> np.ndarray:
        """int32 (n,): the last number of each row, 0 of an empty one."""
        last = self.numbers[np.maximum(self.ends - 1, 0)] if len(self.numbers) else np.zeros(len(self), np.int32)
        return np.where(self.ends > self.starts, last, 0)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Any:
        return self.take(np.array([index]))[0]

    def batch(self, values: Sequence[Any]) -> Any:
        """Rows behind each other."""
        return stack(values) if len(values) else np.zeros((0, self.length), np.int32)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Rows at `indices`."""
        rows = np.asarray(indices, np.int64)
        places = self.ends[rows][:, None] - self.length + np.arange(self.length)[None]
        inside = places >= self.starts[rows][:, None]
        return np.where(inside, self.numbers[np.where(inside, places, 0)], 0).astype(np.int32)

    def subset(self, indices: Sequence[int]) -> HistoryColumn:
        """A column of the rows at `indices`."""
        rows = np.asarray(indices, np.int64)
        return dataclasses.replace(self, starts=self.starts[rows], ends=self.ends[rows])
