"""The part that trains is changed to cost less: what it gives and its gradients stay the same."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tlkit import graph as G

rng = np.random.default_rng(0)
PIXELS = tf.TensorSpec((None, 6, 6, 3), tf.float32)


def variable(*shape, name):
    return tf.Variable(rng.normal(0.3, 0.5, shape).astype(np.float32), name=name)


def norm(channels, name):
    gamma, beta = variable(channels, name=f"{name}/gamma"), variable(channels, name=f"{name}/beta")
    mean, variance = variable(channels, name=f"{name}/mean"), tf.Variable(tf.ones(channels), name=f"{name}/variance")
    return [gamma, beta, mean, variance], lambda x: tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


class Net:
    """A 3 x 3 convolution, then what is to be eased."""

    def __init__(self, depthwise=2, strides=1):
        self.first = variable(3, 3, 3, 4, name="first")
        self.pointwise, self.depthwise = variable(1, 1, 4, 8, name="pointwise"), variable(3, 3, 8, depthwise, name="dw")
        self.norm1, self.call1 = norm(8, "norm1")
        self.norm2, self.call2 = norm(8 * depthwise, "norm2")
        self.strides = strides
        self.variables = [self.first, self.pointwise, self.depthwise, *self.norm1, *self.norm2]

    def __call__(self, x):
        x = tf.nn.relu(tf.nn.conv2d(x, self.first, 1, "SAME"))
        x = tf.nn.relu(self.call1(tf.nn.conv2d(x, self.pointwise, self.strides, "SAME")))
        x = self.call2(tf.nn.depthwise_conv2d(x, self.depthwise, [1, 1, 1, 1], "SAME"))
        return tf.reduce_mean(x, [1, 2])


def halves(net):
    """The eased back behind the first convolution, and the same part as it was."""
    graph = G.flatten(tf.function(net).get_concrete_function(PIXELS), net.variables)
    cut = min(G.cuts(graph), key=lambda cut: cut.depth)
    front, back = G.split(graph, cut)
    return front, back, G.part_as(graph, [cut.tensor], graph.outputs, graph.structure)


def gradients(part, x, variables):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(part(x) ** 2)
    return tape.gradient(loss, [x, *variables])


def kinds(function):
    return Counter(op.type for op in function.graph.get_operations())


@pytest.mark.parametrize("net", [Net(), Net(depthwise=1), Net(strides=2)], ids=["multiplier", "plain", "strided"])
def test_outputs_and_gradients_are_those_of_the_part_as_it_was(net):
    front, back, plain = halves(net)
    x = front(tf.constant(rng.random((5, 6, 6, 3)), tf.float32))
    np.testing.assert_allclose(back(x), plain(x), rtol=1e-5, atol=1e-5)
    variables = net.variables[1:]
    for actual, other in zip(gradients(back, x, variables), gradients(plain, x, variables), strict=True):
        np.testing.assert_allclose(actual, other, rtol=1e-4, atol=1e-4)


def test_scales_are_folded_and_pointwise_convolutions_multiplied():
    _, back, plain = halves(Net())
    assert kinds(plain)["Conv2D"] == 1
    assert (kinds(back)["Conv2D"], kinds(back)["MatMul"]) == (0, 1)
    products = [op for op in back.graph.get_operations() if op.type == "Mul" and op.outputs[0].shape.rank == 4]
    assert {op.outputs[0].shape[0] for op in products} == {1, 3}  # the kernels alone are multiplied
    assert any(op.outputs[0].shape[0] is None for op in plain.graph.get_operations() if op.type == "Mul")


def test_a_strided_convolution_stays_one():
    assert kinds(halves(Net(strides=2))[1])["Conv2D"] == 1


def test_pixels_of_any_number_stay_convolutions():
    net = Net()
    graph = G.flatten(tf.function(net).get_concrete_function(tf.TensorSpec((None, None, None, 3))), net.variables)
    cut = min(G.cuts(graph), key=lambda cut: cut.depth)
    front, back = G.split(graph, cut)
    assert kinds(back)["Conv2D"] == 1
    for size in (4, 7):
        x = tf.constant(rng.random((2, size, size, 3)), tf.float32)
        np.testing.assert_allclose(back(front(x)), net(x), rtol=1e-4, atol=1e-5)


def test_a_convolution_that_is_read_twice_is_left_alone():
    kernel, scale, first = variable(3, 3, 4, 4, name="k"), variable(4, name="s"), variable(3, 3, 3, 4, name="first")

    def net(x):
        x = tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME"))
        x = tf.nn.conv2d(x, kernel, 1, "SAME")
        return tf.reduce_mean(x * scale + tf.nn.relu(x), [1, 2])

    net.variables = [first, kernel, scale]
    front, back, plain = halves(net)
    x = front(tf.constant(rng.random((5, 6, 6, 3)), tf.float32))
    np.testing.assert_array_equal(back(x), plain(x))
    assert kinds(back) == kinds(plain)


def test_of_two_scales_in_a_row_the_first_is_folded():
    kernel, first = variable(3, 3, 4, 6, name="k"), variable(3, 3, 3, 4, name="first")
    scale, other = variable(6, name="one"), variable(6, name="other")

    def net(x):
        x = tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME")), kernel, 1, "SAME")
        return tf.reduce_mean(x * scale * other, [1, 2])

    net.variables = [first, kernel, scale, other]
    front, back, plain = halves(net)
    x = front(tf.constant(rng.random((5, 6, 6, 3)), tf.float32))
    np.testing.assert_allclose(back(x), plain(x), rtol=1e-5, atol=1e-5)
    for mine, expected in zip(
        gradients(back, x, net.variables[1:]), gradients(plain, x, net.variables[1:]), strict=True
    ):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_half_precision_is_left_alone():
    kernel, first = variable(3, 3, 4, 6, name="k"), variable(3, 3, 3, 4, name="first")
    scale = variable(6, name="s")

    def net(x):
        x = tf.cast(tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME")), tf.float16)
        x = tf.nn.conv2d(x, tf.cast(kernel, tf.float16), 1, "SAME") * tf.cast(scale, tf.float16)
        return tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])

    net.variables = [first, kernel, scale]
    _, back, plain = halves(net)
    assert kinds(back) == kinds(plain)


def test_a_scale_of_each_pixel_is_left_alone():
    kernel, scale, first = variable(3, 3, 4, 6, name="k"), variable(6, 6, name="s"), variable(3, 3, 3, 4, name="first")

    def net(x):
        x = tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME")), kernel, 1, "SAME")
        return tf.reduce_mean(x * scale, [1, 2])  # (width, channels): not one number a channel

    net.variables = [first, kernel, scale]
    _front, back, plain = halves(net)
    assert kinds(back) == kinds(plain)
