"""The drop-in promise: a HubLayer trains in anybody's own model and plain Keras `fit`, on modules of every kind."""

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf

from tlkit import HubLayer
from tlkit.core.errors import InputError

ONE = {"signature_only": "features", "text_encoder": "pooled_output"}
TRAINED = (
    "keras3_export", "keras3_hub", "keras2", "tf1_hub", "nested", "no_training", "signature_only", "vocabulary",
    "control_flow",
)  # fmt: skip
CLASSES, EXAMPLES = 3, 24
PIXELS = (modules.IMAGE_SIZE, modules.IMAGE_SIZE, 3)


@pytest.fixture(autouse=True)
def same_seed():
    keras.utils.set_random_seed(0)


def examples(kind):
    """Inputs and labels as a dataset; the class of an image is its brightness."""
    x, labels = modules.inputs(kind, EXAMPLES), np.arange(EXAMPLES) % CLASSES
    if isinstance(x, np.ndarray) and x.ndim == 4:
        x = x * (labels[:, None, None, None] + 1) / CLASSES
    return tf.data.Dataset.from_tensor_slices((x, labels)).batch(8)


def tutorial(folder, kind, **arguments):
    """The shape of TF Hub's own tutorials."""
    arguments = {"output_key": ONE.get(kind), **arguments}
    return keras.Sequential([HubLayer(folder, **arguments), keras.layers.Dense(CLASSES)])


def fitted(model, kind, epochs=6, rate=1e-2, **optimizer):
    """The losses of a plain fit."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate, **optimizer), loss)
    return model.fit(examples(kind), epochs=epochs, verbose=0).history["loss"]


def contents(layer):
    return {v.path: v.numpy().tobytes() for v in layer.weights}


def moved(layer, before):
    return {v.path for v in layer.weights if v.numpy().tobytes() != before[v.path]}


# -- the tutorial's shape


@pytest.mark.long
@pytest.mark.parametrize("kind", TRAINED)
def test_the_tutorial_trains_with_adam(kind, module_folder):
    model = tutorial(module_folder(kind), kind, trainable=True)
    layer = model.layers[0]
    before = contents(layer)
    losses = fitted(model, kind, **({"clipnorm": 0.5} if kind == "keras2" else {}))
    assert losses[-1] < losses[0]
    assert np.all(np.isfinite(losses))
    assert moved(layer, before) == {v.path for v in layer.trainable_weights}


@pytest.mark.parametrize(("kind", "clip"), [("tf1_hub", "clipnorm"), ("nested", "global_clipnorm")])
def test_gradient_clipping(kind, clip, module_folder):
    model = tutorial(module_folder(kind), kind, trainable=True)
    before = contents(model.layers[0])
    losses = fitted(model, kind, epochs=3, **{clip: 0.5})
    assert losses[-1] < losses[0]
    assert moved(model.layers[0], before)


@pytest.mark.parametrize("kind", ["keras3_hub", "keras3_export", "keras2", "tf1_hub", "vocabulary"])
def test_frozen_is_frozen_to_the_byte(kind, module_folder):
    model = tutorial(module_folder(kind), kind)
    before = contents(model.layers[0])
    losses = fitted(model, kind, epochs=4, rate=5e-2)
    assert losses[-1] < losses[0]
    assert contents(model.layers[0]) == before
    assert len(model.trainable_variables) == 2


# -- other models, other loops


def test_a_functional_model_with_dict_inputs_and_two_branches(module_folder):
    inputs = {k: keras.Input((modules.TOKENS,), dtype="int32", name=k) for k in modules.inputs("text_encoder")}
    layer = HubLayer(module_folder("text_encoder"), trainable=True)
    outputs = layer(inputs)
    pooled = keras.layers.GlobalAveragePooling1D()(outputs["sequence_output"])
    both = keras.layers.Concatenate()([pooled, outputs["pooled_output"]])
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(both))
    before = contents(layer)
    losses = fitted(model, "text_encoder", epochs=3)
    assert losses[-1] < losses[0]
    assert moved(layer, before) == {v.path for v in layer.trainable_weights}


def test_a_subclassed_model(module_folder):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.backbone = HubLayer(module_folder("nested"), trainable=True)
            self.dense = keras.layers.Dense(CLASSES)

        def call(self, inputs, training=False):
            return self.dense(self.backbone(inputs, training=training))

    model = Mine()
    before = contents(model.backbone)
    losses = fitted(model, "nested", epochs=3)
    assert losses[-1] < losses[0]
    assert len(moved(model.backbone, before)) == 4


def test_a_loop_of_ones_own(module_folder):
    layer, dense = HubLayer(module_folder("nested"), trainable=True), keras.layers.Dense(CLASSES)
    optimizer = keras.optimizers.SGD(0.1)
    before, losses = contents(layer), []
    for x, y in examples("nested").repeat(3):
        with tf.GradientTape() as tape:
            logits = dense(layer(x, training=True))
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True))
        variables = layer.trainable_variables + dense.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert len(moved(layer, before)) == 4


def test_frozen_first_then_trained(module_folder):
    """Two phases, each compiled anew."""
    model = tutorial(module_folder("nested"), "nested")
    layer = model.layers[0]
    before = contents(layer)
    first = fitted(model, "nested", epochs=2)
    assert not moved(layer, before)
    layer.trainable = True
    second = fitted(model, "nested", epochs=3)
    assert len(moved(layer, before)) == 4
    assert second[-1] < first[-1]


def test_penalties_are_in_the_loss_that_fit_minimises(module_folder):
    model = tutorial(module_folder("keras3_hub"), "keras3_hub", trainable=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x, y = next(iter(examples("keras3_hub")))
    model.compile(keras.optimizers.SGD(0.0), loss)
    total = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(total - float(loss(y, model(x))), float(model.losses[0]), rtol=1e-4)
    assert len(model.losses) == 1


def test_mixed_float16(module_folder):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = tutorial(module_folder("nested"), "nested", trainable=True)
        before = contents(model.layers[0])
        losses = fitted(model, "nested", epochs=3)
        assert model(modules.inputs("nested")).dtype == tf.float16
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert model.layers[0].compute_dtype == "float32"
    assert losses[-1] < losses[0]
    assert len(moved(model.layers[0], before)) == 4


# -- what cannot train


class Deciding(tf.Module):
    """Its `__call__` trains; its signature gives a class, which no gradient passes."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.ones((3, 4)))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="inputs")])
    def decide(self, inputs):
        return {"label": tf.cast(tf.argmax(tf.matmul(inputs, self.kernel), -1), tf.float32)}


