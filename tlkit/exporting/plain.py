"""Arrays without further meaning: signatures are the model's own inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.core.examples import Examples
from tlkit.exporting.modality import About, Modality, Serving
from tlkit.formats.tflite_metadata import plain_tensor

if TYPE_CHECKING:
    import keras


def _serving(model: keras.Model, _examples: Examples) -> Serving:
    import tensorflow as tf

    return Serving({t.name: tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs}, dict)


def _about(model: keras.Model, _examples: Examples) -> About:
    return About({t.name: plain_tensor(t.name, "Input as the model was trained on.") for t in model.inputs})


KIND = Modality("plain", accepts=lambda examples: True, serving=_serving, about=_about)
