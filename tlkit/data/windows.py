"""Questions with contexts -> a BERT module's inputs: as many windows over each context as it takes to show it all."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, RaggedColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.files import sha256_bytes
from tlkit.data.text_source import text_of
from tlkit.tokenizing.wordpiece import WordPiece, check_length

LONGEST = 384  # pieces; longer contexts take several windows, as in BERT's own code
_MOST_ASKED = 64  # pieces of a question that are kept, likewise
QUESTION_WINDOWS = "question_windows"  # the step of the pipeline
PASSAGE = "passage"  # the column of what a question is asked of: "text", "answers"; and of windows "offsets", "step"
_SPECIAL = 3  # [CLS] question [SEP] window [SEP]


@dataclass(frozen=True, eq=False)
class Pieces:
    """A text in pieces.

    Attributes:
        text: The text.
        numbers: int32 (n,) numbers of the pieces.
        offsets: int32 (n, 2) characters that they come from.
        begins: bool (n,) whether a piece begins a word.
    """

    text: str
    numbers: np.ndarray
    offsets: np.ndarray
    begins: np.ndarray

    def spelled(self, first: int, end: int) -> str:
        """The characters of pieces `first` to `end`, not included."""
        return self.text[self.offsets[first, 0] : self.offsets[end - 1, 1]] if end > first else ""


@dataclass(frozen=True, eq=False)
class Window:
    """Pieces `first` to `end` (not included) of the context of question `owner`, the `number`-th of its windows."""

    owner: int
    number: int
    asked: np.ndarray
    context: Pieces
    first: int
    end: int

    @property
    def step(self) -> int:
        """Where in the input the context begins."""
        return len(self.asked) + 2  # [CLS] question [SEP]

    @property
    def offsets(self) -> np.ndarray:
        """int32 (n, 2) characters of the context that its pieces come from."""
        return self.context.offsets[self.first : self.end]


@dataclass(frozen=True, eq=False)
class WindowsReader:
    """What reads windows: a BERT module's inputs, int32 (length,) each."""

    windows: tuple[Window, ...]
    tokenizer: WordPiece
    length: int

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        """[CLS] question [SEP] window [SEP] of example i."""
        window = self.windows[i]
        return self.tokenizer.packed(
            window.asked.tolist(), self.length, window.context.numbers[window.first : window.end].tolist()
        )


