"""What a HubLayer is called with and gives, its arguments, its names and shapes, on modules of every kind."""

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf

from tlkit import HubLayer
from tlkit import graph as graphs
from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.layer.endpoints import fitted

KINDS = tuple(modules.WRITERS)
ONE = {
    "signature_only": "features",
    "text_encoder": "pooled_output",
    "bert": "pooled_output",
    "text_encoder_blocks": "sequence_output",
}
PIXELS = (modules.IMAGE_SIZE, modules.IMAGE_SIZE, 3)


@pytest.fixture(scope="module")
def opened(module_folder):
    """`opened(kind)`: one frozen layer a kind, of one output, shared by the tests that change nothing."""
    layers = {}

    def layer(kind):
        if kind not in layers:
            layers[kind] = HubLayer(module_folder(kind), output_key=ONE.get(kind))
        return layers[kind]

    return layer


def batch(kind, size=2):
    return tf.nest.map_structure(tf.constant, modules.inputs(kind, size))


def theirs(loaded, kind):
    """What TensorFlow's own call of the module gives for the output that `ONE` names."""
    if kind in ("keras3_export", "classifier"):
        return loaded.serve(batch(kind))
    if kind in ("signature_only", "tf1_hub"):
        (function,) = loaded.signatures.values()
        (name,) = function.structured_input_signature[1]
        return function(**{name: batch(kind)})[ONE.get(kind, "default")]
    out = loaded(batch(kind))
    return out[ONE[kind]] if kind in ONE else out


