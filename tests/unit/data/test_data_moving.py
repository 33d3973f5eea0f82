"""What is annotated moves with the picture: a drawn box, mask and point are compared with where they should be."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tlkit.core.errors import InputError
from tlkit.data import image
from tlkit.data.augment import VOID, MovingAugmentation, moved_boxes, moving

SIZE = 256


def drawn_picture(box, height=SIZE, width=SIZE):
    """A white rectangle on black, its mask, and its row in shares of the sides."""
    left, top, right, bottom = box
    mask = np.zeros((height, width), np.uint8)
    mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 1
    ys, xs = np.nonzero(mask)
    row = np.float32([[3, xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height]])
    return np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), mask, row


def around(mask):
    """left, top, right, bottom of what is 1, in shares."""
    ys, xs = np.nonzero(mask == 1)
    height, width = mask.shape
    return np.array([xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height])


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.clip(high - low, 0, None).prod()
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


def augmentations(moves, **settings):
    return MovingAugmentation(colour=0.0, moves=moves, keep=0.0, **settings)


KINDS = {
    "flip": {"crop": 0.0},
    "crop": {"flip": False, "crop": 0.6},
    "scale": {"flip": False, "crop": 0.3, "shrink": 1.5},
    "all": {"crop": 0.5, "shrink": 1.0},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [(SIZE, SIZE), (180, 320)])
def test_the_moved_box_fits_the_moved_mask_and_picture(kind, sides):
    picture, mask, rows = drawn_picture((0.3, 0.4, 0.62, 0.8), *sides)
    boxes, masks = (augmentations(moves, **KINDS[kind]) for moves in ("boxes", "mask"))
    fits, seen = [], set()
    for seed in range(40):
        drawn = boxes.draw(seed)
        assert masks.draw(seed) == drawn
        moved = masks.targets(mask, drawn)
        bright = boxes.inputs(picture, drawn)[..., 0] >= 192
        assert set(np.unique(moved)) <= {0, 1, VOID}
        box = boxes.targets(rows, drawn)
        if not (moved == 1).any():
            assert not len(box) or (box[0, 3:] - box[0, 1:3]).min() * min(sides) < 1
            continue
        assert box.shape == (1, 5) and box[0, 0] == 3
        pixels = np.array(sides[::-1] * 2)
        assert np.abs((box[0, 1:] - around(moved)) * pixels).max() <= 1.01  # a mask has whole pixels
        assert np.abs((box[0, 1:] - around(bright)) * pixels).max() <= 2.01  # and a picture soft edges
        fits += [overlap(box[0, 1:], around(moved)), overlap(box[0, 1:], around(bright))]
        seen.add(box.tobytes())
    assert np.mean(fits) > 0.97 and len(seen) >= 2


def test_boxes_of_a_flip_are_those_of_keras():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, SIZE, (5, 2, 2)), axis=1).reshape(5, 4).astype(np.float32)
    layer = keras.layers.RandomFlip("horizontal", bounding_box_format="xyxy", seed=1)
    labelled = {
        "images": np.zeros((1, SIZE, SIZE, 3), np.float32),
        "bounding_boxes": {"boxes": corners[None], "labels": np.arange(5)[None]},
    }
    flipped = {tuple(np.round(np.asarray(layer(labelled)["bounding_boxes"]["boxes"])[0].ravel(), 2)) for _ in range(12)}
    rows = np.concatenate([np.arange(5)[:, None], corners / SIZE], axis=1).astype(np.float32)
    mirrored = {"mirrored": 1.0, "side": 1.0, "left": 0.5, "top": 0.5, "angle": 0.0}
    ours = moved_boxes(rows, mirrored, 0.25)[:, 1:] * SIZE
    assert any(np.allclose(ours.ravel(), flip, atol=0.02) for flip in flipped)


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(0.05, 0.95), y=st.floats(0.05, 0.95), seed=st.integers(0, 10**6), kind=st.sampled_from(sorted(KINDS)),
)  # fmt: skip
def test_a_point_moves_to_where_its_pixel_does(x, y, seed, kind):
    height, width = 120, 200
    column, line = int(x * width), int(y * height)
    mask = np.zeros((height, width), np.uint8)
    mask[line - 1 : line + 2, column - 1 : column + 2] = 1
    points = np.float32([[(column + 0.5) / width, (line + 0.5) / height, 2], [0, 0, 0]])
    augment = augmentations("points", **KINDS[kind])
    drawn = augment.draw(seed)
    (moved, unlabelled), foreground = augment.targets(points, drawn), augmentations("mask").targets(mask, drawn) == 1
    assert unlabelled.tolist() == [0, 0, 0]
    assume(foreground.any() and moved[2])
    ys, xs = np.nonzero(foreground)
    assert abs(moved[0] * width - (xs.mean() + 0.5)) < 3 and abs(moved[1] * height - (ys.mean() + 0.5)) < 3


def test_points_change_sides_in_a_mirrored_copy():
    augment = MovingAugmentation(crop=0, colour=0, moves="points", mirror=(1, 0, 2))
    points = np.float32([[0.2, 0.3, 2], [0.9, 0.3, 1], [0.5, 0.6, 2]])
    mirrored = next(d for d in map(augment.draw, range(20)) if d["mirrored"])
    expected = [[0.1, 0.3, 1], [0.8, 0.3, 2], [0.5, 0.6, 2]]
    np.testing.assert_allclose(augment.targets(points, mirrored), expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), keep=st.floats(0, 1), count=st.integers(0, 6))
def test_moved_boxes_stay_inside_and_small_rests_go(seed, keep, count):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(-1, 4)
    rows = np.concatenate([np.arange(count)[:, None], corners], axis=1).astype(np.float32)
    augment = MovingAugmentation(crop=0.8, shrink=0.5, keep=keep)
    drawn = augment.draw(seed)
    moved = augment.targets(rows, drawn)
    assert moved.dtype == np.float32 and moved.shape[1] == 5 and (moved[:, 1:] >= 0).all() and (moved[:, 1:] <= 1).all()
    areas = (moved[:, 3:] - moved[:, 1:3]).prod(axis=1) * drawn["side"] ** 2
    before = rows[moved[:, 0].astype(int)]
    assert (areas >= (keep - 1e-3) * (before[:, 3:] - before[:, 1:3]).prod(axis=1)).all()


def test_masks_turn_with_their_picture():
    picture, mask, _ = drawn_picture((0.3, 0.4, 0.62, 0.8), 180, 320)
    augment = augmentations("mask", rotate=30)
    fits = []
    for seed in range(20):
        drawn = augment.draw(seed)
        moved, bright = augment.targets(mask, drawn) == 1, augment.inputs(picture, drawn)[..., 0] >= 128
        fits.append((moved & bright).sum() / max(1, (moved | bright).sum()))
    assert min(fits) > 0.95


def test_a_mask_of_another_size_moves_alike():
    _, mask, _ = drawn_picture((0.3, 0.4, 0.62, 0.8))
    augment = augmentations("mask", crop=0.5)
    for seed in range(20):
        drawn = augment.draw(seed)
        large, small = augment.targets(mask, drawn), augment.targets(mask[::4, ::4], drawn)
        assert (large[2::4, 2::4] == small).mean() > 0.95


def test_the_pixels_are_those_of_images_own_augmentation():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    augment, notes = moving(image.augmentation(crop=0.4), "boxes")
    for seed in range(20):
        np.testing.assert_array_equal(augment(picture, seed), image.augmentation(crop=0.4)(picture, seed))
    assert notes == () and moving(None, "mask") == (None, ())


def test_what_cannot_move_is_refused():
    with pytest.raises(InputError, match="The box around a turned box is too large"):
        MovingAugmentation(rotate=5)
    with pytest.raises(InputError, match=r"`shrink` must lie in \[0, 3\]"):
        MovingAugmentation(shrink=9)
    with pytest.raises(InputError, match="`augment` moves boxes, and these targets are mask"):
        moving(MovingAugmentation(), "mask")
