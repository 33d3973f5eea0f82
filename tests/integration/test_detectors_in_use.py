"""A module that is a detector already is trained further: what it knows is kept, labels go by their names."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from painted import BARS_SIZE, bars

import tlkit
from tlkit.answers.boxes import strides_of
from tlkit.core.errors import InputError
from tlkit.core.progress import quiet
from tlkit.formats import hub_module

KNOWN = ("Wide", "person", "tall")  # of the module; the data have "tall" and "wide"
STRIDES = (4, 8)


def detector(folder, labels=KNOWN):
    """A net of convolutions with two branches at each of two strides, and weights by chance."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((BARS_SIZE, BARS_SIZE, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    outputs = {}
    for stride, width in zip(STRIDES, (24, 32), strict=True):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        outputs[f"neck_{stride}"] = x
        outputs[f"labels_{stride}"] = layers.Conv2D(len(KNOWN), 1)(x)
        outputs[f"reach_{stride}"] = layers.Conv2D(4, 1)(x)
    model = keras.Model(image, outputs)
    card = {"input_range": [0.0, 1.0], **({"labels": list(labels)} if labels else {})}
    return hub_module.write_keras_model(model, folder, card=card)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("detectors")
    detector(root / "module")
    return root


def test_it_begins_with_what_the_module_says(place):
    task = tlkit.tasks.detect(("tall", "wide", "new"), head="module", width=16)
    model = tlkit.build(str(place / "module"), task)
    image = np.random.default_rng(0).integers(0, 256, (2, BARS_SIZE, BARS_SIZE, 3)).astype(np.float32)
    raw = {name: np.asarray(tensor) for name, tensor in model(image).items()}
    outputs = tf.saved_model.load(str(place / "module"))(tf.constant(image / 255))
    assert strides_of(raw) == list(STRIDES)
    for stride in STRIDES:
        theirs = np.asarray(outputs[f"labels_{stride}"])
        np.testing.assert_allclose(raw[f"labels_{stride}"][..., :2], theirs[..., [2, 0]], atol=1e-5)
        np.testing.assert_allclose(raw[f"labels_{stride}"][..., 2], np.log(0.01 / 0.99), atol=1e-5)
        np.testing.assert_allclose(raw[f"reach_{stride}"], outputs[f"reach_{stride}"], atol=1e-5)


def test_it_is_trained_exported_and_opened_again(place, module_cache):
    folder = bars(place / "data")
    data = tlkit.data.boxes.from_coco(folder / "annotations.json", folder / "images", progress=False)
    task = tlkit.tasks.detect(data.labels, head="module", width=16)
    phases = (tlkit.Phase(epochs=8, lr=1e-2), tlkit.Phase(epochs=4, lr=2e-3, unfrozen=0.5))
    run = tlkit.finetune(str(place / "module"), task, data, phases, out=place / "run", batch_size=16, progress=quiet)
    losses = run.phases[0].history["loss"]
    assert losses[-1] < 0.8 * losses[0] and run.phases[0].proof["frozen_variables"] > 0
    run = tlkit.export(run, formats=("float32", "int8"), max_drop=0.1, progress=quiet)
    assert all(row.passed for row in run.exports)
    again = tlkit.load(run.folder)
    assert again.task.made_by[1]["head"] == "module"
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores == pytest.approx(run.scores, abs=1e-5)


def test_what_is_no_detector_is_refused(place, tmp_path):
    task = tlkit.tasks.detect(("tall", "wide"), head="module")
    with pytest.raises(InputError, match=r"is no detector that says how it is made: its outputs are .*'labels_4'"):
        tlkit.build(str(detector(tmp_path / "unnamed", labels=())), task)
    image = keras.Input((BARS_SIZE, BARS_SIZE, 3))
    plain = keras.Model(image, keras.layers.Conv2D(4, 3)(image))
    handle = hub_module.write_keras_model(plain, tmp_path / "plain", card={"input_range": [0.0, 1.0]})
    with pytest.raises(InputError, match=r'its outputs are one tensor, and neck_S.*Leave out `head="module"`'):
        tlkit.build(str(handle), task)


def test_narrow_maps_are_the_last_of_half_the_channels(tmp_path):
    image = keras.Input((BARS_SIZE, BARS_SIZE, 3))
    x = keras.layers.Conv2D(24, 3, strides=4, padding="same", activation="relu")(image)
    x = keras.layers.Conv2D(20, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(80, 1, activation="relu")(x)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    handle = str(hub_module.write_keras_model(model, tmp_path / "module", card={"input_range": [0.0, 1.0]}))
    widths = {}
    for tap in ("last", "narrow"):
        layer = tlkit.HubLayer(handle)
        tlkit.build(layer, tlkit.tasks.detect(("a",), strides=(4, 8), width=8, tap=tap))
        widths[tap] = [layer.graph.shapes[name][-1] for name in layer.taps]
    assert widths == {"last": [24, 80], "narrow": [24, 20]}