def windowed(splits: Splits, tokenizer: WordPiece, length: int | None = None, stride: int | None = None) -> Splits:
    """Splits of questions with contexts as windows; `data.text.tokenized` says how.

    Args:
        splits: Of `data.text.from_squad`.
        tokenizer: The module's own vocabulary.
        length: Pieces of a window, question and special ones included; None takes what 99 of 100 training questions
            need with their whole context, in eights, at most 384.
        stride: Pieces from the start of a window to the start of the next; None is a quarter of `length`.

    Raises:
        InputError: If `length` has no room, or `stride` is no count of pieces.
    """
    encode = functools.lru_cache(maxsize=None)(functools.partial(pieces_of, tokenizer))
    pairs = [_pairs(examples) for examples in (splits.train, splits.val, splits.test)]
    needed = [
        [len(encode(a).numbers) + len(encode(b).numbers) + _SPECIAL for a, b in part_pairs] for part_pairs in pairs
    ]
    chosen = _length_for(needed[0]) if length is None else length
    check_length(chosen, _SPECIAL + 1)
    step = max(1, chosen // 4) if stride is None else stride
    if step < 1:
        raise InputError(f"`stride` must be 1 piece or more. Received: stride={stride!r}.")
    parts = [
        _windows_of(examples, [(encode(a), encode(b)) for a, b in part_pairs], tokenizer, chosen, step)
        for examples, part_pairs in zip((splits.train, splits.val, splits.test), pairs, strict=True)
    ]
    long = sum(count > chosen for counts in needed for count in counts)
    notes = [_note(long, sum(map(len, needed)), chosen, sum(map(len, parts)))] if long else []
    return dataclasses.replace(splits, train=parts[0], val=parts[1], test=parts[2], notes=(*splits.notes, *notes))


def pieces_of(tokenizer: WordPiece, text: str) -> Pieces:
    """A text in pieces, with what is known of each."""
    numbers, offsets = tokenizer.encode_with_offsets(text)
    begins = np.array([not tokenizer.continues(number) for number in numbers], dtype=bool)
    return Pieces(text, np.array(numbers, dtype=np.int32), offsets, begins)


def bounds(begins: np.ndarray, room: int, stride: int) -> list[tuple[int, int]]:
    """First piece and end of each window; windows begin and end with whole words wherever a word fits.

    Args:
        begins: bool (n,) whether a piece begins a word.
        room: Pieces that a window holds, >= 1.
        stride: Pieces from one start to the next, >= 1; never so many that a piece is left out.

    Example:
        >>> bounds(np.array([1, 1, 0, 1, 1, 1], dtype=bool), room=4, stride=2)
        [(0, 4), (1, 5), (3, 6)]
    """
    spans, first = [], 0
    while True:
        end = _whole_words(begins, first, room)
        spans.append((first, end))
        if end >= len(begins):
            return spans
        first = _whole_words(begins, first, min(stride, end - first))


def _whole_words(begins: np.ndarray, first: int, most: int) -> int:
    """Where the last word ends of which all pieces lie among the `most` from `first`; their end where no word fits."""
    if first + most >= len(begins):
        return len(begins)
    inner = np.flatnonzero(begins[first + 1 : first + most + 1])
    return first + 1 + int(inner[-1]) if inner.size else first + most


def windows_over(question: Pieces, context: Pieces, length: int, stride: int, owner: int = 0) -> list[Window]:
    """The windows of one question, the `owner`-th, in order.

    Args:
        question: Its first 64 pieces are kept, and no more than half of the length.
        context: What is shown, all of it in the end.
        length: Pieces of a window, question and special ones included.
        stride: Pieces from the start of a window to the start of the next.
        owner: Which question it is.
    """
    width = _whole_words(question.begins, 0, min(_MOST_ASKED, (length - _SPECIAL) // 2))
    parts = bounds(context.begins, length - _SPECIAL - width, stride)
    return [Window(owner, i, question.numbers[:width], context, first, end) for i, (first, end) in enumerate(parts)]


def passages_of(windows: Sequence[Window], answers: Sequence[np.ndarray] = ()) -> Column:
    """The column PASSAGE of windows: the whole context, the question's answers, and where the window shows which.

    Args:
        windows: The windows.
        answers: str (k,) of each window's question, each of them right; () where none is known.
    """
    return DictColumn(
        {
            "text": TextColumn([window.context.text for window in windows]),
            "answers": RaggedColumn(answers or [np.zeros(0, "U1")] * len(windows)),
            "offsets": RaggedColumn([window.offsets for window in windows]),
            "step": ArrayColumn(np.array([window.step for window in windows], np.int32)),
        }
    )


def _windows_of(
    examples: Examples, pairs: Sequence[tuple[Pieces, Pieces]], tokenizer: WordPiece, length: int, stride: int
) -> Examples:
    windows = [
        window
        for owner, (question, context) in enumerate(pairs)
        for window in windows_over(question, context, length, stride, owner)
    ]
    owners, spans = [window.owner for window in windows], examples.target_array
    return dataclasses.replace(
        examples.subset(owners),
        ids=tuple(_named(examples.ids[window.owner], window.number) for window in windows),
        inputs=ReadColumn(
            WindowsReader(tuple(windows), tokenizer, length),
            tokenizer.spec(length),
            tuple(sha256_bytes(examples.digests[window.owner], str(window.number)) for window in windows),
        ),
        targets=ArrayColumn(
            np.array([_target(window, spans[window.owner]) for window in windows], np.int32).reshape(-1, 4)
        ),
        pipeline=examples.pipeline.then(tokenizer.step, **tokenizer.arguments, length=length).then(
            QUESTION_WINDOWS, stride=stride
        ),
        columns={
            "length": ArrayColumn(
                np.array(
                    [_SPECIAL + len(window.asked) + window.end - window.first for window in windows], dtype=np.int32
                )
            ),
            "text": TextColumn(
                [
                    f"{pairs[window.owner][0].spelled(0, len(window.asked))}\n"
                    f"{window.context.spelled(window.first, window.end)}"
                    for window in windows
                ]
            ),
            PASSAGE: passages_of(windows, [examples.columns[PASSAGE][window.owner]["answers"] for window in windows]),
        },
    )


def _target(window: Window, span: np.ndarray) -> tuple[int, int, int, int]:
    """First and last piece of the answer, 0 and 0 where the window does not hold all of it; the context's own ends."""
    start = window.step
    ends = start, start + window.end - window.first
    starts_at, ends_at = (window.context.offsets[:, side] for side in (0, 1))
    inside = np.flatnonzero((ends_at > span[0]) & (starts_at < span[1])) if span[0] >= 0 else np.array([], np.int64)
    if not inside.size or inside[0] < window.first or inside[-1] >= window.end:
        return 0, 0, *ends
    return start + int(inside[0]) - window.first, start + int(inside[-1]) - window.first, *ends


def _pairs(examples: Examples) -> list[tuple[str, str]]:
    inputs = (examples.inputs[i] for i in range(len(examples)))
    return [(text_of(x["question"]), text_of(x["context"])) for x in inputs]


def _named(name: str, number: int) -> str:
    return f"{name}@{number}" if number else name


def _length_for(needed: Sequence[int]) -> int:
    return min(LONGEST, 8 * int(np.ceil(np.percentile(needed, 99) / 8))) if needed else LONGEST


def _note(long: int, total: int, length: int, windows: int) -> str:
    subject = "1 question needs" if long == 1 else f"{long:,} questions need"
    return f"{subject}, of {total:,}, more than {length} pieces with the context: {windows:,} windows show them all."
