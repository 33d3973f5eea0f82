"""Examples in batches: who comes when is a pure function of the seed, reading runs ahead in threads."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tlkit.types import Examples

AHEAD = 4  # batches read ahead of their use


def stable_seed(*parts: int) -> int:
    """A 64-bit seed out of integers, the same on every machine and NumPy version."""
    return int(_raw_bits(1, *parts)[0])


def order_of_epoch(count: int, seed: int, phase: int, epoch: int) -> np.ndarray:
    """The order of `count` examples: int64 (count,), a pure function of the three numbers.

    Sorting by raw bits of a counter-based generator: NumPy guarantees those bits, not `permutation`'s algorithm.
    """
    return np.argsort(_raw_bits(count, seed, phase, epoch), kind="stable")


def view_of_epoch(count: int, views: int, seed: int, phase: int, epoch: int) -> np.ndarray:
    """Which of its `views` each example shows: int64 (count,)."""
    return (_raw_bits(count, seed, phase, epoch, 1) % np.uint64(views)).astype(np.int64)


def _raw_bits(count: int, *parts: int) -> np.ndarray:
    words = np.random.SeedSequence([p & 0xFFFFFFFFFFFFFFFF for p in parts]).generate_state(2, np.uint64)
    return np.atleast_1d(np.random.Philox(key=words).random_raw(count))


def chunks(indices: Sequence[int] | np.ndarray, size: int) -> list[np.ndarray]:
    """`indices` in consecutive pieces of `size`; the last may be shorter."""
    array = np.asarray(indices, dtype=np.int64)
    return [array[i : i + size] for i in range(0, len(array), size)]


def stack(inputs: Sequence[Any]) -> Any:
    """One batch out of single inputs: an array, or a dict of arrays."""
    if isinstance(inputs[0], Mapping):
        return {key: np.stack([x[key] for x in inputs]) for key in inputs[0]}
    return np.stack(inputs)


def with_sides(features: Any, inputs: Any, sides: Sequence[int]) -> tuple[Any, ...]:
    """Features, and behind them the inputs at some positions, in the order of their sorted names."""
    leaves = [inputs[key] for key in sorted(inputs)] if isinstance(inputs, Mapping) else [inputs]
    return (features, *(leaves[i] for i in sides))


def read_batches(
    examples: Examples, batches: Iterable[np.ndarray], seeds: Callable[[int], int] | None = None
) -> Iterator[Any]:
    """Read batches of inputs, ahead of their use and in parallel; the order is that of `batches`.

    Args:
        examples: Where to read from; `read` releases the GIL while it decodes.
        batches: Indices of each batch.
        seeds: Seed of example i for `examples.augment`; None reads the inputs as they are.
    """

    def read(index: int) -> Any:
        x = examples.read(index)
        return x if seeds is None or examples.augment is None else examples.augment(x, seeds(index))

    pending: collections.deque[list[Any]] = collections.deque()
    waiting = iter(batches)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for batch in itertools.islice(waiting, AHEAD):
            pending.append([pool.submit(read, int(i)) for i in batch])
        try:
            while pending:
                ready = stack([future.result() for future in pending.popleft()])
                for batch in itertools.islice(waiting, 1):
                    pending.append([pool.submit(read, int(i)) for i in batch])
                yield ready
        finally:
            for future in itertools.chain.from_iterable(pending):
                future.cancel()
