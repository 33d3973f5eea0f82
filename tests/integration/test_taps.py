"""A layer that gives several tensors from inside its module: cached, streamed, cut, trained, saved, resumed."""

from __future__ import annotations

import dataclasses
import json

import fitting
import numpy as np
import pytest
from fitting import LABELS, SIZE, Brighter, data, same, values

import tlkit
from tlkit import reads, tasks
from tlkit.core.errors import InputError, TrainingError
from tlkit.core.run import Phase
from tlkit.features import engines, extract

PHASES = (Phase(2, 1e-2), Phase(2, 1e-3, unfrozen=0.4), Phase(1, 1e-3, unfrozen=0.2))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


def layer_of(folder, *strides: int):
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    layer.taps = tuple(layer.feature_maps[stride] for stride in strides or layer.feature_maps)
    return layer


def head(features):
    """Each map averaged, side by side."""
    import keras

    means = [keras.layers.GlobalAveragePooling2D()(feature_map) for feature_map in features.values()]
    return keras.layers.Dense(len(LABELS))(keras.layers.Concatenate()(means) if len(means) > 1 else means[0])


def task_of(folder, *strides: int):
    chosen = strides or tuple(tlkit.HubLayer(folder).feature_maps)
    return dataclasses.replace(tasks.classify(LABELS), reads=reads.maps(*chosen), head=head)


def fitted(folder, phases=PHASES, strides=(), **options):
    model, task = fitting.built(folder, task=task_of(folder, *strides))
    return tlkit.fit(model, task, options.pop("splits", None) or data(), phases, batch_size=8, **options)


# -- the layer


@pytest.mark.long
@pytest.mark.numeric
@pytest.mark.parametrize("share", [0.4, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.0, 0.2, 0.6, 0.9))])
def test_the_two_halves_are_the_whole_on_a_real_module(share):
    from tlkit import graph as graphs

    layer = tlkit.HubLayer("zoo:efficientnet-lite0")
    taps = layer.taps = tuple(layer.feature_maps[stride] for stride in (8, 16, 32))
    x = np.random.default_rng(0).random((2, 224, 224, 3), np.float32)
    whole = layer(x)
    assert [tensor.shape[1:3] for tensor in whole] == [(28, 28), (14, 14), (7, 7)]
    halves = layer.halves(share)
    tensors = layer.front(halves)(x)
    for a, b in zip(graphs.part(layer.graph, halves.tensors, taps)(*tensors), whole, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(layer.back(halves)(list(tensors)), whole, strict=True):  # made cheaper by other products
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_taps_are_what_the_layer_gives_and_are_saved_with_it(folder, tmp_path):
    import keras

    layer = layer_of(folder)
    x = data().train.inputs.take(np.arange(3)).astype("float32")
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layer])
    maps = model(x)
    assert [tensor.shape[0] for tensor in maps] == [3] * len(layer.feature_maps) and len(maps) > 1
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[-1].taps == layer.taps
    assert same(again(x), maps)


def test_unfreezing_follows_the_last_tap(folder):
    layer = layer_of(folder, 2)
    blocks = layer.unfreeze(0.5)
    assert {v.path for v in layer.trainable_variables} <= {
        layer.module_variables[i].path for i in layer.cut_for(0.5).variables_behind
    }
    assert blocks and all(block.depth > 0.5 - 1e-9 for block in blocks)
    layer.unfreeze(1.0)
    every = {layer.module_variables[i].path for block in layer.blocks for i in block.variables}
    assert {v.path for v in layer.trainable_variables} <= every
    assert len(every) < len(layer.module_variables)  # what lies behind the last tap does not train


def test_wrong_taps_are_said(folder):
    import keras

    layer = layer_of(folder)
    for wrong in ("abc", ("a", 1), layer.taps[:1] * 2):
        with pytest.raises(InputError, match="`taps` must be a list of names, each once"):
            layer.taps = wrong
    with pytest.raises(InputError, match="no tensor `nosuch:0`"):
        layer.taps = ("nosuch:0",)
    with pytest.raises(InputError, match='leave out batch_stats="adapt"'):
        layer.batch_stats = "adapt"
    layer(keras.Input((SIZE, SIZE, 3)))
    with pytest.raises(InputError, match="has been called already"):
        layer.taps = layer.taps[:1]


# -- reads


