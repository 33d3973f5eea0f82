"""Mosaics: boxes fit what is drawn in them, masks fit boxes, and nothing is made before it is read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tlkit
from tlkit.core.errors import InputError
from tlkit.data import boxes, masks

SIZE, COUNT = 96, 12


def drawn(i: int):
    """A white rectangle on black, and its sides in pixels."""
    rng = np.random.default_rng(i)
    left, top = rng.integers(4, 40, 2)
    width, height = rng.integers(20, 50, 2)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[top : top + height, left : left + width] = 255
    return image, [left, top, left + width, top + height]


def of_boxes(**options):
    images, sides = zip(*(drawn(i) for i in range(COUNT)), strict=True)
    arguments = {"order": "xyxy", "unit": "pixels", "labels": ["one", "two"], "split": (0.6, 0.2, 0.2)} | options
    return boxes.from_arrays(list(images), [[side] for side in sides], [[i % 2] for i in range(COUNT)], **arguments)


def of_masks():
    images = [drawn(i)[0] for i in range(COUNT)]
    areas = [(image[..., 0] > 0) * np.uint8(1 + i % 2) for i, image in enumerate(images)]
    return masks.from_arrays(images, areas, labels=["ground", "one", "two"], image_size=SIZE, split=(0.6, 0.2, 0.2))


def test_boxes_fit_what_is_drawn():
    before = of_boxes(image_size=SIZE)
    after = boxes.mosaic(before, count=30, seed=1)
    first, checked, rests = len(before.train), 0, []
    assert len(after.train) == first + 30 and after.val is before.val and after.labels == before.labels
    np.testing.assert_array_equal(after.train.inputs[0], before.train.inputs[0])
    np.testing.assert_array_equal(after.train.targets[0], before.train.targets[0])
    for i in range(first, len(after.train)):
        image, rows = after.train.inputs[i], after.train.targets[i]
        assert image.shape == (SIZE, SIZE, 3) and len(rows) <= 4
        covered = np.zeros((SIZE, SIZE), bool)
        for left, top, right, bottom in np.round(rows[:, 1:] * SIZE).astype(int):
            inner = image[top + 2 : bottom - 2, left + 2 : right - 2, 0]
            assert not inner.size or (inner >= 128).mean() > 0.97
            covered[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
            checked += 1
        rests.append((image[..., 0][~covered] >= 128).mean())
    assert checked > 50 and np.mean(rests) < 0.02 and max(rests) < 0.15  # what is left of less than a quarter goes
    batch = after.train.targets.take(np.arange(len(after.train)))
    assert batch.shape[1:] == (after.train.targets.most, 5)


def test_masks_are_those_of_the_same_parts():
    after = masks.mosaic(of_masks(), count=10)
    for i in range(len(after.train) - 10, len(after.train)):
        image, mask = after.train.inputs[i], after.train.targets[i]
        assert mask.shape == (SIZE, SIZE) and ((image[..., 0] >= 128) == (mask > 0)).mean() > 0.97
    assert after.train.targets.take(np.arange(len(after.train))).dtype == np.uint8


def test_the_same_seed_makes_the_same():
    before = of_boxes(image_size=SIZE)
    prints = [boxes.mosaic(before, count=5, seed=seed).fingerprint for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_augmentation_and_ignored_boxes_go_on():
    before = of_boxes(image_size=SIZE, augment=boxes.augmentation())
    ignored = tlkit.columns.RaggedColumn([before.train.targets[i] for i in range(len(before.train))], fill=-1)
    train = dataclasses.replace(before.train, columns={"ignored": ignored})
    after = boxes.mosaic(dataclasses.replace(before, train=train), count=4)
    assert after.train.augment == before.train.augment
    for i in range(len(before.train), len(after.train)):
        np.testing.assert_array_equal(after.train.columns["ignored"][i], after.train.targets[i])


def test_what_has_no_size_or_no_boxes_is_refused():
    with pytest.raises(InputError, match="Mosaics are made of four images or more of one size"):
        boxes.mosaic(of_boxes())
    with pytest.raises(InputError, match="`count` must be a whole number"):
        boxes.mosaic(of_boxes(image_size=SIZE), count=0)
    images = [drawn(i)[0] for i in range(COUNT)]
    classes = tlkit.data.image.from_arrays(images, np.arange(COUNT) % 2, image_size=SIZE, split=(0.6, 0.2, 0.2))
    with pytest.raises(InputError, match="Mosaics are made with boxes, rows of 5, or masks"):
        boxes.mosaic(classes)
