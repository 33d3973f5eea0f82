"""musicnn's VGG: 256 numbers of a piece of music, and how much each of 50 tags fits it.

Five convolutions go over the whole sound at once. Two neighbours of what they give see 3 s, as in the training, and
make one set of features and tags; those of longer sounds are means over all of them, one a second. Three seconds give
what musicnn gives; it cuts longer sounds into pieces of 3 s and pads each of them, so that its numbers differ a little.

Source: Pons and Serra 2019, arXiv:1909.06654; Choi, Fazekas and Sandler 2016, arXiv:1606.00298 (the network);
musicnn 0.1.0, which rounds its mel spectra to float16, and this does not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.mel import Mel, at_least

if TYPE_CHECKING:
    import keras

INDEX, DATA = "musicnn/MTT_vgg/.index", "musicnn/MTT_vgg/.data-00000-of-00001"
PACKAGE = Package(
    name="musicnn",
    version="0.1.0",
    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    files={
        INDEX: "4b0d3d2d02bbe0919c063c1fb74bfa9018ac3517e362d681b07444d4207a5f5f",
        DATA: "458f5c8bcecc086a3bba3dce83809df6da6e0a3560a59ddd84711bf3d5fd8303",
    },
    download_mb=29.3,
)
MEL = Mel(sample_rate=16_000, window=512, transform=512, step=256, bands=96, low=0.0, high=8000.0, centred=True)
FRAMES = 187  # that one set of features is made of
SHORTEST = (FRAMES - 1) * MEL.step  # samples that give as many frames: 2.98 s
TAGS = (
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano"),
    *("ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing"),
    *("vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop"),
    *("soft", "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice"),
    *("female vocal", "beats", "harp", "cello", "no voice", "weird", "country", "metal", "female voice", "choral"),
)
CARD = Card(
    name="musicnn",
    summary="musicnn's VGG trained on MagnaTagATune, features and 50 tags of music",
    modality="audio",
    licence="ISC",
    credits="Weights by J. Pons and X. Serra, Universitat Pompeu Fabra (musicnn, MTT_vgg).",
    package=PACKAGE,
    inputs="float32 (batch, samples), waveform in [-1, 1] at 16 kHz; silence follows where it is under 3 s",
    outputs=(
        "dict of float32: default (batch, 256), the last pooling (pool5); tags (batch, 50), probabilities: "
        f"{', '.join(TAGS)}"
    ),
    input_range=(-1.0, 1.0),
    parameters=607_030,
    sample_rate=MEL.sample_rate,
)

FILTERS = 128
POOLS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))  # sizes, strides
PARTS = {"BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance")}


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write front end and network as one hub-format SavedModel."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    model = network()
    load_weights(model, files)
    waves = tf.TensorSpec((None, None), tf.float32, name="waveform")
    hub_module.write_keras_model(model, folder, card=CARD.to_json(), preprocess=log_mel, specs=waves)


def log_mel(wave: Any) -> Any:
    """What the network was trained on: float32 (batch, samples) -> (batch, frames, 96), at least 187 frames."""
    import tensorflow as tf

    return tf.math.log(10_000.0 * MEL(at_least(wave, SHORTEST)) + 1.0) * (1.0 / np.log(10.0))


def network() -> keras.Model:
    """The net without weights: (batch, frames, 96) -> {"default": (batch, 256), "tags": (batch, 50)}."""
    import keras

    spectra = keras.Input((None, MEL.bands), name="log_mel")
    x = _normalized(keras.layers.Reshape((-1, MEL.bands, 1))(spectra), 0)
    for number, (size, strides) in enumerate(POOLS, start=1):
        x = keras.layers.Dropout(0.25, seed=number)(x) if number > 1 else x
        x = keras.layers.Conv2D(FILTERS, 3, padding="same", activation="relu", name=f"block_{number}.conv")(x)
        x = keras.layers.MaxPooling2D(size, strides)(_normalized(x, number))
    x = keras.layers.Reshape((-1, FILTERS))(x)
    pairs = keras.layers.Concatenate()([x[:, :-1], x[:, 1:]])
    dropped = keras.layers.Dropout(0.5, seed=0)(pairs)  # seeds, so that two builds are the same bytes
    tags = keras.layers.Dense(len(TAGS), activation="sigmoid", name="tags")(dropped)
    average = keras.layers.GlobalAveragePooling1D()
    return keras.Model(spectra, {"default": average(pairs), "tags": average(tags)}, name="musicnn")


def load_weights(model: keras.Model, files: Mapping[str, Path]) -> None:
    """Fill a `network` with the package's TF1 checkpoint, whose own file names (`.index`) TensorFlow cannot read."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="tlkit-musicnn-") as scratch:
        prefix = Path(scratch, "checkpoint")
        for name in (INDEX, DATA):
            shutil.copyfile(files[name], f"{prefix}{Path(name).name}")
        reader = tf.train.load_checkpoint(str(prefix))
        for layer in model.layers:
            if layer.weights:
                parts = PARTS.get(type(layer).__name__, ("kernel", "bias"))
                layer.set_weights([reader.get_tensor(f"{_theirs(layer.name)}/{part}") for part in parts])


def _theirs(name: str) -> str:
    """The checkpoint's name of a layer."""
    block, _, kind = name.partition(".")
    number = block.removeprefix("block_")
    if kind == "conv":
        return f"{number}CNN"
    return "dense" if name == "tags" else "batch_normalization" + (f"_{number}" if number != "0" else "")


def _normalized(x: Any, number: int) -> Any:
    import keras

    return keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"block_{number}.norm")(x)
