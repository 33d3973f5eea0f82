"""Convolutions of groups: Keras hands them to XLA, and TensorFlow has no gradients of them on a CPU."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit import graph as G

SIZE, CHANNELS = 8, 6


def net(groups, multiplier=1, strides=1):
    """Residual stretches as ConvNeXt has them, of convolutions in groups."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(CHANNELS, 3, padding="same", name="stem")(image)
    for n in range(2):
        y = keras.layers.Conv2D(CHANNELS * multiplier, 3, strides, "same", groups=groups, name=f"grouped{n}")(x)
        y = keras.layers.Conv2D(CHANNELS, 1, name=f"mix{n}")(keras.layers.LayerNormalization(name=f"norm{n}")(y))
        x = y if strides > 1 else keras.layers.Add(name=f"add{n}")([x, keras.layers.Activation("gelu")(y)])
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def gradients(call, x, variables):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(call(x) ** 2)
    return tape.gradient(loss, variables)


@pytest.mark.parametrize(
    ("groups", "multiplier", "strides"), [(CHANNELS, 1, 1), (CHANNELS, 2, 1), (CHANNELS, 2, 2), (2, 1, 1), (3, 2, 1)]
)
def test_the_module_is_cut_and_trains_as_the_module_itself(groups, multiplier, strides):
    model = net(groups, multiplier, strides)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)
    )
    assert "StatefulPartitionedCall" in {op.type for op in function.graph.get_operations()}
    graph = G.flatten(function, [v.value for v in model.variables])
    assert graph.problem is None
    x = tf.random.stateless_normal((3, SIZE, SIZE, 3), (1, 2))
    whole = graph.whole(x)
    np.testing.assert_allclose(whole, function(x), atol=1e-5)
    middle = [cut for cut in G.cuts(graph) if 0 < cut.depth < 1]
    assert len({cut.ops_in_front for cut in middle}) == (2 if strides == 1 else 4)
    for cut in middle:
        front, back = G.split(graph, cut)
        np.testing.assert_allclose(back(front(x), *[x] * len(cut.inputs)), whole, atol=1e-6)
        behind = [graph.variables[i] for i in cut.variables_behind]
        tensor = front(x)
        sides = [x] * len(cut.inputs)
        actual = gradients(lambda y, back=back, sides=sides: back(y, *sides), tensor, behind)
        for gradient, other in zip(actual, gradients(function, x, behind), strict=True):
            np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-4)


def test_groups_of_one_channel_are_depthwise_convolutions_in_all_parts():
    model = net(CHANNELS)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)
    )
    kinds = Counter(op.type for op in G.flatten(function).whole.graph.get_operations())
    assert kinds["DepthwiseConv2dNative"] == 2 and kinds["StatefulPartitionedCall"] == 0


def test_a_function_for_xla_with_state_of_its_own_is_left_whole():
    weight = tf.Variable(tf.ones((3, 2)))

    @tf.function(jit_compile=True)
    def noisy(x):
        return x @ weight + tf.random.uniform((2,))

    function = tf.function(lambda x: noisy(x)).get_concrete_function(tf.TensorSpec((None, 3), tf.float32))
    assert "has state of its own (RandomUniform" in G.flatten(function, [weight]).problem


@pytest.mark.slow
def test_convnext_is_cut_behind_each_of_its_blocks():
    model = keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((None, 64, 64, 3), tf.float32)
    )
    graph = G.flatten(function, [v.value for v in model.variables])
    assert len({cut.ops_in_front for cut in G.cuts(graph)}) >= 18 and list(G.taps(graph)) == [4, 8, 16, 32]
    x = tf.random.stateless_normal((2, 64, 64, 3), (1, 2))
    whole = graph.whole(x)
    np.testing.assert_allclose(whole, function(x), atol=1e-5)
    for share in (0.1, 0.5, 0.9):
        cut = G.nearest_cut(graph, share)
        front, back = G.split(graph, cut)
        np.testing.assert_array_equal(back(front(x), *[x] * len(cut.inputs)), whole)