# -- outputs, names, shapes


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_the_module_gives(kind, opened, module_folder):
    layer, expected = opened(kind), theirs(modules.load(kind, module_folder(kind)), kind)
    outputs = layer(batch(kind))
    np.testing.assert_array_equal(outputs, expected)
    shape = layer.compute_output_shape(tf.nest.map_structure(lambda t: (None, *t.shape[1:]), batch(kind)))
    assert shape == (None, *outputs.shape[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_variables_have_clean_names_below_the_layers(kind, opened):
    layer = opened(kind)
    paths = [v.path for v in layer.weights]
    assert paths and len(set(paths)) == len(paths)
    assert all(p.count("/") == 1 and p.startswith(f"{layer.name}/") and ":" not in p for p in paths)


@pytest.mark.parametrize(
    ("kind", "trained", "kept"),
    [
        ("keras3_hub", 25, 15),
        ("keras3_export", 25, 15),
        ("keras2", 25, 14),
        ("tf1_hub", 5, 2),
        ("signature_only", 4, 2),
    ],
)
def test_the_modules_own_split_is_kept(kind, trained, kept, module_folder):
    layer = HubLayer(module_folder(kind), trainable=True, output_key=ONE.get(kind))
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (trained, kept)
    assert all("moving" in v.name or "seed" in v.name for v in layer.non_trainable_weights)
    layer.trainable = False
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (0, trained + kept)


def test_variables_share_the_modules_storage(module_folder):
    layer = HubLayer(module_folder("nested"))
    x = batch("nested")
    before = layer(x)
    layer.weights[-1].assign(layer.weights[-1] + 1.0)  # the last bias
    np.testing.assert_allclose(layer(x), before + 1.0, atol=1e-6)
    np.testing.assert_array_equal(layer(x), layer.resolved_object(x))


def test_dicts_stay_dicts(module_folder):
    layer = HubLayer(module_folder("text_encoder"))
    expected = modules.load("text_encoder", module_folder("text_encoder"))(batch("text_encoder"))
    outputs = layer(batch("text_encoder"))
    assert set(outputs) == {"default", "pooled_output", "sequence_output"}
    for key, value in outputs.items():
        np.testing.assert_array_equal(value, expected[key])
    shapes = layer.compute_output_shape(dict.fromkeys(modules.inputs("text_encoder"), (None, modules.TOKENS)))
    assert shapes["sequence_output"] == (None, modules.TOKENS, modules.HIDDEN)
    inputs = {k: keras.Input((modules.TOKENS,), dtype="int32", name=k) for k in modules.inputs("text_encoder")}
    model = keras.Model(inputs, layer(inputs)["pooled_output"])
    np.testing.assert_array_equal(model(batch("text_encoder")), expected["pooled_output"])


def test_objects_instead_of_handles(module_folder):
    net, x = modules.keras_model(), batch("keras3_hub")
    layer = HubLayer(net, trainable=True)
    np.testing.assert_allclose(layer(x), net(x, training=False), atol=1e-6)
    assert (len(layer.trainable_weights), len(layer.weights)) == (25, 40)
    loaded = modules.load("nested", module_folder("nested"))
    np.testing.assert_array_equal(HubLayer(loaded)(x), loaded(x))


def test_a_plain_list_of_strings_is_one_tensor(opened):
    layer = opened("vocabulary")
    np.testing.assert_array_equal(layer(["the cat", "a dog"]), layer(tf.constant(["the cat", "a dog"])))
    old_way = HubLayer(layer.handle, dtype=tf.string, input_shape=[])  # as tutorials for hub.KerasLayer write it
    assert keras.Sequential([old_way, keras.layers.Dense(2)])(tf.constant(["the cat"])).shape == (1, 2)


def test_numbers_are_cast_to_what_the_module_takes(opened):
    layer, x = opened("keras3_hub"), np.ones((2, *PIXELS), "uint8")
    for dtype in ("uint8", "int64", "float16", "float64"):
        np.testing.assert_array_equal(layer(x.astype(dtype)), layer(x.astype("float32")))


def test_training_does_not_move_a_frozen_or_careful_module(module_folder):
    x = batch("keras3_hub", 8)
    for settings, moves in (({}, False), ({"trainable": True}, False), ({"batch_stats": "adapt"}, False)):
        layer = HubLayer(module_folder("keras3_hub"), **settings)
        before = [v.numpy() for v in layer.weights]
        np.testing.assert_array_equal(layer(x, training=True), layer(x))
        assert any(not np.array_equal(a, v) for a, v in zip(before, layer.weights, strict=True)) is moves
    layer = HubLayer(module_folder("keras3_hub"), trainable=True, batch_stats="adapt")
    moving = [v for v in layer.weights if "moving_mean" in v.name]
    before = [v.numpy() for v in moving]
    assert not np.array_equal(layer(x, training=True), layer(x)), "dropout and batch statistics are off"
    assert all(not np.array_equal(a, v) for a, v in zip(before, moving, strict=True))


# -- regularization losses


def test_regularization_losses_are_included_once(module_folder):
    layer = HubLayer(module_folder("keras3_hub"), trainable=True)
    kernel = next(v for v in layer.weights if v.name == "stem_conv.kernel")
    x = keras.Input(PIXELS)
    twice = keras.Model(x, keras.layers.Add()([layer(x), layer(x)]))
    twice(batch("keras3_hub"))
    assert len(twice.losses) == 1
    np.testing.assert_allclose(twice.losses[0], 1e-3 * np.sum(kernel.numpy() ** 2) / 2, rtol=1e-6)
    with tf.GradientTape() as tape:
        layer(batch("keras3_hub"))
        loss = sum(layer.losses)
    np.testing.assert_allclose(tape.gradient(loss, kernel.value), 1e-3 * kernel.numpy(), rtol=1e-6)
    layer.trainable = False
    layer(batch("keras3_hub"))
    assert layer.losses == [], "what is frozen is not penalised"


# -- arguments


def test_a_signature_by_name(module_folder):
    folder, x = module_folder("keras3_hub"), batch("keras3_hub")
    expected = modules.load("keras3_hub", folder)(x)
    np.testing.assert_array_equal(HubLayer(folder, signature="serving_default")(x), expected)
    outputs = HubLayer(folder, signature="serving_default", signature_outputs_as_dict=True)(x)
    assert set(outputs) == {"features"}
    np.testing.assert_array_equal(outputs["features"], expected)
    several = HubLayer(module_folder("signature_only"), signature_outputs_as_dict=True)
    assert set(several(x)) == {"features", "twice"}
    assert several.compute_output_shape((None, *PIXELS)) == dict.fromkeys(("features", "twice"), (None, 12))


def test_tags_and_load_options(module_folder, monkeypatch):
    options, load, asked = tf.saved_model.LoadOptions(experimental_io_device="/job:localhost"), tf.saved_model.load, []

    def seen(folder, tags=None, options=None):
        asked.append((tags, options))
        return load(folder, tags=tags, options=options)

    monkeypatch.setattr(tf.saved_model, "load", seen)
    for tags in ("serve", ["serve"]):
        assert HubLayer(module_folder("no_training"), tags=tags, load_options=options).weights
        assert asked[-1] == (["serve"], options)
    assert HubLayer(module_folder("tf1_hub"), tags=[]).weights
    with pytest.raises(InputError, match="no_such_tag"):
        HubLayer(module_folder("no_training"), tags="no_such_tag")


def test_an_output_shape_that_the_module_does_not_know(module_folder, tmp_path):
    class Reshaping(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable(tf.ones((3, 4)))

        @tf.function(input_signature=[tf.TensorSpec((None, 3)), tf.TensorSpec((), tf.int32)])
        def reshaped(self, x, width):
            return tf.reshape(x @ self.kernel, tf.stack([tf.shape(x)[0], width]))

        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def __call__(self, x):
            return self.reshaped(x, tf.cast(tf.reduce_sum(tf.ones_like(x[:1])) + 1.0, tf.int32))

    tf.saved_model.save(Reshaping(), str(tmp_path / "m"))
    assert HubLayer(tmp_path / "m").compute_output_shape((None, 3))[1] is None
    for shape in ([4], (4,), tf.TensorShape([4])):
        layer = HubLayer(tmp_path / "m", output_shape=shape)
        assert layer.compute_output_shape((None, 3)) == (None, 4)
        assert layer.get_config()["output_shape"] == [4]
    assert keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2)]).output_shape == (None, 2)
    by_key = HubLayer(module_folder("text_encoder"), output_shape={"default": [modules.HIDDEN]})
    assert by_key(batch("text_encoder"))["default"].shape == (2, modules.HIDDEN)


