"""What one step does: a fresh optimizer, loss and metrics a phase, and two traced functions."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit.core import excerpts
from tlkit.core.examples import Examples
from tlkit.core.run import Phase
from tlkit.core.task import Task
from tlkit.core.workers import ALONE, Workers
from tlkit.layer.lookup import all_layers, backbone_of
from tlkit.model.partition import flag
from tlkit.training.microbatches import WHOLE, Parts, divided, parts_of
from tlkit.training.optimizers import DepthAdamW

NOT_FINITE = "tlkit: not finite"

Judge = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Trainer:
    """A model with its traced steps.

    Attributes:
        model: What trains.
        optimizer: What trains it.
        metrics: Figures that the steps update.
        train_step: (x, y, weights, rate, whole) -> loss; raises before it touches a weight when something is not
            finite. The rate may be left out: it is then what the phase gives at the optimizer's step. `whole` counts
            the examples of the whole batch, where these are one worker's part of it; x is None where that is empty.
        test_step: (x, y, weights) -> loss.
        weights: float32 weight of each training example, or None.
        rate: Step -> learning rate.
        progress: Variables of layers with a schedule; `fit` moves them from 0 to 1.
        parts: How batches are divided inside the steps.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    metrics: Sequence[keras.metrics.Metric]
    train_step: Callable[..., Any]
    test_step: Callable[..., Any]
    weights: np.ndarray | None
    rate: Callable[[int], float]
    progress: Sequence[keras.Variable] = ()
    parts: Parts = WHOLE


def compiled(
    whole: keras.Model,
    trained: keras.Model,
    task: Task,
    phase: Phase,
    train: Examples,
    batch_size: int,
    start: Mapping[int, np.ndarray] = types.MappingProxyType({}),
    micro_batch: int | None = None,
    workers: Workers = ALONE,
) -> Trainer:
    """Give the trained part of a model a phase's optimizer, loss and metrics, and trace its steps.

    Args:
        whole: The model.
        trained: The part of it that the phase trains.
        task: For loss and metrics.
        phase: What is asked.
        train: Training examples.
        batch_size: Of them.
        start: Values that the module's weights began with, by `id` of the variable, for `Phase.l2_sp`.
        micro_batch: Examples at a time inside a step; None goes by the memory that they take.
        workers: Who takes which part of each batch.

    Raises:
        InputError: If workers or devices are to share batches that cannot be divided.
    """
    steps = steps_of_epoch(len(train), batch_size) * max(1, phase.epochs)
    optimizer, metrics = optimizer_of(phase, whole), task.objective.metrics()
    optimizer.build(trained.trainable_variables)
    away = functools.partial(_strayed, trained, start, phase.l2_sp) if phase.l2_sp else None
    judged = _judged(trained, task.objective.loss(), metrics, away)
    keep = kept_statistics(whole, phase)
    rate = functools.partial(rate_at, phase, steps)
    like = None if "length" not in train.columns else functools.partial(_any_width, trained, has_steps(trained.output))
    parts = parts_of(whole, trained, task, phase, train, batch_size, micro_batch, workers.replicas)
    if parts.most is None and workers.replicas == 1:
        step = _traced(_train_step(trained, judged, optimizer, keep), like)
        test_step = _traced(_test_step(trained, judged), like)
    else:
        at_once = functools.partial(_on_devices, workers.devices, like)
        apply = _traced(_applied(trained, optimizer), _as_they_are)
        step = _step_in_parts(parts, workers, at_once(_gradients(trained, judged)), apply, trained)
        test_step = _test_in_parts(parts, workers.by_itself, at_once(_shared_test(trained, judged)))
    return Trainer(
        model=trained,
        optimizer=optimizer,
        metrics=metrics,
        train_step=_rated(step, optimizer, rate),
        test_step=test_step,
        weights=_sample_weights(task, train),
        rate=rate,
        progress=tuple(layer.progress for layer in all_layers(trained) if hasattr(layer, "progress")),
        parts=parts,
    )


