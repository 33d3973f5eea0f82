"""build: a module and a task become a Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.task import Task
from tlkit.data.pairs import SIDES
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import is_image, own_image_size
from tlkit.model.input_range import settle_range

BACKBONE = "backbone"
OUTPUTS = {"sequence": ("sequence_output",)}
ONE_VECTOR = ("default", "pooled_output")
PAIR = "pair"  # what a head of pairs takes, and the layer that gives it
TAKES = ("vector", "sequence", PAIR)


def build(
    backbone: Any, task: Task, *, image_size: tuple[int, int] | None = None, data: Splits | None = None
) -> keras.Model:
    """A keras.Model: input, the module as layer "backbone", the task's head; its outputs are raw (logits).

    An image module takes pixels 0..255 as "image"; the layer scales them into the module's own range. However the
    module is called (with a list, a tuple or a dict of one tensor, without a batch, with a batch of 1 only, with grey
    or channels-first pictures), the model takes one tensor, or a dict of them, with any batch.

    Args:
        backbone: A HubLayer, or anything that HubLayer takes as handle.
        task: What the head is for.
        image_size: (height, width) for a module that takes any; None takes the module's own.
        data: What it is to take, where the module leaves that open: whether its one axis is a batch or a recording,
            whether pictures are made grey for it.

    Raises:
        InputError: If the module does not say which size it takes, or gives nothing to put a head on.
    """
    layer = backbone if isinstance(backbone, HubLayer) else HubLayer(backbone, name=BACKBONE)
    layer.shaped(None if data is None else data.train.inputs.spec)
    if is_image(layer):
        settle_range(layer)
    if task.takes not in TAKES:
        raise InputError(f"`Task.takes` must be one of {', '.join(TAKES)}. Received: takes={task.takes!r}.")
    inputs = _inputs(layer, image_size)
    choose_output(layer, layer.compute_output_spec(inputs), task.takes)
    if task.takes == PAIR:
        return _of_pairs(layer, task, inputs)
    features = _featured(layer(inputs), task.takes)
    return _checked(keras.Model(inputs, task.head(features), name=task.name), task)


def _checked(model: keras.Model, task: Task) -> keras.Model:
    """The model, if its outputs are what training, evaluation and export all know: one array, or heads by name."""
    if len(model.outputs) == 1 or task.heads or task.served is not None:
        return model

    def decoded(*raw: Any) -> Any:
        return task.decode(keras.tree.pack_sequence_as(model.output, list(raw)))

    specs = [tf.TensorSpec(t.shape, t.dtype) for t in keras.tree.flatten(model.output)]
    found = tf.function(decoded, autograph=False).get_concrete_function(*specs).structured_outputs
    if len(keras.tree.flatten(found)) == 1:
        return model
    raise InputError(
        f"The head of the task {task.name!r} gives {len(model.outputs)} outputs, and its `decode` makes no one array "
        "of them: let decode do that, or name the heads, as methods.multitask does."
    )


def _of_pairs(layer: HubLayer, task: Task, like: Any) -> keras.Model:
    """Both examples of a pair go through the one module, called twice; the head takes vectors (batch, 2, d)."""
    inputs: dict[str, Any] = {}
    vectors = []
    for side in SIDES:
        own = keras.tree.map_structure(
            lambda t, side=side: keras.Input(t.shape[1:], dtype=t.dtype, name=f"{side}_{t.name}"), like
        )
        inputs |= {t.name: t for t in keras.tree.flatten(own)}
        found = _featured(layer(own), PAIR)
        vectors.append(keras.layers.Reshape((1, found.shape[-1]))(found))
    raw = task.head(keras.layers.Concatenate(axis=1, name=PAIR)(vectors))
    return _checked(keras.Model(inputs, raw, name=task.name), task)


def _inputs(layer: HubLayer, image_size: tuple[int, int] | None) -> Any:
    specs = layer.endpoint.inputs
    if isinstance(specs, Mapping):
        return {k: keras.Input(s.shape[1:], dtype=s.dtype.name, name=k) for k, s in specs.items()}
    if not is_image(layer):
        return keras.Input(specs.shape[1:], dtype=specs.dtype.name, name="inputs")
    own = own_image_size(layer)
    fixed = layer.endpoint.input_leaves[0].shape[1:3].as_list()
    if image_size is not None and None not in fixed and tuple(image_size) != tuple(fixed):
        raise InputError(
            f"{layer.handle} takes images of {fixed[0]}x{fixed[1]} only; leave image_size out. "
            f"Received: image_size={tuple(image_size)}."
        )
    size = image_size or own
    if size is None:
        raise InputError(f"{layer.handle} takes images of any size; say which: image_size=(224, 224).")
    return keras.Input((*size, specs.shape[-1]), name="image")


def choose_output(layer: HubLayer, outputs: Any, takes: str) -> None:
    """Of a module that gives several outputs, let the layer give the one that a head takes.

    Args:
        layer: Whose `output_key` is set.
        outputs: What it gives, or specs of that.
        takes: As `Task.takes` has it.
    """
    if graphs.output_keys(outputs):
        layer.output_key = _chosen_key(outputs, layer, takes)


def _chosen_key(outputs: Any, layer: HubLayer, takes: str) -> str:
    """The output for a head; by the conventions of the hub's image and text modules."""
    for key in OUTPUTS.get(takes, ONE_VECTOR):
        if isinstance(outputs, Mapping) and key in outputs:
            return key
    keys = graphs.output_keys(outputs)
    if len(keys) == 1:
        return keys[0]
    shapes = ", ".join(f"{key} {_sizes(graphs.output_at(outputs, key))}" for key in keys)
    raise InputError(
        f"{layer.handle} gives several outputs; make HubLayer(..., output_key=one of {list(keys)}). "
        f"Their shapes are {shapes}."
    )


def _sizes(tensor: Any) -> str:
    rank = getattr(tensor.shape, "rank", len(tensor.shape) if isinstance(tensor.shape, tuple) else None)
    return "(any)" if rank is None else f"({', '.join('any' if size is None else str(size) for size in tensor.shape)})"


def _featured(features: Any, takes: str) -> Any:
    """What a head takes: a vector for each step, or one for all, feature maps averaged over space."""
    if takes == "sequence":
        if len(features.shape) != 3:
            raise InputError(
                f"The task needs one vector a step, (batch, steps, d); the module gives shape {tuple(features.shape)}."
            )
        return features
    if len(features.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(name="pool")(features)
    if len(features.shape) == 3:
        return keras.layers.GlobalAveragePooling1D(name="pool")(features)
    if len(features.shape) != 2:
        raise InputError(f"A head needs features (batch, d); the module gives shape {tuple(features.shape)}.")
    return features
