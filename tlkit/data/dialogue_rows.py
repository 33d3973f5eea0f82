"""Dialogues as rows of tokens, and such rows as prompts with the right answers beside them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.generating import rows
from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.tokenizing.chat import answer_tokens, general_tokens, prompt_tokens

STEP = "dialogue"  # of the pipeline: what the rows were made with
TOKENIZER = "tokenizer"  # the column that turns tokens into text again


def tokens_of(examples: Examples, tokenizer: BytePairs) -> list[tuple[list[int], list[int]]]:
    """Prompt and answer of each example; a general text is an answer alone, in which nothing ends."""
    token_pairs = []
    for i in range(len(examples)):
        turn = examples.inputs[i]
        prompt, answer = prompt_tokens(tokenizer, json.loads(str(turn["messages"]))), str(turn["answer"])
        token_pairs.append((prompt, answer_tokens(tokenizer, answer) if prompt else general_tokens(tokenizer, answer)))
    return token_pairs


def in_rows(
    examples: Examples, tokens: list[tuple[list[int], list[int]]], tokenizer: BytePairs, length: int, needed: np.ndarray
) -> Examples:
    """Examples whose inputs are rows, as `tlkit.generating.rows` has them.

    Args:
        examples: Dialogues.
        tokens: Prompt and answer of each.
        tokenizer: What made these.
        length: Tokens of a row.
        needed: int32 (n,), tokens that each would need.
    """
    sign = rows.direction(tokenizer.pad, tokenizer.size)
    packed = [rows.packed(prompt, answer, length, tokenizer.pad, sign) for prompt, answer in tokens]
    array = np.stack(packed) if packed else np.zeros((0, length), np.int32)
    arguments = {"end": tokenizer.end, "pad": tokenizer.pad, "sign": sign, "length": length}
    return dataclasses.replace(
        examples,
        inputs=ArrayColumn(array),
        pipeline=examples.pipeline.then(STEP, **tokenizer.arguments, **arguments),
        columns={
            **examples.columns,
            "length": ArrayColumn(np.minimum(needed, length)),
            TOKENIZER: TextColumn([tokenizer.file] * len(examples)),
        },
    )


def of_use(examples: Examples) -> Examples:
    """Rows as prompts and the right answers beside them; general texts are left out, as they answer nothing."""
    layout = examples.pipeline.get(STEP)
    if layout is None:
        raise InputError("These examples are no rows of a prompt and its answer: `finetune` makes them of dialogues.")
    array = np.asarray(examples.inputs.take(np.arange(len(examples))))
    pairs = [rows.unpacked(row, layout["pad"], layout["sign"]) for row in array]
    places = [i for i, (prompt, _) in enumerate(pairs) if len(prompt) > 1]
    longest = max([8, *(len(pairs[i][1]) for i in places)])
    inputs = {
        "prompt": ArrayColumn(rows.filled([pairs[i][0] for i in places], layout["length"])),
        "answer": ArrayColumn(rows.filled([pairs[i][1] for i in places], longest)),
    }
    return dataclasses.replace(examples.subset(places), inputs=DictColumn(inputs))
