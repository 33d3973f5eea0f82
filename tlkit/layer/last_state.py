"""The state of a text's last token, of modules that look back alone."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tlkit")
class LastState(keras.layers.Layer):
    """[states (batch, tokens, d), ids (batch, tokens)] -> (batch, d): the state of the last token that is no padding.

    Args:
        pad: Number of the token that fills rows up.
    """

    def __init__(self, pad: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pad = pad

    def call(self, inputs: Any) -> Any:
        """Choose one state a row; of a row that is padding alone the first."""
        states, ids = inputs
        return ops.squeeze(ops.take_along_axis(states, ops.reshape(last_place(ids, self.pad), (-1, 1, 1)), axis=1), 1)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return {**super().get_config(), "pad": self.pad}


def last_place(ids: Any, pad: int) -> Any:
    """Place of the last token that is no padding, int32 (batch,); 0 of a row that is padding alone."""
    places = ops.arange(ops.shape(ids)[1], dtype="int32")
    return ops.max(ops.where(ids != pad, places[None], 0), axis=1)
