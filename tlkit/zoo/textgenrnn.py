"""textgenrnn: a small language model of characters, by the 40 before the next.

Sources: Woolf 2018, the textgenrnn package (its network and weights); Hochreiter and Schmidhuber 1997 (the LSTM);
Felbo et al. 2017, arXiv:1708.00524 (the mean over steps that is weighted by attention).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import SOURCE, Package
from tlkit.zoo.card import Card

WEIGHTS, VOCABULARY = "textgenrnn/textgenrnn_weights.hdf5", "textgenrnn/textgenrnn_vocab.json"
PACKAGE = Package(
    name="textgenrnn",
    version="2.0.0",
    sha256="c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
    files={
        WEIGHTS: "6a89ca4235ed9f00be7b2acd65d5fe4a099967d676bfe20afb696106286ffbca",
        VOCABULARY: "f9c6c0db9b07fb57da023d32df66e16a488d086c138e15706307bb5177c2be74",
    },
    download_mb=1.7,
    archive=SOURCE,
)
WINDOW, UNITS, SYMBOLS, WIDTH = 40, 128, 465, 356
ENDS = "<s>"  # the symbol that begins and ends a text
CARD = Card(
    name="textgenrnn",
    summary="textgenrnn, a small language model of characters: two LSTMs and attention over 40 of them",
    modality="text",
    licence="MIT",
    credits="Weights by M. Woolf (textgenrnn), trained on posts of Reddit and Facebook.",
    package=PACKAGE,
    inputs=(
        "int32 (batch, 40): the last 40 characters by their numbers in the asset `characters_file`, 0 in front of "
        f"shorter texts and for others, {ENDS} where a text begins or ends; the signature `score`: such a state"
    ),
    outputs=(
        "dict of float32: default (batch, 356), the state behind the text; of `score` the 465 scores of the next "
        "character (batch, 465)"
    ),
    input_range=None,
    parameters=461_693,
)

Weights = Mapping[str, Any]


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the model and its head as one hub-format SavedModel, its characters as an asset."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    weights = variables(read_weights(files[WEIGHTS]))
    with tempfile.TemporaryDirectory(prefix="tlkit-zoo-") as scratch:
        numbers = json.loads(files[VOCABULARY].read_text(encoding="utf-8"))
        characters = Path(scratch) / "characters.json"
        characters.write_text(json.dumps(numbers, ensure_ascii=False, sort_keys=True), encoding="utf-8")
        hub_module.write_module(
            lambda ids, training: {"default": state(weights, ids)},
            list(weights.values()),
            list(weights.values()),
            tf.TensorSpec((None, WINDOW), tf.int32, name="ids"),
            folder,
            card=CARD.to_json(),
            attachments={"characters_file": tf.saved_model.Asset(str(characters))},
            signatures={
                "score": (lambda x: {"default": scores(weights, x)}, tf.TensorSpec((None, WIDTH), tf.float32, "state"))
            },
        )


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Name -> array of a Keras weights file: "rnn_1/kernel" and so on."""
    import h5py  # type: ignore[import-untyped, unused-ignore]

    weights: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        for layer in ("embedding", "rnn_1", "rnn_2", "attention", "output"):
            for name, array in file[layer][layer].items():
                weights[f"{layer}/{name.removesuffix(':0')}"] = np.asarray(array)
    return weights


def variables(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`tf.Variable`s by the same names; the LSTMs' weights lie as cuDNN has them there, as Keras has them here."""
    import tensorflow as tf

    by_name = {}
    for name, array in arrays.items():
        quarters = np.split(array, 4, axis=-1) if name.startswith("rnn") else []
        if name.endswith("recurrent_kernel"):
            value = np.hstack([quarter.T for quarter in quarters])
        elif name.startswith("rnn") and name.endswith("kernel"):
            value = np.hstack([quarter.T.reshape(quarter.shape, order="F") for quarter in quarters])
        elif name.startswith("rnn"):  # cuDNN has a bias for either product
            value = array[: 4 * UNITS] + array[4 * UNITS :]
        else:
            value = array
        by_name[name] = tf.Variable(value, name=name)
    return by_name


def state(weights: Weights, ids: Any) -> Any:
    """The mean over 40 characters, weighted by attention: int32 (batch, 40) -> float32 (batch, 356).

    What an LSTM gives is put behind what it was given, so that one tensor carries it all.
    """
    import tensorflow as tf

    embedded = tf.gather(weights["embedding/embeddings"], ids)
    first = tf.concat([embedded, _lstm(weights, "rnn_1", embedded)], axis=-1)
    states = tf.concat([first, _lstm(weights, "rnn_2", first[:, :, -UNITS:])], axis=-1)
    looks = tf.einsum("btd,do->bto", states, weights["attention/attention_W"])
    return tf.reduce_sum(states * tf.nn.softmax(looks, axis=1), axis=1)


def scores(weights: Weights, x: Any) -> Any:
    """Logits of the next character: (batch, 356) -> (batch, 465)."""
    return x @ weights["output/kernel"] + weights["output/bias"]


def _lstm(weights: Weights, name: str, x: Any) -> Any:
    """Outputs of an LSTM at each step, written out step by step, as TensorFlow's loops cannot be cut."""
    import tensorflow as tf

    inputs = tf.einsum("btd,de->bte", x, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]
    outputs: list[Any] = []
    carried: Any = 0.0
    for projected in tf.unstack(inputs, WINDOW, axis=1):
        gates = projected + outputs[-1] @ weights[f"{name}/recurrent_kernel"] if outputs else projected
        enter, keep, new, leave = tf.split(gates, 4, axis=-1)
        carried = tf.sigmoid(keep) * carried + tf.sigmoid(enter) * tf.tanh(new)
        outputs.append(tf.sigmoid(leave) * tf.tanh(carried))
    return tf.stack(outputs, axis=1)
