"""The loss of forecasts. Imports Keras: import it in functions.

Source: Koenker and Bassett 1978, doi:10.2307/1913643 (quantile loss).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

LARGEST = 3.0e38  # NaN is not below it
MOST = 5.0  # deviations: a quantile that misses by more says no more


@keras.saving.register_keras_serializable(package="tlkit")
class QuantileLoss(keras.losses.Loss):
    """Mean quantile loss in deviations of the context, each at most 5; targets that are NaN are not known and pass."""

    def __init__(self, levels: Sequence[float], name: str = "quantile_loss", **keras_arguments: Any) -> None:
        super().__init__(name=name, **keras_arguments)
        self.levels = [float(level) for level in levels]

    def call(self, y_true: Any, y_pred: Mapping[str, Any]) -> Any:
        """Losses (batch,) of values (batch, horizon) and raw outputs as `answers.quantiles` has them."""
        targets = ops.cast(y_true, "float32")
        present = ops.abs(targets) < LARGEST
        targets = (ops.where(present, targets, ops.zeros_like(targets)) - y_pred["level"]) / y_pred["spread"]
        short = ops.expand_dims(targets, -1) - y_pred["deviations"]
        levels = ops.convert_to_tensor(np.asarray(self.levels, np.float32))
        losses = ops.mean(ops.minimum(ops.maximum(levels * short, (levels - 1) * short), MOST), axis=-1)
        counted = ops.cast(present, "float32")
        return ops.sum(losses * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "levels": self.levels}
