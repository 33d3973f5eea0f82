"""What is inside the plug-ins works by itself, on a Keras model in place of a module."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import keras
import model_reads
import numpy as np
import pytest
import tensorflow as tf
import worlds

import tlkit
from tlkit.formats import tflite_metadata

PLUGINS = sorted(path.stem for path in Path(__file__).parent.glob("plugin_*.py"))


@pytest.fixture(scope="module")
def plugin():
    """`plugin(name)`: the plug-in's module, imported with readers of Keras models and forgotten behind these tests."""
    with pytest.MonkeyPatch.context() as patch:
        model_reads.put_in_place(patch, PLUGINS)
        yield lambda name: importlib.import_module(f"plugin_{name}")
    for name in PLUGINS:
        sys.modules.pop(name, None)


def keypoints(plugin, folder):
    data = plugin.from_folder(worlds.dots(folder), mirror=(0, 1))
    return data, plugin.keypoints(["red", "blue"], strides=(2, 4), within=0.15), worlds.images()


def pixel_labels(plugin, folder):
    return plugin.from_folder(worlds.fields(folder)), plugin.segment(["ground", "field"]), worlds.images()


def forecast(plugin, folder):
    data = plugin.from_file(worlds.wave(folder / "wave.txt"), worlds.CONTEXT, worlds.HORIZON)
    return data, plugin.forecast(worlds.HORIZON), worlds.series()


def boxes(plugin, folder):
    data = plugin.from_folder(worlds.bars(folder))
    return data, plugin.detect(data.labels, strides=(2, 4)), worlds.images()


def generator(plugin, folder):
    data = plugin.from_file(worlds.sentences(folder / "lines.txt"), worlds.LENGTH)
    return data, plugin.write_on(), worlds.letters(len(plugin.LETTERS))


WORLDS = {make.__name__: make for make in (keypoints, pixel_labels, forecast, boxes, generator)}


def inputs(examples):
    batch = examples.inputs.take(np.arange(len(examples)))
    return batch / 255.0 if batch.dtype == np.uint8 else batch


def trained(model, task, data, steps):
    """Whole batches through a plain loop: the loss is called with targets and raw outputs as `fit` calls it."""
    loss, optimizer = task.objective.loss(), keras.optimizers.Adam(1e-2)
    x, y = inputs(data.train), data.train.targets.take(np.arange(len(data.train)))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    optimizer.build(model.trainable_variables)
    return [float(step()) for _ in range(steps)]


@pytest.fixture(scope="module", params=WORLDS)
def fitted(request, plugin, tmp_path_factory):
    """(name, plug-in, task, data, model, (scores before, losses)): the head on the Keras model itself, all trained."""
    module = plugin(request.param)
    data, task, backbone = WORLDS[request.param](module, tmp_path_factory.mktemp(request.param) / "data")
    task.objective.check(data)
    model = keras.Model(backbone.input, task.head(task.reads.read(backbone, backbone.input)))
    fresh = scores(task, model, data.test, 2)
    return request.param, module, task, data, model, (fresh, trained(model, task, data, 60))


def decoded(task, model, examples):
    raw = model(inputs(examples), training=False)
    return {name: np.asarray(tensor) for name, tensor in task.answers[0].decode(raw).items()}


def scores(task, model, examples, pieces):
    scorer = task.scorer()
    for piece in np.array_split(np.arange(len(examples)), pieces):
        part = examples.subset(piece.tolist())
        scorer.update(part, decoded(task, model, part))
    return scorer.result()


def test_the_loss_falls(fitted):
    _, losses = fitted[-1]
    assert np.isfinite(losses).all() and losses[-1] < 0.7 * losses[0], (losses[0], losses[-1])


def test_scores_are_those_of_all_batches_together(fitted):
    _, _, task, data, model, _ = fitted
    whole, parts = (scores(task, model, data.test, pieces) for pieces in (1, 3))
    assert whole.scores == pytest.approx(parts.scores, abs=1e-5)
    assert whole.details["headline"]["name"] in whole.scores
    assert json.loads(json.dumps(whole.details)) == whole.details  # plain data


