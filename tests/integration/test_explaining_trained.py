"""explain, of trained models: the heat of masks, boxes, points, sounds and series lies where what decides is."""

from __future__ import annotations

import functools

import numpy as np
import painted
import pytest
import zoo_checks

import tlkit
from tlkit.core.progress import quiet
from tlkit.explaining.explaining import METHODS

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]
SIZE, SIDE = painted.BARS_SIZE, 20
LABELS, COLOURS = ("red", "blue"), (painted.RED, painted.BLUE)
PHASES = (
    tlkit.Phase(epochs=30, lr=1e-2, warmup=0.1, cosine=True),
    tlkit.Phase(epochs=12, lr=3e-3, unfrozen=0.5, cosine=True),
)


@functools.cache
def squares(count=90):
    """Grey images uint8 (n, SIZE, SIZE, 3) with a red or a blue square each, and its label and upper left corner."""
    rng = np.random.default_rng(0)
    images = rng.integers(95, 125, (count, SIZE, SIZE, 3)).astype(np.uint8)
    corners, labels = rng.integers(0, SIZE - SIDE + 1, (count, 2)), np.arange(count) % 2
    for image, (y, x), label in zip(images, corners, labels, strict=True):
        image[y : y + SIDE, x : x + SIDE] = COLOURS[label]
    return images, labels, corners


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Convolutions with maps at strides 2, 4, 8 and 16."""
    return painted.bars_module(tmp_path_factory.mktemp("module"))


def trained(module, task, data, folder, phases=PHASES):
    return tlkit.finetune(module, task, data, phases, out=folder, batch_size=8, progress=quiet)


def corner_of(example_id: str) -> tuple[int, int]:
    """Upper left corner of the square of an example, whose id is its number."""
    y, x = squares()[2][int(example_id)]
    return int(y), int(x)


def share_inside(explanation, example_id: str) -> float:
    """Share of the heat that speaks for the label in the square and a quarter of a side around it."""
    heat, (y, x) = np.maximum(explanation.heat, 0), corner_of(example_id)
    around = SIDE // 4
    inside = heat[max(0, y - around) : y + SIDE + around, max(0, x - around) : x + SIDE + around]
    return float(inside.sum() / max(heat.sum(), 1e-12))


CHANCE = ((SIDE + 2 * (SIDE // 4)) / SIZE) ** 2  # of heat that is spread evenly, .22


@pytest.fixture(scope="module")
def segmenter(module, tmp_path_factory):
    images, labels, corners = squares()
    masks = np.zeros(images.shape[:3], np.uint8)
    for mask, (y, x), label in zip(masks, corners, labels, strict=True):
        mask[y : y + SIDE, x : x + SIDE] = 1 + label
    data = tlkit.data.masks.from_arrays(images, masks, labels=("ground", *LABELS))
    task = tlkit.tasks.segment(data.labels, strides=(2, 4, 8), width=16)
    return trained(module, task, data, tmp_path_factory.mktemp("segmenter"))


@pytest.fixture(scope="module")
def detector(module, tmp_path_factory):
    images, labels, corners = squares()
    boxes = [np.array([[x, y, SIDE, SIDE]], np.float32) for y, x in corners]
    data = tlkit.data.boxes.from_arrays(
        images, boxes, [[LABELS[label]] for label in labels], order="xywh", unit="pixels", labels=LABELS
    )
    task = tlkit.tasks.detect(data.labels, strides=(4, 8, 16), width=24)
    return trained(module, task, data, tmp_path_factory.mktemp("detector"))


@pytest.mark.parametrize("method", METHODS)
def test_of_a_mask_the_square_speaks_for_its_label(segmenter, method):
    run = segmenter
    assert run.scores["miou"] > 0.8
    part = run.data.test.subset(range(8))
    shares = []
    for i, example_id in enumerate(part.ids):
        mask = np.asarray(part.targets[i])
        label = run.task.labels[int(mask.max())]
        (explanation,) = tlkit.explain(run, part.subset([i]), method=method, label=label, steps=32)
        shares.append(share_inside(explanation, example_id))
    assert np.mean(shares) > 2 * CHANCE, shares


@pytest.mark.parametrize("method", METHODS)
def test_of_a_box_its_object_speaks_for_its_label(detector, method):
    run = detector
    assert run.scores["map50"] > 0.8
    part = run.data.test.subset(range(8))
    shares = []
    for i, example_id in enumerate(part.ids):
        (explanation,) = tlkit.explain(run, part.subset([i]), method=method, objects=1, steps=32)
        shares.append(share_inside(explanation, example_id))
    assert np.mean(shares) > 2 * CHANCE, shares


# -- sounds and series: what decides is in the first half or in the second

RATE, HERTZ = 16_000, {"low": 400, "high": 3_000}


def half_of(example_id: str) -> int:
    """Where an example has what decides, by its number: labels take turns, and halves after both."""
    return int(example_id) // 2 % 2


def share_in_half(heat: np.ndarray, half: int) -> float:
    """Share of the heat that speaks for the label in a half of the time, which is the last axis."""
    parts = [float(np.maximum(part, 0).sum()) for part in np.array_split(heat, 2, axis=-1)]
    return parts[half] / max(sum(parts), 1e-12)


@pytest.fixture(scope="module")
def listener(module_folder, tmp_path_factory):
    """A run that tells a low tone from a high one, each a quarter of a second long in noise of half a second."""
    rng, sounds = np.random.default_rng(0), []
    for i in range(80):
        wave, hertz = rng.normal(0, 0.01, RATE // 2), list(HERTZ.values())[i % 2] * rng.uniform(0.9, 1.1)
        start = half_of(str(i)) * RATE // 4
        wave[start : start + RATE // 4] += 0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE // 4) / RATE)
        sounds.append(wave.astype(np.float32))
    labels = [list(HERTZ)[i % 2] for i in range(80)]
    data = tlkit.data.audio.from_arrays(sounds, labels, sample_rate=RATE, seconds=0.5)
    task = tlkit.tasks.classify(data.labels, normalize=True)
    phases = (tlkit.Phase(epochs=8, lr=3e-2), tlkit.Phase(epochs=6, lr=3e-3, unfrozen=0.5))
    return trained(module_folder("waveform"), task, data, tmp_path_factory.mktemp("listener"), phases)


@pytest.mark.parametrize("method", METHODS)
def test_of_a_sound_the_tone_speaks_for_its_label(listener, method):
    run = listener
    assert run.scores["accuracy"] > 0.9
    part = run.data.test.subset(range(8))
    explanations = tlkit.explain(run, part, method=method)
    shares = [
        share_in_half(explanation.heat, half_of(example_id))
        for explanation, example_id in zip(explanations, part.ids, strict=True)
    ]
    assert np.mean(shares) > (0.6 if method == "grad_cam" else 0.7), shares  # whose map has steps of many samples


@pytest.fixture(scope="module")
def bumps(tmp_path_factory):
    """A run that tells a bump upwards from one downwards, in noise, by the zoo's random convolutions."""
    zoo_checks.folder("rocket")
    rng, count, steps = np.random.default_rng(0), 80, 48
    values = rng.normal(0, 0.1, (count, steps)).astype(np.float32)
    for i in range(count):
        start = half_of(str(i)) * steps // 2 + 8
        values[i, start : start + 8] += (2, -2)[i % 2] * np.hanning(8)
    data = tlkit.data.series.from_arrays(values, [("up", "down")[i % 2] for i in range(count)])
    task = tlkit.tasks.classify(data.labels, normalize=True, dropout=0.0, l2=1e-3)
    return trained("zoo:rocket", task, data, tmp_path_factory.mktemp("bumps"), (tlkit.Phase(epochs=20, lr=3e-3),))


def test_of_a_series_the_bump_speaks_for_its_label(bumps):
    run = bumps
    assert run.scores["accuracy"] > 0.9
    part = run.data.test.subset(range(8))
    explanations = tlkit.explain(run, part, method="occlusion")
    shares = [
        share_in_half(explanation.heat, half_of(example_id))
        for explanation, example_id in zip(explanations, part.ids, strict=True)
    ]
    assert np.mean(shares) > 0.8, shares
