"""Augmentation: a pure function of picture and seed, inside the picture, neutral where it is switched off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.core.errors import InputError
from tlkit.data.augment import draws, recoloured, warped
from tlkit.data.image import augmentation

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_the_same_seed_gives_the_same_copy_and_others_differ():
    augment = augmentation(rotate=10)
    before = PICTURE.copy()
    copies = [augment(PICTURE, seed) for seed in range(20)]
    assert all(np.array_equal(copy, augment(PICTURE, seed)) for seed, copy in enumerate(copies))
    assert len({copy.tobytes() for copy in copies}) == 20
    assert all(copy.shape == PICTURE.shape and copy.dtype == np.uint8 for copy in copies)
    np.testing.assert_array_equal(PICTURE, before)


def test_flip_alone_mirrors_half_of_the_copies_exactly():
    augment = augmentation(crop=0, colour=0)
    mirrored = [np.array_equal(augment(PICTURE, seed), PICTURE[:, ::-1]) for seed in range(200)]
    plain = [np.array_equal(augment(PICTURE, seed), PICTURE) for seed in range(200)]
    assert sum(mirrored) + sum(plain) == 200
    assert 70 < sum(mirrored) < 130


def test_everything_off_changes_nothing():
    np.testing.assert_array_equal(augmentation(flip=False, crop=0, colour=0)(PICTURE, 3), PICTURE)


def test_neutral_steps_change_nothing():
    np.testing.assert_array_equal(warped(PICTURE, False, 1.0, (0.5, 0.5), 0.0), PICTURE)
    np.testing.assert_array_equal(warped(PICTURE, True, 1.0, (0.2, 0.9), 0.0), PICTURE[:, ::-1])
    np.testing.assert_array_equal(recoloured(PICTURE, 1, 1, 1), PICTURE)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    side=st.floats(0.1, 1),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    angle=st.floats(-0.785, 0.785),
    mirrored=st.booleans(),
)
def test_no_pixel_comes_from_outside(size, side, place, angle, mirrored):
    white = np.full((*size, 3), 255, np.uint8)
    assert warped(white, mirrored, side, place, angle).min() >= 254  # outside would be 0


def test_recolouring_follows_its_formulas():
    x = PICTURE.astype(float)
    luma = x @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(recoloured(PICTURE, 0.5, 1, 1), x * 0.5, atol=0.51)
    np.testing.assert_allclose(recoloured(PICTURE, 1, 0.5, 1), luma.mean() + (x - luma.mean()) * 0.5, atol=0.51)
    grey = recoloured(PICTURE, 1, 1, 0)
    np.testing.assert_allclose(grey, np.repeat(luma[..., None], 3, axis=2), atol=0.51)


def test_draws_are_pinned():
    assert [round(value, 4) for value in draws(0)[:4]] == [0.5134, 0.9801, 0.9912, 0.0095]
    assert draws(1) != draws(0)


def test_its_repr_names_it_in_caches():
    assert repr(augmentation(crop=0.2)) == "Augmentation(flip=True, crop=0.2, colour=0.1, rotate=0.0)"


@pytest.mark.parametrize("wrong", [{"crop": 1.0}, {"colour": -0.1}, {"rotate": 90}])
def test_shares_outside_their_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}` must lie in"):
        augmentation(**wrong)


def test_other_arrays_are_refused():
    with pytest.raises(InputError, match=r"Augmentation takes uint8 \(H, W, 3\). Received: float32"):
        augmentation()(PICTURE.astype(np.float32), 0)
