"""Cuts of decoders: an encoder's output that stays live, a table that is the head's matrix, sizes of inner tensors."""

import numpy as np
import pytest
import tensorflow as tf
from decoders import IDS, WAVES, WIDTH, Weights, attended, causal, decoder, dense, encoder
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tlkit import graph as G


def flat(body, weights, *specs):
    function = tf.function(body).get_concrete_function(*specs)
    return G.flatten(function, list(weights.by_name.values()))


def language_model(blocks, *, logits=False, sized_by="ids"):
    weights = Weights()

    def body(ids):
        x = decoder(weights, ids, None, blocks, sized_by)
        return tf.einsum("btd,vd->btv", x, weights["table"]) if logits else x

    return weights, flat(body, weights, IDS)


def translator(blocks, *, project=False, waves_first=True, both=False):
    weights = Weights()

    def body(first, second):
        waves, ids = (first, second) if waves_first else (second, first)
        memory = encoder(weights, waves, blocks[0])
        x = decoder(weights, ids, dense(weights, "bridge", memory) if project else memory, blocks[1])
        return {"encoded": memory, "default": x} if both else x

    return weights, flat(body, weights, *((WAVES, IDS) if waves_first else (IDS, WAVES)))


def inputs_of(graph):
    waves = tf.random.stateless_normal((2, 5, WIDTH), (1, 2))
    ids = tf.constant([[1, 4, 2], [8, 0, 3]])
    return [ids if t.dtype == tf.int32 else waves for t in graph.whole.inputs[: len(graph.inputs)]]


def check_halves(graph):
    """Every cut's halves together are the whole, and share out what trains."""
    values = inputs_of(graph)
    whole = tf.nest.flatten(graph.whole(*values))
    for cut in G.cuts(graph):
        front, back = G.split(graph, cut)
        tensors = front(*values)
        tensors = tensors if cut.besides else (tensors,)
        assert all(tensor.shape[0] == 2 for tensor in tensors)
        outputs = tf.nest.flatten(back(*tensors, *(values[i] for i in cut.inputs)))
        for a, b in zip(outputs, whole, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=cut.tensor)
        behind = {id(graph.variables[i]) for i in cut.variables_behind}
        before = {id(graph.variables[i]) for i in G.variables_in_front(graph, cut)}
        assert behind <= {id(v) for v in back.graph.variables}
        assert {id(v) for v in front.graph.variables} <= before


def depths(graph):
    return sorted({cut.depth for cut in G.cuts(graph)})


def widest_gap(graph):
    return max(np.diff([0.0, *depths(graph), 1.0]))


@given(st.data())
@settings(max_examples=4, deadline=None, phases=(Phase.generate,))  # shrinking graphs takes minutes
def test_an_encoder_with_its_decoder_is_cut_through_its_whole_depth(data):
    blocks = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    _, graph = translator(blocks, project=data.draw(st.booleans()), waves_first=data.draw(st.booleans()))
    check_halves(graph)
    ops = G.cuts(graph)[0].ops
    assert widest_gap(graph) <= 8.5 / ops  # attention, cross-attention or two dense layers at a time
    assert any(cut.besides for cut in G.cuts(graph)) and any(not cut.besides for cut in G.cuts(graph))


def test_the_decoder_takes_the_encoder_s_output_beside_its_own_tensor():
    _, graph = translator((2, 3))
    late = G.nearest_cut(graph, 0.25)
    assert len(late.besides) == 1 and late.tensors == (*late.besides, late.tensor)
    early = G.nearest_cut(graph, 0.8)
    assert early.besides == () and early.inputs == (1,)  # in the encoder: the ids are still to come
    names = [graph.variables[i].name for i in late.variables_behind]
    assert names and all(name.startswith("decoder") for name in names)
    order = [graph.variables[i].name.split("/")[0] for i in G.depth_order(graph)]
    assert order.index("table:0") > order.index("encoder1")  # encoders come first, whatever reads them


def test_a_decoder_whose_encoded_is_an_input_needs_no_second_tensor():
    weights = Weights()
    graph = flat(lambda encoded, ids: decoder(weights, ids, encoded, 3), weights, WAVES, IDS)
    check_halves(graph)
    assert all(cut.besides == () for cut in G.cuts(graph)) and widest_gap(graph) < 0.2
    assert G.nearest_cut(graph, 0.5).inputs == (0, 1)


def test_what_is_given_in_the_middle_is_given_by_taps_too():
    _, graph = translator((1, 3))
    values = inputs_of(graph)
    tap = G.cuts(graph)[-1].tensor
    halves = G.halved(graph, (tap,), 0.25)
    assert len(halves.tensors) == 2
    front, back = G.split_at(graph, (tap,), halves)
    (output,) = back(*front(*values), *(values[i] for i in halves.inputs))
    np.testing.assert_array_equal(output, G.giving(graph, (tap,)).whole(*values)[0])


