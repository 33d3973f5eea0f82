"""Segmentation: a label for each pixel, from feature maps of any image module; masks are read from files."""

from __future__ import annotations

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

UNKNOWN = 255  # in a mask: pixels that count for nothing

# -- data: images/NAME.png, and masks/NAME.png whose grey values are numbers of labels


@dataclass(frozen=True)
class MirrorAndShift:
    """Mirror half of the copies, and shift all of them by up to `most` of each side; what comes in is unknown."""

    most: float = 0.2

    def draw(self, seed: int) -> Mapping[str, float]:
        mirrored, down, right = np.random.default_rng(seed).random(3)
        return {
            "mirrored": float(mirrored < 0.5),
            "down": float(self.most * (2 * down - 1)),
            "right": float(self.most * (2 * right - 1)),
        }

    def inputs(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        return _moved(value, drawn, fill=0)

    def targets(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        return _moved(value, drawn, fill=UNKNOWN)


def _moved(value: np.ndarray, drawn: Mapping[str, float], fill: int) -> np.ndarray:
    """Shares become pixels here, so that image and mask may be of different sizes."""
    height, width = value.shape[:2]
    down, right = round(drawn["down"] * height), round(drawn["right"] * width)
    moved = np.full_like(value, fill)
    source = value[:, ::-1] if drawn["mirrored"] else value
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = source[
        max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    return moved


def from_folder(folder: Path, shares: Sequence[float] = (0.6, 0.2, 0.2)) -> tlkit.Splits:
    """Images with the masks of their names, divided in the order of the names."""
    images = sorted((folder / "images").iterdir())
    masks = [folder / "masks" / path.name for path in images]
    missing = [path.name for path in masks if not path.is_file()]
    if missing:
        raise tlkit.InputError(f"{folder / 'masks'} has no {missing[0]}: each image needs the mask of its name.")
    first = round(shares[0] * len(images))
    second = first + round(shares[1] * len(images))
    parts = (slice(0, first), slice(first, second), slice(second, None))
    train, val, test = (_examples(images[part], masks[part]) for part in parts)
    return tlkit.Splits(dataclasses.replace(train, augment=MirrorAndShift()), val, test)


def _examples(images: Sequence[Path], masks: Sequence[Path]) -> tlkit.Examples:
    return tlkit.Examples(
        ids=tuple(path.name for path in images),
        inputs=columns.FileColumn(images, pixels),
        targets=columns.FileColumn(masks, numbers),
        modality="image",
        pipeline=tlkit.Pipeline().then("image", background=[255, 255, 255]),
    )


def pixels(path: Path) -> np.ndarray:
    """uint8 (height, width, 3)."""
    return np.asarray(Image.open(path).convert("RGB"))


def numbers(path: Path) -> np.ndarray:
    """uint8 (height, width)."""
    return np.asarray(Image.open(path).convert("L"))


# -- the task


def segment(labels: Sequence[str], strides: Sequence[int] = (2, 4, 8)) -> tlkit.Task:
    """A label a pixel: targets are uint8 (height, width) numbers of labels, `UNKNOWN` where none is known."""
    names = tuple(labels)
    return tlkit.Task(
        name="segment",
        made_by=tlkit.made_by(segment, labels=names, strides=tuple(strides)),
        reads=reads.maps(*strides),
        head=functools.partial(decoder, labels=len(names)),
        objective=tlkit.Objective(
            loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=UNKNOWN),
            metrics=lambda: [keras.metrics.MeanIoU(len(names), name="iou", ignore_class=UNKNOWN, sparse_y_pred=False)],
            monitor=("val_iou", "max"),
        ),
        answers=(mask(names),),
        scorer=lambda: Overlap(names),
    )


def decoder(maps: Mapping[int, Any], labels: int) -> Any:
    """Logits (batch, height, width, labels) of the image's own size: a U-Net's way up over the maps."""
    layers, x, before = keras.layers, None, 0
    for stride in sorted(maps, reverse=True):
        side = layers.Conv2D(16, 1, name=f"head_side_{stride}")(maps[stride])
        if x is None:
            x = side
        else:
            up = layers.UpSampling2D(before // stride, interpolation="bilinear", name=f"head_up_{stride}")(x)
            x = layers.Add(name=f"head_add_{stride}")([side, up])
        x = layers.SeparableConv2D(16, 3, padding="same", activation="relu", name=f"head_conv_{stride}")(x)
        before = stride
    logits = layers.Conv2D(labels, 1, dtype="float32", name="head_logits")(x)
    return layers.UpSampling2D(before, interpolation="bilinear", dtype="float32", name="head_full")(logits)


# -- the answer


def mask(labels: tuple[str, ...]) -> tlkit.Answer:
    """The share of each label at each pixel."""
    return tlkit.Answer(
        name="mask",
        labels=labels,
        decode=lambda raw: {"mask": keras.ops.softmax(raw, axis=-1)},
        agree=_agree,
        merit=_merit,
        say=functools.partial(_say, labels),
        ranked=True,
        sections=(tlkit.Section("overlap", "Overlap of each label", lambda facts: facts.detail("overlap"), TEMPLATE),),
    )


def _agree(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    best = np.sort(expected["mask"], axis=-1)
    difference = np.abs(expected["mask"] - actual["mask"]).max(axis=(1, 2, 3))
    return tlkit.Agreement(
        difference, expected["mask"].argmax(-1) == actual["mask"].argmax(-1), best[..., -1] - best[..., -2]
    )


def _merit(targets: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    """Share of an image's known pixels that are right."""
    labelled = targets != UNKNOWN
    right = (decoded["mask"].argmax(-1) == targets) & labelled
    return right.sum(axis=(1, 2)) / np.maximum(labelled.sum(axis=(1, 2)), 1)


def _say(
    labels: tuple[str, ...], decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]
) -> list[tuple[str, float]]:
    """How much of the picture each label covers."""
    counts = np.bincount(decoded["mask"].argmax(-1).reshape(-1), minlength=len(labels))
    covered = zip(labels, (counts / counts.sum()).tolist(), strict=True)
    return sorted(covered, key=lambda pair: -pair[1])


# -- scores and report


class Overlap:
    """Intersection over union of each label, from a table of counts: as small for a million masks as for one."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.counts = np.zeros((len(labels), len(labels)), np.int64)

    def update(self, examples: tlkit.Examples, decoded: Mapping[str, np.ndarray]) -> None:
        truth = examples.targets.take(np.arange(len(examples))).astype(np.int64)
        labelled = truth != UNKNOWN
        pairs = truth[labelled] * len(self.labels) + decoded["mask"].argmax(-1)[labelled]
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def result(self) -> tlkit.Evaluation:
        right = np.diag(self.counts)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - right
        each = right / np.maximum(union, 1)
        seen = union > 0
        rows = [
            {"label": label, "iou": float(each[i]), "pixels": int(self.counts[i].sum())}
            for i, label in enumerate(self.labels)
        ]
        return tlkit.Evaluation(
            scores={
                "mean_iou": float(each[seen].mean()),
                "pixel_accuracy": float(right.sum() / max(1, self.counts.sum())),
            },
            details={
                "headline": {
                    "name": "mean_iou", "label": "Mean overlap", "interval": "", "unit": "share",
                    "lower_is_better": False,
                },
                "overlap": rows,
            },
            outputs=None,
        )  # fmt: skip


TEMPLATE = """
<table><thead><tr><th>label</th><th>overlap</th><th>pixels</th></tr></thead><tbody>
{% for row in view %}
<tr><td>{{ row.label }}</td><td>{{ "%.3f" | format(row.iou) }}</td><td>{{ row.pixels }}</td></tr>
{% endfor %}
</tbody></table>
"""
