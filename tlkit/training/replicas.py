"""A tf.distribute strategy as `Workers`: it says which devices there are, and adds up over processes."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit.core.errors import InputError, TrainingError
from tlkit.core.workers import ALONE, Workers
from tlkit.layer.lookup import backbone_of

ENDED = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)
SPREAD = 0x9E3779B9  # between the seeds of two workers
KINDS = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.OneDeviceStrategy)


_SHARED: contextvars.ContextVar[Any] = contextvars.ContextVar("shared", default=None)


@contextlib.contextmanager
def sharing(strategy: Any) -> Iterator[Workers]:
    """Inside, fits that are given no strategy take this one: what `tlkit run` does on each of several workers."""
    token = _SHARED.set(strategy)
    try:
        yield workers_of(strategy)
    finally:
        _SHARED.reset(token)


def workers_of(strategy: Any) -> Workers:
    """The devices and workers of a strategy.

    Args:
        strategy: A MirroredStrategy, or a MultiWorkerMirroredStrategy that was made before TensorFlow did anything;
            None is that of `sharing`, or this process alone, on its first device.

    Raises:
        InputError: If it is of another kind, or its scope is open.
    """
    strategy = _SHARED.get() if strategy is None else strategy
    if strategy is None:
        return ALONE
    if not isinstance(strategy, KINDS):
        raise InputError(
            "`strategy` must be a tf.distribute.MirroredStrategy, a MultiWorkerMirroredStrategy, or None. "
            f"Received: {type(strategy).__name__}."
        )
    if tf.distribute.has_strategy():
        raise InputError(
            "`strategy` is given outside `strategy.scope()`: make the layer and the model, and call this, without it."
        )
    return _workers(strategy)


@functools.lru_cache(maxsize=4)
def _workers(strategy: tf.distribute.Strategy) -> Workers:
    devices = tuple(strategy.extended.worker_devices)
    count = strategy.num_replicas_in_sync // len(devices)
    if count == 1:
        return Workers(devices=devices)
    replica = strategy.run(lambda: tf.distribute.get_replica_context().replica_id_in_sync_group)
    first = int(strategy.experimental_local_results(replica)[0])
    return Workers(first // len(devices), count, devices, _adder(strategy, len(devices)))


def _adder(strategy: tf.distribute.Strategy, devices: int) -> Callable[[Sequence[Any]], list[Any]]:
    """Tensors -> their sums over all workers, in one exchange of one vector."""

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def summed(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        vector = tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], axis=0)

        def replica() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            contribution = tf.identity(vector)
            if devices > 1:  # the first device of a worker brings what all of them have
                contribution *= tf.cast(tf.equal(context.replica_id_in_sync_group % devices, 0), tf.float32)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, contribution)

        total = strategy.experimental_local_results(strategy.run(replica))[0]
        parts = tf.split(total, [int(np.prod(tensor.shape)) for tensor in tensors])
        return [tf.cast(tf.reshape(p, tensor.shape), tensor.dtype) for p, tensor in zip(parts, tensors, strict=True)]

    def add(tensors: Sequence[Any]) -> list[Any]:
        try:
            return list(summed([tf.convert_to_tensor(tensor) for tensor in tensors]))
        except ENDED as error:
            raise TrainingError(_ended(str(error))) from None

    return add


def check_placed(model: keras.Model, workers: Workers) -> None:
    """Refuse a model that a strategy has spread already, where this one would share its batches.

    Raises:
        InputError: If so.
    """
    layer = backbone_of(model)
    variables = [] if layer is None else list(layer.module_variables.values())
    values = (*variables, *(v.value for v in model.variables))
    if workers.replicas > 1 and any(isinstance(value, tf.distribute.DistributedValues) for value in values):
        raise InputError("The model was made inside `strategy.scope()`: with `strategy=`, make it outside.")


def add_metrics(metrics: Sequence[keras.metrics.Metric], workers: Workers) -> None:
    """Give each worker's metrics what all of them have counted: Keras' metrics are made of sums."""
    variables = [variable for metric in metrics for variable in metric.variables]
    if workers.count == 1 or not variables:
        return
    for variable, total in zip(variables, workers.add([v.value for v in variables]), strict=True):
        variable.assign(total)


def begin_seeds(variables: Sequence[Any], workers: Workers) -> None:
    """Give all workers the chief's states of random generators, each with a seed of its own.

    The chief's are in checkpoints, and these follow from them: a fit that goes on draws what it would have drawn.
    """
    if workers.count == 1:
        return
    for variable in variables:
        state = np.asarray(variable)
        chief = np.frombuffer(workers.bytes_of_all(state.tobytes())[0], state.dtype).reshape(state.shape).copy()
        chief.flat[0] = (int(chief.flat[0]) + SPREAD * workers.index) % 2**31
        variable.assign(chief)


def _ended(message: str) -> str:
    task = re.search(r"task:(\d+)", message)
    which = f"Worker {task.group(1)}" if task else "One of the workers"
    return (
        f"{which} has ended or cannot be reached, so the others stop too; start the same command again on all of them, "
        "and it goes on behind the last checkpoint."
    )
