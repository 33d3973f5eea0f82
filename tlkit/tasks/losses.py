"""Keras losses and metrics on raw outputs. Imports Keras at the top: import it inside functions only."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def focal_softmax(targets: Any, logits: Any, gamma: float) -> Any:
    """Focal loss over classes: sum over classes of -t (1 - p)^gamma log p, with p = softmax(logits).

    keras.losses.categorical_focal_crossentropy clips p at 1e-7, so an example that is wrong by more than 16 logits
    gives no gradient at all; log p is taken from the logits here.

    Args:
        targets: float (batch, k), rows that add up to 1 (one-hot, or smoothed).
        logits: float (batch, k).
        gamma: Focus on hard examples, >= 0; 0 is cross-entropy.

    Returns:
        float (batch,) losses.

    Source: Lin et al. 2017, arXiv:1708.02002, eq. 4 (without alpha: class weights do that).
    """
    log_p = ops.log_softmax(logits, axis=-1)
    complement = ops.maximum(1.0 - ops.exp(log_p), 1e-7)  # at 0 the power's gradient is infinite for gamma < 1
    return -ops.sum(targets * ops.power(complement, gamma) * log_p, axis=-1)


def focal_sigmoid(targets: Any, logits: Any, gamma: float) -> Any:
    """Focal loss of independent labels, averaged over them; p = sigmoid(logits).

    Args:
        targets: float (batch, k) in [0, 1].
        logits: float (batch, k).
        gamma: Focus on hard labels, >= 0; 0 is binary cross-entropy.

    Returns:
        float (batch,) losses.

    Source: Lin et al. 2017, arXiv:1708.02002, eq. 4 (without alpha), with log(1 - sigmoid(z)) = -softplus(z).
    """
    present = ops.exp(-gamma * ops.softplus(logits)) * ops.softplus(-logits)
    absent = ops.exp(-gamma * ops.softplus(-logits)) * ops.softplus(logits)
    return ops.mean(targets * present + (1.0 - targets) * absent, axis=-1)


def smoothed_one_hot(targets: Any, num_classes: int, smoothing: float) -> Any:
    """Class numbers (batch,) as float32 (batch, num_classes), `smoothing` of the mass spread over all classes."""
    one_hot = ops.one_hot(ops.cast(ops.reshape(targets, (-1,)), "int32"), num_classes, dtype="float32")
    return one_hot * (1.0 - smoothing) + smoothing / num_classes


@keras.saving.register_keras_serializable(package="tlkit")
class SparseFocal(keras.losses.Loss):
    """Cross-entropy of class numbers on logits, with focus (`gamma`) and label smoothing; both may be 0."""

    def __init__(self, gamma: float = 0.0, smoothing: float = 0.0, name: str = "sparse_focal", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)
        self.gamma = gamma
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of class numbers (batch,) and logits (batch, k)."""
        return focal_softmax(smoothed_one_hot(y_true, y_pred.shape[-1], self.smoothing), y_pred, self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "gamma": self.gamma, "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="tlkit")
class BinaryFocal(keras.losses.Loss):
    """Focal loss of several labels an example on logits, with label smoothing towards 0.5."""

    def __init__(self, gamma: float = 2.0, smoothing: float = 0.0, name: str = "binary_focal", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)
        self.gamma = gamma
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of labels 0/1 (batch, k) and logits (batch, k)."""
        return focal_sigmoid(y_true * (1.0 - self.smoothing) + 0.5 * self.smoothing, y_pred, self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "gamma": self.gamma, "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="tlkit")
class ScaledError(keras.losses.Loss):
    """Error of standardised values: `kind` ("mse", "mae", "huber") between (y - mean) / std and the raw outputs."""

    def __init__(
        self, kind: str, mean: list[float], std: list[float], name: str = "scaled_error", **keras_arguments: Any
    ):
        super().__init__(name=name, **keras_arguments)
        self.kind, self.mean, self.std = kind, list(mean), list(std)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of values (batch, k) and raw outputs (batch, k)."""
        y_true = ops.reshape(y_true, ops.shape(y_pred))
        standardized = (y_true - ops.convert_to_tensor(self.mean)) / ops.convert_to_tensor(self.std)
        return keras.losses.get({"mse": "mean_squared_error", "mae": "mean_absolute_error"}.get(self.kind, self.kind))(
            standardized, y_pred
        )

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "kind": self.kind, "mean": self.mean, "std": self.std}


def label_accuracy(targets: Any, logits: Any) -> Any:
    """Share of labels right in each example, a logit above 0 being a yes: float (batch,)."""
    yes = ops.cast(logits > 0, "float32")
    return ops.mean(ops.cast(ops.equal(yes, ops.cast(targets, "float32")), "float32"), axis=-1)


