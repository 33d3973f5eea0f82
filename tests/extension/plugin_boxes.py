"""Boxes: any number of labelled boxes per image, from two feature maps; several tensors come out."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

import tlkit
from tlkit import columns, reads

NOTHING = -1.0  # label of the rows that fill up a batch
MOST = 8  # boxes that come out
KEPT = 0.5  # overlap from which of two boxes of one label the better one is kept

# -- data: a folder of images and boxes.json, {file: [[label, left, top, right, bottom], ...]} in shares of the sides


@dataclass(frozen=True)
class Crop:
    """Cut away up to `most` of the width; boxes are clipped, and those of which less than half is left go."""

    most: float = 0.3

    def draw(self, seed: int) -> Mapping[str, float]:
        share, place = np.random.default_rng(seed).random(2)
        width = 1 - self.most * share
        return {"left": float(place * (1 - width)), "width": float(width)}

    def inputs(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        width = value.shape[1]
        taken = np.floor((drawn["left"] + drawn["width"] * (np.arange(width) + 0.5) / width) * width)
        return value[:, taken.astype(int)]

    def targets(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        moved = value.copy()
        moved[:, [1, 3]] = np.clip((value[:, [1, 3]] - drawn["left"]) / drawn["width"], 0, 1)
        left = (moved[:, 3] - moved[:, 1]) * drawn["width"] / np.maximum(value[:, 3] - value[:, 1], 1e-9)
        return moved[left >= 0.5]


def from_folder(folder: Path, shares: Sequence[float] = (0.6, 0.2, 0.2)) -> tlkit.Splits:
    """Images with their boxes, divided in the order of the file's names; an image may have no box."""
    table = json.loads((folder / "boxes.json").read_text())
    names = sorted(table)
    labels = sorted({row[0] for rows in table.values() for row in rows})
    number = {label: float(i) for i, label in enumerate(labels)}
    rows = [
        np.array([[number[label], *box] for label, *box in table[name]], np.float32).reshape(-1, 5) for name in names
    ]
    examples = tlkit.Examples(
        ids=tuple(names),
        inputs=columns.FileColumn([folder / name for name in names], pixels),
        targets=columns.RaggedColumn(rows, fill=NOTHING),
        modality="image",
        pipeline=tlkit.Pipeline().then("image", background=[255, 255, 255]),
    )
    first = round(shares[0] * len(names))
    second = first + round(shares[1] * len(names))
    parts = (range(first), range(first, second), range(second, len(names)))
    train, val, test = (examples.subset(part) for part in parts)
    return tlkit.Splits(dataclasses.replace(train, augment=Crop()), val, test, labels=tuple(labels))


def pixels(path: Path) -> np.ndarray:
    """uint8 (height, width, 3)."""
    return np.asarray(Image.open(path).convert("RGB"))


# -- the task


def detect(labels: Sequence[str], strides: Sequence[int] = (4, 8)) -> tlkit.Task:
    """Find objects: targets are rows (label, left, top, right, bottom), any number of them per image.

    Each place of each map says which label the box around it has, and how far the box reaches (Tian et al. 2019,
    arXiv:1904.01355, without centerness).
    """
    names = tuple(labels)
    return tlkit.Task(
        name="detect",
        made_by=tlkit.made_by(detect, labels=names, strides=tuple(strides)),
        reads=reads.maps(*strides),
        head=functools.partial(towers, labels=len(names)),
        objective=tlkit.Objective(loss=lambda: BoxLoss(tuple(strides)), check=functools.partial(_check, names)),
        answers=(boxes(names),),
        scorer=lambda: AveragePrecision(names),
    )


def _check(labels: tuple[str, ...], data: tlkit.Splits) -> None:
    if data.labels and tuple(data.labels) != labels:
        raise tlkit.InputError(f"Make the task of the data's labels, {list(data.labels)}. Received: {list(labels)}.")
    if data.train.targets.spec.shape[1:] != (5,):
        raise tlkit.InputError("Targets must be rows of 5: label, left, top, right, bottom.")


def towers(maps: Mapping[int, Any], labels: int) -> Mapping[str, Any]:
    """Raw outputs of all places, finer map first: "labels" (batch, places, k) logits, "reach" (batch, places, 4).

    What a place is stays with its outputs, so that decoding needs no strides: "places" (batch, places, 2).
    """
    layers, branches = keras.layers, []
    for stride in sorted(maps):
        x = layers.Conv2D(24, 3, padding="same", activation="relu", name=f"head_conv_{stride}")(maps[stride])
        branches.append(
            (
                layers.Conv2D(
                    labels, 1, bias_initializer=keras.initializers.Constant(-2.0), dtype="float32",
                    name=f"head_labels_{stride}",
                )(x),
                layers.Conv2D(4, 1, activation="softplus", dtype="float32", name=f"head_reach_{stride}")(x),
                Places(dtype="float32", name=f"head_places_{stride}")(maps[stride]),
            )
        )  # fmt: skip
    parts = [[layers.Reshape((-1, part.shape[-1]))(part) for part in parts] for parts in zip(*branches, strict=True)]
    joined = [layers.Concatenate(axis=1)(part) if len(part) > 1 else part[0] for part in parts]
    return dict(zip(("labels", "reach", "places"), joined, strict=True))


