"""Rows of tokens for a causal module: a prompt, its answer, and how many tokens the answer has.

A module that looks back alone does not see what lies behind a text. So the first number there is no token but says how
many of the last tokens are the answer; padding follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NONE = -1  # fills rows of tokens that no module sees


def direction(pad: int, size: int) -> int:
    """Whether counts are added to the number of the padding token (1) or taken away (-1), so that they are numbers too.

    Args:
        pad: Number of the padding token.
        size: Count of tokens of the vocabulary.
    """
    return 1 if pad < size // 2 else -1


def packed(prompt: Sequence[int], answer: Sequence[int], length: int, pad: int, sign: int) -> np.ndarray:
    """int32 (length,): the prompt's last tokens, the answer, the count of what is predicted, padding.

    Of a text without a prompt all tokens but the first are predicted. Of what is too long the prompt's beginning is cut
    first, then the answer's end.

    Args:
        prompt: Tokens that are given; [] where there are none.
        answer: Tokens that are predicted.
        length: Of the row, at least 3.
        pad: Number of the padding token.
        sign: Of `direction`.

    Example:
        >>> packed([5, 6], [7, 8], 6, pad=0, sign=1)
        array([5, 6, 7, 8, 2, 0], dtype=int32)
    """
    kept_answer = list(answer)[: length - 1 - bool(prompt)]
    before = list(prompt)[max(0, len(prompt) + len(kept_answer) - (length - 1)) :]
    tokens = [*before, *kept_answer]
    count = len(kept_answer) if before else len(kept_answer) - 1
    row = np.full(length, pad, np.int32)
    row[: len(tokens)] = tokens
    row[len(tokens)] = pad + sign * count
    return row


def unpacked(row: np.ndarray, pad: int, sign: int) -> tuple[list[int], list[int]]:
    """The prompt and the answer of a row.

    Example:
        >>> unpacked(np.array([5, 6, 7, 8, 2, 0]), pad=0, sign=1)
        ([5, 6], [7, 8])
    """
    end = int(np.flatnonzero(row != pad)[-1])
    start = end - (int(row[end]) - pad) * sign
    return row[:start].tolist(), row[start:end].tolist()


def filled(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """int32 (n, width): rows with NONE behind them; what is too long loses its beginning.

    Example:
        >>> filled([[1, 2, 3], [4]], 2)
        array([[ 2,  3],
               [ 4, -1]], dtype=int32)
    """
    array = np.full((len(rows), width), NONE, np.int32)
    for place, row in zip(array, rows, strict=True):
        last = list(row)[-width:]
        place[: len(last)] = last
    return array


def tokens_of(row: np.ndarray) -> list[int]:
    """The tokens of a row that `filled` made, or of numbers that a file gave."""
    return [int(number) for number in row if number >= 0]
