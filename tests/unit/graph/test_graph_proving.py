"""The range of pixels that a graph proves by what it makes of plain pictures."""

import numpy as np
import pytest
import tensorflow as tf

from tlkit import graph as G

rng = np.random.default_rng(0)
IMAGE = tf.TensorSpec((None, 24, 24, 3), tf.float32)
BYTES, UNIT, SIGNED = (0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def convolved(preprocess, spec=IMAGE, channels=3):
    kernel = tf.Variable(rng.normal(size=(3, 3, channels, 2)).astype(np.float32))
    body = tf.function(lambda x: tf.nn.conv2d(preprocess(x), kernel, 2, "SAME"), autograph=False)
    return G.flatten(body.get_concrete_function(spec), [kernel])


def caffe(x):
    return x[..., ::-1] - tf.constant([103.939, 116.779, 123.68])


def by_channel(x):
    red, green, blue = tf.split(x, 3, axis=-1)
    return tf.concat([blue - 104.0, green - 117.0, red - 124.0], -1)


def scaled(x):
    return x / 127.5 - 1.0


PROVED = {
    "scaled": (scaled, BYTES),
    "resized, then scaled": (lambda x: scaled(tf.image.resize(x, (20, 20), "bicubic", antialias=True)), BYTES),
    "cropped, then scaled": (lambda x: scaled(x[:, 2:-2, 2:-2]), BYTES),
    "padded, then scaled": (lambda x: scaled(tf.pad(x, [(0, 0), (3, 3), (3, 3), (0, 0)])), BYTES),
    "scaled, then padded": (lambda x: tf.pad(scaled(x), [(0, 0), (3, 3), (3, 3), (0, 0)]), BYTES),
    "reversed, then scaled": (lambda x: scaled(tf.reverse(x, [2])), BYTES),
    "transposed": (lambda x: tf.transpose(tf.transpose(x, [0, 3, 1, 2]) / 255, [0, 2, 3, 1]), BYTES),
    "clipped behind": (lambda x: tf.clip_by_value(x / 255, 0, 1), BYTES),
    "mean subtracted, colours turned": (caffe, BYTES),
    "mean subtracted by channel": (by_channel, BYTES),
    "a dark mean subtracted": (lambda x: x - 33.0, BYTES),
    "turned dark to light": (lambda x: 255.0 - x, BYTES),
    "mean and deviation of bytes": (lambda x: (x / 255 - MEAN) / DEVIATION, BYTES),
    "rounded to bytes": (lambda x: tf.cast(tf.cast(x, tf.uint8), tf.float32), BYTES),
    "clipped to bytes": (lambda x: tf.clip_by_value(x, 0, 255), BYTES),
    "normalised by picture": (tf.image.per_image_standardization, BYTES),
    "doubled": (lambda x: 2 * x - 1, UNIT),
    "centred": (lambda x: x - 0.5, UNIT),
    "mean and deviation": (lambda x: (x - MEAN) / DEVIATION, UNIT),
    "mean and deviation of grey digits": (lambda x: (x - 0.1307) / 0.3081, UNIT),
    "made bytes, mean subtracted": (lambda x: caffe(255 * x), UNIT),
    "clipped to 0..1": (lambda x: tf.clip_by_value(x, 0, 1), UNIT),
    "made bytes of -1..1": (lambda x: (x + 1) * 127.5, SIGNED),
    "made 0..1 of -1..1": (lambda x: x / 2 + 0.5, SIGNED),
    "clipped to -1..1": (lambda x: tf.clip_by_value(x, -1, 1), SIGNED),
}


@pytest.mark.parametrize("name", PROVED)
def test_what_the_way_to_the_first_convolution_proves(name):
    preprocess, value_range = PROVED[name]
    assert G.proved_range(convolved(preprocess)).range == value_range


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda x: x,
        lambda x: x[..., ::-1],
        lambda x: tf.pad(tf.image.resize(x, (16, 16)), [(0, 0), (1, 1), (1, 1), (0, 0)]),
        lambda x: 2 * x,  # 0..1 or -1..1
        lambda x: x - 1000.0,
        lambda x: x * 1e-6,
        lambda x: x / 4,  # 0..63.75 of 0..255, or -0.25..0.25 of -1..1
        tf.sin,
    ],
)
def test_what_proves_nothing(preprocess):
    assert G.proved_range(convolved(preprocess)) is None


def test_grey_pictures_and_pictures_of_any_size():
    spec = tf.TensorSpec((None, None, None, 3), tf.float32)
    assert G.proved_range(convolved(lambda x: scaled(tf.image.resize(x, (20, 20))), spec)).range == BYTES
    assert G.proved_range(convolved(lambda x: scaled(tf.image.rgb_to_grayscale(x)), channels=1)).range == BYTES
    one_at_a_time = tf.TensorSpec((1, 24, 24, 1), tf.float32)
    assert G.proved_range(convolved(scaled, one_at_a_time, channels=1)).range == BYTES


def test_a_scaling_behind_the_first_weights_proves_nothing():
    kernel = tf.Variable(rng.normal(size=(1, 1, 3, 3)).astype(np.float32))
    body = tf.function(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME") / 127.5 - 1.0, autograph=False)
    assert G.proved_range(G.flatten(body.get_concrete_function(IMAGE), [kernel])) is None


def test_branches_that_disagree_prove_nothing():
    first, second = (tf.Variable(rng.normal(size=(3, 3, 3, 2)).astype(np.float32)) for _ in range(2))

    def body(x):
        return tf.nn.conv2d(x / 255, first, 1, "SAME") + tf.nn.conv2d(2 * x - 1, second, 1, "SAME")

    graph = G.flatten(tf.function(body, autograph=False).get_concrete_function(IMAGE), [first, second])
    assert len(G.entering(graph)) == 2 and G.proved_range(graph) is None


def test_statistics_in_variables_count_as_scaling():
    mean, deviation = tf.Variable([120.0, 110.0, 100.0]), tf.Variable(55.0)  # as a Normalization layer is restored
    kernel = tf.Variable(rng.normal(size=(3, 3, 3, 2)).astype(np.float32))
    body = tf.function(lambda x: tf.nn.conv2d((x - mean) / deviation, kernel, 1, "SAME"), autograph=False)
    proof = G.proved_range(G.flatten(body.get_concrete_function(IMAGE), [mean, deviation, kernel]))
    assert proof.range == BYTES
    np.testing.assert_allclose(proof.becomes, (-120 / 55, 155 / 55), rtol=1e-5)
