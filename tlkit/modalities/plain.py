"""Arrays without further meaning: they pass as they are, and signatures are the model's own inputs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.modality import InputInfo, Modality, Serving
from tlkit.formats.tflite_metadata import plain_tensor

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer


def _prepare(data: Splits, layer: HubLayer) -> Splits:
    """The data as they are, and a note where they look like images, as only a user can say that they are."""
    from tlkit.layer.lookup import is_image

    spec = data.train.inputs.spec
    if not (is_image(layer) and isinstance(spec, ArraySpec) and spec.dtype == "uint8" and len(spec.shape) == 3):
        return data
    note = f"the inputs are arrays of shape {spec.shape}; if they are images, say so: Examples(..., modality='image')"
    return dataclasses.replace(data, notes=(*data.notes, note))


def serve_inputs(model: keras.Model, _examples: Examples) -> Serving:
    """Clients send the model's own inputs."""
    import tensorflow as tf

    return Serving({t.name: tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs}, dict)


def describe_inputs(model: keras.Model, _examples: Examples) -> InputInfo:
    """Each input by its name alone."""
    return InputInfo({t.name: plain_tensor(t.name, "Input as the model was trained on.") for t in model.inputs})


PLAIN = Modality("plain", _prepare, serve=serve_inputs, describe=describe_inputs)
