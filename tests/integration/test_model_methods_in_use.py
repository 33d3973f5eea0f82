"""AdaBN, soups, L2-SP and distillation on small modules."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from changing import reread
from fitting import LABELS, SIZE, built, data, examples, same, stopped_after, values

import tlkit
from tlkit import methods, tasks
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.run import Phase
from tlkit.graph import batch_norms
from tlkit.layer.lookup import backbone_of
from tlkit.runs import folder as run_folder

pytestmark = pytest.mark.usefixtures("module_cache")


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


def fitted(folder, phases, *, task=None, splits=None, seed=0):
    model, own_task = built(folder, task=task)
    return tlkit.fit(model, task or own_task, splits or data(), phases, seed=seed, batch_size=8)


# -- AdaBN


def test_statistics_become_those_of_the_target(folder):
    import keras

    run = fitted(folder, (Phase(epochs=1, lr=1e-3),))
    target = examples(64, 9)
    before = values(run.model)
    adapted = methods.adabn(run, target, batch_size=64)
    assert same(values(run.model), before), "the run that was given stays as it is"
    layer = backbone_of(adapted.model)
    first = batch_norms(layer.graph)[0]
    x = np.stack([target.inputs[i] for i in range(64)]).astype("float32")
    from tlkit import graph

    entering = graph.part(layer.graph, list(layer.graph.inputs), [first.tensor])
    seen = np.asarray(entering(keras.ops.convert_to_tensor(x / 255))[0]).reshape(
        -1, layer.endpoint.variables[first.mean].shape[0]
    )
    mean, variance = (np.asarray(layer.module_variables[i]) for i in (first.mean, first.variance))
    np.testing.assert_allclose(mean, seen.mean(0), atol=1e-3)
    np.testing.assert_allclose(variance, seen.var(0), rtol=2e-2)
    moved = {
        id(v)
        for n in batch_norms(layer.graph)
        for v in (layer.module_variables[n.mean], layer.module_variables[n.variance])
    }
    for value, old, variable in zip(values(adapted.model), before, adapted.model.weights, strict=True):
        assert id(variable) in moved or "seed" in variable.path or np.array_equal(value, old), variable.path
    test = run.data.test
    x = np.stack([test.inputs[i] for i in range(len(test))]).astype("float32")
    score = tlkit.evaluate(adapted.model, adapted.task, test).scores["accuracy"]
    assert score == np.mean(np.argmax(adapted.model(x), axis=1) == test.target_array)


def test_batches_are_averaged_by_their_size(folder):
    run = fitted(folder, (Phase(epochs=0, lr=1e-3),))
    whole, parts = (methods.adabn(run, examples(60, 9), batch_size=size) for size in (60, 20))
    layers = [backbone_of(r.model) for r in (whole, parts)]
    first = batch_norms(layers[0].graph)[0]
    means = [np.asarray(layer.module_variables[first.mean]) for layer in layers]
    np.testing.assert_allclose(*means, atol=1e-4)  # the first norm sees no other, so that steps do not matter
    variances = [np.asarray(layer.module_variables[first.variance]) for layer in layers]
    np.testing.assert_allclose(*variances, rtol=1e-2)


def test_adabn_moves_nothing_but_the_modules_statistics(folder):
    """Not those of a BatchNorm in the head, and no generator of random numbers; labels of the target are not read."""
    import random

    import keras
    import tensorflow as tf

    run = fitted(folder, (Phase(epochs=1, lr=1e-2),), task=tasks.classify(LABELS, normalize=True, dropout=0.3))
    target = examples(60, 9)
    poisoned = dataclasses.replace(target, targets=np.full(60, -7, np.int32))

    def drawn() -> list[float]:
        return [random.random(), np.random.rand(), float(tf.random.uniform(()))]

    keras.utils.set_random_seed(4)
    untouched = drawn()
    keras.utils.set_random_seed(4)
    adapted = methods.adabn(run, poisoned, batch_size=20)
    assert drawn() == untouched
    assert same(values(adapted.model), values(methods.adabn(run, target, batch_size=20).model))
    layer = backbone_of(adapted.model)
    norms = {id(layer.module_variables[i]) for n in batch_norms(layer.graph) for i in (n.mean, n.variance)}
    moved = [
        variable
        for variable, value, old in zip(adapted.model.weights, values(adapted.model), values(run.model), strict=True)
        if not np.array_equal(value, old)
    ]
    assert {id(v) for v in moved} == norms


def test_adabn_reads_pictures_as_the_run_did(folder):
    from tlkit.data import image

    run = fitted(folder, (Phase(epochs=0, lr=1e-3),))
    pictures = [np.kron(examples(24, 9).inputs[i], np.ones((1 + i % 2, 1 + i % 2, 1), np.uint8)) for i in range(24)]
    own_sizes = image.from_arrays(pictures, ["any", "other"] * 12).train
    assert own_sizes.inputs[0].shape != own_sizes.inputs[1].shape
    assert methods.adabn(run, own_sizes).scores == {}


def test_an_adapted_run_claims_nothing_of_the_old_one(folder, tmp_path):
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    task, phases = tasks.classify(LABELS), (Phase(epochs=1, lr=1e-2),)
    tlkit.export(tlkit.finetune(layer, task, data(), phases, out=tmp_path / "old"), formats=("float32",))
    old = tlkit.load(tmp_path / "old")
    adapted = methods.adabn(old, examples(64, 9))
    assert not adapted.scores and not {"evaluate", "export"} & set(adapted.seconds)
    run_folder.save(adapted, tmp_path / "new")
    written = json.loads((tmp_path / "new" / "run.json").read_text())
    assert (written["scores"], written["details"], written["exports"]) == ({}, {}, [])
    assert written["method"][0] == "tlkit.methods.adabn" and written["phases"] == old.record["phases"]


def test_modules_without_norms_are_refused(module_folder):
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    module = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs)))
    run = fitted(module, (Phase(epochs=0, lr=1e-3),))
    with pytest.raises(InputError, match="has no BatchNorm, so there is nothing to adapt"):
        methods.adabn(run, examples(8, 9))
    with pytest.raises(InputError, match="Statistics need 2 examples or more a step"):
        methods.adabn(run, examples(1, 9))


# -- soups


def test_a_soup_is_the_mean_and_a_greedy_one_takes_what_helps(folder):
    phases = (Phase(epochs=2, lr=3e-3), Phase(epochs=1, lr=1e-3, unfrozen=0.5))
    several_runs = [fitted(folder, phases, seed=seed) for seed in (0, 1, 2)]
    mixed = methods.soup(several_runs)
    each = zip(*(values(r.model) for r in several_runs), strict=True)
    for array, several in zip(values(mixed.model), each, strict=True):
        if array.dtype.kind == "f":
            np.testing.assert_allclose(array, np.mean(several, axis=0), atol=1e-6)
    assert mixed.record["method"][1]["taken"] == [0, 1, 2] and mixed.evaluation is None
    val = data().val
    greedy = methods.soup(several_runs, greedy=val)

    def accuracy(run):
        return tlkit.evaluate(run.model, run.task, val).scores["accuracy"]

    assert accuracy(greedy) >= max(map(accuracy, several_runs))


def test_runs_of_different_heads_make_no_soup(folder):
    phases = (Phase(epochs=0, lr=1e-3),)
    other = fitted(folder, phases, task=tasks.classify(LABELS, hidden=(4,)))
    with pytest.raises(InputError, match="weights differ in shape"):
        methods.soup([fitted(folder, phases), other])


def test_runs_of_different_tasks_make_no_soup(folder):
    run = fitted(folder, (Phase(epochs=0, lr=1e-3),))
    turned = tasks.classify(LABELS[::-1], hidden=(8,), dropout=0.3)
    with pytest.raises(InputError, match="labels differ or stand in another order"):
        methods.soup([run, dataclasses.replace(run, task=turned)])
    several = tasks.classify(LABELS, hidden=(8,), dropout=0.3, multi_label=True)
    with pytest.raises(InputError, match="tasks differ in what they answer"):
        methods.soup([run, dataclasses.replace(run, task=several)])
    smoothed = tasks.classify(LABELS, hidden=(8,), dropout=0.1, label_smoothing=0.1)
    assert methods.soup([run, dataclasses.replace(run, task=smoothed)]).task is run.task


def test_a_soup_decides_its_own_threshold(folder):
    task = tasks.verify(3, size=4)
    run = tlkit.Run(built(folder, task=task)[0], task, data())
    val = run.data.val
    threshold = task.finish(tlkit.evaluate(run.model, run.task, val)).made_by[1]["threshold"]
    decided = [dataclasses.replace(run, task=tasks.verify(3, size=4, threshold=limit)) for limit in (0.1, 0.2)]
    mixed = methods.soup(decided)
    assert mixed.task.made_by[1]["threshold"] == pytest.approx(threshold)
    unknown = [
        dataclasses.replace(member, data=dataclasses.replace(run.data, val=val.subset([]))) for member in decided
    ]
    assert methods.soup(unknown).task.made_by[1]["threshold"] is None
    assert methods.soup([decided[0], decided[0]]).task.made_by[1]["threshold"] == 0.1


def test_a_soup_claims_nothing_of_the_runs_it_is_made_of(folder, tmp_path):
    run = fitted(folder, (Phase(epochs=1, lr=1e-3),))
    claims = {"command": "tlkit run x", "arguments": ["x"], "seed": 4, "scores": {"accuracy": 1.0}, "machine": "m"}
    claims |= {"details": {"confusion": 1}, "exports": [{"format": "float32"}], "transfer": {}, "phases": [1]}
    mixed = methods.soup([dataclasses.replace(run, record=claims)] * 2)
    run_folder.save(mixed, tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["scores"] == {} and record["details"] == {} and record["exports"] == [] and record["phases"] == []
    assert not {"command", "arguments", "transfer", "seed"} & set(record) and record["machine"] == "m"
    assert record["method"] == ["tlkit.methods.soup", {"runs": 2, "taken": [0, 1], "seeds": [4, 4]}]
    assert (tmp_path / "report.html").is_file() and tlkit.load(tmp_path).scores == {}


# -- L2-SP


def test_l2_sp_keeps_the_module_near_where_it_began(folder):
    plain = (Phase(epochs=2, lr=3e-3), Phase(epochs=3, lr=3e-3, unfrozen=1.0))
    unchosen = dataclasses.replace(data(), val=data().val.subset([]))  # so that the last weights are taken

    def moved(phases):
        model, task = built(folder)
        first = [np.array(v) for v in backbone_of(model).module_variables.values()]
        run = tlkit.fit(model, task, unchosen, phases, batch_size=8)
        last = [np.array(v) for v in backbone_of(run.model).module_variables.values()]
        return run, sum(float(((a - b) ** 2).sum()) for a, b in zip(first, last, strict=True))

    (free_run, free), (held_run, held) = moved(plain), moved(methods.l2_sp(plain, strength=10.0))
    assert 0 < held < 0.5 * free
    assert held_run.phases[0].history["loss"] == free_run.phases[0].history["loss"]  # a frozen phase is as it was


def test_l2_sp_is_resumed_exactly(folder, tmp_path):
    phases = methods.l2_sp((Phase(epochs=3, lr=3e-3, unfrozen=1.0),), strength=5.0)

    def run(**options):
        return tlkit.fit(*built(folder), data(), phases, batch_size=8, **options).model

    whole = run()
    stopped_after(2, lambda: run(checkpoints=tmp_path))
    assert same(values(whole), values(run(checkpoints=tmp_path)))


def test_what_is_kept_lies_between_the_first_weights_and_the_trained_ones(folder):
    def weights(**options):
        model, task = built(folder)
        first = values(model)
        phases = (Phase(epochs=2, lr=3e-3, unfrozen=1.0, **options),)
        splits = data()
        splits = dataclasses.replace(splits, val=splits.val.subset([]))  # the last weights are taken
        inside = {id(v) for v in backbone_of(model).module_variables.values()}
        module = [id(v) in inside for v in model.weights]
        return module, first, values(tlkit.fit(model, task, splits, phases, batch_size=8).model)

    module, first, trained = weights()
    _, _, mean = weights(start_share=0.25)
    for inside, a, b, c in zip(module, first, trained, mean, strict=True):
        np.testing.assert_allclose(c, 0.25 * a + 0.75 * b if inside else b, rtol=1e-5, atol=1e-6)
    assert any(inside and (a != b).any() for inside, a, b in zip(module, first, trained, strict=True))


def test_a_fit_with_a_share_of_the_first_weights_is_resumed_exactly(folder, tmp_path):
    phases = (Phase(epochs=3, lr=3e-3, unfrozen=1.0, start_share=0.5),)

    def run(**options):
        return tlkit.fit(*built(folder), data(), phases, batch_size=8, **options).model

    whole = run()
    stopped_after(2, lambda: run(checkpoints=tmp_path))
    assert same(values(whole), values(run(checkpoints=tmp_path)))


# -- distillation


@pytest.mark.parametrize("task", [tasks.classify(LABELS, multi_label=True), tasks.regress(LABELS)])
def test_a_teacher_whose_outputs_are_no_shares_is_refused(folder, task):
    teacher = tlkit.Run(built(folder, task=task)[0], task, data())
    with pytest.raises(InputError, match="The teacher must be a `classify` of one label an example"):
        methods.taught(data(), teacher)


def test_a_student_can_learn_from_examples_without_labels_alone(folder):
    teacher, splits = fitted(folder, (Phase(epochs=0, lr=1e-3),)), data()
    none = dataclasses.replace(splits, train=splits.train.subset([]))
    answered = methods.taught(none, teacher, unlabelled=splits.test)
    outputs = tlkit.evaluate(teacher.model, teacher.task, splits.test).outputs
    assert answered.train.target_array.shape == (15, 4) and answered.train.ids == splits.test.ids
    np.testing.assert_array_equal(answered.train.target_array[:, 0], outputs.argmax(axis=1))


def test_a_student_learns_from_answers_alone(folder):
    """With labels that say nothing (weight 1), what the student knows it has from the teacher."""
    teacher = fitted(folder, (Phase(epochs=15, lr=1e-2, unfrozen=1.0),))
    splits = data()
    wrong = dataclasses.replace(splits.train, targets=np.roll(splits.train.target_array, 1))
    answered = methods.taught(Splits(wrong, splits.val, splits.test, LABELS), teacher)
    assert answered.train.target_array.shape == (42, 4)
    task = methods.distill(tasks.classify(LABELS), weight=1.0)
    model, _ = built(folder, seed=3, task=task)
    run = tlkit.fit(model, task, answered, (Phase(epochs=30, lr=1e-2, unfrozen=1.0),), batch_size=8)
    assert run.task.made_by[0] == "tlkit.tasks.classify" and run.data.train.target_array.ndim == 1
    classes = [tlkit.evaluate(r.model, r.task, splits.train).outputs.argmax(1) for r in (teacher, run)]
    assert (classes[0] == classes[1]).mean() > 0.8
    assert {"accuracy", "val_accuracy"} <= set(run.phases[0].history)


def test_examples_without_labels_teach_what_the_teacher_says_of_them(folder):
    teacher = fitted(folder, (Phase(epochs=15, lr=1e-2, unfrozen=1.0),))
    splits = data()
    poisoned = dataclasses.replace(splits.test, targets=np.full(len(splits.test), -7, np.int32))
    answered = methods.taught(splits, teacher, unlabelled=poisoned)
    n, more = len(splits.train), answered.train.target_array[len(splits.train) :]
    outputs = tlkit.evaluate(teacher.model, teacher.task, splits.test).outputs
    assert len(answered.train) == n + len(splits.test) == len(set(answered.train.ids))
    np.testing.assert_array_equal(more[:, 0], outputs.argmax(axis=1))
    np.testing.assert_array_equal(answered.train.inputs[n], splits.test.inputs[0])
    np.testing.assert_array_equal(answered.train.target_array[:n, 0], splits.train.target_array)
    task = methods.distill(tasks.classify(LABELS), weight=0.9)
    model, _ = built(folder, seed=3, task=task)
    run = tlkit.fit(model, task, answered, (Phase(epochs=1, lr=1e-2),), batch_size=8)
    assert len(run.data.train) == len(answered.train)


def test_examples_without_labels_must_be_read_alike(folder):
    teacher, splits = fitted(folder, (Phase(epochs=0, lr=1e-3),)), data()
    other = reread(splits.test, spec=tlkit.core.examples.ArraySpec((4, 4, 3), "uint8"))
    with pytest.raises(InputError, match="must be read as those with"):
        methods.taught(splits, teacher, unlabelled=other)


def test_a_teacher_of_other_labels_is_refused(folder):
    teacher = fitted(folder, (Phase(epochs=0, lr=1e-3),))
    with pytest.raises(InputError, match="both must have the same labels"):
        methods.taught(dataclasses.replace(data(), labels=("x", "y", "z")), teacher)
