"""The size that the data were read with and the one of finetune know each other; sample rates have one name."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit import data
from tlkit.core.errors import InputError
from tlkit.modalities.image import _size


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (20, 40, 40, 3), dtype=np.uint8), np.arange(20) % 2


def test_a_module_of_any_size_takes_the_size_that_the_data_were_read_with(pictures):
    import keras

    from tlkit import HubLayer

    layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()]
    layer = HubLayer(keras.Sequential(layers), input_range=(0.0, 1.0))
    sized = data.image.from_arrays(*pictures, image_size=(24, 24))
    plain = data.image.from_arrays(*pictures)
    assert _size(sized, layer, None) == (24, 24) == _size(sized, layer, (24, 24))
    assert _size(plain, layer, (32, 32)) == (32, 32) and _size(plain, layer, None) is None
    with pytest.raises(InputError, match=r"read with image_size=\(24, 24\), and finetune .* image_size=\(32, 32\)"):
        _size(sized, layer, (32, 32))


def test_from_arrays_says_sample_rate_and_still_knows_the_old_name():
    sounds, targets = [np.sin(np.arange(8000) / (3 + i)).astype("float32") for i in range(20)], np.arange(20) % 2
    new = data.audio.from_arrays(sounds, targets, sample_rate=8000, resampled_to=16_000)
    with pytest.warns(DeprecationWarning, match="`sample_rate`"):
        old = data.audio.from_arrays(sounds, targets, rate=8000, sample_rate=16_000)
    assert new.fingerprint == old.fingerprint
    with pytest.raises(InputError, match="sample_rate=16000"):
        data.audio.from_arrays(sounds, targets)
