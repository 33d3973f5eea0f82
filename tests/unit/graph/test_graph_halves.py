"""What the front of a module that gives several tensors gives, and what its back takes, on graphs that are drawn."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import graph as G
from tlkit.core.errors import InputError

SHARES = (0.0, 0.2, 0.4, 0.6, 0.9)
ROWS = tf.TensorSpec((None, 4), tf.float32)


def dense(count, seed=0):
    rng = np.random.default_rng(seed)
    return [tf.Variable(rng.normal(size=(4, 4)).astype(np.float32), name=f"w{i}") for i in range(count)]


def flat(body, variables, *specs):
    return G.flatten(tf.function(body).get_concrete_function(*(specs or (ROWS,))), variables)


def chain(kinds):
    """(graph, names of the tensors at the end of each stretch): dense layers, residual ones, and ones with a branch."""
    weights = dense(2 * len(kinds))

    def body(x):
        for i, kind in enumerate(kinds):
            first, second = weights[2 * i : 2 * i + 2]
            if kind == "residual":
                x = tf.add(x, tf.nn.relu(x @ first) @ second, name=f"end_{i}")
            elif kind == "branches":
                x = tf.add(tf.nn.relu(x @ first), tf.nn.tanh(x @ second), name=f"end_{i}")
            else:
                x = tf.nn.relu(tf.nn.relu(x @ first) @ second, name=f"end_{i}")
        return tf.identity(x)

    return flat(body, weights), [f"end_{i}:0" for i in range(len(kinds))]


@given(st.data())
@settings(max_examples=6, deadline=None)
def test_the_back_behind_the_front_is_the_whole(data):
    kinds = data.draw(st.lists(st.sampled_from(("dense", "residual", "branches")), min_size=2, max_size=5))
    graph, ends = chain(kinds)
    taps = data.draw(st.permutations(data.draw(st.lists(st.sampled_from(ends), min_size=1, unique=True))))
    x = tf.random.stateless_normal((3, 4), (1, 2))
    expected = G.giving(graph, taps).whole(x)
    for share in SHARES:
        halves = G.halved(graph, taps, share)
        front, back = G.split_at(graph, taps, halves)
        tensors = front(x)
        for a, b in zip(back(*tensors, *[x] * len(halves.inputs)), expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{kinds} {taps} {share}")
        if halves.cut is None:
            assert share == 0 and set(halves.tensors) == set(taps)
            continue
        trained = {id(graph.variables[i]) for i in halves.cut.variables_behind}
        assert trained and trained == {id(v) for v in back.graph.variables}
        assert not trained & {id(v) for v in front.graph.variables}
        assert set(taps) - set(halves.tensors)  # something lies behind


@pytest.fixture(scope="module")
def four():
    return chain(("dense",) * 4)


@pytest.mark.parametrize(
    ("share", "tensors"),
    [
        (0.0, ("end_0:0", "end_2:0")),  # end_3 is behind the last tap
        (0.2, ("end_0:0", "end_1:0")),  # of the six layers up to end_2 the last two train
        (0.6, ("end_0:0",)),  # the cut is a tap
    ],
)
def test_the_front_gives_the_taps_before_the_cut_and_the_cut(four, share, tensors):
    assert G.halved(four[0], ("end_2:0", "end_0:0"), share).tensors == tensors


def test_the_whole_trains_without_halves(four):
    assert G.halved(four[0], four[1], 1.0) == G.Halves(None, (), ())


def test_one_tap_that_is_the_output_is_cut_as_the_graph_is(four):
    for share in SHARES[1:]:
        cut = G.nearest_cut(four[0], share)
        assert G.halved(four[0], four[0].outputs, share) == G.Halves(cut, (cut.tensor,), cut.inputs)


def test_inputs_that_the_taps_need_are_given_to_the_back():
    weights = dense(3)

    def body(x, mask):
        x = tf.nn.relu(x @ weights[0], name="first")
        x = tf.nn.relu(x @ weights[1], name="second") * mask
        return tf.nn.relu(x @ weights[2], name="third")

    graph = flat(body, weights, ROWS, ROWS)
    assert G.halved(graph, ("first:0", "third:0"), 0.0).inputs == ()
    assert G.halved(graph, ("first:0", "third:0"), 0.6) == G.Halves(
        G.nearest_cut(G.ending(graph, ("third:0",)), 0.6), ("first:0",), (1,)
    )


def test_a_table_comes_from_the_back_and_trains_with_the_whole_alone():
    table, weight = tf.Variable(np.eye(6, 4, dtype=np.float32)), dense(1)[0]

    def body(ids):
        x = tf.nn.relu(tf.gather(table, ids) @ weight, name="hidden")
        return tf.matmul(x, tf.identity(table, name="given"), transpose_b=True)

    graph = flat(body, [table, weight], tf.TensorSpec((None, 3), tf.int32))
    resource = G.embedding(graph)
    assert graph.resources[resource] == 0
    for tap in (resource, "given:0"):
        frozen = G.halved(graph, ("hidden:0", tap), 0.0)
        assert frozen.tensors == ("hidden:0",)
        trained = G.halved(graph, ("hidden:0", tap), 0.5)
        assert trained.cut.variables_behind == (1,) and trained.cut.parameters_behind == 16
        assert G.variables_of(graph, ("hidden:0", tap)) == (0, 1)


def test_a_branch_beside_the_last_tap_that_shares_what_trains_is_no_front():
    weights = dense(2)

    def body(x):
        side = tf.nn.tanh(x @ weights[1], name="side")
        return side, tf.nn.relu(tf.nn.relu(x @ weights[0]) @ weights[1], name="last")

    graph = flat(body, weights)
    halves = G.halved(graph, ("side:0", "last:0"), 0.5)
    assert "side:0" not in halves.tensors and halves.inputs == (0,)
    x = tf.random.stateless_normal((3, 4), (1, 2))
    front, back = G.split_at(graph, ("side:0", "last:0"), halves)
    for a, b in zip(back(*front(x), x), graph.whole(x), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (("nosuch:0",), "has no tensor `nosuch:0`"),
        (("end_0/pick:0",), "does not hold floating numbers"),
        ((), "at least one tensor with a row per example"),
    ],
)
def test_what_cannot_be_given_is_said(taps, message):
    weights = dense(1)

    def body(x):
        x = tf.nn.relu(x @ weights[0], name="end_0")
        return tf.gather(x, tf.argmax(x[0], name="end_0/pick"))

    graph = flat(body, weights)
    if taps == ("end_0/pick:0",):
        taps = tuple(f"{name}:0" for name in graph.nodes if name.startswith("end_0/pick") and "/dim" not in name)[:1]
    with pytest.raises(InputError, match=message):
        G.halved(graph, taps, 0.5)


def test_a_graph_that_cannot_be_cut_gives_nothing_from_inside():
    graph = G.closed(tf.function(lambda x: x).get_concrete_function(ROWS), (), "is a closed book")
    with pytest.raises(InputError, match="and this one is a closed book"):
        G.halved(graph, ("x:0",), 0.5)
