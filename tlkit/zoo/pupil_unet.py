"""Pupil U-Net: which pixels of an eye's image show the pupil, trained on eyes of mice; it may be trained further.

`tasks.segment(labels, strides=(1, 2, 4))` goes on from the maps of its way up. It was trained on grey images: here it
takes RGB, whose luma is folded into the first convolution, so that colours can be learned too.

Source: Ronneberger et al. 2015, arXiv:1505.04597 (U-Net); Woo et al. 2018, arXiv:1807.06521 (spatial attention).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.torchfile import read_tensors

if TYPE_CHECKING:
    import keras

WEIGHTS = "mouse_pupil_analysis/checkpoints/615pupils_thresh=0.5_iou=0.6080.pth"
PACKAGE = Package(
    name="mouse-pupil-analysis",
    version="0.3.0",
    sha256="b356c2b2b3a86ece0c7a2cfdc5b838a8a535038074d36e4ab206619f7cf48d81",
    files={WEIGHTS: "4a2596165689f8c59e3384a53a54202199ac6dbd38d9c7c6e3e01b90b4db6edf"},
    download_mb=1.8,
)
CARD = Card(
    name="pupil-unet",
    summary="U-Net with spatial attention, a mask of the pupil in an image of an eye",
    modality="image",
    licence="MIT",
    credits="Weights by Yue Zhao (mouse-pupil-analysis).",
    package=PACKAGE,
    inputs="float32 (batch, 148, 148, 3), RGB in [0, 1]",
    outputs="float32 (batch, 148, 148, 1), 1 where the pupil is",
    input_range=(0.0, 1.0),
    parameters=469_187,
)
SIZE = 148
LUMA = np.array([299, 587, 114], np.float32) / 1000  # of grey images, as Pillow makes them
PARTS = ("weight", "bias", "running_mean", "running_var")


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the net as a hub-format SavedModel."""
    from tlkit.formats import hub_module

    model = network()
    load_weights(model, read_tensors(files[WEIGHTS]))
    hub_module.write_keras_model(model, folder, card=CARD.to_json())


def network() -> keras.Model:
    """The net without weights; layers are called as in torch."""
    import keras
    from keras import layers

    image = keras.Input((SIZE, SIZE, 3), name="image")
    fine = _two_convolutions(image, "inc", 32)
    middle = _two_convolutions(layers.MaxPooling2D()(fine), "down1.1", 64)
    x = _attended(_two_convolutions(layers.MaxPooling2D()(middle), "down2.1", 128))
    for number, skipped in enumerate((middle, fine), start=1):
        up = layers.Conv2DTranspose(skipped.shape[-1], 2, 2, name=f"up{number}")(x)
        x = _two_convolutions(layers.Concatenate()([up, skipped]), f"conv{number}", skipped.shape[-1])
    mask = layers.Conv2D(1, 1, activation="sigmoid", name="outc")(x)
    return keras.Model(image, mask, name="pupil_unet")


def load_weights(model: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Fill a `network` with the tensors of the torch file."""
    for layer in model.layers:
        if layer.weights:
            values = [tensors[key] for part in PARTS if (key := f"{layer.name}.{part}") in tensors]
            if values[0].ndim == 4:
                values[0] = values[0].transpose(2, 3, 1, 0)
            if layer.name == "inc.double_conv.0":
                values[0] = values[0] * LUMA[:, None]
            layer.set_weights(values)


def _attended(x: Any) -> Any:
    """Each place weighted by what its mean and highest channels say of it and its neighbours."""
    from keras import layers, ops

    facts = layers.Concatenate()([ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)])
    weights = layers.Conv2D(1, 7, padding="same", use_bias=False, activation="sigmoid", name="att.conv")(facts)
    return layers.Multiply()([x, weights])


def _two_convolutions(x: Any, name: str, filters: int) -> Any:
    from keras import layers

    for number in (0, 3):
        x = layers.Conv2D(filters, 3, padding="same", name=f"{name}.double_conv.{number}")(x)
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}.double_conv.{number + 1}")(x)
        x = layers.ReLU()(x)
    return x
