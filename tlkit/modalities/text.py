"""Texts, in the module's word pieces: clients of the SavedModel send strings, TFLite files carry the vocabulary."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tlkit.core import excerpts
from tlkit.core.batches import steps_of
from tlkit.core.columns import ArrayColumn, DictColumn, TextColumn, stack
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.modality import STEPS, FileInfo, InputInfo, Modality, Serving, Table, Tensors
from tlkit.data import text_source
from tlkit.data.long_texts import TEXT_WINDOWS, bounds
from tlkit.data.text import tokenized
from tlkit.data.windows import PASSAGE, QUESTION_WINDOWS, WindowsReader, passages_of, pieces_of, windows_over
from tlkit.formats.tflite_metadata import VOCABULARY, bert_tokenizer, plain_tensor
from tlkit.modalities.pages import beside
from tlkit.modalities.parsed import also_noted, one_example
from tlkit.modalities.plain import describe_inputs, serve_inputs
from tlkit.modalities.text_shown import show
from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.tokenizing.wordpiece import INPUTS, WordPiece
from tlkit.tokenizing.words import Words

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

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


def _prepare(data: Splits, layer: HubLayer, *, length: int | None = None, long: str = "cut") -> Splits:
    """Texts as the module takes them: numbers of word pieces or words, or the strings themselves.

    Args:
        data: Texts, texts split into words, questions with contexts, or any of these in pieces already.
        layer: The module.
        length: Word pieces of a text, special ones included, or words; None is what 99 % of the training texts need.
        long: What becomes of longer texts, "cut" or "windows", as `data.text.tokenized` has it.

    Raises:
        InputError: If the module's vocabulary is unknown, or it takes another length.
    """
    spec = data.train.inputs.spec
    if takes_tokens(layer) and is_text(spec):
        return _in_tokens(data, layer, length, long)
    if long != "cut" and data.train.pipeline.get(TEXT_WINDOWS) is None:
        raise InputError(f'long="{long}" is for texts and modules of word pieces; leave it out.')
    if length is not None and takes_tokens(layer):
        raise InputError(f"The texts are word pieces already; give data.text.tokenized the length {length} instead.")
    if length is not None:
        raise InputError(f"`length` is for texts in pieces or words, and {layer.handle} takes none; leave it out.")
    return _at_its_length(data, layer) if takes_tokens(layer) and isinstance(spec, Mapping) else data


def takes_tokens(layer: HubLayer) -> bool:
    """Whether a module takes the three inputs of a BERT, or numbers of the words that it brings."""
    inputs = layer.endpoint.inputs
    return set(inputs) == set(INPUTS) if isinstance(inputs, Mapping) else layer.tokenizer is not None


def is_text(spec: Any) -> bool:
    """Whether examples are texts, texts split into words, or questions with contexts."""
    return spec in (text_source.TEXT, text_source.WORDS, text_source.QUESTIONS)


def _in_tokens(data: Splits, layer: HubLayer, length: int | None, long: str) -> Splits:
    tokenizer = layer.tokenizer
    if tokenizer is None:
        raise InputError(
            f"{layer.handle} takes word pieces and brings no vocabulary (`vocab_file`); tokenize the texts yourself: "
            "tlkit.data.tokenized(data, WordPiece.from_file('vocab.txt'), length)."
        )
    fixed = layer.endpoint.input_leaves[0].shape[1]
    if fixed is not None and length not in (None, fixed):
        raise InputError(f"{layer.handle} takes texts of {fixed} {tokenizer.unit} only. Received: length={length}.")
    pieces = tokenized(data, tokenizer, fixed or length, long=long)
    return pieces if fixed is None else _of_one_length(pieces)


def _at_its_length(data: Splits, layer: HubLayer) -> Splits:
    """Texts that are word pieces already, at the one length that the module takes."""
    module_length, length = layer.endpoint.input_leaves[0].shape[1], steps_of(data.train.inputs.spec)
    if module_length is None:
        return data
    if length != module_length:
        raise InputError(
            f"{layer.handle} takes texts of {module_length} word pieces only, and these were made with {length}: give "
            f"tlkit.data.text.tokenized the length {module_length}."
        )
    return _of_one_length(data)


def _of_one_length(data: Splits) -> Splits:
    """The same, never cut to the longest text of a batch: the module takes one length only."""
    train, val, test = map(_without_lengths, (data.train, data.val, data.test))
    return dataclasses.replace(data, train=train, val=val, test=test)


def _without_lengths(examples: Examples) -> Examples:
    return dataclasses.replace(examples, columns={k: v for k, v in examples.columns.items() if k != "length"})


def in_pieces(examples: Examples) -> bool:
    """Whether examples are word pieces already."""
    spec = examples.inputs.spec
    return isinstance(spec, Mapping) and set(spec) == set(INPUTS)


def _serve(model: keras.Model, examples: Examples) -> Serving:
    import tensorflow as tf

    from tlkit.tokenizing.wordpiece_graph import GraphInputs, WindowInputs, means

    if _vocabulary(model) is None or not in_pieces(examples):
        return serve_inputs(model, examples)
    wordpiece, length = tokenizer_of(model, WordPiece), int(examples.inputs.spec[INPUTS[0]].shape[0])
    if examples.pipeline.get(TEXT_WINDOWS) is not None:
        in_windows = WindowInputs(wordpiece, length)
        text = {"text": tf.TensorSpec((None,), tf.string, name="text")}
        return Serving(text, lambda tensors: in_windows(tensors["text"]), in_windows, _whole_texts, means)
    in_graph = GraphInputs(wordpiece, length)
    names = ("text",) if examples.pipeline.get(QUESTION_WINDOWS) is None else ("question", "context")

    def prepare(tensors: Tensors) -> Tensors:
        return in_graph(*(tensors[name] for name in names))

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


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    if not in_pieces(examples):
        return describe_inputs(model, examples)
    inputs = tables_of_pieces()
    if _vocabulary(model) is None:
        return InputInfo(inputs)
    room = int(examples.inputs.spec[INPUTS[0]].shape[0]) - 2
    says = "" if examples.pipeline.get(TEXT_WINDOWS) is None else _ON_WINDOWS.format(room=room)
    return InputInfo(inputs, (bert_tokenizer(),), {VOCABULARY: vocabulary_file(model)}, says)


def tables_of_pieces() -> dict[str, Table]:
    """Metadata tables of the three inputs of a BERT, by name."""
    return {name: plain_tensor(_CLIENT_NAMES[name], _MEANINGS[name]) for name in INPUTS}


def vocabulary_file(model: keras.Model) -> bytes:
    """The word pieces of the model's module, one a line."""
    return "".join(f"{piece}\n" for piece in tokenizer_of(model, WordPiece).vocabulary).encode()


