"""The loss of speaker verification, and the figure that chooses its weights. Imports Keras: import it in functions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tlkit.tasks.losses import smoothed_one_hot

MOST_SPEAKERS = 4096  # that the figure keeps apart


@keras.saving.register_keras_serializable(package="tlkit")
class AdditiveMargin(keras.losses.Loss):
    """Cross-entropy of scaled cosines to the trained speakers, the right one made harder by `margin`.

    Speakers that are not trained, as those of validation, have no cosine, and their loss is 0.

    Source: Wang et al. 2018, arXiv:1801.05599, eq. 6 (AM-softmax); the same as Wang et al. 2018, arXiv:1801.09414.
    """

    def __init__(
        self,
        speakers: int,
        margin: float = 0.2,
        scale: float = 30.0,
        name: str = "additive_margin",
        **keras_arguments: Any,
    ):
        super().__init__(name=name, **keras_arguments)
        self.speakers, self.margin, self.scale = speakers, margin, scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (batch,) of speakers (batch,) and embeddings with cosines (batch, d + speakers)."""
        one_hot = smoothed_one_hot(y_true, self.speakers, 0.0)
        logits = self.scale * (y_pred[:, -self.speakers :] - self.margin * one_hot)
        return -ops.sum(one_hot * ops.log_softmax(logits, axis=-1), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Plain arguments."""
        return {**super().get_config(), "speakers": self.speakers, "margin": self.margin, "scale": self.scale}


class Separation(keras.metrics.Metric):
    """Mean cosine of pairs that share a speaker minus that of pairs that do not, over all that was seen.

    It needs one sum of embeddings a speaker and no pairs: |sum|^2 adds up the cosines of all of them.
    """

    def __init__(self, size: int, name: str = "separation"):
        super().__init__(name=name)
        self.size = size
        self.sums = self.add_weight(shape=(MOST_SPEAKERS, size), initializer="zeros", name="sums")
        self.counts = self.add_weight(shape=(MOST_SPEAKERS,), initializer="zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in speakers (batch,) and embeddings at unit length with cosines (batch, size + speakers)."""
        speakers = ops.mod(ops.cast(ops.reshape(y_true, (-1,)), "int32"), MOST_SPEAKERS)
        vectors = ops.cast(y_pred[:, : self.size], "float32")
        self.sums.assign_add(ops.segment_sum(vectors, speakers, num_segments=MOST_SPEAKERS))
        self.counts.assign_add(ops.segment_sum(ops.ones_like(vectors[:, 0]), speakers, num_segments=MOST_SPEAKERS))

    def result(self) -> Any:
        """In [-2, 2]; a kind of pair that was not seen counts 0."""
        count, within_sums = ops.sum(self.counts), ops.sum(ops.square(self.sums))
        within_pairs = ops.sum(ops.square(self.counts)) - count
        between_pairs = ops.square(count) - ops.sum(ops.square(self.counts))
        between = ops.sum(ops.square(ops.sum(self.sums, axis=0))) - within_sums
        return (within_sums - count) / ops.maximum(within_pairs, 1.0) - between / ops.maximum(between_pairs, 1.0)