@keras.saving.register_keras_serializable(package="tlkit")
class StepCrossEntropy(keras.losses.Loss):
    """Cross-entropy of labels of steps, the mean over each example's own steps; a target below 0 is no step.

    The mean is taken per example, so that padding, and with it the other examples of a batch, changes nothing.
    """

    def __init__(self, name: str = "step_cross_entropy", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of label numbers (batch, steps) and logits (batch, steps, k)."""
        one_hot = ops.one_hot(ops.maximum(ops.cast(y_true, "int32"), 0), y_pred.shape[-1], dtype="float32")
        step_losses = -ops.sum(one_hot * ops.log_softmax(y_pred, axis=-1), axis=-1)
        return _mean_of_steps(step_losses, y_true)


def step_accuracy(targets: Any, logits: Any) -> Any:
    """Share of steps labelled right in each example, targets below 0 left out: float (batch,)."""
    right = ops.equal(ops.argmax(logits, axis=-1), ops.cast(targets, "int32"))
    return _mean_of_steps(ops.cast(right, "float32"), targets)


def _mean_of_steps(step_losses: Any, targets: Any) -> Any:
    counted = ops.cast(ops.greater_equal(targets, 0), "float32")
    return ops.sum(step_losses * counted, axis=-1) / ops.maximum(ops.sum(counted, axis=-1), 1.0)


def cosines(pairs: Any) -> Any:
    """Cosine of each pair of unit vectors: (batch, 2, d) -> (batch, 1)."""
    return ops.sum(pairs[:, 0] * pairs[:, 1], axis=-1, keepdims=True)


@keras.saving.register_keras_serializable(package="tlkit")
class CosineError(keras.losses.Loss):
    """Squared error of the cosine of a pair against its score, brought from [low, high] to [0, 1]."""

    def __init__(self, low: float = 0.0, high: float = 1.0, name: str = "cosine_error", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)
        self.low = low
        self.high = high

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of scores (batch,) or (batch, 1) and unit vectors (batch, 2, d)."""
        scaled = (ops.reshape(ops.cast(y_true, "float32"), (-1,)) - self.low) / (self.high - self.low)
        return ops.square(cosines(y_pred)[:, 0] - scaled)

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "low": self.low, "high": self.high}


@keras.saving.register_keras_serializable(package="tlkit")
class PairContrast(keras.losses.Loss):
    """Draws the vectors of pairs that are the same (1) together, and pushes others (0) `margin` apart.

    Source: Hadsell, Chopra and LeCun 2006, doi:10.1109/CVPR.2006.100, eq. 4 (whose Y is 1 for pairs that differ).
    """

    def __init__(self, margin: float = 1.0, name: str = "pair_contrast", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)
        self.margin = margin

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of labels 0 and 1 (batch,) and unit vectors (batch, 2, d)."""
        is_same = ops.reshape(ops.cast(y_true, "float32"), (-1,))
        squared = ops.sum(ops.square(y_pred[:, 0] - y_pred[:, 1]), axis=-1)
        distance = ops.sqrt(ops.maximum(squared, 1e-12))  # the root's gradient at 0 is infinite
        return 0.5 * (is_same * squared + (1.0 - is_same) * ops.square(ops.relu(self.margin - distance)))

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable(package="tlkit")
class PairRanking(keras.losses.Loss):
    """Cross-entropy of finding the partner of each first example among the second ones of its batch.

    Pairs labelled 0 have no partner to find, and serve the others as wrong answers.

    Source: Henderson et al. 2017, arXiv:1705.00652, section 4.4 (multiple negatives), on cosines times `scale`.
    """

    of_whole_batches = True

    def __init__(self, scale: float = 20.0, name: str = "pair_ranking", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of labels 0 and 1 (batch,) and unit vectors (batch, 2, d)."""
        is_same = ops.reshape(ops.cast(y_true, "float32"), (-1,))
        logits = self.scale * ops.matmul(y_pred[:, 0], ops.transpose(y_pred[:, 1]))
        return -is_same * ops.diagonal(ops.log_softmax(logits, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tlkit")
class SpanCrossEntropy(keras.losses.Loss):
    """Mean of the cross-entropies of an answer's first and last step, over the steps where an answer can be.

    These are step 0, for no answer, and the context's; so the question, padding, and with it the other examples of a
    batch, change nothing.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 4.2.
    """

    def __init__(self, name: str = "span_cross_entropy", **keras_arguments: Any):
        super().__init__(name=name, **keras_arguments)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of targets (batch, 4): first, last, context's first and end; and logits (batch, steps, 2)."""
        log_p = ops.log_softmax(_within_context(y_true, y_pred), axis=1)
        one_hot = ops.one_hot(ops.cast(y_true[:, :2], "int32"), ops.shape(y_pred)[1], axis=1, dtype="float32")
        return -ops.sum(ops.where(one_hot > 0, log_p, 0.0), axis=(1, 2)) / 2.0


def span_accuracy(targets: Any, logits: Any) -> Any:
    """Whether the likeliest first and last step are the answer's: float (batch,) of 0 and 1."""
    best = ops.argmax(_within_context(targets, logits), axis=1)
    right = ops.equal(best, ops.cast(targets[:, :2], best.dtype))
    return ops.cast(ops.all(right, axis=1), "float32")


@keras.saving.register_keras_serializable(package="tlkit")
class SpanAccuracy(keras.metrics.MeanMetricWrapper):
    """Share of windows whose likeliest first and last step are the answer's.

    A class, because a compiled model that holds a metric of a function cannot be opened again.
    """

    def __init__(self, name: str = "accuracy", **keras_arguments: Any):
        super().__init__(span_accuracy, name=name, **keras_arguments)

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {"name": self.name, "dtype": self.dtype}


def _within_context(targets: Any, logits: Any) -> Any:
    """The logits (batch, steps, 2), far below all others where no answer can be."""
    steps = ops.cast(ops.arange(ops.shape(logits)[1]), targets.dtype)[None, :]
    inside = ops.logical_and(steps >= targets[:, 2:3], steps < targets[:, 3:4])
    return ops.where(ops.logical_or(inside, steps == 0)[:, :, None], logits, -1e9)
