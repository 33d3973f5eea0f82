"""Examples in batches: who comes when is a pure function of the seed, reading runs ahead in threads."""

from __future__ import annotations

import collections
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tlkit.core.columns import DictColumn
from tlkit.core.examples import Examples, LeavesTargets, as_augment

AHEAD = 4  # batches read ahead of their use
STEP = 8  # widths of batches of sequences are multiples of it, so that few shapes occur
STEPS_AT_ONCE = 4096  # of sequences that pass a frozen module together: attention takes their width squared in memory
OUTPUTS_AT_ONCE = 1 << 25  # bytes of what a model gives at a time, for outputs as large as masks
WINDOW = 50  # batches among which sequences of one length are brought together


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
    """`indices` in consecutive batches of `size`; the last may be shorter."""
    array = np.asarray(indices, dtype=np.int64)
    return [array[i : i + size] for i in range(0, len(array), size)]


def pieces_of(examples: Examples, order: np.ndarray, size: int) -> list[np.ndarray]:
    """`order` in batches of `size`; sequences of about one length come together, so that little is padding.

    Sequences are sorted by length within windows of WINDOW batches, and the batches of a window then come as the first
    of their examples came in `order`: a pure function of the arguments.
    """
    lengths = examples.lengths
    if lengths is None:
        return chunks(order, size)
    batches = []
    for window in chunks(order, size * WINDOW):
        place = {int(index): i for i, index in enumerate(window)}
        alike = chunks(window[np.argsort(lengths[window], kind="stable")], size)
        batches += sorted(alike, key=lambda piece: min(place[int(i)] for i in piece))
    return batches


def steps_of(spec: Any) -> int:
    """Steps of the sequences that a spec describes, padding included."""
    leaf = next(iter(spec.values())) if isinstance(spec, Mapping) else spec
    return int(leaf.shape[0])


