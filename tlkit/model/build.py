"""build: a module and a task become a Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Splits
from tlkit.core.task import Task
from tlkit.core.trouble import first_line
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.input_range import settle_range
from tlkit.layer.lookup import is_image, own_image_size
from tlkit.modalities.prepare import modality_of

BACKBONE = "backbone"
PAIR = "pair"  # the layer that gives what a head of pairs takes


def build(
    backbone: Any, task: Task, *, image_size: tuple[int, int] | None = None, data: Splits | None = None
) -> keras.Model:
    """A keras.Model: input, the module as layer "backbone", the task's head; its outputs are raw (logits).

    An image module takes pixels 0..255 as "image"; the layer scales them into the module's own range. However the
    module is called (with a list, a tuple or a dict of one tensor, without a batch, with a batch of 1 only, with grey
    or channels-first images), the model takes one tensor, or a dict of them, with any batch.

    Args:
        backbone: A HubLayer, or anything that HubLayer takes as handle.
        task: What the head is for.
        image_size: (height, width); None takes the module's own. One that was exported for another size runs at this
            one where it is made of convolutions.
        data: What it is to take, where the module leaves that open: whether its one axis is a batch or a recording,
            whether images are made grey for it.

    Raises:
        InputError: If the module does not say which size it takes, or gives nothing to put a head on.
    """
    layer = backbone if isinstance(backbone, HubLayer) else HubLayer(backbone, name=BACKBONE)
    layer.shaped(None if data is None else data.train.inputs.spec)
    if is_image(layer):
        if image_size is not None:
            layer.resize(image_size)
        settle_range(layer)
    modality = None if data is None else modality_of(data.train)
    if modality is not None and modality.inputs is not None and data is not None:
        inputs = modality.inputs(layer, data.train.inputs.spec)
    else:
        inputs = _inputs(layer, image_size or _size_of(data))
    if task.reads.members:
        return _of_members(layer, task, inputs)
    return _checked(keras.Model(inputs, task.head(task.reads.read(layer, inputs)), name=task.name), task)


def _size_of(data: Splits | None) -> tuple[int, int] | None:
    """(height, width) of the images that are given; None where they differ, or are none."""
    spec = None if data is None else data.train.inputs.spec
    height, width = spec.shape[:2] if isinstance(spec, ArraySpec) and len(spec.shape) == 3 else (None, None)
    return None if height is None or width is None else (height, width)


def _checked(model: keras.Model, task: Task) -> keras.Model:
    """The model, if the task's answers read its outputs; what training data decide first is not looked at."""
    if task.begin is None and task.solve is None and task.remains is None:
        decoded_specs(model, task)
    return model


def decoded_specs(model: keras.Model, task: Task) -> dict[str, tf.TensorSpec]:
    """Shapes of what a task decodes from a model's outputs, by name.

    Raises:
        InputError: If it cannot read them.
    """

    def decoded(*raw: Any) -> Any:
        return task.decode(keras.tree.pack_sequence_as(model.output, list(raw)))

    specs = [tf.TensorSpec(t.shape, t.dtype) for t in keras.tree.flatten(model.output)]
    try:
        outputs = tf.function(decoded, autograph=False).get_concrete_function(*specs).structured_outputs
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        shapes = keras.tree.map_structure(lambda t: tuple(t.shape), model.output)
        raise InputError(
            f"The task {task.name!r} cannot decode what the model gives, {shapes}: {first_line(error)}"
        ) from error
    return {name: tf.TensorSpec(output.shape, output.dtype) for name, output in outputs.items()}


def _of_members(layer: HubLayer, task: Task, like: Any) -> keras.Model:
    """The members of an example go through the one module, one by one; the head takes vectors (batch, members, d)."""
    inputs: dict[str, Any] = {}
    vectors = []
    for member in task.reads.members:
        member_inputs = keras.tree.map_structure(
            lambda t, member=member: keras.Input(t.shape[1:], dtype=t.dtype, name=f"{member}_{t.name}"), like
        )
        inputs |= {t.name: t for t in keras.tree.flatten(member_inputs)}
        vector = task.reads.read(layer, member_inputs)
        vectors.append(keras.layers.Reshape((1, vector.shape[-1]))(vector))
    raw = task.head(keras.layers.Concatenate(axis=1, name=PAIR)(vectors))
    return _checked(keras.Model(inputs, raw, name=task.name), task)


def _inputs(layer: HubLayer, image_size: tuple[int, int] | None) -> Any:
    specs = layer.endpoint.inputs
    if isinstance(specs, Mapping):
        return {k: keras.Input(s.shape[1:], dtype=s.dtype.name, name=k) for k, s in specs.items()}
    if not is_image(layer):
        return keras.Input(specs.shape[1:], dtype=specs.dtype.name, name="inputs")
    module_size = own_image_size(layer)
    size = image_size or module_size
    if size is None:
        raise InputError(f"{layer.handle} takes images of any size; say which: image_size=(224, 224).")
    return keras.Input((*size, specs.shape[-1]), name="image")
