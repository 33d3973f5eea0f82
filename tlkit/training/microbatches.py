"""Steps in parts: the gradients of a few examples at a time add up to those of the batch, in a share of the memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core import multi_targets
from tlkit.core.batches import order_of_epoch, steps_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.run import Phase
from tlkit.core.task import Task
from tlkit.core.workers import Workers
from tlkit.layer.hub_layer import BackLayer, HubLayer
from tlkit.layer.lookup import all_layers, backbone_of
from tlkit.model.build import PAIR

BOUND = 512e6  # bytes that a part's forward and backward pass may take
HELD = 0.4  # of a forward pass's tensors, what it and its backward pass take at their peak
ALIKE = 1e-4  # of the loss, which its parts may add up to another one by rounding


@dataclass(frozen=True)
class Parts:
    """How a phase's steps are divided.

    Attributes:
        most: Examples at a time, at `steps` steps each; None where batches stay whole.
        steps: Of the longest sequence; None where all examples have one size.
        why: What decided, for the record.
        wanted: Bytes that a whole batch would take, where batches stay whole although that is more than BOUND.
    """

    most: int | None
    steps: int | None = None
    why: str = ""
    wanted: float = 0.0

    def of(self, count: int, steps: int | None) -> list[slice]:
        """The parts of a batch, as even as they can be; of shorter sequences more fit.

        Example:
            >>> [part.stop - part.start for part in Parts(4).of(9, None)]
            [3, 3, 3]
            >>> len(Parts(4, steps=512).of(32, 128))
            2
        """
        if self.most is None:
            return [slice(0, count)]
        most = self.most if self.steps is None or not steps else max(1, self.most * self.steps // steps)
        pieces = -(-count // most)
        bounds = [count * number // pieces for number in range(pieces + 1)]
        return [slice(start, end) for start, end in itertools.pairwise(bounds)]


WHOLE = Parts(None)


def parts_of(
    whole: keras.Model,
    trained: keras.Model,
    task: Task,
    phase: Phase,
    train: Examples,
    batch_size: int,
    micro_batch: int | None,
    replicas: int = 1,
) -> Parts:
    """How the steps of a phase are divided: a pure function of the arguments.

    Args:
        whole: The model.
        trained: The part of it that the phase trains.
        task: For its loss.
        phase: What is asked.
        train: Training examples.
        batch_size: Of them.
        micro_batch: Examples at a time, or None: as many as BOUND has room for.
        replicas: Devices that share every batch.

    Raises:
        InputError: If a batch is to be shared that cannot be divided.
    """
    size = min(batch_size, len(train))
    if replicas > 1:
        size = _shared(trained, task, phase, train, size, replicas)
    need = size * example_bytes(whole, trained, phase, train)
    fits = micro_batch >= size if micro_batch is not None else need <= BOUND
    if fits or size < 2:  # one example is the least
        return Parts(None, why="whole batches")
    reason = _undivided(trained, task, phase, train, size)
    if reason is not None:
        return Parts(None, why=f"whole batches: {reason}", wanted=max(need, 1.0))  # who asked for parts is told
    if micro_batch is not None:
        return Parts(micro_batch, why=f"{micro_batch} examples at a time")
    most = max(1, int(size * BOUND / need))
    steps = None if "length" not in train.columns else steps_of(train.inputs.spec)
    of = "" if steps is None else f" of {steps} steps"
    return Parts(most, steps, f"{most} examples{of} at a time, as a whole batch would take {need / 1e9:.1f} GB")


def _shared(trained: keras.Model, task: Task, phase: Phase, train: Examples, size: int, replicas: int) -> int:
    """Examples of a batch on one of several devices."""
    reason = _undivided(trained, task, phase, train, size)
    if reason is not None:
        raise InputError(f"`strategy` shares each batch among devices, which cannot be: {reason}. Leave it out.")
    return -(-size // replicas)


# -- memory


def example_bytes(whole: keras.Model, trained: keras.Model, phase: Phase, train: Examples) -> float:
    """Bytes that one example takes while it passes forwards and back through what a phase trains, by estimate."""
    total = 0.0
    calls = 2 if any(layer.name == PAIR for layer in whole.layers) else 1
    for layer in all_layers(trained):
        if isinstance(layer, HubLayer | BackLayer):
            total += calls * _module_bytes(backbone_of(whole), isinstance(layer, BackLayer), phase, train)
        elif not isinstance(layer, keras.Model):
            total += _layer_bytes(layer, train)
    return HELD * total


def _module_bytes(layer: HubLayer | None, behind_the_cut: bool, phase: Phase, train: Examples) -> int:
    if layer is None or layer.graph.problem is not None:
        return 0  # unknown; `micro_batch` divides such batches
    feeds = layer.halves(phase.unfrozen).tensors if behind_the_cut else ()
    graph = _sized(layer, train)
    if graph.problem:
        return 0
    graph = graphs.giving(graph, graphs.rows_of(graph, layer.taps)) if layer.taps else graph
    return graphs.activation_bytes(graph, feeds)


def _sized(layer: HubLayer, train: Examples) -> graphs.Graph:
    """The module's graph with the sizes of the examples in place of those that it leaves open."""
    leaves = layer.endpoint.input_leaves
    spec = train.inputs.spec
    like = [spec[key].shape for key in sorted(spec)] if isinstance(spec, Mapping) else [spec.shape]
    shapes = [
        [None, *(b if a is None else a for a, b in zip(leaf.shape[1:], shape, strict=False))]
        for leaf, shape in zip(leaves, like * (len(leaves) if len(like) == 1 else 1), strict=False)
    ]
    if len(shapes) != len(leaves) or all(s == leaf.shape.as_list() for s, leaf in zip(shapes, leaves, strict=True)):
        return layer.graph
    return graphs.flatten(layer.endpoint.inference, layer.endpoint.variables, input_shapes=shapes)


