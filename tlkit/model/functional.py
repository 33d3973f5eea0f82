"""Models in the form that tlkit trains: a graph from Keras inputs to outputs."""

from __future__ import annotations

from typing import Any

import keras

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec


def functional(model: Any, spec: Any) -> keras.Model:
    """The same layers as a functional model: what `Sequential` and subclasses of keras.Model lack is `input`.

    Args:
        model: Any keras.Model. A Sequential that has no `keras.Input` gets one of the examples' shape.
        spec: What an example looks like: an ArraySpec, or a dict of them.

    Returns:
        `model` itself where it is functional; of a Sequential a model that shares its layers and weights.

    Raises:
        InputError: If it is no keras.Model, or one without known inputs.
    """
    if not isinstance(model, keras.Model):
        raise InputError(
            "`model` must be a keras.Model, such as tlkit.build(handle, task, data=data) makes. "
            f"Received: model={model!r:.80}."
        )
    if isinstance(model, keras.Sequential):
        if not model.built and isinstance(spec, ArraySpec):
            model.build((None, *spec.shape))
        if model.inputs:
            return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not getattr(model, "inputs", None):
        raise InputError(
            f"The inputs of the model {model.name!r} are not known, as it is a subclass of keras.Model: make it "
            "functional, by inputs = keras.Input(shape) and keras.Model(inputs, model(inputs))."
        )
    return model