def again(trainer: Trainer, whole: keras.Model, phase: Phase, steps: int) -> Trainer:
    """The traced steps of a phase for another one that differs in rates and epochs alone, as if they were new.

    Args:
        trainer: Of the other phase, on the same model, task and data.
        whole: The model.
        phase: What is asked.
        steps: Steps that the phase has, >= 1.
    """
    backbone = backbone_of(whole)
    if backbone is not None:
        flag(backbone, phase)
    for variable in trainer.optimizer.variables:
        variable.assign(np.zeros_like(np.asarray(variable)))
    rate = functools.partial(rate_at, phase, steps)
    traced = vars(trainer.train_step)["__wrapped__"]
    return replace(trainer, train_step=_rated(traced, trainer.optimizer, rate), rate=rate)


def steps_of_epoch(count: int, batch_size: int) -> int:
    """Steps over so many examples, the last batch of which may be short."""
    return -(-count // batch_size)


def rate_at(phase: Phase, steps: int, step: int) -> float:
    """Learning rate of a step: constant, or a linear warm-up to the peak and then constant or a cosine to 0.

    Args:
        phase: The phase; its `lr` is the peak.
        steps: Steps that the phase has, >= 1.
        step: Steps that were done, >= 0.

    Example:
        >>> [round(rate_at(Phase(1, 0.1, warmup=0.5, cosine=True), 4, step), 3) for step in range(4)]
        [0.05, 0.1, 0.1, 0.05]
    """
    warmup = round(phase.warmup * steps)
    if step < warmup:
        return phase.lr * (step + 1) / warmup
    if not phase.cosine:
        return phase.lr
    return phase.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))


def _rated(function: Callable[..., Any], optimizer: Any, rate: Callable[[int], float]) -> Callable[..., Any]:
    """A step that knows its rate. It is a plain argument: as a Keras schedule it would be traced for each variable."""

    def step(x: Any, y: Any, weights: Any, at: float | None = None, whole: int | None = None) -> Any:
        now = np.float32(rate(int(optimizer.iterations)) if at is None else at)
        return function(x, y, weights, now) if whole is None else function(x, y, weights, now, whole)

    return _wrapping(step, function)


