"""Unfreezing from the head down, and the halves of a module: front, back and between agree with the whole."""

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf

import tlkit
from tlkit import HubLayer
from tlkit import graph as graphs
from tlkit.core.errors import InputError

SHARES = (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)
CUTTABLE = {"keras3_hub": None, "nested": None, "no_training": None, "tf1_hub": None, "signature_only": "twice"}


@pytest.fixture(scope="module")
def opened(module_folder):
    """`opened(kind)`: one layer a kind; tests set its flags as they need them."""
    layers = {}

    def layer(kind, **arguments):
        key = kind, *arguments.items()
        if key not in layers:
            layers[key] = HubLayer(module_folder(kind), output_key=CUTTABLE.get(kind), **arguments)
        layers[key].unfreeze(1.0)
        return layers[key]

    return layer


def training(layer):
    return {v.name for v in layer.trainable_weights}


def variables_of(layer, blocks):
    return {layer.module_variables[i].name for b in blocks for i in b.variables}


# -- flags


@pytest.mark.parametrize("kind", CUTTABLE)
def test_flags_go_from_the_head_down(kind, opened):
    layer = opened(kind)
    whole, before = training(layer), set()
    order = [layer.module_variables[i].name for i in graphs.depth_order(layer.graph) if i in layer.module_variables]
    for share in SHARES:
        blocks = layer.unfreeze(share)
        now = training(layer)
        assert before <= now <= whole
        deep_first = [name for name in order if name in whole]
        assert now == set(deep_first[len(deep_first) - len(now) :]), "not a stretch that ends at the head"
        assert now <= variables_of(layer, blocks), "a part of the first block may be frozen, what is named is all"
        assert not now & variables_of(layer, [b for b in layer.blocks if b not in blocks])
        before = now
    assert now == whole
    assert layer.unfreeze(0.0) == () and not layer.trainable and not layer.trainable_weights


def test_the_returned_blocks_are_the_modules_last_ones(opened):
    layer = opened("keras3_hub")
    assert layer.unfreeze(1.0) == layer.blocks
    for share in SHARES[1:]:
        blocks = layer.unfreeze(share)
        assert blocks == layer.blocks[len(layer.blocks) - len(blocks) :]
        assert sum(b.ops for b in blocks) <= max(1, np.ceil(share * sum(b.ops for b in layer.blocks)))
    assert layer.unfrozen == 1.0


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half", None])
def test_a_wrong_share(share, opened):
    with pytest.raises(InputError, match=r"`share` must lie in \[0, 1\]. Received: share="):
        opened("nested").unfreeze(share)


def test_trainable_off_and_on_restores_the_last_share(opened):
    layer = opened("keras3_hub")
    layer.unfreeze(0.3)
    part = training(layer)
    assert 0 < len(part) < 25
    layer.trainable = False
    assert (training(layer), layer.unfrozen) == (set(), 0.3)
    layer.trainable = True
    assert training(layer) == part
    model = keras.Sequential([keras.Input((modules.IMAGE_SIZE, modules.IMAGE_SIZE, 3)), layer])
    model.trainable = False
    assert not model.trainable_weights
    model.trainable = True
    assert training(layer) == part


def test_it_survives_save_and_load(module_folder, tmp_path):
    model = keras.Sequential([HubLayer(module_folder("nested"), trainable=True, unfrozen=0.4), keras.layers.Dense(2)])
    model(modules.inputs("nested"))
    part = training(model.layers[0])
    assert 0 < len(part) < 4
    model.save(tmp_path / "m.keras")
    again = tlkit.load(tmp_path / "m.keras").layers[0]
    assert (training(again), again.unfrozen) == (part, 0.4)
    model.layers[0].trainable = False
    model.save(tmp_path / "m.keras")
    again = tlkit.load(tmp_path / "m.keras").layers[0]
    assert (training(again), again.unfrozen) == (set(), 0.4)
    again.trainable = True
    assert training(again) == part


