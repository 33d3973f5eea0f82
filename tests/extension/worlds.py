"""Tiny data and modules for the plug-ins: pictures of 16 x 16 with dots and bars, a wave, sentences of three words."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

SIZE, CONTEXT, HORIZON, LENGTH = 16, 24, 4, 16
COLOURS = ((230, 40, 40), (40, 60, 230))


def _ground(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(90, 130, (SIZE, SIZE, 3)).astype(np.uint8)


def dots(folder: Path, count: int = 60) -> Path:
    """A red and a blue dot per picture, and points.csv with their places."""
    rng, rows = np.random.default_rng(1), []
    folder.mkdir(parents=True)
    for i in range(count):
        pixels, row = _ground(rng), [f"{i:03d}.png"]
        places = rng.integers(1, SIZE - 2, (2, 2))
        while np.abs(places[0] - places[1]).max() < 3:  # neither covers the other
            places = rng.integers(1, SIZE - 2, (2, 2))
        for colour, (x, y) in zip(COLOURS, places.tolist(), strict=True):
            pixels[y - 1 : y + 2, x - 1 : x + 2] = colour
            row += [str((x + 0.5) / SIZE), str((y + 0.5) / SIZE)]
        Image.fromarray(pixels).save(folder / row[0])
        rows.append(row)
    with (folder / "points.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def fields(folder: Path, count: int = 40) -> Path:
    """Pictures whose right part is red, with masks: 0 and 1, and an unknown line at the border."""
    rng = np.random.default_rng(2)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        pixels, mask, border = _ground(rng), np.zeros((SIZE, SIZE), np.uint8), int(rng.integers(4, SIZE - 4))
        pixels[:, border:] = COLOURS[0]
        mask[:, border:] = 1
        mask[:, border] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{i:03d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i:03d}.png")
    return folder


def bars(folder: Path, count: int = 60) -> Path:
    """None to two bars per picture, wide red ones and tall blue ones, and boxes.json."""
    rng, table = np.random.default_rng(3), {}
    folder.mkdir(parents=True)
    for i in range(count):
        pixels, rows = _ground(rng), []
        for label in rng.permutation(2)[: rng.integers(0, 3)]:
            width, height = ((8, 4), (4, 8))[label]
            x, y = (int(rng.integers(0, SIZE - side + 1)) for side in (width, height))
            pixels[y : y + height, x : x + width] = COLOURS[label]
            sides = (np.array([x, y, x + width, y + height]) / SIZE).tolist()
            rows.append([("tall", "wide")[1 - label], *sides])
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
        table[f"{i:03d}.png"] = rows
    (folder / "boxes.json").write_text(json.dumps(table))
    return folder


def wave(file: Path, count: int = 300) -> Path:
    """A noisy wave of period 12 around 50, one value a line."""
    rng = np.random.default_rng(4)
    values = 50 + 10 * np.sin(np.arange(count) * 2 * np.pi / 12) + rng.normal(0, 0.5, count)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(f"{value:.4f}" for value in values))
    return file


def sentences(file: Path) -> Path:
    """Short sentences, each once."""
    lines = [
        f"{who} {does} {what}" for who in ("a cat", "a dog", "a man", "we")
        for does in ("saw", "ate", "had") for what in ("it", "him", "me", "us")
    ]  # fmt: skip
    order = np.random.default_rng(5).permutation(len(lines))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines[i] for i in order))
    return file


def _chained(inputs: Any, layers: Sequence[keras.layers.Layer]) -> keras.Model:
    x = inputs
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def images() -> keras.Model:
    """Three convolutions, at strides 2, 4 and 8, and their mean; pixels in [0, 1]."""
    keras.utils.set_random_seed(0)
    convolutions = [
        keras.layers.Conv2D(width, 3, 2, padding="same", activation="relu", name=f"stride_{stride}")
        for stride, width in ((2, 12), (4, 16), (8, 16))
    ]
    pooling = keras.layers.GlobalAveragePooling2D(name="mean")
    return _chained(keras.Input((SIZE, SIZE, 3), name="image"), [*convolutions, pooling])


def series() -> keras.Model:
    """Two convolutions over time, flattened."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv1D(16, 5, 2, activation="relu"), keras.layers.Conv1D(16, 5, activation="relu")]
    flatten = keras.layers.Flatten(name="flat")
    return _chained(keras.Input((CONTEXT, 1), name="context"), [*layers, flatten])


def letters(count: int) -> keras.Model:
    """A table of letters, and two layers that look back alone."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Embedding(count, 16, name="table"),
        keras.layers.Conv1D(16, 4, padding="causal", activation="tanh", name="back"),
        keras.layers.Dense(16, name="hidden"),
    ]
    return _chained(keras.Input((LENGTH,), dtype="int32", name="letters"), layers)
