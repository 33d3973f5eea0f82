"""Words of a text that is numbers already, and the text without one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.run import Run
from tlkit.layer.lookup import backbone_of
from tlkit.tokenizing.wordpiece import INPUTS, SPECIAL, WordPiece
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


def words_of(run: Run, inputs: Any) -> list[Word]:
    """The words of a text, special pieces and padding left out.

    Args:
        run: Its module brings the vocabulary.
        inputs: Of one text, batch of 1.

    Raises:
        InputError: If the module brings no vocabulary.
    """
    layer = backbone_of(run.model)
    tokenizer = None if layer is None else layer.tokenizer
    if isinstance(tokenizer, WordPiece) and isinstance(inputs, Mapping):
        return _of_pieces(tokenizer, inputs[PIECES][0], inputs[INPUTS[1]][0])
    if isinstance(tokenizer, Words) and isinstance(inputs, np.ndarray):
        word_of_row = {row: word for word, row in reversed(list(tokenizer.rows.items()))}
        return [Word(word_of_row[int(row)], (step,)) for step, row in enumerate(inputs[0]) if int(row) in word_of_row]
    raise InputError("The module brings no vocabulary, so that its inputs cannot be told apart as words.")


def _of_pieces(tokenizer: WordPiece, ids: np.ndarray, mask: np.ndarray) -> list[Word]:
    words: list[Word] = []
    for step in np.flatnonzero(mask):
        piece = tokenizer.vocabulary[int(ids[step])]
        if piece in SPECIAL and piece != SPECIAL[1]:
            continue
        if piece.startswith("##") and words and words[-1].steps[-1] == step - 1:
            words[-1] = Word(words[-1].text + piece[2:], (*words[-1].steps, int(step)))
        else:
            words.append(Word(piece, (int(step),)))
    return words


def grouped(heat: np.ndarray, words: Sequence[Word]) -> np.ndarray:
    """Sum over the steps of each word; float32 (words,)."""
    return np.asarray([heat[list(word.steps)].sum() for word in words], np.float32)
