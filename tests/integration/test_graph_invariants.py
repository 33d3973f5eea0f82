"""What must hold at every cut of every kind of module."""

from __future__ import annotations

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf

from tlkit import graph as G

UNCUTTABLE = {"control_flow": "control flow that weights go through", "tf1_hub": "variables inside the graph"}
KINDS = [*sorted(set(modules.WRITERS) - set(UNCUTTABLE)), "keras_model"]
MOST_CUTS = 5  # a module; the first and the last among them


@pytest.fixture(scope="module", params=KINDS)
def case(request, module_folder):
    """(kind, the module's own function, its flat graph, whatever keeps it alive)."""
    return made(request.param, module_folder)


def made(kind, module_folder):
    if kind == "keras_model":
        net = modules.keras_model()
        function = tf.function(lambda x: net(x, training=False)).get_concrete_function(modules.IMAGE)
        return kind, function, G.flatten(function, [v.value for v in net.variables]), net
    loaded = modules.load(kind, module_folder(kind))
    function = modules.inference_function(loaded)
    return kind, function, G.flatten(function, list(getattr(loaded, "variables", ()))), loaded


def flat_inputs(kind, batch=2):
    inputs = modules.inputs("keras3_hub" if kind == "keras_model" else kind, batch)
    return [tf.constant(v) for v in tf.nest.flatten(inputs)]


def called(function, graph, xs):
    """The module's own answer, flat, in the order of the graph's outputs."""
    args, kwargs = function.structured_input_signature
    if kwargs and not args:  # a signature
        return flat_outputs(graph, function(**dict(zip(sorted(kwargs), xs, strict=True))))
    return flat_outputs(graph, function(tf.nest.pack_sequence_as(args[0], xs), *args[1:], **kwargs))


def chosen(graph):
    cuts = G.cuts(graph)
    places = {round(i * (len(cuts) - 1) / (MOST_CUTS - 1)) for i in range(MOST_CUTS)}
    return [cuts[i] for i in sorted(places)]


def flat_outputs(graph, outputs):
    pairs = zip(tf.nest.flatten(graph.structure), tf.nest.flatten(outputs), strict=True)
    return [leaf for _, leaf in sorted(pairs, key=lambda pair: pair[0])]


def gradients(outputs, tape, variables):
    with tape:
        loss = tf.add_n([tf.reduce_sum(tf.cast(y, tf.float32) ** 2) for y in outputs])
    return [None if g is None else tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]


def test_the_flat_graph_answers_as_the_module(case):
    kind, function, graph, _ = case
    for batch in (1, 3):
        xs = flat_inputs(kind, batch)
        for output, flat in zip(called(function, graph, xs), flat_outputs(graph, graph.whole(*xs)), strict=True):
            np.testing.assert_allclose(output, flat, atol=1e-5)


def test_the_module_can_be_cut_and_cuts_go_deeper(case):
    _, _, graph, _ = case
    cuts = G.cuts(graph)
    assert graph.problem is None and len(cuts) >= 2
    assert [c.depth for c in cuts] == sorted(c.depth for c in cuts)
    assert [c.parameters_behind for c in cuts] == sorted((c.parameters_behind for c in cuts), reverse=True)
    assert all(0 <= c.depth <= 1 and 0 <= c.cost_behind <= 1 for c in cuts)


def test_back_of_front_is_the_whole_with_the_gradients_of_the_whole(case):
    kind, function, graph, _ = case
    xs = flat_inputs(kind)
    used = [graph.variables[i] for i in G.depth_order(graph)]
    whole_tape = tf.GradientTape()
    with whole_tape:
        expected = called(function, graph, xs)
    expected_of = dict(zip(map(id, used), gradients(expected, whole_tape, used), strict=True))
    for cut in chosen(graph):
        front, back = G.split(graph, cut)
        between = front(*xs)
        behind = [graph.variables[i] for i in cut.variables_behind]
        tape = tf.GradientTape()
        with tape:
            outputs = flat_outputs(graph, back(between, *(xs[i] for i in cut.inputs)))
        for a, b in zip(expected, outputs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=cut.tensor)
        for v, gradient in zip(behind, gradients(outputs, tape, behind), strict=True):
            _same_gradient(expected_of[id(v)], gradient, f"{v.name} behind {cut.tensor}")


def _same_gradient(expected, gradient, message):
    assert (expected is None) == (gradient is None), message
    if expected is not None:
        np.testing.assert_allclose(expected, gradient, atol=1e-5 * max(1.0, np.abs(expected).max()), err_msg=message)


def test_front_and_back_share_out_the_variables(case):
    _, _, graph, _ = case
    used = set(G.depth_order(graph))
    assert used == set(graph.resources.values())
    position = {id(v): i for i, v in enumerate(graph.variables)}
    for cut in chosen(graph):
        front, back = ({position[id(v)] for v in half.graph.variables} for half in G.split(graph, cut))
        assert front | back == used and not front & back
        assert back == set(cut.variables_behind) and front == set(G.variables_in_front(graph, cut))