def test_only_what_is_unfrozen_moves_in_fit(module_folder):
    keras.utils.set_random_seed(0)
    layer = HubLayer(module_folder("nested"))
    model = keras.Sequential([layer, keras.layers.Dense(3)])
    assert len(layer.unfreeze(0.4)) == 2
    part = training(layer)
    before = {v.name: v.numpy() for v in layer.weights}
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(modules.inputs("nested", 8), np.arange(8) % 3, epochs=2, verbose=0)
    assert {v.name for v in layer.weights if not np.array_equal(v, before[v.name])} == part
    assert 0 < len(part) < 4


def test_depth_factors_fall_towards_the_input(opened):
    layer = opened("keras3_hub")
    factors = layer.depth_factors(0.5)
    assert set(factors) == {layer.module_variables[i].path for b in layer.blocks for i in b.variables}
    by_block = [{factors[layer.module_variables[i].path] for i in b.variables} for b in layer.blocks]
    assert by_block == [{0.5 ** (len(by_block) - k)} for k in range(len(by_block))]


def test_a_module_that_cannot_be_cut_trains_whole_and_says_so(module_folder):
    with pytest.warns(UserWarning, match="All of the module trains, whatever `unfrozen` says: .* has control flow"):
        layer = HubLayer(module_folder("control_flow"), trainable=True, unfrozen=0.5)
    assert len(training(layer)) == 2
    with pytest.warns(UserWarning, match="cannot be cut"):
        assert layer.unfreeze(0.5) == ()
    assert len(training(layer)) == 2


# -- halves


@pytest.mark.parametrize("kind", ["nested", "keras3_hub", "signature_only"])
def test_gradients_taken_before_leave_the_graph_as_it_is(kind, module_folder):
    """TensorFlow appends to a restored function's outputs what a backward pass through it takes."""
    layer = HubLayer(module_folder(kind), output_key=CUTTABLE[kind], trainable=True)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x))
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    x = tf.constant(modules.inputs(kind))
    assert all(g is not None for g in step(x))
    assert layer.graph.structure == 0
    fresh = HubLayer(module_folder(kind), output_key=CUTTABLE[kind])
    assert [c.depth for c in graphs.cuts(layer.graph)] == [c.depth for c in graphs.cuts(fresh.graph)]
    np.testing.assert_allclose(layer.graph.whole(x), fresh(x), atol=1e-6)


