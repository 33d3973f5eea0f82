"""WordPiece in Python, against the `tokenizers` package and by hand."""

from __future__ import annotations

import time
import unicodedata
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabulary import STRINGS, disputed, minilm, random_strings, reference, small, undisputed

from tlkit.core.errors import InputError
from tlkit.tokenizing import characters
from tlkit.tokenizing.wordpiece import SPECIAL, WordPiece

TINY = WordPiece((*SPECIAL, "un", "##aff", "##able", "!", "a", "b", "##b"))


# --- against the reference


@pytest.mark.parametrize("lower_case", [True, False])
def test_it_equals_the_reference_on_chosen_strings(lower_case):
    wordpiece = minilm(lower_case)
    expected = reference(wordpiece)
    for text in STRINGS:
        assert wordpiece.encode(text) == expected.encode(text).ids, repr(text)
        assert wordpiece.pieces(text) == expected.encode(text).tokens


@pytest.mark.parametrize("lower_case", [True, False])
def test_it_equals_the_reference_on_random_strings(lower_case):
    wordpiece = minilm(lower_case)
    expected = reference(wordpiece)
    for text in random_strings(wordpiece, 3000, seed=0):
        text = undisputed(text, lower_case)
        assert wordpiece.encode(text) == expected.encode(text).ids, repr(text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_it_equals_the_reference_on_any_text(text):
    text = undisputed(text)
    assert minilm().encode(text) == reference(minilm()).encode(text).ids


def test_the_disputed_characters_are_few_and_in_no_piece():
    few = {code for code in range(0x32000) if not 0xD800 <= code < 0xF900 and disputed(code)}
    assert len(few) < 1000
    assert not few & {ord(character) for piece in minilm().vocabulary for character in piece}
    assert not [code for code in few if code < 0x700 and code != 0x61D]  # a mark of Unicode 14


def test_inputs_equal_the_references_own_template():
    from tokenizers import BertWordPieceTokenizer

    expected = BertWordPieceTokenizer({piece: i for i, piece in enumerate(minilm().vocabulary)}, lowercase=True)
    expected.enable_truncation(32)
    expected.enable_padding(length=32)
    for text, other in [("a man eats", None), ("", None), ("a man eats", "some bread"), ("word " * 30, "few " * 4)]:
        got, want = minilm().inputs(text, 32, other), expected.encode(text, other)
        assert got["input_word_ids"].tolist() == want.ids
        assert got["input_mask"].tolist() == want.attention_mask
        assert got["input_type_ids"].tolist() == want.type_ids


# --- by hand


def test_inputs_are_cut_and_padded():
    got = TINY.inputs("Unaffable! unaffable", 8)
    assert got["input_word_ids"].tolist() == [2, 4, 5, 6, 7, 4, 5, 3]
    assert {array.dtype for array in got.values()} == {np.dtype(np.int32)}
    assert TINY.count("Unaffable! unaffable") == 9
    assert TINY.inputs("", 3)["input_word_ids"].tolist() == [2, 3, 0]
    assert TINY.inputs("", 3)["input_mask"].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(9, 9, (4, 3)), (2, 9, (2, 5)), (9, 2, (5, 2)), (3, 9, (3, 4)), (4, 9, (4, 3)), (0, 9, (0, 7))],
)
def test_of_a_pair_the_longer_is_cut_first(first, second, kept):
    got = TINY.inputs("a " * first, 10, "b " * second)
    assert (got["input_word_ids"] == 8).sum() == kept[0]
    assert (got["input_word_ids"] == 9).sum() == kept[1]
    assert got["input_type_ids"].tolist() == [0] * (kept[0] + 2) + [1] * (kept[1] + 1)
    assert TINY.count("a " * first, "b " * second) == first + second + 3


