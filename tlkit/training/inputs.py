"""What a phase reads: features that were computed once, or inputs batch by batch."""

from __future__ import annotations

import errno
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit.core.batches import (
    alone,
    drawn_for,
    leaves_targets,
    pieces_of,
    read_batches,
    stable_seed,
    view_of_epoch,
    with_sides,
)
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.files import cache_dir
from tlkit.core.progress import Progress
from tlkit.core.workers import ALONE, Workers
from tlkit.features import cache_budget, engines
from tlkit.features import extract as feature_cache
from tlkit.features.engines import Opener
from tlkit.features.extract import Features, Request
from tlkit.model.partition import Arrangement, Front

CACHING = ("auto", "require", "off")

Drawn = Sequence[Mapping[str, float]] | None  # one for each example of a batch; None where it is as it was read


@dataclass(frozen=True)
class Settings:
    """What all phases of a fit share.

    Attributes:
        seed: Of the order of examples, the views and everything random.
        batch_size: Examples a step.
        views: Augmented views of each training example; 0 augments anew in every epoch and computes nothing once.
        cache: "auto" keeps features on disk if they fit and streams otherwise, "require" refuses, "off" streams.
        cache_dtype: "float32", or "float16" for half the space.
        micro_batch: Examples at a time inside a step; None goes by the memory that they take.
        workers: Who takes which part of each batch, and computes which of the features.
    """

    seed: int = 0
    batch_size: int = 32
    views: int = 1
    cache: str = "auto"
    cache_dtype: str = "float32"
    micro_batch: int | None = None
    workers: Workers = ALONE


@dataclass(frozen=True)
class Moment:
    """An epoch of a phase: with the seed it decides the order of examples and their views."""

    phase: int
    epoch: int


@dataclass(frozen=True, eq=False)
class Source:
    """Examples as a phase reads them.

    Attributes:
        examples: The data.
        features: What was computed once, one set a view; () where nothing was.
        front: What batches of inputs pass otherwise; None where they are taken as they are.
        sides: Positions of the inputs that are given with the features, for masks.
        how: Who computes the frozen front, and why so.
    """

    examples: Examples
    features: tuple[Features, ...] = ()
    front: Callable[[Any], tuple[Any, ...]] | None = None
    sides: tuple[int, ...] = ()
    how: str = ""

    @property
    def seconds(self) -> float:
        """Seconds that the features took."""
        return sum(f.seconds for f in self.features)


def check(settings: Settings) -> None:
    """Refuse settings that mean nothing, before any work."""
    for name, least in (("batch_size", 1), ("seed", None)):
        value = getattr(settings, name)
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise InputError(f"`{name}` must be a whole number. Received: {name}={value!r}.")
        if least is not None and value < least:
            raise InputError(f"`{name}` must be {least} or more. Received: {name}={value!r}.")
    if settings.micro_batch is not None and not _is_count(settings.micro_batch):
        raise InputError(
            "`micro_batch` must be a number of examples, 1 or more, or None to go by the memory that they take. "
            f"Received: micro_batch={settings.micro_batch!r}."
        )
    if settings.views < 0:
        raise InputError(f"`views` must be 0 or more. Received: views={settings.views!r}.")
    if settings.cache not in CACHING:
        raise InputError(f"`cache` must be one of {', '.join(CACHING)}. Received: cache={settings.cache!r}.")
    feature_cache.check_dtype(settings.cache_dtype)
    cache_budget.check()


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def sources(arrangement: Arrangement, data: Splits, settings: Settings, progress: Progress) -> tuple[Source, Source]:
    """Training and validation examples behind the frozen fronts; the inputs themselves where there are none."""
    if not arrangement.fronts:
        how = "none: the inputs pass the whole model"
        return Source(data.train, how=how), Source(data.val, how=how)
    train, val = _behind(arrangement.fronts, data, settings, progress)
    return replace(train, sides=arrangement.sides), replace(val, sides=arrangement.sides)


def _behind(fronts: Sequence[Front], data: Splits, settings: Settings, progress: Progress) -> tuple[Source, Source]:
    views: list[int | None] = [None]
    if data.train.augment is not None and settings.views:
        views = list(range(settings.views))
    parts = [(data.train, view) for view in views] + [(data.val, None)]
    openers = _openers(fronts, data.train, sum(len(examples) for examples, _ in parts))
    if settings.views == 0 or settings.cache == "off":
        why = "views=0" if settings.views == 0 else 'cache="off"'
        return _streamed(openers, data, why, settings.workers)
    jobs = [_requests(openers, examples, view, settings) for examples, view in parts]
    need = sum(map(_missing_bytes, jobs))
    room = _room(need, jobs, settings.workers)
    if need > room:
        return _overflowing(feature_cache.too_large(need, room), openers, data, settings, progress)
    try:
        return _cached(openers, jobs, data, progress)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = f"The disk is full: {cache_dir()}; free some space, or point TLKIT_CACHE to another disk."
        return _overflowing(full, openers, data, settings, progress)