def width_of(examples: Examples, piece: np.ndarray) -> int | None:
    """Steps that the longest of these examples needs; None where all examples have one size."""
    if "length" not in examples.columns or not len(piece):
        return None
    needed = -(-int(examples.columns["length"].take(piece).max()) // STEP) * STEP
    return min(needed, steps_of(examples.inputs.spec))


def sequences_at_once(width: int, most: int) -> int:
    """How many sequences of so many steps pass a frozen module together, >= 1 and at most `most`.

    Example:
        >>> sequences_at_once(512, 32), sequences_at_once(128, 32)
        (8, 32)
    """
    return max(1, min(most, STEPS_AT_ONCE // max(1, width)))


def outputs_at_once(shapes: Iterable[Sequence[int | None]], most: int) -> int:
    """How many examples are asked together whose float32 outputs have these shapes, the batch axis first.

    As many as OUTPUTS_AT_ONCE bytes hold, >= 1 and at most `most`; a size that is open counts as 1.

    Example:
        >>> outputs_at_once([(None, 10)], 32), outputs_at_once([(None, 512, 512, 21)], 32)
        (32, 1)
    """
    size = sum(4 * math.prod(length or 1 for length in shape[1:]) for shape in shapes)
    return max(1, min(most, OUTPUTS_AT_ONCE // max(1, size)))


def trimmed(batch: Any, width: int | None) -> Any:
    """Arrays (batch, steps, ...), or a dict of them, cut to their first `width` steps."""
    if width is None:
        return batch
    if isinstance(batch, Mapping):
        return {key: trimmed(value, width) for key, value in batch.items()}
    return batch[:, :width]


def gathered(pieces: Sequence[np.ndarray], batches: Iterable[np.ndarray]) -> np.ndarray:
    """Rows of all batches, float32 (n, ...), by the indices 0 to n - 1 in `pieces`.

    Args:
        pieces: Indices of the rows of each batch.
        batches: Arrays (batch, ...).
    """
    rows: np.ndarray | None = None
    for piece, batch in zip(pieces, batches, strict=True):
        if rows is None:
            rows = np.zeros((sum(map(len, pieces)), *batch.shape[1:]), np.float32)
        rows[piece] = batch
    assert rows is not None
    return rows


def with_sides(features: Sequence[Any], inputs: Any, sides: Sequence[int]) -> tuple[Any, ...]:
    """Features, and behind them the inputs at some positions, in the order of their sorted names."""
    leaves = [inputs[key] for key in sorted(inputs)] if isinstance(inputs, Mapping) else [inputs]
    return (*features, *(leaves[i] for i in sides))


def alone(values: Sequence[Any]) -> Any:
    """The one value that there is, or all of them."""
    return values[0] if len(values) == 1 else values


def drawn_for(
    examples: Examples, batches: Iterable[np.ndarray], seeds: Callable[[int], int] | None
) -> Iterator[Sequence[Mapping[str, float]]] | None:
    """What the examples of each batch are changed by, one draw each; None where they are read as they are.

    Args:
        examples: Theirs is the `augment`.
        batches: Indices of each batch.
        seeds: Seed of example i; None changes nothing.
    """
    if seeds is None or examples.augment is None:
        return None
    augment = as_augment(examples.augment)
    return ([augment.draw(seeds(int(i))) for i in batch] for batch in batches)


def leaves_targets(examples: Examples) -> bool:
    """Whether nothing moves their targets."""
    return examples.augment is None or isinstance(as_augment(examples.augment), LeavesTargets)


def targets_of(examples: Examples, indices: np.ndarray, drawn: Sequence[Mapping[str, float]] | None = None) -> Any:
    """The targets of a batch, moved by what was drawn for its examples; None leaves them as they are."""
    if drawn is None or leaves_targets(examples):
        return examples.targets.take(indices)
    augment, targets = as_augment(examples.augment), examples.targets
    moved = [augment.targets(targets[int(i)], draw) for i, draw in zip(indices, drawn, strict=True)]
    return targets.batch(moved)


def read_batches(
    examples: Examples, batches: Iterable[np.ndarray], drawn: Iterable[Sequence[Mapping[str, float]]] | None = None
) -> Iterator[Any]:
    """Read batches of inputs, ahead of their use and in parallel; the order is that of `batches`.

    Sequences are cut to the longest of their batch. What lies in memory is taken as it is.

    Args:
        examples: Where to read from; `inputs` release the GIL while they decode.
        batches: Indices of each batch.
        drawn: What `examples.augment` drew for the examples of each batch; None reads the inputs as they are.
    """
    if drawn is None and isinstance(examples.inputs, DictColumn) and examples.inputs.in_memory:
        yield from (trimmed(examples.inputs.take(piece), width_of(examples, piece)) for piece in batches)
        return
    augment = None if drawn is None else as_augment(examples.augment)

    def read(index: int, draw: Mapping[str, float] | None) -> Any:
        x = examples.inputs[index]
        return x if augment is None or draw is None else augment.inputs(x, draw)

    def submitted(batch: np.ndarray, draws: Iterable[Mapping[str, float] | None]) -> list[Any]:
        return [pool.submit(read, int(i), draw) for i, draw in zip(batch, draws, strict=True)]

    pending: collections.deque[tuple[np.ndarray, list[Any]]] = collections.deque()
    waiting = ((batch, [None] * len(batch)) for batch in batches) if drawn is None else zip(batches, drawn, strict=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for batch, draws in itertools.islice(waiting, AHEAD):
            pending.append((batch, submitted(batch, draws)))
        try:
            while pending:
                piece, futures = pending.popleft()
                ready = trimmed(
                    examples.inputs.batch([future.result() for future in futures]), width_of(examples, piece)
                )
                for batch, draws in itertools.islice(waiting, 1):
                    pending.append((batch, submitted(batch, draws)))
                yield ready
        finally:
            for future in itertools.chain.from_iterable(futures for _, futures in pending):
                future.cancel()
