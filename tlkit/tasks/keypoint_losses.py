"""The loss of keypoints. Imports Keras: import it in functions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tlkit.answers.points import located, places, shares

SPREAD = 1.0  # places of a map over which the wanted heat spreads


@keras.saving.register_keras_serializable(package="tlkit")
class HeatAndDistance(keras.losses.Loss):
    """Cross-entropy of heat maps with a bell around each labelled point, plus ten times its distance; means over them.

    Source: Nibali et al. 2018, arXiv:1801.07372 (distance of the mean place, and a term that keeps the heat together).
    """

    def __init__(self, name: str = "heat_and_distance", **keras_arguments: Any) -> None:
        super().__init__(name=name, **keras_arguments)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of rows (batch, k, 3) of x, y and whether they are labelled, and maps (batch, h, w, k)."""
        height, width = y_pred.shape[1:3]
        rows, heat = ops.cast(y_true, "float32"), shares(y_pred)
        labelled = ops.cast(rows[..., 2] > 0, "float32")
        grid = ops.convert_to_tensor(places(height, width))[None, :, None]
        away = (grid - rows[:, None, :, :2]) * ops.convert_to_tensor([float(width), float(height)])
        bell = ops.softmax(-ops.sum(ops.square(away), axis=-1) / (2 * SPREAD**2), axis=1)
        cross = -ops.sum(bell * ops.log(ops.maximum(heat, 1e-9)), axis=1)
        apart = ops.sqrt(ops.sum(ops.square(located(heat, height, width) - rows[..., :2]), axis=-1) + 1e-9)
        return ops.sum(labelled * (cross + 10.0 * apart), axis=1) / ops.maximum(ops.sum(labelled, axis=1), 1.0)
