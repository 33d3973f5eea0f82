"""Google's speech_embedding: 96 numbers for every 80 ms of speech, from the 0.8 s before.

The front end and the network are rebuilt from the two TFLite files of openWakeWord, so that the network can be trained.
It has no padding in time, so it runs over the whole sound at once and gives what windows of 76 frames, 8 apart, give.

Source: Lin, Kilgour, Roblek and Sharifi 2020, arXiv:2002.01322.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.mel import Mel, at_least
from tlkit.zoo.tflitefile import read_constants

if TYPE_CHECKING:
    import keras

WEIGHTS = "pyopen_wakeword/models/embedding_model.tflite"
PACKAGE = Package(
    name="pyopen-wakeword",
    version="1.1.0",
    sha256="754347a59de2b3d378a0cbc404a8b41164036e74fa1c185f88056974e4bfb6b4",
    files={WEIGHTS: "c0aea21eb84a4ce90a08c870da41b7a7173b45269e6a3207c71d67c40f3a59d8"},
    download_mb=7.1,
    platform="manylinux_2_35_x86_64",
)
MEL = Mel(sample_rate=16_000, window=400, transform=512, step=160, bands=32, low=60.0, high=3800.0)
FRAMES = 76  # that one embedding is made of
SHORTEST = MEL.transform + (FRAMES - 1) * MEL.step  # samples: 0.78 s
CARD = Card(
    name="speech-embedding",
    summary="speech_embedding, a small convolutional net for spoken words",
    modality="audio",
    licence="Apache-2.0",
    credits="Weights by Google (speech_embedding on TF Hub), as TFLite files by openWakeWord and pyopen-wakeword.",
    package=PACKAGE,
    inputs="float32 (batch, samples), waveform in [-1, 1] at 16 kHz; silence follows where it is under 0.78 s",
    outputs="float32 (batch, frames, 96), one frame each 80 ms, over the 0.78 s from there",
    input_range=(-1.0, 1.0),
    parameters=328_224,
    sample_rate=MEL.sample_rate,
)


@dataclass(frozen=True)
class Block:
    """Convolutions of as many filters each, then a pooling; sizes are (time, frequency)."""

    filters: int
    kernels: tuple[tuple[int, int], ...]
    pool: tuple[int, int]


PAIRS = ((1, 3), (3, 1), (1, 3), (3, 1))
BLOCKS = (
    Block(24, ((3, 3), (1, 3), (3, 1)), (2, 2)),
    Block(48, PAIRS, (1, 2)),
    Block(72, PAIRS, (2, 2)),
    Block(96, PAIRS, (1, 2)),
    Block(96, PAIRS, (2, 2)),
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write front end and network as one hub-format SavedModel."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    model = network()
    load_weights(model, read_constants(files[WEIGHTS]))
    waves = tf.TensorSpec((None, None), tf.float32, name="waveform")
    hub_module.write_keras_model(model, folder, card=CARD.to_json(), preprocess=log_mel, specs=waves)


def log_mel(wave: Any) -> Any:
    """What the network was trained on: decibels of 16-bit samples, at most 80 below the loudest, by ten, plus two.

    Args:
        wave: float32 (batch, samples) in [-1, 1].

    Returns:
        float32 (batch, frames, 32), at least 76 frames.
    """
    import tensorflow as tf

    power = tf.maximum(MEL(at_least(wave, SHORTEST) * 32768.0), 1e-10)
    bels = tf.math.log(power) * (1.0 / np.log(10.0))
    return tf.maximum(bels, tf.reduce_max(bels, axis=(1, 2), keepdims=True) - 8.0) + 2.0


def network() -> keras.Model:
    """The net without weights: (batch, frames, 32) -> (batch, (frames - 76) // 8 + 1, 96)."""
    import keras

    spectra = keras.Input((None, MEL.bands), name="log_mel")
    x = keras.layers.Reshape((-1, MEL.bands, 1))(spectra)
    for number, block in enumerate(BLOCKS):
        for place, kernel in enumerate(block.kernels):
            x = _convolution(x, f"block_{number}.conv_{place}", block.filters, kernel)
        x = keras.layers.MaxPooling2D(block.pool)(x)
    x = keras.layers.Conv2D(96, (3, 1), name="head")(x)
    return keras.Model(spectra, keras.layers.Reshape((-1, 96))(x), name="speech_embedding")


def load_weights(model: keras.Model, constants: Mapping[str, np.ndarray]) -> None:
    """Fill a `network` with the constants of the TFLite file, which are numbered in the order of the layers."""
    numbered: dict[tuple[int, int], np.ndarray] = {}
    for name, value in constants.items():
        if match := re.match(r"model/(?:conv2d|batch_normalization)(?:_(\d+))?/", name):
            numbered[int(match[1] or 0), value.ndim] = value
    layers = [layer for layer in model.layers if layer.weights]
    for number, layer in enumerate(layers):
        layer.set_weights([numbered[number, 4].transpose(1, 2, 3, 0), numbered[number, 1]])


def _convolution(x: Any, name: str, filters: int, kernel: tuple[int, int]) -> Any:
    """Padded in frequency, never in time; then a leaky ReLU that ends at -0.4."""
    import keras

    if kernel == (3, 3):
        x = keras.layers.ZeroPadding2D((0, 1))(x)
    x = keras.layers.Conv2D(filters, kernel, padding="same" if kernel == (1, 3) else "valid", name=name)(x)
    return keras.ops.maximum(keras.layers.LeakyReLU(0.2)(x), -0.4)
