"""The rest of a line, written letter by letter: what is exported is another function than the one that is trained."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tlkit
from tlkit import columns, reads

LETTERS = "\0\1 abcdefghijklmnopqrstuvwxyz.,!?'"  # padding, end, and what texts are made of
PAD, END = 0, 1
UNKNOWN = -1  # no letter
BEGUN = 6  # letters of a line that are given

# -- data: a text file with one text a line


def from_file(path: Path, length: int) -> tlkit.Splits:
    """Lines of a file as letters; each step's target is the letter behind it."""
    examples = _examples(path.read_text().splitlines(), length)
    ends = (0, round(0.6 * len(examples)), round(0.8 * len(examples)), len(examples))
    return tlkit.Splits(*(examples.subset(range(*ends[i : i + 2])) for i in range(3)))


def _examples(lines: list[str], length: int) -> tlkit.Examples:
    rows = np.full((len(lines), length + 1), PAD, np.int32)
    for row, line in zip(rows, lines, strict=True):
        numbers = [*(LETTERS.index(letter) for letter in line), END][: length + 1]
        row[: len(numbers)] = numbers
    targets = np.where(rows[:, 1:] == PAD, UNKNOWN, rows[:, 1:]).astype(np.int32)
    return tlkit.Examples(
        ids=tuple(map(str, range(len(lines)))),
        inputs=columns.ArrayColumn(rows[:, :-1]),
        targets=columns.ArrayColumn(targets),
        modality=LINES.name,
        pipeline=tlkit.Pipeline().then("letters", length=length),
    )


def _parse(source: Path, info: tlkit.FileInfo) -> tlkit.Examples:
    """The beginning that a file holds."""
    return _of_use(_examples([source.read_text().strip()], info.pipeline.get("letters")["length"]))


LINES = tlkit.Modality(name=f"{__name__}.LINES", prepare=lambda data, layer: data, parse=_parse)

# -- the task


def finish(steps: int = 12) -> tlkit.Task:
    """Finish a line of which the first letters are given.

    Args:
        steps: Most letters that are written.
    """
    return tlkit.Task(
        name="finish",
        made_by=tlkit.made_by(finish, steps=steps),
        reads=reads.steps(),
        head=keras.layers.Dense(len(LETTERS), name="head_letters"),
        objective=tlkit.Objective(
            loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=UNKNOWN)
        ),
        answers=(tlkit.Answer("letters", _shares, _agree_on_shares, lambda decoded, example: []),),
        scorer=tlkit.tasks.gathered(_evaluate, "letters"),
        deployment=tlkit.Deployment(
            examples=_of_use,
            functions=_functions,
            run=functools.partial(_run, steps=steps),
            answer=tlkit.Answer("line", dict, _agree, _say, tensors=("written", "share"), merit=_merit),
            scorer=tlkit.tasks.gathered(_evaluate_lines),
            checked=5,
        ),
        before=True,
    )


def _shares(raw: Any) -> dict[str, Any]:
    return {"letters": keras.ops.softmax(raw)}


def _agree_on_shares(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    difference = np.abs(expected["letters"] - actual["letters"]).max(axis=(1, 2))
    return tlkit.Agreement(difference, difference < 0.1, difference)


def _evaluate(examples: tlkit.Examples, shares: np.ndarray) -> tlkit.Evaluation:
    targets = examples.target_array
    observed = targets != UNKNOWN
    return tlkit.Evaluation({"accuracy": float((shares.argmax(-1) == targets)[observed].mean())}, {})


# -- in use


def _of_use(examples: tlkit.Examples) -> tlkit.Examples:
    """The first letters alone; the line is what is right."""
    rows = np.asarray(examples.inputs.take(np.arange(len(examples))))
    begun = rows.copy()
    begun[:, BEGUN:] = PAD
    return dataclasses.replace(examples, inputs=columns.ArrayColumn(begun), targets=columns.ArrayColumn(rows))


def _functions(model: keras.Model, examples: tlkit.Examples, kind: str) -> dict[str, tlkit.Signature]:
    """Shares of the letter at one place; servers may send several lines, which asks a place of each."""
    import tensorflow as tf

    (length,) = examples.inputs.spec.shape
    count = None if kind == "server" else 1
    specs = {"line": tf.TensorSpec((count, length), tf.int32), "place": tf.TensorSpec((count,), tf.int32)}

    def following(tensors: Mapping[str, Any]) -> dict[str, Any]:
        raw = model(tensors["line"], training=False)
        return {"following": tf.nn.softmax(tf.gather(raw, tensors["place"], batch_dims=1))}

    name = "serving_default" if kind == "server" else "following"
    return {name: tlkit.Signature(following, specs)}


def _run(functions: Mapping[str, Any], inputs: Mapping[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    (following,) = functions.values()
    line = np.array(inputs["inputs"])
    written, shares = np.full((1, steps), UNKNOWN), np.zeros((1, steps), np.float32)
    for step, place in enumerate(range(int((line != PAD).sum()), min(line.shape[1], steps))):
        (row,) = following({"line": line, "place": np.array([place - 1])})["following"]
        written[0, step], shares[0, step] = row.argmax(), row.max()
        if written[0, step] in (PAD, END):
            break
        line[0, place] = written[0, step]
    return {"written": written, "share": shares}


def _agree(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    return tlkit.Agreement(
        np.abs(expected["share"] - actual["share"]).max(axis=1),
        (expected["written"] == actual["written"]).all(axis=1),
        np.ones(len(expected["written"])),
    )


def _merit(_targets: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    return decoded["share"].mean(axis=-1)


def _say(decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]) -> list[tuple[str, float]]:
    numbers = [*example["input"], *decoded["written"].astype(int)]
    return [("".join(LETTERS[n] for n in numbers if n > END), float(decoded["share"].mean()))]


def _evaluate_lines(examples: tlkit.Examples, outputs: Mapping[str, np.ndarray]) -> tlkit.Evaluation:
    rows, written = examples.target_array, outputs["written"].astype(int)
    right = [
        (line[line > END][BEGUN:].tolist() == answer[answer > END].tolist())
        for line, answer in zip(rows, written, strict=True)
    ]
    return tlkit.Evaluation({"exact": float(np.mean(right))}, {})
