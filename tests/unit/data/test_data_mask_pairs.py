"""Which mask is which image's, by their names alone."""

from __future__ import annotations

import pytest

from tlkit.core.errors import InputError
from tlkit.data.masks import partners

PAIRED = {
    "the same name": ("1.jpg 2.jpg", "1.png 2.png", "1.png 2.png"),
    "an ending": ("a/1.jpg 2.jpg", "a/1_mask.png 2_gt.png", "a/1_mask.png 2_gt.png"),
    "the same name before an ending": ("1.jpg", "1.png 1_mask.png", "1.png"),
    "an ending that names another image": ("hand.png hand_L.png", "hand_L.png", "- hand_L.png"),
    "endings behind both": ("hand.png hand_L.png", "hand_mask.png hand_L_mask.png", "hand_mask.png hand_L_mask.png"),
}


@pytest.mark.parametrize("kind", PAIRED)
def test_masks_have_the_names_of_their_images(kind):
    images, masks, expected = (names.split() for names in PAIRED[kind])
    paired = partners(images, masks)
    assert [paired.get(name, "-") for name in images] == expected


BESIDE = {
    "plain": ("1.png 1_mask.png 2.png", "1.png 1_mask.png"),
    "an image whose name ends as masks do": ("hand_L.png hand_L_mask.png", "hand_L.png hand_L_mask.png"),
    "and one without a mask": ("hand.png hand_L.png hand_L_mask.png", "hand_L.png hand_L_mask.png"),
    "and both with a mask": (
        "hand.png hand_L.png hand_L_mask.png hand_mask.png",
        "hand.png hand_mask.png hand_L.png hand_L_mask.png",
    ),
    "a mask alone": ("1.png 1_mask.png 2_mask.png", "1.png 1_mask.png"),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_masks_may_lie_beside_their_images(kind):
    files, expected = (names.split() for names in BESIDE[kind])
    assert partners(files, files, within=True) == dict(zip(expected[::2], expected[1::2], strict=True))


REFUSED = {
    "two masks": ("1.jpg", "1.png 1.tif", "The masks '1.png' and '1.tif' are both of the image '1.jpg': remove one"),
    "two masks with an ending": ("1.jpg", "1_gt.tif 1_gt.png", "'1_gt.png' and '1_gt.tif' are both of the image"),
    "two images": ("1.jpg 1.png", "1.png", "The images '1.jpg' and '1.png' share the mask '1.png': rename or remove"),
    "two endings of one mask": ("a.png a_color.png", "a_color_mask.png", "The images 'a.png' and 'a_color.png' share"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mask_that_could_be_anothers_is_refused(kind):
    images, masks, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        partners(images.split(), masks.split())


def test_two_masks_of_no_image_are_no_trouble():
    assert partners(["2.jpg"], ["1.png", "1.tif", "2.png"]) == {"2.jpg": "2.png"}