def _layer_bytes(layer: keras.layers.Layer, train: Examples) -> float:
    """Of what a Keras layer gives, where it says so; open sizes are the sequence's."""
    try:
        outputs = keras.tree.flatten(layer.output)
    except (AttributeError, ValueError):
        return 0.0
    steps = 1 if "length" not in train.columns else steps_of(train.inputs.spec)
    return 4.0 * sum(math.prod(size or steps for size in tensor.shape[1:]) for tensor in outputs)


# -- what cannot be divided


def _undivided(trained: keras.Model, task: Task, phase: Phase, train: Examples, size: int) -> str | None:
    """Why the parts of a batch would not come to the same step, or None where they do."""
    if phase.batch_stats == "adapt":
        return 'batch_stats="adapt" measures the statistics of each batch'
    for layer in all_layers(trained):
        if isinstance(layer, HubLayer | BackLayer | keras.Model | keras.layers.Normalization):
            continue
        if layer.trainable and any(_measured(v) for v in layer.non_trainable_variables):
            return f"the layer {layer.name!r} measures the statistics of each batch"
        if getattr(layer, "activity_regularizer", None) is not None:
            return f"the layer {layer.name!r} adds up a penalty over each batch"
    loss = task.objective.loss()
    if getattr(loss, "of_whole_batches", False) or (size > 1 and not _adds_up(loss, trained, task, train, size)):
        return f"its loss ({loss.name}) is no mean over the examples of a batch"
    return None


def _measured(variable: Any) -> bool:
    return "seed_generator" not in variable.path and not variable.path.endswith("/progress")


def _adds_up(loss: Any, trained: keras.Model, task: Task, train: Examples, size: int) -> bool:
    """Whether a batch's loss is the mean of its parts', on outputs drawn at random."""
    indices = order_of_epoch(len(train), 0, 0, 0)[:size]
    targets = multi_targets.unpacked(train.targets.take(indices))
    outputs = _random_outputs(trained, train, size)
    weighs = train.weights is not None or task.objective.weights is not None
    weights = np.random.default_rng(1).uniform(0.5, 2.0, size).astype(np.float32) if weighs else None
    middle = max(1, size // 3)
    try:
        values = [
            float(loss(*(_cut(batch, part) for batch in (targets, outputs)), sample_weight=_cut(weights, part)))
            for part in (slice(0, size), slice(0, middle), slice(middle, size))
        ]
    except (ValueError, TypeError, tf.errors.OpError):
        return False
    together = (values[1] * middle + values[2] * (size - middle)) / size
    return bool(np.isfinite(values[0]) and abs(values[0] - together) <= ALIKE * max(1.0, abs(values[0])))


def _random_outputs(trained: keras.Model, train: Examples, size: int) -> Any:
    rng = np.random.default_rng(0)
    steps = steps_of(train.inputs.spec) if "length" in train.columns else 1

    def drawn(tensor: Any) -> np.ndarray:
        return rng.normal(size=(size, *(length or steps for length in tensor.shape[1:]))).astype(np.float32)

    return keras.tree.map_structure(drawn, trained.output)


# -- the parts of a batch


def _cut(batch: Any, part: slice) -> Any:
    return keras.tree.map_structure(lambda tensor: None if tensor is None else tensor[part], batch)


def divided(
    parts: Parts, workers: Workers, x: Any, y: Any, weights: Any, whole: int | None = None
) -> Iterator[tuple[tuple[Any, Any, Any, np.float32], ...]]:
    """What is in memory at a time: for each device that has some, (inputs, targets, weights, share of the examples).

    Args:
        parts: How the batch of a device is divided.
        workers: Whose part of a batch this is, and the devices among which it is shared.
        x: Inputs of this worker's part of the batch.
        y: Its targets.
        weights: Its weights, or None.
        whole: Examples of the whole batch, of which these are a part; None says that these are all.
    """
    leaves = keras.tree.flatten(x)
    count, steps = len(leaves[0]), leaves[0].shape[1] if parts.steps is not None else None
    devices = [part for part in workers.device_parts(whole or count) if part.stop > part.start]
    per_device = [
        [slice(d.start + p.start, d.start + p.stop) for p in parts.of(d.stop - d.start, steps)] for d in devices
    ]
    for at_once in itertools.zip_longest(*per_device):
        yield tuple(
            (_cut(x, p), _cut(y, p), _cut(weights, p), np.float32((p.stop - p.start) / (whole or count)))
            for p in at_once
            if p is not None
        )