def test_a_trained_model_beats_a_fresh_one(fitted):
    _, _, task, data, model, (fresh, _) = fitted
    evaluation = scores(task, model, data.test, 2)
    headline = evaluation.details["headline"]
    before, after = (evaluation.scores[headline["name"]] for evaluation in (fresh, evaluation))
    assert after < before if headline["lower_is_better"] else after > before, (before, after)


def test_metrics_take_what_the_loss_takes(fitted):
    _, _, task, data, model, _ = fitted
    for metric in task.objective.metrics():
        metric.update_state(data.val.targets.take(np.arange(len(data.val))), model(inputs(data.val)))
        assert 0 <= float(metric.result()) <= 1


def test_answers_agree_with_themselves_and_not_with_others(fitted):
    _, _, task, data, model, _ = fitted
    answer, test = task.answers[0], data.test
    outputs = decoded(task, model, test)
    same = answer.agree(outputs, outputs)
    assert same.difference.shape == (len(test),) and not same.difference.any()
    assert same.equal.all() and same.margin.shape == same.equal.shape
    other = answer.agree(outputs, {name: rows[::-1] for name, rows in outputs.items()})
    assert other.difference.max() > 0 and not other.equal.all()


def test_merits_are_a_number_an_example(fitted):
    _, _, task, data, model, _ = fitted
    targets = data.test.targets.take(np.arange(len(data.test)))
    merits = task.answers[0].merit(targets, decoded(task, model, data.test))
    assert merits.shape == (len(data.test),) and np.isfinite(merits).all()


def test_answers_and_sections_speak(fitted):
    name, _, task, data, model, _ = fitted
    answer, first = task.answers[0], data.test.subset([0])
    row = {key: rows[0] for key, rows in decoded(task, model, first).items()}
    example = {key: column[0] for key, column in first.columns.items()} | {"input": first.inputs[0]}
    pairs = answer.say(row, example)
    assert all(isinstance(text, str) and isinstance(score, float) for text, score in pairs)
    assert pairs or name == "boxes"  # a picture may hold none
    import jinja2

    facts = tlkit.Facts({"details": scores(task, model, data.test, 1).details})
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    for section in answer.sections:
        assert "<table>" in environment.from_string(section.template).render(view=section.view(facts))


@pytest.mark.parametrize("name", ["keypoints", "pixel_labels", "boxes"])
def test_inputs_and_targets_move_together(name, plugin, tmp_path):
    """Where the moved targets say red, the moved picture is red; and the same seed moves alike."""
    data, _, _ = WORLDS[name](plugin(name), tmp_path / "data")
    augment, checked = data.train.augment, 0
    for i in range(len(data.train)):
        drawn = augment.draw(i)
        assert drawn == augment.draw(i)
        picture, target = augment.inputs(data.train.inputs[i], drawn), augment.targets(data.train.targets[i], drawn)
        for y, x in reds(name, target, data.labels):
            checked += 1
            assert picture[y, x, 0] > 200, (i, drawn, y, x)
    assert checked > 10 and len({str(augment.draw(i)) for i in range(len(data.train))}) > 1


def reds(name, target, labels):
    """Places (y, x) of a moved picture at which its target says that it is red."""
    if name == "keypoints":
        return [(int(target[0, 1] * worlds.SIZE), int(target[0, 0] * worlds.SIZE))]
    if name == "pixel_labels":
        return np.argwhere(target == 1).tolist()
    wide = labels.index("wide")
    middles = [((row[2] + row[4]) / 2, (row[1] + row[3]) / 2) for row in target if row[0] == wide]
    return [(int(y * worlds.SIZE), int(x * worlds.SIZE)) for y, x in middles]


