"""Keras losses, metrics and layers that methods are made of. Imports Keras at the top: import it inside functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

Penalty = Callable[[Any, Any], Any]
View = Callable[[Any, Any, Any], tuple[Any, Any, Any]]


class OnSource(keras.losses.Loss):
    """The mean of a loss over the examples of the source, whose domain, the last column of the targets, is 0."""

    of_whole_batches = True

    def __init__(self, base: keras.losses.Loss, key: str):
        super().__init__(name=base.name)
        self.base, self.key = base, key

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,): 0 in the target; the mean over the batch is the mean over the source."""
        is_source = source(y_true)
        losses = self.base.call(labels(y_true, y_pred[self.key]), y_pred[self.key])
        share = ops.mean(is_source)
        return ops.reshape(losses, (-1,)) * is_source / ops.maximum(share, 1e-12)


class Penalized(keras.losses.Loss):
    """A loss, and a penalty on the outputs of both domains, which no weight of an example rescales."""

    of_whole_batches = True

    def __init__(self, base: keras.losses.Loss, penalty: Penalty):
        super().__init__(name=base.name)
        self.base, self.penalty = base, penalty

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch; the weights are those of the base alone."""
        outputs = tf.nest.map_structure(lambda output: ops.cast(output, self.dtype), y_pred)
        penalty = self.penalty(outputs, ops.cast(y_true[:, -1], self.dtype))
        return self.base(y_true, y_pred, sample_weight=sample_weight) + penalty


class Taught(keras.losses.Loss):
    """A loss on labels, and the cross-entropy with a teacher's softened answers (targets: label, then logits)."""

    def __init__(self, base: keras.losses.Loss, temperature: float, weight: float):
        super().__init__(name=base.name)
        self.base, self.temperature, self.weight = base, temperature, weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,)."""
        base_losses = ops.reshape(self.base.call(y_true[:, 0], y_pred), (-1,))
        return (1 - self.weight) * base_losses + self.weight * softened(y_true[:, 1:], y_pred, self.temperature)


def softened(teacher: Any, student: Any, temperature: float) -> Any:
    """Cross-entropy (batch,) of softened predictions, times the squared temperature; both logits (batch, k)."""
    shares = ops.softmax(teacher / temperature, axis=-1)
    return -(temperature**2) * ops.sum(shares * ops.log_softmax(student / temperature, axis=-1), axis=-1)


class MetricOf(keras.metrics.Metric):
    """A metric of a part of what is given: `view` makes (targets, outputs, weights) of (targets, outputs, weights)."""

    def __init__(self, base: keras.metrics.Metric, view: View, name: str | None = None):
        super().__init__(name=name or base.name)
        self.base, self.view = base, view

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch."""
        targets, outputs, weights = self.view(y_true, y_pred, sample_weight)
        self.base.update_state(targets, outputs, sample_weight=weights)

    def result(self) -> Any:
        """The figure."""
        return self.base.result()

    def reset_state(self) -> None:
        """Start anew."""
        self.base.reset_state()


class OfHeads(keras.losses.Loss):
    """The sum of several heads' losses, each over those of its examples that have a label of its kind.

    Args:
        losses: By name of the head.
        factors: Of each.
        log_variances: Name of the output (batch, heads) of `LogVariances`, where factors exp(-s) are learned.
    """

    of_whole_batches = True

    def __init__(self, losses: Mapping[str, keras.losses.Loss], factors: Sequence[float], log_variances: str | None):
        super().__init__(name="of_heads")
        self.losses, self.factors, self.log_variances = dict(losses), tuple(factors), log_variances

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch; `sample_weight` is (batch, heads)."""
        return sum(self._of(number, name, y_true, y_pred, sample_weight) for number, name in enumerate(self.losses))

    def _of(self, number: int, name: str, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        targets, outputs, weights = of_head(name, number, y_true, y_pred, sample_weight)

        def loss_of_head() -> Any:
            loss = self.factors[number] * self.losses[name](targets, outputs, sample_weight=weights)
            if self.log_variances is None:
                return loss
            s = y_pred[self.log_variances][0, number]
            return ops.exp(-s) * loss + 0.5 * s

        return tf.cond(tf.reduce_any(y_true[name]["known"]), loss_of_head, lambda: tf.constant(0.0))


class LogVariances(keras.layers.Layer):
    """One learned number s a head, the same for all examples: (batch, heads); 0 at first."""

    def __init__(self, heads: int, **keras_arguments: Any):
        super().__init__(**keras_arguments)
        self.heads = heads
        self.values = self.add_weight(shape=(heads,), initializer="zeros", name="values")

    def call(self, x: Any) -> Any:
        """The numbers, once an example."""
        return ops.broadcast_to(self.values, (ops.shape(x)[0], self.heads))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(batch, heads)."""
        return (input_shape[0], self.heads)


