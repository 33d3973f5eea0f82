"""CenterNet on MobileNetV3: a detector of COCO's 80 classes that may be trained further.

It gives what a detector is made of, in front of its decoding: at stride 4 the map that both branches read, a logit for
each label, and how far the box reaches. `tasks.detect(labels, head="module")` goes on from there.

Source: Zhou et al. 2019, arXiv:1904.07850 (CenterNet); Howard et al. 2019, arXiv:1905.02244 (MobileNetV3).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkit.core.packages import NPM, Package
from tlkit.zoo import tfjsfile
from tlkit.zoo.card import Card

MODEL, WEIGHTS = "models/centernet.json", "models/centernet.bin"
PACKAGE = Package(
    name="@vladmandic/human",
    version="3.3.6",
    sha256="425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
    files={
        MODEL: "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
        WEIGHTS: "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
    },
    download_mb=28.6,
    archive=NPM,
)
LABELS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
CARD = Card(
    name="centernet-coco",
    summary="CenterNet on MobileNetV3, detector of COCO's 80 classes",
    modality="image",
    licence="MIT",
    credits="Weights by github.com/610265158/mobilenetv3_centernet, for TensorFlow.js by Vladimir Mandic (human).",
    package=PACKAGE,
    inputs="float32 (batch, 512, 512, 3), RGB in [0, 255]",
    outputs="labels_4 float32 (batch, 128, 128, 80), reach_4 (batch, 128, 128, 4), neck_4 (batch, 128, 128, 128)",
    input_range=(0.0, 255.0),
    parameters=2_014_924,
    labels=LABELS,
)
STRIDE = 4
IMAGE, NECK = "tower_0/images", "tower_0/CenternetHead/mul"
LOGITS, SIDES = "tower_0/CenternetHead/centernet_cls_output/BiasAdd", "tower_0/wh"
NEAREST = 0.01  # places: a side is never nearer to a place's middle


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the detector up to its decoding as a hub-format SavedModel."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    graph = tfjsfile.read(files[MODEL], files[WEIGHTS])
    constants = {name: graph.weights[name] for name in tfjsfile.needed(graph, (NECK, LOGITS, SIDES))}
    variables = {
        name: tf.Variable(value, name=name.replace("/", ".")) for name, value in constants.items() if trains(value)
    }

    def call(image: Any, training: bool) -> dict[str, Any]:
        neck, logits, sides = tfjsfile.computed(graph, {**constants, **variables, IMAGE: image}, (NECK, LOGITS, SIDES))
        return {"neck_4": neck, "labels_4": logits, "reach_4": reach(sides)}

    all_weights = list(variables.values())
    image = tf.TensorSpec((None, 512, 512, 3), tf.float32, name="image")
    hub_module.write_module(call, all_weights, all_weights, image, folder, card=CARD.to_json())


def trains(value: Any) -> bool:
    """Whether a constant of the file is a weight, and no factor of an activation or axis."""
    return bool(value.dtype.kind == "f" and value.ndim >= 1 and value.size > 1)


def reach(sides: Any) -> Any:
    """Logarithms of the distances, in places, from a place's middle to the left, top, right and bottom side.

    Args:
        sides: (batch, height, width, 4) pixels from the place's upper left corner.
    """
    import tensorflow as tf

    half = tf.constant([0.5, 0.5, -0.5, -0.5])
    return tf.math.log(tf.maximum(sides * (1.0 / STRIDE) + half, NEAREST))