def _openers(fronts: Sequence[Front], examples: Examples, count: int) -> list[Opener]:
    """One for each front; sizes that the module leaves open are those of the examples, where they all have one."""
    openers: list[Opener] = []
    leaves = _leaves(examples.inputs.spec)
    for front in fronts:
        like = leaves
        if openers:
            like = [*engines.features_shapes(openers[-1]), *(leaves[i] for i in front.sides)]
        sized = front if "length" in examples.columns else replace(front, spec=_sized(front.spec, like))
        openers.append(engines.opener(sized, count))
    together = tuple(opener.front for opener in openers)
    return [replace(opener, together=together) for opener in openers]


def _leaves(spec: Any) -> list[Any]:
    return [spec[key].shape for key in sorted(spec)] if isinstance(spec, Mapping) else [spec.shape]


def _sized(spec: Any, like: Sequence[Any]) -> Any:
    specs = tf.nest.flatten(spec)
    if len(specs) != len(like):  # a model of the user's own, whose inputs are not those of the examples
        return spec
    for leaf, shape in zip(specs, like, strict=True):
        if len(leaf.shape) != len(shape) + 1:
            raise InputError(f"The model takes inputs of shape {tuple(leaf.shape[1:])}, and the examples are {shape}.")
    filled = [
        tf.TensorSpec([None, *(b if a is None else a for a, b in zip(leaf.shape[1:], shape, strict=True))], leaf.dtype)
        for leaf, shape in zip(specs, like, strict=True)
    ]
    return tf.nest.pack_sequence_as(spec, filled)


def _requests(
    openers: Sequence[Opener], examples: Examples, view: int | None, settings: Settings
) -> tuple[Request, ...]:
    """One set of features behind each of the fronts, input side first."""
    return tuple(
        Request(
            examples,
            opener.front.key,
            feature_cache.layout_of(opener, examples, settings.cache_dtype),
            view,
            settings.seed if view is not None else 0,
            settings.batch_size,
            opener.front.sides,
            settings.workers,
        )
        for opener in openers
    )


def _missing_bytes(requests: Sequence[Request]) -> int:
    """Bytes still to be written; fronts nearer to the input are asked only where the last one lacks some."""
    return sum(r.missing_bytes for r in requests) if requests[-1].missing_bytes else 0


def _room(need: int, jobs: Sequence[Sequence[Request]], workers: Workers) -> int:
    """Bytes that may be written; of several workers the chief makes room, and says whether there is enough."""
    folders = [request.folder for requests in jobs for request in requests]
    room = cache_budget.make_room(need, folders) if workers.chief else 0
    return room if workers.count == 1 else need if workers.from_chief(need <= room) else min(room, need - 1)


def _overflowing(
    problem: str, openers: Sequence[Opener], data: Splits, settings: Settings, progress: Progress
) -> tuple[Source, Source]:
    if settings.cache == "require":
        raise InputError(f'{problem} (cache="require")')
    progress.line(f"{problem} Until then, each epoch computes them anew.")
    return _streamed(openers, data, "there is no room for the features", settings.workers)


# -- computed once


def _cached(
    openers: Sequence[Opener], jobs: Sequence[Sequence[Request]], data: Splits, progress: Progress
) -> tuple[Source, Source]:
    computed: list[Features] = []
    with progress.bar("features", sum(len(requests[-1].examples) for requests in jobs)) as advance:
        for requests in jobs:
            count = sum(map(len, computed))
            computed.append(_computed(openers, requests, functools.partial(_ahead, advance, count, len(openers))))
    how = "computed once, by " + ", then ".join(filter(None, (r.engine for r in jobs[0])))
    if computed[0].rounding:
        how += f"; float16 rounds by up to {max(f.rounding for f in computed):.1e} of the largest"
    return Source(data.train, tuple(computed[:-1]), how=how), Source(data.val, tuple(computed[-1:]), how=how)


