"""Keras layers of detectors of anomalies."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tlkit")
class WhitenPlaces(keras.layers.Layer):
    """Each place's features less their mean, times a matrix of its own: (batch, height, width, d) as it was given."""

    def build(self, shape: Any) -> None:
        """Weights: means (places, d) and matrices (places, d, d)."""
        places, size = shape[1] * shape[2], shape[3]
        self.means = self.add_weight(shape=(places, size), initializer="zeros", trainable=False, name="means")
        self.matrices = self.add_weight(
            shape=(places, size, size), initializer="zeros", trainable=False, name="matrices"
        )
        super().build(shape)

    def call(self, features: Any) -> Any:
        """Places come first, so that one product of matrices is left."""
        _, height, width, size = features.shape
        rows = ops.reshape(features, (-1, height * width, size)) - self.means
        white = ops.matmul(ops.transpose(rows, (1, 0, 2)), self.matrices)
        return ops.reshape(ops.transpose(white, (1, 0, 2)), (-1, height, width, size))

    def compute_output_shape(self, shape: Any) -> Any:
        """That of the input."""
        return shape