class Scaling(tf.Module):
    """A module with further arguments: a plain value, a choice, and a tensor."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable([[1.0, 2.0]])

    @tf.function
    def __call__(self, x, training=False, scale=1.0, mode="plain", shift=0.0):
        return tf.matmul(x, self.kernel) * scale + (100.0 if mode == "far" else 0.0) + shift


@pytest.fixture(scope="module")
def scaling(tmp_path_factory):
    module, folder = Scaling(), tmp_path_factory.mktemp("scaling") / "m"
    x, shift = tf.TensorSpec((None, 1)), tf.TensorSpec(())
    for training in (True, False):
        module.__call__.get_concrete_function(x, training=training, scale=2.0, mode="far", shift=shift)
        module.__call__.get_concrete_function(x, training=training, shift=shift)
    tf.saved_model.save(module, str(folder))
    return folder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (None, [1.0, 2.0]),
        ({"shift": 5.0}, [6.0, 7.0]),
        ({"scale": 2.0, "mode": "far"}, [102.0, 104.0]),
        ({"scale": 2.0, "mode": "far", "shift": -2.0}, [100.0, 102.0]),
    ],
)
def test_arguments_reach_the_module_and_its_graph(arguments, expected, scaling):
    layer = HubLayer(scaling, arguments=arguments)
    x = tf.ones((1, 1))
    np.testing.assert_array_equal(layer(x), [expected])
    np.testing.assert_array_equal(layer.graph.whole(x), [expected])
    assert layer.get_config()["arguments"] == (arguments or {})


def test_arguments_that_the_module_cannot_take(scaling, module_folder):
    for arguments in ({"scale": 3.0}, {"mode": "far"}):
        with pytest.raises(InputError, match=r"__call__ was never traced with arguments=.*'mode': 'far', 'scale': 2.0"):
            HubLayer(scaling, arguments=arguments)
    with pytest.raises(InputError, match=r"no argument 'nope' to set; besides `training` it has \['mode', 'scale', "):
        HubLayer(scaling, arguments={"nope": 1})
    with pytest.raises(InputError, match="no argument 'training' to set; it takes none besides `training`"):
        HubLayer(module_folder("keras3_hub"), arguments={"training": True})
    with pytest.raises(InputError, match=r"this module, or this signature, takes none. Received: arguments={'a': 1}"):
        HubLayer(module_folder("signature_only"), arguments={"a": 1})


WRONG = [
    ({"signature": "nope"}, "The module has no signature 'nope'; it has: serving_default. Pass one of these"),
    ({"output_key": "nope"}, r"`output_key` must be one of \['features', 'twice'\]. Received: output_key='nope'"),
    ({}, "gives several outputs; choose one with `output_key`, or pass signature_outputs_as_dict=True. Outputs: .'fea"),
    ({"output_shape": [11]}, r"outputs have the shapes \[12\]. Received: output_shape=\[11\]"),
    ({"output_shape": {"a": [12]}}, r"outputs have the shapes \[12\]. Received: output_shape={'a': \[12\]}"),
    ({"output_shape": "abc"}, "`output_shape` must be a list of sizes without the batch, .* output_shape='abc'"),
    ({"output_shape": 12}, "`output_shape` must be a list of sizes without the batch, .* output_shape=12"),
    ({"tags": ["nope"]}, r"cannot be loaded as a SavedModel: .*tags.*\['nope'\]"),
    ({"tags": 3}, "`tags` must be a list of strings. Received: tags=3"),
    ({"arguments": "abc"}, "`arguments` must be a dict of keyword arguments. Received: arguments='abc'"),
    ({"load_options": "x"}, "`load_options` must be a tf.saved_model.LoadOptions. Received: load_options='x'"),
    ({"sha256": "0" * 64}, "is not what was expected: its sha256 is [0-9a-f]{64}, not 0000"),
    ({"input_range": (1, 0)}, r"`input_range` must be two numbers, low and high. Received: input_range=\(1, 0\)"),
    ({"input_range": 5}, "`input_range` must be two numbers, low and high. Received: input_range=5"),
    ({"batch_stats": "nope"}, '`batch_stats` must be "frozen" or "adapt". Received: batch_stats=\'nope\''),
    ({"batch_stats": "adapt"}, "has no `training` argument, so its statistics cannot adapt; leave batch_stats out"),
    ({"unfrozen": 1.5}, r"`unfrozen` must lie in \[0, 1\]. Received: unfrozen=1.5"),
    ({"unfrozen": "a"}, r"`unfrozen` must lie in \[0, 1\]. Received: unfrozen='a'"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=lambda v: " ".join(v) if isinstance(v, dict) else "")
def test_a_wrong_argument_is_one_sentence(wrong, message, module_folder):
    fine = {"output_key": "features"} if wrong else {}
    with pytest.raises(InputError, match=message) as caught:
        keras.Sequential([keras.Input(PIXELS), HubLayer(module_folder("signature_only"), **{**fine, **wrong})])
    assert "\n" not in str(caught.value)


def test_more_wrong_arguments(module_folder, tmp_path):
    with pytest.raises(InputError, match="HubLayer needs a `handle`"):
        HubLayer()
    with pytest.raises(InputError, match=r"There is no module .*/nope' here"):
        HubLayer(tmp_path / "nope")
    with pytest.raises(InputError, match="gives one output; leave out output_key='a'"):
        HubLayer(module_folder("nested"), output_key="a")(batch("nested"))
    with pytest.raises(
        InputError, match=r"takes no pixels of a range, but .*; leave out `input_range`. Received: input_range=\(0, 1\)"
    ):
        HubLayer(module_folder("vocabulary"), input_range=(0, 1))
    with pytest.raises(InputError, match=r"sequence_output.*Received: output_shape={'nope'"):
        HubLayer(module_folder("text_encoder"), output_shape={"nope": [3]})(batch("text_encoder"))


def test_inputs_that_do_not_fit_are_one_sentence(opened):
    layer = opened("nested")
    for inputs, received in (
        (np.zeros((2, 16, 16, 3), "float32"), r"float32 \(2, 16, 16, 3\)"),
        (tf.constant(["a"]), r"string \(1,\)"),
        ({"a": np.zeros((2, *PIXELS), "float32")}, r"{a: float32 \(2, 32, 32, 3\)}"),
    ):
        with pytest.raises(InputError, match=rf"Expected: float32 \(None, 32, 32, 3\). Received: {received}"):
            layer(inputs)
    with pytest.raises(InputError, match=r"Received: float32 \(None, 16, 16, 3\)") as caught:
        keras.Sequential([keras.Input((16, 16, 3)), layer])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"Expected: {input_mask: int32 \(None, 10\), .*Received: {a: int32"):
        opened("text_encoder")({"a": np.zeros((2, 10), "int32")})


def test_another_backend_is_refused(monkeypatch, module_folder):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InputError, match="Keras runs on jax; set KERAS_BACKEND=tensorflow before keras is imported"):
        HubLayer(module_folder("nested"))


def test_trust_from_the_environment_is_what_the_command_line_sets(tmp_path, monkeypatch):
    class Writing(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable([[1.0]])

        @tf.function(input_signature=[tf.TensorSpec((None, 1))])
        def __call__(self, x):
            with tf.control_dependencies([tf.io.write_file(str(tmp_path / "loot"), "x")]):
                return tf.matmul(x, self.kernel)

    tf.saved_model.save(Writing(), str(tmp_path / "m"))
    monkeypatch.delenv("TLKIT_TRUST", raising=False)
    for value in (None, "", "0"):
        if value is not None:
            monkeypatch.setenv("TLKIT_TRUST", value)
        with pytest.raises(UnsafeModuleError, match=r"WriteFile .*writes"):
            HubLayer(tmp_path / "m")
    assert HubLayer(tmp_path / "m", trust=True).weights
    monkeypatch.setenv("TLKIT_TRUST", "1")
    layer = HubLayer(tmp_path / "m")
    assert HubLayer.from_config(layer.get_config()).weights
    assert not (tmp_path / "loot").exists()


# -- dtypes and ranges


def test_mixed_precision_casts_at_the_border(opened, module_folder):
    plain, x = opened("keras3_hub"), batch("keras3_hub")
    layer = HubLayer(module_folder("keras3_hub"), dtype="mixed_float16", trainable=True)
    assert layer(x).dtype == tf.float16
    assert {v.dtype for v in layer.trainable_weights} == {"float32"}
    np.testing.assert_array_equal(layer(tf.cast(x, tf.float16)), tf.cast(plain(tf.cast(x, tf.float16)), tf.float16))
    assert layer.compute_output_spec(keras.KerasTensor((None, *PIXELS))).dtype == "float16"
    with pytest.raises(ValueError, match="bogus"):
        HubLayer(module_folder("keras3_hub"), dtype="bogus")


@pytest.mark.parametrize(
    ("kind", "value_range"), [("nested", (0.0, 1.0)), ("nested", (-1, 1)), ("keras3_hub", (-1, 1))]
)
def test_the_input_range_is_one_affine(kind, value_range, module_folder):
    """int8 export loses accuracy by every further op on the pixels; the module's own `x * 2 - 1` must be folded in."""
    low, high = value_range
    pixels = np.random.default_rng(0).integers(0, 256, (2, *PIXELS)).astype("uint8")
    layer = HubLayer(module_folder(kind), input_range=value_range)
    expected = HubLayer(module_folder(kind))(pixels / np.float32(255) * (high - low) + low)
    np.testing.assert_allclose(layer(pixels), expected, atol=2e-5)
    function = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec((None, *PIXELS)))
    graph = graphs.flatten(function, [v.value for v in layer.weights])
    before = _chain_before_the_first_convolution(graph)
    assert before.count("Mul") == 1
    assert set(before) <= {"Mul", "AddV2", "Cast"}
    assert len(before) <= 3


