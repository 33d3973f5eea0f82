"""Texts longer than a module takes, in windows that together show all of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.excerpts import OF
from tlkit.core.files import sha256_bytes
from tlkit.data.text_source import text_of
from tlkit.tokenizing.wordpiece import WordPiece

WAYS = ("cut", "windows")
TEXT_WINDOWS = "text_windows"  # the step of the pipeline
_SPECIAL = 2  # [CLS] and [SEP]


@dataclass(frozen=True, eq=False)
class WindowReader:
    """What reads windows of texts: a BERT module's inputs, int32 (length,) each, of the pieces of each window."""

    windows: tuple[np.ndarray, ...]
    tokenizer: WordPiece
    length: int

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        """[CLS] window [SEP] of example i."""
        return self.tokenizer.packed(self.windows[i].tolist(), self.length)


def check_way(long: str) -> None:
    """Refuse what is no way to treat long texts."""
    if long not in WAYS:
        raise InputError(f"`long` must be one of {', '.join(WAYS)}. Received: long={long!r}.")


def bounds(count: int, length: int) -> list[tuple[int, int]]:
    """First piece and end of each window over a text of `count` pieces: as few as can be, as even as can be.

    Args:
        count: Pieces of the text, without special ones.
        length: Pieces of a window, [CLS] and [SEP] included.

    Example:
        >>> bounds(10, 6), bounds(0, 6)
        ([(0, 3), (3, 6), (6, 10)], [(0, 0)])
    """
    windows = max(1, -(-count // (length - _SPECIAL)))
    ends = [count * number // windows for number in range(windows + 1)]
    return list(itertools.pairwise(ends))


def in_windows(examples: Examples, tokenizer: WordPiece, length: int) -> Examples:
    """The texts as windows, each with its text's target; windows weigh so that each text counts once.

    Args:
        examples: Texts.
        tokenizer: The module's own vocabulary.
        length: Pieces of a window, [CLS] and [SEP] included.
    """
    texts = [text_of(examples.inputs[i]) for i in range(len(examples))]
    pieces = [np.asarray(tokenizer.encode(text), np.int32) for text in texts]
    places = [(owner, at) for owner, text_pieces in enumerate(pieces) for at in bounds(len(text_pieces), length)]
    owners = [owner for owner, _ in places]
    shares = [(end - start) / max(1, len(pieces[owner])) or 1.0 for owner, (start, end) in places]
    even = np.asarray(shares) * len(places) / max(1, len(texts))
    weights = even if examples.weights is None else even * examples.weights[owners]
    return dataclasses.replace(
        examples.subset(owners),
        ids=_named(examples.ids, owners),
        inputs=ReadColumn(
            WindowReader(tuple(pieces[o][start:end] for o, (start, end) in places), tokenizer, length),
            tokenizer.spec(length),
            tuple(sha256_bytes(examples.digests[o], f"{start} {end}") for o, (start, end) in places),
        ),
        weights=weights.astype(np.float32),
        pipeline=examples.pipeline.then(tokenizer.step, **tokenizer.arguments, length=length).then(TEXT_WINDOWS),
        columns={
            "length": ArrayColumn(np.array([_SPECIAL + end - start for _, (start, end) in places], dtype=np.int32)),
            "text": TextColumn([texts[owner] for owner in owners]),
            OF: DictColumn(
                {
                    "id": TextColumn([examples.ids[owner] for owner in owners]),
                    "digest": TextColumn([examples.digests[owner] for owner in owners]),
                    "share": ArrayColumn(np.array(shares)),
                }
            ),
        },
    )


def note(long: int, total: int, length: int, windows: int) -> str:
    """How many texts took several windows."""
    subject = "text is" if long == 1 else "texts are"
    return f"{long:,} of {total:,} {subject} longer than {length} pieces: {windows:,} windows show them all."


def _named(ids: Sequence[str], owners: Sequence[int]) -> tuple[str, ...]:
    """The text's id for its first window, "id@1" for its second, and so on."""
    names, before, number = [], -1, 0
    for owner in owners:
        number = number + 1 if owner == before else 0
        names.append(f"{ids[owner]}@{number}" if number else ids[owner])
        before = owner
    return tuple(names)
