"""Weights of 8 bits in TFLite files: what is computed with them, and that no table lies in a file twice."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tlkit.formats import tflite, tflite_tree, tflite_weights

IDS, WIDTH = 200, 64


def tied(folder):
    """A SavedModel that looks tokens up in a table, and gives products with its rows."""
    rng = np.random.default_rng(0)
    table = rng.normal(0, rng.uniform(0.01, 3, (IDS, 1)), (IDS, WIDTH)).astype("f4")
    kernel = rng.normal(0, 0.1, (WIDTH, WIDTH)).astype("f4")

    @tf.function(input_signature=[tf.TensorSpec((1, 5), tf.int32, name="ids")], autograph=False)
    def scores(ids):
        states = tf.nn.relu(tf.matmul(tf.gather(tf.constant(table), ids)[0], tf.constant(kernel)))
        return {"scores": tf.matmul(states, tf.constant(table), transpose_b=True)}

    tf.saved_model.save(tf.Module(), str(folder), signatures=scores.get_concrete_function())
    return table, kernel


def rounded(value):
    """What is left of a weight whose rows were rounded to 8 bits."""
    scale = np.abs(value).max(axis=1, keepdims=True) / 127
    return np.round(value / scale) * scale


def called(content, folder, ids):
    (folder / "own.tflite").write_bytes(content)
    return tflite.open_tflite(folder / "own.tflite", 1).call({"ids": ids[None]})["scores"]


def bytes_in(content):
    """Sizes of the constants of 8 bits."""
    tree = tflite_tree.opened(content)
    int8 = tflite_tree.schema().TensorType.INT8
    numbers = {t.buffer for graph in tree.subgraphs for t in graph.tensors if t.type == int8}
    return sorted(len(tree.buffers[n].data) for n in numbers if tree.buffers[n].data is not None)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tied")
    table, kernel = tied(folder / "model")
    return folder, table, kernel


IDS_ASKED = np.array([3, 0, 199, 7, 7], np.int32)


def test_products_are_those_of_rounded_weights_in_float32(written):
    folder, table, kernel = written
    plain = tflite.convert(folder / "model", "float32", None, spanned=False)
    content = tflite_weights.in_bytes(plain)
    expected = np.maximum(rounded(table)[IDS_ASKED] @ rounded(kernel.T).T, 0) @ rounded(table).T
    products = called(content, folder, IDS_ASKED)
    np.testing.assert_allclose(products, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(products - called(plain, folder, IDS_ASKED)).max() > 1e-3  # they were rounded at all
    assert bytes_in(content) == [WIDTH * WIDTH, IDS * WIDTH] and len(content) < 0.4 * len(plain)


def test_a_table_that_is_also_the_head_lies_in_a_dynamic_file_once(written):
    folder, *_ = written
    plain = tflite.convert(folder / "model", "dynamic", None, spanned=False)
    assert bytes_in(plain) == [
        WIDTH * WIDTH,
        IDS * WIDTH,
        IDS * WIDTH,
    ]  # where the converter does so no more, mend goes
    content = tflite_weights.shared(plain)
    assert bytes_in(content) == [WIDTH * WIDTH, IDS * WIDTH]
    exact = called(tflite.convert(folder / "model", "float32", None, spanned=False), folder, IDS_ASKED)
    before, after = (np.abs(called(file, folder, IDS_ASKED) - exact).mean() for file in (plain, content))
    assert after < 0.9 * before  # rows that are looked up have a scale each


def test_a_table_of_its_own_stays(tmp_path):
    rng = np.random.default_rng(1)
    table, head = (rng.normal(size=(IDS, WIDTH)).astype("f4") for _ in range(2))

    @tf.function(input_signature=[tf.TensorSpec((1, 5), tf.int32, name="ids")], autograph=False)
    def scores(ids):
        return {"scores": tf.matmul(tf.gather(tf.constant(table), ids)[0], tf.constant(head), transpose_b=True)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), signatures=scores.get_concrete_function())
    plain = tflite.convert(tmp_path / "model", "dynamic", None, spanned=False)
    assert tflite_weights.shared(plain) == plain


def test_the_smallest_weights_stay_float32(tmp_path):
    """Tables of sines, which a spectrum is made with, are small: errors of 8 bits in them drown what is soft."""
    rng, times = np.random.default_rng(2), np.arange(32)
    sines = np.cos(2 * np.pi * np.outer(times, np.arange(16)) / 32).astype("f4")
    kernels = [rng.normal(size=(16, 512)).astype("f4"), rng.normal(size=(512, 512)).astype("f4")]

    @tf.function(input_signature=[tf.TensorSpec((1, 32), tf.float32, name="ids")], autograph=False)
    def spectrum(ids):
        product = tf.matmul(ids, tf.constant(sines))
        return {
            "scores": product,
            "deep": tf.matmul(tf.matmul(product, tf.constant(kernels[0])), tf.constant(kernels[1])),
        }

    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), signatures=spectrum.get_concrete_function())
    plain = tflite.convert(tmp_path / "model", "float32", None, spanned=False)
    content = tflite_weights.in_bytes(plain)
    wave = rng.normal(size=32).astype("f4")
    np.testing.assert_array_equal(called(content, tmp_path, wave), called(plain, tmp_path, wave))
    assert bytes_in(content) == [16 * 512, 512 * 512]


def test_kernels_have_a_scale_for_each_channel(tmp_path):
    rng = np.random.default_rng(3)
    wide = rng.normal(0, 1, (3, 3, 8, 64)).astype("f4") * np.geomspace(0.01, 1, 64, dtype="f4")
    deep = rng.normal(0, 1, (5, 5, 64, 1)).astype("f4") * np.geomspace(1, 0.01, 64, dtype="f4")[:, None]

    def net(image, first, second):
        image = tf.nn.conv2d(image, first, 1, "SAME")
        return tf.nn.depthwise_conv2d(image, second, (1, 1, 1, 1), "SAME")

    @tf.function(input_signature=[tf.TensorSpec((1, 9, 9, 8), tf.float32, name="ids")], autograph=False)
    def scores(ids):
        return {"scores": net(ids, tf.constant(wide), tf.constant(deep))}

    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), signatures=scores.get_concrete_function())
    plain = tflite.convert(tmp_path / "model", "float32", None, spanned=False)
    image = rng.normal(size=(9, 9, 8)).astype("f4")
    flat = [
        rounded(wide.reshape(-1, 64).T).T.reshape(wide.shape),
        rounded(deep.reshape(-1, 64).T).T.reshape(deep.shape),
    ]
    wanted = net(image[None], *(value.astype("f4") for value in flat)).numpy()
    found = called(tflite_weights.in_bytes(plain), tmp_path, image)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(found - called(plain, tmp_path, image)).max() > 1e-3
