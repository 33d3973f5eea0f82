"""Detectors of the kind of TensorFlow's Object Detection API, tapped in front of what follows their convolutions.

They take an image of whole numbers, resize and scale it, and give boxes that loops and suppression have chosen. Between
lies a trunk of convolutions, which is a module like any other: it takes images, and gives feature maps.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.errors import InputError
from tlkit.layer.endpoints import Endpoint

OUTPUTS = {"detection_boxes", "detection_scores", "detection_classes", "num_detections"}
SIDES = ((320, 320), (384, 256))  # pixels, of images by which it is seen to which size they are resized
PIXEL_MAX = 255
COLOUR = np.array([30.0, 100.0, 180.0])
CLOSE = 1e-3  # of the range of what enters: how far from an affine the scaling of this colour may be


def is_detector(endpoint: Endpoint) -> bool:
    """Whether it takes an image of whole numbers and gives boxes as the Object Detection API does."""
    leaves, outputs = endpoint.input_leaves, endpoint.inference.structured_outputs
    image = len(leaves) == 1 and leaves[0].dtype == tf.uint8 and leaves[0].shape.rank == 4
    return image and isinstance(outputs, Mapping) and set(outputs) >= OUTPUTS


def with_weights(endpoint: Endpoint) -> Endpoint:
    """The endpoint of a detector; variables stand for the weights of one that was frozen into constants.

    The endpoint itself still computes with the constants; `tapped` reads the variables.
    """
    if endpoint.variables or not is_detector(endpoint):
        return endpoint
    graph = graphs.flatten(endpoint.inference)
    variables = graphs.thawed(graph).variables if graph.nodes else ()
    return replace(endpoint, variables=variables, trainable=tuple(v for v in variables if v.trainable))


@functools.lru_cache(maxsize=4)
def tapped(endpoint: Endpoint) -> Endpoint:
    """The trunk of a detector: images float32 (batch, height, width, 3), pixels 0..255, to its feature maps.

    Args:
        endpoint: One that `is_detector`, of `with_weights`.

    Raises:
        InputError: If it cannot be tapped.
    """
    graph = graphs.flatten(endpoint.inference, endpoint.variables)
    try:
        if not graph.resources:
            graph = graphs.thawed(replace(graph, variables=()), endpoint.variables)
        part = graphs.trunk(graph)
        entering = _entering(endpoint, graph, part.entry)
        function = graphs.of_trunk(graph, part, entering.size)
        spec = tf.TensorSpec([None, *entering.size, 3], tf.float32, name="image")
        with tf.init_scope():
            traced = tf.function(lambda image: function(entering.scaled(image)), autograph=False)
            inference = traced.get_concrete_function(spec)
            inference(tf.zeros([2, *(side or SIDES[0][0] for side in entering.size), 3]))  # any batch, or none
    except (InputError, ValueError, LookupError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"The module is a detector that cannot be tapped in front of its loops and suppression: {reason}. Take one "
            "whose trunk is plain convolutions, or a module of features."
        ) from error
    return replace(
        endpoint, name="__call__", call=lambda image, training: inference(image), inference=inference, inputs=spec,
        accepts=(spec,), takes_training=False, regularization_losses=(),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Entering:
    """What a detector does to images: its size, (None, None) where it keeps theirs, and `rgb @ mixing + offset`."""

    size: tuple[int | None, int | None]
    mixing: np.ndarray
    offset: np.ndarray

    def scaled(self, image: Any) -> Any:
        """Pixels 0..255 as the trunk takes them."""
        scale = np.diag(self.mixing)
        if np.allclose(self.mixing, np.diag(scale)):
            alike = np.allclose(scale, scale[0]) and np.allclose(self.offset, self.offset[0])
            scale, offset = (scale[0], self.offset[0]) if alike else (scale, self.offset)
            return image * tf.constant(scale, tf.float32) + tf.constant(offset, tf.float32)
        return tf.nn.conv2d(image, tf.constant(self.mixing[None, None], tf.float32), 1, "SAME") + self.offset


def _entering(endpoint: Endpoint, graph: graphs.Graph, entry: str) -> _Entering:
    """Measured with images of one colour."""
    taken = endpoint.input_leaves[0].shape[1:3].as_list()
    sides = SIDES if None in taken else [tuple(taken)]
    run = _way_to(endpoint, graph, entry)
    shapes = [tuple(run(tf.zeros([1, *size, 3], tf.uint8)).shape) for size in sides]
    if any(len(shape) != 4 or shape[3] != 3 for shape in shapes):
        raise InputError(f"its first convolution takes {shapes[0]}, and no images of three colours")
    size = shapes[0][1:3] if len(set(shapes)) == 1 else (None, None)

    def at(colour: Any) -> np.ndarray:
        image = np.broadcast_to(np.array(colour, np.uint8), (1, *sides[0], 3))
        values = np.asarray(run(tf.constant(image))[0], np.float64)
        return np.asarray(
            values[values.shape[0] // 4, values.shape[1] // 4]
        )  # margins are added at the right and the bottom

    offset = at([0, 0, 0])
    mixing = np.stack([(at(PIXEL_MAX * colour) - offset) / PIXEL_MAX for colour in np.eye(3)])
    if np.abs(COLOUR @ mixing + offset - at(COLOUR)).max() > CLOSE * PIXEL_MAX * np.abs(mixing).max():
        raise InputError("it scales pixels in a way that is not the same for all images")
    return _Entering(size, mixing, offset)


def _way_to(endpoint: Endpoint, graph: graphs.Graph, entry: str) -> Any:
    """The function from an image of whole numbers to what enters the first convolution."""
    function = endpoint.inference
    if hasattr(function, "prune"):  # of a TF1 file: its loops do not outlive being taken apart
        inputs = function.inputs[: len(graph.inputs)]
        return function.prune(inputs, function.graph.get_tensor_by_name(entry))
    part = graphs.part(graph, graph.inputs, (entry,))
    return lambda image: part(image)[0]