def of_head(name: str, number: int, targets: Any, outputs: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Of a batch for several heads the part that one has labels of; `weights` are (batch, heads) or None."""
    rows = targets[name]["known"]
    part = tf.nest.map_structure(lambda tensor: tf.boolean_mask(tensor, rows), (targets[name]["target"], outputs[name]))
    return (*part, None if weights is None else tf.boolean_mask(weights[:, number], rows))


def of_labels(targets: Any, outputs: Any, weights: Any) -> tuple[Any, Any, Any]:
    """The first column of the targets alone."""
    return targets[:, 0], outputs, weights


def on_source(key: str, targets: Any, outputs: Any, weights: Any) -> tuple[Any, Any, Any]:
    """The outputs `key` on the examples of the source; those of the target weigh nothing."""
    is_source = source(targets)
    weight = is_source if weights is None else is_source * ops.cast(weights, is_source.dtype)
    return labels(targets, outputs[key]), outputs[key], weight


class GradientReversal(keras.layers.Layer):
    """The identity, whose gradient comes back negative: times -weight * (2 / (1 + exp(-gamma p)) - 1).

    Source: Ganin et al. 2016, arXiv:1505.07818, section 3.2 and the schedule of section 5.2.2. `progress`, p, goes from
    0 to 1 over a fit.
    """

    def __init__(self, weight: float, gamma: float, **keras_arguments: Any):
        super().__init__(**keras_arguments)
        self.weight, self.gamma = weight, gamma
        self.progress = self.add_weight(shape=(), initializer="zeros", trainable=False, name="progress")

    def call(self, x: Any) -> Any:
        """x."""
        return reversed_gradient(x, self.weight * rise(self.progress, self.gamma))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return input_shape


@tf.custom_gradient  # type: ignore[untyped-decorator]
def reversed_gradient(x: Any, factor: Any) -> Any:
    """x, whose gradient is multiplied by -factor."""
    factor = tf.cast(factor, x.dtype)
    return tf.identity(x), lambda upstream: (-factor * upstream, None)


def rise(progress: Any, gamma: float) -> Any:
    """From 0 at progress 0 towards 1: 2 / (1 + exp(-gamma p)) - 1, which is tanh(gamma p / 2).

    Example:
        >>> round(float(rise(1.0, 10.0)), 4)
        0.9999
    """
    if isinstance(progress, float):
        return math.tanh(0.5 * gamma * progress)
    return ops.tanh(0.5 * gamma * ops.convert_to_tensor(progress))


def source(targets: Any) -> Any:
    """float32 (batch,): 1 for examples of the source, 0 for those of the target."""
    return 1.0 - ops.cast(targets[:, -1], "float32")


def labels(targets: Any, outputs: Any) -> Any:
    """Targets (batch, k + 1) without the column of domains: (batch,) where k is 1 and the outputs are several."""
    several = targets.shape[-1] > 2 or outputs.shape[-1] == 1
    return targets[:, :-1] if several else targets[:, 0]


def apart(rows: Any, domains: Any) -> tuple[Any, Any]:
    """Rows (batch, d) of the source, and those of the target."""
    of_source = ops.cast(domains, "int32") == 0
    return tf.boolean_mask(rows, of_source), tf.boolean_mask(rows, ~of_source)


def domain_loss(logits: Any, domains: Any) -> Any:
    """Cross-entropy of telling the domains apart, the mean over the batch; logits (batch, 1) of the target."""
    truth = ops.cast(ops.reshape(domains, (-1, 1)), logits.dtype)
    return ops.mean(ops.binary_crossentropy(truth, logits, from_logits=True))


def critic(features: Any, width: int, method: str, weight: float, gamma: float) -> Any:
    """Logits (batch, 1) of the domain behind reversed gradients: two hidden layers, as the papers have."""
    x = GradientReversal(weight, gamma, name=f"{method}_reversal")(features)
    for number in (1, 2):
        x = keras.layers.Dense(width, activation="relu", name=f"{method}_dense_{number}")(x)
    return keras.layers.Dense(1, dtype="float32", name=f"{method}_domain")(x)
