"""Numbers to regress, of any size: learned in their own spread, exported in every format, judged rightly."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from fitting import built, examples

import tlkit
from tlkit import methods, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.run import Phase, Run
from tlkit.exporting import NAMES as FORMATS
from tlkit.exporting import Gates, export
from tlkit.tasks import recording

NAMES = ("current_A", "price", "energy_J")
SCALE, CENTRE = np.array([1e-9, 5e4, 1e9]), np.array([3e-9, 2.5e5, 0.0])


def quantities(count: int, seed: int) -> Examples:
    """Vectors, and three linear functions of them with some noise, of very different sizes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)).astype(np.float32)
    raw = x[:, :3] + 0.3 * rng.normal(size=(count, 3))
    names = tuple(f"{seed}-{i}" for i in range(count))
    return Examples(
        names,
        ReadColumn(x.__getitem__, ArraySpec((6,), "float32"), names),
        ArrayColumn((raw * SCALE + CENTRE).astype(np.float32)),
    )


def splits() -> Splits:
    return Splits(*(quantities(n, seed) for seed, n in enumerate((300, 20, 120))))


def decode_of(task, number=0):
    """How an answer of the task brings values to their unit."""
    return task.answers[number].decode


def learned(task) -> keras.Model:
    """The best linear model there is, so that nothing here depends on training."""
    inputs = keras.Input((6,), name="x")
    head = keras.layers.Dense(3, name="head_outputs", dtype="float32")
    model = keras.Model(inputs, head(inputs))
    offset, factor = decode_of(task).offset, decode_of(task).factor
    kernel = np.zeros((6, 3))
    kernel[:3] = np.diag(SCALE / factor)
    head.set_weights([kernel, (CENTRE - offset) / factor])
    return model


def prepared(task, data: Splits):
    lines: list[str] = []
    return task.begin(data, lines.append), lines


def test_values_of_any_size_export_in_every_format(tmp_path):
    data = splits()
    task, _ = prepared(tasks.regress(NAMES), data)
    exports = {e.format: e for e in export(Run(learned(task), task, data), tmp_path)}
    assert set(exports) == set(FORMATS) and all(e.passed for e in exports.values())
    for file in exports.values():
        assert file.score == pytest.approx(0.91, abs=0.03), file
    assert exports["float16"].largest_difference < 0.01 and exports["float32"].largest_difference < 1e-5


def test_what_float16_or_8_bits_cannot_hold_fails_and_says_why(tmp_path):
    data = splits()
    task = tasks.regress(NAMES, mean=[0, 0, 0], std=[1, 1, 1])
    with pytest.raises(tlkit.core.errors.GateError) as raised:
        export(Run(learned(task), task, data), tmp_path, ("float16", "int8"))
    assert "beyond 65504: leave `mean` and `std` out" in str(raised.value)
    assert "share one scale of 256 steps" in str(raised.value) and "labels" not in str(raised.value)


def ages(count: int, seed: int) -> Examples:
    part = examples(count, seed)
    return dataclasses.replace(part, targets=(40 + 15 * part.target_array[:, None]).astype(np.float32))


def test_finetune_takes_mean_and_spread_from_the_training_targets(module_folder, tmp_path, capsys):
    data = Splits(ages(42, 1), ages(15, 2), ages(15, 3))
    run = tlkit.finetune(
        module_folder("keras3_hub"), tasks.regress(["age"]), data, [Phase(epochs=8, lr=2e-2)],
        out=tmp_path / "run", batch_size=8,
    )  # fmt: skip
    arguments = run.task.made_by[1]
    assert arguments["mean"] == [pytest.approx(55.0)] and arguments["std"] == [pytest.approx(12.25, abs=0.01)]
    assert run.scores["r2"] > -0.3  # its module knows no colours; with a mean of 0 it was -16
    again = tlkit.load(tmp_path / "run")
    assert again.task.made_by == run.task.made_by and decode_of(again.task) == decode_of(run.task)
    assert "age: mean 55, spread 12.25 of the training targets" in "".join(capsys.readouterr())


def test_r2_below_0_is_said(module_folder, tmp_path, capsys):
    data = Splits(ages(42, 1), ages(15, 2), ages(15, 3))
    task = tasks.regress(["age"], mean=[0], std=[1])
    run = tlkit.finetune(module_folder("keras3_hub"), task, data, [Phase(epochs=1, lr=1e-4)], out=tmp_path / "run")
    assert run.scores["r2"] < 0
    assert f"note: r2 is {run.scores['r2']:.3g}: always answering with the mean" in "".join(capsys.readouterr())


