"""Domain methods through fit, on two domains of generated pictures: what they learn, and what is left of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from changing import reread
from fitting import LABELS, SIZE, Brighter, built, examples, same, stopped_after, values

import tlkit
from tlkit import methods, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.run import Phase

PHASES = (Phase(epochs=2, lr=3e-3), Phase(epochs=2, lr=1e-3, unfrozen=0.5))
METHODS = {
    "dann": methods.dann,
    "cdan": methods.cdan,
    "coral": methods.coral,
    "mmd": methods.mmd,
    "mcc": methods.mcc,
    "mcc of coral": lambda task: methods.mcc(methods.coral(task)),
}

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


def inverted(original: Examples) -> Examples:
    """The same pictures as negatives: another domain."""
    return reread(original, lambda i: 255 - original.inputs[i], digests=tuple(f"not {d}" for d in original.digests))


def source() -> Splits:
    return Splits(examples(42, 1), examples(15, 2), examples(15, 3), LABELS)


def target(flip: bool = False) -> Splits:
    parts = [inverted(examples(n, seed)) for n, seed in ((30, 4), (15, 5), (15, 6))]
    if flip:
        parts[:2] = [dataclasses.replace(part, targets=(part.target_array + 1) % 3) for part in parts[:2]]
    return Splits(*parts, LABELS)


def plain_task():
    return tasks.classify(LABELS, hidden=(8,), dropout=0.3)


def fitted(folder, task, data, phases=PHASES, **options):
    model, _ = built(folder, task=task)
    return tlkit.fit(model, task, data, phases, batch_size=12, **options)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_leaves_a_plain_model(folder, name):
    task = METHODS[name](plain_task())
    run = fitted(folder, task, methods.domain_mix(source(), target()))
    history = run.phases[0].history
    assert np.isfinite(history["loss"]).all() and {"accuracy", "val_accuracy"} <= set(history)
    assert run.task.made_by[0] == "tlkit.tasks.classify" and run.data.train.target_array.ndim == 1
    assert tuple(run.model.output.shape) == (None, 3)
    assert not [v.path for v in run.model.variables if name in v.path]  # the critic is no part of it
    assert [phase.best_epoch for phase in run.phases] == [2, 2]  # the last weights
    judged = tlkit.evaluate(run.model, run.task, run.data.test)
    x = np.stack([run.data.test.inputs[i] for i in range(len(run.data.test))]).astype("float32")
    assert judged.scores["accuracy"] == np.mean(np.argmax(run.model(x), axis=1) == run.data.test.target_array)
    assert all(p.proof["sha256_before"] == p.proof["sha256_after"] for p in run.phases)


def test_labels_of_the_target_are_never_read(folder):
    task = methods.dann(plain_task())
    honest, poisoned = (
        fitted(folder, task, methods.domain_mix(source(), target(flip))).model for flip in (False, True)
    )
    assert same(values(honest), values(poisoned))


def vectors(count: int, seed: int, shift: float) -> Examples:
    """Two classes that the first number tells apart; in the source so does the second, which elsewhere is shifted."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 2).astype(np.int32)
    side = 2.0 * targets - 1
    second = shift if shift else side
    x = np.stack([side, second + 0 * side, 0 * side], axis=1) + rng.normal(0, (0.3, 0.3, 1.0), (count, 3))
    names = tuple(f"{seed}-{i}" for i in range(count))
    return Examples(
        names, ReadColumn(x.astype(np.float32).__getitem__, ArraySpec((3,), "float32"), names), ArrayColumn(targets)
    )


def shifted(shift: float, seed: int) -> Splits:
    return Splits(*(vectors(n, seed + k, shift) for k, n in enumerate((200, 50, 200))), ("a", "b"))


@pytest.mark.parametrize(
    ("method", "least"),
    [
        (None, 0.0),
        (lambda task: methods.dann(task, hidden=8), 0.9),
        (lambda task: methods.mmd(task, weight=3.0), 0.9),
        (methods.mcc, 0.9),
    ],
    ids=["source only", "dann", "mmd", "mcc"],
)
def test_a_method_bridges_a_shift(method, least):
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    module = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="identity", use_bias=False)(inputs))
    task = tasks.classify(("a", "b"), hidden=(16,), dropout=0.0)
    source_data, target_data = shifted(0.0, 1), shifted(3.0, 10)
    data = source_data if method is None else methods.domain_mix(source_data, target_data)
    task = task if method is None else method(task)
    run = tlkit.fit(tlkit.build(module, task), task, data, (Phase(epochs=100, lr=1e-2),), batch_size=64)
    accuracy = tlkit.evaluate(run.model, run.task, target_data.test).scores["accuracy"]
    assert accuracy >= least and (method is not None or accuracy < 0.6)


def test_patience_that_nothing_can_spend_is_said(folder):
    from tlkit.core.progress import quiet

    lines = []
    told = dataclasses.replace(quiet, line=lines.append)
    phases = methods.linear_then_tune(epochs=(3, 1), patience=1)
    run = fitted(folder, methods.dann(plain_task()), methods.domain_mix(source(), target()), phases, progress=told)
    assert len(run.phases[0].history["loss"]) == 3
    (note,) = [line for line in lines if "`patience`" in line]
    assert note.startswith("note: no validation figure judges dann, so `patience` ends no phase: all 3 epochs are run")
    assert lines.index(note) == 0
    fitted(folder, plain_task(), source(), phases[:1], progress=dataclasses.replace(quiet, line=lines.append))
    assert sum("`patience`" in line for line in lines) == 1


