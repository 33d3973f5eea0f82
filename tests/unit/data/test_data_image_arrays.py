"""Arrays of floats that are in 0 to 1 are refused, however they were resized and whatever lies beside them."""

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.data.image_source import checked_arrays

UNIT = np.linspace(0, 1, 16).reshape(4, 4)


@pytest.mark.parametrize("peak", [1.0, 1.01])
def test_floats_in_0_to_1_are_refused(peak):
    with pytest.raises(InputError, match="All images hold floats in 0 to 1"):
        list(checked_arrays([UNIT * peak] * 3))


@pytest.mark.parametrize("other", [UNIT * 255, np.full((4, 4), 255, np.uint8)])
def test_floats_in_0_to_1_beside_images_of_0_to_255_are_refused(other):
    with pytest.raises(InputError, match="19 of 20 images hold floats in 0 to 1, such as image 1, and others"):
        list(checked_arrays([other, *[UNIT] * 19]))


def test_black_images_and_those_of_ones_stay_what_they_are():
    dark = [np.zeros((4, 4)), np.ones((4, 4)), UNIT * 255]
    assert [image.max() for image in checked_arrays(dark)] == [0, 1, 255]
    assert [image.max() for image in checked_arrays([UNIT, UNIT * 1.01], 1.0)] == [255, 255]
