"""Runs to export, made without a module from outside: stripes of four directions, learned in seconds."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import keras
import numpy as np

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.examples import ArraySpec, Examples, Pipeline, Splits
from tlkit.core.run import Exported, Run
from tlkit.core.task import Task
from tlkit.exporting import NAMES, export, formats

FILES = {name: getattr(formats, name).file for name in NAMES}
SIZE = 32
BACKGROUND = (250, 180, 20)  # behind what is transparent
LABELS = ("flat", "rising", "two\nlines", "fällend ✓")


def stripes(count: int, seed: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, size, size, 3) pictures of stripes, and int32 (count,) their direction 0..3."""
    rng = np.random.default_rng(seed)
    directions = np.arange(count, dtype=np.int32) % 4
    y, x = np.mgrid[:size, :size]
    images = np.empty((count, size, size, 3), np.uint8)
    for i, direction in enumerate(directions):
        angle = direction * np.pi / 4 + rng.normal() * 0.1
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.35, 0.6) + rng.uniform(0, 6))
        colour = rng.uniform(0.5, 1, 3)
        images[i] = np.clip(128 + 90 * wave[..., None] * colour + rng.normal(size=(size, size, 3)) * 40, 0, 255)
    return images, directions


def examples(images: np.ndarray, targets: np.ndarray) -> Examples:
    """Examples of arrays."""
    names = tuple(str(i) for i in range(len(images)))
    spec = ArraySpec(images.shape[1:], "uint8")
    return Examples(
        names,
        ReadColumn(images.__getitem__, spec, names),
        ArrayColumn(targets),
        modality="image",
        pipeline=Pipeline().then("image", background=list(BACKGROUND)),
    )


def module() -> keras.Model:
    """A small network with BatchNorm and a depthwise convolution, pixels in [0, 1]."""
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3))
    x = image
    for layer in (layers.Conv2D(16, 5, 2, use_bias=False), layers.DepthwiseConv2D(3), layers.Conv2D(24, 3, 2)):
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.7)(layer(x)))
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def plain_model(task: Task) -> keras.Model:
    """The same without a HubLayer, as somebody would write it in Keras alone."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    backbone = keras.Sequential([keras.layers.Rescaling(1 / 255), module()], name="backbone")
    return keras.Model(image, task.head(backbone(image)))


def run_of(task: Task, model: keras.Model, targets: tuple[np.ndarray, ...] | None = None, epochs: int = 6) -> Run:
    """A run of `task` on stripes; `targets` replaces the directions of the three splits."""
    pictures = [stripes(count, seed) for seed, count in enumerate((256, 8, 100))]
    chosen = targets or tuple(directions for _, directions in pictures)
    splits = Splits(*(examples(x, y) for (x, _), y in zip(pictures, chosen, strict=True)), labels=task.labels)
    model.compile(keras.optimizers.Adam(5e-3), task.objective.loss(), metrics=task.objective.metrics())
    model.fit(pictures[0][0].astype("float32"), chosen[0], epochs=epochs, verbose=0)
    return Run(model, task, splits)


@functools.cache
def classifier() -> Run:
    """A classifier over a HubLayer, with awkward labels."""
    from tlkit.layer.hub_layer import HubLayer
    from tlkit.model.build import build

    keras.utils.set_random_seed(0)
    task = tasks.classify(LABELS)
    backbone = HubLayer(module(), trainable=True, batch_stats="adapt", input_range=(0, 1), name="backbone")
    return run_of(task, build(backbone, task))


@functools.cache
def exported() -> tuple[Path, tuple[Exported, ...]]:
    """The classifier's export, all formats, made once a session."""
    folder = Path(tempfile.mkdtemp(prefix="tlkit-test-export-"))
    return folder, export(classifier(), folder)
