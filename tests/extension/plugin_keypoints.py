"""Keypoints: where named points lie in an image, from two feature maps of any image module."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

import tlkit
from tlkit import columns, reads

# -- data: a folder of images, and points.csv: per image its file, then x and y of each point in shares of the sides


@dataclass(frozen=True)
class Mirror:
    """Swap left and right in a share of the copies; points that are each other's mirror image change places."""

    order: tuple[int, ...]
    share: float = 0.5

    def draw(self, seed: int) -> Mapping[str, float]:
        return {"mirrored": float(np.random.default_rng(seed).random() < self.share)}

    def inputs(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        return value[:, ::-1] if drawn["mirrored"] else value

    def targets(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        if not drawn["mirrored"]:
            return value
        return (np.float32([1, 0]) + value * np.float32([-1, 1]))[list(self.order)]


def from_folder(folder: Path, mirror: Sequence[int], shares: Sequence[float] = (0.6, 0.2, 0.2)) -> tlkit.Splits:
    """Images and their points; the rows of the table are divided in their order."""
    with (folder / "points.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    examples = tlkit.Examples(
        ids=tuple(row[0] for row in rows),
        inputs=columns.FileColumn([folder / row[0] for row in rows], pixels),
        targets=columns.ArrayColumn(np.array([row[1:] for row in rows], np.float32).reshape(len(rows), -1, 2)),
        modality="image",
        pipeline=tlkit.Pipeline().then("image", background=[255, 255, 255]),
    )
    first = round(shares[0] * len(rows))
    second = first + round(shares[1] * len(rows))
    parts = (range(first), range(first, second), range(second, len(rows)))
    train, val, test = (examples.subset(part) for part in parts)
    return tlkit.Splits(dataclasses.replace(train, augment=Mirror(tuple(mirror))), val, test)


def pixels(path: Path) -> np.ndarray:
    """uint8 (height, width, 3)."""
    return np.asarray(Image.open(path).convert("RGB"))


# -- the task


def keypoints(names: Sequence[str], strides: Sequence[int] = (4, 8), within: float = 0.1) -> tlkit.Task:
    """Find points: targets are float32 (n, points, 2), x and y in shares of width and height.

    Args:
        names: Of the points.
        strides: Of the two feature maps, the finer one first.
        within: Distance at which a point counts as found, in shares of the image.
    """
    names = tuple(names)
    return tlkit.Task(
        name="keypoints",
        made_by=tlkit.made_by(keypoints, names=names, strides=tuple(strides), within=within),
        reads=reads.maps(*strides),
        head=functools.partial(heat_maps, points=len(names), strides=tuple(strides)),
        objective=tlkit.Objective(
            loss=Distance,
            metrics=lambda: [keras.metrics.MeanMetricWrapper(share_found, name="found", within=within)],
            monitor=("val_found", "max"),
            check=functools.partial(check, names),
        ),
        answers=(points(names, within),),
        scorer=lambda: PointScores(names, within),
    )


def check(names: tuple[str, ...], data: tlkit.Splits) -> None:
    shape = data.train.targets.spec.shape
    if shape != (len(names), 2):
        raise tlkit.InputError(f"Targets must be (n, {len(names)}, 2): x and y of each point. Received: {shape}.")


def heat_maps(maps: Mapping[int, Any], points: int, strides: tuple[int, ...]) -> Any:
    """Raw outputs (batch, height, width, points): how likely each point lies at each place of the finer map."""
    fine, coarse = strides
    layers = keras.layers
    near = layers.Conv2D(16, 1, name="head_fine")(maps[fine])
    far = layers.Conv2D(16, 1, name="head_coarse")(maps[coarse])
    far = layers.UpSampling2D(coarse // fine, interpolation="bilinear", name="head_up")(far)
    both = layers.ReLU(name="head_relu")(layers.Add(name="head_add")([near, far]))
    return layers.Conv2D(points, 3, padding="same", dtype="float32", name="head_heat")(both)


def located(raw: Any) -> Any:
    """(batch, points, 3): mean place x and y under each heat map, and its highest share."""
    ops = keras.ops
    _, height, width, count = raw.shape
    shares = ops.softmax(ops.reshape(raw, (-1, height * width, count)), axis=1)
    x = (np.arange(height * width) % width + 0.5) / width
    y = (np.arange(height * width) // width + 0.5) / height
    places = ops.convert_to_tensor(np.stack([x, y], axis=1).astype(np.float32))
    mean = ops.matmul(ops.transpose(shares, (0, 2, 1)), places)
    return ops.concatenate([mean, ops.expand_dims(ops.max(shares, axis=1), -1)], axis=-1)


@keras.saving.register_keras_serializable(package="keypoints")
class Distance(keras.losses.Loss):
    """Mean distance of the points, in shares of the image."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(_distances(y_true, located(y_pred)[..., :2]), axis=-1)


def share_found(y_true: Any, y_pred: Any, within: float) -> Any:
    near = _distances(y_true, located(y_pred)[..., :2]) < within
    return keras.ops.mean(keras.ops.cast(near, "float32"), axis=-1)


def _distances(first: Any, second: Any) -> Any:
    return keras.ops.sqrt(keras.ops.sum(keras.ops.square(first - second), axis=-1) + 1e-9)


# -- the answer


def points(names: tuple[str, ...], within: float) -> tlkit.Answer:
    """x, y of each point and how sure the model is of it."""
    return tlkit.Answer(
        name="points",
        tensors=("points", "scores"),
        labels=names,
        decode=_decode,
        agree=functools.partial(_agree, within),
        merit=functools.partial(_merit, within),
        say=functools.partial(_say, names),
        sections=(tlkit.Section("points", "Points", _view, TEMPLATE),),
    )


def _decode(raw: Any) -> Mapping[str, Any]:
    spots = located(raw)
    return {"points": spots[..., :2], "scores": spots[..., 2]}


def _agree(within: float, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    apart = np.linalg.norm(expected["points"] - actual["points"], axis=-1)
    return tlkit.Agreement(apart.max(axis=1), apart < within / 2, expected["scores"])


def _merit(within: float, targets: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    """Share of an image's points that are found."""
    return (np.linalg.norm(decoded["points"] - targets, axis=-1) < within).mean(axis=1)


def _say(
    names: tuple[str, ...], decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]
) -> list[tuple[str, float]]:
    return [
        (f"{name} at {x:.2f}, {y:.2f}", float(score))
        for name, (x, y), score in zip(names, decoded["points"], decoded["scores"], strict=True)
    ]


# -- scores and report


class PointScores:
    """Share of points found and mean distance, of all and of each."""

    def __init__(self, names: tuple[str, ...], within: float) -> None:
        self.names, self.within = names, within
        self.distances: list[np.ndarray] = []
        self.ids: list[str] = []

    def update(self, examples: tlkit.Examples, decoded: Mapping[str, np.ndarray]) -> None:
        truth = examples.targets.take(np.arange(len(examples)))
        self.distances.append(np.linalg.norm(decoded["points"] - truth, axis=-1))
        self.ids += examples.ids

    def result(self) -> tlkit.Evaluation:
        distances = np.concatenate(self.distances)
        hits = distances < self.within
        worst = np.argsort(-distances.max(axis=1))[:6]
        rows = [
            {"name": name, "found": float(hits[:, i].mean()), "distance": float(distances[:, i].mean())}
            for i, name in enumerate(self.names)
        ]
        return tlkit.Evaluation(
            scores={"found": float(hits.mean()), "distance": float(distances.mean())},
            details={
                "headline": {
                    "name": "found", "label": "Points found", "interval": "", "unit": "share",
                    "lower_is_better": False,
                },
                "points": {"rows": rows, "worst": [self.ids[i] for i in worst]},
            },
            outputs=None,
        )  # fmt: skip


def _view(facts: tlkit.Facts) -> Any:
    detail = facts.detail("points")
    return detail and {"rows": detail["rows"], "worst": [(name, facts.show(name)) for name in detail["worst"]]}


TEMPLATE = """
<table><thead><tr><th>point</th><th>found</th><th>distance</th></tr></thead><tbody>
{% for row in view.rows %}
<tr><td>{{ row.name }}</td><td>{{ "%.3f" | format(row.found) }}</td><td>{{ "%.3f" | format(row.distance) }}</td></tr>
{% endfor %}
</tbody></table>
<h3>Worst</h3>
{% for name, picture in view.worst %}
<figure>{{ picture | safe }}<figcaption>{{ name }}</figcaption></figure>
{% endfor %}
"""
