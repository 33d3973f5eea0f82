"""Writing on: a text is continued step by step, by a head that shares the table of the module's letters."""

from __future__ import annotations

import dataclasses
import functools
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tlkit
from tlkit import columns, reads

LETTERS = "\0\1 abcdefghijklmnopqrstuvwxyz.,!?'"  # padding, end, and what texts are made of; others are left out
PAD, END = 0, 1
UNKNOWN = -1  # targets behind the end

# -- data: a text file with one text a line


def from_file(path: Path, length: int, shares: Sequence[float] = (0.6, 0.2, 0.2)) -> tlkit.Splits:
    """Lines of a file as letters; each step's target is the letter behind it."""
    lines = [line for line in dict.fromkeys(path.read_text().splitlines()) if line.strip()]
    examples = _examples(lines, length)
    first = round(shares[0] * len(lines))
    second = first + round(shares[1] * len(lines))
    parts = (range(first), range(first, second), range(second, len(lines)))
    return tlkit.Splits(*(examples.subset(part) for part in parts))


def _examples(texts: Sequence[str], length: int) -> tlkit.Examples:
    rows = np.full((len(texts), length + 1), PAD, np.int32)
    for row, text in zip(rows, texts, strict=True):
        numbers = [*numbers_of(text), END][: length + 1]
        row[: len(numbers)] = numbers
    targets = np.where(rows[:, 1:] == PAD, UNKNOWN, rows[:, 1:])
    return tlkit.Examples(
        ids=tuple(str(i) for i in range(len(texts))),
        inputs=columns.ArrayColumn(rows[:, :-1]),
        targets=columns.ArrayColumn(targets.astype(np.int32)),
        modality=TEXTS.name,
        pipeline=tlkit.Pipeline().then("letters", length=length),
        columns={"text": columns.ArrayColumn(np.array(texts))},
    )


def numbers_of(text: str) -> list[int]:
    """Numbers of a text's letters."""
    return [LETTERS.index(letter) for letter in text.lower() if letter in LETTERS[END + 1 :]]


def text_of(numbers: np.ndarray) -> str:
    """The text of some numbers, up to its end."""
    return "".join(LETTERS[number] for number in numbers if number > END)


# -- the modality


def _prepare(data: tlkit.Splits, layer: tlkit.HubLayer) -> tlkit.Splits:
    spec = layer.endpoint.input_leaves[0]
    if not spec.dtype.is_integer or spec.shape[1] not in (None, data.train.inputs.spec.shape[0]):
        raise tlkit.InputError(
            f"{layer.handle} does not take {data.train.inputs.spec.shape[0]} numbers of letters: it takes {spec.shape}."
        )
    return data


def _parse(source: Any, info: tlkit.FileInfo) -> tlkit.Examples:
    """The beginning that a file holds, to be written on."""
    text = source.read_text().strip() if isinstance(source, Path) else str(source)
    length = info.pipeline.get("letters")["length"]
    begun = numbers_of(text)[: length - 1]
    if not begun:
        raise tlkit.InputError("A text needs at least one letter to be written on from.")
    row = np.zeros((1, length), np.int32)
    row[0, : len(begun)] = begun
    unlabelled = columns.ArrayColumn(np.zeros((1, 0), np.int32))
    return dataclasses.replace(_examples([text], length), inputs=columns.ArrayColumn(row), targets=unlabelled)


def _show(examples: tlkit.Examples, index: int) -> str:
    return f"<q>{html.escape(text_of(examples.inputs[index]))}</q>"


TEXTS = tlkit.Modality(name=f"{__name__}.TEXTS", prepare=_prepare, parse=_parse, show=_show)

# -- the task


def write_on(width: int = 32) -> tlkit.Task:
    """The next letter at every step: targets are int32 (n, length), UNKNOWN behind the end.

    Logits are products with the module's own table (Press and Wolf 2017, arXiv:1608.05859), so the head has no table.

    Args:
        width: Of the hidden layer between the module and the products.
    """
    return tlkit.Task(
        name="write_on",
        made_by=tlkit.made_by(write_on, width=width),
        reads=reads.hidden_and_embedding(),
        head=functools.partial(_head, width),
        objective=tlkit.Objective(
            loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=UNKNOWN),
            check=_check,
        ),
        answers=(letters(),),
        scorer=Bits,
    )


