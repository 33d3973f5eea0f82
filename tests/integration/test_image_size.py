"""The size that the data were read with and the one of finetune know each other; sample rates have one name."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tlkit
from tlkit import data
from tlkit.core.errors import InputError
from tlkit.formats import hub_module
from tlkit.modalities.image import _size

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (20, 40, 40, 3), dtype=np.uint8), np.arange(20) % 2


def test_a_module_of_any_size_takes_the_size_that_the_data_were_read_with(pictures):
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


# -- modules that were exported for one size


def net(size, *, ending="pooled", resizing=False):
    """Strides 2 to 8 with a squeeze-excitation; the same weights at any size."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((size, size, 3))
    x = layers.Resizing(32, 32)(image) if resizing else image
    for filters in (4, 6, 8):
        x = layers.Conv2D(filters, 3, 2, "same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, gate])
    if ending == "dense":
        return keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))
    if ending == "places":
        x = layers.Reshape((16, 8))(x) + layers.Embedding(16, 8)(np.arange(16))
        return keras.Model(image, layers.GlobalAveragePooling1D()(x))
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


@pytest.fixture
def exported(tmp_path):
    def write(**kind):
        module = net(32, **kind)
        hub_module.write_keras_model(module, tmp_path / "module")
        return str(tmp_path / "module"), module

    return write


def at(size, module):
    """The same weights in a net made for that size."""
    other = net(size)
    other.set_weights(module.get_weights())
    return other


def test_a_convolutional_module_runs_at_another_size_and_is_cut_there(exported):
    handle, module = exported()
    layer = tlkit.HubLayer(handle, image_size=(48, 48), input_range=(0.0, 255.0), trainable=True)
    x = np.random.default_rng(0).uniform(0, 255, (3, 48, 48, 3)).astype("float32")
    np.testing.assert_allclose(layer(x), at(48, module)(x), atol=1e-4)
    assert {stride: layer.graph.shapes[name][1:3] for stride, name in layer.feature_maps.items()} == {
        2: [24, 24], 4: [12, 12], 8: [6, 6]
    }  # fmt: skip
    for share in (0.2, 0.6):
        cut = layer.cut_for(share)
        front, back = layer.front(cut), layer.back(cut)
        np.testing.assert_array_equal(back(front(x)), layer(x))
    with pytest.raises(InputError, match="does not take these inputs"):
        layer(x[:, :32, :32])


def test_it_trains_saves_and_opens_at_that_size(exported, pictures, tmp_path):
    handle, _ = exported()
    splits = data.image.from_arrays(*pictures)
    layer = tlkit.HubLayer(handle, input_range=(0.0, 255.0), name="backbone")
    phases = (tlkit.Phase(1, 1e-2), tlkit.Phase(1, 1e-3, unfrozen=0.5))
    run = tlkit.finetune(
        layer, tlkit.tasks.classify(splits.labels), splits, phases, image_size=(48, 40), out=tmp_path / "run"
    )
    assert run.model.input_shape == (None, 48, 40, 3)
    assert any("was exported for images of 32x32 and runs at 48x40" in note for note in run.data.notes)
    again = tlkit.load(tmp_path / "run")
    x = np.random.default_rng(0).integers(0, 255, (2, 48, 40, 3)).astype("float32")
    np.testing.assert_allclose(again.model(x), run.model(x), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ({"ending": "dense"}, "layers of it were made for them"),
        ({"ending": "places"}, "layers of it were made for them"),
        ({"resizing": True}, "it resizes images to that by itself"),
    ],
)
def test_what_was_made_for_one_size_says_so(exported, pictures, kind, reason):
    handle, _ = exported(**kind)
    splits = data.image.from_arrays(*pictures)
    sentence = rf"takes images of 32x32 only: {reason}; leave image_size out\. Received: image_size=\(48, 48\)"
    with pytest.raises(InputError, match=sentence):
        tlkit.HubLayer(handle, image_size=(48, 48))
    layer = tlkit.HubLayer(handle, input_range=(0.0, 255.0))
    with pytest.raises(InputError, match=sentence):
        tlkit.build(layer, tlkit.tasks.classify(["a", "b"]), image_size=(48, 48))
    with pytest.raises(InputError, match=sentence):
        tlkit.finetune(layer, tlkit.tasks.classify(splits.labels), splits, image_size=(48, 48))
    assert layer(np.zeros((1, 32, 32, 3), "float32")).shape[0] == 1  # it is as it was


def test_training_statistics_and_called_layers_are_refused_at_another_size(exported):
    handle, _ = exported()
    with pytest.raises(InputError, match="statistics cannot adapt"):
        tlkit.HubLayer(handle, image_size=(48, 48)).batch_stats = "adapt"
    layer = tlkit.HubLayer(handle)
    layer(keras.Input((32, 32, 3)))
    with pytest.raises(InputError, match="has been called already, so its size is settled"):
        layer.resize((48, 48))


def test_a_module_without_images_has_no_size():
    texts = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(InputError, match="takes no images: leave image_size out"):
        tlkit.HubLayer(texts, image_size=(48, 48))


@pytest.mark.slow
def test_efficientnet_lite0_at_256_is_the_net_built_for_256():
    from tlkit.zoo.efficientnet_lite0 import network

    fixed_size, open_size = network(size=224), network(size=None)
    open_size.set_weights(fixed_size.get_weights())
    layer = tlkit.HubLayer(fixed_size, image_size=(256, 256))
    x = np.random.default_rng(0).uniform(0, 1, (2, 256, 256, 3)).astype("float32")
    np.testing.assert_allclose(layer(x), open_size(x), atol=1e-4)