def _vocabulary(model: keras.Model) -> WordPiece | Words | None:
    """What the model's module brings; without it clients send word pieces themselves, as they do byte pairs."""
    from tlkit.layer.lookup import hub_layers

    tokenizer = next((layer.tokenizer for layer in hub_layers(model)), None)
    return None if isinstance(tokenizer, BytePairs) else tokenizer


def tokenizer_of(model: keras.Model, kind: type[T]) -> T:
    """The vocabulary of the model's module."""
    from tlkit.layer.lookup import hub_layers

    tokenizers = [layer.tokenizer for layer in hub_layers(model)]
    if not tokenizers or not isinstance(tokenizers[0], kind):
        raise InputError("The model's module brings no vocabulary (`vocab_file`), so its exports could not take texts.")
    return tokenizers[0]


def _parse(source: Any, info: FileInfo) -> Examples:
    """The word pieces of a file's text, by the vocabulary in the TFLite file."""
    from tlkit.data.text_source import read_text

    file = Path(source)
    if VOCABULARY not in info.files:
        raise InputError(
            "The module of this file brought no vocabulary, so it takes numbers of word pieces and no texts: tokenize "
            f"{str(file)!r} yourself, and run the file on the pieces."
        )
    wordpiece = wordpiece_in(info)
    (text, guess), length = read_text(file, info.pipeline), info.shapes[INPUTS[0]][0]
    windows = info.pipeline.get(QUESTION_WINDOWS)
    if windows is not None:
        return also_noted(_asked(str(file), wordpiece, _question(file, text), info, windows["stride"]), guess)
    if info.pipeline.get(TEXT_WINDOWS) is not None:
        return also_noted(_windows(str(file), wordpiece, text, info), guess)
    value = DictColumn({name: ArrayColumn(row[None]) for name, row in wordpiece.inputs(text, length).items()})
    needed = wordpiece.count(text)
    change = "" if needed <= length else f"cut to {length} of {needed} word pieces"
    steps = ArrayColumn(np.array([_steps(wordpiece, text, length)], dtype=str))
    return also_noted(one_example(str(file), "text", value, change, info.pipeline, {STEPS: steps}), guess)


