"""Texts as word pieces: clients of the SavedModel send strings, those of TFLite files find the vocabulary inside."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tlkit.core import excerpts
from tlkit.core.columns import stack
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.data.long_texts import TEXT_WINDOWS, bounds
from tlkit.data.windows import QUESTION_WINDOWS, WindowsReader, passages_of, pieces_of, windows_over
from tlkit.exporting.modality import About, Inside, Modality, Reading, Serving, Tensors
from tlkit.formats.tflite_metadata import VOCABULARY, bert_tokenizer, plain_tensor
from tlkit.layer.hub_layer import HubLayer
from tlkit.tokenizing.wordpiece import INPUTS, WordPiece
from tlkit.tokenizing.words import Words

if TYPE_CHECKING:
    import keras

# Names by which MediaPipe's TextClassifier tells the three inputs apart, and what they are.
_CLIENT_NAMES = dict(zip(INPUTS, ("ids", "mask", "segment_ids"), strict=True))
_MEANINGS = dict(
    zip(INPUTS, ("Numbers of the word pieces.", "1 for a piece, 0 for padding.", "0; 1 in a second text."), strict=True)
)
_ON_WINDOWS = (
    "Of a text of n word pieces, n more than {room}, k = ceil(n / {room}) windows are answered one by one: window i of "
    "0 to k - 1 holds the pieces from floor(i n / k) up to floor((i + 1) n / k), between [CLS] and [SEP]; the text's "
    "answer is the mean of theirs, weighted by their counts of pieces."
)
T = TypeVar("T", WordPiece, Words)


def _accepts(examples: Examples) -> bool:
    return isinstance(examples.inputs.spec, Mapping) and set(examples.inputs.spec) == set(INPUTS)


def _serving(model: keras.Model, examples: Examples) -> Serving:
    import tensorflow as tf

    from tlkit.tokenizing.wordpiece_graph import graph_inputs, means, window_inputs

    if _vocabulary(model) is None:
        return Serving({t.name: tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs}, dict)
    wordpiece, length = tokenizer_of(model, WordPiece), int(examples.inputs.spec[INPUTS[0]].shape[0])
    if examples.pipeline.get(TEXT_WINDOWS) is not None:
        in_windows = window_inputs(wordpiece, length)
        text = {"text": tf.TensorSpec((None,), tf.string, name="text")}
        return Serving(text, lambda given: in_windows(given["text"]), in_windows, _whole_texts, means)
    in_graph = graph_inputs(wordpiece, length)
    names = ("text",) if examples.pipeline.get(QUESTION_WINDOWS) is None else ("question", "context")

    def prepare(given: Tensors) -> Tensors:
        return in_graph(*(given[name] for name in names))

    specs = {name: tf.TensorSpec((None,), tf.string, name=name) for name in names}
    return Serving(specs, prepare, in_graph, functools.partial(_sent, names))


def _sent(names: Sequence[str], examples: Examples) -> Mapping[str, np.ndarray]:
    """What clients send for the examples: a text each, or question and context, which stand on lines of their own."""
    rows = [text.split("\n", len(names) - 1) for text in texts_of(examples)]
    return {name: np.asarray(column, dtype=str) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _whole_texts(examples: Examples) -> Mapping[str, np.ndarray]:
    """What clients send for windows: the texts, each once."""
    return {"text": np.asarray(texts_of(excerpts.whole(examples)), dtype=str)}


def texts_of(examples: Examples) -> tuple[str, ...]:
    """The texts that the examples were made of."""
    if "text" not in examples.columns:
        raise InputError(
            "A SavedModel takes strings, and the examples hold word pieces only, so it cannot be checked: make them "
            "with tlkit.data.text.tokenized, or leave `saved_model` out of the formats."
        )
    return tuple(str(examples.columns["text"][i]) for i in range(len(examples)))


def _about(model: keras.Model, examples: Examples) -> About:
    inputs = {name: plain_tensor(_CLIENT_NAMES[name], _MEANINGS[name]) for name in INPUTS}
    if _vocabulary(model) is None:
        return About(inputs)
    pieces = "".join(f"{piece}\n" for piece in tokenizer_of(model, WordPiece).vocabulary)
    room = int(examples.inputs.spec[INPUTS[0]].shape[0]) - 2
    says = "" if examples.pipeline.get(TEXT_WINDOWS) is None else _ON_WINDOWS.format(room=room)
    return About(inputs, (bert_tokenizer(),), {VOCABULARY: pieces.encode()}, says)


def _vocabulary(model: keras.Model) -> WordPiece | Words | None:
    """What the model's module brings; without it clients send word pieces themselves."""
    return next((layer.tokenizer for layer in model.layers if isinstance(layer, HubLayer)), None)


