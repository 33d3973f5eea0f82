"""Weights out of TFLite files."""

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.zoo.tflitefile import read_constants

tf = pytest.importorskip("tensorflow")


def test_constants_come_back_and_nothing_else(tmp_path):
    weights = np.arange(600, dtype=np.float32).reshape(20, 30)

    @tf.function(input_signature=[tf.TensorSpec((1, 20), tf.float32)])
    def product(x):
        return x @ tf.constant(weights, name="weights") + 7.0

    converter = tf.lite.TFLiteConverter.from_concrete_functions([product.get_concrete_function()], tf.Module())
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    constants = read_constants(tmp_path / "m.tflite")
    assert any(c.shape == (30, 20) and np.array_equal(c, weights.T) for c in constants.values())
    assert all(c.shape not in ((1, 20), (1, 30)) for c in constants.values())


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"TFL3" * 40])
def test_another_file_is_an_input_error(tmp_path, content):
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(InputError, match="not a TFLite file"):
        read_constants(tmp_path / "m.tflite")