def wordpiece_in(info: FileInfo) -> WordPiece:
    """The vocabulary that a file carries."""
    pieces = info.files[VOCABULARY].decode().split("\n")[:-1]
    return WordPiece(tuple(pieces), (info.pipeline.get(WordPiece.step) or {}).get("lower_case", True))


def _windows(name: str, wordpiece: WordPiece, text: str, info: FileInfo) -> Examples:
    """A text in as many windows as in training."""
    length = info.shapes[INPUTS[0]][0]
    pieces = wordpiece.encode(text)
    places = bounds(len(pieces), length)
    value = _in_columns(stack([wordpiece.packed(pieces[start:end], length) for start, end in places]))
    change = f"read in {len(places)} windows of at most {length} word pieces" if len(places) > 1 else ""
    shares = np.array([(end - start) / max(1, len(pieces)) or 1.0 for start, end in places])
    texts = TextColumn([name] * len(places))
    of = DictColumn({"id": texts, "digest": texts, "share": ArrayColumn(shares)})
    return one_example(name, "text", value, change, info.pipeline, {excerpts.OF: of})


def _in_columns(batch: Mapping[str, np.ndarray]) -> DictColumn:
    return DictColumn({name: ArrayColumn(rows) for name, rows in batch.items()})


def _question(file: Path, text: str) -> tuple[str, str]:
    """The question on the first line of a file's text, and the context below it."""
    question, _, context = text.strip().partition("\n")
    if not context.strip():
        raise InputError(f"{str(file)!r} must hold a question on its first line and the context of it below.")
    return " ".join(question.split()), context


def _asked(name: str, wordpiece: WordPiece, texts: tuple[str, str], info: FileInfo, stride: int) -> Examples:
    """A question with as many windows over its context as in training."""
    (question, context), length = texts, info.shapes[INPUTS[0]][0]
    windows = windows_over(pieces_of(wordpiece, question), pieces_of(wordpiece, context), length, stride)
    reader = WindowsReader(tuple(windows), wordpiece, length)
    change = f"read in {len(windows)} windows of {length} word pieces" if len(windows) > 1 else ""
    value = _in_columns(stack([reader(i) for i in range(len(windows))]))
    return one_example(name, "text", value, change, info.pipeline, {PASSAGE: passages_of(windows)})


def _steps(wordpiece: WordPiece, text: str, length: int) -> tuple[str, ...]:
    """The word that each piece begins, "" for none."""
    words = [word for word in text.split() if wordpiece.encode(word)]  # marks that vanish have no piece
    _, owners = wordpiece.encode_words(words, length)
    begins = np.diff(owners, prepend=-1) > 0
    return tuple(words[owner] if first else "" for owner, first in zip(owners, begins, strict=True))


TEXT = Modality(
    "text",
    _prepare,
    serve=_serve,
    describe=_describe,
    parse=_parse,
    show=show,
    calls={"page": beside("pieces_page.js")},
)