def tokenizer_of(model: keras.Model, kind: type[T]) -> T:
    """The vocabulary of the model's module."""
    found = [layer.tokenizer for layer in model.layers if isinstance(layer, HubLayer)]
    if not found or not isinstance(found[0], kind):
        raise InputError("The model's module brings no vocabulary (`vocab_file`), so its exports could not take texts.")
    return found[0]


def _read(file: Path, inside: Inside) -> Reading:
    """The word pieces of a file's text, by the vocabulary in the TFLite file."""
    from tlkit.data.text_source import read_text

    if VOCABULARY not in inside.files:
        raise InputError(
            "The module of this file brought no vocabulary, so it takes numbers of word pieces and no texts: tokenize "
            f"{str(file)!r} yourself, and run the file on the pieces."
        )
    pieces = inside.files[VOCABULARY].decode().split("\n")[:-1]
    wordpiece = WordPiece(tuple(pieces), (inside.pipeline.get(WordPiece.step) or {}).get("lower_case", True))
    text, length = read_text(file), inside.shapes[INPUTS[0]][0]
    windows = inside.pipeline.get(QUESTION_WINDOWS)
    if windows is not None:
        return _asked(wordpiece, *_question(file, text), length, windows["stride"])
    if inside.pipeline.get(TEXT_WINDOWS) is not None:
        return _windows(wordpiece, text, length)
    value = {name: row[None] for name, row in wordpiece.inputs(text, length).items()}
    needed = wordpiece.count(text)
    change = "" if needed <= length else f"cut to {length} of {needed} word pieces"
    return Reading(value, change=change, steps=_steps(wordpiece, text, length))


def _windows(wordpiece: WordPiece, text: str, length: int) -> Reading:
    """A text in as many windows as in training."""
    pieces = wordpiece.encode(text)
    places = bounds(len(pieces), length)
    value = stack([wordpiece.packed(pieces[start:end], length) for start, end in places])
    change = f"read in {len(places)} windows of at most {length} word pieces" if len(places) > 1 else ""
    return Reading(value, change=change, shares=tuple((end - start) / max(1, len(pieces)) for start, end in places))


def _question(file: Path, text: str) -> tuple[str, str]:
    """The question on the first line of a file's text, and the context below it."""
    question, _, context = text.strip().partition("\n")
    if not context.strip():
        raise InputError(f"{str(file)!r} must hold a question on its first line and the context of it below.")
    return " ".join(question.split()), context


def _asked(wordpiece: WordPiece, question: str, context: str, length: int, stride: int) -> Reading:
    """A question with as many windows over its context as in training."""
    windows = windows_over(pieces_of(wordpiece, question), pieces_of(wordpiece, context), length, stride)
    reader = WindowsReader(tuple(windows), wordpiece, length)
    change = f"read in {len(windows)} windows of {length} word pieces" if len(windows) > 1 else ""
    value = stack([reader(i) for i in range(len(windows))])
    return Reading(value, change=change, passages=passages_of(windows))


def _steps(wordpiece: WordPiece, text: str, length: int) -> tuple[str, ...]:
    """The word that each piece begins, "" for none."""
    words = [word for word in text.split() if wordpiece.encode(word)]  # marks that vanish have no piece
    _, owners = wordpiece.encode_words(words, length)
    begins = np.diff(owners, prepend=-1) > 0
    return tuple(words[owner] if first else "" for owner, first in zip(owners, begins, strict=True))


KIND = Modality("text", _accepts, _serving, _about, read=_read)
