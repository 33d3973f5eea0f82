"""The loss of segmentation. Imports Keras: import it in functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tlkit.core.errors import InputError
from tlkit.data.augment import VOID


class WeighedMeanIoU(keras.metrics.MeanIoU):
    """Keras' mean IoU, whose weights are of examples: each counts for all pixels of its own."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Take in masks (batch, height, width) and logits (batch, height, width, labels)."""
        if sample_weight is not None:
            per_image = ops.reshape(ops.convert_to_tensor(sample_weight), (-1, 1, 1))
            sample_weight = ops.broadcast_to(per_image, ops.shape(y_true))
        return super().update_state(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="tlkit")
class CrossEntropyAndDice(keras.losses.Loss):
    """Mean cross-entropy of an image's known pixels, plus `dice` times 1 - the mean soft Dice of the labels.

    Dice is taken of each image by itself, so that an example's loss does not depend on its batch; with 1 added above
    and below, a label that is neither there nor predicted costs nothing.

    Source: Milletari et al. 2016, arXiv:1606.04797, section 3.
    """

    def __init__(
        self,
        labels: int,
        dice: float = 1.0,
        weights: Sequence[float] | None = None,
        name: str = "cross_entropy_and_dice",
        **keras_arguments: Any,
    ) -> None:
        super().__init__(name=name, **keras_arguments)
        self.labels, self.dice = labels, dice
        self.weights = None if weights is None else [float(weight) for weight in weights]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of masks (batch, height, width) and logits (batch, height, width, labels)."""
        if tuple(y_true.shape[1:3]) != tuple(y_pred.shape[1:3]) and None not in (
            *y_true.shape[1:3],
            *y_pred.shape[1:3],
        ):
            raise InputError(
                f"Masks are {y_true.shape[1]}x{y_true.shape[2]} and the head gives {y_pred.shape[1]}x"
                f"{y_pred.shape[2]}: read the images at a height and width that the finest stride divides."
            )
        numbers = ops.cast(y_true, "int32")
        counted = ops.cast(ops.not_equal(numbers, VOID), y_pred.dtype)
        right = ops.one_hot(numbers, self.labels, dtype=y_pred.dtype) * counted[..., None]  # of VOID all zeros
        pixels = counted if self.weights is None else ops.sum(right * ops.convert_to_tensor(self.weights), axis=-1)
        cross = -ops.sum(right * ops.log_softmax(y_pred, axis=-1), axis=-1) * pixels
        mean = ops.sum(cross, axis=(1, 2)) / ops.maximum(ops.sum(pixels, axis=(1, 2)), 1e-6)
        shares = ops.softmax(y_pred, axis=-1) * counted[..., None]
        overlap, total = (ops.sum(part, axis=(1, 2)) for part in (shares * right, shares + right))
        return mean + self.dice * (1 - ops.mean((2 * overlap + 1) / (total + 1), axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the loss again."""
        return {**super().get_config(), "labels": self.labels, "dice": self.dice, "weights": self.weights}
