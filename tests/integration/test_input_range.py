"""The range of pixels that a module takes: said, proved, measured, or asked for; never guessed."""

import importlib
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tlkit
from tlkit import graph as G
from tlkit.core.errors import InputError
from tlkit.layer import input_range
from tlkit.layer.hub_layer import HubLayer

SIDE = 24
PIXELS = tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)
FAMILIES = {  # the smallest of each
    "densenet": "DenseNet121", "convnext": "ConvNeXtTiny", "efficientnet": "EfficientNetB0",
    "efficientnet_v2": "EfficientNetV2B0", "inception_resnet_v2": "InceptionResNetV2", "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet", "mobilenet_v2": "MobileNetV2", "mobilenet_v3": "MobileNetV3Small",
    "nasnet": "NASNetMobile", "resnet": "ResNet50", "resnet_v2": "ResNet50V2", "vgg16": "VGG16", "xception": "Xception",
}  # fmt: skip
INSIDE = {"convnext", "efficientnet", "efficientnet_v2", "mobilenet_v3"}  # whose preprocess_input does nothing
BYTES, UNIT = (0.0, 255.0), (0.0, 1.0)


def module(first=lambda x: x, norm=False):
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 3))
    x = L.Conv2D(8, 3, 2, use_bias=not norm)(first(image))
    x = L.BatchNormalization(momentum=0.5)(x) if norm else x
    return keras.Model(image, L.GlobalAveragePooling2D()(L.ReLU()(x)))


def pictures(count=40):
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(110, 50, (count, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def trained(scale, offset, steps=30):
    """A module whose BatchNorm has seen pixels * scale + offset."""
    model = module(norm=True)
    for _ in range(steps):
        model(pictures().astype("float32") * scale + offset, training=True)
    return model


def data(count=24):
    return tlkit.data.image.from_arrays(pictures(count), np.arange(count) % 2)


def test_every_family_s_own_preprocessing_proves_its_range():
    module_names = {m.name for m in pkgutil.iter_modules(keras.src.applications.__path__)} - {"imagenet_utils"}
    families = {n for n in module_names if not n.endswith("_test")}
    assert families - {"resnet_v2", "vgg19"} <= set(FAMILIES)  # a new family joins the table above
    kernel = tf.Variable(np.random.default_rng(0).normal(size=(3, 3, 3, 2)).astype(np.float32))
    for family in FAMILIES:
        preprocess = importlib.import_module(f"keras.applications.{family}").preprocess_input
        body = tf.function(lambda x, p=preprocess: tf.nn.conv2d(p(x), kernel, 2, "SAME"), autograph=False)
        proof = G.proved_range(G.flatten(body.get_concrete_function(PIXELS), [kernel]))
        assert (None if proof is None else proof.range) == (None if family in INSIDE else BYTES), family


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_with_their_preprocessing_inside_in_every_form(family, tmp_path):
    application = importlib.import_module(f"keras.applications.{family}")
    side = 75 if "inception" in family or family == "xception" else 32
    image = keras.Input((side, side, 3))
    net = getattr(keras.applications, FAMILIES[family])(
        weights=None, include_top=False, pooling="avg", input_shape=(side, side, 3)
    )
    model = keras.Model(image, net(application.preprocess_input(image)))
    model.export(tmp_path / "exported", verbose=False)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    for form in (model, tmp_path / "exported", tmp_path / "saved"):
        assert tlkit.inspect(form, convert=False).input_range[0] == BYTES


def test_resized_and_scaled_inside_is_given_pixels_as_they_are():
    model = module(lambda x: L.Rescaling(1 / 127.5, offset=-1)(L.Resizing(20, 20)(x)))
    value_range, how = tlkit.inspect(model, convert=False).input_range
    assert value_range == BYTES and how.startswith("its graph proves it: such values become -1 to 1")
    built = tlkit.build(model, tlkit.tasks.classify(["a", "b"]))
    assert built.get_layer("backbone").input_range == BYTES


def test_where_nothing_tells_it_is_asked():
    asked = r"Nothing says which range of pixels .* takes.*`input_range`.*--input-range 0 255"
    bare, task = module(), tlkit.tasks.classify(["0", "1"])
    for do in (
        lambda: tlkit.build(bare, task),
        lambda: tlkit.finetune(bare, task, data(), out="never"),
        lambda: tlkit.extract(bare, data().train),
        lambda: tlkit.index(bare, tlkit.data.image.resized(data(), SIDE).train),
    ):
        with pytest.raises(InputError, match=asked):
            do()
    assert tlkit.inspect(bare, convert=False).input_range == (None, input_range.ASKED)
    assert (
        tlkit.build(HubLayer(bare, name="backbone", input_range=BYTES), task).get_layer("backbone").input_range == BYTES
    )


@pytest.mark.parametrize(
    ("scale", "offset", "value_range"), [(1.0, 0.0, BYTES), (1 / 255, 0.0, UNIT), (2 / 255, -1.0, (-1.0, 1.0))]
)
def test_a_trained_batch_norm_measures_the_range(scale, offset, value_range):
    layer = HubLayer(trained(scale, offset))
    established = input_range.established_range(layer, pictures(16))
    assert established.range == value_range and established.how.startswith("measured") and not established.proved


def test_a_new_batch_norm_measures_nothing_and_warns_of_nothing():
    layer = HubLayer(module(norm=True))
    assert input_range.established_range(layer, pictures(16)).range is None
    layer.input_range = BYTES
    assert input_range.range_warning(layer, pictures(16)) is None


def test_no_warning_against_what_the_graph_proves():
    layer = HubLayer(trained(1 / 255, 0.0))
    layer.input_range = BYTES
    assert "in (0.0, 1.0) it lies" in input_range.range_warning(layer, pictures(16))
    scaling = HubLayer(module(L.Rescaling(1 / 255), norm=True), input_range=BYTES)
    assert input_range.range_warning(scaling, pictures(16)) is None
    scaling.input_range = UNIT
    assert "its graph expects (0.0, 255.0)" in input_range.range_warning(scaling, pictures(16))


def test_the_hub_s_convention_binds_modules_of_the_hub_alone(module_folder):
    layer = HubLayer(module_folder("tf1_hub"))
    assert input_range.established_range(layer).how == "the convention of TF Hub's image modules"
    hub = input_range._HUB
    assert not hub.match("gs://acme-google/vgg16") and not hub.match("https://models.acme.com/tensorflow/vgg.tar.gz")
    assert hub.match("https://tfhub.dev/someone/net/1") and hub.match("kaggle:google/net/tensorFlow2/a/1")
    assert not hub.match("https://example.org/net.tar.gz") and not hub.match("kaggle:someone/net/tensorFlow2/a/1")
