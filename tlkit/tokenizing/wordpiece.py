"""WordPiece as BERT uses it: text -> numbers of pieces, and the three inputs that a BERT module takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec
from tlkit.core.files import sha256_bytes
from tlkit.tokenizing.characters import Replacements

PAD, UNK, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNK, CLS, SEP)
INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
CONTINUED = "##"  # marks a piece that goes on where another ended
MAX_WORD = 100  # characters; a longer word is unknown

_CACHED_WORDS = 200_000

Inputs = dict[str, np.ndarray]
T = TypeVar("T")


@dataclass(frozen=True)
class WordPiece:
    """A vocabulary of word pieces and how text is split into them.

    Safe to call from many threads. Text that spells a special piece, such as "[SEP]", is taken as the text it is.

    Attributes:
        vocabulary: The pieces; a piece's number is its place.
        lower_case: Whether text is lowered and loses its accents first, as for all `uncased` modules.

    Example:
        >>> wordpiece = WordPiece(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "!"))
        >>> wordpiece.pieces("Unaffable!")
        ['un', '##aff', '##able', '!']
        >>> wordpiece.inputs("Unaffable!", length=8)["input_word_ids"].tolist()
        [2, 4, 5, 6, 7, 3, 0, 0]

    Source: Wu et al. 2016, arXiv:1609.08144 (longest piece first); Devlin et al. 2018, arXiv:1810.04805.
    """

    vocabulary: tuple[str, ...]
    lower_case: bool = True
    _number: dict[str, int] = field(init=False, repr=False, compare=False)
    _replacements: Replacements = field(init=False, repr=False, compare=False)
    _words: dict[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    unit = "pieces"
    step = "word_pieces"  # of a pipeline
    modality = "text"

    def __post_init__(self) -> None:
        number = {piece: i for i, piece in enumerate(self.vocabulary)}
        for piece in SPECIAL:
            if piece not in number:
                raise InputError(
                    f"The vocabulary of {len(self.vocabulary)} pieces has no {piece!r}: give the vocab.txt of a BERT "
                    "module, one piece a line."
                )
        if len(number) < len(self.vocabulary):
            twice = next(piece for i, piece in enumerate(self.vocabulary) if number[piece] != i)
            raise InputError(f"The vocabulary holds the piece {twice!r} twice: give the file as the module brought it.")
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_replacements", Replacements(self.lower_case))
        object.__setattr__(self, "_words", {})

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], lower_case: bool = True) -> WordPiece:
        """The vocabulary of a vocab.txt: UTF-8, one piece a line.

        Raises:
            InputError: If the file cannot be read, or is no vocabulary of a BERT module.
        """
        return read_vocabulary(path, lambda pieces: cls(pieces, lower_case))

    @property
    def size(self) -> int:
        """Count of pieces."""
        return len(self.vocabulary)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the numbers."""
        return sha256_bytes(str(self.lower_case), *self.vocabulary)

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything that decides the numbers: arguments of the pipeline's step."""
        return {"version": 1, "lower_case": self.lower_case, "vocabulary": self.fingerprint[:16]}

    def spec(self, length: int) -> dict[str, ArraySpec]:
        """What `inputs` gives."""
        return {name: ArraySpec((length,), "int32") for name in INPUTS}

    @staticmethod
    def check_length(length: int) -> None:
        """Refuse a length without room for a piece."""
        check_length(length)

    def number(self, piece: str) -> int:
        """Place of a piece in the vocabulary.

        Raises:
            InputError: If it is not there.
        """
        if piece not in self._number:
            raise InputError(f"The vocabulary of {len(self.vocabulary)} pieces has no {piece!r}.")
        return self._number[piece]

    def words(self, text: str) -> list[str]:
        """Text -> normalised words and single punctuation marks.

        Example:
            >>> WordPiece(SPECIAL).words("Ça va, 中国?")
            ['ca', 'va', ',', '中', '国', '?']
        """
        return text.translate(self._replacements).split()

    def encode(self, text: str) -> list[int]:
        """Numbers of the pieces of a text, without special pieces and uncut."""
        return [number for word in self.words(text) for number in self._encode_word(word)]

    def encode_with_offsets(self, text: str) -> tuple[list[int], np.ndarray]:
        """`encode`, and where in the text each piece comes from: numbers, and int32 (n, 2) first and end character.

        Exact also where characters vanish, lose their accents or become several: a piece covers all characters from
        which its own were made, and those between them.

        Example:
            >>> numbers, offsets = WordPiece((*SPECIAL, "cafe", "##s", "!")).encode_with_offsets("Cafés !")
            >>> numbers, offsets.tolist()
            ([4, 5, 6], [[0, 4], [4, 5], [6, 7]])
        """
        numbers: list[int] = []
        offsets: list[tuple[int, int]] = []
        for word, sources in self._words_with_sources(text):
            word_pieces = self._encode_word(word)
            numbers += word_pieces
            offsets += self._piece_offsets(word_pieces, sources)
        return numbers, np.array(offsets, dtype=np.int32).reshape(-1, 2)

    def continues(self, number: int) -> bool:
        """Whether the piece of this number goes on with the word of the piece before it."""
        return self.vocabulary[number].startswith(CONTINUED)

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text, without special pieces and uncut."""
        return [self.vocabulary[number] for number in self.encode(text)]

    def count(self, text: str, pair: str | None = None) -> int:
        """How many pieces `inputs` would need to keep all of a text, [CLS] and [SEP] included."""
        second = 0 if pair is None else len(self.encode(pair)) + 1
        return len(self.encode(text)) + 2 + second

    def count_words(self, words: Sequence[str]) -> int:
        """How many pieces `encode_words` would need to keep all words, [CLS] and [SEP] included."""
        return sum(len(numbers) for numbers in self._by_word(words)) + 2

    def inputs(self, text: str, length: int, pair: str | None = None) -> Inputs:
        """What a BERT module takes: [CLS] text [SEP], or [CLS] text [SEP] pair [SEP], cut and padded to `length`.

        Args:
            text: Any text; an empty one gives [CLS] [SEP].
            length: Pieces in all; see `count` for what a text needs. Of a pair, the longer one is cut first, and the
                second where both are equal (so BERT's own code; `tokenizers` cuts the first).
            pair: A second text, whose pieces get the type 1.

        Returns:
            `input_word_ids`, `input_mask` (1 where there is a piece) and `input_type_ids`, int32 (length,) each.

        Raises:
            InputError: If `length` has no room for the special pieces.
        """
        return self.packed(self.encode(text), length, None if pair is None else self.encode(pair))

    def packed(self, first: Sequence[int], length: int, second: Sequence[int] | None = None) -> Inputs:
        """`inputs` of pieces that are numbered already."""
        special = 2 if second is None else 3
        check_length(length, special)
        keep, keep_second = _shares(len(first), 0 if second is None else len(second), length - special)
        start = [self.number(CLS), *first[:keep], self.number(SEP)]
        end = [] if second is None else [*second[:keep_second], self.number(SEP)]
        pad = length - len(start) - len(end)
        rows = (
            [*start, *end, *[self.number(PAD)] * pad],
            [1] * (length - pad) + [0] * pad,
            [0] * len(start) + [1] * len(end) + [0] * pad,
        )
        return {name: np.array(row, dtype=np.int32) for name, row in zip(INPUTS, rows, strict=True)}

    def encode_words(self, words: Sequence[str], length: int) -> tuple[Inputs, np.ndarray]:
        """What a BERT module takes of a text that is split into words, to label each of them.

        A word of nothing but white space or control characters is an unknown piece, so that each word has one.

        Args:
            words: The words as the data has them; punctuation inside one stays part of it.
            length: Pieces in all, special ones included; words beyond it are cut.

        Returns:
            The inputs, int32 (length,) each, and for each piece the index of its word: int32 (length,), -1 for
            special pieces and padding.

        Raises:
            InputError: If `length` has no room for the special pieces.
        """
        pieces = self._by_word(words)
        inputs = self.packed([number for numbers in pieces for number in numbers], length)
        owners = np.repeat(np.arange(len(words), dtype=np.int32), [len(numbers) for numbers in pieces])[: length - 2]
        index = np.full(length, -1, dtype=np.int32)
        index[1 : 1 + len(owners)] = owners
        return inputs, index

    def _words_with_sources(self, text: str) -> Iterator[tuple[str, list[int]]]:
        """The normalised words, and for each of their characters the place in the text that it was made of."""
        letters: list[str] = []
        sources: list[int] = []
        for place, character in enumerate(f"{text} "):
            for letter in self._replacements[ord(character)]:
                if letter != " ":
                    letters.append(letter)
                    sources.append(place)
                elif letters:
                    yield "".join(letters), sources
                    letters, sources = [], []

    def _piece_offsets(self, numbers: Sequence[int], sources: Sequence[int]) -> Iterator[tuple[int, int]]:
        if numbers == (self._number[UNK],):  # no piece fits: it stands for the whole word
            yield sources[0], sources[-1] + 1
            return
        start = 0
        for number in numbers:
            end = start + len(self.vocabulary[number]) - (len(CONTINUED) if start else 0)
            yield sources[start], sources[end - 1] + 1
            start = end

    def _by_word(self, words: Sequence[str]) -> list[list[int]]:
        return [self.encode(word) or [self.number(UNK)] for word in words]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        pieces = self._words.get(word)
        if pieces is None:
            if len(self._words) >= _CACHED_WORDS:
                self._words.clear()
            pieces = self._words[word] = self._longest_first(word)
        return pieces

    def _longest_first(self, word: str) -> tuple[int, ...]:
        unknown = (self._number[UNK],)
        numbers: list[int] = []
        start = 0
        while start < len(word) <= MAX_WORD:
            mark = CONTINUED if start else ""
            ends = (end for end in range(len(word), start, -1) if mark + word[start:end] in self._number)
            end = next(ends, None)
            if end is None:
                return unknown
            numbers.append(self._number[mark + word[start:end]])
            start = end
        return tuple(numbers) if numbers else unknown


def read_vocabulary(path: str | os.PathLike[str], make: Callable[[tuple[str, ...]], T]) -> T:
    """What is made of the lines of a vocabulary in UTF-8; the file is named in what goes wrong."""
    file = Path(path).expanduser()
    try:
        lines = file.read_bytes().decode("utf-8").split("\n")  # pieces may hold what splitlines takes for an end
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The vocabulary {str(file)!r} cannot be read as UTF-8: {error}.") from error
    pieces = tuple(line.removesuffix("\r") for line in lines)
    try:
        return make(pieces[:-1] if pieces[-1] == "" else pieces)
    except InputError as error:
        raise InputError(f"{str(file)!r} cannot be used: {error}") from error


def check_length(length: int, special: int = 2) -> None:
    """Refuse a length without room for the special pieces and one more."""
    if length <= special:
        raise InputError(f"`length` must be at least {special + 1} pieces. Received: length={length!r}.")


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many pieces of each text are kept: the longer one is cut, the second where both are equal."""
    kept_second = min(second, max(room // 2, room - first))
    return min(first, room - kept_second), kept_second
