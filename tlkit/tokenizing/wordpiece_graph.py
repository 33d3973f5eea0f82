"""WordPiece inside a graph, in TensorFlow's core operations only: a SavedModel that takes strings loads everywhere.

tensorflow_text would be shorter, but its operations must then be installed, in the same version, wherever the model is
served, and TensorFlow's core has no Unicode normalisation. So the graph carries what Python's unicodedata knows: runs
of characters that are treated alike, and a table of those that become others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tlkit.tokenizing.characters import APART, CHANGED, REMOVED, SPACE, runs
from tlkit.tokenizing.wordpiece import CLS, CONTINUED, INPUTS, MAX_WORD, PAD, SEP, UNK, WordPiece, check_length

_NO_PIECE = -1
OWNERS, SHARES, COUNT = "owners", "shares", "count"  # what WindowInputs gives besides a module's inputs


class GraphInputs(tf.Module):
    """Strings (batch,), one or two -> the three inputs of a BERT module, the same as `WordPiece.inputs` gives.

    It works eagerly, in a tf.function and in the signature of a SavedModel. Make it an attribute of the object that is
    saved, so that its tables are saved too.

    Args:
        wordpiece: The vocabulary.
        length: Pieces in all, [CLS] and [SEP] included; longer texts are cut.

    Attributes:
        vocabulary: Table of piece -> number, -1 where there is none.
        changes: Table of code point -> the characters that it becomes.

    Raises:
        InputError: If `length` has no room for the special pieces.
    """

    def __init__(self, wordpiece: WordPiece, length: int) -> None:
        super().__init__(name="wordpiece")
        check_length(length)
        self.length = length
        self.vocabulary = table(
            {piece: number for number, piece in enumerate(wordpiece.vocabulary)}, tf.string, tf.int32, _NO_PIECE
        )
        unicode = runs(wordpiece.lower_case)
        self.changes = table(unicode.changes or {0: ""}, tf.int32, tf.string, "")  # a table must not be empty
        self._starts, self._kinds = unicode.starts, unicode.kinds
        self._longest = max(map(len, wordpiece.vocabulary))
        self._number = {piece: wordpiece.number(piece) for piece in (PAD, UNK, CLS, SEP)}

    def __call__(self, text: Any, pair: Any = None) -> dict[str, Any]:
        """tf.string (batch,), UTF-8 -> `input_word_ids`, `input_mask`, `input_type_ids`, int32 (batch, length).

        With a second text of each, `pair`, they are cut as `WordPiece.inputs` cuts them.
        """
        texts = [text] if pair is None else [text, pair]
        check_length(self.length, 1 + len(texts))
        return self._packed(self._cut([self._encoded(side) for side in texts]))

    def _packed(self, pieces: list[Any]) -> dict[str, Any]:
        """Ragged pieces of each text, or of both -> the inputs, with the special pieces."""
        start, end = (tf.fill([pieces[0].nrows(), 1], self._number[piece]) for piece in (CLS, SEP))
        rows = [tf.concat([text_pieces, end], axis=1) for text_pieces in pieces]
        rows[0] = tf.concat([start, rows[0]], axis=1)
        row = tf.concat(rows, axis=1)
        types = tf.concat([tf.ones_like(text_pieces) * kind for kind, text_pieces in enumerate(rows)], axis=1)
        shape = (None, self.length)
        return dict(
            zip(
                INPUTS,
                (
                    row.to_tensor(self._number[PAD], shape=shape),
                    tf.ones_like(row).to_tensor(0, shape=shape),
                    types.to_tensor(0, shape=shape),
                ),
                strict=True,
            )
        )

    def _encoded(self, text: Any) -> Any:
        """tf.string (batch,) -> ragged int32 (batch, pieces), uncut."""
        words = tf.strings.split(self._normalised(text))
        return words.with_values(self._pieces(words.values)).merge_dims(1, 2)

    def _cut(self, texts: list[Any]) -> list[Any]:
        """As many pieces of each text as there is room for: of two, the longer one is cut first."""
        room = self.length - 1 - len(texts)
        if len(texts) == 1:
            return [texts[0][:, :room]]
        first, second = (text_pieces.row_lengths() for text_pieces in texts)
        second_size = tf.minimum(second, tf.maximum(tf.cast(room // 2, first.dtype), room - first))
        return [_first_of(texts[0], tf.minimum(first, room - second_size)), _first_of(texts[1], second_size)]

    def _normalised(self, text: Any) -> Any:
        """tf.string (batch,), words apart; bytes that are no UTF-8 vanish."""
        codes = tf.strings.unicode_decode(text, "UTF-8")
        flat = codes.values
        runs_of = tf.searchsorted(tf.constant(self._starts, tf.int32), flat, side="right") - 1
        kinds = tf.gather(tf.constant(self._kinds, tf.int32), runs_of)
        characters = tf.strings.unicode_encode(flat[:, tf.newaxis], "UTF-8")
        spaces = tf.fill(tf.shape(flat), " ")
        becomes = {
            REMOVED: tf.fill(tf.shape(flat), ""),
            SPACE: spaces,
            APART: tf.strings.join([spaces, characters, spaces]),
            CHANGED: self.changes.lookup(flat),
        }
        for kind, replacement in becomes.items():
            characters = tf.where(kinds == kind, replacement, characters)
        return tf.strings.unsorted_segment_join(characters, codes.value_rowids(), codes.nrows())

    def _pieces(self, words: Any) -> Any:
        """tf.string (n,) -> ragged int32 (n, pieces): a word in the vocabulary at once, others piece by piece."""
        whole = tf.where(tf.strings.length(words, "UTF8_CHAR") <= MAX_WORD, self.vocabulary.lookup(words), _NO_PIECE)
        others = tf.where(whole == _NO_PIECE)
        columns = self._longest_first(tf.gather_nd(words, others))
        width = tf.maximum(1, tf.shape(columns)[1])
        first = tf.concat([whole[:, tf.newaxis], tf.fill([tf.size(words), width - 1], _NO_PIECE)], axis=1)
        padded = tf.pad(columns, [[0, 0], [0, width - tf.shape(columns)[1]]], constant_values=_NO_PIECE)
        table = tf.tensor_scatter_nd_update(first, others, padded)
        return tf.ragged.boolean_mask(table, table != _NO_PIECE)

    def _longest_first(self, words: Any) -> Any:
        """int32 (n, steps): the longest piece that fits, again and again; one [UNK] where at some place none does."""
        sizes = tf.strings.length(words, "UTF8_CHAR")
        places = tf.where(sizes <= MAX_WORD, 0, _NO_PIECE)  # where the next piece starts; _NO_PIECE: none fits
        columns = tf.zeros([tf.size(words), 0], tf.int32)

        def unfinished(places: Any, _: Any) -> Any:
            return tf.reduce_any((places >= 0) & (places < sizes))

        def step(places: Any, columns: Any) -> Any:
            active = tf.where((places >= 0) & (places < sizes))
            start = tf.gather_nd(places, active)
            number, length = self._longest_match(tf.gather_nd(words, active), start)
            column = tf.tensor_scatter_nd_update(tf.fill(tf.shape(places), _NO_PIECE), active, number)
            after = tf.where(number == _NO_PIECE, _NO_PIECE, start + length)
            return tf.tensor_scatter_nd_update(places, active, after), tf.concat([columns, column[:, None]], axis=1)

        grows = [places.shape, tf.TensorShape([None, None])]
        places, columns = tf.while_loop(unfinished, step, [places, columns], shape_invariants=grows)
        columns = tf.pad(columns, [[0, 0], [0, 1]], constant_values=_NO_PIECE)  # room for [UNK] where nothing ran
        unknown = tf.concat([tf.fill([1], self._number[UNK]), tf.fill([tf.shape(columns)[1] - 1], _NO_PIECE)], axis=0)
        return tf.where((places == _NO_PIECE)[:, tf.newaxis], unknown[tf.newaxis, :], columns)

    def _longest_match(self, words: Any, start: Any) -> tuple[Any, Any]:
        """Number (-1: none) and characters of the longest piece at `start` of each word: int32 (n,) both."""
        sizes = tf.range(1, self._longest + 1)
        shape = [tf.size(words), self._longest]
        parts = tf.strings.substr(
            tf.broadcast_to(words[:, tf.newaxis], shape),
            tf.broadcast_to(start[:, tf.newaxis], shape),
            tf.broadcast_to(sizes[tf.newaxis, :], shape),
            unit="UTF8_CHAR",
        )
        marks = tf.where(start > 0, CONTINUED, "")[:, tf.newaxis]
        numbers = self.vocabulary.lookup(tf.strings.join([tf.broadcast_to(marks, shape), parts]))
        left = tf.strings.length(words, "UTF8_CHAR") - start
        fits = tf.where((numbers != _NO_PIECE) & (sizes <= left[:, tf.newaxis]), sizes, 0)  # substr stops at the end
        length = tf.reduce_max(fits, axis=1)
        best = tf.gather(numbers, tf.maximum(length - 1, 0), batch_dims=1)
        return tf.where(length > 0, best, _NO_PIECE), length


class WindowInputs(GraphInputs):
    """Strings -> the three inputs of a BERT module for each window of each, and which window is of which string.

    The windows are those of `data.long_texts.bounds`. Besides the inputs it gives `OWNERS`, int32 (windows,) positions
    of the strings, `SHARES`, float32 (windows,) how much of its string each shows, and `COUNT`, how many strings;
    `means` brings the outputs together.
    """

    def __call__(self, text: Any, pair: Any = None) -> dict[str, Any]:
        """tf.string (batch,), UTF-8 -> inputs int32 (windows, length), and the rest."""
        pieces, room = self._encoded(text), self.length - 2
        sizes = tf.cast(pieces.row_lengths(), tf.int64)
        counts = tf.maximum(tf.constant(1, tf.int64), -(-sizes // room))
        owners = tf.repeat(tf.range(tf.size(sizes)), counts)
        number = tf.ragged.range(counts).flat_values
        of, into = tf.gather(sizes, owners), tf.gather(counts, owners)
        lengths = of * (number + 1) // into - of * number // into
        windows = tf.RaggedTensor.from_row_lengths(pieces.flat_values, lengths)
        shares = tf.cast(lengths, tf.float32) / tf.cast(tf.maximum(of, 1), tf.float32)
        return {**self._packed([windows]), OWNERS: owners, SHARES: tf.where(of > 0, shares, 1.0), COUNT: tf.size(sizes)}


def means(prepared: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs of windows by name -> those of their texts: means, weighted by the windows' shares."""

    def mean(rows: Any) -> Any:
        weights = tf.reshape(prepared[SHARES], tf.concat([[-1], tf.ones([tf.rank(rows) - 1], tf.int32)], axis=0))
        sums = tf.math.unsorted_segment_sum(rows * weights, prepared[OWNERS], prepared[COUNT])
        return tf.ensure_shape(sums, [None, *rows.shape[1:]])

    return {name: mean(rows) for name, rows in outputs.items()}


def _first_of(rows: Any, counts: Any) -> Any:
    """The first `counts` (batch,) items of each row of a ragged tensor."""
    return tf.ragged.boolean_mask(rows, tf.ragged.range(rows.row_lengths()) < counts[:, tf.newaxis])


def table(entries: Mapping[Any, Any], keys: Any, values: Any, default: Any) -> Any:
    """A look-up table of these entries, saved with what has it as an attribute."""
    pairs = tf.constant(list(entries), keys), tf.constant(list(entries.values()), values)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(*pairs), default)
