"""Texts of byte pairs inside a graph: numbers of tokens -> strings, by TensorFlow's own operations.

Only this way round: which pairs are merged first depends on all others, and TensorFlow has no operation for that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

PLAIN = (*range(33, 127), *range(161, 173), *range(174, 256))  # bytes that are written as the character of that number


def spelled(file: str) -> list[bytes] | None:
    """The bytes of each token by its number, b"" of special ones; None of a tokenizer that is not byte-level.

    Args:
        file: The tokenizer.json, as JSON text.

    Source: bytes_to_unicode of github.com/openai/gpt-2, src/encoder.py.
    """
    content = json.loads(file)
    decoder = content.get("decoder") or {}
    if content["model"].get("type") != "BPE" or decoder.get("type") != "ByteLevel":
        return None
    others = [byte for byte in range(256) if byte not in PLAIN]
    written = {**{chr(byte): byte for byte in PLAIN}, **{chr(256 + i): byte for i, byte in enumerate(others)}}
    special = {token["content"]: token["id"] for token in content.get("added_tokens", ())}
    numbers = {**content["model"]["vocab"], **special}
    pieces = [b""] * (max(numbers.values()) + 1)
    for token, number in numbers.items():
        if token not in special:
            pieces[number] = bytes(written[letter] for letter in token if letter in written)
    return pieces


def telling(call: Callable[[Mapping[str, Any]], Mapping[str, Any]], name: str, file: str) -> Callable[..., Any]:
    """A function of tensors by name that also gives "text", strings (b,), of the tokens that it gives.

    Bytes that are no text become U+FFFD, and blanks around a text are left out.

    Args:
        call: Tensors by name -> tensors by name.
        name: Of its int32 (b, n) tokens, below 0 where there are none.
        file: The tokenizer.json that they are of, as JSON text; of one that is not byte-level there is no "text".
    """
    import tensorflow as tf

    bytes_of = spelled(file)
    if bytes_of is None:
        return call

    def told(tensors: Mapping[str, Any]) -> dict[str, Any]:
        outputs = dict(call(tensors))
        ids = outputs[name]
        parts = tf.where(ids >= 0, tf.gather(tf.constant(bytes_of), tf.maximum(ids, 0)), "")
        joined = tf.strings.unicode_transcode(tf.strings.reduce_join(parts, axis=-1), "UTF-8", "UTF-8")
        return {**outputs, "text": tf.strings.strip(joined)}

    return told
