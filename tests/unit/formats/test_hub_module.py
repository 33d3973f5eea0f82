"""The hub format, on small models of every kind."""

import json

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.formats import hub_module

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
L = keras.layers


def functional():
    x = image = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.5), name="conv.a")(x)
    x = L.Dropout(0.5)(L.BatchNormalization()(x))
    return keras.Model(image, L.GlobalAveragePooling2D()(x))


def sequential():
    return keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(2)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)

    def call(self, x):  # no `training`
        return self.dense(x)


def subclassed():
    model = Subclassed()
    model(np.ones((2, 5), np.float32))
    return model


def dict_model():
    ids = keras.Input((None,), dtype="int32", name="ids")
    mask = keras.Input((None,), dtype="float32", name="mask")
    features = L.Embedding(7, 3)(ids) * mask[..., None]
    return keras.Model({"ids": ids, "mask": mask}, {"each": features, "pooled": keras.ops.sum(features, 1)})


def list_model():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    return keras.Model([a, b], [L.Dense(2)(a), L.Add()([a, b])])


DICT = {"ids": np.array([[1, 2, 0]], np.int32), "mask": np.array([[1, 1, 0]], np.float32)}
PIXELS = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
CASES = [
    (functional, PIXELS),
    (sequential, np.ones((2, 4), np.float32)),
    (subclassed, np.ones((2, 5), np.float32)),
    (dict_model, DICT),
    (list_model, [np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)]),
]


@pytest.mark.parametrize(("make", "inputs"), CASES, ids=lambda c: getattr(c, "__name__", ""))
def test_the_module_computes_what_the_model_does(make, inputs, tmp_path):
    model = make()
    loaded = tf.saved_model.load(str(hub_module.write_keras_model(model, tmp_path / "m")))
    tensors = keras.tree.map_structure(tf.constant, inputs)
    expected, got = model(tensors, training=False), loaded(tensors, training=False)
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(got), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    assert len(loaded.variables) == len(model.variables)
    loaded(tensors, training=True)


def test_the_signature_names_its_inputs_and_outputs(tmp_path):
    folder = hub_module.write_keras_model(dict_model(), tmp_path / "dict")
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert sorted(served.structured_input_signature[1]) == ["ids", "mask"]
    assert sorted(served.structured_outputs) == ["each", "pooled"]
    assert served(**{k: tf.constant(v) for k, v in DICT.items()})["pooled"].shape == (1, 3)
    folder = hub_module.write_keras_model(sequential(), tmp_path / "one")
    assert list(tf.saved_model.load(str(folder)).signatures["serving_default"].structured_outputs) == ["default"]


def test_training_moves_statistics_and_gradients_reach_all(tmp_path):
    loaded = tf.saved_model.load(str(hub_module.write_keras_model(functional(), tmp_path / "m")))
    moving = next(v for v in loaded.variables if "moving_mean" in v.name)
    before = moving.numpy()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(tf.constant(PIXELS), training=True))
    assert all(g is not None for g in tape.gradient(loss, loaded.trainable_variables))
    assert not np.array_equal(before, moving.numpy())
    before = moving.numpy()
    loaded(tf.constant(PIXELS))
    np.testing.assert_array_equal(before, moving.numpy())


def test_regularization_losses_follow_the_variables(tmp_path):
    model = functional()
    loaded = tf.saved_model.load(str(hub_module.write_keras_model(model, tmp_path / "m")))
    (loss,) = loaded.regularization_losses
    kernel = next(v for v in loaded.trainable_variables if v.shape.rank == 4)
    np.testing.assert_allclose(loss(), 0.5 * np.sum(kernel.numpy() ** 2), rtol=1e-6)
    kernel.assign(2 * kernel)
    np.testing.assert_allclose(loss(), 0.5 * np.sum(kernel.numpy() ** 2), rtol=1e-6)


def test_names_are_unique_and_say_where(tmp_path):
    loaded = tf.saved_model.load(str(hub_module.write_keras_model(functional(), tmp_path / "m")))
    names = [v.name for v in loaded.variables]
    assert len(set(names)) == len(names)
    assert "conv.a/kernel:0" in names


def test_card_and_preprocess(tmp_path):
    model = sequential()
    folder = hub_module.write_keras_model(
        model, tmp_path / "m", card={"input_range": [0, 1]}, preprocess=lambda x: 2.0 * x
    )
    assert json.loads((folder / hub_module.CARD_FILE).read_text()) == {"input_range": [0, 1]}
    x = tf.constant(np.ones((2, 4), np.float32))
    np.testing.assert_array_equal(tf.saved_model.load(str(folder))(x), model(2 * x))


def test_attachments_are_restored(tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("cat\ndog\n")
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        1,
    )
    folder = hub_module.write_module(
        lambda words, training: table.lookup(words),
        [],
        [],
        tf.TensorSpec([None], tf.string),
        tmp_path / "m",
        attachments={"table": table, "vocab_file": tf.saved_model.Asset(str(vocabulary))},
    )
    vocabulary.unlink()
    loaded = tf.saved_model.load(str(folder))
    assert loaded(tf.constant(["dog", "cow"])).numpy().tolist() == [1, 2]
    assert "assets" in loaded.vocab_file.asset_path.numpy().decode()


def test_an_unbuilt_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"call it once on a batch of them, model\(batch\)"):
        hub_module.write_keras_model(Subclassed(), tmp_path / "m")


def test_two_writings_have_the_same_variables(tmp_path):
    model = functional()
    first, second = (hub_module.write_keras_model(model, tmp_path / name) for name in "ab")
    data = "variables/variables.data-00000-of-00001"
    assert (first / data).read_bytes() == (second / data).read_bytes()
    assert not (first / "fingerprint.pb").exists()


def test_unique_names():
    assert hub_module.unique_names(["a", "a", "a_1", ":0", "x y/z:0"]) == ["a", "a_1", "a_1_1", "variable", "x_y/z"]