@keras.saving.register_keras_serializable(package="boxes")
class Places(keras.layers.Layer):
    """x and y of the middle of each place of a map, in shares of the sides."""

    def call(self, inputs: Any) -> Any:
        height, width = inputs.shape[1:3]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        grid = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1)
        return keras.ops.zeros_like(inputs[..., :1], dtype="float32") + keras.ops.convert_to_tensor(grid)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:3], 2)


def corners(raw: Mapping[str, Any]) -> Any:
    """(batch, places, 4) left, top, right, bottom."""
    places, reach = raw["places"], raw["reach"]
    return keras.ops.concatenate([places - reach[..., :2], places + reach[..., 2:]], axis=-1)


@keras.saving.register_keras_serializable(package="boxes")
class BoxLoss(keras.losses.Loss):
    """Focal loss of the labels, and 1 - overlap at places inside a box; the smallest box around a place is its own."""

    def __init__(self, strides: Sequence[int], name: str = "box_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.strides = tuple(strides)

    def call(self, y_true: Any, y_pred: Mapping[str, Any]) -> Any:
        ops = keras.ops
        assigned_rows, positive = assigned(y_true, y_pred["places"])
        one_hot = (
            ops.one_hot(ops.cast(assigned_rows[..., 0], "int32"), y_pred["labels"].shape[-1]) * positive[..., None]
        )
        share = ops.sigmoid(y_pred["labels"])
        right = one_hot * share + (1 - one_hot) * (1 - share)
        focal = ops.square(1 - right) * -ops.log(ops.maximum(right, 1e-7))
        count = ops.maximum(ops.sum(positive, axis=1), 1.0)
        apart = positive * (1 - overlap(corners(y_pred), assigned_rows[..., 1:]))
        return (ops.sum(focal, axis=(1, 2)) + 2 * ops.sum(apart, axis=1)) / count

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}


def assigned(rows: Any, places: Any) -> tuple[Any, Any]:
    """(batch, places, 5) the row of each place, and (batch, places) 1 where there is one, else 0."""
    ops = keras.ops
    x, y = places[..., None, 0], places[..., None, 1]
    left, top, right, bottom = (rows[:, None, :, i] for i in range(1, 5))
    inside = ops.cast((x > left) & (x < right) & (y > top) & (y < bottom), "float32")
    inside = inside * ops.cast(rows[:, None, :, 0] >= 0, "float32")
    area = (right - left) * (bottom - top) + 10.0 * (1 - inside)
    best = ops.one_hot(ops.argmin(area, axis=-1), rows.shape[1])
    return ops.matmul(best, rows), ops.max(inside, axis=-1)


def overlap(first: Any, second: Any) -> Any:
    """Intersection over union of boxes (..., 4); works on NumPy arrays too."""
    ops = keras.ops
    width = ops.minimum(first[..., 2], second[..., 2]) - ops.maximum(first[..., 0], second[..., 0])
    height = ops.minimum(first[..., 3], second[..., 3]) - ops.maximum(first[..., 1], second[..., 1])
    common = ops.maximum(width, 0.0) * ops.maximum(height, 0.0)
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (first, second)]
    return common / ops.maximum(areas[0] + areas[1] - common, 1e-7)


# -- the answer


def boxes(labels: tuple[str, ...]) -> tlkit.Answer:
    """The best `MOST` boxes per image, best first: three tensors; rows that were suppressed have score 0."""
    return tlkit.Answer(
        name="boxes",
        tensors=("boxes", "scores", "labels"),
        labels=labels,
        decode=_decode,
        agree=_agree,
        merit=_merit,
        say=functools.partial(_say, labels),
        ranked=True,
        sections=(tlkit.Section("boxes", "Boxes of each label", lambda facts: facts.detail("boxes"), TEMPLATE),),
    )


