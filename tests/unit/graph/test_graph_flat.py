"""Flattening and parts, on small functions."""

import numpy as np
import pytest
import tensorflow as tf

from tlkit import graph as G
from tlkit.core.errors import InputError

SPEC = tf.TensorSpec((None, 4), tf.float32)
rng = np.random.default_rng(0)


def variable(*shape, name=None):
    return tf.Variable(rng.normal(size=shape).astype(np.float32), name=name)


def flat(body, variables, *specs):
    return G.flatten(tf.function(body).get_concrete_function(*(specs or (SPEC,))), variables)


@pytest.fixture
def x():
    return tf.constant(rng.normal(size=(3, 4)).astype(np.float32))


def test_nested_calls_become_plain_ops(x):
    w = variable(4, 4)
    inner = tf.function(lambda v: tf.nn.relu(v @ w))
    graph = flat(lambda v: inner(inner(v)), [w])
    assert not [n.op for n in graph.nodes.values() if "Call" in n.op]
    np.testing.assert_allclose(graph.whole(x), inner(inner(x)), rtol=1e-6)


def test_variables_keep_their_indices_and_missing_ones_follow():
    a, b, unused = variable(4, 4), variable(4, 4), variable(2)
    graph = flat(lambda v: (v @ a) @ b, [unused, b])
    assert [v is w for v, w in zip(graph.variables, (unused, b, a), strict=True)] == [True] * 3
    assert G.depth_order(graph) == (2, 1)


def test_outputs_keep_their_structure(x):
    w = variable(4, 4)
    graph = flat(lambda v: {"last": v @ w, "all": [v @ w, v]}, [w])
    assert graph.structure == {"last": 2, "all": [0, 1]}
    out = graph.whole(x)
    np.testing.assert_allclose(out["last"], x @ w, rtol=1e-6)
    np.testing.assert_array_equal(out["all"][1], x)


def test_one_output_of_several_makes_room_for_cuts(x):
    w, u = variable(4, 4), variable(4, 4)

    def body(v):
        first = v @ w
        return {"early": first, "late": tf.nn.relu(first) @ u}

    graph = flat(body, [w, u])
    narrow = G.with_output(graph, "late")
    assert max(c.depth for c in G.cuts(graph)) == 0.5
    assert max(c.depth for c in G.cuts(narrow)) == 1.0
    np.testing.assert_allclose(narrow.whole(x), body(x)["late"], rtol=1e-6)
    with pytest.raises(InputError, match=r"no output of this name.*early.*Received: output_key='nope'"):
        G.with_output(graph, "nope")


def test_an_output_list_under_a_key_stays_a_list(x):
    w = variable(4, 4)
    graph = flat(lambda v: {"maps": [v @ w, v + 1.0], "x": v}, [w])
    maps = G.with_output(graph, "maps").whole(x)
    assert len(maps) == 2
    np.testing.assert_allclose(maps[1], x + 1.0)


def test_a_part_is_made_once(x):
    w = variable(4, 4)
    graph = flat(lambda v: tf.nn.relu(v @ w), [w])
    product = next(c.tensor for c in G.cuts(graph))
    part = G.part(graph, graph.inputs, [product])
    assert G.part(graph, list(graph.inputs), (product,)) is part
    np.testing.assert_allclose(part(x)[0], x @ w, rtol=1e-6)


def test_a_part_follows_assignments(x):
    w = variable(4, 4)
    graph = flat(lambda v: v @ w, [w])
    w.assign(w * 2.0)
    np.testing.assert_allclose(graph.whole(x), x @ w, rtol=1e-6)


def test_a_part_may_stop_at_one_output_of_an_op(x):
    w = variable(4, 4)

    def body(v):
        left, right = tf.split(v @ w, 2, axis=1)
        return tf.nn.relu(left) * right

    graph = flat(body, [w])
    split = next(name for name, node in graph.nodes.items() if node.op == "Split")
    part = G.part(graph, [*graph.inputs, f"{split}:1"], graph.outputs)
    zero = tf.zeros((3, 2))
    np.testing.assert_array_equal(part(x, zero)[0], zero)
    assert [v is w for v in part.graph.variables] == [True]


