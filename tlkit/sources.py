"""What a phase reads: features that were computed once, or inputs batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit import features as feature_cache
from tlkit.batches import chunks, read_batches, stable_seed, view_of_epoch
from tlkit.features import Features
from tlkit.model import Front
from tlkit.progress import Progress
from tlkit.types import Examples, Splits


@dataclass(frozen=True)
class Settings:
    """What all phases of a fit share.

    Attributes:
        seed: Of the order of examples, the views and everything random.
        batch_size: Examples a step.
        views: Augmented views of each training example that are computed once; 0 computes nothing once.
        cached: Whether computed features are kept on disk.
        memory: Where they are kept otherwise, for the time of the fit.
    """

    seed: int = 0
    batch_size: int = 32
    views: int = 1
    cached: bool = True
    memory: dict[str, Features] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """An epoch of a phase: with the seed it decides the order of examples and their views."""

    phase: int
    epoch: int


@dataclass(frozen=True, eq=False)
class Source:
    """Examples as a phase reads them: computed features (one set a view), or inputs that pass `front` in batches."""

    examples: Examples
    features: tuple[Features, ...] = ()
    front: Callable[[Any], Any] | None = None

    @property
    def seconds(self) -> float:
        """Seconds that the features took."""
        return sum(f.seconds for f in self.features)


def sources(fronts: Sequence[Front], data: Splits, settings: Settings, progress: Progress) -> tuple[Source, Source]:
    """Training and validation examples behind the frozen fronts; the inputs themselves where there are none."""
    if not fronts:
        return Source(data.train), Source(data.val)
    runs = [tf.function(front.run, reduce_retracing=True) for front in fronts]
    if settings.views == 0:
        streamed = functools.partial(functools.reduce, lambda x, run: run(x), runs)
        return Source(data.train, front=streamed), Source(data.val, front=streamed)
    views = list(range(settings.views)) if data.train.augment is not None else [None]
    jobs = [(data.train, view) for view in views] + [(data.val, None)]
    done, computed = 0, []
    with progress.bar("features", sum(len(examples) for examples, _ in jobs)) as advance:
        for examples, view in jobs:
            ahead = functools.partial(_ahead, advance, done)
            keyed = [(front.key, run) for front, run in zip(fronts, runs, strict=True)]
            computed.append(_computed(keyed, examples, view, settings, ahead))
            done += len(examples)
    return Source(data.train, tuple(computed[:-1])), Source(data.val, tuple(computed[-1:]))


def _ahead(advance: Callable[[int], None], before: int, done: int) -> None:
    advance(before + done)


def _computed(
    fronts: Sequence[tuple[str, Callable[[Any], Any]]],
    examples: Examples,
    view: int | None,
    settings: Settings,
    advance: Callable[[int], None],
) -> Features:
    """Features at the last front; those before it are computed only when that is not cached."""
    nearer = functools.partial(_computed, fronts[:-1], examples, view, settings, advance) if len(fronts) > 1 else None
    key, run = fronts[-1]
    return feature_cache.compute(
        run,
        examples,
        key=key,
        batch_size=settings.batch_size,
        view=view,
        seed=settings.seed,
        cached=settings.cached,
        memory=settings.memory,
        source=nearer,
        progress=advance,
    )


def batches(
    source: Source, order: np.ndarray, settings: Settings, training_at: Moment | None = None
) -> Iterator[tuple[np.ndarray, Any]]:
    """(indices, inputs) of each batch.

    Args:
        source: What to read.
        order: Indices of the examples, int64 (n,).
        settings: Batch size and seed.
        training_at: The epoch that trains on them, which decides their views; None reads them unchanged.
    """
    pieces = chunks(order, settings.batch_size)
    if source.features:
        views = _views(source, settings, training_at)
        for piece in pieces:
            yield piece, _features_of(source, piece, views)
        return
    seeds = None
    if training_at is not None and source.examples.augment is not None:
        seeds = functools.partial(stable_seed, settings.seed, training_at.phase, training_at.epoch)
    for piece, x in zip(pieces, read_batches(source.examples, pieces, seeds), strict=True):
        yield piece, x if source.front is None else source.front(x)


def _views(source: Source, settings: Settings, moment: Moment | None) -> np.ndarray | None:
    if moment is None or len(source.features) == 1:
        return None
    return view_of_epoch(len(source.examples), len(source.features), settings.seed, moment.phase, moment.epoch)


def _features_of(source: Source, piece: np.ndarray, views: np.ndarray | None) -> np.ndarray:
    if views is None:
        return source.features[0].take(piece)
    return np.concatenate([source.features[views[i]].take(np.asarray([i])) for i in piece])
