"""What an encoder-decoder is trained on: its input with the right tokens before each, and those that follow."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from tlkit.core.columns import DictColumn, RaggedColumn, ReadColumn, TextColumn
from tlkit.core.examples import Column, Examples
from tlkit.tokenizing.bytepairs import BytePairs

IDS = "ids"  # the input of tokens before
TOKENIZER = "tokenizer"  # the column of the tokenizer.json by which tokens become texts
PROMPTED = "prompted"  # the step of the pipeline
NO_TARGET = -1
ROOM = 8  # lengths of token rows are multiples of it


def room_for(tokens: int) -> int:
    """Length of a row that holds so many tokens."""
    return -(-tokens // ROOM) * ROOM


def with_tokens(
    examples: Examples,
    inputs: Mapping[str, Column],
    texts: Sequence[Sequence[int]],
    tokenizer: BytePairs,
    prompt: Sequence[int],
    *,
    width: int,
    barred: Sequence[int],
    never: Sequence[int] | None = None,
) -> Examples:
    """Examples whose inputs are what is read and the tokens before each, and whose targets are those that follow.

    Args:
        examples: Before.
        inputs: What is read, by the names that the module has for it.
        texts: Tokens of what is to be written.
        tokenizer: Of these tokens.
        prompt: Tokens before the first.
        width: Least length of a row of tokens, so that several sets have one.
        barred: Tokens that no text begins with.
        never: Tokens that no text has; None is all above the end.

    Returns:
        Targets are -1 in place of the prompt's own and behind the end.
    """
    before = RaggedColumn([np.array([*prompt, *row], np.int32) for row in texts], tokenizer.end, width)
    behind = [np.array([NO_TARGET] * (len(prompt) - 1) + [*row, tokenizer.end], np.int32) for row in texts]
    step = {"prompt": list(prompt), "end": tokenizer.end, "barred": list(barred), **tokenizer.arguments}
    step |= {} if never is None else {"never": list(never)}
    return dataclasses.replace(
        examples,
        inputs=DictColumn({**inputs, IDS: full_rows(before)}),
        targets=RaggedColumn(behind, NO_TARGET, width),
        pipeline=examples.pipeline.then(PROMPTED, **step),
        columns={**examples.columns, TOKENIZER: TextColumn([tokenizer.file] * len(examples))},
    )


def full_rows(rows: RaggedColumn) -> ReadColumn:
    """Rows of one length, as every input is read by itself."""
    return ReadColumn(lambda i: rows.batch([rows[i]])[0], rows.spec, rows.digests)


def in_use(examples: Examples, targets: Sequence[str]) -> Examples:
    """Examples as they are used: what is read alone, and as targets the columns of what is right.

    Args:
        examples: Of `with_tokens`; others stay as they are.
        targets: Names of columns.
    """
    spec = examples.inputs.spec
    if not isinstance(spec, Mapping) or IDS not in spec:
        return examples
    read_spec = {name: field for name, field in spec.items() if name != IDS}
    inputs = ReadColumn(functools.partial(_without_tokens, examples.inputs), read_spec, examples.inputs.digests)
    right = DictColumn({name: examples.columns[name] for name in targets})
    return dataclasses.replace(examples, inputs=inputs, targets=right)


def _without_tokens(inputs: Column, i: int) -> dict[str, np.ndarray]:
    """What example i reads."""
    return {name: value for name, value in inputs[i].items() if name != IDS}