def test_towers_that_meet_at_the_end_are_cut_in_the_last_with_the_first_beside_it():
    weights = Weights()

    def towers(a, b):
        for n in range(6):
            b = tf.nn.relu(dense(weights, f"other{n}", b))
        return tf.concat([tf.reduce_mean(encoder(weights, a, 1), 1), tf.reduce_mean(b, 1)], 1)

    graph = flat(towers, weights, WAVES, WAVES)
    check_halves(graph)
    late, early = G.nearest_cut(graph, 0.25), G.nearest_cut(graph, 0.75)
    assert len(late.besides) == 1 and early.besides == () and early.inputs == (1,)
    assert all("other" in graph.variables[i].name for i in late.variables_behind)


@pytest.mark.parametrize("kind", ["one input twice", "token types"])
def test_what_is_no_encoder_is_cut_as_before(kind):
    weights = Weights()
    bodies = {
        "one input twice": lambda a, b: attended(weights, "x", encoder(weights, a, 1), dense(weights, "b", a + b)),
        "token types": lambda a, b: encoder(weights, dense(weights, "a", a) + dense(weights, "b", b), 2),
    }
    graph = flat(bodies[kind], weights, WAVES, WAVES)
    assert all(cut.besides == () for cut in G.cuts(graph))


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_tied_table_stays_frozen_behind_its_look_up(blocks):
    weights, graph = language_model(blocks, logits=True)
    check_halves(graph)
    assert widest_gap(graph) <= 4.5 / G.cuts(graph)[0].ops
    for share in (0.2, 0.5, 0.9):
        cut = G.nearest_cut(graph, share)
        assert cut.depth < 1 and 0 not in cut.variables_behind and 0 in G.variables_in_front(graph, cut)
        back = G.split(graph, cut)[1]
        assert id(weights["table"]) in {id(v) for v in back.graph.variables}  # the head reads it
    assert G.nearest_cut(graph, 1.0) is None and 0 in G.depth_order(graph)


def test_kernels_that_two_blocks_share_rule_cuts_out_still():
    weights = Weights()

    def body(ids):
        x = tf.gather(weights["table"], ids)
        return dense(weights, "same", tf.nn.relu(dense(weights, "other", dense(weights, "same", x))))

    assert {cut.ops_in_front for cut in G.cuts(flat(body, weights, IDS))} == {1, 4}


@pytest.mark.parametrize("encoders", [0, 2])
def test_sizes_of_embedded_tokens_are_those_of_the_ids(encoders):
    weights = Weights()

    def body(*inputs):
        memory = encoder(weights, inputs[0], encoders) if encoders else None
        return decoder(weights, inputs[-1], memory, 3, sized_by="x")

    before = flat(body, weights, *((WAVES, IDS) if encoders else (IDS,)))
    graph = G.freed(before)
    assert widest_gap(before) > 0.3
    assert widest_gap(graph) < 0.25
    values = inputs_of(graph)
    np.testing.assert_array_equal(graph.whole(*values), before.whole(*values))
    check_halves(graph)
    assert all(i == len(values) - 1 for cut in G.cuts(graph) for i in cut.inputs if cut.besides or not encoders)


def test_sizes_that_no_input_has_are_left_alone():
    weights = Weights()

    def body(waves):
        x = dense(weights, "a", waves)[:, ::2]  # half as many
        sizes = tf.shape(x)[1]
        x = dense(weights, "c", tf.nn.relu(dense(weights, "b", x)))
        return x * tf.cast(sizes, tf.float32)

    graph = flat(body, weights, WAVES)
    assert G.freed(graph) is graph


def test_inputs_of_one_length_stand_for_each_other_and_others_do_not():
    weights = Weights()

    def body(ids, types, waves):
        x = tf.gather(weights["table"], ids) + tf.gather(weights["table"], types)
        mask = causal(tf.shape(x)[1])
        for n in range(3):
            x += attended(weights, f"{n}", x, x, mask)
            x += attended(weights, f"{n}/cross", x, waves)
        return x

    before = flat(body, weights, IDS, IDS, WAVES)
    graph = G.freed(before)
    assert len(depths(graph)) > len(depths(before)) + 3
    ids, waves = tf.constant([[1, 4, 2], [8, 0, 3]]), tf.random.stateless_normal((2, 5, WIDTH), (1, 2))
    whole = before.whole(ids, ids[:, ::-1], waves)
    cut = G.nearest_cut(graph, 0.4)
    front, back = G.split(graph, cut)
    values = (ids, ids[:, ::-1], waves)
    outputs = back(front(*values), *(values[i] for i in cut.inputs))
    np.testing.assert_array_equal(outputs, whole)
    assert 2 in cut.inputs and len(cut.inputs) == 2


def test_tokens_of_all_examples_in_one_row_are_no_cut_though_their_number_is_open():
    weights = Weights()

    def body(waves):
        rows = tf.reshape(waves, (-1, WIDTH)) @ weights["a"]
        rows = tf.nn.relu(rows) @ weights["b"]
        return tf.reshape(rows, tf.shape(waves)) @ weights["c"]

    check_halves(flat(body, weights, WAVES))
