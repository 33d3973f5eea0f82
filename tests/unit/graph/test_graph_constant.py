"""Functions without variables: the same values, and nothing of the calls around them in the names."""

import numpy as np
import pytest
import tensorflow as tf

from tlkit.graph import _private, constant, save_constant

ROWS = tf.TensorSpec((None, 4), tf.float32, name="rows")
rng = np.random.default_rng(0)


def nested(weights):
    inner = tf.function(lambda x: tf.nn.relu(x @ weights[0]))
    return tf.function(lambda rows: {"out": inner(inner(rows)) @ weights[1], "rows": rows}).get_concrete_function(ROWS)


@pytest.fixture
def weights():
    return [tf.Variable(rng.normal(size=(4, 4)).astype(np.float32)) for _ in range(2)]


def test_a_saved_function_keeps_its_values_when_the_variables_move(weights, tmp_path):
    function, rows = nested(weights), tf.constant(rng.random((3, 4)), tf.float32)
    expected = {name: value.numpy() for name, value in function(rows).items()}
    save_constant({"serving_default": function}, tmp_path / "saved")
    weights[0].assign(tf.zeros((4, 4)))
    outputs = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](rows=rows)
    assert set(outputs) == {"out", "rows"}
    np.testing.assert_array_equal(outputs["out"], expected["out"])
    np.testing.assert_array_equal(outputs["rows"], rows)


def test_our_own_way_is_taken_and_equals_tensorflows(weights):
    function, rows = nested(weights), tf.constant(rng.random((3, 4)), tf.float32)
    definition = constant._filled_in(function)
    assert definition is not None
    assert {"VarHandleOp", "ReadVariableOp", "Placeholder"}.isdisjoint(node.op for node in definition.node)
    np.testing.assert_array_equal(constant._constant(function)(rows)["out"], _private.constant(function)(rows)[0])


def test_custom_gradients_are_not_saved(weights, tmp_path):
    inner = tf.function(lambda x: tf.nn.silu(x @ weights[0], beta=1.5))
    function = tf.function(lambda rows: {"out": inner(rows) + 0.0}).get_concrete_function(ROWS)
    rows = tf.constant(rng.random((3, 4)), tf.float32)
    save_constant({"serving_default": function}, tmp_path / "saved")
    outputs = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](rows=rows)
    np.testing.assert_allclose(outputs["out"], function(rows)["out"], rtol=1e-6)


def test_an_operation_inside_a_call_may_be_named_as_the_input_is(weights):
    inner = tf.function(lambda x: tf.multiply(x, 2.0, name="rows") @ weights[0])
    function = tf.function(lambda rows: {"out": inner(rows)}).get_concrete_function(ROWS)
    rows = tf.constant(rng.random((3, 4)), tf.float32)
    np.testing.assert_array_equal(constant._constant(function)(rows)["out"], function(rows)["out"])


def test_a_function_that_writes_goes_tensorflows_way(weights):
    def body(rows):
        weights[0].assign_add(tf.ones((4, 4)))
        return {"out": rows @ weights[0]}

    assert constant._filled_in(tf.function(body).get_concrete_function(ROWS)) is None


def test_names_are_those_inside_the_calls(weights):
    definition = constant._filled_in(nested(weights))
    short = constant._short_names(definition, ["rows"])
    assert any("PartitionedCall/" in name for name in short)
    assert len(set(short.values())) == len(short)  # the two calls of `inner` keep what tells them apart


def test_names_do_not_count_what_the_process_did_before(weights):
    def names():
        with tf.Graph().as_default():  # what the process does between two traces
            [tf.constant(0.0) for _ in range(20)]
        return sorted(constant._short_names(constant._filled_in(nested(weights)), ["rows"]).values())

    first = names()
    assert first == names()
    assert any("captured_" in name for name in first)


def test_a_loop_that_carries_a_variable_goes_tensorflows_way(weights, tmp_path):
    def body(rows):
        return {"out": tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x @ weights[0]), [0, rows])[1]}

    function = tf.function(body).get_concrete_function(ROWS)
    rows = tf.constant(rng.random((3, 4)), tf.float32)
    assert constant._filled_in(function) is None
    save_constant({"serving_default": function}, tmp_path / "saved")
    outputs = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](rows=rows)
    np.testing.assert_allclose(outputs["out"], function(rows)["out"], rtol=1e-6)


def test_a_table_that_is_gathered_and_read_is_one_constant(tmp_path):
    table = tf.Variable(rng.normal(size=(10, 4)).astype(np.float32))
    spec = tf.TensorSpec((None,), tf.int32, name="ids")
    function = tf.function(
        lambda ids: {"out": tf.nn.embedding_lookup(table, ids), "tied": table @ tf.ones((4, 1))}
    ).get_concrete_function(spec)
    definition = constant._filled_in(function)
    assert sum(node.attr["value"].tensor.ByteSize() > 160 for node in definition.node) == 1
    save_constant({"serving_default": function}, tmp_path / "saved")
    outputs = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](ids=tf.constant([3, 1]))
    np.testing.assert_array_equal(outputs["out"], table.numpy()[[3, 1]])
