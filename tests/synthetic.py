"""Runs that nobody trained: realistic records to draw reports from, without Keras."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from changing import judged

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.examples import ArraySpec, Examples, Quarantined, Splits
from tlkit.core.run import Exported, Phase, PhaseResult, Run
from tlkit.core.task import Evaluation

LABELS = ("bird", "building", "clothing", "drink", "flag", "fruit", "mammal", "sport", "tool", "vehicle")


def picture(label: int, seed: int, side: int = 96) -> np.ndarray:
    """A disc on a gradient, its hue by the label: uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    hue = 2 * math.pi * (label * 0.618 % 1) + np.array([0, 2.1, 4.2])
    colour = 120 + 100 * np.cos(hue)
    centre, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.2, 0.35)
    inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
    ground = (225 + 30 * x)[..., None]
    return np.where(inside, colour, ground).clip(0, 255).astype(np.uint8)


def examples(targets: np.ndarray, name: str, labels: Sequence[str] = LABELS) -> Examples:
    """Generated pictures, one a target."""
    ids = tuple(f"{labels[t % len(labels)]}/{name}_{i:03d}.png" for i, t in enumerate(targets))
    return Examples(
        ids,
        ReadColumn(lambda i: picture(int(targets[i]), i), ArraySpec((96, 96, 3), "uint8"), ids),
        ArrayColumn(targets),
        modality="image",
    )


