"""Modules of every kind, opened, packed and unpacked."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf

from tlkit.core import files
from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.formats import hub_module
from tlkit.hub import open_module, pack, unpack, variables
from tlkit.hub.reference_variables import with_resource_variables

ROOT = Path(__file__).parents[2]
SOME = ("keras3_hub", "keras3_export", "signature_only", "tf1_hub", "vocabulary")


def outputs(loaded, kind):
    """Flat outputs of whatever a module of this kind answers with, in inference mode."""
    x = tf.nest.map_structure(tf.constant, modules.inputs(kind))
    if callable(loaded):
        return [t.numpy() for t in tf.nest.flatten(loaded(x))]
    signature = loaded.signatures.get("serving_default") or loaded.signatures["default"]
    (name,) = signature.structured_input_signature[1]
    return [t.numpy() for t in tf.nest.flatten(signature(**{name: x}))]


@pytest.mark.parametrize("kind", SOME)
def test_packed_without_weights_and_whole_again_with_them(kind, module_folder):
    folder = module_folder(kind)
    module = open_module(folder)
    assert module.sha256 == files.sha256_tree(folder)
    assert (module.handle, module.folder) == (str(folder), folder)
    data = pack(folder)
    assert data == pack(folder)
    empty = unpack(data)
    theirs, ours = variables(module.loaded), variables(empty.loaded)
    assert [v.name for v in theirs] == [v.name for v in ours]
    assert [v.trainable for v in theirs] == [v.trainable for v in ours]
    assert len(ours) >= 2
    assert not any(np.any(v.numpy()) for v in ours)
    for mine, original in zip(ours, theirs, strict=True):
        mine.assign(original)
    for a, b in zip(outputs(module.loaded, kind), outputs(empty.loaded, kind), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_unpacked_vocabulary_can_be_exported_again(module_folder, tmp_path):
    """The assets must outlive loading: TensorFlow copies them when the object is saved."""
    module = unpack(pack(module_folder("vocabulary")))
    tf.saved_model.save(module.loaded, str(tmp_path / "again"))
    assert (tmp_path / "again" / "assets" / "vocabulary-words.txt").read_text().split() == list(modules.VOCABULARY)
    assert len(outputs(open_module(tmp_path / "again").loaded, "vocabulary")) == 1


def test_a_card_travels(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    folder = hub_module.write_keras_model(model, tmp_path / "m", card={"input_range": [0, 1]})
    assert open_module(folder).card == {"input_range": [0, 1]}
    assert unpack(pack(folder)).card == {"input_range": [0, 1]}


@pytest.mark.parametrize(
    ("content", "card"),
    [
        ('{"input_size": [96, 64]}', {"image_size": [96, 64]}),
        ('{"input_size": [96, 64], "image_size": [32, 32]}', {"image_size": [32, 32]}),
        ('{"input_size": null}', {}),
    ],
)
def test_the_size_of_images_is_one_word_also_of_cards_that_were_written_before(content, card, module_folder, tmp_path):
    shutil.copytree(module_folder("keras3_export"), tmp_path / "m")
    (tmp_path / "m" / hub_module.CARD_FILE).write_text(content)
    assert open_module(tmp_path / "m").card == card


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1", "is no JSON"),
        ('{"input_size": 224}', "height and width in pixels, such as .*, as 'input_size'"),
        ("[1]", r"must be a JSON object. Received: \[1\]"),
        ('{"input_range": "0..255"}', r"two numbers, the lower one first, such as \[0, 255\], as 'input_range'"),
        ('{"input_range": [255, 0]}', r"as 'input_range'. Received: \[255, 0\]"),
        ('{"input_range": 255}', "as 'input_range'"),
        ('{"image_size": 224}', "height and width in pixels"),
        ('{"sample_rate": "16 kHz"}', "samples a second, such as 16000, as 'sample_rate'. Received: '16 kHz'"),
        ('{"sample_rate": true}', "as 'sample_rate'"),
        ('{"window_s": -1}', "as 'window_s'"),
        ('{"labels": "cat"}', "as 'labels'"),
        ('{"levels": [0.9, 0.1]}', "rising numbers between 0 and 1"),
        ('{"columns": [{"name": "age"}]}', 'a "name", an "input" and a "kind" for each column'),
        ('{"decoder": "llama"}', "as 'decoder'"),
    ],
)
def test_a_field_of_a_card_in_another_form_is_one_sentence(content, says, module_folder, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(module_folder("keras3_export"), folder)
    (folder / hub_module.CARD_FILE).write_text(content)
    with pytest.raises(InputError, match=says) as refusal:
        open_module(folder)
    assert f"The card of {folder}, assets.extra/tlkit.json," in str(refusal.value)


def test_fields_that_are_null_are_not_there(module_folder, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(module_folder("keras3_export"), folder)
    card = {"input_range": None, "sample_rate": None, "levels": None, "mine": "anything"}
    (folder / hub_module.CARD_FILE).write_text(json.dumps(card))
    assert open_module(folder).card == card


@pytest.mark.long
def test_a_keras_model_goes_the_way_of_all_modules():
    model = modules.keras_model()
    module = open_module(model)
    assert module.handle == f"keras:{model.name}"
    assert module.sha256 == open_module(model).sha256
    x = modules.inputs("keras3_hub")
    np.testing.assert_allclose(module.loaded(x, training=False), model(x, training=False), atol=1e-6)
    assert len(module.loaded.trainable_variables) == len(model.trainable_variables)
    assert len(pack(module.folder)) > 1000


def test_a_tf_keras_model_and_a_tf_module():
    import tf_keras

    net = modules.image_net(tf_keras)
    x = modules.inputs("keras2")
    np.testing.assert_allclose(open_module(net).loaded(x, training=False), net(x, training=False), atol=1e-6)
    plain = modules.Plain()
    np.testing.assert_allclose(open_module(plain).loaded(x), plain(x), atol=1e-6)


@pytest.mark.parametrize("kind", ["keras3_hub", "vocabulary", "tf1_hub"])
def test_a_loaded_object_passes_through(kind, module_folder):
    first, again = (open_module(module_folder(kind)).loaded for _ in range(2))
    module = open_module(first)
    assert module.loaded is first
    assert module.folder is None
    assert module.sha256 == open_module(again).sha256, "two loads of the same module differ"
    empty = unpack(pack(module.folder, module.loaded))
    values = {v.name: v.numpy() for v in variables(first)}
    assert {v.name for v in variables(empty.loaded)} == set(values)
    variables(again)[0].assign_add(tf.ones_like(variables(again)[0]))
    assert open_module(again).sha256 != module.sha256


@pytest.mark.long
def test_a_loaded_objects_hash_is_the_same_in_another_process(module_folder):
    folder = module_folder("nested")
    code = (
        "import tensorflow as tf; from tlkit import hub; "
        f"print(hub.open_module(tf.saved_model.load({str(folder)!r})).sha256)"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.split()[-1] == open_module(tf.saved_model.load(str(folder))).sha256


def test_what_is_no_module():
    with pytest.raises(InputError, match="An object of type dict cannot be used as a module"):
        open_module({"a": 1})
    with pytest.raises(InputError, match="does not know its inputs"):
        open_module(keras.Sequential([keras.layers.Dense(1)]))


# TF1-format modules


def test_tf1_variables_become_trainable_ones(module_folder):
    folder = module_folder("tf1_hub")
    plain = tf.saved_model.load(str(folder), tags=[])
    assert len(plain.variables) == 0, "TensorFlow hands them out now: reference_variables.py may go"
    module = open_module(folder)
    signature = module.loaded.signatures["default"]
    x = tf.constant(modules.inputs("tf1_hub"))
    np.testing.assert_array_equal(signature(images=x)["default"], plain.signatures["default"](images=x)["default"])
    names = {v.name.split(":")[0] for v in module.loaded.variables if not v.trainable}
    assert names == {"bn/moving_mean", "bn/moving_variance"}
    trained = [v for v in module.loaded.variables if v.trainable]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(signature(images=x)["default"] ** 2)
    assert all(g is not None and np.any(g) for g in tape.gradient(loss, trained))


def test_a_tf1_graph_without_counterparts_stays_as_it_is(module_folder):
    from tensorflow.core.protobuf import saved_model_pb2

    data = (module_folder("tf1_hub") / "saved_model.pb").read_bytes()
    model = saved_model_pb2.SavedModel.FromString(data)
    assert with_resource_variables(with_resource_variables(data)) == with_resource_variables(data) != data
    node = model.meta_graphs[0].graph_def.node.add(name="scatter", op="ScatterAdd")
    node.input.append("bn/gamma")
    changed = model.SerializeToString()
    assert with_resource_variables(changed) == changed


# Packed graphs by strangers


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../escaped", "/tmp/tlkit-escaped", "assets/../../escaped", "C:\\escaped"])
def test_zip_slip(name, tmp_path):
    with pytest.raises(UnsafeModuleError, match="leaves the module's folder"):
        unpack(zipped({name: b"x"}))
    assert not Path("/tmp/tlkit-escaped").exists()


def test_zip_bombs_and_damage(monkeypatch):
    monkeypatch.setattr("tlkit.hub.loading._MAX_PACKED_BYTES", 1000)
    with pytest.raises(InputError, match="unpacks to more than"):
        unpack(zipped({"saved_model.pb": bytes(2000)}))
    with pytest.raises(InputError, match="packed graph of a module is damaged"):
        unpack(b"no zip")
    with pytest.raises(InputError, match=r"there is no saved_model\.pb"):
        unpack(zipped({"assets/a": b"x"}))


def test_a_packed_attack_is_refused(tmp_path, monkeypatch):
    """A registered class bypasses Keras' safe mode, so the scan stands between a .keras file and its graph."""
    monkeypatch.chdir(tmp_path)

    class Evil(tf.Module):
        @tf.function(input_signature=[])
        def __call__(self):
            with tf.control_dependencies([tf.io.write_file("loot", "x")]):
                return tf.constant(1)

    tf.saved_model.save(Evil(), "m")
    with pytest.raises(UnsafeModuleError, match="WriteFile"):
        unpack(pack("m"))
    assert not Path("loot").exists()
    assert unpack(pack("m"), trust=True).loaded is not None


def test_rows_of_a_mutable_table_would_be_lost(tmp_path):
    class Counter(tf.Module):
        def __init__(self):
            super().__init__()
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, x):
            return self.table.lookup(x)

    tf.saved_model.save(Counter(), str(tmp_path / "m"))
    with pytest.raises(InputError, match="keeps more than variables in its checkpoint"):
        pack(tmp_path / "m")
