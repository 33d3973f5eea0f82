"""What is frozen is computed once: the output of a module's front over the data, kept on disk by content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import math
import mmap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core import memory, remote
from tlkit.core.batches import (
    alone,
    drawn_for,
    pieces_of,
    read_batches,
    stable_seed,
    steps_of,
    trimmed,
    width_of,
    with_sides,
)
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.files import PARTIAL, atomic_file, cache_dir, cache_url, locked, sha256_bytes, write_atomic
from tlkit.core.identity import identity
from tlkit.core.workers import ALONE, Pool, Workers, pool
from tlkit.features import cache_budget, engines, packing
from tlkit.features.engines import Engine

FORMAT = "3"  # part of every key: raise it when the same key would name other numbers
SHARD_BYTES = 64 << 20  # of memory at a time, however many examples there are
MOST_MAPPED = 4  # shards whose pages stay in the process; of more, the pages read stay with the system alone
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Layout:
    """How features lie on disk.

    Attributes:
        shapes: Of each tensor that one example's features are.
        dtype: "float32", or "float16" for half the space.
        steps: Whether the first axis of each are the steps of a sequence, of which an example needs as many as it is
            long.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float32"
    steps: tuple[bool, ...] = (False,)

    @property
    def name(self) -> str:
        """What names them in keys; of one tensor as before there were several, so that such caches are found again."""
        if len(self.shapes) > 1:
            return repr(self)
        return f"Layout(shape={self.shapes[0]}, dtype={self.dtype!r}, steps={self.steps[0]})"

    @property
    def example_bytes(self) -> int:
        """Bytes of one example."""
        return sum(map(math.prod, self.shapes)) * np.dtype(self.dtype).itemsize

    @property
    def shard_examples(self) -> int:
        """Examples in one shard."""
        return max(1, min(1024, SHARD_BYTES // max(1, self.example_bytes)))


@dataclass(frozen=True, eq=False)
class Features:
    """Computed features of all examples, in shards.

    Attributes:
        shards: Of each the tensors, arrays (up to `per_shard`, ...) mapped from disk.
        per_shard: Examples in each but the last.
        seconds: Time that computing (or finding) them took.
        reused: Count of examples whose features were found in the cache.
        rounding: Largest error that storing them as float16 made, as a share of the largest feature; 0 for float32.
        steps: Whether the axis behind the examples of each tensor are the steps of a sequence, zeros behind its end.
    """

    shards: tuple[tuple[np.ndarray, ...], ...]
    per_shard: int
    seconds: float
    reused: int
    rounding: float = 0.0
    steps: tuple[bool, ...] = (False,)

    def __len__(self) -> int:
        return sum(len(shard[0]) for shard in self.shards)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them in memory, of features that are one tensor: `np.asarray(features)`."""
        if len(self.steps) > 1:
            raise InputError(f"These features are {len(self.steps)} tensors an example: `take(indices)` gives them.")
        return np.concatenate([rows for (rows,) in self.shards]).astype(dtype or np.float32, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """To other processes go the paths of the files alone."""
        files = [[array.filename for array in shard] for shard in self.shards]  # type: ignore[attr-defined]
        return _mapped_again, (files, self.per_shard, self.seconds, self.reused, self.rounding, self.steps)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Features of the examples at `indices`, in that order: each tensor float32 (n, ...)."""
        if len(self.shards) == 1:
            return tuple(np.asarray(array[indices], np.float32) for array in self.shards[0])
        rows = tuple(
            np.stack([self.shards[i // self.per_shard][tensor][i % self.per_shard] for i in indices])
            for tensor in range(len(self.steps))
        )
        if len(self.shards) > MOST_MAPPED:
            for number in {int(i) // self.per_shard for i in indices}:
                for mapped in self.shards[number]:
                    _let_go(mapped)
        return tuple(tensor.astype(np.float32, copy=False) for tensor in rows)


def _mapped_again(files: Sequence[Sequence[Path]], *attributes: Any) -> Features:
    for folder in {Path(file).parent for shard in files for file in shard if not Path(file).exists()}:
        remote.fetch(folder)
    return Features(tuple(tuple(np.load(file, mmap_mode="r") for file in shard) for shard in files), *attributes)


def _let_go(shard: np.ndarray) -> None:
    """Take a shard's pages out of this process's memory; what reads them again finds them in the system's."""
    mapped = getattr(shard, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be computed.

    Attributes:
        examples: The data.
        key: Hash of everything that decides what the front computes: module, weights, cut, range.
        layout: How the features are stored.
        view: Number of the augmented view; None takes the inputs as they are.
        seed: Seed of the views.
        batch_size: Examples at a time, >= 1.
        sides: Positions of the inputs that the front takes besides nearer features.
        workers: Who computes which shards.
    """

    examples: Examples
    key: str
    layout: Layout
    view: int | None = None
    seed: int = 0
    batch_size: int = 32
    sides: tuple[int, ...] = ()
    workers: Workers = ALONE

    @property
    def folder(self) -> Path:
        """Where the features lie: a pure function of what they are."""
        return cache_dir() / "features" / self._name

    @functools.cached_property
    def _name(self) -> str:
        data = sha256_bytes(self.examples.pipeline.fingerprint, str(self.examples.inputs.spec), *self.examples.digests)
        changed = () if self.view is None else (identity(self.examples.augment),)
        name = sha256_bytes(FORMAT, self.key, data, self.layout.name, f"{self.view} {self.seed}", *changed)
        return name[:40]

    @property
    def count(self) -> int:
        """How many shards there are."""
        return -(-len(self.examples) // self.layout.shard_examples)

    def shard(self, number: int) -> np.ndarray:
        """Indices of the examples in a shard."""
        size = self.layout.shard_examples
        return np.arange(number * size, min((number + 1) * size, len(self.examples)))

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards that are still to be written, by their records; content is checked when read."""
        folder, engine = self.folder, _began(self.folder)[0]
        return [number for number in range(self.count) if not _is_of(_plain(_record_path(folder, number)), engine)]

    @property
    def missing_bytes(self) -> int:
        """Bytes that are still to be written."""
        return sum(len(self.shard(number)) for number in self.missing) * self.layout.example_bytes

    @property
    def engine(self) -> str:
        """What computed them and why, as far as that has begun; else ""."""
        name, reason = _began(self.folder)
        return f"{name} ({reason})" if name else ""

    def drawn(self, pieces: Sequence[np.ndarray]) -> Iterator[Sequence[Mapping[str, float]]] | None:
        """What the view changes the examples of each batch by; None where it is none."""
        seeds = None if self.view is None else functools.partial(stable_seed, self.seed, self.view)
        return drawn_for(self.examples, pieces, seeds)


def compute(
    opened: Callable[[str | None, Any], Engine],
    request: Request,
    *,
    source: Callable[[], Features] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Features:
    """Run a front over all examples once; the shards that the cache already holds are taken from there.

    Args:
        opened: (name of the engine that began, or None; a batch to try it on) -> the engine; asked only when needed.
        request: What is to be computed.
        source: Gives features nearer to the input to start from instead of the inputs; asked only when needed.
        progress: Called with the count of examples that are done.

    Raises:
        InputError: If features are not finite (the message names the examples), or workers do not share the cache.
    """
    started = time.perf_counter()
    nearer = None if source is None else functools.cache(source)
    remote.fetch(request.folder)
    _find_engine(request)
    if request.workers.count > 1:
        _compute_together(opened, request, nearer, progress)
    elif (elsewhere := pool()) is not None and isinstance(opened, engines.Opener):
        _compute_elsewhere(elsewhere, opened, request, nearer, progress)
    with _alone(request):
        shards, reused = _shards(opened, request, nearer, progress)
    cache_budget.touch(request.folder)
    rounding = max(
        (_plain(_record_path(request.folder, number))["rounding"] for number in range(len(shards))), default=0.0
    )
    seconds = time.perf_counter() - started
    return Features(tuple(shards), request.layout.shard_examples, seconds, reused, rounding, request.layout.steps)


def _compute_together(
    opened: Callable[[str | None, Any], Engine],
    request: Request,
    source: Callable[[], Features] | None,
    progress: Callable[[int], None],
) -> None:
    """Each worker computes every n-th shard that is missing, and waits for the others; no shard is computed twice.

    Raises:
        OSError: On all workers, if the disk of one is full.
        InputError: On all workers, if one refuses its examples; if the module's graph differs between workers, or
            this one does not see what another has computed.
    """
    workers, folder = request.workers, request.folder
    if unlike := workers.unlike_chief(sha256_bytes(folder.name)):
        raise InputError(
            f"Worker {unlike[0]} looks for other features than the chief: the module's graph differs between them, as "
            "that of a keras.Model in memory does. Save the module, and give its folder to all of them."
        )
    if workers.chief:
        _drop_damaged(request)
    _follow_chief(request)
    if not workers.from_chief(request.missing_bytes > 0):
        return
    if source is not None:
        source()  # all together, whoever needs it then
    engine = engines.agreed(opened, _began(folder)[0], _probe(request, source), workers)
    if workers.chief:
        with locked(folder / "lock"):
            _sweep(folder)
            _write_engine(folder, engine)
    workers.wait()
    _follow_chief(request)
    with workers.failing_together():
        _compute_part(engine, request, source, progress)
    _fetch(request)
    if request.missing_bytes:
        raise InputError(_not_shared(f"Worker {workers.index}"))


def _compute_part(
    engine: Engine, request: Request, source: Callable[[], Features] | None, progress: Callable[[int], None]
) -> None:
    """Compute those of this worker's shards that are missing."""
    workers = request.workers
    with locked(request.folder / f"lock-{workers.index}"):
        missing = set(request.missing)
        for number in range(workers.index, request.count, workers.count):
            if number in missing:
                _compute_shard(lambda first: engine, request, number, request.shard(number), source)
            progress(int(request.shard(number)[-1]) + 1)


def _follow_chief(request: Request) -> None:
    """Have the chief's engine written down here too: copies of a cache at a URL may have begun with another."""
    names, folder = (None, engines.TENSORFLOW, engines.LITERT), request.folder
    began = _began(folder)[0]
    of_chief = names[int(request.workers.from_chief(names.index(began)))]
    if of_chief not in (None, began):
        write_atomic(folder / "engine.json", json.dumps({"name": of_chief, "reason": "as the chief chose"}))
    _fetch(request)


def _fetch(request: Request) -> None:
    """Bring what the shared cache has; shards of another engine in this host's copy make place for it."""
    folder, engine = request.folder, _began(request.folder)[0]
    if cache_url() is not None and engine is not None:
        for number in range(request.count):
            record = _plain(_record_path(folder, number))
            if record and not _is_of(record, engine):
                _drop(request, number)
    remote.fetch(folder)


def _not_shared(who: str) -> str:
    return (
        f"{who} does not see features that another worker computed: point TLKIT_CACHE to one folder that all of them "
        f"share. Received: {cache_dir()}."
    )


def _compute_elsewhere(
    elsewhere: Pool,
    opener: engines.Opener,
    request: Request,
    source: Callable[[], Features] | None,
    progress: Callable[[int], None],
) -> None:
    """Let the processes of a pool compute the shards that are missing; where that is one, it is left to this process.

    Raises:
        InputError: If the examples or the module cannot be sent, or a process does not share the cache.
    """
    _drop_damaged(request)
    if len(request.missing) < 2:
        return
    packed = packing.packed(opener)
    with locked(request.folder / "lock"):
        _sweep(request.folder)
        engine = opener(_began(request.folder)[0], _probe(request, source))
        _write_engine(request.folder, engine)
        nearer = None if source is None else source()
        unable = _shared_out(elsewhere, _Elsewhere(packed, request, nearer, engine.name), progress)
        if unable:
            _write_engine(request.folder, engines.Engine(engines.TENSORFLOW, unable, engine.run))
            _shared_out(elsewhere, _Elsewhere(packed, request, nearer, engines.TENSORFLOW), progress)
    _fetch(request)
    if request.missing:
        raise InputError(_not_shared("This process"))


def _shared_out(elsewhere: Pool, work: _Elsewhere, progress: Callable[[int], None]) -> str:
    """Have the missing shards computed; why a process could not by that engine, or ""."""
    request, unable = work.request, ""
    calls = [(number, request.shard(number)) for number in request.missing]
    done = len(request.examples) - sum(len(indices) for _, indices in calls)
    for place, reason in elsewhere.each(work, calls):
        done += len(calls[place][1])
        unable = unable or reason
        progress(done)
    return unable


@dataclass(eq=False)
class _Elsewhere:
    """Computes a shard in a process that has nothing but this and the cache."""

    packed: packing.PackedOpener
    request: Request
    nearer: Features | None
    engine: str

    @functools.cached_property
    def opener(self) -> engines.Opener:
        """Opened once a process."""
        return self.packed.opened()

    def __call__(self, number: int, indices: np.ndarray) -> str:
        """Why this process cannot compute it by that engine; "" where it has."""
        remote.fetch(self.request.folder, "engine.json")
        if _began(self.request.folder)[0] is None:
            raise InputError(_not_shared("A worker"))
        nearer = self.nearer
        source = None if nearer is None else lambda: nearer
        try:
            _compute_shard(self._chosen, self.request, number, indices, source)
        except _UnableError as error:
            return str(error)
        return ""

    def _chosen(self, first: Any) -> Engine:
        engine = self.opener(self.engine, first)
        if engine.name != self.engine:
            raise _UnableError(engine.reason)
        return engine


class _UnableError(Exception):
    """A process cannot run the engine that all are to compute by, and why."""


def _drop_damaged(request: Request) -> None:
    """Remove the shards whose content is not what was written, so that they count as missing."""
    for number in range(request.count):
        if _record_path(request.folder, number).exists() and _stored(request, number) is None:
            _drop(request, number)


def _drop(request: Request, number: int) -> None:
    _record_path(request.folder, number).unlink(missing_ok=True)
    for tensor in range(len(request.layout.shapes)):
        _file(request.folder, number, tensor).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed has left half written."""
    for path in folder.glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def _probe(request: Request, source: Callable[[], Features] | None) -> Any:
    """What the front takes of the first examples."""
    return next(_inputs(request, pieces_of(request.examples, request.shard(0), request.batch_size)[:1], source))


def _engine(opened: Callable[[str | None, Any], Engine], folder: Path, probe: Any) -> Engine:
    """The engine that began in a folder; a new one, which is written down, where none has, or it fails here."""
    engine = opened(_began(folder)[0], probe)
    _write_engine(folder, engine)
    return engine


def _find_engine(request: Request) -> None:
    """Write down again what began in a folder where that was lost, from the first record that says so."""
    folder, names = request.folder, (engines.TENSORFLOW, engines.LITERT)
    if _began(folder)[0] is None:
        said = (_plain(_record_path(folder, number)).get("engine") for number in range(request.count))
        if (name := next((name for name in said if name in names), None)) is not None:
            write_atomic(folder / "engine.json", json.dumps({"name": name, "reason": "as it began"}))


def _write_engine(folder: Path, engine: Engine) -> None:
    """Write down what computes all shards of a folder, unless it has begun there: those of another are missing then."""
    if _began(folder)[0] != engine.name:
        write_atomic(folder / "engine.json", json.dumps({"name": engine.name, "reason": engine.reason}))
        remote.publish(folder, ["engine.json"])


@contextlib.contextmanager
def _alone(request: Request) -> Iterator[None]:
    """One process computes, the others wait for what it finds; then nobody else's half-written files can be there."""
    if not request.missing_bytes:
        yield
        return
    with locked(request.folder / "lock"):
        _sweep(request.folder)
        yield


def _shards(
    opened: Callable[[str | None, Any], Engine],
    request: Request,
    source: Callable[[], Features] | None,
    progress: Callable[[int], None],
) -> tuple[list[tuple[np.ndarray, ...]], int]:
    """All shards, and the count of examples whose features were there already."""
    folder, reused = request.folder, 0
    began, choose = _began(folder)[0], _chosen_once(opened, folder)
    shards: list[tuple[np.ndarray, ...]] = []
    for number in range(request.count):
        indices, shard = request.shard(number), _stored(request, number)
        if shard is None:
            _compute_shard(choose, request, number, indices, source)
            shard = _stored(request, number)
            if shard is None:
                raise InputError(
                    f"Another host computes the same features by another engine, in {folder}: wait until it has "
                    "ended, and start the same command again."
                )
        else:
            reused += len(indices)
        shards.append(shard)
        progress(int(indices[-1]) + 1)
    if began not in (None, _began(folder)[0]):  # the engine that began fails here: what it computed is not mixed in
        return _shards(opened, request, source, progress)[0], 0
    return shards, reused


def _chosen_once(opened: Callable[[str | None, Any], Engine], folder: Path) -> Callable[[Any], Engine]:
    """What gives the engine of a folder, tried on the first batch that it is asked with."""
    engines_chosen: list[Engine] = []

    def choose(first: Any) -> Engine:
        if not engines_chosen:
            engines_chosen.append(_engine(opened, folder, first))
        return engines_chosen[0]

    return choose


def _compute_shard(
    choose: Callable[[Any], Engine],
    request: Request,
    number: int,
    indices: np.ndarray,
    source: Callable[[], Features] | None,
) -> None:
    """Compute one shard, of these examples, by the engine that `choose` gives for its first batch."""
    pieces = pieces_of(request.examples, indices, request.batch_size)
    batches = _inputs(request, pieces, source)
    first = next(batches)
    engine = choose(first)
    outputs = map(engine.run, itertools.chain([first], batches))
    values = _gathered([piece - indices[0] for piece in pieces], outputs, request.layout)
    for tensor in values:
        _require_finite(tensor, [request.examples.ids[i] for i in indices])
    _store(request, number, values, engine.name)


def _gathered(pieces: Sequence[np.ndarray], batches: Iterable[Any], layout: Layout) -> tuple[np.ndarray, ...]:
    """The rows of each tensor of all batches, float32 (n, ...), by the indices 0 to n - 1 in `pieces`."""
    count, rows = sum(map(len, pieces)), list[np.ndarray]()
    for piece, batch in zip(pieces, batches, strict=True):
        tensors = [np.asarray(x, np.float32) for x in batch]
        if not rows:
            sizes = zip(tensors, layout.shapes, layout.steps, strict=True)
            row_shapes = [(*shape[:1], *x.shape[2:]) if steps else x.shape[1:] for x, shape, steps in sizes]
            rows = [np.zeros((count, *size), np.float32) for size in row_shapes]
        for array, tensor, steps in zip(rows, tensors, layout.steps, strict=True):
            if steps:
                array[piece, : tensor.shape[1]] = tensor
            else:
                array[piece] = tensor
    return tuple(rows)


def _inputs(request: Request, pieces: Sequence[np.ndarray], source: Callable[[], Features] | None) -> Iterator[Any]:
    """What the front takes, for each piece: the examples' inputs, or nearer features with the inputs beside them."""
    if source is None:
        yield from read_batches(request.examples, pieces, request.drawn(pieces))
        return
    nearer = source()
    if not request.sides:
        yield from (alone(taken(nearer, request.examples, piece)) for piece in pieces)
        return
    inputs = read_batches(request.examples, pieces, request.drawn(pieces))
    for piece, x in zip(pieces, inputs, strict=True):
        yield with_sides(taken(nearer, request.examples, piece), x, request.sides)


def taken(features: Features, examples: Examples, piece: np.ndarray) -> tuple[np.ndarray, ...]:
    """Features of some examples, float32; of sequences, as many steps as the longest of them needs."""
    rows = features.take(piece)
    if not any(features.steps):
        return rows
    width = width_of(examples, piece)
    return tuple(trimmed(x, width) if steps else x for x, steps in zip(rows, features.steps, strict=True))


def _began(folder: Path) -> tuple[str | None, str]:
    """(name, reason) of the engine that began in a folder: results of two kinds are not mixed."""
    content = _plain(folder / "engine.json")
    name, reason = content.get("name"), content.get("reason")
    return (name, reason) if name in (engines.TENSORFLOW, engines.LITERT) and isinstance(reason, str) else (None, "")


def _require_finite(values: np.ndarray, ids: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        names = ", ".join(ids[i] for i in bad[:3])
        raise InputError(
            f"The module gives NaN or infinite features for {len(bad)} example(s), such as {names}; "
            "remove them, or check the input range."
        )


# -- shards on disk


def _record_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"


def _file(folder: Path, number: int, tensor: int) -> Path:
    return folder / (f"{number:06d}.npy" if tensor == 0 else f"{number:06d}.{tensor}.npy")


def _store(request: Request, number: int, values: Sequence[np.ndarray], engine: str) -> None:
    """The arrays and their checksums, each whole or absent; the record comes last and makes the shard valid."""
    folder, digests, shapes, roundings = request.folder, [], [], []
    for tensor, array in enumerate(values):
        stored, rounding = _halved(array) if request.layout.dtype == "float16" else (array, 0.0)
        with atomic_file(_file(folder, number, tensor)) as partial:
            np.save(partial, stored)
        digests.append(_digest(stored))
        shapes.append(list(stored.shape))
        roundings.append(rounding)
    record = {"sha256": alone(digests), "shape": alone(shapes), "rounding": max(roundings), "engine": engine}
    write_atomic(_record_path(folder, number), json.dumps(record))
    files = [_file(folder, number, tensor) for tensor in range(len(values))]
    remote.publish(folder, [path.name for path in (*files, _record_path(folder, number))])


def _halved(values: np.ndarray) -> tuple[np.ndarray, float]:
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest > np.finfo(np.float16).max:
        raise InputError(f'Features reach {largest:.3g}, more than float16 can hold; leave cache_dtype at "float32".')
    stored = values.astype(np.float16)
    return stored, float(np.max(np.abs(values - stored), initial=0.0)) / max(largest, 1e-30)


def _plain(path: Path) -> dict[str, Any]:
    """What a file of ours says; {} where it is absent, or says nothing that we wrote."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else {}  # a pipe would be waited for
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_of(record: Mapping[str, Any], engine: str | None) -> bool:
    """Whether a shard's record says that an engine computed it; the digits of two are not the same."""
    return engine is not None and record.get("engine") == engine


def _stored(request: Request, number: int) -> tuple[np.ndarray, ...] | None:
    """The tensors of a shard, or None where one is absent, damaged, of another length or another engine."""
    folder, count, tensors = request.folder, len(request.shard(number)), len(request.layout.shapes)
    record = _plain(_record_path(folder, number))
    if not isinstance(record.get("rounding"), float) or not _is_of(record, _began(folder)[0]):
        return None
    digests, shapes = record.get("sha256"), record.get("shape")
    if tensors == 1:
        digests, shapes = [digests], [shapes]
    if not isinstance(digests, list) or not isinstance(shapes, list) or not len(digests) == len(shapes) == tensors:
        return None
    shard: list[np.ndarray] = []
    for tensor in range(tensors):
        rows = _mapped(_file(folder, number, tensor))
        if rows is None or len(rows) != count or list(rows.shape) != shapes[tensor] or _digest(rows) != digests[tensor]:
            return None
        _let_go(rows)
        shard.append(rows)
    return tuple(shard)


def _mapped(file: Path) -> np.ndarray | None:
    """An array on disk, None where there is none."""
    try:
        array = np.load(file, mmap_mode="r") if file.is_file() else None
    except (OSError, ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and array.ndim else None  # no archive of several, and no number


def _digest(shard: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(shard).data).hexdigest()


@memory.kept()
def extract(
    backbone: Any,
    examples: Examples,
    *,
    at: Any = None,
    batch_size: int = 32,
    dtype: str = "float32",
    progress: Callable[[int], None] = lambda count: None,
) -> Features:
    """Features of a frozen module over examples, computed once and kept in the cache.

    Args:
        backbone: A HubLayer, or what HubLayer takes as handle; image modules should know their `input_range`.
        examples: Examples whose inputs fit the module.
        at: One of `backbone.cuts`; None is the module's output, of several the one for a head, or
            those of the layer's `taps` that have a row per example, in the order in which the module makes them.
        batch_size: Examples at a time, >= 1.
        dtype: "float32", or "float16" for half the space; `Features.rounding` says what that cost.
        progress: Called with the count of examples that are done.

    Returns:
        Features: `take(indices)` gives a tuple of float32 arrays (n, ...), one a tensor; `np.asarray` gives all that
            there are of one tensor.

    Raises:
        InputError: If the module gives features that are not finite or cannot be cut there, or if they do not fit
            into the cache.
    """
    from tlkit.layer.hub_layer import HubLayer
    from tlkit.layer.input_range import settle_range
    from tlkit.layer.lookup import is_image
    from tlkit.layer.reads import choose_output
    from tlkit.model.partition import front_of, uncut

    layer = backbone if isinstance(backbone, HubLayer) else HubLayer(backbone)
    if at is None:
        layer.shaped(examples.inputs.spec)
    if is_image(layer) and not isinstance(backbone, HubLayer):
        settle_range(layer)
    if at is None and layer.output_key is None and not layer.taps:
        choose_output(layer, layer.endpoint.inference.structured_outputs)
    examples = uncut(layer.endpoint.inputs, examples)
    front = front_of(layer, at, examples.inputs.spec, of_any_length="length" in examples.columns)
    opener = engines.opener(front, len(examples))
    request = Request(examples, opener.front.key, layout_of(opener, examples, dtype), batch_size=batch_size)
    need = request.missing_bytes
    room = cache_budget.make_room(need, [request.folder])
    if room < need:
        raise InputError(too_large(need, room))
    return compute(opener, request, progress=progress)


def layout_of(opener: engines.Opener, examples: Examples, dtype: str) -> Layout:
    """How what a front gives for these examples is stored; steps that it leaves open are as many as the inputs have."""
    check_dtype(dtype)
    shapes = engines.features_shapes(opener)
    steps = tuple("length" in examples.columns and shape[:1] == (None,) for shape in shapes)
    most = steps_of(examples.inputs.spec) if any(steps) else 1
    sizes = [
        (most if has_steps else shape[0] or 1, *(size or 1 for size in shape[1:])) if shape else ()
        for shape, has_steps in zip(shapes, steps, strict=True)
    ]
    return Layout(tuple(sizes), dtype, steps)


def check_dtype(dtype: str) -> None:
    """Refuse what features cannot be stored as."""
    if dtype not in DTYPES:
        raise InputError(f"Features are kept as one of {', '.join(DTYPES)}. Received: {dtype!r}.")


def too_large(need: int, room: int) -> str:
    """That features do not fit, and what to do about it."""
    return (
        f"The features need {need / 1e9:.2f} GB, and the cache may hold {room / 1e9:.2f} GB more; raise "
        "TLKIT_CACHE_GB, free disk space, or point TLKIT_CACHE to a larger disk."
    )