def splits(labels: Sequence[str] = LABELS, each: tuple[int, int, int] = (16, 4, 5), **fields: Any) -> Splits:
    """Splits with about `each` examples a class."""
    rng = np.random.default_rng(0)
    parts = []
    for name, count in zip(("train", "val", "test"), each, strict=True):
        counts = rng.integers(max(1, count // 2), 2 * count, len(labels))
        parts.append(examples(np.repeat(np.arange(len(labels)), counts).astype(np.int32), name, labels))
    return Splits(*parts, tuple(labels), **fields)


def probabilities(targets: np.ndarray, num_classes: int, skill: float = 2.6) -> np.ndarray:
    """Softmax outputs that are right more often than not."""
    rng = np.random.default_rng(1)
    logits = rng.gumbel(size=(len(targets), num_classes))
    logits[np.arange(len(targets)), targets] += skill + 0.5 * math.log(num_classes)
    confused = (targets + 1) % num_classes
    logits[np.arange(len(targets)), confused] += 1.2
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def phase_result(phase: Phase, start: float, end: float, *, improved: bool = True) -> PhaseResult:
    """A phase whose loss falls from `start` towards `end`."""
    rng = np.random.default_rng(phase.epochs)
    falling = end + (start - end) * np.exp(-np.arange(phase.epochs) / max(1, phase.epochs / 3))
    noisy = falling * (1 + 0.04 * rng.normal(size=phase.epochs))
    history = {
        "loss": falling * 0.8, "accuracy": 1 - falling / 3, "val_loss": noisy, "val_accuracy": 1 - noisy / 2.6,
        "lr": np.full(phase.epochs, phase.lr), "seconds": np.full(phase.epochs, 0.4),
    }  # fmt: skip
    digest = "4b7c9e21d0f3a856" * 4
    return PhaseResult(
        phase=phase,
        history={key: [float(v) for v in values] for key, values in history.items()},
        seconds=11.4,
        features_seconds=4.9,
        proof={"frozen_variables": 208, "trained_variables": 2, "sha256_before": digest, "sha256_after": digest},
        had={"unfrozen": phase.unfrozen * 0.96, "parameters": 12810, "parameters_of": 4_063_390,
             "cut": "efficientnet-lite0/block_12/add:0", "front": "computed once", "views": 1},
        best_epoch=max(1, phase.epochs - 1) if phase.epochs else 0,
        improved=improved,
    )  # fmt: skip


def exports() -> tuple[Exported, ...]:
    """Five files, one of which fell short."""
    why = "only 88.4 % of the labels are those of the model, and 90 % are asked (--min-agreement)"
    return (
        Exported("saved_model", "saved_model/", 18_200_000, 9.3, 0.0, 1.0, 0.7612, 0.0, True),
        Exported("float32", "model.tflite", 13_560_000, 5.1, 1.2e-6, 1.0, 0.7612, 0.0, True),
        Exported("float16", "model_float16.tflite", 6_810_000, 5.2, 0.0042, 1.0, 0.7612, 0.0, True),
        Exported("dynamic", "model_dynamic.tflite", 3_640_000, 8.7, 0.081, 0.978, 0.7391, -0.0217, True),
        Exported("int8", "model_int8.tflite.failed", 3_890_000, 2.4, 0.31, 0.884, 0.7826, 0.0217, False, why),
    )


def record() -> dict[str, Any]:
    """What finetune writes into `Run.record`."""
    return {
        "command": "tlkit run image_classification --data flowers --module zoo:efficientnet-lite0 --epochs 10 5",
        "seed": 0,
        "batch_size": 32,
        "module": {"handle": "zoo:efficientnet-lite0", "sha256": "9f2c64a1b7e0d358" * 4, "blocks": blocks()},
        "input_range": [0.0, 1.0],
        "versions": {"python": "3.11.7", "tlkit": "0.1.0", "tensorflow": "2.21.0", "keras": "3.15.1"},
        "machine": "Linux-6.1-x86_64",
        "threads": 2,
    }


def blocks() -> list[dict[str, Any]]:
    """Four blocks, the last two of which make up the top quarter of the depth."""
    shapes, depths = ([None, 112, 112, 32], [None, 28, 28, 40], [None, 7, 7, 320], [None, 1280]), (0.5, 0.76, 0.9, 1.0)
    return [
        {"name": f"block_{i}", "shape": shape, "parameters": 1000 * (i + 1), "depth": depth, "cost": 0.25}
        for i, (shape, depth) in enumerate(zip(shapes, depths, strict=True))
    ]


def run(labels: Sequence[str] = LABELS, data: Splits | None = None) -> Run:
    """A finished, exported run of two phases."""
    data = data or splits(
        labels,
        quarantine=(Quarantined("bird/broken.jpg", "The file ends in the middle of the picture."),
                    Quarantined("tool/page.jpg", "The file is a web page (HTML), not a picture.")),
        duplicates=(("flag/train_003.png", "flag/test_001.png"),),
    )  # fmt: skip
    task = tasks.classify(labels)
    evaluation = judged(task, data.test, probabilities(data.test.target_array, len(labels)))
    return Run(
        model=cast(Any, None),
        task=task,
        data=data,
        phases=(
            phase_result(Phase(10, 3e-3), 2.3, 0.9),
            phase_result(Phase(5, 3e-4, unfrozen=0.25, warmup=0.1, cosine=True), 0.88, 0.74),
        ),
        evaluation=evaluation,
        seconds={"import": 7.9, "module": 3.1, "data": 1.2, "phases": 22.8, "evaluate": 2.2, "export": 24.6},
        record=record(),
        exports=exports(),
    )


def regression_run() -> Run:
    """A run that regresses two values, with one phase and no exports."""
    rng = np.random.default_rng(2)
    truth = rng.normal(30, 8, size=(60, 2)).astype(np.float32)
    inputs = dataclasses.replace(examples(np.zeros(60, np.int32), "plant"), targets=truth)
    task = tasks.regress(["height_cm", "age_days"], mean=[30.0, 30.0], std=[8.0, 8.0])
    evaluation: Evaluation = judged(task, inputs, truth + rng.normal(0, 3, truth.shape))
    return Run(
        model=cast(Any, None),
        task=task,
        data=Splits(inputs, inputs, inputs),
        phases=(phase_result(Phase(1, 1e-3), 1.0, 0.5),),
        evaluation=evaluation,
        seconds={"phases": 3.0},
        record=record(),
    )
