"""The head of a language model: products with the module's own table. Imports Keras at the top."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tlkit")
class TokenScores(keras.layers.Layer):
    """[states (batch, tokens, d), table (vocabulary, d), targets (batch, tokens)] -> (batch, tokens, 3).

    Of each target its log-probability, whether it is the likeliest token, and whether there is one: to keep the scores
    of a whole vocabulary would take thousands of times the memory.

    Args:
        kind: "frozen": the table as it is; "untied": with a change that trains; "lora": with one of low rank.
        rank: Of that, >= 1.
    """

    def __init__(self, kind: str = "frozen", rank: int = 8, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.kind, self.rank = kind, rank

    def build(self, input_shape: Any) -> None:
        """Make the change, which is zero at first."""
        vocabulary, width = input_shape[1]
        if self.kind == "untied":
            self.change = self.add_weight(shape=(vocabulary, width), initializer="zeros", name="change")
        if self.kind == "lora":
            self.down = self.add_weight(shape=(width, self.rank), initializer="glorot_uniform", name="down")
            self.up = self.add_weight(shape=(self.rank, vocabulary), initializer="zeros", name="up")

    def logits(self, states: Any, table: Any) -> Any:
        """Scores of the next token: (..., d) -> (..., vocabulary)."""
        states = tf.maximum(tf.cast(states, tf.float32), tf.float32.min)  # else a scale before is folded into the table
        rows = tf.reshape(states, (-1, table.shape[-1]))
        if self.kind == "untied":
            table = table + tf.convert_to_tensor(self.change)
        scores = tf.matmul(rows, table, transpose_b=True)
        if self.kind == "lora":
            scores = scores + tf.matmul(tf.matmul(rows, tf.convert_to_tensor(self.down)), tf.convert_to_tensor(self.up))
        return tf.reshape(scores, tf.concat([tf.shape(states)[:-1], [table.shape[0]]], 0))

    def call(self, inputs: Any) -> Any:
        """What is said of each target."""
        states, table, targets = inputs
        if self.kind != "frozen":
            table = tf.stop_gradient(table)
        places = tf.where(targets >= 0)  # answers of a batch differ in length, and a vocabulary is wide
        labels = tf.gather_nd(targets, places)
        scores = self.logits(tf.gather_nd(states, places), tf.cast(table, tf.float32))
        likelihood = -tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
        right = tf.cast(tf.argmax(scores, -1, tf.int32) == labels, tf.float32)
        judged = tf.stack([likelihood, right, tf.ones_like(right)], axis=-1)
        return tf.scatter_nd(places, judged, tf.concat([tf.shape(targets, tf.int64), [3]], 0))

    def compute_output_spec(self, inputs: Any) -> Any:
        """Three numbers a target."""
        return keras.KerasTensor((*inputs[2].shape, 3), "float32")

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return {**super().get_config(), "kind": self.kind, "rank": self.rank}


@keras.saving.register_keras_serializable(package="tlkit")
class AnswerLoss(keras.losses.Loss):
    """Minus the log-probability of an answer's tokens, in shares of how many an answer has on the average.

    So the tokens of all answers weigh the same, also where a batch is computed in parts.

    Args:
        mean_tokens: Tokens of an answer on the average.
    """

    def __init__(self, mean_tokens: float = 1.0, name: str = "answer_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.mean_tokens = mean_tokens

    def get_config(self) -> dict[str, Any]:
        """What makes the loss again."""
        return {**super().get_config(), "mean_tokens": self.mean_tokens}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One number an example."""
        return -tf.reduce_sum(y_pred[..., 0], axis=-1) / self.mean_tokens


def token_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Share of an answer's tokens that are the likeliest, of each example."""
    return tf.reduce_sum(y_pred[..., 1], -1) / tf.maximum(tf.reduce_sum(y_pred[..., 2], -1), 1.0)
