"""A module of an encoder and a decoder in one: its halves of several tensors through a whole fit."""

import decoders
import numpy as np
import pytest
import tensorflow as tf
from fitting import same, values

import tlkit
from tlkit.core.columns import ArrayColumn, DictColumn
from tlkit.core.examples import Examples, Splits
from tlkit.core.run import Phase
from tlkit.formats import hub_module

LABELS = ("few", "many")
TOKENS, FRAMES = 3, 5
PHASES = (Phase(2, 1e-2), Phase(2, 1e-3, unfrozen=0.5), Phase(1, 1e-3, unfrozen=0.25))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    weights = decoders.Weights()

    def call(inputs, training):
        memory = decoders.encoder(weights, inputs["waves"], 2)
        return decoders.decoder(weights, inputs["ids"], memory, 3, sized_by="x")

    specs = {
        "ids": tf.TensorSpec((None, None), tf.int32, name="ids"),
        "waves": tf.TensorSpec((None, FRAMES, decoders.WIDTH), tf.float32, name="waves"),
    }
    call({"ids": tf.zeros((1, TOKENS), tf.int32), "waves": tf.zeros((1, FRAMES, decoders.WIDTH))}, False)
    every = list(weights.by_name.values())
    return hub_module.write_module(call, every, every, specs, tmp_path_factory.mktemp("module") / "decoder")


def examples(count, seed):
    rng = np.random.default_rng(seed)
    targets = np.arange(count, dtype=np.int32) % 2
    waves = rng.normal(targets[:, None, None] * 1.0, 1.0, (count, FRAMES, decoders.WIDTH)).astype("f4")
    ids = rng.integers(0, decoders.WORDS, (count, TOKENS)).astype("i4")
    inputs = DictColumn({"ids": ArrayColumn(ids), "waves": ArrayColumn(waves)})
    return Examples(tuple(f"{seed}-{i}" for i in range(count)), inputs, ArrayColumn(targets))


def data():
    return Splits(examples(40, 1), examples(16, 2), examples(16, 3), LABELS)


def fitted(folder, **options):
    import keras

    keras.utils.set_random_seed(0)
    layer = tlkit.HubLayer(str(folder), name="backbone")
    task = tlkit.tasks.classify(list(LABELS))
    return tlkit.fit(tlkit.build(layer, task, data=data()), task, data(), PHASES, batch_size=8, **options)


def test_the_encoder_s_output_is_computed_once_beside_the_cut(folder, tmp_path):
    import keras

    runs = {cache: fitted(folder, cache=cache) for cache in ("require", "off")}
    for number, (cached, streamed) in enumerate(zip(runs["require"].phases, runs["off"].phases, strict=True)):
        assert cached.had["front"].startswith("computed once") and streamed.had["front"].startswith("streamed")
        assert cached.had["cut"].count(",") == (1 if number else 0)  # the encoder's output, and the cut
        assert cached.proof["sha256_before"] == cached.proof["sha256_after"]
    for a, b in zip(values(runs["require"].model), values(runs["off"].model), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    run = runs["require"]
    x = data().test.inputs.take(np.arange(4))
    run.model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert same([again.predict(x, verbose=0)], [run.model.predict(x, verbose=0)])


def test_features_at_such_a_cut_are_several_tensors(folder):
    layer = tlkit.HubLayer(str(folder))
    cut = layer.cut_for(0.25)
    assert len(cut.besides) == 1
    features = tlkit.extract(layer, data().train, at=cut)
    tensors = features.take(np.arange(6))
    assert [tensor.shape for tensor in tensors] == [(6, FRAMES, decoders.WIDTH), (6, TOKENS, decoders.WIDTH)]
    x = data().train.inputs.take(np.arange(6))
    inputs = [x[name] for name in ("ids", "waves")]
    outputs = layer.back(cut)([*tensors, *(inputs[i] for i in cut.inputs)])
    np.testing.assert_allclose(outputs, layer(x), atol=1e-5)
    later = layer.cut_for(0.1)
    between = layer.between(cut, later)([*tensors, *(inputs[i] for i in cut.inputs)])
    expected = layer.front(later)(x)
    for a, b in zip(*((t if isinstance(t, tuple) else (t,)) for t in (between, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
