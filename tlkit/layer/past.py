"""The window of a forecast inside the graph: level and spread of the recent past, and the values of earlier seasons."""

from __future__ import annotations

from typing import Any

import keras

from tlkit.core.seasons import CONTEXT, SEASONS, lag_positions

LARGEST = 3.0e38  # NaN is not below it, in TFLite as elsewhere


@keras.saving.register_keras_serializable(package="tlkit")
class PastWindow(keras.layers.Layer):
    """Windows (batch, steps, 1), NaN in front of where a series begins -> what forecasts are made of.

    Gives a dict of float32: "context" (batch, 72), the last values less their mean, in their deviations, 0 where there
    is none; "known" (batch, 72), 1 where there is one; "lags" (batch, horizon, 3), in the same unit the values 1, 2 and
    3 seasons before each step ahead; "level" and "spread" (batch, 1).

    Args:
        horizon: Steps ahead.
        season_length: Steps of a season.
    """

    def __init__(self, horizon: int, season_length: int, **keras_arguments: Any) -> None:
        super().__init__(dtype="float32", **{k: v for k, v in keras_arguments.items() if k != "dtype"})
        self.horizon, self.season_length = int(horizon), int(season_length)

    def call(self, windows: Any) -> dict[str, Any]:
        """What is made of a batch of windows."""
        from keras import ops

        past = windows[..., 0]
        present = ops.abs(past) < LARGEST
        filled = ops.where(present, past, ops.zeros_like(past))
        recent, recent_present = filled[:, -CONTEXT:], ops.cast(present[:, -CONTEXT:], "float32")
        count = ops.maximum(ops.sum(recent_present, axis=1, keepdims=True), 1.0)
        level = ops.sum(recent, axis=1, keepdims=True) / count
        apart = recent_present * (recent - level)
        deviation = ops.sqrt(ops.sum(apart * apart, axis=1, keepdims=True) / count)
        spread = deviation + 1e-4 * (ops.abs(level) + 1e-6)
        return {
            "context": apart / spread,
            "known": recent_present,
            "lags": self._lags(filled, ops.cast(present, "float32"), level) / spread[..., None],
            "level": level,
            "spread": spread,
        }

    def _lags(self, filled: Any, present: Any, level: Any) -> Any:
        """Values of earlier seasons less the level; one that is not there is the last season's, or else the level."""
        from keras import ops

        places = lag_positions(self.horizon, self.season_length).reshape(-1)
        shape = (-1, self.horizon, SEASONS)
        values = ops.reshape(ops.take(filled, places, axis=1), shape) - level[..., None]
        lag_present = ops.reshape(ops.take(present, places, axis=1), shape)
        last = values[..., :1] * lag_present[..., :1]
        return lag_present * values + (1 - lag_present) * last

    def compute_output_shape(self, input_shape: Any) -> dict[str, Any]:
        """Shapes by name."""
        batch = input_shape[0]
        return {
            "context": (batch, CONTEXT),
            "known": (batch, CONTEXT),
            "lags": (batch, self.horizon, SEASONS),
            "level": (batch, 1),
            "spread": (batch, 1),
        }

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "horizon": self.horizon, "season_length": self.season_length}
