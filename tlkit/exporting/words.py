"""Texts as whole words: clients of the SavedModel send strings, those of TFLite files find the vocabulary inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlkit.core.examples import Examples
from tlkit.exporting.modality import About, Inside, Modality, Reading, Serving, Tensors
from tlkit.exporting.text import texts_of, tokenizer_of
from tlkit.formats.tflite_metadata import VOCABULARY, plain_tensor, regex_tokenizer
from tlkit.tokenizing.words import APART, UNKNOWN, Words

if TYPE_CHECKING:
    import keras

# What MediaPipe's regular expression tokenizer asks of a vocabulary besides words: all of them count for nothing.
_SPECIAL = ("<PAD>", "<START>", "<UNKNOWN>")
_INPUT = "ids"


def _accepts(examples: Examples) -> bool:
    return examples.pipeline.get(Words.step) is not None and not isinstance(examples.inputs.spec, dict)


def _serving(model: keras.Model, examples: Examples) -> Serving:
    import tensorflow as tf

    from tlkit.tokenizing.words_graph import GraphWords

    in_graph = GraphWords(tokenizer_of(model, Words), int(examples.inputs.spec.shape[0]))
    (tensor,) = model.inputs

    def prepare(given: Tensors) -> Tensors:
        return {tensor.name: in_graph(given["text"])}

    specs = {"text": tf.TensorSpec((None,), tf.string, name="text")}
    return Serving(specs, prepare, in_graph, lambda own: {"text": np.asarray(texts_of(own), dtype=str)})


def _about(model: keras.Model, _examples: Examples) -> About:
    rows = {**dict.fromkeys(_SPECIAL, UNKNOWN), **tokenizer_of(model, Words).rows}
    vocabulary = "".join(f"{word} {row}\n" for word, row in rows.items()).encode()
    table = plain_tensor(_INPUT, "Numbers of the words, 0 for one that is unknown and for padding.")
    inputs = {tensor.name: table | regex_tokenizer(APART) for tensor in model.inputs}
    return About(inputs, files={VOCABULARY: vocabulary})


def _read(file: Path, inside: Inside) -> Reading:
    """The words of a file's text, by the vocabulary in the TFLite file."""
    from tlkit.data.text_source import read_text

    rows = (line.split(" ") for line in inside.files[VOCABULARY].decode().split("\n")[:-1])
    words = Words({word: int(row) for word, row in rows})
    text, (length,) = read_text(file), inside.shape
    needed = words.count(text)
    change = "" if needed <= length else f"cut to {length - 1} of {needed - 1} words"
    return Reading(words.inputs(text, length)[None], change=change)


KIND = Modality("words", _accepts, _serving, _about, read=_read)
