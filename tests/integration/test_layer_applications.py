"""keras.applications by name, with random weights where none can be had: made a layer, trained, opened again."""

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf

import tlkit
from tlkit import HubLayer

pytestmark = pytest.mark.long

SIDE = 75  # the smallest that InceptionV3 takes
NAMES = {"VGG16": (26, 512), "ResNet50": (318, 2048), "InceptionV3": (376, 2048)}  # variables, features


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """No downloads, and nothing of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield


def pixels(side=SIDE, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, side, side, 3)).astype("uint8")


def by_name(name, side=SIDE, **arguments):
    with pytest.warns(UserWarning, match="RANDOM weights"):
        return HubLayer(f"keras.applications:{name}/{side}", offline=True, **arguments)


def test_a_keras_model_as_handle(tmp_path):
    net = modules.keras_model()
    layer = HubLayer(net, trainable=True)
    x = modules.inputs("keras3_hub")
    np.testing.assert_allclose(layer(x), net(x, training=False), atol=1e-5)
    assert len(layer.trainable_weights) == len(net.trainable_weights)
    model = keras.Sequential([layer, keras.layers.Dense(2)])
    expected = model(x)
    layer.weights[0].assign(layer.weights[0] * 1.5)
    assert not np.array_equal(net.weights[0], layer.weights[0]), "the layer must not share the model's weights"
    moved = model(x)
    assert not np.array_equal(moved, expected)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(tlkit.load(tmp_path / "m.keras")(x), moved)


@pytest.mark.parametrize(
    "name", ["VGG16", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ResNet50", "InceptionV3"))]
)
def test_by_name_it_trains_and_opens_again(name, tmp_path):
    keras.utils.set_random_seed(0)
    count, features = NAMES[name]
    layer = by_name(name, input_range=None)
    layer.input_range = tuple(layer.card["input_range"])
    assert (len(layer.weights), layer.compute_output_shape((None, SIDE, SIDE, 3))) == (count, (None, features))
    whole = layer(pixels())
    assert np.all(np.isfinite(whole))
    assert len(layer.unfreeze(0.1)) >= 1
    before = {v.path: v.numpy() for v in layer.weights}
    model = keras.Sequential([layer, keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pixels(batch=8), np.arange(8) % 2, epochs=1, batch_size=4, verbose=0)
    moved = {v.path for v in layer.weights if not np.array_equal(v, before[v.path])}
    assert moved == {v.path for v in layer.trainable_weights}
    cut = layer.cut_for(0.1)
    scale = float(tf.reduce_max(tf.abs(layer(pixels()))))
    np.testing.assert_allclose(
        layer.back(cut)(layer.front(cut)(pixels())), layer(pixels()), atol=1e-5 * max(1.0, scale)
    )
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(tlkit.load(tmp_path / "m.keras")(pixels()), model(pixels()))
