"""SSD on MobileNetV2: a detector of 23 classes of Open Images that may be trained further.

It gives what a detector is made of, in front of its decoding, at strides 16 to 512: the map that both branches read, a
logit for each label, and how far the box reaches. Of the three or six anchors of a place the surest one speaks for it.
`tasks.detect(labels, head="module")` goes on from there.

Source: Liu et al. 2016, arXiv:1512.02325 (SSD); Sandler et al. 2018, arXiv:1801.04381 (MobileNetV2).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import NPM, Package
from tlkit.zoo import tflitenet
from tlkit.zoo.card import Card

WEIGHTS = "objectron_solution_packed_assets.data"
LABELS_END = 184  # bytes: a list of names lies before the TFLite file
PACKAGE = Package(
    name="@mediapipe/objectron",
    version="0.4.1675468480",
    sha256="fc3e37b326b05e8f596099c90b3e0931b05a56cd3160b9ac450b621794bac94c",
    files={WEIGHTS: "470986ca5df183f41698da6de74b027d838fe289d77b5ab094497d350bee664e"},
    download_mb=32.7,
    archive=NPM,
)
LABELS = (
    "Bicycle", "Boot", "Laptop", "Person", "Chair", "Cattle", "Desk", "Cat", "Computer mouse", "Computer monitor",
    "Box", "Mug", "Coffee cup", "Stationary bicycle", "Table", "Bottle", "High heels", "Vehicle", "Footwear", "Dog",
    "Book", "Camera", "Car",
)  # fmt: skip
STRIDES = (16, 32, 64, 128, 256, 512)
CARD = Card(
    name="ssd-mobilenet-v2-oid",
    summary="SSD on MobileNetV2, detector of 23 classes of Open Images",
    modality="image",
    licence="Apache-2.0",
    credits="Weights by Google, in MediaPipe's Objectron.",
    package=PACKAGE,
    inputs="float32 (batch, 300, 300, 3), RGB in [0, 1]",
    outputs="for each stride labels_S float32 (batch, height, width, 23), reach_S (.., 4), neck_S (.., channels)",
    input_range=(0.0, 1.0),
    parameters=4_951_996,
    labels=LABELS,
)
SCALES = (*np.linspace(0.2, 0.95, len(STRIDES)).tolist(), 1.0)
NEAREST = 0.01  # places: a side is never nearer to a place's middle


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the detector up to its decoding as a hub-format SavedModel."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    net = tflitenet.read(files[WEIGHTS].read_bytes()[LABELS_END:])
    weights = {i: value for i, value in net.constants.items() if value.dtype == np.float32}
    variables = {i: tf.Variable(value, name=f"weights_{i}") for i, value in weights.items()}

    def call(image: Any, training: bool) -> dict[str, Any]:
        tensors = tflitenet.computed(net, variables, image * 2.0 - 1.0)
        maps: dict[str, Any] = {}
        for level, stride in enumerate(STRIDES):
            boxes = tflitenet.step_of(net, f"BoxPredictor_{level}/BoxEncodingPredictor/BiasAdd")
            classes = tflitenet.step_of(net, f"BoxPredictor_{level}/ClassPredictor/BiasAdd")
            logits, reach = surest(tensors[boxes.output], tensors[classes.output], anchors(level))
            maps |= {f"neck_{stride}": tensors[boxes.inputs[0]], f"labels_{stride}": logits, f"reach_{stride}": reach}
        return maps

    all_weights = list(variables.values())
    image = tf.TensorSpec((None, 300, 300, 3), tf.float32, name="image")
    hub_module.write_module(call, all_weights, all_weights, image, folder, card=CARD.to_json())


def anchors(level: int) -> np.ndarray:
    """Height and width of each anchor at a level, float32 (anchors, 2), in shares of the sides.

    Example:
        >>> anchors(0).round(3).tolist()
        [[0.1, 0.1], [0.141, 0.283], [0.283, 0.141]]
    """
    scale, following = SCALES[level], SCALES[level + 1]
    pairs = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)]
    pairs = [*pairs, ((scale * following) ** 0.5, 1.0)] if level else [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
    return np.array([[s / ratio**0.5, s * ratio**0.5] for s, ratio in pairs], np.float32)


def surest(encoded: Any, classes: Any, sizes: np.ndarray) -> tuple[Any, Any]:
    """Logits (b, h, w, labels), and logarithms of how far the box reaches in places (b, h, w, 4), of each place.

    Args:
        encoded: (b, h, w, anchors * 4): y, x, height and width against each anchor.
        classes: (b, h, w, anchors * (1 + labels)), the background first.
        sizes: Of `anchors`.
    """
    import tensorflow as tf

    count = len(sizes)
    height, width = tf.unstack(tf.cast(tf.shape(encoded)[1:3], tf.float32))  # asked, as the image may have another size
    logits = tf.stack(tf.split(classes, count, axis=-1), axis=3)[..., 1:]
    best = tf.one_hot(tf.argmax(tf.reduce_max(logits, axis=-1), axis=-1), count)[..., None]
    against = tf.stack(tf.split(encoded, count, axis=-1), axis=3)
    y, x, high, wide = tf.split(tf.reduce_sum(best * against, axis=3), 4, axis=-1)
    anchor_high, anchor_wide = tf.split(tf.reduce_sum(best * sizes, axis=3), 2, axis=-1)
    half_high = tf.exp(high / 5) * anchor_high / 2 * height
    half_wide = tf.exp(wide / 5) * anchor_wide / 2 * width
    down, right = y / 10 * anchor_high * height, x / 10 * anchor_wide * width
    sides = tf.concat([half_wide - right, half_high - down, half_wide + right, half_high + down], axis=-1)
    return tf.reduce_sum(best * logits, axis=3), tf.math.log(tf.maximum(sides, NEAREST))
