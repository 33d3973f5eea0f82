"""The states in front of an answer's tokens, and those tokens."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tlkit.generating.rows import NONE
from tlkit.layer.last_state import last_place


@keras.saving.register_keras_serializable(package="tlkit")
class AnswerStates(keras.layers.Layer):
    """[states (batch, steps, d), ids (batch, steps)] -> states (batch, tokens, d) and targets int32 (batch, tokens).

    As many tokens as the longest answer of the batch has; behind a shorter one targets are -1.

    Args:
        pad: Number of the padding token.
        sign: Whether the count of tokens is added to it or taken away, as `generating.rows.direction` says.
    """

    def __init__(self, pad: int, sign: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pad, self.sign = pad, sign

    def call(self, inputs: Any) -> tuple[Any, Any]:
        """Gather both."""
        states, ids = inputs
        end = last_place(ids, self.pad)
        count = (tf.gather(ids, end, batch_dims=1) - self.pad) * self.sign
        places = tf.range(tf.reduce_max(count))[None] + (end - count - 1)[:, None]
        inside = places < (end - 1)[:, None]
        places = tf.clip_by_value(places, 0, tf.shape(ids)[1] - 2)
        targets = tf.where(inside, tf.gather(ids, places + 1, batch_dims=1), NONE)
        return tf.gather(states, places, batch_dims=1), targets

    def compute_output_spec(self, inputs: Any) -> tuple[Any, Any]:
        """How many tokens there are only the ids tell."""
        states, ids = inputs
        shape = (states.shape[0], None)
        return keras.KerasTensor((*shape, states.shape[-1]), states.dtype), keras.KerasTensor(shape, ids.dtype)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return {**super().get_config(), "pad": self.pad, "sign": self.sign}