def test_the_batch_stays_free_on_both_sides(case):
    kind, _, graph, _ = case
    cut = chosen(graph)[len(chosen(graph)) // 2]
    front, back = G.split(graph, cut)
    for batch in (1, 5):
        xs = flat_inputs(kind, batch)
        between = front(*xs)
        assert between.shape[0] == batch
        assert flat_outputs(graph, back(between, *(xs[i] for i in cut.inputs)))[0].shape[0] == batch


def test_blocks_share_out_the_variables_too(case):
    kind, _, graph, _ = case
    blocks = G.blocks(graph)
    assert [v for b in blocks for v in b.variables] == list(dict.fromkeys(v for b in blocks for v in b.variables))
    assert {v for b in blocks for v in b.variables} == set(G.depth_order(graph))
    assert blocks[-1].depth == 1.0 and len({b.name for b in blocks}) == len(blocks)
    multiplies = kind != "word_table"  # a table of vectors only looks up
    assert sum(b.cost for b in blocks) == pytest.approx(float(multiplies), abs=1e-6)


@pytest.mark.parametrize("kind", sorted(UNCUTTABLE))
def test_what_cannot_be_cut_says_why_and_works_whole(kind, module_folder):
    _, function, graph, _keep = made(kind, module_folder)
    assert UNCUTTABLE[kind] in graph.problem
    assert G.cuts(graph) == () and G.blocks(graph) == () and G.nearest_cut(graph, 0.3) is None
    xs = flat_inputs(kind)
    flat = tf.nest.flatten(graph.whole(*xs))[0]
    output = called(function, graph, xs)[0]
    np.testing.assert_allclose(output, flat, atol=1e-5)


ORDER = ["stem_conv", "stem_bn", "block1_depthwise", "block1_bn", "block1_project", "down2_conv", "down2_bn"]


@pytest.mark.parametrize("kind", ["keras3_export", "keras3_hub", "keras2"])
def test_depth_order_is_the_network_s(kind, module_folder):
    graph = made(kind, module_folder)[2]
    layers = dict.fromkeys(graph.variables[i].name.split("/")[0] for i in G.depth_order(graph))
    assert list(layers)[: len(ORDER)] == ORDER and list(layers)[-2:] == ["top_conv", "top_bn"]


@pytest.mark.parametrize("kind", ["keras3_export", "keras3_hub", "keras2"])
def test_batch_norms_blocks_and_taps_of_the_image_net(kind, module_folder):
    graph = made(kind, module_folder)[2]
    norms = G.batch_norms(graph)
    names = [[graph.variables[i].name.split(":")[0] for i in (n.gamma, n.beta, n.mean, n.variance)] for n in norms]
    assert len(norms) == 7
    assert names[0] == [f"stem_bn/{n}" for n in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert [b.name for b in G.blocks(graph)][:4] == ["stem", "block1", "down2", "block2"]
    assert list(G.taps(graph)) == [2, 4, 8, 16]
    assert G.input_affine(graph) is None


def test_stored_moments_can_be_compared_with_what_enters(module_folder):
    _, _, graph, _keep = made("keras3_hub", module_folder)
    norm = G.batch_norms(graph)[0]
    xs = flat_inputs("keras3_hub", 16)
    entering = G.part(graph, graph.inputs, [norm.tensor])(*xs)[0]
    mean, variance = graph.variables[norm.mean], graph.variables[norm.variance]
    mean.assign(tf.reduce_mean(entering, (0, 1, 2)))
    variance.assign(tf.math.reduce_variance(entering, (0, 1, 2)))
    normed = (entering - mean) / tf.sqrt(variance + norm.epsilon)
    np.testing.assert_allclose(tf.reduce_mean(normed, (0, 1, 2)), 0.0, atol=1e-3)


def test_the_classifier_begins_with_one_affine(module_folder):
    affine = G.input_affine(made("classifier", module_folder)[2])
    assert affine.scale == pytest.approx(1 / 255) and affine.offset == 0.0


class Half(keras.layers.Layer):
    """A part of a graph as a Keras layer that tracks the module's own variables."""

    def __init__(self, function, inputs=(), **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self._function = function
        for v in function.graph.variables:
            name = v.name.split(":")[0].replace("/", "_")
            self._track_variable(keras.Variable(v, trainable=v.trainable, name=name))
        self.built = True

    def call(self, x):
        return self._function(x)


@pytest.mark.parametrize("eager", [False, True])
def test_halves_train_as_keras_layers(module_folder, eager, tmp_path):
    _, function, graph, _keep = made("keras3_hub", module_folder)
    cut = G.nearest_cut(graph, 0.5)
    front, back = G.split(graph, cut)
    xs = flat_inputs("keras3_hub", 8)[0]
    before = [v.numpy() for v in graph.variables]
    image = keras.Input((modules.IMAGE_SIZE, modules.IMAGE_SIZE, 3))
    fixed = Half(front, name="front")
    fixed.trainable = False
    model = keras.Sequential([image, fixed, Half(back, name="back"), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, run_eagerly=eager, jit_compile=False)
    model.fit(xs, np.arange(8) % 3, epochs=2, verbose=0)
    moved = {i for i, (old, v) in enumerate(zip(before, graph.variables, strict=True)) if not np.array_equal(old, v)}
    assert moved and moved == {i for i in cut.variables_behind if graph.variables[i].trainable}
    np.testing.assert_allclose(model.layers[1](model.layers[0](xs)), function(xs), atol=1e-5)
    if not eager:
        model.export(tmp_path / "saved", verbose=False)
        saved = tf.saved_model.load(str(tmp_path / "saved"))
        np.testing.assert_allclose(saved.serve(xs), model(xs), atol=1e-5)


def test_efficientnet_lite0_has_its_eighteen_blocks():
    from tlkit.zoo.efficientnet_lite0 import network

    net = network(size=64)
    spec = tf.TensorSpec((None, 64, 64, 3), tf.float32)
    function = tf.function(lambda x: net(x, training=False)).get_concrete_function(spec)
    graph = G.flatten(function, [v.value for v in net.variables])
    blocks = G.blocks(graph)
    assert [b.ops for b in blocks] == [1, 2, *[3] * 15, 1]
    assert len(G.batch_norms(graph)) == 49
    assert sum(b.parameters for b in blocks) == sum(int(np.prod(v.shape)) for v in net.variables)
    assert list(G.taps(graph)) == [2, 4, 8, 16, 32]
