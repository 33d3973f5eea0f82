"""WordPiece inside a graph equals WordPiece in Python, before and after a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from vocabulary import STRINGS, minilm, random_strings, small

from tlkit.core.errors import InputError
from tlkit.tokenizing.wordpiece import WordPiece
from tlkit.tokenizing.wordpiece_graph import GraphInputs

LENGTH = 32


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A SavedModel from strings to the inputs of MiniLM."""
    target = tmp_path_factory.mktemp("tokenizer")
    module = tf.Module()
    module.tokenizer = GraphInputs(minilm(), LENGTH)
    module.serve = tf.function(module.tokenizer, input_signature=[tf.TensorSpec((None,), tf.string)])
    tf.saved_model.save(module, target, signatures=module.serve)
    return target


def check(call: Any, wordpiece: WordPiece, texts: list[str], length: int = LENGTH) -> None:
    inputs = {name: array.numpy() for name, array in call(tf.constant(texts, tf.string)).items()}
    for name, array in inputs.items():
        assert array.dtype == np.int32
        expected = np.stack([wordpiece.inputs(text, length)[name] for text in texts])
        wrong = np.flatnonzero((array != expected).any(axis=1))
        assert not len(wrong), f"{name} of {texts[wrong[0]]!r}: {array[wrong[0]]} is not {expected[wrong[0]]}"


@pytest.mark.long
@pytest.mark.parametrize("lower_case", [True, False])
def test_the_graph_equals_python(lower_case):
    wordpiece = minilm(lower_case)
    call = tf.function(GraphInputs(wordpiece, LENGTH), input_signature=[tf.TensorSpec((None,), tf.string)])
    check(call, wordpiece, list(STRINGS))
    check(call, wordpiece, random_strings(wordpiece, 1500, seed=5))  # all of Unicode: both know what Python knows


@pytest.mark.long
@pytest.mark.parametrize("length", [LENGTH, 4, 5])
def test_pairs_equal_python(length):
    wordpiece = WordPiece(small())
    call = tf.function(GraphInputs(wordpiece, length), input_signature=[tf.TensorSpec((None,), tf.string)] * 2)
    first = [*STRINGS, *random_strings(wordpiece, 100, seed=7), "", "", "hello"]
    second = [*random_strings(wordpiece, 100, seed=8), "", "hello", "", *STRINGS]
    inputs = call(tf.constant(first), tf.constant(second))
    expected = [wordpiece.inputs(text, length, other) for text, other in zip(first, second, strict=True)]
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, np.stack([row[name] for row in expected]))
    assert {tuple(array.shape) for array in call(tf.constant([], tf.string), tf.constant([], tf.string)).values()} == {
        (0, length)
    }


def test_a_saved_model_equals_python(saved):
    reloaded = tf.saved_model.load(saved)
    texts = [*STRINGS, *random_strings(minilm(), 3000, seed=6)]
    check(reloaded.signatures["serving_default"], minilm(), texts)
    for text in STRINGS:  # a batch of one has other shapes inside
        check(reloaded.serve, minilm(), [text])


def test_batches_of_none_and_of_nothing(saved):
    serve = tf.saved_model.load(saved).serve
    assert {tuple(array.shape) for array in serve(tf.constant([], tf.string)).values()} == {(0, LENGTH)}
    check(serve, minilm(), ["", "", " \u200b"])


def test_bytes_that_are_no_utf8_vanish(saved):
    serve = tf.saved_model.load(saved).serve
    numbers = serve(tf.constant([b"\xffhello \xe9\x80world\xc3"]))["input_word_ids"].numpy()
    np.testing.assert_array_equal(numbers[0], minilm().inputs("hello world", LENGTH)["input_word_ids"])


def test_our_own_scan_has_nothing_against_it(saved):
    from tlkit.hub.scanning import scan

    assert scan(saved).findings == ()


@pytest.mark.parametrize("length", [3, 4, 7])
def test_short_lengths_cut(length):
    wordpiece = WordPiece(small())
    check(GraphInputs(wordpiece, length), wordpiece, ["hello unaffable world", "zzzzzz", ""], length)


def test_a_length_without_room_is_refused():
    with pytest.raises(InputError, match=r"`length` must be at least 3 pieces. Received: length=2"):
        GraphInputs(WordPiece(small()), 2)
    with pytest.raises(InputError, match=r"`length` must be at least 4 pieces. Received: length=3"):
        GraphInputs(WordPiece(small()), 3)(tf.constant(["a"]), tf.constant(["b"]))