def test_a_text_is_written_on(plugin, tmp_path):
    module = plugin("generator")
    data, task, backbone = generator(module, tmp_path)
    model = keras.Model(backbone.input, task.head(task.reads.read(backbone, backbone.input)))
    trained(model, task, data, 150)
    file = tmp_path / "begun.txt"
    file.write_text("a cat s")
    examples = module.TEXTS.parse(file, tlkit.FileInfo(data.test.pipeline, {}))
    answer, value = task.answers[0], examples.inputs[0]
    for _ in range(worlds.LENGTH):
        raw = model(value[None], training=False)
        row = {name: np.asarray(rows)[0] for name, rows in answer.decode(raw).items()}
        following = answer.again(value, row)
        if following is None:
            break
        value = following
    ((text, share),) = answer.say(row, {"input": value})
    assert text.startswith("a cat saw ") and 0 < share <= 1


def test_a_forecast_is_said_in_the_unit_of_the_series(plugin, tmp_path):
    module = plugin("forecast")
    file = worlds.wave(tmp_path / "wave.txt")
    info = tlkit.FileInfo(tlkit.Pipeline().then("series", context=worlds.CONTEXT), {})
    parsed = module.SERIES.parse(file, info)
    example = {name: column[0] for name, column in parsed.columns.items()} | {"input": parsed.inputs[0]}
    pairs = module.forecast(2).answers[0].say({"quantiles": np.zeros((2, 3), np.float32)}, example)
    last = module.values(file)[-worlds.CONTEXT :]
    assert pairs[0] == ("1 ahead", pytest.approx(float(last.mean()), rel=1e-4))
    assert "polyline" in module.SERIES.show(parsed, 0) and example["note"] == "the last 24 of 300 values"
    with pytest.raises(module.tlkit.InputError, match="needs 24 values"):
        module.SERIES.parse(np.zeros(3), info)


def test_a_frozen_graph_gives_what_its_saved_model_gives(plugin, tmp_path):
    from tlkit import graph as graphs

    module, model = plugin("frozen_graph"), worlds.images()

    def serve(image):
        features = model(image, training=False)
        return {"twice": 2 * features, "features": features}

    spec = tf.TensorSpec((1, worlds.SIZE, worlds.SIZE, 3), tf.float32, name="image")
    function = tf.function(serve, input_signature=[spec], autograph=False).get_concrete_function()
    graphs.save_constant({"serving_default": function}, tmp_path / "source")
    metadata = tflite_metadata.Metadata("a", "a", {}, {}, card={"labels": ["a"]})
    source = tlkit.Source(tmp_path / "source", None, metadata)
    module.FROZEN_GRAPH.write(source, tmp_path / module.FROZEN_GRAPH.file)
    opened = module.FROZEN_GRAPH.open(tmp_path / module.FROZEN_GRAPH.file, 1)
    image = np.random.default_rng(0).random((1, worlds.SIZE, worlds.SIZE, 3)).astype(np.float32)
    outputs = opened.call({"image": image})
    assert set(outputs) == {"twice", "features"} and opened.card == {"labels": ["a"]}
    np.testing.assert_allclose(outputs["twice"], 2 * np.asarray(model(image)), atol=1e-5)


def test_sure_outputs_cost_more(plugin):
    module = plugin("confidence")
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = module.LessConfident(plain, 0.5)
    logits = np.array([[0.0, 0.0], [4.0, 0.0]], np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    losses = -np.log(shares[:, 0]) + 0.5 * (shares * np.log(shares)).sum(axis=1)
    assert float(loss(np.zeros(2, np.int32), logits)) == pytest.approx(losses.mean(), abs=1e-6)


def test_gabor_filters_see_their_own_direction(plugin):
    kernels = plugin("gabor").kernels()
    assert np.abs(kernels.mean(axis=(0, 1))).max() < 1e-6
    flat = kernels.sum(axis=2).reshape(-1, kernels.shape[-1])
    alike = np.abs(flat.T @ flat)
    assert np.allclose(np.diag(alike), 1, atol=1e-5) and (alike.argmax(axis=0) == np.arange(len(alike))).all()
