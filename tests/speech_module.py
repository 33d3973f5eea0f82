"""A tiny module of Whisper's kind: one block that hears and writes, all endpoints, a tokenizer of few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

WORDS, WIDTH, RATE, HOP, PLACES = ("low", "mid", "high"), 16, 16_000, 800, 40
MASKED = -1e9


def tokenizer_file(folder: Path) -> Path:
    """Byte pairs that have a token for each word, and the three tokens of a prompt behind all others."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(set("Ġabcdefghijklmnopqrstuvwxyz.,'"))
    trainer = trainers.BpeTrainer(vocab_size=60, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f" {word}" * 9 for word in WORDS], trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"])
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def write(folder: Path, scratch: Path, *, cached: bool = True) -> Path:
    """The module; without `cached` it has no endpoints for one step."""
    from tlkit.formats import hub_module

    file, settings = tokenizer_file(scratch), scratch / "tokenizer_config.json"
    settings.write_text(json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}))
    content = json.loads(file.read_text())
    count = len(content["model"]["vocab"]) + len(content["added_tokens"])
    rng, d = np.random.default_rng(3), WIDTH
    shapes = {
        "hear": (HOP, d), "mix": (d, d), "table": (count, d), "places": (PLACES, d), "own": (d, 3 * d), "out": (d, d),
        "query": (d, d), "heard": (d, 2 * d), "wide": (d, 4 * d), "narrow": (4 * d, d),
    }  # fmt: skip
    w = {n: tf.Variable(rng.normal(0, s[0] ** -0.5, s).astype("f4"), name=n) for n, s in shapes.items()}

    def encode(waves: Any) -> Any:
        frames = tf.signal.frame(waves, HOP, HOP, pad_end=True)
        return tf.nn.relu(tf.nn.relu(frames @ w["hear"]) @ w["mix"])

    def start(encoded: Any) -> dict[str, Any]:
        key, value = tf.split(tf.matmul(encoded, w["heard"]), 2, axis=-1)
        return {"cross_k_0": key, "cross_v_0": value}

    def attended(query: Any, key: Any, value: Any, mask: Any = 0.0) -> Any:
        return tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) * d**-0.5 + mask), value)

    def block(x: Any, key: Any, value: Any, query: Any, mask: Any, cross: Any) -> Any:
        x += tf.matmul(attended(query, key, value, mask), w["out"])
        x += attended(tf.matmul(x, w["query"]), cross["cross_k_0"], cross["cross_v_0"])
        return x + tf.matmul(tf.nn.relu(tf.matmul(x, w["wide"])), w["narrow"])

    def decode(encoded: Any, ids: Any) -> Any:
        places = tf.range(tf.shape(ids)[1])
        mask = tf.cast(places[None] > places[:, None], tf.float32) * MASKED
        x = tf.gather(w["table"], ids) + tf.gather(w["places"], places)
        query, key, value = tf.split(tf.matmul(x, w["own"]), 3, axis=-1)
        return block(x, key, value, query, mask, start(encoded))

    def step(inputs: dict[str, Any]) -> dict[str, Any]:
        ids = inputs["ids"]
        places = inputs["position"] + tf.range(tf.shape(ids)[1])
        chosen = tf.one_hot(places, tf.shape(inputs["kv_cache_k_0"])[1])
        mask = tf.cast(tf.range(tf.shape(inputs["kv_cache_k_0"])[1])[None] > places[:, None], tf.float32) * MASKED
        x = tf.gather(w["table"], ids) + tf.gather(w["places"], places)
        query, *new = tf.split(tf.matmul(x, w["own"]), 3, axis=-1)
        unchosen = (1.0 - tf.reduce_sum(chosen, axis=0))[:, None]
        key, value = (
            inputs[f"kv_cache_{side}_0"] * unchosen + tf.einsum("tc,btd->bcd", chosen, rows)
            for side, rows in zip("kv", new, strict=True)
        )
        states = block(x, key, value, query, mask, inputs)
        return {"default": states, "kv_cache_k_0": key, "kv_cache_v_0": value}

    waves, ids = tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None, None), tf.int32, name="ids")
    rows = tf.TensorSpec((None, None, d), tf.float32)
    names = ["cross_k_0", "cross_v_0", "kv_cache_k_0", "kv_cache_v_0"]
    steps = {
        "start": (start, rows),
        "step": (step, {"ids": ids, "position": tf.TensorSpec((), tf.int32), **dict.fromkeys(names, rows)}),
    }
    return hub_module.write_module(
        lambda inputs, training: {"default": decode(encode(inputs["waveform"]), inputs["ids"])},
        list(w.values()),
        list(w.values()),
        {"waveform": waves, "ids": ids},
        folder,
        card={"sample_rate": RATE},
        attachments={
            "tokenizer_file": tf.saved_model.Asset(str(file)),
            "tokenizer_config": tf.saved_model.Asset(str(settings)),
        },
        signatures={
            "encode": (lambda wave: {"default": encode(wave)}, waves),
            "decode": (
                lambda inputs: {"default": decode(inputs["encoded"], inputs["ids"])},
                {"encoded": rows, "ids": ids},
            ),
            **(steps if cached else {}),
        },
    )
