"""Cuts, depth and the rule for shares, on functions whose answer is known."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import graph as G
from tlkit.core.errors import InputError

rng = np.random.default_rng(0)


def dense(count, width=4):
    return [tf.Variable(rng.normal(size=(width, width)).astype(np.float32), name=f"w{i}") for i in range(count)]


ROWS = tf.TensorSpec((None, 4), tf.float32)


def flat(body, variables, spec=ROWS):
    return G.flatten(tf.function(body).get_concrete_function(spec), variables)


def chain(weights, residual=()):
    """Dense layers; those whose number is in `residual` go around the two that follow as well."""

    def body(x):
        number = 0
        while number < len(weights):
            if number in residual:
                x += tf.nn.relu(x @ weights[number]) @ weights[number + 1]
                number += 2
            else:
                x = tf.nn.relu(x @ weights[number])
                number += 1
        return x

    return body


@pytest.fixture(scope="module")
def ten():
    weights = dense(10)
    return weights, flat(chain(weights, residual=(2, 8)), weights)


def depths(graph):
    return sorted({c.ops_in_front for c in G.cuts(graph)})


def test_nothing_cuts_a_residual_branch(ten):
    assert depths(ten[1]) == [1, 2, 4, 5, 6, 7, 8, 10]


@given(st.lists(st.booleans(), min_size=1, max_size=5))
@settings(max_examples=12, deadline=None)
def test_cuts_lie_exactly_between_the_stretches(stretches):
    stretches = [False, *stretches]  # around the very input weights have not touched, one may cut
    starts = np.cumsum([0, *(2 if residual else 1 for residual in stretches)])
    weights = dense(int(starts[-1]))
    graph = flat(chain(weights, residual={int(s) for s, r in zip(starts, stretches, strict=False) if r}), weights)
    assert depths(graph) == [int(s) for s in starts[1:]]
    x = tf.constant(rng.normal(size=(2, 4)).astype(np.float32))
    for cut in G.cuts(graph):
        front, back = G.split(graph, cut)
        np.testing.assert_allclose(back(front(x)), graph.whole(x), rtol=1e-5, atol=1e-6)


def test_depth_is_the_share_of_ops_in_front(ten):
    assert all(c.depth == c.ops_in_front / 10 and c.ops == 10 for c in G.cuts(ten[1]))
    assert G.cuts(ten[1])[-1].depth == 1.0


@pytest.mark.parametrize(
    ("unfrozen", "in_front"),
    [(0.0, 10), (0.1, 8), (0.2, 8), (0.25, 7), (0.5, 5), (0.7, 4), (0.75, 2), (0.8, 2), (0.99, 1), (1.0, None)],
)
def test_nearest_cut(ten, unfrozen, in_front):
    cut = G.nearest_cut(ten[1], unfrozen)
    assert (None if cut is None else cut.ops_in_front) == in_front


@given(st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_never_more_trains_than_was_asked_where_something_does(ten, unfrozen):
    cut = G.nearest_cut(ten[1], unfrozen)
    if cut is not None and cut.ops_in_front < 8:
        assert 1 - cut.depth <= np.ceil(unfrozen * 10) / 10 + 1e-9


def trained(graph, unfrozen):
    """The variables that train when so much of the depth does."""
    cut = G.nearest_cut(graph, unfrozen) if unfrozen else None
    every = G.depth_order(graph) if unfrozen else ()
    return set(every if cut is None else cut.variables_behind)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_more_share_trains_no_fewer_variables(ten, one, other):
    low, high = sorted((one, other))
    assert trained(ten[1], low) <= trained(ten[1], high)


@pytest.mark.parametrize("unfrozen", [-0.1, 1.3])
def test_a_share_outside_is_refused(ten, unfrozen):
    with pytest.raises(InputError, match=rf"`unfrozen` must lie in \[0, 1\]. Received: unfrozen={unfrozen}"):
        G.nearest_cut(ten[1], unfrozen)


def test_depth_order_is_the_order_of_use_not_of_lists():
    weights = dense(9)
    order = [int(i) for i in rng.permutation(9)]
    graph = flat(chain([weights[i] for i in order], residual=(3,)), weights)
    assert G.depth_order(graph) == tuple(order)


def test_a_variable_used_on_both_sides_rules_cuts_between_out():
    a, b, c = dense(3)
    graph = flat(chain([a, b, c, b]), [a, b, c])
    assert depths(graph) == [1, 4]  # behind a, and behind everything; not between the two uses of b


def test_a_weight_that_is_an_output_lies_behind_every_cut():
    a, b = dense(2)
    graph = flat(lambda x: (x @ a @ b, a * 2.0), [a, b])
    assert {c.ops_in_front for c in G.cuts(graph)} == set()


def test_masks_are_computed_again_behind_the_cut():
    a, b = dense(2)

    def body(x):
        mask = tf.cast(x[:, :1] > 0, tf.float32)
        return tf.nn.relu(x @ a) * mask @ b * mask

    graph = flat(body, [a, b])
    x = tf.constant(rng.normal(size=(5, 4)).astype(np.float32))
    cut = G.cuts(graph)[0]
    front, back = G.split(graph, cut)
    assert cut.inputs == (0,)
    np.testing.assert_allclose(back(front(x), x), body(x), rtol=1e-5)


def test_a_residual_branch_around_the_input_is_fed_again():
    weights = dense(2)
    graph = flat(chain(weights, residual={0}), weights)
    first, *_, last = G.cuts(graph)
    assert (first.ops_in_front, first.inputs) == (1, (0,)) and last.inputs == ()


def test_a_tensor_that_has_not_one_row_an_example_is_no_cut():
    a, b = dense(2)

    def body(x):
        tokens = tf.reshape(x, (-1, 4)) @ a  # (batch * 6, 4)
        return tf.reshape(tokens, (-1, 6, 4))[:, 0] @ b

    graph = flat(body, [a, b], tf.TensorSpec((None, 6, 4), tf.float32))
    shapes = [c.shape for c in G.cuts(graph)]
    assert shapes[0] == (None, 6, 4) and (None, 4) in shapes
    assert all(c.tensor != "MatMul:0" for c in G.cuts(graph))


def test_cost_and_parameters_behind():
    kernel = tf.Variable(tf.zeros((3, 3, 2, 8)))
    depthwise = tf.Variable(tf.zeros((5, 5, 8, 1)))
    matrix = tf.Variable(tf.zeros((8, 10)))

    def body(x):
        x = tf.nn.depthwise_conv2d(tf.nn.conv2d(x, kernel, 1, "SAME"), depthwise, (1, 2, 2, 1), "SAME")
        return tf.reduce_mean(x, (1, 2)) @ matrix

    graph = flat(body, [kernel, depthwise, matrix], tf.TensorSpec((None, 8, 8, 2), tf.float32))
    costs = np.array([64 * 8 * 18, 16 * 8 * 25, 80])
    behind = {c.ops_in_front: c for c in G.cuts(graph)}
    for count in (1, 2, 3):
        assert behind[count].cost_behind == pytest.approx(costs[count:].sum() / costs.sum())
    assert behind[1].parameters_behind == 25 * 8 + 80 and behind[1].variables_behind == (1, 2)


def test_embeddings_and_einsums_bear_weights_and_attention_without_weights_does_not():
    table, matrix = tf.Variable(tf.zeros((7, 4))), dense(1)[0]

    def body(ids):
        x = tf.gather(table, ids)
        scores = tf.einsum("btd,bsd->bts", x, x)
        return tf.einsum("bth,hd->btd", scores @ x, matrix)

    graph = flat(body, [table, matrix], tf.TensorSpec((None, 6), tf.int32))
    assert G.cuts(graph)[-1].ops == 2
    ops = 2 * 6 * 6 * 4 + 6 * 4 * 4
    cut = [c for c in G.cuts(graph) if c.ops_in_front == 1][-1]
    assert cut.cost_behind == pytest.approx(1.0 if cut.tensor.startswith("Gather") else 6 * 4 * 4 / ops)