def test_trainable_says_why_not(module_folder, tmp_path):
    module = Deciding()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.decide)
    reason = "cannot be trained: no gradient reaches them through its 'serving_default'; use another signature, or keep"
    with pytest.raises(InputError, match=reason):
        HubLayer(tmp_path / "m", trainable=True)
    layer = HubLayer(tmp_path / "m")
    with pytest.raises(InputError, match=reason):
        layer.unfreeze(1.0)
    fixed = tf.Module()
    fixed.table = tf.Variable([1.0, 2.0, 3.0], trainable=False)
    serve = tf.function(lambda x: x * fixed.table, input_signature=[tf.TensorSpec((None, 3))])
    tf.saved_model.save(fixed, str(tmp_path / "fixed"), signatures=serve)
    with pytest.raises(InputError, match="cannot be trained: it has no trainable variables"):
        HubLayer(tmp_path / "fixed", trainable=True)
    assert HubLayer(module_folder("signature_only"), trainable=True, output_key="twice").trainable


# -- copies


@pytest.mark.parametrize("kind", ["keras3_hub", "vocabulary", "tf1_hub"])
def test_a_clone_starts_from_the_modules_weights_and_is_its_own(kind, module_folder):
    x = tf.constant(modules.inputs(kind))
    model = tutorial(module_folder(kind), kind, trainable=True)
    expected = model.layers[0](x)
    model(x)
    clone = keras.models.clone_model(model)
    np.testing.assert_array_equal(clone.layers[0](x), expected)
    clone.set_weights([w + 1.0 if w.dtype == np.float32 else w for w in clone.get_weights()])
    np.testing.assert_array_equal(model.layers[0](x), expected)
    again = HubLayer.from_config(model.layers[0].get_config())
    np.testing.assert_array_equal(again(x), expected)
    assert again.name == model.layers[0].name
    assert len(again.trainable_weights) == len(model.layers[0].trainable_weights) > 0


def test_the_config_holds_handle_and_sha256_and_is_plain(module_folder):
    import json

    from tlkit.hub import open_module

    folder = module_folder("keras3_hub")
    config = HubLayer(folder, trainable=True, input_range=(0, 1), unfrozen=0.5, name="backbone").get_config()
    assert config["handle"] == str(folder)
    assert config["sha256"] == open_module(folder).sha256
    assert (config["input_range"], config["unfrozen"], config["batch_stats"]) == ((0.0, 1.0), 0.5, "frozen")
    assert (config["trainable"], config["name"]) == (True, "backbone")
    assert "trust" not in config
    plain = {**config, "dtype": "float32"}
    assert HubLayer.from_config(json.loads(json.dumps(plain))).get_config() == config
    with pytest.raises(InputError, match=r"carries no graph; make the layer anew: HubLayer\(handle\)"):
        HubLayer.from_config({"handle": str(folder)})


@pytest.mark.parametrize("kind", ["keras3_hub", "nested", "vocabulary", "text_encoder", "tf1_hub"])
def test_the_whole_model_exports(kind, module_folder, tmp_path):
    if kind == "text_encoder":
        inputs = {k: keras.Input((modules.TOKENS,), dtype="int32", name=k) for k in modules.inputs(kind)}
    else:
        inputs = keras.Input((), dtype="string") if kind == "vocabulary" else keras.Input(PIXELS)
    layer = HubLayer(module_folder(kind), output_key=ONE.get(kind))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(layer(inputs)))
    x = tf.nest.map_structure(tf.constant, modules.inputs(kind))
    model.export(tmp_path / "out", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "out"))
    np.testing.assert_allclose(exported.serve(x), model(x), atol=1e-6)