def test_a_part_may_give_back_what_it_takes(x):
    w = variable(4, 4)
    graph = flat(lambda v: v @ w, [w])
    same, product = G.part(graph, graph.inputs, [graph.inputs[0], graph.outputs[0]])(x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_allclose(product, x @ w, rtol=1e-6)


def test_what_is_not_in_the_graph_is_named():
    w = variable(4, 4)
    graph = flat(lambda v: v @ w, [w])
    with pytest.raises(InputError, match="no tensor `nowhere:0`"):
        G.part(graph, ["nowhere:0"], graph.outputs)
    with pytest.raises(InputError, match=r"needs `v:0`; name it among the feeds"):
        G.part(graph, [], graph.outputs)


def test_gradients_of_wrapped_ops_survive(x):
    w, u = variable(4, 4), variable(4, 4)
    graph = flat(lambda v: tf.nn.silu(v @ w) @ u, [w, u])
    with tf.GradientTape(persistent=True) as tape:
        flat_loss = tf.reduce_sum(graph.whole(x) ** 2)
        loss = tf.reduce_sum((tf.nn.silu(x @ w) @ u) ** 2)
    for a, b in zip(tape.gradient(flat_loss, [w, u]), tape.gradient(loss, [w, u]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_writing_state_rules_cuts_out():
    w, count = variable(4, 4), tf.Variable(0.0)

    def body(v):
        count.assign_add(1.0)
        return v @ w

    graph = flat(body, [w])
    assert "writes state" in graph.problem
    assert G.cuts(graph) == () and G.nearest_cut(graph, 0.0) is None and G.blocks(graph) == ()


def test_random_numbers_rule_cuts_out():
    w = variable(4, 4)
    graph = flat(lambda v: tf.nn.dropout(v @ w, 0.5), [w])
    assert "has state of its own (RandomUniform" in graph.problem


def test_control_flow_on_weights_rules_cuts_out_and_the_whole_still_works(x):
    w = variable(4, 4)

    def body(v):
        for _ in tf.range(tf.shape(v)[0]):
            v = tf.tanh(v @ w)
        return v

    function = tf.function(body).get_concrete_function(SPEC)
    graph = G.flatten(function, [w])
    assert "control flow" in graph.problem
    np.testing.assert_allclose(graph.whole(x), function(x), rtol=1e-6)
    cut = G.Cut("x:0", None, 0.5, 1, 2, (), 0, 0.0, ())
    with pytest.raises(InputError, match=r"cannot be cut at `x:0`: it has control flow"):
        G.split(graph, cut)


def test_control_flow_on_weight_free_values_is_no_hindrance(x):
    w, u = variable(4, 4), variable(4, 4)

    def body(v):
        scale = tf.constant(1.0)
        for _ in tf.range(tf.shape(v)[0]):
            scale *= 1.5
        return tf.nn.relu(v @ w) * scale @ u

    graph = flat(body, [w, u])
    cut = G.nearest_cut(graph, 0.5)
    front, back = G.split(graph, cut)
    np.testing.assert_allclose(back(front(x), *[x for _ in cut.inputs]), body(x), rtol=1e-5)


def test_what_tensorflow_cannot_flatten_is_used_whole(x, monkeypatch):
    def fail(function):
        raise ValueError("node `a` is odd\nand more")

    w = variable(4, 4)
    monkeypatch.setattr("tlkit.graph._private.inlined_graph_def", fail)
    graph = flat(lambda v: v @ w, [w])
    assert graph.problem == "cannot be taken apart by TensorFlow (node `a` is odd)"
    np.testing.assert_allclose(graph.whole(x), x @ w, rtol=1e-6)
    assert G.cuts(graph) == G.blocks(graph) == G.batch_norms(graph) == G.depth_order(graph) == ()
    assert G.input_affine(graph) is None and G.taps(graph) == {}


def test_a_function_without_variables_says_so():
    graph = flat(lambda v: v * 2.0, [])
    assert graph.problem == "reads no variables" and G.cuts(graph) == ()


def test_parts_work_inside_functions_and_a_flat_graph_can_be_made_there(x):
    w = variable(4, 4)
    function = tf.function(lambda v: tf.nn.relu(v @ w)).get_concrete_function(SPEC)

    @tf.function
    def outer(v):
        with tf.init_scope():
            graph = G.flatten(function, [w])
        return G.part(graph, graph.inputs, graph.outputs)(v)[0]

    np.testing.assert_allclose(outer(x), function(x), rtol=1e-6)


def test_given_sizes_sharpen_shapes_and_leave_parts_open():
    kernel = variable(3, 3, 3, 2)
    spec = tf.TensorSpec((None, None, None, 3), tf.float32)
    function = tf.function(lambda v: tf.nn.conv2d(v, kernel, 2, "SAME")).get_concrete_function(spec)
    graph = G.flatten(function, [kernel], input_shapes=[(None, 64, 32, 3)])
    assert G.cuts(graph)[-1].shape == (None, 32, 16, 2)
    assert graph.whole(tf.zeros((1, 10, 10, 3))).shape == (1, 5, 5, 2)