def _ahead(advance: Callable[[int], None], before: int, fronts: int, nearer: int, count: int) -> None:
    """Progress in examples: one that is through one of two fronts is half done."""
    advance(before + (nearer + count) // fronts)


def _computed(openers: Sequence[Opener], requests: Sequence[Request], advance: Callable[[int, int], None]) -> Features:
    """Features at the last front; those before it are computed only when that is not cached."""
    nearer = functools.partial(_computed, openers[:-1], requests[:-1], advance) if len(openers) > 1 else None
    advance_last = functools.partial(advance, (len(openers) - 1) * len(requests[-1].examples))
    return feature_cache.compute(openers[-1], requests[-1], source=nearer, progress=advance_last)


# -- computed anew in every epoch


def _streamed(openers: Sequence[Opener], data: Splits, why: str, workers: Workers) -> tuple[Source, Source]:
    x = data.train.inputs.take(np.arange(min(engines.PROBES, len(data.train))))
    opened = [engines.agreed(openers[0], None, x, workers)] + [opener(engines.TENSORFLOW) for opener in openers[1:]]
    sides = [opener.front.sides for opener in openers]

    def front(inputs: Any) -> tuple[Any, ...]:
        value: tuple[Any, ...] = (inputs,)
        for engine, engine_sides in zip(opened, sides, strict=True):
            value = engine.run(alone(with_sides(value, inputs, engine_sides)))
        return value

    how = f"streamed by {opened[0].name}: {why}"
    return Source(data.train, front=front, how=how), Source(data.val, front=front, how=how)


# -- batches


def batches(
    source: Source, order: np.ndarray, settings: Settings, training_at: Moment | None = None
) -> Iterator[tuple[np.ndarray, Any, Drawn]]:
    """(indices, inputs, what was drawn to change them) of each batch; of several workers, of this one's part of it.

    Where features of changed copies were computed before, the same is drawn again, and the inputs are not read. The
    inputs of a part without examples are None.

    Args:
        source: What to read.
        order: Indices of the examples, int64 (n,).
        settings: Batch size and seed.
        training_at: The epoch that trains on them, which decides their views; None reads them unchanged.
    """
    pieces, workers = pieces_of(source.examples, order, settings.batch_size), settings.workers
    if workers.count == 1:
        yield from _batches(source, pieces, settings, training_at)
    elif "length" in source.examples.columns:  # all workers pad to the longest of the whole batch
        for piece, x, drawn in _batches(source, pieces, settings, training_at):
            part = workers.part(len(piece))
            worker_rows = None if part.start == part.stop else tf.nest.map_structure(lambda leaf, p=part: leaf[p], x)
            yield piece[part], worker_rows, None if drawn is None else drawn[part]
    else:
        parts = [piece[workers.part(len(piece))] for piece in pieces]
        read = _batches(source, [part for part in parts if len(part)], settings, training_at)
        yield from (next(read) if len(part) else (part, None, None) for part in parts)


def _batches(
    source: Source, pieces: Sequence[np.ndarray], settings: Settings, training_at: Moment | None
) -> Iterator[tuple[np.ndarray, Any, Drawn]]:
    views = _views(source, settings, training_at)
    seeds = _seeds(source.examples, settings, training_at, views)
    drawn = drawn_for(source.examples, pieces, seeds)
    if source.features and not source.sides:
        drawn = None if leaves_targets(source.examples) else drawn
        for piece, draws in zip(pieces, itertools.repeat(None) if drawn is None else drawn, strict=False):
            yield piece, _together(_features_of(source, piece, views)), draws
        return
    ahead, own_drawn = (None, itertools.repeat(None)) if drawn is None else itertools.tee(drawn)
    read = read_batches(source.examples, pieces, ahead)
    for piece, x, draws in zip(pieces, read, own_drawn, strict=False):
        yield piece, _behind_the_cut(source, piece, views, x), draws


def _behind_the_cut(source: Source, piece: np.ndarray, views: np.ndarray | None, x: Any) -> Any:
    """What the trained model takes: the inputs, or the features with those inputs that it needs besides."""
    if source.features:
        features = _features_of(source, piece, views)
    elif source.front is not None:
        features = source.front(x)
    else:
        return x
    return _together(with_sides(features, x, source.sides))


def _together(values: Sequence[Any]) -> Any:
    """As a Keras model takes them."""
    return alone(list(values))


def _views(source: Source, settings: Settings, moment: Moment | None) -> np.ndarray | None:
    """The view that each example shows in an epoch; None where it is one and the same, or always a new one."""
    behind_a_front = bool(source.features) or source.front is not None
    if moment is None or source.examples.augment is None or settings.views == 0 or not behind_a_front:
        return None
    return view_of_epoch(len(source.examples), settings.views, settings.seed, moment.phase, moment.epoch)


def _seeds(
    examples: Examples, settings: Settings, moment: Moment | None, views: np.ndarray | None
) -> Callable[[int], int] | None:
    """Seeds of the augmentation: those of the cached views, or new ones in every epoch."""
    if moment is None or examples.augment is None:
        return None
    if views is not None:
        return lambda index: stable_seed(settings.seed, int(views[index]), index)
    return functools.partial(stable_seed, settings.seed, moment.phase, moment.epoch)


def _features_of(source: Source, piece: np.ndarray, views: np.ndarray | None) -> tuple[np.ndarray, ...]:
    if views is None or len(source.features) == 1:
        return feature_cache.taken(source.features[0], source.examples, piece)
    rows = [source.features[views[i]].take(np.asarray([i])) for i in piece]
    return tuple(np.concatenate(tensors) for tensors in zip(*rows, strict=True))
