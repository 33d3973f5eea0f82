"""Words of a text that is numbers already, and the text without one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.run import Run
from tlkit.layer.lookup import backbone_of
from tlkit.tokenizing.wordpiece import INPUTS, SPECIAL, UNK, WordPiece
from tlkit.tokenizing.words import Words

PIECES = INPUTS[0]  # the input that is the numbers of pieces


@dataclass(frozen=True)
class Word:
    """A word and the steps that its pieces have."""

    text: str
    steps: tuple[int, ...]

    def hidden(self, inputs: Any) -> Any:
        """The inputs without the word: the mask leaves its pieces out, or it is one that the module does not know."""
        if isinstance(inputs, Mapping):
            mask = inputs[INPUTS[1]].copy()
            mask[:, list(self.steps)] = 0
            return {**inputs, INPUTS[1]: mask}
        copy = inputs.copy()
        copy[:, list(self.steps)] = 0
        return copy


def words_of(run: Run, inputs: Any, text: str = "") -> list[Word]:
    """The words of a text, special pieces and padding left out; those that the module does not know are among them.

    Args:
        run: Its module brings the vocabulary.
        inputs: Of one text, batch of 1.
        text: The text itself, "" where it is not at hand.

    Raises:
        InputError: If the module brings no vocabulary.
    """
    layer = backbone_of(run.model)
    tokenizer = None if layer is None else layer.tokenizer
    if isinstance(tokenizer, WordPiece) and isinstance(inputs, Mapping):
        return _of_pieces(tokenizer, inputs[PIECES][0], inputs[INPUTS[1]][0])
    if isinstance(tokenizer, Words) and isinstance(inputs, np.ndarray):
        return _of_numbers(tokenizer, inputs[0], text)
    raise InputError("The module brings no vocabulary, so that its inputs cannot be told apart as words.")


def _of_numbers(tokenizer: Words, numbers: np.ndarray, text: str) -> list[Word]:
    """Words by their numbers; unknown ones, whose number is that of padding, are read in the text where it is known."""
    spelled = tokenizer.split(text)[: len(numbers) - 1]
    if spelled and np.array_equal(tokenizer.inputs(text, len(numbers)), numbers):
        return [Word(word, (step,)) for step, word in enumerate(spelled, start=1)]
    word_of_row = {row: word for word, row in reversed(list(tokenizer.rows.items()))}
    known = np.flatnonzero(numbers)
    steps = range(known[0], known[-1] + 1) if len(known) else ()
    return [Word(word_of_row.get(int(numbers[step]), UNK), (step,)) for step in steps]


def _of_pieces(tokenizer: WordPiece, ids: np.ndarray, mask: np.ndarray) -> list[Word]:
    words: list[Word] = []
    for step in np.flatnonzero(mask):
        piece = tokenizer.vocabulary[int(ids[step])]
        if piece in SPECIAL and piece != UNK:
            continue
        if piece.startswith("##") and words and words[-1].steps[-1] == step - 1:
            words[-1] = Word(words[-1].text + piece[2:], (*words[-1].steps, int(step)))
        else:
            words.append(Word(piece, (int(step),)))
    return words


def grouped(heat: np.ndarray, words: Sequence[Word]) -> np.ndarray:
    """Sum over the steps of each word; float32 (words,)."""
    return np.asarray([heat[list(word.steps)].sum() for word in words], np.float32)