def _decode(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    ops = keras.ops
    share = ops.sigmoid(raw["labels"])
    best, label = (column[..., 0] for column in ops.top_k(share, 1))  # Keras' argmax of floats is no TFLite builtin
    scores, places = ops.top_k(best, k=MOST)
    chosen = ops.one_hot(places, best.shape[1])  # a product in place of a gather: every runtime has it
    edges = ops.matmul(chosen, corners(raw))
    labels = ops.squeeze(ops.matmul(chosen, ops.cast(label, "float32")[..., None]), -1)
    return {"boxes": edges, "scores": scores * _survivors(edges, scores, labels), "labels": labels}


def _survivors(edges: Any, scores: Any, labels: Any) -> Any:
    """1 for a box that no better one of its label covers; rows come best first, so each looks at those before it."""
    ops = keras.ops
    alike = ops.cast(ops.equal(labels[:, :, None], labels[:, None, :]), "float32")
    near = ops.cast(overlap(edges[:, :, None], edges[:, None, :]) > KEPT, "float32")
    before = np.tril(np.ones((MOST, MOST), np.float32), -1)
    covers, survivors = alike * near * before, ops.ones_like(scores)
    for _ in range(4):  # chains of more than four boxes do not occur among the best eight
        survivors = 1 - ops.max(covers * survivors[:, None, :], axis=-1)
    return survivors


def _agree(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    """Boxes are compared in order of their scores; those below KEPT are nobody's answer."""
    best, other = (np.argsort(-side["scores"], axis=1, kind="stable") for side in (expected, actual))
    scores = np.take_along_axis(expected["scores"], best, 1)
    difference = np.abs(scores - np.take_along_axis(actual["scores"], other, 1)).max(axis=1)
    sure, said_there = scores > KEPT, np.take_along_axis(actual["scores"], other, 1) > KEPT
    expected_boxes = np.take_along_axis(expected["boxes"], best[..., None], 1)
    actual_boxes = np.take_along_axis(actual["boxes"], other[..., None], 1)
    near = np.asarray(overlap(expected_boxes, actual_boxes)) > 0.9
    alike = np.take_along_axis(expected["labels"], best, 1) == np.take_along_axis(actual["labels"], other, 1)
    equal = (sure == said_there) & (near & alike | ~sure)
    return tlkit.Agreement(difference, equal, np.abs(scores - KEPT))


def _merit(targets: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    """F1 of an image's boxes at half overlap; 1 where there is nothing and nothing is said."""
    return np.array([_f1(*_matched(rows, decoded, i)) for i, rows in enumerate(targets)])


def _f1(hits: np.ndarray, scores: np.ndarray, truths: int) -> float:
    sure = scores > KEPT
    total = int(sure.sum()) + truths
    return 2 * float((hits & sure).sum()) / total if total else 1.0


def _matched(rows: np.ndarray, decoded: Mapping[str, np.ndarray], i: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Whether each box of image i, best first, is the first to find a true one; scores; count of true ones."""
    truth = rows[rows[:, 0] >= 0]
    order = np.argsort(-decoded["scores"][i], kind="stable")
    free = np.ones(len(truth), bool)
    hits = np.zeros(len(order), bool)
    for place, box in enumerate(order):
        alike = free & (truth[:, 0] == decoded["labels"][i, box])
        near = np.asarray(overlap(decoded["boxes"][i, box][None], truth[:, 1:])) * alike
        if len(near) and near.max() >= KEPT:
            free[near.argmax()] = False
            hits[place] = True
    return hits, decoded["scores"][i][order], len(truth)


def _say(
    labels: tuple[str, ...], decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]
) -> list[tuple[str, float]]:
    rows = zip(decoded["labels"], decoded["boxes"], decoded["scores"], strict=True)
    pairs = [
        (f"{labels[int(label)]} at {' '.join(f'{side:.2f}' for side in box)}", float(score))
        for label, box, score in rows
        if score > 0
    ]
    return sorted(pairs, key=lambda pair: -pair[1])


# -- scores and report


class AveragePrecision:
    """Mean over labels of the area under precision and recall at half overlap; a number a box is all that is kept."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.found: list[list[tuple[float, bool]]] = [[] for _ in labels]
        self.truths = np.zeros(len(labels), np.int64)

    def update(self, examples: tlkit.Examples, decoded: Mapping[str, np.ndarray]) -> None:
        targets = examples.targets.take(np.arange(len(examples)))
        for i, rows in enumerate(targets):
            hits, scores, _ = _matched(rows, decoded, i)
            order = np.argsort(-decoded["scores"][i], kind="stable")
            for label, hit, score in zip(decoded["labels"][i][order], hits, scores, strict=True):
                if score > 0:
                    self.found[int(label)].append((float(score), bool(hit)))
            numbers = rows[rows[:, 0] >= 0, 0].astype(int)
            self.truths += np.bincount(numbers, minlength=len(self.labels))

    def result(self) -> tlkit.Evaluation:
        rows = [
            {"label": label, "boxes": int(self.truths[i]), "precision": _area(self.found[i], int(self.truths[i]))}
            for i, label in enumerate(self.labels)
        ]
        seen = [row["precision"] for row in rows if row["boxes"]]
        headline = {"label": "Mean average precision", "interval": "", "unit": "share", "lower_is_better": False}
        return tlkit.Evaluation(
            scores={"map_50": float(np.mean(seen)) if seen else 0.0},
            details={"headline": {"name": "map_50", **headline}, "boxes": rows},
            outputs=None,
        )


def _area(scored: list[tuple[float, bool]], truths: int) -> float:
    """Average precision: at each true box that is found, the share of right ones among all that score as high."""
    hits = np.array([hit for _, hit in sorted(scored, key=lambda pair: -pair[0])], bool)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_from_here[hits].sum() / max(1, truths)) if len(hits) else 0.0


TEMPLATE = """
<table><thead><tr><th>label</th><th>boxes</th><th>average precision</th></tr></thead><tbody>
{% for row in view %}
<tr><td>{{ row.label }}</td><td>{{ row.boxes }}</td><td>{{ "%.3f" | format(row.precision) }}</td></tr>
{% endfor %}
</tbody></table>
"""
