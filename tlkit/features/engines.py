"""Who runs a frozen front: TensorFlow, or on a CPU LiteRT, which is faster there once the front is converted."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.batches import sequences_at_once
from tlkit.core.errors import InputError
from tlkit.core.files import cache_dir, is_kept, record_kept, sha256_bytes, write_atomic
from tlkit.core.workers import Workers
from tlkit.features import cache_budget
from tlkit.formats import tflite
from tlkit.model.partition import Front

TENSORFLOW, LITERT = "tensorflow", "litert"
# EfficientNet-Lite0 (0.77 G operations) on 2 cores, by benchmarks/phases.py: the first conversion of a process takes
# 5.7 s, and LiteRT saves 12 ms an image, so it pays from 480 images on.
CONVERSION_S = 5.7
SAVED_S_PER_OPERATION = 1.55e-11
TOLERANCE = 1e-4  # of the largest feature
INPUT = "inputs"
FORMAT = "2"  # part of the name of a converted file: raise it when files of another kind are written
PROBES = 4  # examples on which the two are compared

Run = Callable[[Any], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class Engine:
    """What runs a front.

    Attributes:
        name: "tensorflow" or "litert".
        reason: Why it was chosen.
        run: Batch of inputs -> the tensors of the features, each (batch, ...).
    """

    name: str
    reason: str
    run: Run


@dataclass(frozen=True, eq=False)
class Opener:
    """Gives the engine of a front when it is needed: nothing is converted for what the cache already holds.

    Attributes:
        front: What is to be run.
        count: Examples that it is to be run on.
        tensorflow: The front in TensorFlow, traced once for any batch.
        together: All fronts that are to be run on these examples one after the other: they are converted as one.
    """

    front: Front
    count: int
    tensorflow: Any
    together: tuple[Front, ...] = ()

    def __call__(self, name: str | None = None, probe: Any = None) -> Engine:
        """The engine.

        Args:
            name: The one that began the work, if it has begun: results of one kind are not mixed.
            probe: A batch of inputs on which LiteRT must agree with TensorFlow.
        """
        chosen, reason = choice(self.front, self.count, self.together) if name is None else (name, "as it began")
        if chosen == LITERT:
            try:
                return Engine(LITERT, reason, self._agreeing(probe))
            except InputError as error:
                reason = str(error)
        return Engine(TENSORFLOW, reason, self._run)

    def _run(self, batch: Any) -> tuple[Any, ...]:
        """The front in TensorFlow on what NumPy read, cast as the front takes it."""
        cast = keras.tree.map_structure_up_to(
            self.front.spec, lambda spec, x: np.asarray(x, spec.dtype.as_numpy_dtype), self.front.spec, batch
        )
        first = tf.nest.flatten(cast)[0]
        count = len(first)
        if not count or not _is_sequence(tf.nest.flatten(self.front.spec)[0]):
            return self.tensorflow(cast)  # type: ignore[no-any-return]
        most = sequences_at_once(first.shape[1], count)
        parts = (keras.tree.map_structure(lambda x, at=at: x[at : at + most], cast) for at in range(0, count, most))
        outputs = [self.tensorflow(part) for part in parts]
        return tuple(rows[0] if len(rows) == 1 else tf.concat(rows, axis=0) for rows in zip(*outputs, strict=True))

    def _agreeing(self, probe: Any) -> Run:
        run = litert(self.front, self.together)
        if probe is not None:
            for expected, actual in zip(self._run(probe[:PROBES]), run(probe[:PROBES]), strict=True):
                gap, scale = float(np.max(np.abs(expected - actual))), float(np.max(np.abs(expected)))
                if not gap <= TOLERANCE * max(scale, 1.0):
                    raise InputError(f"LiteRT gives other features than TensorFlow (by {gap:.1e})")
        return run


def _is_sequence(spec: tf.TensorSpec) -> bool:
    """Whether a front takes numbers of pieces (batch, steps), or a vector a step."""
    return bool(spec.shape.rank == 3 or (spec.shape.rank == 2 and spec.dtype.is_integer))


def opener(front: Front, count: int) -> Opener:
    """The opener of a front's engine.

    Args:
        front: A frozen front.
        count: Examples that it is to be run on, all splits and views together.
    """
    return Opener(front, count, tf.function(front.run, input_signature=[front.spec], autograph=False))


def agreed(opened: Callable[[str | None, Any], Engine], name: str | None, probe: Any, workers: Workers) -> Engine:
    """The engine by which all workers compute: the chief's, or TensorFlow where one of them cannot run that.

    Hosts with other processors, versions or converted files would choose otherwise, each for itself.

    Args:
        opened: As `Opener` is called.
        name: Of the engine that began the work, for the chief; None if none has.
        probe: A batch of inputs on which LiteRT must agree with TensorFlow, on each worker.
        workers: Who computes.
    """
    names = (TENSORFLOW, LITERT)
    of_chief = opened(name, probe) if workers.chief else None
    chosen = names[int(workers.from_chief(0 if of_chief is None else names.index(of_chief.name)))]
    engine = opened(chosen, probe) if of_chief is None else of_chief
    unlike = workers.unlike_chief(sha256_bytes(engine.name))
    if not unlike or engine.name == TENSORFLOW:
        return engine
    return replace(opened(TENSORFLOW, None), reason=f"LiteRT fails on worker {unlike[0]}")


def features_shapes(opener: Opener) -> tuple[tuple[int | None, ...], ...]:
    """Shapes of what a front gives for one example; it is traced where the graph leaves sizes open."""
    if opener.front.gives is not None:
        return opener.front.gives
    outputs = opener.tensorflow.get_concrete_function().structured_outputs
    return tuple(tuple(tensor.shape[1:]) for tensor in outputs)


def fits_litert(front: Front) -> bool:
    """Whether a front takes one float tensor of a known size, which LiteRT can run one example at a time."""
    spec = front.spec
    return isinstance(spec, tf.TensorSpec) and spec.dtype.is_floating and None not in spec.shape.as_list()[1:]


def converted_file(front: Front) -> Path:
    """Where a front lies once it is converted by itself."""
    return _file((front,))


def choice(front: Front, count: int, together: Sequence[Front] = ()) -> tuple[str, str]:
    """(engine, reason): a pure function of the machine, the fronts and the count, but for what is converted already.

    Args:
        front: What is to be run.
        count: Examples that it is to be run on.
        together: All that are to be run on them, itself among them: they are converted at once.
    """
    if tf.config.list_physical_devices("GPU"):
        return TENSORFLOW, "there is a GPU"
    if not isinstance(front.spec, tf.TensorSpec) or not front.spec.dtype.is_floating:
        return TENSORFLOW, "the inputs are not one float tensor"
    if None in front.spec.shape.as_list()[1:]:
        return TENSORFLOW, "the input's size is open"
    group = _convertible(front, together)
    if is_kept(_file(group)) or is_kept(_file((front,))):
        return LITERT, "its converted form is in the cache"
    saving = count * sum(member.operations for member in group) * SAVED_S_PER_OPERATION
    if saving < CONVERSION_S:
        return TENSORFLOW, f"LiteRT would save about {saving:.1f} s, less than converting takes"
    return LITERT, f"it saves about {saving:.0f} s on {count} examples"


def _convertible(front: Front, together: Sequence[Front]) -> tuple[Front, ...]:
    """Those of the fronts run together that LiteRT can take, this one among them."""
    fits = tuple(candidate for candidate in together if fits_litert(candidate))
    return fits if front in fits else (front,)


# -- LiteRT


def _file(fronts: Sequence[Front]) -> Path:
    name = sha256_bytes(FORMAT, *(front.key for front in fronts), tf.__version__)
    return cache_dir() / "fronts" / f"{name[:40]}.tflite"


@functools.lru_cache(maxsize=4)
def _interpreted(file: Path) -> Any:
    return tflite.open_tflite(file, threads=os.cpu_count() or 1)


def litert(front: Front, together: Sequence[Front] = ()) -> Run:
    """A front in LiteRT with XNNPACK on all cores, converted on first use.

    One example at a time: with two threads that is faster than batches.

    Args:
        front: What is to be run.
        together: Fronts that are converted with it, where they can be.

    Raises:
        InputError: If it does not convert to built-in operations.
    """
    group = _convertible(front, together)
    if is_kept(_file((front,))):
        group = (front,)
    file = _file(group)
    if not is_kept(file):
        try:
            write_atomic(file, _converted(group))
            record_kept(file)
        except InputError:
            if len(group) == 1:
                raise
            return litert(front)
    cache_budget.touch(file)
    call = _interpreted(file).signatures[_signature(group.index(front))]

    def run(batch: Any) -> tuple[np.ndarray, ...]:
        values = np.asarray(batch, dtype=np.float32)
        outputs = [call({INPUT: values[i : i + 1]}) for i in range(len(values))]
        return tuple(np.concatenate([y[name] for y in outputs]) for name in map(_output, range(len(outputs[0]))))

    return run


def _signature(number: int) -> str:
    return f"front_{number}"


def _output(number: int) -> str:
    return f"features_{number}" if number else "features"


def _converted(fronts: Sequence[Front]) -> bytes:
    functions = {_signature(number): _of_one(front) for number, front in enumerate(fronts)}
    with tempfile.TemporaryDirectory(prefix="tlkit-front-") as scratch:
        graphs.save_constant(functions, Path(scratch), [v for front in fronts for v in front.variables])
        with tflite.quiet():
            return tflite.convert(Path(scratch), "float32", None, spanned=False)


def _of_one(front: Front) -> Any:
    """A front as a concrete function of one example."""
    spec = tf.TensorSpec([1, *front.spec.shape[1:]], front.spec.dtype, INPUT)

    def named(inputs: Any) -> dict[str, Any]:
        return {_output(number): tensor for number, tensor in enumerate(front.run(inputs))}

    return tf.function(named, input_signature=[spec], autograph=False).get_concrete_function()
