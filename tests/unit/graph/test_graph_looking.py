"""The affine at the input, BatchNorms, blocks, taps."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import graph as G
from tlkit.graph.blocks import _key, _name

rng = np.random.default_rng(0)
IMAGE = tf.TensorSpec((None, 8, 8, 3), tf.float32)
KERNEL = tf.Variable(rng.normal(size=(3, 3, 3, 2)).astype(np.float32), name="kernel")


def flat(body, variables=(), spec=IMAGE, **kwargs):
    return G.flatten(tf.function(body, autograph=False).get_concrete_function(spec), variables, **kwargs)


def convolved(preprocess):
    return flat(lambda x: tf.nn.conv2d(preprocess(x), KERNEL, 1, "SAME"), [KERNEL])


values = st.floats(0.1, 4).map(lambda v: round(v, 3))
constants = st.one_of(values, st.tuples(values, values, values).map(np.array))
STEPS = {
    "mul": lambda x, c: x * tf.constant(c, tf.float32),
    "add": lambda x, c: x + tf.constant(c, tf.float32),
    "sub": lambda x, c: x - tf.constant(c, tf.float32),
    "from": lambda x, c: tf.constant(c, tf.float32) - x,
    "div": lambda x, c: x / tf.constant(c, tf.float32),
    "negative": lambda x, c: -x,
    "cast": lambda x, c: tf.cast(tf.cast(x, tf.float64), tf.float32),
    "identity": lambda x, c: tf.identity(x),
    "wide": lambda x, c: x * tf.reshape(tf.constant(c, tf.float32), (1, 1, 1, -1)),
}
ARITHMETIC = set(STEPS) - {"cast", "identity"}


@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), constants), max_size=5))
@settings(max_examples=25, deadline=None)
def test_the_affine_is_what_the_ops_do(steps):
    def preprocess(x):
        for name, constant in steps:
            x = STEPS[name](x, constant)
        return x

    affine = G.input_affine(graph := convolved(preprocess))
    if not ARITHMETIC & {name for name, _ in steps}:
        assert affine is None
        return
    x = rng.uniform(0, 1, (2, 8, 8, 3))
    expected = G.part(graph, graph.inputs, [affine.tensor])(tf.constant(x, tf.float32))[0]
    size = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(x * affine.scale + affine.offset, expected, atol=2e-5 * size * 30)
    back = G.part(graph, [affine.tensor], graph.outputs)(expected)[0]
    np.testing.assert_allclose(back, graph.whole(tf.constant(x, tf.float32)), rtol=1e-5, atol=1e-5 * size)


def test_captured_constants_are_part_of_the_affine():
    mean, scale = tf.constant([0.1, 0.2, 0.3]), tf.constant(4.0)  # as a Normalization layer keeps them
    affine = G.input_affine(convolved(lambda x: (x - mean) * scale))
    np.testing.assert_allclose(affine.offset, [-0.4, -0.8, -1.2], rtol=1e-6)


def test_the_affine_s_numbers_are_exact():
    affine = G.input_affine(convolved(lambda x: (x * 2.0 - 1.0) * np.array([1.0, 2.0, 4.0], np.float32)))
    np.testing.assert_array_equal(affine.scale, [2.0, 4.0, 8.0])
    np.testing.assert_array_equal(affine.offset, [-1.0, -2.0, -4.0])
    assert affine.scale.dtype == np.float64


@pytest.mark.parametrize(
    ("preprocess", "scale"),
    [
        (lambda x: tf.reverse(x * 2.0, [-1]), 2.0),
        (lambda x: tf.clip_by_value(x * 2.0, 0.0, 1.0), 2.0),
        (lambda x: x + tf.reduce_mean(x), None),
        (lambda x: tf.cast(tf.cast(x, tf.int32), tf.float32) * 2.0, None),
        (lambda x: 1.0 / x, None),
        (lambda x: x * tf.ones((8, 1, 1)), None),
        (lambda x: x * tf.cast(tf.shape(x)[1], tf.float32), None),
    ],
)
def test_the_affine_ends_where_something_else_begins(preprocess, scale):
    affine = G.input_affine(convolved(preprocess))
    assert (None if affine is None else float(affine.scale)) == scale


def test_weights_and_second_inputs_are_no_affine():
    scale = tf.Variable(2.0)
    assert G.input_affine(flat(lambda x: x * scale, [scale])) is None
    assert G.input_affine(flat(lambda x: x * 2.0 * scale, [scale], tf.TensorSpec((None, 3)))) is None
    second = tf.TensorSpec((None, 8, 8, 2))
    two = tf.function(lambda x, y: tf.nn.conv2d(x * 2.0, KERNEL, 1, "SAME") + y).get_concrete_function(IMAGE, second)
    assert G.input_affine(G.flatten(two, [KERNEL])) is None


# BatchNorm


def norm_variables(count=4):
    names = ["gamma", "beta", "mean", "variance"]
    return {n: tf.Variable(rng.uniform(0.5, 1.5, count).astype(np.float32), name=n) for n in names}


def fused(x, w):
    return tf.compat.v1.nn.fused_batch_norm(
        x, w["gamma"], w["beta"], w["mean"], w["variance"], epsilon=0.01, is_training=False
    )[0]


def unfused(x, w):
    return tf.nn.batch_normalization(x, w["mean"], w["variance"], w.get("beta"), w.get("gamma"), 0.01)


def broadcast(x, w):
    wide = {n: tf.reshape(v, (1, 1, 1, -1)) for n, v in w.items()}
    return tf.nn.batch_normalization(x, wide["mean"], wide["variance"], wide["beta"], wide["gamma"], 0.01)


@pytest.mark.parametrize("norm", [fused, unfused, broadcast])
def test_batch_norms_are_found_with_what_enters(norm):
    kernel = tf.Variable(rng.normal(size=(3, 3, 3, 4)).astype(np.float32))
    w = norm_variables()
    variables = [kernel, *w.values()]
    graph = flat(lambda x: tf.nn.relu(norm(tf.nn.conv2d(x, kernel, 1, "SAME"), w)), variables)
    (batch_norm,) = G.batch_norms(graph)
    assert (batch_norm.gamma, batch_norm.beta, batch_norm.mean, batch_norm.variance) == (1, 2, 3, 4)
    assert batch_norm.epsilon == pytest.approx(0.01)
    x = tf.constant(rng.normal(size=(2, 8, 8, 3)).astype(np.float32))
    entering = G.part(graph, graph.inputs, [batch_norm.tensor])(x)[0]
    np.testing.assert_allclose(entering, tf.nn.conv2d(x, kernel, 1, "SAME"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("left_out", ["gamma", "beta"])
def test_batch_norms_without_scale_or_offset(left_out):
    kernel = tf.Variable(rng.normal(size=(3, 3, 3, 4)).astype(np.float32))
    w = norm_variables()
    del w[left_out]
    graph = flat(lambda x: unfused(tf.nn.conv2d(x, kernel, 1, "SAME"), w), [kernel, *w.values()])
    (batch_norm,) = G.batch_norms(graph)
    named = {n: None if (i := getattr(batch_norm, n)) is None else graph.variables[i].name for n in ("gamma", "beta")}
    assert named == {n: None if n == left_out else f"{n}:0" for n in ("gamma", "beta")}
    assert (
        graph.variables[batch_norm.mean].name == "mean:0" and graph.variables[batch_norm.variance].name == "variance:0"
    )


def test_a_layer_norm_is_no_batch_norm():
    w = norm_variables(3)

    def layer_norm(x):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, w["beta"], w["gamma"], 0.01)

    assert G.batch_norms(flat(layer_norm, [w["gamma"], w["beta"]])) == ()


# Blocks and taps


@pytest.mark.parametrize(
    ("names", "key", "name"),
    [
        (["blocks.3.expand_conv/kernel:0", "blocks.3.bn0/gamma:0"], "blocks.3", "blocks.3"),
        (["block3a_expand_conv/kernel:0", "block3a_bn/gamma:0"], "block3a", "block3a"),
        (["conv2_block1_1_conv/kernel:0", "conv2_block1_1_bn/beta:0"], "conv2_block1", "conv2_block1"),
        (["stage1/unit_2/conv/kernel:0"], "stage1/unit_2", "stage1/unit_2"),
        (
            ["MobilenetV2/expanded_conv_3/expand/weights:0"],
            "MobilenetV2/expanded_conv_3",
            "MobilenetV2/expanded_conv_3",
        ),
        (["bert/encoder/layer_._11/attention/kernel:0"], "bert/encoder/layer_._11", "bert/encoder/layer_._11"),
        (["stem_conv/kernel:0", "stem_bn/gamma:0", "stem_bn/beta:0"], None, "stem"),
        (["conv_head/kernel:0"], None, "conv_head"),
        (["Variable:0", "Variable_1:0"], None, "block_07"),
        (["kernel:0"], None, "block_07"),
        ([], None, "block_07"),
    ],
)
def test_names_of_blocks(names, key, name):
    assert _key(names) == key
    assert _name(names, 7) == name


def pyramid():
    """Four strided convolutions without telling names, the third widening; then a dense layer."""
    shapes = [(3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 64), (1, 1, 64, 8)]
    kernels = [tf.Variable(rng.normal(size=s).astype(np.float32)) for s in shapes]
    matrix = tf.Variable(rng.normal(size=(8, 5)).astype(np.float32))

    def body(x):
        for kernel, stride in zip(kernels, (2, 2, 1, 2), strict=True):
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, stride, "SAME"))
        return tf.reduce_mean(x, (1, 2)) @ matrix

    return body, [*kernels, matrix]


def test_blocks_without_names_open_where_feature_maps_grow_and_at_dense_layers():
    body, variables = pyramid()
    graph = flat(body, variables, tf.TensorSpec((None, 32, 32, 3)))
    blocks = G.blocks(graph)
    assert [b.ops for b in blocks] == [2, 2, 1]
    assert [b.name for b in blocks] == ["block_00", "block_01", "block_02"]
    assert [b.variables for b in blocks] == [(0, 1), (2, 3), (4,)]
    assert sum(b.parameters for b in blocks) == sum(int(tf.size(v)) for v in variables)
    assert sum(b.cost for b in blocks) == pytest.approx(1.0) and blocks[-1].depth == 1.0


@pytest.mark.parametrize("sizes", [(32, 32), (None, None)])
def test_taps_by_stride(sizes):
    body, variables = pyramid()
    graph = flat(body, variables, tf.TensorSpec((None, *sizes, 3)))
    x = tf.zeros((1, 32, 32, 3))
    taps = G.taps(graph)
    assert list(taps) == [2, 4, 8]
    for stride, tensor in taps.items():
        assert G.part(graph, graph.inputs, [tensor])(x)[0].shape[1] == 32 // stride