def test_a_module_without_such_maps_is_said(folder):
    with pytest.raises(InputError, match=r"gives no feature maps at stride 64: it has them at \[2"):
        tlkit.build(tlkit.HubLayer(folder, input_range=(0, 1)), task_of(folder, 64))


def test_a_head_is_given_what_its_task_reads(folder):
    import keras

    seen = []

    def head(features):
        seen.append(features.shape)
        return keras.layers.Dense(len(LABELS))(features)

    for taken in (reads.pooled(), reads.pair()):
        tlkit.build(
            tlkit.HubLayer(folder, input_range=(0, 1)),
            dataclasses.replace(tasks.classify(LABELS), reads=taken, head=head),
        )
    assert seen == [(None, 12), (None, 2, 12)]


def test_the_table_of_ids_is_read_and_trains_with_the_whole_alone():
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="int32", name="letters")
    table = keras.layers.Embedding(9, 4, name="table")
    hidden = keras.layers.Dense(4, name="second")(keras.layers.Dense(4, activation="tanh", name="first")(table(inputs)))
    layer = tlkit.HubLayer(keras.Model(inputs, hidden), name="backbone")

    def logits(features):
        return keras.ops.matmul(features["hidden"], keras.ops.transpose(features["embedding"]))[:, -1, :3]

    task = dataclasses.replace(tasks.classify(LABELS), reads=reads.hidden_and_embedding(), head=logits)
    model = tlkit.build(layer, task)
    table_values = np.array(table.embeddings)
    np.testing.assert_array_equal(layer(np.zeros((1, 6), "int32"))[1], table_values)
    rng = np.random.default_rng(0)
    targets = np.arange(24, dtype="int32") % 3
    parts = [tlkit.Examples(tuple(f"{k}{i}" for i in range(24)), rng.integers(0, 9, (24, 6)).astype("int32"), targets)
             for k in "abc"]  # fmt: skip
    splits = tlkit.Splits(*parts, LABELS)
    run = tlkit.fit(model, task, splits, (Phase(1, 0.1, unfrozen=0.3),), batch_size=8)
    assert run.phases[0].had["front"].startswith("computed once") and run.phases[0].had["parameters"] == 20
    moved = [v.path for v in layer.variables if not np.array_equal(np.array(v), table_values)]
    assert moved and np.array_equal(np.array(layer(np.zeros((1, 6), "int32"))[1]), table_values)
    run = tlkit.fit(model, task, splits, (Phase(1, 0.1, unfrozen=1.0),), batch_size=8)
    assert not np.array_equal(np.array(layer(np.zeros((1, 6), "int32"))[1]), table_values)


# -- computed once


def test_features_of_several_tensors_are_kept_found_and_mended(folder, monkeypatch):
    layer, examples = layer_of(folder), data().train
    whole = layer(examples.inputs.take(np.arange(len(examples))).astype("float32"))
    monkeypatch.setattr(extract, "SHARD_BYTES", 10 * sum(int(np.prod(tensor.shape[1:])) * 4 for tensor in whole))
    first = tlkit.extract(layer, examples, batch_size=4)
    assert first.reused == 0 and len(first.shards) == 5 and len(first) == len(examples)
    order = np.asarray([9, 0, 31, 31])
    for tensor, expected in zip(first.take(order), whole, strict=True):
        np.testing.assert_allclose(tensor, np.asarray(expected)[order], atol=1e-5)
    with pytest.raises(InputError, match=f"are {len(whole)} tensors an example"):
        np.asarray(first)
    request = _request(layer, examples)
    assert sorted(f.name for f in request.folder.glob("000001*")) == sorted(
        ["000001.json", "000001.npy", *(f"000001.{i}.npy" for i in range(1, len(whole)))]
    )
    assert len(json.loads((request.folder / "000001.json").read_text())["sha256"]) == len(whole)
    before = first.take(np.arange(len(examples)))
    damaged = request.folder / "000001.1.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    again = tlkit.extract(layer, examples, batch_size=4)
    assert again.reused == len(examples) - 10
    assert same(again.take(np.arange(len(examples))), before)


def _request(layer, examples):
    from tlkit.model.partition import front_of

    opener = engines.opener(front_of(layer, None, examples.inputs.spec), len(examples))
    return extract.Request(examples, opener.front.key, extract.layout_of(opener, examples, "float32"), batch_size=4)