def _check(data: tlkit.Splits) -> None:
    if data.train.targets.spec.shape != data.train.inputs.spec.shape:
        raise tlkit.InputError("Targets must be one letter a step, as `from_file` makes them.")


def _head(width: int, features: Mapping[str, Any]) -> Any:
    """Logits (batch, steps, letters)."""
    hidden, table = features["hidden"], features["embedding"]
    x = keras.layers.Dense(width, activation="gelu", name="head_hidden")(hidden)
    x = keras.layers.Dense(table.shape[-1], name="head_out")(x)
    x = keras.layers.Add(name="head_add")([hidden, x])
    return keras.ops.matmul(keras.ops.cast(x, "float32"), keras.ops.transpose(keras.ops.cast(table, "float32")))


# -- the answer


def letters() -> tlkit.Answer:
    """The share of each letter behind each step; a text is written on until its end, or until there is no room."""
    return tlkit.Answer(
        name="letters",
        tensors=("next",),
        decode=lambda raw: {"next": keras.ops.softmax(raw, axis=-1)},
        agree=_agree,
        merit=_merit,
        say=_say,
        again=_again,
        sections=(tlkit.Section("bits", "Bits by step", lambda facts: facts.detail("bits"), TEMPLATE),),
    )


def _agree(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    best = np.sort(expected["next"], axis=-1)
    return tlkit.Agreement(
        np.abs(expected["next"] - actual["next"]).max(axis=(1, 2)),
        expected["next"].argmax(-1) == actual["next"].argmax(-1),
        best[..., -1] - best[..., -2],
    )


def _merit(targets: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    observed = targets != UNKNOWN
    return -_bits(targets, decoded["next"]).sum(axis=1) / np.maximum(observed.sum(axis=1), 1)


def _bits(targets: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(n, steps), 0 where there is no target."""
    observed = targets != UNKNOWN
    right = np.take_along_axis(shares, np.where(observed, targets, 0)[..., None], -1)[..., 0]
    return np.where(observed, -np.log2(np.maximum(right, 1e-12)), 0.0)


def _again(value: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The text with the likeliest letter behind it; None at its end, or where it is full."""
    written = int((value != PAD).sum())
    if written == len(value):
        return None
    following = int(decoded["next"][written - 1, END:].argmax()) + END
    if following == END:
        return None
    longer = value.copy()
    longer[written] = following
    return longer


def _say(decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The text as far as it is written, and the mean share that its letters had."""
    value = example["input"]
    written = int((value != PAD).sum())
    shares = decoded["next"][np.arange(written - 1), value[1:written]]
    return [(text_of(value), float(shares.mean()) if len(shares) else 1.0)]


# -- scores and report


class Bits:
    """Bits a letter, over all and by step."""

    def __init__(self) -> None:
        self.sums: Any = 0
        self.counts: Any = 0

    def update(self, examples: tlkit.Examples, decoded: Mapping[str, np.ndarray]) -> None:
        targets = examples.targets.take(np.arange(len(examples)))
        self.sums = self.sums + _bits(targets, decoded["next"]).sum(axis=0)
        self.counts = self.counts + (targets != UNKNOWN).sum(axis=0)

    def result(self) -> tlkit.Evaluation:
        rows = [
            {"step": step, "bits": float(self.sums[step - 1] / self.counts[step - 1])}
            for step in range(1, len(self.sums) + 1)
            if self.counts[step - 1]
        ]
        headline = {"label": "Bits a letter", "interval": "", "unit": "value", "lower_is_better": True}
        return tlkit.Evaluation(
            scores={"bits": float(self.sums.sum() / max(1, self.counts.sum()))},
            details={"headline": {"name": "bits", **headline}, "bits": rows},
            outputs=None,
        )


TEMPLATE = """
<table><thead><tr><th>step</th><th>bits</th></tr></thead><tbody>
{% for row in view %}<tr><td>{{ row.step }}</td><td>{{ "%.2f" | format(row.bits) }}</td></tr>{% endfor %}
</tbody></table>
"""