def some_cuts(layer, most=4):
    cuts = [c for c in graphs.cuts(layer.graph) if 0 < c.depth < 1 and not c.inputs]
    return cuts[:: max(1, len(cuts) // most)]


@pytest.mark.numeric
@pytest.mark.parametrize("kind", CUTTABLE)
def test_front_and_back_are_the_whole(kind, opened):
    layer = opened(kind)
    x = tf.constant(modules.inputs(kind))
    whole, cuts = layer(x), some_cuts(layer)
    assert cuts
    for cut in cuts:
        middle = layer.front(cut)(x)
        assert middle.shape[1:] == tf.TensorShape(cut.shape)[1:]
        np.testing.assert_allclose(layer.back(cut)(middle), whole, atol=1e-6)
    first, last = cuts[0], cuts[-1]
    np.testing.assert_allclose(layer.between(first, last)(layer.front(first)(x)), layer.front(last)(x), atol=1e-6)
    np.testing.assert_allclose(layer.between(first, None)(layer.front(first)(x)), whole, atol=1e-6)


def test_a_chosen_output_is_what_the_back_gives(opened, module_folder):
    """With other outputs dropped, a module of many outputs can be cut where only the chosen one is still to come."""
    layer = HubLayer(module_folder("signature_only"), output_key="features")
    assert layer.graph.structure == 0
    assert opened("signature_only").graph.outputs != layer.graph.outputs
    every = HubLayer(module_folder("text_encoder_blocks"))
    pooled = HubLayer(module_folder("text_encoder_blocks"), output_key="pooled_output")
    assert len(pooled.blocks) > len(every.blocks)
    assert set(every.graph.structure) == {"default", "encoder_outputs", "pooled_output", "sequence_output"}
    x = tf.nest.map_structure(tf.constant, modules.inputs("text_encoder"))
    cut = next(c for c in reversed(graphs.cuts(pooled.graph)) if c.depth < 1 and not c.inputs)
    np.testing.assert_allclose(pooled.back(cut)(pooled.front(cut)(x)), pooled(x), atol=1e-6)
    every.output_key = "pooled_output"
    assert [c.depth for c in graphs.cuts(every.graph)] == [c.depth for c in graphs.cuts(pooled.graph)]
    np.testing.assert_array_equal(every(x), pooled(x))


def test_the_back_of_a_masked_module_takes_the_mask_too(module_folder):
    layer = HubLayer(module_folder("text_encoder"), output_key="sequence_output")
    x = tf.nest.map_structure(tf.constant, modules.inputs("text_encoder"))
    flat, other = tf.nest.flatten(x), tf.nest.flatten({**x, "input_mask": tf.ones_like(x["input_mask"])})
    cut = next(c for c in graphs.cuts(layer.graph) if c.inputs and c.depth > 0)
    middle, back = layer.front(cut)(x), layer.back(cut)
    np.testing.assert_allclose(back([middle, *(flat[i] for i in cut.inputs)]), layer(x), atol=1e-6)
    assert not np.allclose(back([middle, *(other[i] for i in cut.inputs)]), layer(x), atol=1e-3)
    later = next(c for c in graphs.cuts(layer.graph) if c.depth > cut.depth)
    between = layer.between(cut, later)([middle, *(flat[i] for i in cut.inputs)])
    np.testing.assert_allclose(between, layer.front(later)(x), atol=1e-6)


def test_halves_with_an_input_range_and_half_precision(module_folder):
    layer = HubLayer(module_folder("nested"), input_range=(0, 1), dtype="mixed_float16")
    pixels = np.random.default_rng(0).integers(0, 256, (2, modules.IMAGE_SIZE, modules.IMAGE_SIZE, 3)).astype("uint8")
    cut = some_cuts(layer)[0]
    outputs = layer.back(cut)(layer.front(cut)(pixels))
    assert outputs.dtype == layer(pixels).dtype == tf.float16
    np.testing.assert_allclose(outputs, layer(pixels), atol=2e-3)


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["keras3_hub", "nested"])
def test_gradients_of_the_back_are_the_wholes(kind, opened):
    layer = opened(kind)
    layer.unfreeze(0.5)
    x = tf.constant(modules.inputs(kind))
    cut = layer.cut_for(0.5)
    assert cut in layer.cuts and layer.cuts[-1].depth == 1
    back = layer.back(cut)
    assert {id(v) for v in back.trainable_variables} == {id(v) for v in layer.trainable_variables}
    middle = layer.front(cut)(x)
    variables = layer.trainable_variables
    gradients = []
    for half in (False, True):
        with tf.GradientTape() as tape:
            outputs = back(middle) if half else layer(x)
            losses = back.losses if half else layer.losses
            loss = tf.reduce_sum(outputs**2) + sum(losses)
        gradients.append(tape.gradient(loss, [v.value for v in variables]))
    for v, whole, part in zip(variables, *gradients, strict=True):
        assert np.any(whole), v.path
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-6, err_msg=v.path)


def test_the_back_trains_what_the_whole_gives(module_folder):
    keras.utils.set_random_seed(0)
    layer = HubLayer(module_folder("nested"))
    layer.unfreeze(0.4)
    cut = layer.cut_for(0.4)
    x = tf.constant(modules.inputs("nested", 8))
    middle = layer.front(cut)(x)
    model = keras.Sequential([layer.back(cut), keras.layers.Dense(2)])
    before = layer(x).numpy()
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    model.fit(middle, np.ones((8, 2)), epochs=2, verbose=0)
    assert not np.allclose(layer(x), before, atol=1e-4)
    np.testing.assert_allclose(layer(x), model.layers[0](middle), atol=1e-6)
    np.testing.assert_array_equal(layer.front(cut)(x), middle)