def test_words_keep_their_number():
    inputs, words = TINY.encode_words(["Unaffable", "\u200b", "", "a!", "zzz"], 12)
    assert inputs["input_word_ids"].tolist() == [2, 4, 5, 6, 1, 1, 8, 7, 1, 3, 0, 0]
    assert words.tolist() == [-1, 0, 0, 0, 1, 2, 3, 3, 4, -1, -1, -1]
    inputs, words = TINY.encode_words(["a", "unaffable", "b"], 5)
    assert inputs["input_word_ids"].tolist() == [2, 8, 4, 5, 3]
    assert words.tolist() == [-1, 0, 1, 1, -1]
    assert TINY.encode_words([], 4)[1].tolist() == [-1] * 4


def test_half_surrogates_vanish():
    assert TINY.encode("a\ud800 b") == [8, 9]


def test_ten_thousand_short_texts_take_about_a_second():
    wordpiece = WordPiece(minilm().vocabulary)
    words = [piece for piece in wordpiece.vocabulary if piece.isalpha()]
    texts = [" ".join(words[(i * 17 + k * 31) % len(words)] for k in range(20)) for i in range(10_000)]
    started = time.process_time()
    for text in texts:
        wordpiece.encode(text)
    assert time.process_time() - started < 3


def test_threads_agree():
    texts = random_strings(minilm(), 300, seed=3)
    alone = [minilm().encode(text) for text in texts]
    fresh = WordPiece(minilm().vocabulary)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fresh.encode, texts * 4)) == alone * 4


@pytest.mark.parametrize("lower_case", [True, False])
def test_runs_say_what_replacement_says(lower_case):
    runs = characters.runs(lower_case)
    for code in (*range(0x3400), *range(0xA000, 0x110000, 61)):
        becomes = characters.replacement(code, lower_case)
        kind = runs.kinds[bisect_right(runs.starts, code) - 1]
        if kind == characters.CHANGED:
            assert runs.changes[code] == becomes
        else:
            assert becomes == [chr(code), "", " ", f" {chr(code)} "][kind]
    assert len(runs.starts) < 4000


def test_files_are_read_by_line(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\n[UNK]\n[CLS]\n[SEP]\na\u2028b\nc".encode())
    wordpiece = WordPiece.from_file(path, lower_case=False)
    assert wordpiece.vocabulary == (*SPECIAL, "a\u2028b", "c")
    assert wordpiece.fingerprint != WordPiece(wordpiece.vocabulary).fingerprint
    path.write_bytes(path.read_bytes() + b"\n")
    assert WordPiece.from_file(path, lower_case=False) == wordpiece


def test_what_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"vocab.txt' cannot be read as UTF-8: .*No such file"):
        WordPiece.from_file(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"vocab.txt' cannot be read as UTF-8: .*codec"):
        WordPiece.from_file(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nhello\n")
    with pytest.raises(InputError, match=r"vocab.txt' cannot be used: The vocabulary of 3 pieces has no '\[CLS\]'"):
        WordPiece.from_file(tmp_path / "vocab.txt")
    with pytest.raises(InputError, match=r"The vocabulary holds the piece 'a' twice"):
        WordPiece((*SPECIAL, "a", "b", "a"))
    with pytest.raises(InputError, match=r"The vocabulary of 11 pieces has no '\[MASK\]'"):
        TINY.number("[MASK]")


def test_a_length_without_room_is_refused():
    with pytest.raises(InputError, match=r"`length` must be at least 3 pieces. Received: length=2"):
        TINY.inputs("a", 2)
    with pytest.raises(InputError, match=r"`length` must be at least 4 pieces. Received: length=3"):
        TINY.inputs("a", 3, "b")
    with pytest.raises(InputError, match=r"`length` must be at least 3 pieces. Received: length=0"):
        TINY.encode_words(["a"], 0)


def test_the_small_vocabulary_is_sound():
    assert WordPiece(small()).pieces("Hello hallos") == ["hello", "hal", "##lo", "##s"]
    assert unicodedata.unidata_version >= "14"
