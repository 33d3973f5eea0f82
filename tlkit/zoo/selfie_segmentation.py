"""Selfie segmentation: which pixels show a person, a U-Net of 106 thousand weights that may be trained further.

`tasks.segment(labels, strides=(2, 4, 8, 16))` goes on from the maps of its way up. The weights of its file, kept in
half precision, become variables.

Source: Howard et al. 2019, arXiv:1905.02244 (MobileNetV3, what goes down); the file is MediaPipe's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import NPM, Package
from tlkit.zoo import tflitenet
from tlkit.zoo.card import Card

WEIGHTS = "selfie_segmentation.tflite"
PACKAGE = Package(
    name="@mediapipe/selfie_segmentation",
    version="0.1.1675465747",
    sha256="7767b33eaa68990ee06c28bbb89f39a13a47ebb07ff0f1fd4947d9e817bb9bf9",
    files={WEIGHTS: "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"},
    download_mb=4.0,
    archive=NPM,
)
CARD = Card(
    name="selfie-segmentation",
    summary="MediaPipe's selfie segmentation, a mask of the people in an image",
    modality="image",
    licence="Apache-2.0",
    credits="Weights by Google, in MediaPipe's selfie segmentation.",
    package=PACKAGE,
    inputs="float32 (batch, 256, 256, 3), RGB in [0, 1]",
    outputs="float32 (batch, 256, 256, 1), 1 where a person is",
    input_range=(0.0, 1.0),
    parameters=106_401,
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the net as a hub-format SavedModel."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    net = tflitenet.read(files[WEIGHTS].read_bytes())
    variables = {
        i: tf.Variable(value, name=f"weights_{i}") for i, value in net.constants.items() if value.dtype == np.float32
    }
    mask = net.steps[-1].output

    def call(image: Any, training: bool) -> Any:
        return tflitenet.computed(net, {**net.constants, **variables}, image)[mask]

    all_weights = list(variables.values())
    image = tf.TensorSpec((None, 256, 256, 3), tf.float32, name="image")
    hub_module.write_module(call, all_weights, all_weights, image, folder, card=CARD.to_json())