def _chain_before_the_first_convolution(graph):
    ops, seen = [], {graph.whole.inputs[0].name}
    for op in graph.whole.graph.get_operations():
        if op.type == "Conv2D":
            break
        if any(t.name in seen for t in op.inputs):
            seen |= {t.name for t in op.outputs}
            if op.type != "Identity":
                ops.append(op.type)
    return ops


def test_the_input_range_of_a_signature_with_a_named_input(module_folder):
    layer = HubLayer(module_folder("signature_only"), output_key="features", input_range=(0, 1))
    (name,) = layer.endpoint.accepts[1]
    pixels = np.full((2, *PIXELS), 51, "uint8")
    np.testing.assert_array_equal(layer({name: pixels}), layer(pixels))
    layer.input_range = None
    np.testing.assert_allclose(layer(np.full((2, *PIXELS), 0.2, "float32")), theirs_at(module_folder, 0.2), atol=1e-6)


def theirs_at(module_folder, value):
    return HubLayer(module_folder("signature_only"), output_key="features")(np.full((2, *PIXELS), value, "float32"))


def test_fitting_takes_the_first_trace_that_agrees(opened):
    endpoint = opened("signature_only").endpoint
    assert fitted(endpoint, np.zeros((1, *PIXELS)), "m").dtype == tf.float32