def test_half_precision_rounds_each_tensor(folder):
    layer, examples = layer_of(folder), data().train
    exact, halved = tlkit.extract(layer, examples), tlkit.extract(layer, examples, dtype="float16")
    assert 0 < halved.rounding < 1e-3
    for a, b, stored in zip(exact.take(np.arange(5)), halved.take(np.arange(5)), halved.shards[0], strict=True):
        assert stored.dtype == np.float16 and b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


@pytest.mark.numeric
def test_litert_gives_the_tensors_of_tensorflow(folder):
    from tlkit.model.partition import front_of

    layer, x = layer_of(folder), data().train.inputs.take(np.arange(3))
    opener = engines.opener(front_of(layer, None, data().train.inputs.spec), 3)
    engine = opener(engines.LITERT, x)
    assert engine.name == engines.LITERT
    for tensor, expected in zip(engine.run(x), opener(engines.TENSORFLOW).run(x), strict=True):
        np.testing.assert_allclose(tensor, expected, atol=1e-4)


def test_keys_of_one_tensor_are_those_of_before():
    """Found again by caches that were filled when fronts gave one tensor."""
    assert extract.Layout(((7, 8),), "float16", (True,)).name == "Layout(shape=(7, 8), dtype='float16', steps=True)"


# -- training


@pytest.mark.long
@pytest.mark.parametrize("strides", [(), "reversed"])
def test_computed_once_and_streamed_train_to_the_same_weights(folder, strides):
    if strides:
        strides = tuple(reversed(tuple(tlkit.HubLayer(folder).feature_maps)))
    runs = {
        cache: fitted(folder, strides=strides, splits=data(Brighter()), views=2, cache=cache)
        for cache in ("require", "off")
    }
    for number, (cached, streamed) in enumerate(zip(runs["require"].phases, runs["off"].phases, strict=True)):
        assert cached.had["front"].startswith("computed once") and streamed.had["front"].startswith("streamed")
        assert cached.had["unfrozen"] == streamed.had["unfrozen"] and (cached.had["unfrozen"] > 0) == (number > 0)
    for a, b in zip(values(runs["require"].model), values(runs["off"].model), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_what_is_frozen_stays_and_is_proved(folder):
    model, task = fitting.built(folder, task=task_of(folder))
    layer = model.get_layer("backbone")
    before = {v.path: np.array(v) for v in layer.variables}
    run = tlkit.fit(model, task, data(), (Phase(2, 1e-2, unfrozen=0.4),), batch_size=8)
    behind = {layer.module_variables[i].path for i in layer.cut_for(0.4).variables_behind}
    moved = {v.path for v in layer.variables if not np.array_equal(np.array(v), before[v.path])}
    assert moved and moved <= behind
    proof = run.phases[0].proof
    assert proof["sha256_before"] == proof["sha256_after"]
    assert proof["frozen_variables"] >= len(layer.variables) - len(behind)


def test_a_frozen_weight_that_moves_stops_the_fit(folder):
    model, task = fitting.built(folder, task=task_of(folder))
    layer = model.get_layer("backbone")
    frozen = next(v for i, v in layer.module_variables.items() if i not in layer.cut_for(0.4).variables_behind)
    from tlkit.training import fit as fitting_module

    run_epoch = fitting_module._run_epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting_module, "_run_epoch", lambda *a: (run_epoch(*a), frozen.assign(frozen + 1.0))[0])
        with pytest.raises(TrainingError, match="Frozen weights moved"):
            tlkit.fit(model, task, data(), (Phase(1, 1e-2, unfrozen=0.4),), batch_size=8)


@pytest.mark.long
def test_a_fit_that_is_stopped_twice_goes_on_to_the_same_bits(folder, tmp_path):
    shared = {"splits": data(Brighter()), "views": 2}
    whole = fitted(folder, **shared)
    for epochs in (1, 2):  # inside the first phase, and inside the second
        fitting.stopped_after(epochs, lambda: fitted(folder, **shared, checkpoints=tmp_path / "checkpoints"))
    resumed = fitted(folder, **shared, checkpoints=tmp_path / "checkpoints")
    assert same(values(resumed.model), values(whole.model))
    assert [dict(p.history) for p in resumed.phases] == [dict(p.history) for p in whole.phases]


def test_what_was_trained_in_parts_opens_as_it_was(folder, tmp_path):
    import keras

    run = fitted(folder)
    x = data().test.inputs.take(np.arange(4))
    run.model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("backbone").taps == run.model.get_layer("backbone").taps
    assert same([again.predict(x, verbose=0)], [run.model.predict(x, verbose=0)])
