"""Texts as whole words: clients of the SavedModel send strings, those of TFLite files find the vocabulary info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality, Serving, Tensors
from tlkit.formats.tflite_metadata import VOCABULARY, plain_tensor, regex_tokenizer
from tlkit.modalities.pages import beside
from tlkit.modalities.parsed import also_noted, one_example
from tlkit.modalities.text import texts_of, tokenizer_of
from tlkit.modalities.text_shown import TEXT, show
from tlkit.tokenizing.words import APART, UNKNOWN, Words

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

# What MediaPipe's regular expression tokenizer asks of a vocabulary besides words: all of them count for nothing.
_SPECIAL = ("<PAD>", "<START>", "<UNKNOWN>")
_INPUT = "ids"


def _prepare(data: Splits, layer: HubLayer, *, length: int | None = None) -> Splits:
    """Texts that are numbers of words already."""
    if length is not None:
        raise InputError(f"The texts are words already; give data.text.tokenized the length {length} instead.")
    return data


def _serve(model: keras.Model, examples: Examples) -> Serving:
    import tensorflow as tf

    from tlkit.tokenizing.words_graph import GraphWords

    in_graph = GraphWords(tokenizer_of(model, Words), int(examples.inputs.spec.shape[0]))
    (tensor,) = model.inputs

    def prepare(tensors: Tensors) -> Tensors:
        return {tensor.name: in_graph(tensors["text"])}

    specs = {"text": tf.TensorSpec((None,), tf.string, name="text")}
    return Serving(specs, prepare, in_graph, lambda served: {"text": np.asarray(texts_of(served), dtype=str)})


def _describe(model: keras.Model, _examples: Examples) -> InputInfo:
    rows = {**dict.fromkeys(_SPECIAL, UNKNOWN), **tokenizer_of(model, Words).rows}
    vocabulary = "".join(f"{word} {row}\n" for word, row in rows.items()).encode()
    table = plain_tensor(_INPUT, "Numbers of the words, 0 for one that is unknown and for padding.")
    inputs = {tensor.name: table | regex_tokenizer(APART) for tensor in model.inputs}
    return InputInfo(inputs, files={VOCABULARY: vocabulary})


def _parse(source: Any, info: FileInfo) -> Examples:
    """The words of a file's text, by the vocabulary in the TFLite file."""
    from tlkit.data.text_source import read_text

    file = Path(source)
    rows = (line.split(" ") for line in info.files[VOCABULARY].decode().split("\n")[:-1])
    words = Words({word: int(row) for word, row in rows})
    (text, guess), (length,) = read_text(file, info.pipeline), info.shape
    needed = words.count(text)
    change = "" if needed <= length else f"cut to {length - 1} of {needed - 1} words"
    value = ArrayColumn(words.inputs(text, length)[None])
    columns = {TEXT: TextColumn([text])}
    return also_noted(one_example(str(file), "words", value, change, info.pipeline, columns), guess)


WORDS = Modality(
    "words",
    _prepare,
    serve=_serve,
    describe=_describe,
    parse=_parse,
    show=show,
    calls={"page": beside("words_page.js")},
)