def test_progress_is_resumed(folder, tmp_path):
    """A fit that is stopped and goes on ends in the same weights, the schedule of the critic included."""
    task, mixed = methods.dann(plain_task()), methods.domain_mix(source(), target())
    whole = fitted(folder, task, mixed)
    stopped_after(3, lambda: fitted(folder, task, mixed, checkpoints=tmp_path))
    assert same(values(whole.model), values(fitted(folder, task, mixed, checkpoints=tmp_path).model))


def test_progress_runs_from_nothing_to_all(folder, monkeypatch):
    from tlkit.training import fit

    seen, progress = [], fit._progress

    def watched(*arguments):
        seen.append(progress(*arguments))
        return seen[-1]

    monkeypatch.setattr(fit, "_progress", watched)
    fitted(folder, methods.dann(plain_task()), methods.domain_mix(source(), target()))
    steps = 4 * -(-84 // 12)
    np.testing.assert_allclose(seen, np.arange(steps) / steps)


def test_views_of_two_domains(folder):
    splits = source()
    splits = dataclasses.replace(splits, train=dataclasses.replace(splits.train, augment=Brighter()))
    run = fitted(folder, methods.coral(plain_task()), methods.domain_mix(splits, target()), views=2)
    assert np.isfinite(run.phases[0].history["loss"]).all()


def test_values_adapt_too(folder):
    rng = np.random.default_rng(0)

    def lit(count: int, seed: int) -> Examples:
        part = examples(count, seed)
        return dataclasses.replace(part, targets=rng.random((count, 1)).astype(np.float32))

    task = methods.coral(tasks.regress(["brightness"], mean=[0.5], std=[0.3]))
    splits = Splits(lit(24, 1), lit(12, 2), lit(12, 3))
    run = fitted(
        folder, task, methods.domain_mix(splits, Splits(inverted(lit(24, 4)), inverted(lit(12, 5)), lit(12, 6)))
    )
    assert np.isfinite(run.phases[0].history["loss"]).all()
    assert tlkit.evaluate(run.model, run.task, run.data.test).scores


def test_a_run_is_saved_judged_and_exported_like_any_other(folder, tmp_path):
    task = methods.dann(plain_task())
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    run = tlkit.finetune(
        layer,
        task,
        methods.domain_mix(source(), target()),
        PHASES,
        out=tmp_path,
        batch_size=12,
        image_size=(SIZE, SIZE),
    )
    assert run.record["method"][0] == "tlkit.methods.dann"
    assert 0 <= run.scores["certainty"] <= 1 and 0 <= run.scores["neighbourhood_density"] <= 1
    for name in ("importance_weighted_accuracy", "deep_embedded_accuracy"):
        assert -0.5 < run.scores[name] < 1.5
    assert "dann(weight=1.0, hidden=256, gamma=10.0) of classify" in (tmp_path / "report.html").read_text()
    again = tlkit.load(tmp_path)
    np.testing.assert_array_equal(*(tlkit.evaluate(r.model, r.task, run.data.test).outputs for r in (run, again)))
    done = tlkit.export(run, formats=("float32",))
    assert done.exports[0].passed


@pytest.mark.parametrize("count", [1, 2])
def test_a_target_of_too_few_examples_has_fewer_scores(folder, tmp_path, count):
    few = dataclasses.replace(target(), val=target().val.subset(list(range(count))))
    run = adapted(folder, few, tmp_path)
    assert "certainty" in run.scores and np.isfinite(list(run.scores.values())).all()
    assert not {"neighbourhood_density", "deep_embedded_accuracy"} & set(run.scores)


def test_a_target_without_labels_is_scored_without_them(folder, tmp_path):
    from tlkit.methods.parts import selection

    nothing = target().test.subset([])
    unlabelled = dataclasses.replace(target().train, targets=np.zeros((len(target().train), 1), np.float32))
    run = adapted(folder, Splits(unlabelled, nothing, nothing), tmp_path)
    assert run.data.test.ids == source().test.ids and "the target has no test" in run.data.notes[-1]
    told = selection.label_free(tlkit.evaluate(run.model, run.task, target().train).outputs)
    assert {name: run.scores[name] for name in told} == pytest.approx(told, abs=1e-5)
    assert {"accuracy", "deep_embedded_accuracy"} <= set(run.scores)


def adapted(folder, other, out):
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    data, phases = methods.domain_mix(source(), other), (Phase(epochs=1, lr=1e-3),)
    return tlkit.finetune(layer, methods.dann(plain_task()), data, phases, out=out, image_size=(SIZE, SIZE))


def test_a_method_goes_around_distillation(folder, tmp_path):
    teacher = fitted(folder, tasks.classify(LABELS), source(), (Phase(epochs=1, lr=1e-2),))
    data = methods.domain_mix(methods.taught(source(), teacher), target())
    task = methods.dann(methods.distill(plain_task()), hidden=8)
    layer = tlkit.HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    run = tlkit.finetune(layer, task, data, (Phase(epochs=1, lr=1e-3),), out=tmp_path, image_size=(SIZE, SIZE))
    assert run.task.made_by[0] == "tlkit.tasks.classify" and run.data.train.target_array.dtype == np.int32
    np.testing.assert_array_equal(run.data.train.target_array, source().train.target_array)
    assert {"accuracy", "certainty", "deep_embedded_accuracy"} <= set(run.scores)
    assert "distill" in (tmp_path / "report.html").read_text()
