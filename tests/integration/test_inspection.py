"""What `tlkit.inspect` says about modules of every kind, safe and unsafe."""

import dataclasses
import io
import json
import os

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

import tlkit
from tlkit.choosing import conversion, inspection
from tlkit.core.errors import InputError
from tlkit.formats import hub_module, tflite
from tlkit.layer.endpoints import open_endpoint

pytestmark = pytest.mark.long


def text(inspected):
    out = io.StringIO()
    Console(file=out, width=160).print(inspection.rendered(inspected))
    return out.getvalue()


def test_a_hub_module(module_folder):
    inspected = inspection.inspect_module(module_folder("keras3_hub"))
    assert (inspected.loaded, inspected.endpoint, inspected.takes_training) == (True, "__call__", True)
    assert [str(t) for t in inspected.inputs] == ["inputs: float32 (any, 32, 32, 3)"]
    assert [str(t) for t in inspected.outputs] == ["outputs: float32 (any, 12)"]
    net = modules.keras_model()
    assert inspected.parameters == net.count_params()
    assert inspected.trainable_parameters == sum(int(np.prod(v.shape)) for v in net.trainable_variables)
    assert inspected.batch_norms == sum(isinstance(layer, keras.layers.BatchNormalization) for layer in net.layers)
    assert inspected.dropout and inspected.unsafe == inspected.unknown == ()
    assert sum(b.parameters for b in inspected.blocks) == inspected.parameters
    assert inspected.conversion.converts and inspected.conversion.difference < 1e-5
    assert "RANDOM" not in text(inspected)
    assert "RANDOM, as the published ones cannot be had" in text(
        dataclasses.replace(inspected, card={"weights": "random"})
    )
    shown = text(inspected)
    assert "0 to 1 (its card says so)" in shown and "unfrozen" in shown and "converts with builtins" in shown
    assert json.loads(json.dumps(inspection.to_dict(inspected), allow_nan=False))["conversion"]["converts"] is True


def test_a_signature_without_a_call(module_folder):
    inspected = inspection.inspect_module(module_folder("signature_only"))
    assert (inspected.endpoint, inspected.takes_training, inspected.dropout) == ("serving_default", False, False)
    assert [t.name for t in inspected.outputs] == ["features", "twice"]
    assert [s.name for s in inspected.signatures] == ["serving_default"]
    assert inspected.conversion.converts
    with pytest.raises(InputError, match=r"no signature 'other'"):
        inspection.inspect_module(module_folder("signature_only"), signature="other")


def test_dicts_in_and_out(module_folder):
    inspected = inspection.inspect_module(module_folder("text_encoder"))
    assert [t.name for t in inspected.inputs] == ["input_mask", "input_type_ids", "input_word_ids"]
    assert inspected.input_range == (None, "it does not take images")
    assert inspected.conversion.converts and inspected.dropout


def test_pixels_are_told_from_the_graph(module_folder):
    inspected = inspection.inspect_module(module_folder("classifier"), convert=False)
    assert inspected.input_range == (
        (0.0, 255.0),
        "its graph proves it: such values become 0 to 1 in front of its first weights",
    )
    assert inspected.conversion is None
    assert "not tried" in text(inspected)


def test_what_does_not_convert_is_named(module_folder, capfd):
    inspected = inspection.inspect_module(module_folder("vocabulary"))
    assert not inspected.conversion.converts
    assert "StringLower" in inspected.conversion.reason and "\n" not in inspected.conversion.reason
    assert inspected.unsafe == ()
    assert "neither a custom op" not in capfd.readouterr().err


def test_what_cannot_be_cut_says_why(module_folder):
    inspected = inspection.inspect_module(module_folder("control_flow"), convert=False)
    assert inspected.blocks == () and "control flow" in inspected.cannot_cut
    assert "none: has control flow" in text(inspected)


def test_a_tf1_module(module_folder):
    inspected = inspection.inspect_module(module_folder("tf1_hub"), convert=False)
    assert (inspected.endpoint, inspected.parameters, inspected.batch_norms) == ("default", 412, 1)


def test_a_model_in_memory_and_a_loaded_module(module_folder):
    model = modules.keras_model()
    inspected = tlkit.inspect(model, convert=False)
    assert inspected.loaded and inspected.takes_training and inspected.parameters == model.count_params()
    loaded = tf.saved_model.load(str(module_folder("keras3_hub")))
    inspected = tlkit.inspect(loaded, convert=False)
    assert inspected.folder is None and [s.name for s in inspected.signatures] == ["serving_default"]


class Writing(tf.Module):
    def __init__(self, path):
        super().__init__()
        self.path, self.weight = path, tf.Variable(tf.ones((3, 2)), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
    def __call__(self, x):
        tf.io.write_file(self.path, "written")
        return tf.matmul(x, self.weight)


def test_an_unsafe_module_is_read_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    module = Writing(str(trace))
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.__call__)
    trace.unlink(missing_ok=True)
    inspected = inspection.inspect_module(tmp_path / "m")
    assert not inspected.loaded and inspected.endpoint is None and not trace.exists()
    assert [f.what for f in inspected.unsafe] == ["WriteFile"]
    assert [str(t) for t in inspected.inputs] == ["x: float32 (any, 3)"]
    assert (inspected.parameters, inspected.trainable_parameters, inspected.variables) == (6, 6, 1)
    assert "the scan refuses it" in text(inspected) and "WriteFile" in text(inspected)
    json.dumps(inspection.to_dict(inspected), allow_nan=False)
    trusted = inspection.inspect_module(tmp_path / "m", trust=True, convert=False)
    assert trusted.loaded and trusted.unsafe == inspected.unsafe


def test_no_module_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no module"):
        inspection.inspect_module(tmp_path / "nowhere")


def test_a_file_that_computes_otherwise_does_not_count(module_folder, monkeypatch):
    """What FACTS.md warns of: a conversion without an error whose file gives other numbers."""
    endpoint_of = tf.saved_model.load(str(module_folder("no_training")))
    whole = conversion.tflite.open_tflite

    def wrong(file, threads):
        opened = whole(file, threads)
        return conversion.Opened(lambda inputs: {k: v * np.nan for k, v in opened.call(inputs).items()}, owner=opened)

    monkeypatch.setattr(conversion.tflite, "open_tflite", wrong)
    converted = conversion.try_conversion(endpoint_of, open_endpoint(endpoint_of))
    assert not converted.converts and "other outputs than TensorFlow" in converted.reason


def test_swish_converts_from_a_folder(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="silu")(inputs)
    hub_module.write_keras_model(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)), tmp_path / "module")
    assert tlkit.inspect(tmp_path / "module").conversion.converts


def test_open_sizes_are_filled_in_for_images_alone():
    image = conversion._of_one(tf.TensorSpec((None, None, None, 3), tf.float32), (96, 64))
    assert image.shape.as_list() == [1, 96, 64, 3]
    assert conversion._of_one(tf.TensorSpec((None, None), tf.int32), (96, 64)).shape.as_list() == [1, None]
    assert conversion._of_one(tf.TensorSpec((), tf.float32), None).shape.as_list() == []


def test_stderr_is_given_back():
    before = os.fstat(2)
    with pytest.raises(ValueError), tflite.quiet():
        raise ValueError
    assert os.fstat(2).st_ino == before.st_ino
