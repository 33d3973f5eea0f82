"""Scores of a vocabulary where a text has tokens, and not where it is filled up. Imports Keras at the top."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tlkit")
class TextScores(keras.layers.Layer):
    """[states (batch, tokens, d), table (vocabulary, d), ids (batch, tokens)] -> logits (batch, tokens, vocabulary).

    In training they are computed at the first token and where no padding stands, and are 0 elsewhere: texts of a batch
    differ in length, and a vocabulary costs as much as several blocks.

    Args:
        pad: Number of the token that fills rows up.
    """

    def __init__(self, pad: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.pad = pad

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Products with the table."""
        states, table, ids = inputs
        if not training:
            return tf.matmul(states, table, transpose_b=True)
        places = tf.where(tf.logical_or(ids != self.pad, tf.range(tf.shape(ids)[1])[None] == 0))
        scores = tf.matmul(tf.gather_nd(states, places), table, transpose_b=True)
        return tf.scatter_nd(places, scores, tf.concat([tf.shape(ids, tf.int64), tf.shape(table, tf.int64)[:1]], 0))

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """A score for each token of the vocabulary."""
        states, table, _ids = inputs
        return keras.KerasTensor((*states.shape[:-1], table.shape[0]), "float32")

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return {**super().get_config(), "pad": self.pad}


def token_losses(targets: Any, logits: Any) -> Any:
    """Cross-entropy of each target, 0 where it is below 0: (batch, tokens) and (.., vocabulary) -> (batch, tokens)."""
    places = tf.where(targets >= 0)
    numbers = tf.cast(tf.gather_nd(targets, places), tf.int32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(numbers, tf.gather_nd(logits, places))
    return tf.scatter_nd(places, losses, tf.shape(targets, tf.int64))


def token_hits(targets: Any, logits: Any) -> Any:
    """Share of each text's targets that are the likeliest token: float32 (batch,)."""
    places = tf.where(targets >= 0)
    right = tf.argmax(tf.gather_nd(logits, places), -1, tf.int32) == tf.cast(tf.gather_nd(targets, places), tf.int32)
    hits = tf.scatter_nd(places, tf.cast(right, tf.float32), tf.shape(targets, tf.int64))
    counted = tf.reduce_sum(tf.cast(targets >= 0, tf.float32), axis=-1)
    return tf.reduce_sum(hits, axis=-1) / tf.maximum(counted, 1.0)