def test_before_fit_the_task_says_what_it_lacks(module_folder):
    task = tasks.regress(["age"])
    model, _ = built(module_folder("keras3_hub"), task=task)  # `build` needs no mean
    assert model.output.shape == (None, 1)
    for use in (lambda: tlkit.evaluate(model, task, ages(3, 1)), task.objective.loss, task.objective.metrics):
        with pytest.raises(InputError, match="age are not known yet: `fit` and `finetune` take them from the training"):
            use()
    assert tasks.regress(["age"], mean=[0.0], std=[1.0]).begin is None


def test_one_that_is_given_stays():
    task, _ = prepared(tasks.regress(NAMES, std=[1.0, 2.0, 3.0]), splits())
    assert task.made_by[1]["std"] == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(task.made_by[1]["mean"], splits().train.target_array.astype(float).mean(axis=0))
    assert decode_of(recording.restore(task.made_by)) == decode_of(task)


def test_weights_of_examples_count_in_the_mean():
    data = splits()
    weights = (data.train.target_array[:, 0] > 3e-9).astype(np.float32)
    weighted = dataclasses.replace(data, train=dataclasses.replace(data.train, weights=weights))
    task, _ = prepared(tasks.regress(NAMES), weighted)
    observed = data.train.target_array[weights > 0].astype(float)
    np.testing.assert_allclose(decode_of(task).offset, observed.mean(axis=0))
    np.testing.assert_allclose(decode_of(task).factor, observed.std(axis=0))


def test_targets_that_never_vary_or_hardly_do_are_named():
    data = splits()
    column = np.linspace(0, 1000, 300)
    rows = np.stack([np.full(300, 7.0), np.zeros(300), 1.7e9 + column], axis=1).astype(np.float32)
    task, lines = prepared(tasks.regress(NAMES), dataclasses.replace(data, train=dataclasses.replace(
        data.train, targets=rows)))  # fmt: skip
    assert decode_of(task).factor[:2] == (pytest.approx(7e-3), 1.0)
    assert "note: every training target of current_A is 7, so there is nothing to learn" in lines
    assert any(line.startswith("note: energy_J varies by 2.9e+02 around 1.7") for line in lines)


def test_methods_hand_the_training_targets_on():
    source, target = splits(), splits()
    plain, _ = prepared(tasks.regress(NAMES), source)
    task = methods.mmd(methods.coral(tasks.regress(NAMES)))
    adapted, _ = prepared(task, methods.domain_mix(source, target))  # whose targets are 0 in the target
    assert adapted.begin is None and adapted.made_by[1]["task"]["recipe"][0] == "tlkit.methods.coral"
    assert decode_of(adapted.remains.task) == decode_of(plain)
    both = methods.multitask(size=tasks.regress(NAMES), again=tasks.regress(NAMES, mean=[0] * 3, std=[1] * 3))
    mixed, lines = prepared(both, methods.task_mix(size=source, again=source))
    assert decode_of(mixed, 0) == decode_of(plain) and decode_of(mixed, 1).factor == (1.0, 1.0, 1.0)
    assert len(lines) == 3 and mixed.begin is None


def test_heads_of_values_export_in_their_own_units(tmp_path):
    data = splits()
    mixed = methods.task_mix(size=data, label=relabelled(data))
    both = methods.multitask(size=tasks.regress(NAMES), label=tasks.classify(["low", "high"]))
    task, _ = prepared(both, mixed)
    of_sizes = learned(next(inference.task for inference in task.inference if inference.name == "size"))
    scores = keras.layers.Dense(2, name="label", dtype="float32")
    model = keras.Model(of_sizes.input, {"size": of_sizes.output, "label": scores(of_sizes.input)})
    scores.set_weights([np.eye(6)[:, :1] * [[-9.0, 9.0]], np.zeros(2)])
    (file,) = export(Run(model, task, mixed), tmp_path, ("float16",), Gates())
    assert file.passed and file.score > 0.85


def relabelled(data: Splits) -> Splits:
    parts = [
        dataclasses.replace(part, targets=(part.target_array[:, 0] > 3e-9).astype(np.int32))
        for part in (data.train, data.val, data.test)
    ]
    return Splits(*parts, labels=("low", "high"))