def _traced(function: Callable[..., Any], like: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The function traced once for batches of any size, so that a last short batch is nothing new.

    Args:
        function: A step.
        like: Arguments -> the specs to trace it for; None keeps all their sizes but the batch.
    """
    traced = tf.function(function, reduce_retracing=True, autograph=False)
    ready: list[Any] = []

    def call(*arguments: Any) -> Any:
        if not ready:  # concrete functions are found by their signature, and this one fits all batches
            specs = tf.nest.map_structure(_any_batch, arguments) if like is None else like(*arguments)
            ready.append(traced.get_concrete_function(*specs))
        return traced(*arguments)

    return _wrapping(call, traced)


def _wrapping(outer: Callable[..., Any], inner: Any) -> Callable[..., Any]:
    """The outer function, through which the traced one can be found: TensorBoard draws it."""
    return functools.update_wrapper(outer, inner, assigned=(), updated=())


def _any_batch(value: Any) -> Any:
    if value is None:
        return None
    shape = tuple(value.shape)
    return tf.TensorSpec([None, *shape[1:]] if shape else (), value.dtype)


def _as_they_are(*arguments: Any) -> Any:
    return tf.nest.map_structure(lambda t: None if t is None else tf.TensorSpec(t.shape, t.dtype), arguments)


def _any_width(model: keras.Model, targets_have_steps: bool, x: Any, y: Any, *others: Any) -> tuple[Any, ...]:
    """Specs for sequences of any width: what the model's inputs leave open is left open."""
    inputs = tf.nest.map_structure(lambda tensor, value: tf.TensorSpec(tensor.shape, value.dtype), model.input, x)
    targets = tf.nest.map_structure(functools.partial(_any_steps, targets_have_steps), y)
    return inputs, targets, *tf.nest.map_structure(_any_batch, others)


def has_steps(outputs: Any) -> bool:
    """Whether raw outputs, and so the targets, are one a step of sequences: how many is left open."""
    return any(len(tensor.shape) > 1 and tensor.shape[1] is None for tensor in tf.nest.flatten(outputs))


def _any_steps(have_steps: bool, target: Any) -> Any:
    spec = _any_batch(target)
    return tf.TensorSpec([None, None, *spec.shape[2:]], spec.dtype) if have_steps and spec.shape.rank > 1 else spec


def optimizer_of(phase: Phase, model: keras.Model) -> keras.optimizers.Optimizer:
    """A fresh optimizer for a phase; its slots are not there yet."""
    layer = backbone_of(model)
    factors = {} if phase.lr_decay == 1.0 or layer is None else layer.depth_factors(phase.lr_decay)
    return DepthAdamW(factors, weight_decay=phase.weight_decay, learning_rate=phase.lr, global_clipnorm=phase.clip_norm)


def _sample_weights(task: Task, train: Examples) -> np.ndarray | None:
    weights = train.weights
    if task.objective.weights is not None:
        by_target = task.objective.weights(excerpts.whole(train).targets)
        by_target = None if by_target is None else excerpts.by_text(train, by_target)
        weights = by_target if weights is None else weights * by_target
    return None if weights is None else np.asarray(weights, dtype=np.float32)


def kept_statistics(model: keras.Model, phase: Phase) -> list[Any]:
    """BatchNorm statistics of frozen blocks: with training=True the module moves them, so each step puts them back."""
    layer = backbone_of(model)
    cut = layer.cut_for(phase.unfrozen) if layer is not None and phase.batch_stats == "adapt" else None
    if cut is None or layer is None:
        return []
    behind = set(cut.variables_behind)
    return [v for i, v in layer.module_variables.items() if i not in behind and not v.trainable]


def _strayed(model: keras.Model, start: Mapping[int, np.ndarray], strength: float) -> Any:
    """Penalty on the distance of the module's weights from where they began (L2-SP, eq. 3)."""
    moved = [(v, start[id(v)]) for v in model.trainable_variables if id(v) in start]
    return 0.5 * strength * sum(tf.reduce_sum((v.value - value) ** 2) for v, value in moved)


def _judged(
    model: keras.Model,
    loss: keras.losses.Loss,
    metrics: Sequence[keras.metrics.Metric],
    penalty: Callable[[], Any] | None = None,
) -> Judge:
    """(y, outputs, weights) -> the loss with what the layers and a penalty add to it; updates the metrics.

    Not `model.compute_loss`, which takes one loss an output: a task's loss sees all of them together.
    """

    def judge(y: Any, outputs: Any, weights: Any) -> Any:
        for metric in metrics:
            metric.update_state(y, outputs, sample_weight=weights)
        total = loss(y, outputs, sample_weight=weights)
        total = sum((keras.ops.sum(added) for added in model.losses), total)
        return total if penalty is None else total + penalty()

    return judge


def _train_step(model: keras.Model, judge: Judge, optimizer: Any, keep: list[Any]) -> Callable[..., Any]:
    def step(x: Any, y: Any, weights: Any, rate: Any) -> Any:
        optimizer.learning_rate = rate
        before = [tf.identity(v.value) for v in keep]
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            loss = judge(y, model(x, training=True), weights)
        gradients = _finite(tape.gradient(loss, variables), loss)
        optimizer.apply(gradients, variables)
        for variable, value in zip(keep, before, strict=True):
            variable.assign(value)
        return loss

    return step


def _gradients(model: keras.Model, judge: Judge) -> Callable[..., Any]:
    """A part of a step: (x, y, weights, share of the batch) -> its loss and gradients, times that share."""

    def part(x: Any, y: Any, weights: Any, share: Any) -> Any:
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            loss = judge(y, model(x, training=True), weights) * share
        return loss, _dense(tape.gradient(loss, variables))

    return part


def _applied(model: keras.Model, optimizer: Any) -> Callable[..., Any]:
    """The end of a step: the gradients of all parts move the weights, unless something is not finite."""

    def apply(loss: Any, gradients: list[Any], rate: Any) -> Any:
        optimizer.learning_rate = rate
        optimizer.apply(_finite(gradients, loss), model.trainable_variables)
        return loss

    return apply


def _on_devices(
    devices: Sequence[str], like: Callable[..., Any] | None, part: Callable[..., Any]
) -> Callable[..., Any]:
    """What a function gives for parts of a batch, each on a device of its own, added up in the devices' order."""
    if len(devices) == 1:
        traced = _traced(part, like)
        return _wrapping(lambda only: traced(*only), traced)

    def parts(*per_device: Any) -> Any:
        together: Any = None
        for device, arguments in zip(devices, per_device, strict=False):  # a short batch may leave devices without any
            with tf.device(device):
                part_sum = part(*arguments)
            together = part_sum if together is None else tf.nest.map_structure(_sum, together, part_sum)
        return together

    return _traced(
        parts, None if like is None else lambda *per_device: tuple(like(*arguments) for arguments in per_device)
    )


def _step_in_parts(
    parts: Parts, workers: Workers, gradients: Callable[..., Any], apply: Callable[..., Any], model: keras.Model
) -> Callable[..., Any]:
    """A step whose parts come one after the other, so that the tensors of one alone are held."""
    everybodys = functools.partial(_added_up, workers, model, [])

    def step(x: Any, y: Any, weights: Any, rate: Any, whole: int | None = None) -> Any:
        together: Any = None
        for at_once in () if x is None else divided(parts, workers, x, y, weights, whole):
            part_gradients = gradients(*at_once)
            together = part_gradients if together is None else tf.nest.map_structure(_sum, together, part_gradients)
        return apply(*everybodys(together), rate)

    return step


def _added_up(workers: Workers, model: keras.Model, reached: list[bool], sums: Any) -> Any:
    """Loss and gradients summed over all workers; one without examples, whose `sums` are None, adds zeros.

    Args:
        workers: Who trains.
        model: What trains.
        reached: Which of its variables a gradient reaches; filled on the first call, by what any worker knows.
        sums: (loss, gradients) of this worker's part.
    """
    if workers.count == 1:
        return sums
    zeros = [tf.zeros(v.shape, v.dtype) for v in model.trainable_variables]
    loss, gradients = (tf.zeros(()), [None] * len(zeros)) if sums is None else sums
    if not reached:
        (counts,) = workers.add([np.asarray([g is not None for g in gradients], np.float32)])
        reached += [bool(count) for count in counts.numpy()]
    summed = workers.add([loss, *(z if g is None else g for z, g in zip(zeros, gradients, strict=True))])
    return summed[0], [g if some else None for g, some in zip(summed[1:], reached, strict=True)]


def _sum(first: Any, second: Any) -> Any:
    return None if first is None else first + second


def _test_in_parts(parts: Parts, workers: Workers, test: Callable[..., Any]) -> Callable[..., Any]:
    def step(x: Any, y: Any, weights: Any) -> Any:
        return sum(test(*at_once) for at_once in divided(parts, workers, x, y, weights))

    return step


def _shared_test(model: keras.Model, judge: Judge) -> Callable[..., Any]:
    """A part of a test step: (x, y, weights, share of the batch) -> its loss times that share."""
    test = _test_step(model, judge)
    return lambda x, y, weights, share: test(x, y, weights) * share


def _finite(gradients: list[Any], loss: Any) -> list[Any]:
    """The gradients, behind a check that stops the step: the optimizer waits for them, so no weight has moved."""
    dense = _dense(gradients)
    checked = [loss, *(g for g in dense if g is not None)]
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in checked])
    with tf.control_dependencies([tf.debugging.Assert(finite, [NOT_FINITE])]):
        return [None if g is None else tf.identity(g) for g in dense]


def _dense(gradients: list[Any]) -> list[Any]:
    return [None if g is None else tf.convert_to_tensor(g) for g in gradients]


def _test_step(model: keras.Model, judge: Judge) -> Callable[..., Any]:
    def step(x: Any, y: Any, weights: Any) -> Any:
        return judge(y, model(x, training=False), weights)

    return step
