"""What is frozen is computed once: the output of a module's front over the data, kept on disk by content."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.batches import chunks, read_batches, stable_seed
from tlkit.errors import InputError
from tlkit.files import atomic_file, cache_dir, sha256_bytes
from tlkit.types import Examples

FORMAT = "1"  # part of every key: raise it when the same key would name other numbers
SHARD_EXAMPLES = 1024


@dataclass(frozen=True, eq=False)
class Features:
    """Computed features of all examples, in shards.

    Attributes:
        shards: float32 arrays (up to SHARD_EXAMPLES, ...), mapped from disk where they are cached.
        seconds: Time that computing (or finding) them took.
        reused: Count of examples whose features were found in the cache.
        folder: Where they are cached, or None.
    """

    shards: tuple[np.ndarray, ...]
    seconds: float
    reused: int
    folder: Path | None

    def __len__(self) -> int:
        return sum(len(s) for s in self.shards)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Features of the examples at `indices`, in that order."""
        if len(self.shards) == 1:
            return np.asarray(self.shards[0][indices])
        return np.stack([self.shards[i // SHARD_EXAMPLES][i % SHARD_EXAMPLES] for i in indices])


def compute(
    front: Callable[[Any], Any],
    examples: Examples,
    *,
    key: str,
    batch_size: int = 32,
    view: int | None = None,
    seed: int = 0,
    cached: bool = True,
    source: Callable[[], Features] | None = None,
    memory: dict[str, Features] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Features:
    """Run `front` over all examples once; what the cache already holds is taken from there.

    Args:
        front: Batch of inputs (or of the features of `source`) -> float array (batch, ...), in inference mode.
        examples: The data.
        key: Hash of everything that decides what `front` computes: module, weights, cut, range.
        batch_size: Examples at a time, >= 1.
        view: Number of the augmented view; None takes the inputs as they are.
        seed: Seed of the views.
        cached: Whether the cache is used at all.
        memory: Where features are kept for the time of one fit when the disk cache is not used.
        source: Gives features nearer to the input to start from instead of the inputs; asked only when needed.
        progress: Called with the count of examples that are done.

    Raises:
        InputError: If features are not finite (the message names the examples).
    """
    started = time.perf_counter()
    name = sha256_bytes(FORMAT, key, examples.recipe, str(examples.spec), *examples.digests, f"{view} {seed}")
    if memory is not None and name in memory:
        return replace(memory[name], seconds=0.0, reused=len(examples))
    folder = cache_dir() / "features" / name[:40] if cached else None
    shards, reused = [], 0
    for number, indices in enumerate(chunks(np.arange(len(examples)), SHARD_EXAMPLES)):
        path = folder / f"{number:06d}.npy" if folder else None
        shard = _stored(path, len(indices)) if path else None
        if shard is None:
            read = _reader(examples, source, _seeds(view, seed))
            shard = _computed(front, read(chunks(indices, batch_size)))
            _require_finite(shard, [examples.ids[i] for i in indices])
            if path:
                _store(path, shard)
        else:
            reused += len(indices)
        shards.append(shard)
        progress(int(indices[-1]) + 1)
    found = Features(tuple(shards), time.perf_counter() - started, reused, folder)
    if memory is not None and not cached:
        memory[name] = found
    return found


def _seeds(view: int | None, seed: int) -> Callable[[int], int] | None:
    return None if view is None else lambda index: stable_seed(seed, view, index)


def _reader(
    examples: Examples, source: Callable[[], Features] | None, seeds: Callable[[int], int] | None
) -> Callable[[list[np.ndarray]], Iterator[Any]]:
    if source is None:
        return lambda batches: read_batches(examples, batches, seeds)
    nearer = source()
    return lambda batches: (nearer.take(batch) for batch in batches)


def _computed(front: Callable[[Any], Any], batches: Iterator[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(front(x), dtype=np.float32) for x in batches])


def _require_finite(shard: np.ndarray, ids: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(shard.reshape(len(shard), -1)).all(axis=1))
    if len(bad):
        names = ", ".join(ids[i] for i in bad[:3])
        raise InputError(
            f"The module gives NaN or infinite features for {len(bad)} example(s), such as {names}; "
            "remove them, or check the input range."
        )


def _store(path: Path, shard: np.ndarray) -> None:
    """The array and its checksum, each whole or absent; the checksum comes last and makes the shard valid."""
    with atomic_file(path) as partial:
        np.save(partial, shard)
    record = {"sha256": _digest(shard), "shape": list(shard.shape)}
    with atomic_file(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(record))


def _stored(path: Path, count: int) -> np.ndarray | None:
    """The shard at `path`, or None where it is absent, damaged or of another length."""
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        shard = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    fits = len(shard) == count and list(shard.shape) == record.get("shape")
    return shard if fits and _digest(shard) == record.get("sha256") else None


def _digest(shard: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(shard).data).hexdigest()


def extract(
    backbone: Any, examples: Examples, *, at: Any = None, batch_size: int = 32, cached: bool = True
) -> np.ndarray:
    """Features of a frozen module over examples, kept on disk.

    Args:
        backbone: A HubLayer, or what HubLayer takes as handle; image modules should know their `input_range`.
        examples: Examples whose inputs fit the module.
        at: One of `tlkit.graph.cuts(backbone.graph)`; None is the module's output.
        batch_size: Examples at a time, >= 1.
        cached: Whether the cache is read and filled.

    Returns:
        float32 array (examples, ...), in the order of the examples.

    Raises:
        InputError: If the module gives features that are not finite, or cannot be cut there.
    """
    import tensorflow as tf

    from tlkit.layer import HubLayer
    from tlkit.model import established_range, is_image, weights_hash

    layer = backbone if isinstance(backbone, HubLayer) else HubLayer(backbone)
    if is_image(layer) and layer.input_range is None and not isinstance(backbone, HubLayer):
        layer.input_range = established_range(layer)[0]
    front = (lambda x: layer(x, training=False)) if at is None else layer.front(at)
    place = "output" if at is None else at.tensor
    key = sha256_bytes(place, str(layer.input_range), layer.packed_graph(), weights_hash(layer.variables))
    run = tf.function(front, reduce_retracing=True)
    found = compute(run, examples, key=key, batch_size=batch_size, cached=cached)
    return np.concatenate(found.shards)
